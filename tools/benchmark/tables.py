"""The results as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from tools.benchmark.comparisons import speed_ups
from tools.benchmark.text import MB, NONE, joined, microseconds, number, percent, rate, table, times

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["benchmark_text", "limits_text", "machine_text", "measured_parts"]


def _threads(count: int) -> str:
    return "one thread, pinned to one processor" if count == 1 else f"{count} threads"


def machine_text(machine: dict[str, Any], found: dict[str, str]) -> str:
    """Format what :func:`tools.benchmark.machine.describe_machine` and ``versions`` return."""
    clock = number(machine["mhz"], 0, " MHz")
    most = number(machine["max_mhz"], 0, " MHz")
    rows = [
        ("processor", f"{machine['cpu']}, {machine['usable_processors']} usable processors"),
        ("family, model, stepping", ", ".join(str(x) for x in machine["family_model_stepping"])),
        ("clock", f"{clock} (as the kernel says; at most: {most})"),
        ("governor", machine["governor"] or "not readable"),
        ("flags", " ".join(machine["flags"])),
        ("memory", number(machine["memory_mb"], 0, " MB")),
        ("virtual machine", "yes" if machine["virtual"] else "no"),
        ("kernel", machine["kernel"]),
        ("load average", number(machine["load_average"], 2)),
        ("versions", ", ".join(f"{n} {v}" for n, v in found.items())),
        ("Python", machine["python"]),
    ]
    return tabulate(rows, tablefmt="plain", maxcolwidths=[None, 90])


def _glance(cells: Sequence[dict[str, Any]], threads: int, sizes: Sequence[int]) -> str:
    """Images a second of everybody, and the accuracy, which no batch size may change.

    What an engine called auto is in truth stands below.
    """
    has_labels = any(c["accuracy"] is not None for c in cells)
    names = list(dict.fromkeys(c["contender"] for c in cells))
    by_key = {(c["contender"], c["batch_size"]): c for c in cells}
    best = {
        size: max(c["images_per_second"] for c in cells if c["batch_size"] == size)
        for size in sizes
    }
    rows = []
    for name in names:
        row = [name]
        for size in sizes:
            cell = by_key.get((name, size))
            if cell is None:
                row.append(NONE)
                continue
            mark = " *" if cell["images_per_second"] == best[size] else ""
            row.append(rate(cell["images_per_second"]) + mark)
        if has_labels:
            row.append(percent(min(c["accuracy"] for c in cells if c["contender"] == name)))
        rows.append(row)
    title = f"Images a second at the median, {_threads(threads)}; * is the fastest"
    header = ["contender", *(f"batch {size}" for size in sizes)]
    header += ["accuracy"] if has_labels else []
    chosen = [line for name in names if (line := _chosen(name, cells))]
    return "\n\n".join([title, table(header, rows), *(["\n".join(chosen)] if chosen else [])])


def _chosen(name: str, cells: Sequence[dict[str, Any]]) -> str | None:
    """Say which engine each batch size gets; None of a contender that leaves nothing open."""
    if not name.endswith("/auto"):
        return None
    sizes: dict[str, list[str]] = {}
    for cell in cells:
        if cell["contender"] == name and cell.get("engine"):
            sizes.setdefault(cell["engine"], []).append(str(cell["batch_size"]))
    found = (f"{engine} (batch {', '.join(those)})" for engine, those in sizes.items())
    return f"{name} is {'; '.join(found)}" if sizes else None


def _speed_ups(cells: Sequence[dict[str, Any]], sizes: Sequence[int]) -> list[str]:
    """One table for each number of threads but the least."""
    found = speed_ups(cells)
    tables = []
    for threads in dict.fromkeys(one["threads"] for one in found):
        mine = [one for one in found if one["threads"] == threads]
        by_key = {(one["contender"], one["batch_size"]): one["speed_up"] for one in mine}
        rows = [
            [name, *(number(by_key.get((name, size)), 2) for size in sizes)]
            for name in dict.fromkeys(one["contender"] for one in mine)
        ]
        base = mine[0]["base_threads"]
        title = (
            f"Speed-up by threads: images a second with {_threads(threads)} over those with"
            f" {_threads(base)}; linear is {threads / base:.2f}"
        )
        header = ["contender", *(f"batch {size}" for size in sizes)]
        tables.append(f"{title}\n\n" + table(header, rows))
    return tables


def _precisions(cells: Sequence[dict[str, Any]], threads: int) -> str | None:
    """The same engine in float32, bf16 and int8, side by side; None where there is one only."""
    engines: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for cell in cells:
        engine = cell["contender"].removesuffix(f"/{cell['precision']}")
        engines.setdefault((engine, cell["batch_size"]), {})[cell["precision"]] = cell
    rows = []
    for (engine, size), found in engines.items():
        if set(found) == {"fp32"}:
            continue
        reduced = [found.get(precision, {}) for precision in ("bf16", "int8")]
        every = [found.get("fp32", {}), *reduced]
        rows.append(
            [
                engine,
                str(size),
                *(microseconds(cell.get("median_us")) for cell in every),
                *(times(cell.get("float_ratio")) for cell in reduced),
                *(percent(cell.get("same_class")) for cell in reduced),
                *(percent(cell.get("accuracy")) for cell in reduced),
                *(number(cell.get("largest_difference"), 2) for cell in reduced),
            ]
        )
    if not rows:
        return None
    header = ["engine", "batch", "fp32\nus", "bf16\nus", "int8\nus"]
    for what in ("times\nfp32", "same\nclass", "accuracy", "largest\ndifference"):
        header += [f"{precision}\n{what}" for precision in ("bf16", "int8")]
    title = (
        f"bf16 and int8 beside float32, {_threads(threads)}: medians, and how many times as fast as"
        " the same engine in float32"
    )
    return f"{title}\n\n" + table(header, rows)


def _detail(cells: Sequence[dict[str, Any]], baseline: str) -> str:
    rows = []
    for cell in cells:
        ratio = cell["ratio"]
        rows.append(
            [
                cell["contender"],
                microseconds(cell["median_us"]),
                microseconds(cell["p90_us"]),
                microseconds(cell["p99_us"]),
                rate(cell["images_per_second"]),
                NONE
                if ratio is None
                else f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})",
                number(ratio and ratio["p99"], 2),
                times(cell.get("peer_ratio")),
                times(cell["float_ratio"]),
                percent(cell["same_class"]),
                percent(cell["share_of_limit"]),
                f"{cell['runs']:,}",
                percent(cell["spread_between_turns"]),
                percent(cell["coefficient_of_variation"]),
                NONE if cell["outliers"] is None else str(cell["outliers"]),
                number(cell["peak_rss_bytes"] and cell["peak_rss_bytes"] / MB, 0),
            ]
        )
    header = [
        "contender",
        "median us",
        "p90 us",
        "p99 us",
        "images/s",
        "times as fast\n(least-most)",
        "p99\ntimes",
        "times\nbest peer",
        "times\nfp32",
        "same\nclass",
        "of the\nlimit",
        "runs",
        "between\nturns",
        "varia-\ntion",
        "out-\nliers",
        "peak\nMB",
    ]
    first = cells[0]
    title = f"Batch {first['batch_size']}, {_threads(first['threads'])}; compared with {baseline}"
    peers = dict.fromkeys((c["precision"], c["peer"]) for c in cells if c.get("peer"))
    title += "".join(f"; best peer in {precision}: {peer}" for precision, peer in peers)
    return f"{title}\n\n" + table(header, rows)


def limits_text(limits: Sequence[dict[str, Any]]) -> str:
    """Format the multiply-add limits of a result, one for each number of threads."""
    rows = [
        [
            _threads(one["threads"]),
            one["instructions"],
            f"{one['gflops']:,.0f}",
            f"{one['lowest_sample_gflops']:,.0f}",
        ]
        for one in limits
    ]
    header = ["the multiply-add limit", "instructions", "GFLOP/s", "lowest sample"]
    return table(header, rows)


def _starts(starts: Sequence[dict[str, Any]], contenders: Sequence[dict[str, Any]]) -> str:
    sizes = {one["name"]: one["installed_bytes"] for one in contenders}
    order = [one["name"] for one in contenders]
    found = sorted(starts, key=lambda one: (one["threads"], order.index(one["contender"])))
    least = min((one["threads"] for one in found), default=1)
    rows = [
        [
            one["contender"],
            number(one["first_result_ms"], 0),
            f"{min(one['samples_ms']):,.0f}-{max(one['samples_ms']):,.0f}",
            number(one["create_ms"], 1),
            number(one["first_run_ms"], 2),
            number(sizes[one["contender"]] / MB, 0),
        ]
        for one in found
        if one["threads"] == least
    ]
    header = [
        "contender",
        "first result\nms",
        "least-most",
        "of these\nloading",
        "of these\nfirst run",
        "installed\nMB",
    ]
    title = f"From process start to the first result, {_threads(least)}"
    return f"{title}\n\n" + table(header, rows)


def _door(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            row["kind"],
            str(row["threads"]),
            str(row["batch_size"]),
            microseconds(row["program_us"]),
            microseconds(row["lenet_cpp_us"]),
            number(row["added_us"], 1),
            microseconds(row["paddle_inference_us"]),
            number(row["times_as_fast"], 2),
        ]
        for row in rows
    ]
    header = [
        "model and accelerator",
        "threads",
        "batch",
        "C++ program\nus",
        "lenet_cpp\nus",
        "Python adds\nus",
        "paddle.inference\nus",
        "lenet_cpp is\ntimes as fast",
    ]
    title = "What Python adds: medians of each one's quietest turn"
    return f"{title}\n\n" + table(header, lines)


def benchmark_text(result: dict[str, Any], *, markdown: bool = False) -> str:
    """Format what :func:`tools.benchmark.measure.run_benchmark` returned.

    Args:
        result: The results.
        markdown: Set every table as a block of text, to be pasted into a page.
    """
    parts = [
        machine_text(result["machine"], result["versions"]),
        limits_text(result["multiply_add_limit"]),
    ]
    return joined(parts + measured_parts(result), markdown=markdown)


def measured_parts(result: dict[str, Any]) -> list[str]:
    """Format all that was measured of one network, a table for each part."""
    cells, settings = result["cells"], result["settings"]
    parts = []
    for threads in settings["threads"]:
        mine = [cell for cell in cells if cell["threads"] == threads]
        if mine:
            parts.append(_glance(mine, threads, settings["batch_sizes"]))
            parts += filter(None, [_precisions(mine, threads)])
    parts += _speed_ups(cells, settings["batch_sizes"])
    for threads in settings["threads"]:
        for size in settings["batch_sizes"]:
            mine = [c for c in cells if c["threads"] == threads and c["batch_size"] == size]
            if mine:
                parts.append(_detail(mine, result["baseline"]))
    parts.append(_starts(result["starts"], result["contenders"]))
    if result["python_door"]:
        parts.append(_door(result["python_door"]))
    return parts + [
        f"{one['status']}: {one['name']}: {one['reason']}"
        for one in result["contenders"]
        if one["status"] != "measured"
    ]

"""The results as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["benchmark_text", "memory_text"]

_MB = 1e6
_NONE = "-"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    align = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(rows, header, colalign=align, disable_numparse=True) if rows else "none"


def _number(value: float | None, digits: int = 1, unit: str = "") -> str:
    return _NONE if value is None else f"{value:,.{digits}f}{unit}"


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.1f} %"


def _microseconds(value: float | None) -> str:
    return _number(value, 1 if value is not None and value < 1000 else 0)


def _times(ratio: dict[str, float] | None) -> str:
    return _NONE if ratio is None else f"{ratio['median']:.2f}"


def _threads(count: int) -> str:
    return "one thread, pinned to one processor" if count == 1 else f"{count} threads"


def _machine(machine: dict[str, Any], found: dict[str, str]) -> str:
    clock = _number(machine["mhz"], 0, " MHz")
    most = _number(machine["max_mhz"], 0, " MHz")
    rows = [
        ("processor", f"{machine['cpu']}, {machine['usable_processors']} usable processors"),
        ("family, model, stepping", ", ".join(str(x) for x in machine["family_model_stepping"])),
        ("clock", f"{clock} (as the kernel says; at most: {most})"),
        ("governor", machine["governor"] or "not readable"),
        ("flags", " ".join(machine["flags"])),
        ("memory", _number(machine["memory_mb"], 0, " MB")),
        ("virtual machine", "yes" if machine["virtual"] else "no"),
        ("kernel", machine["kernel"]),
        ("load average", _number(machine["load_average"], 2)),
        ("versions", ", ".join(f"{n} {v}" for n, v in found.items())),
        ("Python", machine["python"]),
    ]
    return tabulate(rows, tablefmt="plain", maxcolwidths=[None, 90])


def _glance(cells: Sequence[dict[str, Any]], threads: int, sizes: Sequence[int]) -> str:
    """Images a second of everybody, and the accuracy, which no batch size may change."""
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
                row.append(_NONE)
                continue
            mark = " *" if cell["images_per_second"] == best[size] else ""
            row.append(f"{cell['images_per_second']:,.0f}{mark}")
        row.append(_percent(min(c["accuracy"] for c in cells if c["contender"] == name)))
        rows.append(row)
    title = f"Images a second at the median, {_threads(threads)}; * is the fastest"
    header = ["contender", *(f"batch {size}" for size in sizes), "accuracy"]
    return f"{title}\n\n" + _table(header, rows)


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
                *(_microseconds(cell.get("median_us")) for cell in every),
                *(_times(cell.get("float_ratio")) for cell in reduced),
                *(_percent(cell.get("same_class")) for cell in reduced),
                *(_percent(cell.get("accuracy")) for cell in reduced),
                *(_number(cell.get("largest_difference"), 2) for cell in reduced),
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
    return f"{title}\n\n" + _table(header, rows)


def _detail(cells: Sequence[dict[str, Any]], baseline: str) -> str:
    rows = []
    for cell in cells:
        ratio = cell["ratio"]
        rows.append(
            [
                cell["contender"],
                _microseconds(cell["median_us"]),
                _microseconds(cell["p90_us"]),
                _microseconds(cell["p99_us"]),
                f"{cell['images_per_second']:,.0f}",
                _NONE
                if ratio is None
                else f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})",
                _number(ratio and ratio["p99"], 2),
                _times(cell["float_ratio"]),
                _percent(cell["same_class"]),
                _percent(cell["share_of_limit"]),
                f"{cell['runs']:,}",
                _percent(cell["spread_between_turns"]),
                _percent(cell["coefficient_of_variation"]),
                _NONE if cell["outliers"] is None else str(cell["outliers"]),
                _number(cell["peak_rss_bytes"] and cell["peak_rss_bytes"] / _MB, 0),
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
    return f"{title}\n\n" + _table(header, rows)


def _limits(limits: Sequence[dict[str, Any]]) -> str:
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
    return _table(header, rows)


def _starts(starts: Sequence[dict[str, Any]], contenders: Sequence[dict[str, Any]]) -> str:
    sizes = {one["name"]: one["installed_bytes"] for one in contenders}
    order = [one["name"] for one in contenders]
    found = sorted(starts, key=lambda one: (one["threads"], order.index(one["contender"])))
    least = min((one["threads"] for one in found), default=1)
    rows = [
        [
            one["contender"],
            _number(one["first_result_ms"], 0),
            f"{min(one['samples_ms']):,.0f}-{max(one['samples_ms']):,.0f}",
            _number(one["create_ms"], 1),
            _number(one["first_run_ms"], 2),
            _number(sizes[one["contender"]] / _MB, 0),
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
    return f"{title}\n\n" + _table(header, rows)


def _door(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            row["kind"],
            str(row["threads"]),
            str(row["batch_size"]),
            _microseconds(row["program_us"]),
            _microseconds(row["lenet_cpp_us"]),
            _number(row["added_us"], 1),
            _microseconds(row["paddle_inference_us"]),
            _number(row["times_as_fast"], 2),
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
    return f"{title}\n\n" + _table(header, lines)


def benchmark_text(result: dict[str, Any], *, markdown: bool = False) -> str:
    """Format what :func:`lenet_cpp.benchmark.measure.run_benchmark` returned.

    Args:
        result: The results.
        markdown: Set every table as a block of text, to be pasted into a page.
    """
    cells, settings = result["cells"], result["settings"]
    parts = [_machine(result["machine"], result["versions"]), _limits(result["multiply_add_limit"])]
    for threads in settings["threads"]:
        mine = [cell for cell in cells if cell["threads"] == threads]
        if mine:
            parts.append(_glance(mine, threads, settings["batch_sizes"]))
            parts += filter(None, [_precisions(mine, threads)])
    for threads in settings["threads"]:
        for size in settings["batch_sizes"]:
            mine = [c for c in cells if c["threads"] == threads and c["batch_size"] == size]
            if mine:
                parts.append(_detail(mine, result["baseline"]))
    parts.append(_starts(result["starts"], result["contenders"]))
    if result["python_door"]:
        parts.append(_door(result["python_door"]))
    parts += [
        f"{one['status']}: {one['name']}: {one['reason']}"
        for one in result["contenders"]
        if one["status"] != "measured"
    ]
    return _joined(parts, markdown=markdown)


def _joined(parts: Sequence[str], *, markdown: bool) -> str:
    return "\n\n".join(f"```text\n{part}\n```" if markdown else part for part in parts)


def memory_text(result: dict[str, Any], *, markdown: bool = False) -> str:
    """Format what :func:`lenet_cpp.benchmark.memory.run_memory` returned.

    Args:
        result: The results.
        markdown: Set every table as a block of text, to be pasted into a page.
    """
    parts = []
    titles = {
        "runs": "Resident memory over runs with batches of 1 to 256 images",
        "creations": "Resident memory over predictors made, run once and dropped",
    }
    for kind, title in titles.items():
        rows = [
            [
                one["contender"] + (f" ({one['note']})" if one["note"] else ""),
                f"{one['samples'][-1][0]:,}",
                _number(one["first_bytes"] / _MB),
                _number(one["settled_bytes"] / _MB),
                _number(one["last_bytes"] / _MB),
                _number(one["bytes_each"], 0),
            ]
            for one in result["series"]
            if one["kind"] == kind
        ]
        header = [
            "what",
            kind,
            "MB at\nthe first",
            "after\na fifth",
            "at the\nend",
            "bytes each\nafter a fifth",
        ]
        if rows:
            parts.append(f"{title}\n\n{_table(header, rows)}")
    return _joined(parts, markdown=markdown)

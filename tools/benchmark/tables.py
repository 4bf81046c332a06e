"""The results as text: one table for each part."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Row = dict[str, Any]
    Texts = tuple[list[str], list[str]]
    """Tables, and the lines below them."""


def _number(value: float | None, digits: int = 1, unit: str = "", scale: float = 1) -> str:
    return "-" if value is None else f"{scale * value:,.{digits}f}{unit}"


_whole = partial(_number, digits=0)
_percent = partial(_number, unit=" %", scale=100)
_mb = partial(_number, scale=1e-6)


def _short(value: float) -> str:
    return _number(value, 1 if value < 1000 else 0)


def _times(found: dict[str, float] | float | None) -> str:
    return _number(found["median"] if isinstance(found, dict) else found, 2)


def _with_ends(found: dict[str, float] | None) -> str:
    return _times(found) + (f" ({found['low']:.2f}-{found['high']:.2f})" if found else "")


def _table(title: str, rows: Iterable[Row], columns: dict[str, Any]) -> str:
    """Return a table; ``columns`` maps each header to a key, or to a key and a formatter."""
    lines = []
    for row in rows:
        pairs = (one if isinstance(one, tuple) else (one, str) for one in columns.values())
        lines.append([form(row.get(key)) for key, form in pairs])
    align = ["left"] + ["right"] * (len(columns) - 1)
    made = tabulate(lines, list(columns), colalign=align, disable_numparse=True)
    return f"{title}\n\n{made if lines else 'none'}".lstrip()


def render(result: dict[str, Any], *, markdown: bool = False) -> str:
    """Format any result of the benchmark; ``markdown`` sets each table as a block for a page."""
    kinds = {
        "speed": _speed,
        "compare": _compare,
        "memory": _memory,
        "startup": _startup,
        "serve": _serve,
        "photos": _photos,
    }
    tables, notes = kinds[result["kind"]](result)
    if figures := result.get("figures"):
        tables.append(_table("", figures, _FIGURES))
    parts = [_machine(result), *tables]
    text = "\n\n".join(f"```text\n{part}\n```" if markdown else part for part in parts)
    return "\n\n".join([text, *(["\n".join(notes)] if notes else [])])


def _machine(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {found}" for name, found in result["versions"].items())
    rows = {"date": result["date"], **result["machine"], "versions": versions}
    return tabulate(list(rows.items()), tablefmt="plain", maxcolwidths=[None, 90])


_INTERRUPTED = "interrupted: the tables have only what was measured before"
_LIMIT = {
    "the multiply-add limit, by threads": "threads",
    "instructions": "instructions",
    "GFLOP/s": ("gflops", _whole),
    "lowest sample": ("lowest_sample_gflops", _whole),
}
_FIGURES = {
    "figure": "what",
    "found": ("found", _times),
    "limit": "limit",
    "holds": ("holds", lambda holds: "yes" if holds else "NO"),
}
_CELLS = {
    "contender": "contender",
    "median us": ("median_us", _short),
    "p90 us": ("p90_us", _short),
    "p99 us": ("p99_us", _short),
    "images/s": ("images_per_second", _short),
    "times as fast\n(least-most)": ("ratio", _with_ends),
    "p99\ntimes": ("ratio", lambda found: _times(found and found["p99"])),
    "times\nbest peer": ("peer_ratio", _times),
    "times\nfp32": ("float_ratio", _times),
    "speed-up by\nthreads": ("speed_up", _times),
    "same\nclass": ("same_class", _percent),
    "accu-\nracy": ("accuracy", _percent),
    "error": ("error", lambda value: "-" if value is None else f"{value:.1e}"),
    "of the\nlimit": ("share_of_limit", _percent),
    "runs": ("runs", _whole),
    "between\nturns": ("spread_between_turns", _percent),
    "peak\nMB": ("peak_bytes", _mb),
    "engine": ("engine", lambda value: value or "-"),
}


def _speed(result: dict[str, Any]) -> Texts:
    tables, notes, settings = [], [], result["settings"]
    for network in result["networks"]:
        shape = " x ".join(map(str, network["image_shape"]))
        adds = network["multiply_adds_per_image"]
        title = f"{network['network']}, images of {shape}"
        title += f", {adds:,} multiply-adds each" if adds else ""
        tables.append(_table(title, network["multiply_add_limit"], _LIMIT))
        for threads in settings["threads"]:
            for size in settings["batch_sizes"]:
                place = (threads, size)
                cells = [c for c in network["cells"] if (c["threads"], c["batch_size"]) == place]
                title = f"{network['network']}, batch {size}, {threads} thread(s)"
                if any(cell["ratio"] for cell in cells):
                    title += f"; compared with {settings['baseline']}"
                peers = dict.fromkeys((c["precision"], c["peer"]) for c in cells if c["peer"])
                title += "".join(f"; best peer in {kind}: {peer}" for kind, peer in peers)
                tables.append(_table(title, cells, _CELLS))
        absent = [one for one in network["contenders"] if one["status"] != "measured"]
        notes += [f"{one['status']}: {one['name']}: {one['reason']}" for one in absent]
    if result.get("interrupted"):  # older files do not say
        notes.append(_INTERRUPTED)
    return tables, notes


def _startup(result: dict[str, Any]) -> Texts:
    starts = result["settings"]["starts"]
    title = f"From process start to the first result, one image of zeros, {starts} starts each"
    columns = {
        "contender": "contender",
        "first result\nmedian, ms": ("median_ms", _number),
        "p99": ("p99_ms", _number),
        "least": ("samples_ms", lambda values: _number(min(values))),
        "import of\nNumPy": ("numpy_ms", _number),
        "loading": ("load_ms", _number),
        "first run": ("first_run_ms", _times),
        "memory\nMB": ("peak_bytes", _mb),
    }
    rows = result["rows"]
    table = _table(title, [row for row in rows if row["absent"] is None], columns)
    return [table], [f"{row['contender']}: {row['absent']}" for row in rows if row["absent"]]


def _memory(result: dict[str, Any]) -> Texts:
    titles = {
        "runs": "Resident memory over runs with batches of 1 to 256 images",
        "creations": "Resident memory over predictors that are created, run once and deleted",
    }
    tables = []
    for kind, title in titles.items():
        columns = {
            "contender": "contender",
            kind: ("samples", lambda samples: f"{samples[-1][0]:,}"),
            "MB at\nthe first": ("first_bytes", _mb),
            "after\na fifth": ("settled_bytes", _mb),
            "at the\nend": ("last_bytes", _mb),
            "bytes each\nafter a fifth": ("bytes_each", _whole),
        }
        rows = (row for row in result["series"] if row["kind"] == kind)
        tables.append(_table(title, rows, columns))
    return tables, []


def _photos(result: dict[str, Any]) -> Texts:
    columns = {
        "contender": "contender",
        "a photo\nmedian, ms": ("median_us", partial(_number, scale=1e-3)),
        "p99": ("p99_us", partial(_number, scale=1e-3)),
        "times\nby hand": ("ratio", _times),
        "first photo\nof a process": ("first_ms", _number),
        "peak\nMB": ("peak_bytes", _mb),
        "disk\nMB": ("disk_bytes", _mb),
        "between\nturns": ("spread_between_turns", _percent),
    }
    places: dict[tuple[str, str, str], list[Row]] = {}
    for row in result["rows"]:
        places.setdefault((row["network"], row["photo"], row["rule"]), []).append(row)
    tables, notes = [], []
    for (network, photo, rule), rows in places.items():
        measured = [row for row in rows if row["status"] == "measured"]
        tables.append(_table(f"{network}, {photo}, resized as {rule} does", measured, columns))
        notes += [
            f"{network}, {photo}: {row['contender']}: {row['reason']}"
            for row in rows
            if row["status"] != "measured"
        ]
    return tables, notes


_SERVERS = {
    "starlette": "starlette, fastapi: Uvicorn with uvloop, httptools and one process for each core",
    "mlserver": "mlserver: default settings with log; one process for HTTP, one for the model",
    "litserve": "litserve: default settings with log; one process for HTTP, one for the model",
}


def _serve(result: dict[str, Any]) -> Texts:
    columns = {
        "server": "server",
        "requests": "kind",
        "p50 us": ("p50_us", _short),
        "p99 us": ("p99_us", _short),
        "requests/s": ("rate", _whole),
        "lenet_serve,\ntimes its rate": ("ratio", _times),
        "between\nturns": (
            "ratio",
            lambda found: _percent(found and found["spread_between_turns"]),
        ),
    }
    places: dict[int, list[Row]] = {}
    for cell in result["cells"]:
        places.setdefault(cell["connections"], []).append(cell)
    tables = [_table(f"{count} connection(s)", rows, columns) for count, rows in places.items()]
    there = {cell["server"] for cell in result["cells"]}
    notes = [note for name, note in _SERVERS.items() if name in there]
    return tables, [*notes, *(f"{name}: {reason}" for name, reason in result["absent"].items())]


def _both(values: Sequence[float]) -> str:
    return ", ".join(_number(value, 4) for value in values)


def _compare(result: dict[str, Any]) -> Texts:
    builds, rows = result["builds"], result["rows"]
    about = [
        f"{label} is {one['path']} ({one['kind']}, {one['version']}, {one['sha256'][:12]})"
        for label, one in builds.items()
    ]
    if builds and builds["A"]["sha256"] == builds["B"]["sha256"]:
        about.append("A and B are the same file: every difference is an error of the measurement")
    measured = [row for row in rows if row["status"] == "measured"]
    columns = {
        "load of the model, or one run": "name",
        "rounds": "rounds",
        "A, B\nms": ("ms", _both),
        "A, B\np99 ms": ("p99_ms", _both),
        "A, B\npeak MB": ("peak_bytes", lambda pair: ", ".join(map(_mb, pair))),
        "B / A": ("ratio", lambda ratio: _number(ratio, 3)),
        "95 %\ninterval": (
            "interval",
            lambda ends: f"{ends[0]:.3f}-{ends[1]:.3f}" if ends else "-",
        ),
        "B is": "verdict",
    }
    notes = [f"{row['name']}: {row['status']}: {row['reason']}" for row in rows if "reason" in row]
    for row in measured:
        if not row["answers_agree"]:
            by = _number(row["answers_differ_by"])
            notes.append(f"{row['name']}: A and B differ by {by} times the tolerance")
        if row["used"][0] != row["used"][1]:
            notes.append(f"{row['name']}: A runs on {row['used'][0]}; B runs on {row['used'][1]}")
    if result["interrupted"]:
        notes.append(_INTERRUPTED)
    return ["\n".join(about), _table("", measured, columns)], notes

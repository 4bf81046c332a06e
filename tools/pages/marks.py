"""The tables and figures in README and docs, written from the files in docs/results.

A page has ``<!-- results: FILE PART ARGUMENT... -->TEXT<!-- end -->``, in one line or in several.
``python -m tools.pages`` replaces each TEXT, and draws the pictures of ``docs/results``. A part is
a function in ``_PARTS``; it gets the content of the file and the arguments. The text behind
``<!-- repository -->`` becomes the address in pyproject.toml.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.files import write_text
from lenet_cpp.errors import BadInput
from tools.benchmark.photos import BY_HAND
from tools.drawn import tables as drawn
from tools.exporters import tables as exporters
from tools.gpu import tables as gpu
from tools.pages.picture import pictures
from tools.survey.figures import (
    NAMES,
    REDUCED,
    SETTLED,
    best_other,
    cells_of,
    describe_machine,
    network_cells,
    networks_of,
    number,
    own_name,
    peer_name,
    read,
)
from tools.survey.summary import is_accurate
from tools.versions import tables as versions
from tools.zoo import tables as zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Row = dict[str, Any]

_MARKED = re.compile(r"(<!-- results: (.+?) -->)(.*?)(<!-- end -->)", re.DOTALL)
_ADDRESS = re.compile(r"(?<=<!-- repository -->).*?(?=<!-- end -->)")
_WORDS = {
    "native": "native engine",
    "onednn": "oneDNN",
    "onnxruntime": "ONNX Runtime",
    "json": "`.json`",
    "pdmodel": "`.pdmodel`",
    "openvino": "OpenVINO",
    "c++": "from C++",
}


def write_pages(root: Path) -> list[Path]:
    """Write the pages and the pictures again, and return those that changed."""
    changed = []
    for path, text in written(root).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            changed.append(path)
    return changed


def written(root: Path) -> dict[Path, str]:
    """Return the expected contents of the pictures and of each page with a mark."""
    texts = {root / path: text for path, text in pictures(root).items()}
    for path in sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")]):
        text = path.read_text(encoding="utf-8")
        if _MARKED.search(text):
            filled = _MARKED.sub(lambda found: _fill(root, found), text)
            texts[path] = _ADDRESS.sub(lambda _: _repository(root), filled)
    return texts


def _repository(root: Path) -> str:
    """Return the address of the repository in pyproject.toml; a placeholder while it has none."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^Repository = "(.+)"', text, re.MULTILINE)
    return found[1] if found else "ADDRESS"


def outside_marks(text: str) -> str:
    """Return a page without the texts that are generated from results."""
    return _MARKED.sub("", text)


def _fill(root: Path, found: re.Match[str]) -> str:
    file, part, *arguments = found[2].split()
    if part not in _PARTS:
        raise BadInput(f"{found[1]}: there is no part {part!r}; choose among {', '.join(_PARTS)}")
    try:
        text = _PARTS[part](read(root, file), *arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{found[1]}: {file} does not contain it: {error}") from error
    return found[1] + (f"\n{text}\n" if "\n" in text else text) + found[4]


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _label(contender: str) -> str:
    group, *kinds = contender.split("/")
    if group in {"program", "lenet_cpp"} and kinds[0] in {"pdmodel", "json"}:
        kinds = ["Paddle engine", *kinds]
    return ", ".join([NAMES[group], *(_WORDS.get(kind, kind) for kind in kinds)])


def _time(cell: Row, scale: float) -> str:
    """Return a time with the difference between turns: ``17.3 (2 %)``. ``scale`` is of its unit."""
    return f"{number(scale * cell['median_us'])} ({100 * cell['spread_between_turns']:.0f} %)"


def _share(own: Row, other: Row) -> str:
    """Return the time of one as a share of another's; ``~`` where one of them is not settled."""
    spread = max(own["spread_between_turns"], other["spread_between_turns"])
    return _ratio(own["median_us"] / other["median_us"], spread)


def _ratio(value: float, spread: float) -> str:
    """Return a ratio; ``~`` where turns are so far apart that it is not settled."""
    return f"{'~' if spread > SETTLED else ''}{value:.2f}"


def _us(result: Row, contender: str, size: str, threads: str = "1") -> float:
    (network,) = networks_of(result).values()
    us: float = cells_of(network, int(threads))[contender][int(size)]["median_us"]
    return us / int(size)


def _limit(result: Row) -> str:
    """Return microseconds an image, if all multiply-adds of the definition ran at the limit."""
    (network,) = networks_of(result).values()
    rate = network["multiply_add_limit"][0]["multiply_adds_per_second"]
    return number(1e6 * network["multiply_adds_per_image"] / rate)


def _latency(result: Row, precision: str, threads: str = "1") -> str:
    """Return a table of microseconds per image and errors, sorted by the time for one image."""
    (network,) = networks_of(result).values()
    cells = cells_of(network, int(threads), precision)
    sizes = sorted({size for by in cells.values() for size in by})
    rows = [
        [
            _label(name),
            *(_time(by[size], 1 / size) for size in sizes),
            f"{max(cell['error'] for cell in by.values()):.1e}",
        ]
        for name, by in sorted(cells.items(), key=lambda item: item[1][sizes[0]]["median_us"])
    ]
    return _table(["microseconds per image, by batch size", *map(str, sizes), "error"], rows)


def _precision(result: Row, size: str) -> str:
    """Return a table that compares int8 and bf16 with float32: time, accuracy, classes."""
    (network,) = networks_of(result).values()
    cells = {c["contender"]: c for c in network["cells"] if c["batch_size"] == int(size)}
    rows = []
    for name, cell in sorted(cells.items(), key=lambda item: item[1]["median_us"]):
        if (other := cells.get(name.rpartition("/")[0])) and cell["precision"] != "fp32":
            times = [_time(one, 1 / int(size)) for one in (cell, other)]
            shares = [f"{100 * cell[key]:.1f} %" for key in ("accuracy", "same_class")]
            rows.append([_label(name), *times, *shares])
    header = ["microseconds per image", "time", "in float32", "accuracy", "same class as float32"]
    return _table(header, rows)


def _networks(result: Row, sizes: str, *precisions: str) -> str:
    """Return milliseconds per batch: of the native engine, and of the fastest other library.

    ``sizes`` are batch sizes, such as ``1,8``. In bf16 and int8, the native engine's time in
    float32 stands beside its time.
    """
    counts = [int(size) for size in sizes.split(",")]
    rows = []
    for name, network in networks_of(result).items():
        for precision in precisions or ("fp32",):
            row = [f"{name}, {precision}" if precisions else name]
            for count in counts:
                row += _beside_fastest(network, count, precision)
            rows.append(row)
    header = ["milliseconds per batch"]
    for count in counts:
        header.append("1 image" if count == 1 else f"{count} images")
        header += ["in float32"] if precisions else []
        header += ["fastest other", "native / fastest other"]
    return _table(header, rows)


def _beside_fastest(network: Row, size: int, precision: str) -> list[str]:
    """Return the cells of one network, batch size and precision in a table of networks."""
    own = cells_of(network, precision=precision)[own_name(network, precision)][size]
    other = best_other(network, size, precision)
    times = [_time(own, 1e-3)]
    if precision != "fp32":
        in_float32 = cells_of(network, precision="fp32")[own_name(network)][size]
        times.append(_time(in_float32, 1e-3))
    fastest = f"{_time(other, 1e-3)}, {peer_name(other['contender'])}"
    return [*times, fastest, _share(own, other)]


def _beside(result: Row, size: str, threads: str = "1") -> str:
    """Return each contender's milliseconds per batch in float32, with errors that are too large."""

    def time_of(found: Row) -> str:
        mark = "" if is_accurate(found) else f", error {found['error']:.1e}"
        return _time(found, 1e-3) + mark

    corner = f"milliseconds, {size} at once"
    return _contender_table(result, int(size), int(threads), corner, time_of)


def _errors(result: Row, size: str) -> str:
    """Return the error of each contender and network in float32."""
    return _contender_table(result, int(size), 1, "error", lambda found: f"{found['error']:.1e}")


def _contender_table(
    result: Row, size: int, threads: int, corner: str, text_of: Callable[[Row], str]
) -> str:
    """Return a table with a row for each network and a column for each contender in float32.

    ``text_of`` makes the text of a cell; one that was not measured is a dash.
    """
    by_network: dict[str, dict[str, Row]] = {}
    for name, network in networks_of(result).items():
        cells = cells_of(network, threads, "fp32").items()
        by_network[name] = {contender: by[size] for contender, by in cells if size in by}
    order = [
        one["name"]
        for network in result["networks"]
        for one in network["contenders"]
        if one["name"] in by_network[network["network"]]
    ]
    names = [name for name in dict.fromkeys(order) if not name.endswith("/auto")]
    names.sort(key=lambda name: not name.endswith("/native"))  # the native engine comes first
    rows = [
        [name, *(text_of(found[one]) if one in found else "-" for one in names)]
        for name, found in by_network.items()
    ]
    headers = ["native" if one.endswith("/native") else peer_name(one) for one in names]
    return _table([corner, *headers], rows)


def _network_ms(result: Row, name: str, size: str) -> str:
    own = network_cells(result, name)[own_name(networks_of(result)[name])][int(size)]
    return number(own["median_us"] / 1e3)


def _network_saving(result: Row, name: str, size: str) -> str:
    """Return how much less time the native engine takes than the next fastest, in percent."""
    network = networks_of(result)[name]
    own = network_cells(result, name)[own_name(network)][int(size)]["median_us"]
    share = own / best_other(network, int(size))["median_us"]
    return f"{100 * (1 - share):.0f}"


def _network_next(result: Row, name: str, size: str) -> str:
    """Return the name of the fastest other library."""
    other = best_other(networks_of(result)[name], int(size))["contender"]
    return peer_name(other).removesuffix(" (C++)")


def _start_ms(result: Row, contender: str) -> str:
    (row,) = (row for row in result["rows"] if row["contender"] == contender)
    return number(row["median_ms"])


def _startup(result: Row) -> str:
    rows = [
        [
            _label(row["contender"]),
            *(number(row[key]) for key in ("median_ms", "p99_ms", "load_ms")),
            number(row["peak_bytes"] / 1e6),
        ]
        for row in sorted(result["rows"], key=lambda row: row.get("median_ms", 0.0))
        if row["absent"] is None and not row["contender"].endswith(REDUCED)
    ]
    return _table(["process", "first result, ms", "p99", "loading, ms", "MB"], rows)


def _memory(result: Row, kind: str) -> str:
    rows = [
        [
            _label(row["contender"]),
            f"{row['samples'][-1][0]:,}",
            *(number(row[f"{name}_bytes"] / 1e6) for name in ("settled", "last")),
            f"{round(row['bytes_each']):,}",
        ]
        for row in result["series"]
        if row["kind"] == kind
    ]
    return _table(["MB", kind, "after the first fifth", "end", "bytes each"], rows)


def _serve(result: Row, connections: str) -> str:
    """Return each server's times and rate, and how much higher the rate of lenet_serve is."""
    rows = []
    for cell in result["cells"]:
        if cell["connections"] == int(connections):
            figures = [number(cell[key]) for key in ("p50_us", "p99_us", "rate")]
            found = cell["ratio"]
            figures.append(_ratio(found["median"], found["spread_between_turns"]) if found else "-")
            rows.append([f"{cell['server']}, {cell['kind']}", *figures])
    header = ["server, requests", "p50, microseconds", "p99", "requests per second"]
    return _table([*header, "rate of `lenet_serve` / its rate"], rows)


def amount(value: float, units: str) -> str:
    """Return a value with the greatest unit that leaves 1 or more of it: "s 1 min 60 h 3600"."""
    pairs = units.split()
    *_, (unit, size) = [
        (unit, float(size))
        for unit, size in zip(pairs[::2], pairs[1::2], strict=True)
        if value >= float(size) or unit == pairs[0]
    ]
    return f"{value / size:.{0 if value >= 10 * size else 1}f} {unit}"


def _scale(result: Row) -> str:
    """Return a table of the costs of digits and photos in bulk prediction."""
    digits, photos = result["digits"], result["photos"]
    costs = [digits["one_process_us"] / 1e6, photos["predicted_ms"] / 1e3]
    sizes = [784, photos["bytes"]]
    model, decoding = digits["in_memory_us"] / 1e6, photos["pillow_ms"] / 1e3
    time = "us 1e-6 ms 1e-3 s 1 min 60 h 3600 days 86400"
    space = "bytes 1 kB 1e3 MB 1e6 GB 1e9 TB 1e12"
    both = list(zip(costs, sizes, strict=True))
    rows = [
        ["processor time per image", *(amount(cost, time) for cost in costs)],
        ["share of the model", *(f"{model / cost:.1%}" for cost in costs)],
        ["relative to pixels in memory", f"{costs[0] / model:.2f}", ""],
        ["relative to Pillow's decoding", "", f"{costs[1] / decoding:.2f}"],
    ]
    for name, count in (("a million", 1e6), ("a billion", 1e9)):
        of = (f"{amount(cost * count, time)}, {amount(size * count, space)}" for cost, size in both)
        rows.append([f"{name} images: processor time, data read", *of])
    rows.append(
        [
            "data read per second by one processor",
            *(amount(size / cost, space) for cost, size in both),
        ]
    )
    gains = (f"{each['one_seconds'] / each['two_seconds']:.2f}" for each in (digits, photos))
    rows.append(["speed-up with two processes", *gains])
    return _table(["", "digits, 28 x 28, in `.parquet`", "photos, 640 x 480, JPEG"], rows)


def _photos(result: Row, network: str) -> str:
    """Return milliseconds from the file of a photo to its class, with one network."""
    contenders_of: dict[tuple[str, str], dict[str, Row]] = {}
    for row in result["rows"]:
        if row["network"] == network and row["status"] == "measured":
            photo_and_rule = row["photo"], row["rule"]
            contenders_of.setdefault(photo_and_rule, {})[row["contender"]] = row
    names = dict.fromkeys(name for by_name in contenders_of.values() for name in by_name)
    others = [name for name in names if name not in BY_HAND.values()]
    started = [name for name in ("Classifier", "PaddleX") if name in others]
    rows = [
        _photo_row(photo, by_name, others, started)
        for (photo, _rule), by_name in contenders_of.items()
    ]
    header = [
        "photo",
        "by hand with",
        *(f"`{name}`" for name in others),
        "by hand",
        "`Classifier` / by hand",
        *(f"first photo, `{name}`" for name in started),
        "first photo, by hand",
    ]
    return _table(header, rows)


def _photo_row(
    photo: str, by_name: dict[str, Row], others: list[str], started: list[str]
) -> list[str]:
    hand = next(row for name, row in by_name.items() if name in BY_HAND.values())
    return [
        photo,
        hand["contender"],
        *(_time(by_name[name], 1e-3) if name in by_name else "-" for name in others),
        _time(hand, 1e-3),
        f"{by_name['Classifier']['ratio']:.2f}",
        *(_cell(by_name.get(name), "first_ms") for name in started),
        _cell(hand, "first_ms"),
    ]


def _cell(row: Row | None, key: str, scale: float = 1.0) -> str:
    return "-" if row is None or row.get(key) is None else number(scale * row[key])


def _of_a_photo(result: Row, network: str, file_type: str, megapixels: str) -> dict[str, Row]:
    """Return the rows of a photo by contender, resized by the rule that PaddleX has."""
    place = (network, f"{file_type}, {megapixels} megapixels", "opencv", "measured")
    keys = ("network", "photo", "rule", "status")
    return {
        row["contender"]: row for row in result["rows"] if tuple(row[key] for key in keys) == place
    }


def _photo_costs(result: Row, *photo: str) -> str:
    """Return what the first photo of a process and a later one cost each contender."""
    rows = [
        [
            f"`{name}`" if name not in BY_HAND.values() else name,
            _cell(row, "first_ms"),
            _time(row, 1e-3),
            _cell(row, "peak_bytes", 1e-6),
            _cell(row, "disk_bytes", 1e-6),
        ]
        for name, row in _of_a_photo(result, *photo).items()
    ]
    header = ["", "first photo, ms", "each further photo, ms", "memory, MB", "disk, MB"]
    return _table(header, rows)


def _photo_figure(result: Row, key: str, scale: float, *where: str) -> str:
    photo, words = where[:3], where[3:]  # The name of a contender may have spaces.
    return _cell(_of_a_photo(result, *photo)[" ".join(words)], key, scale)


_PARTS: dict[str, Callable[..., str]] = {
    "machine": describe_machine,
    "latency": _latency,
    "precision": _precision,
    "us": lambda result, *of: number(_us(result, *of)),
    "times": lambda result, a, b, *of: f"{_us(result, b, *of) / _us(result, a, *of):.1f}",
    "limit": _limit,
    "networks": _networks,
    "beside": _beside,
    "errors": _errors,
    "network-ms": _network_ms,
    "network-saving": _network_saving,
    "network-next": _network_next,
    "start-ms": _start_ms,
    "startup": _startup,
    "memory": _memory,
    "serve": _serve,
    "photos": _photos,
    "photo-costs": _photo_costs,
    "photo-ms": lambda result, *of: _photo_figure(result, "median_us", 1e-3, *of),
    "photo-first-ms": lambda result, *of: _photo_figure(result, "first_ms", 1.0, *of),
    "photo-mb": lambda result, *of: _photo_figure(result, "peak_bytes", 1e-6, *of),
    "scale": _scale,
    **versions.PARTS,
    **drawn.PARTS,
    **exporters.PARTS,
    **zoo.PARTS,
    **gpu.PARTS,
    "coverage": lambda result, of: f"{result[of]:.0f} %",
    "text": lambda result, of: str(result[of]),
    "gain": lambda result, which: f"{result['predictors'][which]:.2f}",
}

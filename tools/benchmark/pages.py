"""The tables and figures in README and docs, written from the files in docs/results.

A page has ``<!-- results: FILE PART ARGUMENT... -->TEXT<!-- end -->``, in one line or in several.
``benchmark.py --pages`` replaces each TEXT, and draws the pictures of ``docs/results``. A part is a
function in ``_PARTS``; it gets the content of the file and the arguments.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.files import write_text
from lenet_cpp.errors import BadInput, FileNotFound
from tools.benchmark.photos import BY_HAND
from tools.benchmark.picture import OWN, bars
from tools.benchmark.summary import is_accurate
from tools.drawn import tables as drawn
from tools.exporters import tables as exporters
from tools.gpu import tables as gpu
from tools.versions import tables as versions
from tools.zoo import tables as zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = dict[str, Any]

RESULTS = Path("docs", "results")
PICTURES = (RESULTS / "latency.svg", RESULTS / "startup.svg")
_MARKED = re.compile(r"(<!-- results: (.+?) -->)(.*?)(<!-- end -->)", re.DOTALL)
_SERVERS = ("fastapi", "uvicorn", "mlserver", "litserve")
_PEERS = ("ncnn", "MNN", "torch", "executorch")
_ENGINES = ("paddlepaddle", "paddlex", "onnxruntime", "openvino", "ai-edge-litert")
_READERS = ("opencv-python-headless", "pillow")
_LIBRARIES = (*_ENGINES, *_PEERS, *_SERVERS, *_READERS)
_REDUCED = ("int8", "bf16")
_SETTLED = 0.1  # the largest difference between turns of a figure that would come again
_NOT_DRAWN = ("dygraph", "lenet_infer_native", "program")
_NO_BARS = ("/auto", "/c++")  # kinds of those that are drawn
_NAMES = {
    "program": "this project, C++",
    "lenet_infer_native": "this project, program without Paddle",
    "lenet_cpp": "this project, Python",
    "paddle.inference": "Paddle Inference",
    "dygraph": "Paddle, training engine",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "litert": "LiteRT",
    "ncnn": "ncnn",
    "mnn": "MNN",
    "torch.compile": "torch.compile",
    "executorch": "ExecuTorch",
}
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
    drawn = (_latency_picture(root), _startup_picture(root))
    texts = {root / path: text for path, text in zip(PICTURES, drawn, strict=True)}
    for path in sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")]):
        text = path.read_text(encoding="utf-8")
        if _MARKED.search(text):
            texts[path] = _MARKED.sub(lambda found: _fill(root, found), text)
    return texts


def outside_marks(text: str) -> str:
    """Return a page without the texts that are generated from results."""
    return _MARKED.sub("", text)


def _fill(root: Path, found: re.Match[str]) -> str:
    file, part, *arguments = found[2].split()
    if part not in _PARTS:
        raise BadInput(f"{found[1]}: there is no part {part!r}; choose among {', '.join(_PARTS)}")
    try:
        text = _PARTS[part](_read(root, file), *arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{found[1]}: {file} does not contain it: {error}") from error
    return found[1] + (f"\n{text}\n" if "\n" in text else text) + found[4]


def _read(root: Path, file: str) -> Row:
    path = root / RESULTS / file
    try:
        result: Row = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror}") from error
    return result


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _label(contender: str) -> str:
    group, *kinds = contender.split("/")
    if group in {"program", "lenet_cpp"} and kinds[0] in {"pdmodel", "json"}:
        kinds = ["Paddle engine", *kinds]
    return ", ".join([_NAMES[group], *(_WORDS.get(kind, kind) for kind in kinds)])


def _networks(result: Row) -> dict[str, Row]:
    return {network["network"]: network for network in result["networks"]}


def _cells(
    network: Row, threads: int = 1, precision: str | None = None
) -> dict[str, dict[int, Row]]:
    """Return the cells of a network, by contender and images at once."""
    found: dict[str, dict[int, Row]] = {}
    for cell in network["cells"]:
        if cell["threads"] == threads and precision in {None, cell["precision"]}:
            found.setdefault(cell["contender"], {})[cell["batch_size"]] = cell
    return found


def _time(cell: Row, scale: float) -> str:
    """Return a time with the difference between turns: ``17.3 (2 %)``. ``scale`` is of its unit."""
    return f"{_number(scale * cell['median_us'])} ({100 * cell['spread_between_turns']:.0f} %)"


def _share(own: Row, other: Row) -> str:
    """Return the time of one as a share of another's; ``~`` where one of them is not settled."""
    unsettled = max(own["spread_between_turns"], other["spread_between_turns"]) > _SETTLED
    return f"{'~' if unsettled else ''}{own['median_us'] / other['median_us']:.2f}"


def _us(result: Row, contender: str, size: str, threads: str = "1") -> float:
    (network,) = _networks(result).values()
    us: float = _cells(network, int(threads))[contender][int(size)]["median_us"]
    return us / int(size)


def _limit(result: Row) -> str:
    """Return microseconds an image, if all multiply-adds of the definition ran at the limit."""
    (network,) = _networks(result).values()
    rate = network["multiply_add_limit"][0]["multiply_adds_per_second"]
    return _number(1e6 * network["multiply_adds_per_image"] / rate)


def _machine(result: Row) -> str:
    machine, versions = result["machine"], result["versions"]
    family, model, _ = machine["family, model, stepping"].split(", ")
    virtual = ", a virtual machine" if machine["virtual machine"] == "yes" else ""
    libraries = ", ".join(f"{name} {versions[name]}" for name in _LIBRARIES if name in versions)
    processor = f"{machine['processor']} (family {family}, model {model}){virtual}"
    return f"{processor}; {result['date'][:10]}; {libraries}"


def _latency(result: Row, precision: str, threads: str = "1") -> str:
    """Return a table of microseconds per image, sorted by the time for one image."""
    (network,) = _networks(result).values()
    cells = _cells(network, int(threads), precision)
    sizes = sorted({size for by in cells.values() for size in by})
    rows = [
        [_label(name), *(_time(by[size], 1 / size) for size in sizes)]
        for name, by in sorted(cells.items(), key=lambda item: item[1][sizes[0]]["median_us"])
    ]
    return _table(["microseconds per image, by batch size", *map(str, sizes)], rows)


def _precision(result: Row, size: str) -> str:
    """Return a table that compares int8 and bf16 with float32: time, accuracy, classes."""
    (network,) = _networks(result).values()
    cells = {c["contender"]: c for c in network["cells"] if c["batch_size"] == int(size)}
    rows = []
    for name, cell in sorted(cells.items(), key=lambda item: item[1]["median_us"]):
        if (other := cells.get(name.rpartition("/")[0])) and cell["precision"] != "fp32":
            times = [_time(one, 1 / int(size)) for one in (cell, other)]
            shares = [f"{100 * cell[key]:.1f} %" for key in ("accuracy", "same_class")]
            rows.append([_label(name), *times, *shares])
    header = ["microseconds per image", "time", "in float32", "accuracy", "same class as float32"]
    return _table(header, rows)


def _best(network: Row, size: int, precision: str = "fp32") -> Row:
    """Return the cell of the fastest contender that is not the native engine.

    Those whose error is too large do not count.
    """
    others = (
        cell
        for cell in network["cells"]
        if (cell["threads"], cell["batch_size"], cell["precision"]) == (1, size, precision)
        and "native" not in cell["contender"]
        and not cell["contender"].endswith("/auto")
        and is_accurate(cell)
    )
    return min(others, key=lambda cell: cell["median_us"])


def _zoo(result: Row, *precisions: str) -> str:
    """Return milliseconds per batch: of the native engine, and of the fastest other library."""
    rows = []
    for name, network in _networks(result).items():
        for precision in precisions or ("fp32",):
            cells = _cells(network, precision=precision)
            contender = "lenet_cpp/native"
            if precision in _REDUCED:
                contender += f"/{precision}"
            row = [f"{name}, {precision}" if precisions else name]
            for size in (1, 8):
                own = cells[contender][size]
                other = _best(network, size, precision)
                row.append(_time(own, 1e-3))
                if precisions:
                    in_float32 = _network_cells(result, name)["lenet_cpp/native"][size]
                    row.append(_time(in_float32, 1e-3))
                row += [f"{_time(other, 1e-3)}, {_peer(other['contender'])}", _share(own, other)]
            rows.append(row)
    columns = ["fastest other", "native / fastest other"]
    if precisions:
        columns.insert(0, "in float32")
    return _table(["milliseconds per batch", "1 image", *columns, "8 images", *columns], rows)


def _one_image(result: Row, precision: str = "fp32") -> str:
    """Return the native engine's milliseconds for one image, and those of the fastest other one."""
    contender = "lenet_cpp/native" + (f"/{precision}" if precision in _REDUCED else "")
    rows = []
    for name, network in _networks(result).items():
        own = _cells(network, precision=precision)[contender][1]
        other = _best(network, 1, precision)
        beside = f"{_time(other, 1e-3)}, {_peer(other['contender'])}"
        rows.append([name, _time(own, 1e-3), beside, _share(own, other)])
    kind = "" if precision == "fp32" else f", {precision}"
    header = [f"milliseconds{kind}", "1 image", "fastest other", "native / fastest other"]
    return _table(header, rows)


def _beside(result: Row, size: str) -> str:
    """Return each contender's milliseconds per batch in float32, with errors that are too large."""
    by_network = {}
    for name, network in _networks(result).items():
        cells = (c for c in network["cells"] if (c["threads"], c["precision"]) == (1, "fp32"))
        by_network[name] = {c["contender"]: c for c in cells if c["batch_size"] == int(size)}
    order = [
        one["name"]
        for network in result["networks"]
        for one in network["contenders"]
        if one["name"] in by_network[network["network"]]
    ]
    names = [name for name in dict.fromkeys(order) if not name.endswith("/auto")]

    def cell(found: Row | None) -> str:
        if found is None:
            return "-"
        mark = "" if is_accurate(found) else f", error {found['error']:.0e}"
        return _time(found, 1e-3) + mark

    rows = [[name, *(cell(of.get(one)) for one in names)] for name, of in by_network.items()]
    headers = ["native" if one == "lenet_cpp/native" else _peer(one) for one in names]
    return _table([f"milliseconds, {size} at once", *headers], rows)


def _errors(result: Row) -> str:
    """Return each contender's largest error in float32, over all networks."""
    largest: dict[str, float] = {}
    for network in result["networks"]:
        for cell in network["cells"]:
            if cell["precision"] == "fp32" and not cell["contender"].endswith("/auto"):
                name = cell["contender"]
                largest[name] = max(largest.get(name, 0.0), cell["error"])
    rows = [
        [_label(name), f"{error:.0e}"]
        for name, error in sorted(largest.items(), key=lambda x: x[1])
    ]
    return _table(["float32", "largest error"], rows)


def _peer(contender: str) -> str:
    """Return the short name of a contender that is not the native engine."""
    if contender == "lenet_cpp/pdmodel/openvino":
        return "Paddle's OpenVINO"
    if "onednn" in contender:
        return "oneDNN"
    if "/c++" in contender:
        return _NAMES[contender.partition("/")[0]] + " (C++)"
    return _NAMES[contender.partition("/")[0]]


def _network_cells(result: Row, name: str) -> dict[str, dict[int, Row]]:
    return _cells(_networks(result)[name], precision="fp32")


def _network_ms(result: Row, name: str, size: str) -> str:
    return _number(_network_cells(result, name)["lenet_cpp/native"][int(size)]["median_us"] / 1e3)


def _network_saving(result: Row, name: str, size: str) -> str:
    """Return how much less time the native engine takes than the next fastest, in percent."""
    own = _network_cells(result, name)["lenet_cpp/native"][int(size)]["median_us"]
    share = own / _best(_networks(result)[name], int(size))["median_us"]
    return f"{100 * (1 - share):.0f}"


def _start_ms(result: Row, contender: str) -> str:
    (row,) = (row for row in result["rows"] if row["contender"] == contender)
    return _number(row["median_ms"])


def _startup(result: Row) -> str:
    rows = [
        [
            _label(row["contender"]),
            *(_number(row[key]) for key in ("median_ms", "load_ms")),
            _number(row["peak_bytes"] / 1e6),
        ]
        for row in sorted(result["rows"], key=lambda row: row.get("median_ms", 0.0))
        if row["absent"] is None and not row["contender"].endswith(_REDUCED)
    ]
    return _table(["process", "first result, ms", "loading, ms", "MB"], rows)


def _memory(result: Row, kind: str) -> str:
    rows = [
        [
            _label(row["contender"]),
            f"{row['samples'][-1][0]:,}",
            *(_number(row[f"{name}_bytes"] / 1e6) for name in ("settled", "last")),
            f"{round(row['bytes_each']):,}",
        ]
        for row in result["series"]
        if row["kind"] == kind
    ]
    return _table(["MB", kind, "after the first fifth", "end", "bytes each"], rows)


def _serve(result: Row, connections: str) -> str:
    rows = [
        [
            f"{cell['server']}, {cell['kind']}",
            *(_number(cell[key]) for key in ("p50_us", "p99_us", "rate")),
        ]
        for cell in result["cells"]
        if cell["connections"] == int(connections)
    ]
    return _table(["server, requests", "p50, microseconds", "p99", "requests per second"], rows)


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
        *(_cell(by_name.get(name), "median_us", 1e-3) for name in others),
        _cell(hand, "median_us", 1e-3),
        f"{by_name['Classifier']['ratio']:.2f}",
        *(_cell(by_name.get(name), "first_ms") for name in started),
        _cell(hand, "first_ms"),
    ]


def _cell(row: Row | None, key: str, scale: float = 1.0) -> str:
    return "-" if row is None or row[key] is None else _number(scale * row[key])


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
        ]
        for name, row in _of_a_photo(result, *photo).items()
    ]
    return _table(["", "first photo, ms", "each further photo, ms", "memory, MB"], rows)


def _photo_figure(result: Row, key: str, scale: float, *where: str) -> str:
    photo, words = where[:3], where[3:]  # The name of a contender may have spaces.
    return _cell(_of_a_photo(result, *photo)[" ".join(words)], key, scale)


_PARTS: dict[str, Callable[..., str]] = {
    "machine": _machine,
    "latency": _latency,
    "precision": _precision,
    "us": lambda result, *of: _number(_us(result, *of)),
    "times": lambda result, a, b, *of: f"{_us(result, b, *of) / _us(result, a, *of):.1f}",
    "limit": _limit,
    "networks": _zoo,
    "one-image": _one_image,
    "beside": _beside,
    "errors": _errors,
    "network-ms": _network_ms,
    "network-saving": _network_saving,
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


def _latency_picture(root: Path) -> str:
    """Draw the times of LeNet and of a large network, for one image and from Python."""
    panels, notes = [], []
    for file, name, what, unit, scale in (
        ("lenet.json", "LeNet", "one digit", "µs", 1.0),
        ("networks.json", "ResNet50_vd", "one photo", "ms", 1e-3),
    ):
        result = _read(root, file)
        notes.append(f"{name}: {_machine(result)}")
        least: dict[str, float] = {}
        for contender, by in _network_cells(result, name).items():
            group, _, kind = contender.partition("/")
            is_drawn = group not in _NOT_DRAWN and not contender.endswith((*_REDUCED, *_NO_BARS))
            if is_drawn and is_accurate(by[1]):
                # Paddle's engines have the same speed from its own package and from this one.
                group = "paddle.inference" if group == "lenet_cpp" else group
                label = OWN if kind == "native" else _NAMES[group]
                least[label] = min(scale * by[1]["median_us"], least.get(label, float("inf")))
        rows = sorted(least.items(), key=lambda item: item[1])
        panels.append((f"{name}, {what}, one core, from Python", unit, rows))
    return bars(panels, notes)


def _startup_picture(root: Path) -> str:
    """Draw how long processes take to their first result, and what memory: C++ beside Python."""
    result = _read(root, "startup.json")
    names = {"lenet_infer_native": OWN, "onnxruntime": "", "openvino": "", "litert": ""}
    names["paddle.inference/pdmodel/plain"] = ""
    found = [
        (names[row["contender"]] or _NAMES[row["contender"].partition("/")[0]], row)
        for row in sorted(result["rows"], key=lambda row: row.get("median_ms", 0.0))
        if row["contender"] in names and row["absent"] is None
    ]
    times = [(name, row["median_ms"]) for name, row in found]
    memory = [(name, row["peak_bytes"] / 1e6) for name, row in found]
    panels = [
        ("From the start of a process to its first result", "ms", times),
        ("Its memory", "MB", memory),
    ]
    who = f"{OWN}: the program without Paddle and Python; the others from Python."
    return bars(panels, [f"LeNet. {who}", _machine(result)])

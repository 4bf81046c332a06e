"""The tables of docs/zoo.md, from docs/results/zoo.json."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tools.survey.results import markdown_table

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = dict[str, Any]

_NAMES = {"native": "native", "paddle": "Paddle", "onnxruntime": "onnxruntime", "auto": "default"}
_LIBRARIES = {"paddle": "Paddle", "onnxruntime": "onnxruntime"}
_WORDS = {"Unsupported": "refused", "own": "its library's own"}
_SHOWN = ("lenet-cpp", "paddlepaddle", "onnxruntime", "paddleclas", "torch", "torchvision", "timm")


def _label(suffix: str) -> str:
    """Return a format as the tables write it; ``dynamo`` is PyTorch's newer exporter."""
    return "`.onnx` by dynamo" if suffix == "dynamo" else f"`.{suffix}`"


def _engines(row: Row) -> list[str]:
    return [engine for engine in _NAMES if engine in row]


def _formats(result: Row) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in result["networks"]:
        found.setdefault((row["source"], row["format"]), []).append(row)
    return found


def _counts(rows: list[Row], engine: str) -> str:
    """Return how many answers of an engine are right, and what the others are."""
    counts = Counter(_WORDS.get(o := row[engine]["outcome"], o) for row in rows if engine in row)
    right = counts.pop("right", 0)
    return ", ".join([str(right), *(f"{n} {kind}" for kind, n in counts.items())])


def totals(result: Row) -> str:
    """Return what each engine does with the files of each source and format."""
    rows = []
    for (source, suffix), networks in _formats(result).items():
        written = [row for row in networks if _engines(row)]
        library = "onnxruntime" if suffix in {"onnx", "dynamo"} else "paddle"
        cells = [_counts(written, engine) for engine in ("native", library, "auto")]
        rows.append([source, _label(suffix), f"{len(written)} of {len(networks)}", *cells])
    header = ["package", "format", "exported", "native", "Paddle or onnxruntime", "default"]
    return markdown_table(header, rows)


def _percent(share: float) -> str:
    percent = 100 * share
    if 0 < percent < 1:
        return "<1 %"
    return f"{percent:,.0f} %"


def cell(engine: str, found: Row) -> str:
    """Return what an engine does with a file, in a few words."""
    outcome = found["outcome"]
    if outcome in {"right", "own", "wrong"}:
        text = _percent(found["share"]) if "share" in found else found["said"]
        if "float64" in found:
            own, reference = map(_percent, found["float64"])
            text += f" (from float64 {own}, the framework {reference})"
        if outcome == "own":
            return f"{_LIBRARIES.get(engine, 'the library')}'s own, {text}"
        return text if outcome == "right" else f"**wrong**, {text}"
    if outcome == "Unsupported":
        return f"`{found['operator']}`" if "operator" in found else "refused"
    if outcome == "not_run":
        return f"not run by {_LIBRARIES[engine]} itself"
    return f"**{outcome}**" + (f" `{found['operator']}`" if "operator" in found else "")


def networks(result: Row, source: str) -> str:
    """Return the networks of a source and what each engine does with each."""
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    engines: list[str] = []
    for row in result["networks"]:
        if row["source"] == source and _engines(row):
            engines = [*dict.fromkeys([*engines, *_engines(row)])]
            cells = {engine: cell(engine, row[engine]) for engine in _engines(row)}
            found.setdefault((row["family"], row["network"]), {})[row["format"]] = cells
    rows = []
    for (family, name), by_format in found.items():
        texts = []
        for engine in engines:
            given = {suffix: cells.get(engine, "-") for suffix, cells in by_format.items()}
            same = len(set(given.values())) == 1
            both = ", ".join(f"{_label(suffix)} {text}" for suffix, text in given.items())
            texts.append(next(iter(given.values())) if same else both)
        rows.append([family, name, ", ".join(map(_label, by_format)), *texts])
    header = ["family", "network", "format", *(_NAMES[engine] for engine in engines)]
    return markdown_table(header, rows)


def operators(result: Row) -> str:
    """Return the operators for which the native engine refuses networks, with their number."""
    counts: dict[str, Counter[str]] = {}
    for row in result["networks"]:
        found = row.get("native", {})
        if found.get("outcome") == "Unsupported":
            counts.setdefault(_label(row["format"]), Counter())[found.get("operator", "")] += 1
    rows = []
    for suffix, of in counts.items():
        ordered = sorted(of.items(), key=lambda each: (-each[1], each[0]))
        names = (f"`{name}` {count}" if name else f"others {count}" for name, count in ordered)
        rows.append([suffix, ", ".join(names)])
    return markdown_table(["format", "operators, and the number of networks"], rows)


def not_exported(result: Row) -> str:
    """Return the networks that their framework does not build or write."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in result["networks"]:
        if not _engines(row) and "too_large" not in row:
            found.setdefault((row["source"], row["format"]), []).append(row["network"])
    return "; ".join(
        f"{source} {_label(suffix)}: {', '.join(names)}"
        for (source, suffix), names in found.items()
    )


def drawn(result: Row) -> str:
    """Return of each source and format what part of the networks drawn the native engine runs."""
    rows = []
    for (source, suffix), networks in _formats(result).items():
        fitting = [row for row in networks if "too_large" not in row]
        written = [row for row in fitting if _engines(row)]
        right = sum(row["native"]["outcome"] == "right" for row in written if "native" in row)
        share = f"{100 * right / len(written):.0f} %" if written else "-"
        exported = f"{len(written)} of {len(fitting)}"
        cells = [share, *(_counts(written, engine) for engine in ("native", "auto"))]
        rows.append([source, _label(suffix), exported, *cells])
    header = ["package", "format", "exported", "native share", "native", "default"]
    return markdown_table(header, rows)


def faults(result: Row) -> str:
    """Return the networks and engines that are faults of this project."""
    found = [
        f"{row['source']} {row['network']} {_label(row['format'])}: {_NAMES[engine]}"
        for row in result["networks"]
        for engine in _engines(row)
        if row[engine]["outcome"] not in {"right", "own", "Unsupported", "not_run"}
    ]
    return "; ".join(found) or "none"


def draw(result: Row) -> str:
    """Return how the networks were drawn."""
    of = result["draw"]
    million = of["max_parameters"] / 1e6
    return f"seed {of['seed']}, at most {million:,.0f} million parameters"


def checked(result: Row) -> str:
    """Return when, where and with what the networks were run."""
    shown = ", ".join(f"{n} {result['versions'][n]}" for n in _SHOWN if n in result["versions"])
    return f"{result['date'][:10]}, {result['machine']['processor']}; {shown}"


PARTS: dict[str, Callable[..., str]] = {
    "zoo-checked": checked,
    "zoo-totals": totals,
    "zoo-networks": networks,
    "zoo-operators": operators,
    "zoo-not-exported": not_exported,
    "zoo-draw": draw,
    "zoo-drawn": drawn,
    "zoo-faults": faults,
}

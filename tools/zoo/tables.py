"""The tables of docs/zoo.md, from docs/results/zoo.json."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tools.versions.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = dict[str, Any]

_NAMES = {"native": "native", "paddle": "Paddle", "onnxruntime": "onnxruntime", "auto": "default"}
_LIBRARIES = {"paddle": "Paddle", "onnxruntime": "onnxruntime"}
_WORDS = {"Unsupported": "refused", "own": "its library's own"}
_SHOWN = ("lenet-cpp", "paddlepaddle", "onnxruntime", "paddleclas", "torch", "torchvision", "timm")


def _engines(row: Row) -> list[str]:
    return [engine for engine in _NAMES if engine in row]


def _formats(result: Row) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in result["networks"]:
        found.setdefault((row["source"], row["format"]), []).append(row)
    return found


def totals(result: Row) -> str:
    """Return what each engine does with the files of each source and format."""
    rows = []
    for (source, suffix), networks in _formats(result).items():
        written = [row for row in networks if _engines(row)]
        cells = []
        for engine in ("native", "paddle" if suffix != "onnx" else "onnxruntime", "auto"):
            counts = Counter(_WORDS.get(o := row[engine]["outcome"], o) for row in written)
            right = counts.pop("right", 0)
            cells.append(", ".join([str(right), *(f"{n} {kind}" for kind, n in counts.items())]))
        rows.append([source, f"`.{suffix}`", f"{len(written)} of {len(networks)}", *cells])
    header = ["networks of", "format", "exported", "native", "Paddle or onnxruntime", "default"]
    return markdown_table(header, rows)


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:,.0f} %" if percent >= 1 else "<1 %" if percent else "0 %"


def cell(engine: str, found: Row) -> str:
    """Return what an engine does with a file, in a few words."""
    outcome = found["outcome"]
    if outcome in {"right", "own", "wrong"}:
        text = _percent(found["share"]) if "share" in found else found["said"]
        if "float64" in found:
            ours, theirs = map(_percent, found["float64"])
            text += f" (from float64 {ours}, the framework {theirs})"
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
            engines = _engines(row)
            cells = {engine: cell(engine, row[engine]) for engine in engines}
            found.setdefault((row["family"], row["network"]), {})[row["format"]] = cells
    rows = []
    for (family, name), by_format in found.items():
        texts = []
        for engine in engines:
            given = {suffix: cells[engine] for suffix, cells in by_format.items()}
            same = len(set(given.values())) == 1
            both = ", ".join(f"`.{suffix}` {text}" for suffix, text in given.items())
            texts.append(next(iter(given.values())) if same else both)
        rows.append([family, name, ", ".join(f"`.{each}`" for each in by_format), *texts])
    header = ["family", "network", "format", *(_NAMES[engine] for engine in engines)]
    return markdown_table(header, rows)


def operators(result: Row) -> str:
    """Return the operators for which the native engine refuses networks, with their number."""
    counts: dict[str, Counter[str]] = {}
    for row in result["networks"]:
        found = row.get("native", {})
        if found.get("outcome") == "Unsupported":
            suffix = f"`.{row['format']}`"
            counts.setdefault(suffix, Counter())[found.get("operator", "")] += 1
    rows = []
    for suffix, of in counts.items():
        ordered = sorted(of.items(), key=lambda each: (-each[1], each[0]))
        names = (f"`{name}` {count}" if name else f"others {count}" for name, count in ordered)
        rows.append([suffix, ", ".join(names)])
    return markdown_table(["format", "operators, and how many networks"], rows)


def not_exported(result: Row) -> str:
    """Return the networks that their framework does not build or write."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in result["networks"]:
        if not _engines(row):
            found.setdefault((row["source"], row["format"]), []).append(row["network"])
    return "; ".join(
        f"{source} `.{suffix}`: {', '.join(names)}" for (source, suffix), names in found.items()
    )


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
}

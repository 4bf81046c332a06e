"""The bar charts of docs/results as SVG, legible on light and dark pages.

The same figures give the same bytes.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from tools.survey.figures import (
    NAMES,
    REDUCED,
    RESULTS,
    best_other,
    describe_machine,
    network_cells,
    networks_of,
    number,
    own_name,
    peer_name,
    read,
)
from tools.survey.summary import is_accurate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Panel = tuple[str, str, Sequence[tuple[str, float]]]
    """A title, a unit, and the bars: a label and how long."""
    Row = dict[str, Any]

OWN = "lenet_cpp"
"""The bar of this label has a colour of its own."""

_WIDTH, _PANEL, _LEFT, _BAR, _LINE, _NOTE = 900, 450, 150, 210, 28, 16
_NOTE_LETTERS = 130  # of a line
_PAIR, _PAIR_LEFT, _PAIR_BAR = 36, 240, 420
_STYLE = """\
text { font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .page { fill: #ffffff } .bar { fill: #8c959f } .own { fill: #0969da }
.name { text-anchor: end } .note, .value { font-size: 11px } .spread { stroke: #1f2328 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .page { fill: #0d1117 } .bar { fill: #6e7681 } .own { fill: #4493f8 }
  .spread { stroke: #e6edf3 }
}"""
_NOT_DRAWN = ("dygraph", "lenet_infer_native", "program")
_NO_BARS = ("/auto", "/c++")  # kinds of those that are drawn


def pictures(root: Path) -> dict[Path, str]:
    """Return each picture by its path in the repository."""
    drawn = {
        "latency.svg": _latency_picture(root),
        "networks.svg": _networks_picture(root, "Python", "networks.json", "onnx-networks.json"),
        "networks-cpp.svg": _networks_picture(root, "C++", "cpp.json"),
        "startup.svg": _startup_picture(root),
    }
    return {RESULTS / name: text for name, text in drawn.items()}


def _latency_picture(root: Path) -> str:
    """Draw the times of LeNet and of a large network, for one image and from Python."""
    panels, notes = [], []
    for file, name, what, unit, scale in (
        ("lenet.json", "LeNet", "one digit", "µs", 1.0),
        ("networks.json", "ResNet50_vd", "one photo", "ms", 1e-3),
    ):
        result = read(root, file)
        notes.append(f"{name}: {describe_machine(result)}")
        least: dict[str, float] = {}
        for contender, by in network_cells(result, name).items():
            group, _, kind = contender.partition("/")
            is_drawn = group not in _NOT_DRAWN and not contender.endswith((*REDUCED, *_NO_BARS))
            if is_drawn and is_accurate(by[1]):
                # Paddle's engines have the same speed from its own package and from this one.
                group = "paddle.inference" if group == "lenet_cpp" else group
                label = OWN if kind == "native" else NAMES[group]
                least[label] = min(scale * by[1]["median_us"], least.get(label, float("inf")))
        rows = sorted(least.items(), key=lambda item: item[1])
        panels.append((f"{name}, {what}, one core, from Python", unit, rows))
    return _bars(panels, notes)


def _startup_picture(root: Path) -> str:
    """Draw how long processes take to their first result, and what memory: C++ beside Python."""
    result = read(root, "startup.json")
    names = {"lenet_infer_native": OWN, "onnxruntime": "", "openvino": "", "litert": ""}
    names["paddle.inference/pdmodel/plain"] = ""
    found = [
        (names[row["contender"]] or NAMES[row["contender"].partition("/")[0]], row)
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
    return _bars(panels, [f"LeNet. {who}", describe_machine(result)])


def _networks_picture(root: Path, how: str, *files: str) -> str:
    """Draw one image of each network: the native engine above the fastest other library.

    ``how`` says from which language they were called; the files are those of one processor.
    """
    pairs: dict[str, tuple[tuple[Row, str], tuple[Row, str]]] = {}
    notes = []
    for file in files:
        result = read(root, file)
        networks = networks_of(result)
        notes.append(f"{next(iter(networks))} and below: {describe_machine(result)}")
        for name, network in networks.items():
            own = network_cells(result, name)[own_name(network)][1]
            other = best_other(network, 1)
            pairs[name] = ((own, OWN), (other, peer_name(other["contender"])))
    title = f"One image, one core, from {how}: the native engine above the fastest other library"
    scales = (
        "The longer bar of each pair has the full width. The line at the end of a bar is as long as"
        " the largest difference between two turns, which is also in brackets."
    )
    return _pairs(title, [(name, *pair) for name, pair in pairs.items()], [scales, *notes])


def _pairs(
    title: str, pairs: Sequence[tuple[str, tuple[Row, str], tuple[Row, str]]], notes: Sequence[str]
) -> str:
    """Draw two bars for each name, which have a scale of their own that begins at 0."""
    lines, summary = [], []
    for place, (name, own, other) in enumerate(pairs):
        y = 44 + place * _PAIR
        lines.append(f'<text class="name" x="{_PAIR_LEFT - 8}" y="{y + 19}">{escape(name)}</text>')
        most = max(cell["median_us"] for cell, _ in (own, other))
        for top, (cell, who) in ((y, own), (y + 14, other)):
            width = _PAIR_BAR * cell["median_us"] / most
            end, half = _PAIR_LEFT + width, width * cell["spread_between_turns"] / 2
            time = f"{number(cell['median_us'] / 1e3)} ms"
            spread = f"{100 * cell['spread_between_turns']:.0f} %"
            summary.append(f"{name}, {who} {time}")
            lines += [
                f'<rect class="{"bar own" if who == OWN else "bar"}" x="{_PAIR_LEFT}" y="{top}"'
                f' width="{width:.1f}" height="12" rx="2"/>',
                f'<line class="spread" x1="{end - half:.1f}" x2="{end + half:.1f}"'
                f' y1="{top + 6}" y2="{top + 6}"/>',
                f'<text class="value" x="{end + half + 6:.1f}" y="{top + 10}">'
                f"{time} ({spread}), {escape(who)}</text>",
            ]
    return _svg([(12, title)], "; ".join(summary), lines, 50 + _PAIR * len(pairs), notes)


def _bars(panels: Sequence[Panel], notes: Sequence[str]) -> str:
    """Draw the panels side by side, each with a scale of its own that begins at 0.

    The notes stand below: where and with what the figures were measured.
    """
    summary = "; ".join(
        f"{title}: " + ", ".join(f"{name} {number(value)} {unit}" for name, value in rows)
        for title, unit, rows in panels
    )
    titles, lines = [], []
    for place, (title, unit, rows) in enumerate(panels):
        x, most = place * _PANEL + 12, max(value for _, value in rows)
        titles.append((x, title))
        for row, (name, value) in enumerate(rows):
            y = 56 + row * _LINE
            kind = "bar own" if name == OWN else "bar"
            width = max(2, _BAR * value / most)
            lines += [
                f'<text class="name" x="{x + _LEFT - 8}" y="{y}">{escape(name)}</text>',
                f'<rect class="{kind}" x="{x + _LEFT}" y="{y - 15}"'
                f' width="{width:.1f}" height="20" rx="2"/>',
                f'<text x="{x + _LEFT + width + 6:.1f}" y="{y}">{number(value)} {unit}</text>',
            ]
    most_rows = max(len(rows) for _, _, rows in panels)
    return _svg(titles, summary, lines, 50 + _LINE * most_rows, notes)


def _svg(
    titles: Sequence[tuple[int, str]],
    summary: str,
    drawn: Sequence[str],
    begin_of_notes: int,
    notes: Sequence[str],
) -> str:
    """Return the picture with its titles above and its notes below.

    ``summary`` is for those who do not see the picture.
    """
    lines_of_notes = [line for note in notes for line in textwrap.wrap(note, _NOTE_LETTERS)]
    height = begin_of_notes + _NOTE * len(lines_of_notes) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img">',
        f"<title>{escape(summary)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="8"/>',
        *(f'<text class="title" x="{x}" y="26">{escape(title)}</text>' for x, title in titles),
        *drawn,
    ]
    for place, note in enumerate(lines_of_notes):
        y = begin_of_notes + _NOTE * place + 8
        lines.append(f'<text class="note" x="12" y="{y}">{escape(note)}</text>')
    return "\n".join([*lines, "</svg>", ""])

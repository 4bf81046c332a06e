"""The bar charts of docs/results as SVG, legible on light and dark pages.

The same figures give the same bytes.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from tools.benchmark.results import (
    NAMES,
    REDUCED,
    RESULTS,
    describe_machine,
    network_cells,
    number,
    read,
)
from tools.benchmark.summary import is_accurate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Panel = tuple[str, str, Sequence[tuple[str, float]]]
    """A title, a unit, and the bars: a label and how long."""

OWN = "lenet_cpp"
"""The bar of this label has a colour of its own."""

_WIDTH, _PANEL, _LEFT, _BAR, _LINE, _NOTE = 900, 450, 150, 210, 28, 16
_NOTE_LETTERS = 130  # of a line
_STYLE = """\
text { font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .page { fill: #ffffff } .bar { fill: #8c959f } .own { fill: #0969da }
.name { text-anchor: end } .note { font-size: 11px }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .page { fill: #0d1117 } .bar { fill: #6e7681 } .own { fill: #4493f8 }
}"""
_NOT_DRAWN = ("dygraph", "lenet_infer_native", "program")
_NO_BARS = ("/auto", "/c++")  # kinds of those that are drawn


def pictures(root: Path) -> dict[Path, str]:
    """Return each picture by its path in the repository."""
    drawn = {"latency.svg": _latency_picture(root), "startup.svg": _startup_picture(root)}
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


def _bars(panels: Sequence[Panel], notes: Sequence[str]) -> str:
    """Draw the panels side by side, each with a scale of its own that begins at 0.

    The notes stand below: where and with what the figures were measured.
    """
    lines_of_notes = [line for note in notes for line in textwrap.wrap(note, _NOTE_LETTERS)]
    begin_of_notes = 50 + _LINE * max(len(rows) for _, _, rows in panels)
    height = begin_of_notes + _NOTE * len(lines_of_notes) + 8
    summary = "; ".join(
        f"{title}: " + ", ".join(f"{name} {number(value)} {unit}" for name, value in rows)
        for title, unit, rows in panels
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img">',
        f"<title>{escape(summary)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="8"/>',
    ]
    for place, (title, unit, rows) in enumerate(panels):
        x, most = place * _PANEL + 12, max(value for _, value in rows)
        lines.append(f'<text class="title" x="{x}" y="26">{escape(title)}</text>')
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
    for place, note in enumerate(lines_of_notes):
        y = begin_of_notes + _NOTE * place + 8
        lines.append(f'<text class="note" x="12" y="{y}">{escape(note)}</text>')
    return "\n".join([*lines, "</svg>", ""])

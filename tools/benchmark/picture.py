"""A bar chart as SVG, legible on light and dark pages, with the same bytes for the same figures."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def bars(panels: Sequence[Panel], notes: Sequence[str]) -> str:
    """Draw the panels side by side, each with a scale of its own that begins at 0.

    The notes stand below: where and with what the figures were measured.
    """
    lines_of_notes = [line for note in notes for line in textwrap.wrap(note, _NOTE_LETTERS)]
    begin_of_notes = 50 + _LINE * max(len(rows) for _, _, rows in panels)
    height = begin_of_notes + _NOTE * len(lines_of_notes) + 8
    summary = "; ".join(
        f"{title}: " + ", ".join(f"{name} {_shown(value)} {unit}" for name, value in rows)
        for title, unit, rows in panels
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img">',
        f"<title>{escape(summary)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="8"/>',
    ]
    for number, (title, unit, rows) in enumerate(panels):
        x, most = number * _PANEL + 12, max(value for _, value in rows)
        lines.append(f'<text class="title" x="{x}" y="26">{escape(title)}</text>')
        for place, (name, value) in enumerate(rows):
            y = 56 + place * _LINE
            kind = "bar own" if name == OWN else "bar"
            width = max(2, _BAR * value / most)
            lines += [
                f'<text class="name" x="{x + _LEFT - 8}" y="{y}">{escape(name)}</text>',
                f'<rect class="{kind}" x="{x + _LEFT}" y="{y - 15}"'
                f' width="{width:.1f}" height="20" rx="2"/>',
                f'<text x="{x + _LEFT + width + 6:.1f}" y="{y}">{_shown(value)} {unit}</text>',
            ]
    for place, note in enumerate(lines_of_notes):
        y = begin_of_notes + _NOTE * place + 8
        lines.append(f'<text class="note" x="12" y="{y}">{escape(note)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"

"""A picture of a run, as SVG: at most eight rows, one bar for each loop, ratios on a log scale.

The picture is written without a library. It has the reader's fonts, and its colours follow the
reader's choice of light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

from bench.figures import OURS, RING, ROWS, SUMMARY
from bench.report import failure, ratio

MOST_ROWS = 8

_WIDTH = 880
_LEFT = 285  # where the axis begins; the names of the rows stand left of it
_RIGHT = 130  # for the text behind the longest bar
_TOP = 70
_LANE = 15  # one bar
_GAP = 14  # between two rows
_TICKS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

_STYLE = """
svg { background: #ffffff; color-scheme: light dark; }
text { font: 12px system-ui, sans-serif; fill: #3d4451; }
.title { font-size: 17px; font-weight: 600; fill: #16191f; }
.row { font-size: 14px; fill: #16191f; }
.ours { font-weight: 700; fill: #c2410c; }
.bar { fill: #b4bcc8; }
.bar.ours { fill: #ea580c; }
.grid { stroke: #e3e7ed; }
.one { stroke: #3d4451; }
@media (prefers-color-scheme: dark) {
  svg { background: #14171d; }
  text { fill: #b9c1cd; }
  .title, .row { fill: #f2f4f7; }
  .ours { fill: #fb923c; }
  .bar { fill: #566071; }
  .bar.ours { fill: #f97316; }
  .grid { stroke: #2a303a; }
  .one { stroke: #b9c1cd; }
}
"""


def choose(document: dict[str, Any]) -> list[str]:
    """Return the cells to draw: README.md's rows if the run has them all, else its first ones."""
    cells = {
        name: cell
        for name, cell in document["cells"].items()
        if any(ratio(cell, loop) is not None for loop in _loops(document, cell))
    }
    if cells.keys() >= set(SUMMARY):
        return list(SUMMARY)
    return list(cells)[:MOST_ROWS]


def draw(document: dict[str, Any], path: str) -> None:
    """Write the picture."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(picture(document))


def picture(document: dict[str, Any]) -> str:
    """Return the SVG. A run in which nothing can be compared raises ValueError."""
    rows = [document["cells"][name] | {"name": name} for name in choose(document)]
    if not rows:
        raise ValueError("there is nothing to compare, so nothing to draw")
    found = [times for cell in rows for times in _times(document, cell) if times is not None]
    scale = _Scale(min(found), max(found))
    lanes = sum(len(_loops(document, cell)) for cell in rows)
    bottom = _TOP + lanes * _LANE + len(rows) * _GAP
    baselines = " and ".join(dict.fromkeys(cell["baseline"] for cell in rows))
    title = f"CPU time per operation, compared to {baselines}"
    if any(cell["unit"] != "s" for cell in rows):
        title = f"Compared to {baselines}"
    less = "" if title.startswith("Compared") else "CPU time "
    axis = f"times less {less}than {baselines} (log scale); right is better"
    machine = document["machine"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{bottom + 56}" '
        f'viewBox="0 0 {_WIDTH} {bottom + 56}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        _text(16, 28, "title", title),
        _text(16, 48, "", f"CPython {machine['python']}, Linux {machine['kernel']}"),
        *_grid(scale, bottom),
        *_bars(document, rows, scale),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 40, "", axis, "middle"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """The position of a ratio on the axis, which ends at powers of two."""

    def __init__(self, least: float, most: float) -> None:
        self.low = math.floor(math.log2(min(least, 0.5)))
        self.high = math.ceil(math.log2(max(most, 2.0)))

    def __call__(self, times: float) -> float:
        share = (math.log2(times) - self.low) / (self.high - self.low)
        return _LEFT + share * (_WIDTH - _RIGHT - _LEFT)


def _loops(document: dict[str, Any], cell: dict[str, Any]) -> list[str]:
    """Return the loops that have a bar in a row, ours last."""
    names = [name for name in document["loops"] if name in cell["loops"] and name != RING]
    return sorted(names, key=OURS.__eq__)


def _times(document: dict[str, Any], cell: dict[str, Any]) -> Iterator[float | None]:
    for loop in _loops(document, cell):
        yield ratio(cell, loop)


def _text(x: float, y: float, kind: str, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _grid(scale: _Scale, bottom: float) -> Iterator[str]:
    """Yield the lines of the axis and their numbers."""
    for tick in _TICKS:
        if not scale.low <= math.log2(tick) <= scale.high:
            continue
        x = scale(tick)
        kind = "one" if tick == 1 else "grid"
        yield f'<path d="M{x:.1f} {_TOP - 4}V{bottom:.1f}" class="{kind}"/>'
        yield _text(x, bottom + 18, "", f"{tick:g}", "middle")


def _bars(document: dict[str, Any], rows: Sequence[dict[str, Any]], scale: _Scale) -> Iterator[str]:
    """Yield the rows: a bar from 1 to each loop's ratio, with its name and number behind it."""
    y = float(_TOP)
    for cell in rows:
        loops = _loops(document, cell)
        title = ROWS.get(cell["name"], cell["title"]).replace("`", "")
        yield _text(_LEFT - 14, y + len(loops) * _LANE / 2 + 5, "row", title, "end")
        for loop in loops:
            times = ratio(cell, loop)
            ours = "ours" if loop == OURS else ""
            end = scale(1.0)
            if times is None:
                entry = cell["loops"][loop]
                label = f"{loop}: {failure(entry['error']) if 'error' in entry else '?'}"
            else:
                label = f"{times:.2f}  {loop}"
                begin, end = sorted((scale(1.0), scale(times)))
                yield (
                    f'<rect x="{begin:.1f}" y="{y + 2:.1f}" width="{end - begin:.1f}" '
                    f'height="{_LANE - 4}" class="bar {ours}"/>'
                )
            yield _text(end + 6, y + _LANE - 3.5, ours, label)
            y += _LANE
        y += _GAP

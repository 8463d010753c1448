"""A picture of a run: one panel per family, one group of bars per cell, ratios on a log scale."""

from __future__ import annotations

from typing import Any

from bench.cells import FAMILIES, LIMIT
from bench.report import ratio

_TITLES = {
    "sched": "Scheduling",
    "echo": "Echo",
    "servers": "Real servers",
    "tls": "TLS",
    "channels": "Datagrams, pipes, processes",
    "files": "Files",
    "memory": "Memory",
}


def draw(document: dict[str, Any], path: str) -> None:
    """Write the picture; the end of the name says which format."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text as text: a fifth of the size
    from matplotlib import pyplot

    panels = {
        family: cells
        for family in FAMILIES
        if family in _TITLES and (cells := _ratios(document, family))
    }
    if not panels:
        raise ValueError("there is nothing to compare, so nothing to draw")
    bars = {
        family: sum(len(cell["ratios"]) + 1 for cell in cells) for family, cells in panels.items()
    }
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(11, sum(bars.values()) * 0.13 + 1.2 * len(panels)),
        height_ratios=list(bars.values()),
        squeeze=False,
        layout="constrained",
    )
    names = [*document["loops"], LIMIT]
    colours = dict(zip(names, pyplot.get_cmap("tab10").colors, strict=False))
    colours[LIMIT] = (0.8, 0.8, 0.8)
    for axis, (family, cells) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(axis, cells, colours)
        axis.set_title(f"{_TITLES[family]}: times better than {cells[0]['baseline']}")
    handles: dict[str, Any] = {}
    for axis in axes[:, 0]:
        patches, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, patches, strict=True))
    shown = [name for name in names if name in handles]
    patches = [handles[name] for name in shown]
    figure.legend(patches, shown, loc="outside upper center", ncols=len(shown))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _ratios(document: dict[str, Any], family: str) -> list[dict[str, Any]]:
    found = []
    for name, cell in document["cells"].items():
        if name.partition("/")[0] != family:
            continue
        ratios = {
            loop: times
            for loop in cell["loops"]
            if loop != cell["baseline"] and (times := ratio(cell, loop)) is not None
        }
        if ratios:
            worst = {loop: times * _steadiness(cell, loop) for loop, times in ratios.items()}
            found.append(
                {
                    "title": cell["title"],
                    "baseline": cell["baseline"],
                    "ratios": ratios,
                    "worst": worst,
                }
            )
    return found


def _steadiness(cell: dict[str, Any], loop: str) -> float:
    """Return the best round divided by the worst one: 1 where all were alike."""
    values = [sample["value"] for sample in cell["loops"][loop]["rounds"]]
    return float(min(values) / max(values))


def _panel(axis: Any, cells: list[dict[str, Any]], colours: dict[str, Any]) -> None:
    position = 0.0
    ticks: list[tuple[float, str]] = []
    labelled: set[str] = set()
    for cell in cells:
        first = position
        for loop, times in cell["ratios"].items():
            label = loop if loop not in labelled else None
            labelled.add(loop)
            axis.barh(position, times - 1, left=1, height=0.9, color=colours[loop], label=label)
            if cell["worst"][loop] < times:  # a line from the best round to the worst one
                axis.plot(
                    [cell["worst"][loop], times], [position] * 2, color="black", linewidth=0.6
                )
            axis.text(times, position, f" {times:.2f}", va="center", fontsize=5)
            position += 1
        ticks.append(((first + position - 1) / 2, cell["title"]))
        position += 1
    axis.set_yticks([at for at, _ in ticks], [title for _, title in ticks], fontsize=8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_ylim(position - 0.5, -1)

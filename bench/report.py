"""Tables of a run: Markdown that can be read as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.cells import FAMILIES, LIMIT

Results = dict[str, Any]
Row = list[str]

_HEADINGS = {
    "sched": "Scheduling: CPU time per operation",
    "echo": "Echo: server CPU time per message",
    "servers": "Real servers: server CPU time per request",
    "tls": "TLS: server CPU time per message or request",
    "channels": "Datagrams, pipes, processes: CPU time per operation, where it does not say wall",
    "files": "Files: CPU time per operation",
    "memory": "Memory: bytes for each",
    "idle": "Idle: CPU seconds per second",
}
_DETAILS = {
    "echo": "messages/s, latency p50/p99 in us",
    "servers": "requests/s, latency p50/p99 in us",
    "tls": "messages or requests/s, latency p50/p99 in us",
    "channels": "wall time per operation",
    "idle": "context switches/s, system calls/s (where strace is there)",
}


def figure(value: float, unit: str) -> str:
    """A figure with its unit."""
    if unit == "B":
        return f"{value:.0f} B"
    if unit == "s/s":
        return f"{value * 1e6:.0f} us/s"
    if value < 1e-6:
        return f"{value * 1e9:.0f} ns"
    for factor, name in ((1e6, "us"), (1e3, "ms")):
        if value * factor < 1000:
            return f"{value * factor:.{value * factor < 100:d}f} {name}"
    return f"{value:.2f} s"


def ratio(cell: Results, loop: str, key: str = "value") -> float | None:
    """How many times better than the baseline a loop is, or None where one of them is missing."""
    entry = cell["loops"].get(loop, {}).get("best")
    base = cell["loops"].get(cell["baseline"], {}).get("best")
    if not entry or not base or entry[key] <= 0 or base[key] <= 0:
        return None
    return float(entry[key] / base[key] if key == "rps" else base[key] / entry[key])


def _shown(cell: Results, loop: str) -> str:
    """One field of the main table."""
    entry = cell["loops"].get(loop)
    if entry is None:
        return ""
    if "best" not in entry:
        return "hangs" if entry["error"].startswith("hangs") else "fails"
    times = ratio(cell, loop)
    if times is None or loop == cell["baseline"]:
        text = figure(entry["best"]["value"], cell["unit"])
    else:
        text = f"{times:.2f}"
    return text + ("*" if "error" in entry else "")


def _count(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"


def _detail(cell: Results, loop: str) -> str:
    """One field of the second table: throughput and latency, or switches and calls."""
    best = cell["loops"].get(loop, {}).get("best", {})
    if "rps" in best:
        return f"{_count(best['rps'])}, {best['p50_us']:.0f}/{best['p99_us']:.0f}"
    if "switches" in best:
        calls = f"{best['syscalls']:.1f}" if "syscalls" in best else "?"
        return f"{best['switches']:.1f}, {calls}"
    return figure(best["wall"], "s") if "wall" in best else ""


def _table(head: Row, rows: Sequence[Row]) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Row) -> str:
        fields = [row[0].ljust(widths[0])]
        fields += [field.rjust(width) for field, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join(fields) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)
    )
    return "\n".join([line(head), rule + "|", *(line(row) for row in rows)])


def _family(
    cells: dict[str, Results], loops: Sequence[str], show: Callable[[Results, str], str]
) -> str:
    limited = any(LIMIT in cell["loops"] for cell in cells.values())
    columns = [*loops, LIMIT] if limited else list(loops)
    rows = [[cell["title"], *(show(cell, loop) for loop in columns)] for cell in cells.values()]
    return _table(["", *columns], rows)


def _baseline(cells: dict[str, Results], loops: Sequence[str]) -> str:
    name = next(iter(cells.values()))["baseline"]
    return f"; ratio to {name}, higher is better" if name in loops else ""


def text(document: dict[str, Any]) -> str:
    """The whole report."""
    loops: list[str] = list(document["loops"])
    parts = [_facts(document)]
    for family in FAMILIES:
        cells = {
            name: cell
            for name, cell in document["cells"].items()
            if name.partition("/")[0] == family and cell["loops"]
        }
        if not cells:
            continue
        parts.append(f"{_HEADINGS[family]}{_baseline(cells, loops)}")
        parts.append(_family(cells, loops, _shown))
        if family in _DETAILS:
            parts.append(_DETAILS[family])
            parts.append(_family(cells, loops, _detail))
    problems = _problems(document)
    if problems:
        parts.append("What did not work (* in some rounds only)\n" + "\n".join(problems))
    return "\n\n".join(parts) + "\n"


def _facts(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["loops"].items())
    return (
        f"CPython {machine['python']}, Linux {machine['kernel']}, {machine['cpus']} CPUs "
        f"({machine['cpu_model']}), best of {document['rounds']} rounds\n{versions}"
    )


def _problems(document: dict[str, Any]) -> list[str]:
    absent: dict[str, str] = document.get("absent", {})
    away = [loop for loop, why in absent.items() if f"No module named '{loop}'" in why]
    lines = [f"- not installed: {', '.join(away)}"] if away else []
    for loop in absent.keys() - set(away):
        lines.append(f"- {loop}: not measured: {absent[loop]}")
    for name, why in document.get("skipped", {}).items():
        lines.append(f"- {name}: not measured: {why}")
    for name, cell in document["cells"].items():
        for loop, entry in cell["loops"].items():
            if "error" in entry:
                lines.append(f"- {name}, {loop}: {entry['error']}")
    return lines

"""Tables of a run: Markdown that can be read as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.cells import FAMILIES, LIMIT
from bench.loops import NO_SPIN, VARIANTS
from bench.units import figure, median, spread

Results = dict[str, Any]
Row = list[str]
#: Makes the field of a cell and a loop.
Show = Callable[[Results, str], str]

#: If the two best rounds differ by more than this share, both may be far from the best.
BELIEVABLE_SPREAD = 0.15

#: By table: a family, or a family and the group of its cells.
_HEADINGS = {
    "sched": "Scheduling: CPU time per operation",
    "echo": "Echo: server CPU time per message",
    "servers": "Real servers: server CPU time per request",
    "tls": "TLS: server CPU time per message or request",
    "channels": "Datagrams, pipes, processes: CPU time per operation, where it does not say wall",
    "files": "Files: CPU time per operation",
    "memory": "Memory: bytes for each",
    "idle": "Idle: CPU seconds per second",
    "neighbours": "Neighbours: what the loop leaves to others",
    "threads": "Threads: operations/s of all loops / times one loop / times its CPU time",
    "neighbours/spinning": "Spinning: CPU time per request / requests per second, with and without",
    "neighbours/observing": "Observing: CPU time per operation, watched, and with accounts",
}

#: What the column `limit` is.
_LIMITS = {
    "sched": "the same code without a loop",
    "threads": "the same code, or the same system calls, without a loop",
    "echo": "C server, epoll, no spinning",
}


def ratio(cell: Results, loop: str, key: str = "value") -> float | None:
    """How many times better than the baseline a loop is, or None where one of them is missing."""
    entry = cell["loops"].get(loop, {}).get("shown")
    base = cell["loops"].get(cell["baseline"], {}).get("shown")
    if not entry or not base or entry[key] <= 0 or base[key] <= 0:
        return None
    more = key == "rps" or (key == "value" and cell["more_is_better"])
    return float(entry[key] / base[key] if more else base[key] / entry[key])


def difference(values: Sequence[float], more_is_better: bool) -> float:
    """Return how far the two best rounds differ, as a share of the best one; 0 if there is one."""
    best, *others = sorted(values, reverse=more_is_better)
    return abs(others[0] - best) / (abs(best) or 1.0) if others else 0.0


def failure(error: str) -> str:
    """Name in one word what became of a loop that has no result."""
    if error.startswith("hangs"):
        return "hangs"
    return "lacks it" if error.startswith("NotImplementedError") else "fails"


def shown(cell: Results, loop: str) -> str:
    """Return one field of the main table: a ratio to the baseline, or plain figures."""
    entry = cell["loops"].get(loop)
    if entry is None:
        return ""
    if "shown" not in entry:
        return failure(entry["error"])
    times = ratio(cell, loop)
    if times is None or loop == cell["baseline"]:
        figures = [("value", cell["unit"]), *cell["beside"]]
        found = entry["shown"]
        text = " / ".join(figure(found[key], unit) for key, unit in figures if key in found)
    else:
        text = f"{times:.2f}"
    return text + ("*" if "error" in entry else "")


def _served(cell: Results, loop: str) -> str:
    """Return what a client sees: throughput, latency and fairness."""
    found = cell["loops"].get(loop, {}).get("shown", {})
    if "rps" not in found:
        return ""
    latency = f"{found['p50_us']:.0f}/{found['p99_us']:.0f}"
    share = figure(found["share"], "share") if "share" in found else "?"
    return f"{figure(found['rps'], '1/s')}, {latency}, {share}"


def _latency(cell: Results, loop: str) -> str:
    found = cell["loops"].get(loop, {}).get("shown", {})
    return f"{found['p50_us']:.1f}/{found['p99_us']:.1f}" if "p50_us" in found else ""


def _wall(cell: Results, loop: str) -> str:
    found = cell["loops"].get(loop, {}).get("shown", {})
    return figure(found["wall"], "s") if "wall" in found else ""


def _idle(cell: Results, loop: str) -> str:
    found = cell["loops"].get(loop, {}).get("shown", {})
    if "switches" not in found:
        return ""
    calls = f"{found['syscalls']:.1f}" if "syscalls" in found else "?"
    return f"{found['switches']:.1f}, {calls}"


def spinning(cell: Results, loop: str) -> str:
    """Return what spinning costs and brings: CPU time and requests, of those without."""
    pair = [cell["loops"].get(name, {}).get("rounds") for name in (loop, loop + NO_SPIN)]
    if not all(pair):
        return ""
    with_it, without = (
        {key: median(sample[key] for sample in samples) for key in ("value", "rps")}
        for samples in pair
        if samples
    )
    cpu, requests = (with_it[key] / without[key] for key in ("value", "rps"))
    return f"{cpu:.2f}, {requests:.2f}"


def observed(cell: Results, loop: str) -> str:
    """Return the CPU time of an observed loop, as a multiple of that of the same loop without."""
    variant = next((suffix for suffix in VARIANTS if loop.endswith(suffix)), "")
    with_it, without = (
        cell["loops"].get(name, {}).get("shown") for name in (loop, loop.removesuffix(variant))
    )
    if not variant or not with_it or not without:
        return ""
    return f"{with_it['value'] / without['value']:.3f}"


def _extremes(cell: Results, loop: str, key: str, unit: str) -> str:
    """Return the least, the median and the most of the rounds; "" where there is one round only."""
    samples = cell["loops"].get(loop, {}).get("rounds", [])
    values = [sample[key] for sample in samples if key in sample]
    if len(values) < 2:
        return ""
    return spread([min(values), median(values), max(values)], unit)


def _rounds(cell: Results, loop: str) -> str:
    return _extremes(cell, loop, "value", cell["unit"])


def _tails(cell: Results, loop: str) -> str:
    return _extremes(cell, loop, "p99_us", "us")


_CLIENT = "/s, latency p50/p99 in us, answers of the least served connection to the mean"

#: What else is shown of a table's cells.
_DETAILS: dict[str, tuple[str, Show]] = {
    "sched": ("time per operation, p50/p99 in us", _latency),
    "echo": (f"messages{_CLIENT}", _served),
    "servers": (f"requests{_CLIENT}", _served),
    "tls": (f"messages or requests{_CLIENT}", _served),
    "channels": ("wall time per operation", _wall),
    "idle": ("context switches/s, system calls/s (where strace is there)", _idle),
    "neighbours/spinning": (
        "with spinning, of the same loop's without: CPU time per request, requests/s",
        spinning,
    ),
    "neighbours/observing": ("CPU time, of the same loop's without", observed),
}


def table(head: Row, rows: Sequence[Row]) -> str:
    """Return a Markdown table whose columns are aligned in plain text too."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Row) -> str:
        fields = [row[0].ljust(widths[0])]
        fields += [field.rjust(width) for field, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join(fields) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)
    )
    return "\n".join([line(head), rule + "|", *(line(row) for row in rows)])


def _columns(loops: Sequence[str]) -> Iterator[str]:
    """Yield the names that a table may have columns for, in their order."""
    for loop in loops:
        yield loop
        yield from (loop + variant for variant in VARIANTS)
    yield LIMIT


def fields(cells: dict[str, Results], loops: Sequence[str], show: Show) -> tuple[Row, list[Row]]:
    """Return the head and the rows of a table, without the columns and rows that stay empty."""
    made = {
        name: column
        for name in _columns(loops)
        if any(column := [show(cell, name) for cell in cells.values()])
    }
    rows = [
        [cell["title"], *row]
        for cell, *row in zip(cells.values(), *made.values(), strict=True)
        if any(row)
    ]
    return ["", *made], rows


def sections(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Results]]]:
    """Yield the tables of a run by name, each with its cells."""
    for family in FAMILIES:
        found: dict[str, dict[str, Results]] = {}
        for name, cell in document["cells"].items():
            if name.partition("/")[0] == family and cell["loops"]:
                section = f"{family}/{cell['group']}" if cell["group"] else family
                found.setdefault(section, {})[name] = cell
        yield from found.items()


def _heading(section: str, cells: dict[str, Results], loops: Sequence[str]) -> str:
    """Return what a table shows, and how it came out of the rounds."""
    first = next(iter(cells.values()))
    counts = [len(e.get("rounds", ())) for cell in cells.values() for e in cell["loops"].values()]
    heading = _HEADINGS[section]
    if max(counts, default=0) > 1:
        way = "median" if all(cell["varies"] for cell in cells.values()) else "best"
        heading += f" ({way} of {max(counts)} rounds)"
    if first["baseline"] in loops:
        heading += f"; ratio to {first['baseline']}, higher is better"
    if section in _LIMITS and any(LIMIT in cell["loops"] for cell in cells.values()):
        heading += f"; limit: {_LIMITS[section]}"
    return heading


def text(document: dict[str, Any]) -> str:
    """Return the whole report."""
    loops: list[str] = list(document["loops"])
    parts = [_facts(document)]
    parts += warnings(document)
    for section, cells in sections(document):
        parts.append(_heading(section, cells, loops))
        parts.append(table(*fields(cells, loops, shown)))
        details = [_DETAILS[section]] if section in _DETAILS else []
        details.append(("the rounds: least/median/most", _rounds))
        details.append(("p99 of the rounds: least/median/most", _tails))
        for title, show in details:
            head, rows = fields(cells, loops, show)
            if rows:
                parts += [title, table(head, rows)]
    problems = _problems(document)
    if problems:
        parts.append("What did not work (* in some rounds only)\n" + "\n".join(problems))
    return "\n\n".join(parts) + "\n"


def _facts(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["loops"].items())
    return (
        f"CPython {machine['python']}, Linux {machine['kernel']}, {machine['cpus']} CPUs "
        f"({machine['cpu_model']})\n{versions}"
    )


def load_warning(machine: dict[str, Any]) -> str | None:
    """Return a warning where the machine had more to do than it has CPUs before the run began."""
    load, cpus = machine.get("load", 0.0), machine["cpus"]
    if load <= cpus:
        return None
    return (
        f"WARNING: the load was {load:.1f} on {cpus} CPUs at the start. "
        "Other work ran beside the benchmark; do not believe its figures."
    )


def warnings(document: dict[str, Any]) -> list[str]:
    """Return the reasons for which the figures are not to be believed."""
    busy = load_warning(document["machine"])
    uneven, count = [], 0
    for name, cell in document["cells"].items():
        if cell["varies"]:
            continue  # shows what varies, so it may
        for loop, entry in cell["loops"].items():
            values = [sample["value"] for sample in entry.get("rounds", ())]
            if len(values) < 2:
                continue
            count += 1
            differ = difference(values, cell["more_is_better"])
            if differ > BELIEVABLE_SPREAD:
                extremes = spread([min(values), max(values)], cell["unit"])
                uneven.append((differ, f"{name} on {loop}: {extremes}"))
    found = [busy] if busy else []
    if uneven:
        worst = "; ".join(line for _, line in sorted(uneven, reverse=True)[:3])
        found.append(
            f"WARNING: the two best rounds differ by more than {BELIEVABLE_SPREAD:.0%} "
            f"in {len(uneven)} of {count} figures (most: {worst}). The machine was not quiet."
        )
    return found


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

"""Tables for README.md and docs/, made from a run and written between the marks in these files.

    python -m bench --json run.json
    python -m bench --from run.json --figures README.md docs/figures.md docs/architecture.md

A block begins with `<!-- bench: NAME -->` and ends with `<!-- bench: end -->`. NAME is a key of
BLOCKS. The sentences around a block are written by hand. A block is renewed only if the run has
every cell of the tables behind it, so that a part of a run never stands for the whole.

The best loop of a row is bold, whichever it is. `losses` lists every cell in which another loop is
ahead: whoever publishes the one table publishes the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import report
from bench.cells import FAMILIES, LIMIT, load_family
from bench.loops import ACCOUNTS, NO_SPIN, WATCHED
from bench.units import figure

Document = dict[str, Any]
Results = dict[str, Any]

OURS = "fastaio"
RING = "fastaio-io_uring"

#: Figures that differ by less than this are level: two runs of the same code differ by as much.
LEVEL = 0.03

_LEAST = 1e-9

#: The rows of docs/figures.md's first table: cells, and what they are called there.
ROWS = {
    "sched/sleep0": "`await sleep(0)`",
    "sched/create-task": "`await create_task(nop())`",
    "sched/future": "future set by `call_soon`, awaited",
    "sched/gather": "`gather` of 100, per child",
    "sched/call-soon": "`call_soon(f)`",
    "sched/call-later-cancel": "`call_later(30).cancel()`",
    "sched/timeout": "`async with timeout(30)`",
    "echo/protocol-1024x1": "echo 1 KiB, 1 connection",
    "echo/protocol-1024x100": "echo 1 KiB, 100 connections",
    "echo/protocol-102400x10": "echo 100 KiB, 10 connections",
    "echo/streams-1024x100": "streams, 1 KiB, 100 connections",
    "echo/streams-102400x10": "streams, 100 KiB, 10 connections",
    "echo/sock-1024x100": "`sock_recv`/`sock_sendall`, 100 connections",
    "servers/uvicorn-plain": "uvicorn, plain text",
    "servers/fastapi-json": "FastAPI, JSON",
    "servers/aiohttp-plain": "aiohttp server, plain text",
    "servers/websockets-echo": "websockets echo",
    "tls/protocol-1024x10": "TLS echo 1 KiB, 10 connections",
    "tls/protocol-102400x10": "TLS echo 100 KiB, 10 connections",
    "sched/executor": "`run_in_executor(noop)`",
    "sched/timers": "timers that fire",
    "sched/call-soon-threadsafe": "`call_soon_threadsafe(f)`",
    "sched/getaddrinfo": "`getaddrinfo` of a literal",
}

#: The rows of README.md's table.
SUMMARY = (
    "sched/create-task",
    "sched/call-soon",
    "echo/streams-1024x100",
    "servers/uvicorn-plain",
    "servers/fastapi-json",
    "servers/aiohttp-plain",
    "servers/websockets-echo",
    "tls/protocol-102400x10",
)

#: The families of the table that compares the two backends.
BACKEND_FAMILIES = ("sched", "echo", "servers", "tls", "memory")


def _value(cell: Results, loop: str) -> float | None:
    """Return a loop's figure so that less is better and none is zero: a share may be, and a timer
    may be early."""
    found = cell["loops"].get(loop, {}).get("shown")
    if found is None:
        return None
    value = max(float(found["value"]), _LEAST)
    return 1 / value if cell["more_is_better"] else value


def _best(cell: Results, names: Sequence[str]) -> str | None:
    """Return whose figure is the best."""
    values = {name: value for name in names if (value := _value(cell, name)) is not None}
    return min(values, key=values.__getitem__) if values else None


def _fields(cell: Results, names: Sequence[str]) -> list[str]:
    """Return a row's fields, bold where a loop is the best or level with it."""
    best = _best(cell, names)
    least = _value(cell, best) if best is not None else None
    row = []
    for name in names:
        text, value = report.shown(cell, name), _value(cell, name)
        ahead = least is not None and value is not None and value <= least * (1 + LEVEL)
        row.append(f"**{text}**" if ahead and text else text)
    return row


def _heads(names: Sequence[str]) -> list[str]:
    titles = {OURS: "**fastaio**", RING: "**fastaio, io_uring**"}
    return ["", *(titles.get(name, name) for name in names)]


def _present(document: Document, cells: Sequence[Results], without: Sequence[str]) -> list[str]:
    """Return the loops that have something in one of the cells."""
    return [
        loop
        for loop in document["loops"]
        if loop not in without and any(loop in cell["loops"] for cell in cells)
    ]


def ratios(document: Document, wanted: Sequence[str] = tuple(ROWS)) -> str | None:
    """Make the table of docs/figures.md: ratios to uvloop, and uvloop's own figures."""
    rows = {ROWS[name]: document["cells"][name] for name in wanted if name in document["cells"]}
    names = _present(document, list(rows.values()), [RING])
    if OURS not in names:
        return None
    return report.table(
        [*_heads(names), "spread"],
        [[t, *_fields(cell, names), _spread(cell, names)] for t, cell in rows.items()],
    )


_SPREAD = "Spread: how far the two best rounds of one loop differ at most, in per cent of the best."


def _spread(cell: Results, names: Sequence[str]) -> str:
    """Return how far the two best rounds of one loop differ at most, in per cent of the best."""
    entries = (cell["loops"].get(name, {}) for name in names)
    rounds = [[sample["value"] for sample in entry.get("rounds", ())] for entry in entries]
    more = cell["more_is_better"]
    differ = (report.difference(values, more) for values in rounds if values)
    return f"{max(differ, default=0):.0%}"


def served(document: Document) -> str | None:
    """Make the table of what the clients of servers see: requests per second and p99."""
    cells = [cell for name, cell in document["cells"].items() if name.startswith("servers/")]
    names = _present(document, cells, [])
    if OURS not in names:
        return None
    rows = []
    for cell in cells:
        found = {name: cell["loops"].get(name, {}).get("shown", {}) for name in names}
        best = max(entry.get("rps", 0.0) for entry in found.values())
        row = [cell["title"]]
        for name, entry in found.items():
            if "rps" not in entry:
                row.append(report.shown(cell, name))
                continue
            rate, p99 = figure(entry["rps"], "1/s"), figure(entry["p99_us"], "us")
            rate = f"**{rate}**" if entry["rps"] * (1 + LEVEL) >= best else rate
            row.append(f"{rate} / {p99}")
        rows.append(row)
    text = (
        "Requests per second, and the latency at the 99th percentile, as the clients see them:\n\n"
    )
    return text + report.table(_heads(names), rows)


def facts(document: Document) -> str | None:
    """Make the list of what ran, on what, and when."""
    machine = document["machine"]
    rounds = _rounds(document)
    loops = ", ".join(
        f"{name} {version}"
        for name, version in document["loops"].items()
        if name not in ("asyncio", RING)
    )
    return "\n".join(
        [
            f"- Command: `python -m bench --rounds {rounds}`, on {machine['date'][:10]}. "
            f"Each CPU time and rate is the best of {rounds} rounds, each latency the median.",
            f"- Machine: {machine['cpus']} CPUs ({machine['cpu_model']}), "
            f"Linux {machine['kernel']}, loopback.",
            f"- Versions: CPython {machine['python']}, {loops}.",
        ]
    )


def conditions(document: Document) -> str | None:
    """Make the line below README.md's figures: facts() in short."""
    machine = document["machine"]
    return (
        f"CPython {machine['python']}, uvloop {document['loops'].get('uvloop', 'absent')}, "
        f"{machine['cpus']} CPUs, the best of {_rounds(document)} rounds. {_SPREAD}"
    )


def _rounds(document: Document) -> int:
    """Return how many rounds the run has."""
    entries = [entry for cell in document["cells"].values() for entry in cell["loops"].values()]
    return max(len(entry.get("rounds", ())) for entry in entries)


def summary(document: Document) -> str | None:
    """Make the table of README.md: eight rows of ratios()."""
    return ratios(document, SUMMARY)


def _behind(document: Document) -> Iterator[tuple[float, list[str]]]:
    """Yield the rows of the cells in which another loop is ahead, each with the factor."""
    others = [loop for loop in document["loops"] if loop not in (OURS, RING)]
    for name, cell in document["cells"].items():
        ours, other = _value(cell, OURS), _best(cell, others)
        if ours is None or other is None or cell["group"]:
            continue
        theirs = _value(cell, other)
        if theirs is None or ours <= theirs * (1 + LEVEL):
            continue
        pair = [
            figure(cell["loops"][loop]["shown"]["value"], cell["unit"]) for loop in (OURS, other)
        ]
        yield ours / theirs, [f"`{name}`: {cell['title']}", pair[0], f"{pair[1]} ({other})"]


def losses(document: Document) -> str | None:
    """Make the table of every cell in which another loop is ahead, the worst first."""
    if not any(_value(cell, OURS) is not None for cell in document["cells"].values()):
        return None
    rows = [row for _, row in sorted(_behind(document), key=lambda pair: -pair[0])]
    if not rows:
        return f"No other loop is ahead by more than {LEVEL:.0%} in any cell of the run."
    head = ["", "**fastaio**", "the best of the others"]
    return f"Another loop is ahead by more than {LEVEL:.0%} in:\n\n" + report.table(head, rows)


def _section(document: Document, wanted: str) -> dict[str, Results]:
    return next((cells for name, cells in report.sections(document) if name == wanted), {})


def neighbours(document: Document) -> str | None:
    """Make the table of what each loop leaves to others."""
    cells = list(_section(document, "neighbours").values())
    names = _present(document, cells, [])
    if OURS not in names:
        return None
    rows = [[cell["title"], *_fields(cell, names)] for cell in cells]
    return "What a loop leaves to others:\n\n" + report.table(_heads(names), rows)


def spinning(document: Document) -> str | None:
    """Make the table of what spinning costs and brings."""
    cells = _section(document, "neighbours/spinning")
    if not cells:
        return None
    rows = []
    for cell in cells.values():
        row = [cell["title"]]
        for loop in (OURS, RING):
            row += [report.shown(cell, loop), report.shown(cell, loop + NO_SPIN)]
            row.append(report.spinning(cell, loop))
        rows.append(row)
    head = ["CPU time per request / requests per second"]
    for title in ("epoll", "io_uring"):
        head += [title, f"{title}, not spinning", "times the CPU, the requests"]
    return report.table(head, rows)


def observing(document: Document) -> str | None:
    """Make the table of what the recorder and accounts cost."""
    cells = _section(document, "neighbours/observing")
    if not cells:
        return None
    rows = []
    for cell in cells.values():
        row = [cell["title"], report.shown(cell, OURS)]
        row += [report.observed(cell, OURS + variant) for variant in (WATCHED, ACCOUNTS)]
        rows.append(row)
    return report.table(["CPU time per operation", "", "watched", "with accounts"], rows)


def backends(document: Document) -> str | None:
    """Make the table of the two backends: plain figures, the smaller one bold."""
    rows = []
    for name, cell in document["cells"].items():
        if name.partition("/")[0] not in BACKEND_FAMILIES:
            continue
        if any(_value(cell, loop) is None for loop in (OURS, RING)):
            continue
        plain = cell | {"baseline": None}
        limit = report.shown(plain, LIMIT)
        rows.append([cell["title"], *_fields(plain, (OURS, RING)), limit])
    return report.table(["", "epoll", "io_uring", "limit"], rows) if rows else None


#: Who makes each block, and the families, or groups of one, that the run must be complete in.
BLOCKS: dict[str, tuple[Callable[[Document], str | None], tuple[str, ...]]] = {
    "facts": (facts, FAMILIES),
    "conditions": (conditions, ("sched", "echo", "servers", "tls")),
    "summary": (summary, ("sched", "echo", "servers", "tls")),
    "ratios": (ratios, ("sched", "echo", "servers", "tls")),
    "served": (served, ("servers",)),
    "losses": (losses, FAMILIES),
    "neighbours": (neighbours, ("neighbours",)),
    "spinning": (spinning, ("neighbours",)),
    "observing": (observing, ("neighbours/observing",)),
    "backends": (backends, BACKEND_FAMILIES),
}

_BLOCK = re.compile(r"(<!-- bench: ([a-z]+) -->\n)(.*?)(<!-- bench: end -->)", re.DOTALL)


def complete(document: Document, parts: Sequence[str]) -> bool:
    """Return whether a run has every cell of some parts, except those that cannot run here."""
    names = {
        cell.name
        for family, _, group in (part.partition("/") for part in parts)
        for cell in load_family(family)
        if group in ("", cell.group)
    }
    return names <= {*document["cells"], *document.get("skipped", {})}


def renew(text: str, document: Document) -> tuple[str, list[str]]:
    """Return a text with its blocks made anew, and the names of these."""
    made = []

    def replace(match: re.Match[str]) -> str:
        begin, name, _, end = match.groups()
        maker, parts = BLOCKS[name]
        block = maker(document) if complete(document, parts) else None
        if block is None:
            return match.group()
        made.append(name)
        return f"{begin}{block}\n{end}"

    return _BLOCK.sub(replace, text), made


def check(paths: Sequence[Path]) -> None:
    """Raise LookupError if a file has a block that nobody can make."""
    for path in paths:
        for _, name, *_ in _BLOCK.findall(path.read_text()):
            if name not in BLOCKS:
                raise LookupError(f"{path} has the block {name}; there are {', '.join(BLOCKS)}")


def write(paths: Sequence[Path], document: Document) -> list[str]:
    """Renew the blocks of some files; return what was done, a line for each file."""
    done = []
    for path in paths:
        text, made = renew(path.read_text(), document)
        path.write_text(text)
        done.append(f"{path}: {', '.join(made) or 'no block that this run is complete for'}")
    return done

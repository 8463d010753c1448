"""Cells: a cell is a piece of work that every loop does, and the way to one number from it.

A cell runs in a process of its own (see child.py), for one loop, once per round. Two kinds:

* `Work` is measured by the process itself: it returns a `Sample`.
* `Served` starts a server; a load generator in another process drives it and reads its CPU clock.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fnmatch
import importlib
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from bench import loops, system

#: What one run of a cell gives: `value` (the figure of the table) and more.
Sample: TypeAlias = dict[str, float]

#: Starts a server on a listening socket; what it returns is kept as long as the server runs.
Serve: TypeAlias = Callable[[socket.socket], Awaitable[object]]

#: The row that no event loop can pass: the interpreter alone, or a server in plain C.
LIMIT = "limit"

FAMILIES = (
    "sched",
    "echo",
    "servers",
    "tls",
    "channels",
    "files",
    "memory",
    "idle",
    "neighbours",
    "threads",
)
_MODULES = {"sched": "scheduling"}


@dataclass(frozen=True)
class Settings:
    """How long one measurement takes."""

    batch_seconds: float = 0.02
    #: At least and at most so many batches: see best.py.
    batches: int = 5
    most_batches: int = 50
    warmup_seconds: float = 0.15
    #: At least so long; up to four times, until the least CPU time per request is certain.
    load_seconds: float = 0.4
    idle_seconds: float = 1.5
    scale: float = 1.0
    #: By this a cell's patience is multiplied.
    patience: float = 1.0

    @staticmethod
    def quick() -> Settings:
        """Short ones, to see that everything works and where things stand roughly."""
        return Settings(0.01, 2, 2, 0.08, 0.12, 0.5, 0.2, 0.6)


@dataclass(frozen=True)
class Context:
    """The orders of a measuring process: the loop, the durations, the core."""

    loop: str
    settings: Settings
    core: int
    #: The core of the load generator, for a second thread where a cell has one.
    other_core: int

    @property
    def is_limit(self) -> bool:
        """True if the interpreter's floor is measured instead of a loop."""
        return self.loop == LIMIT

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Make the loop, and only then stay on one core: a loop that looks at the number of its
        cores when it is made (to decide whether spinning can pay) sees them all."""
        loop = loops.make(self.loop)
        asyncio.set_event_loop(loop)
        system.pin(self.core)
        return loop


@dataclass(frozen=True)
class Load:
    """The work of the load generator."""

    mode: str = "echo"
    connections: int = 1
    size: int = 1024
    pipeline: int = 1
    path: str = "/"
    #: Whether the load generator speaks TLS.
    tls: bool = False

    @property
    def cubic(self) -> bool:
        """True if the messages are large enough for the congestion control to matter."""
        return self.size >= 16384


@dataclass(frozen=True)
class Figure:
    """A figure of a sample that is shown beside its value."""

    key: str
    #: One of those in units.py.
    unit: str = "s"


@dataclass(frozen=True)
class Cell:
    """One row of a table."""

    name: str
    title: str
    #: The unit of `Sample["value"]`, one of those in units.py. "s" is CPU time, unless the title
    #: or the family's heading says otherwise.
    unit: str = "s"
    #: The loop that the others are compared to; without one the table shows plain figures.
    baseline: str | None = "uvloop"
    #: Seconds after which a process counts as hung.
    patience: float = 20.0
    #: Figures that share the field of the value.
    beside: tuple[Figure, ...] = field(default=(), kw_only=True)
    more_is_better: bool = field(default=False, kw_only=True)
    #: Whether the figure shows what goes wrong now and then, so that its rounds may differ and none
    #: is the best.
    varies: bool = field(default=False, kw_only=True)
    #: Whether --quick has it too, even where nobody asks for this very cell.
    quick: bool = field(default=True, kw_only=True)
    #: By this the seconds under load are multiplied: a family of many cells has short ones.
    window: float = field(default=1.0, kw_only=True)
    #: Interleaved rounds, unless the command line asks for another number.
    rounds: int = field(default=4, kw_only=True)
    #: Modules without which the cell is left out.
    needs: tuple[str, ...] = field(default=(), kw_only=True)
    #: The part of the family that has a table of its own; "" is the family's first table.
    group: str = field(default="", kw_only=True)
    #: Variants that the cell compares each loop that has them to. No other loop takes part.
    variants: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def family(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @property
    def has_limit(self) -> bool:
        """True if the cell has a `limit` row."""
        return False

    def settings(self, asked: Settings) -> Settings:
        """Return what is asked for, as it applies to this cell."""
        return dataclasses.replace(asked, load_seconds=asked.load_seconds * self.window)

    def runners(self, names: Sequence[str]) -> list[str]:
        """Return who takes part, of the loops that there are."""
        if self.variants:
            able = [name for name in names if loops.has_variants(name)]
            return [name + variant for name in able for variant in ("", *self.variants)]
        return [*names, LIMIT] if self.has_limit else list(names)


@dataclass(frozen=True)
class Work(Cell):
    """A cell that measures itself."""

    run: Callable[[Context], Sample] = field(kw_only=True)
    limited: bool = field(default=False, kw_only=True)

    @property
    def has_limit(self) -> bool:
        return self.limited


def cpu_per_request(sample: Sample) -> float:
    """Return the CPU time of the servers per request."""
    return sample["server_cpu"] / sample["requests"]


@dataclass(frozen=True)
class Served(Cell):
    """A cell with a server, which accepts once `serve` has returned."""

    serve: Serve = field(kw_only=True)
    load: Load = field(kw_only=True)
    limited: bool = field(default=False, kw_only=True)
    #: How many servers run at a time, all on one core, each with a load generator of its own.
    servers: int = field(default=1, kw_only=True)
    #: Makes the value of what the load generator has measured.
    value: Callable[[Sample], float] = field(default=cpu_per_request, kw_only=True)
    #: Whether the whole window counts, and not only its best parts.
    whole: bool = field(default=False, kw_only=True)
    #: What the server's process finds in its environment.
    environment: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def has_limit(self) -> bool:
        return self.limited


def load_family(family: str) -> list[Cell]:
    """The cells of one family, in the order of the table."""
    module = importlib.import_module(f"bench.workloads.{_MODULES.get(family, family)}")
    cells: list[Cell] = list(module.CELLS)
    return cells


def all_cells() -> list[Cell]:
    """Every cell, family by family."""
    return [cell for family in FAMILIES for cell in load_family(family)]


def find(name: str) -> Cell:
    """The cell of exactly that name."""
    for cell in load_family(name.partition("/")[0]):
        if cell.name == name:
            return cell
    raise LookupError(f"no such cell: {name}")


def select(cells: Iterable[Cell], patterns: Sequence[str]) -> list[Cell]:
    """The cells that one of the patterns names: a family, a name, the end of one, or a glob."""
    cells = list(cells)
    if not patterns:
        return cells
    chosen: set[str] = set()
    for pattern in patterns:
        found = {
            cell.name
            for cell in cells
            if pattern in (cell.family, cell.name, cell.name.partition("/")[2])
            or fnmatch.fnmatchcase(cell.name, pattern)
        }
        if not found:
            raise LookupError(f"no cell is called {pattern!r}; --list shows them")
        chosen |= found
    return [cell for cell in cells if cell.name in chosen]

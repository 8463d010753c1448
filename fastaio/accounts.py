"""Accounts: what each coroutine function, task or callback costs its loop."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from . import _fastaio
    from .loop import EventLoop

__all__ = ("Account", "Accounts", "add_loop", "check_by", "running_loops")

# The loops of this interpreter that live, in the order in which they were made. Other threads read
# the dict while loops are made: list() of its values runs no Python code.
_loops: dict[int, weakref.ref[EventLoop]] = {}
_numbers = itertools.count()


def add_loop(loop: EventLoop) -> None:
    """Note that a loop has been made."""
    number, forget = next(_numbers), _loops.pop
    _loops[number] = weakref.ref(loop, lambda _: forget(number, None))


def running_loops() -> list[EventLoop]:
    """Return the loops that run, in any thread, in the order in which they were made."""
    alive = [reference() for reference in list(_loops.values())]
    return [loop for loop in alive if loop is not None and loop.is_running()]


class Account(TypedDict):
    """The cost of everything that has run under one name."""

    name: str
    """The qualified name of the coroutine function or the callback, or the name of the task."""
    steps: int
    """How many times it has run."""
    run_ns: int
    """How long it has run, in nanoseconds."""
    cpu_ns: int
    """CPU time of the loop's thread, in nanoseconds."""
    longest_ns: int
    """The longest step, in nanoseconds."""
    waited_ns: int
    """How long the steps have waited in the ready queue, in nanoseconds."""


def check_by(by: str) -> int:
    """Return the native mode of ``by``; ValueError in one sentence."""
    if by not in ("function", "name"):
        raise ValueError(f"by must be 'function' or 'name', not {by!r}")
    return 1 if by == "function" else 2


class Accounts:
    """The accounts of a loop: what loop.account() returns."""

    __slots__ = ("_loop", "by")

    def __init__(self, loop: _fastaio.Loop, by: Literal["function", "name"]) -> None:
        """Read the accounts of a loop that are kept by function or by name."""
        self._loop = loop
        self.by = by

    def rows(self) -> list[Account]:
        """Return the accounts, those that used the most CPU time first."""
        rows = [
            Account(
                name=name,
                steps=steps,
                run_ns=run_ns,
                cpu_ns=cpu_ns,
                longest_ns=longest_ns,
                waited_ns=waited_ns,
            )
            for name, steps, run_ns, cpu_ns, longest_ns, waited_ns in self._loop._account_rows()
        ]
        return sorted(rows, key=lambda row: row["cpu_ns"], reverse=True)

    def clear(self) -> None:
        """Begin anew with no accounts."""
        self._loop._account_clear()

    def stop(self) -> None:
        """Keep no more accounts. Those that there are stay."""
        self._loop._account(0)

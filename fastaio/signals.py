"""How a signal ends the wait of a loop, and reaches its handlers.

CPython's own C handler writes the number of each signal into the "wakeup descriptor" of the
process. While a loop runs in the main thread that is a pipe which the loop reads: a signal that
comes between two looks at the queue and the wait that follows is already in the pipe, so no wait
outlasts it. What is written while no loop runs stays there for the next run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ._fastaio import SignalPipe

__all__ = ("SignalPipe", "SignalWakeup")


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


class SignalWakeup:
    """Lends a loop's signal pipe to the process for as long as the loop runs.

    KeyboardInterrupt may come at any bytecode of this class. No harm is done: a pipe that is still
    lent stays open, and takes itself away from the process before it closes.
    """

    def __init__(self, watch: Callable[[int], object]) -> None:
        """``watch`` is called with the descriptor to read, as soon as there is a pipe."""
        # None once closed: it is a method of the loop, and would keep the closed loop in a cycle.
        self._watch: Callable[[int], object] | None = watch
        self._pipe: SignalPipe | None = None
        self._watched = False

    def open(self) -> SignalPipe | None:
        """Return the pipe, made at the first call; None once closed."""
        if self._watch is None:
            return None
        if self._pipe is None:
            self._pipe = SignalPipe()
        if not self._watched:
            self._watch(self._pipe.reader)
            self._watched = True
        return self._pipe

    def fileno(self) -> int:
        """Return the end to write to, which add_signal_handler() asks for; -1 once closed."""
        pipe = self.open()
        if pipe is None:
            return -1
        # Only the main thread can give the number to the process.
        return pipe.fileno() if _is_main_thread() else pipe.writer

    def read(self) -> bytes:
        """The signals that came since the last call."""
        return b"" if self._pipe is None else self._pipe.read()

    def claim(self) -> None:
        """Have signals written to the pipe, unless somebody else has a wakeup descriptor.

        Only the main thread of the main interpreter hears of signals; elsewhere nothing happens.
        Where the descriptor is taken a signal still interrupts the wait.
        """
        pipe = self.open() if _is_main_thread() else None
        if pipe is not None:
            pipe.claim()

    def release(self, keep: bool) -> None:
        """Undo claim(). With ``keep`` (there are handlers) signals go on to be written."""
        if not keep and self._pipe is not None:
            self._pipe.release()

    def close(self) -> None:
        """Close the pipe; nothing writes to it any more."""
        self._watch = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

"""How a signal ends the wait of a loop, and reaches its handlers.

CPython's own C handler writes the number of each signal into the "wakeup descriptor" of the
process. While a loop runs in the main thread that is a pipe which the loop reads: a signal that
comes between two looks at the queue and the wait that follows is already in the pipe, so no wait
outlasts it. What is written while no loop runs stays there for the next run.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

__all__ = ("SignalPipe", "SignalWakeup")


class SignalPipe:
    """A non-blocking pipe of signal numbers.

    One byte per signal, and a pipe packs them: by default 65,536 signals can wait, where asyncio's
    pair of sockets holds a few hundred.
    """

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def read(self) -> bytes:
        """The signals that came since the last call."""
        try:
            return os.read(self.reader, 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self.writer)


class SignalWakeup:
    """Lends a loop's signal pipe to the process for as long as the loop runs."""

    def __init__(self, watch: Callable[[int], object]) -> None:
        """``watch`` is called once with the descriptor to read, as soon as there is a pipe."""
        self._watch = watch
        self._pipe: SignalPipe | None = None
        self._claimed = False
        self._closed = False

    def open(self) -> SignalPipe | None:
        """Return the pipe, made at the first call; None once closed."""
        if self._pipe is None and not self._closed:
            pipe = SignalPipe()
            try:
                self._watch(pipe.reader)
            except BaseException:
                pipe.close()
                raise
            self._pipe = pipe
            _pipes_of_this_process.add(pipe.writer)
        return self._pipe

    def fileno(self) -> int:
        """Return the end to write to, which add_signal_handler() asks for; -1 once closed."""
        pipe = self.open()
        return -1 if pipe is None else pipe.writer

    def read(self) -> bytes:
        """The signals that came since the last call."""
        return b"" if self._pipe is None else self._pipe.read()

    def claim(self) -> None:
        """Have signals written to the pipe, unless somebody else has a wakeup descriptor.

        Only the main thread of the main interpreter hears of signals; elsewhere nothing happens.
        Where the descriptor is taken a signal still interrupts the wait.
        """
        if threading.get_ident() != threading.main_thread().ident:
            return
        pipe = self.open()
        if pipe is None:
            return
        try:
            previous = signal.set_wakeup_fd(pipe.writer, warn_on_full_buffer=False)
        except ValueError:  # a subinterpreter
            return
        if previous not in (-1, pipe.writer):
            signal.set_wakeup_fd(previous)
            return
        self._claimed = True

    def release(self, keep: bool) -> None:
        """Undo claim(). With ``keep`` (there are handlers) signals go on to be written."""
        if not self._claimed:
            return
        self._claimed = False
        if keep or self._pipe is None:
            return
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, self._pipe.writer):
            signal.set_wakeup_fd(current)  # set by the program while the loop ran

    def close(self) -> None:
        """Close the pipe; nothing must write to it any more."""
        self._closed = True
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            _pipes_of_this_process.discard(pipe.writer)
            pipe.close()


# Descriptors that a forked child inherits, and must not write to: its signals are not ours.
_pipes_of_this_process: set[int] = set()


def _forget_inherited_pipe() -> None:
    if not _pipes_of_this_process:
        return
    current = signal.set_wakeup_fd(-1)
    if current != -1 and current not in _pipes_of_this_process:
        signal.set_wakeup_fd(current)


if sys.version_info < (3, 12):  # from 3.12 on asyncio itself resets it in a child
    os.register_at_fork(after_in_child=_forget_inherited_pipe)

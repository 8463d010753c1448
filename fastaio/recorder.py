"""The recorder: a callback that blocks its loop is reported while it blocks.

A native thread finds the stall (src/_fastaio/loop/recorder.c). The reporter, a thread of Python,
takes the stack of the loop's thread and reports it; it reports the end of the stall, too. Where the
blocking code keeps the GIL, the reporter cannot run: then faulthandler's handler of a signal writes
the stack, and the native thread copies it to stderr.
"""

from __future__ import annotations

import asyncio
import atexit
import linecache
import logging
import math
import os
import re
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _fastaio, environment
from .awaiters import awaited_by, describe

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from .loop import EventLoop

__all__ = (
    "ENVIRONMENT_VARIABLE",
    "Report",
    "Stall",
    "check_seconds",
)

ENVIRONMENT_VARIABLE = "FASTAIO_WATCH"

_logger = logging.getLogger("fastaio")

_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)')


class Stall:
    """A callback that blocks, or blocked, its event loop.

    One object per stall is given to the report twice: while the callback blocks, and when it has
    returned.
    """

    __slots__ = ("awaited_by", "keeps_gil", "loop", "over", "seconds", "stack", "subject")

    loop: EventLoop
    """The loop that is blocked."""
    seconds: float
    """How long the callback has been blocking so far; once ``over``, how long it has in all."""
    over: bool
    """Whether the callback has returned."""
    keeps_gil: bool
    """Whether no other thread of Python could run while the callback blocked."""
    stack: list[traceback.FrameSummary]
    """The stack of the loop's thread from the callback on, the most recent call last."""
    subject: str | None
    """The task or the callback that blocks; None if that is not known."""
    awaited_by: list[str]
    """The tasks that wait for the task that blocks, the nearest first."""

    def __init__(self, loop: EventLoop) -> None:
        """Make an empty record for a loop."""
        self.loop = loop
        self.seconds = 0.0
        self.over = False
        self.keeps_gil = False
        self.stack = []
        self.subject = None
        self.awaited_by = []

    def __str__(self) -> str:
        """Return the text that the log gets."""
        subject = self.subject or "a callback"
        waiting = f", awaited by {', '.join(self.awaited_by)}" if self.awaited_by else ""
        keeps = ", which kept the GIL" if self.keeps_gil else ""
        if self.over:
            text = f"The event loop was blocked for {self.seconds:.3f} seconds by {subject}{keeps}"
            if not self.keeps_gil:
                return text
            text += waiting
        else:
            text = (
                f"The event loop has been blocked for {self.seconds:.3f} seconds, and still is, "
                f"by {subject}{waiting}"
            )
        if not self.stack:
            return text
        return f"{text}; its stack (most recent call last):\n{self.stack_text()}"

    def stack_text(self) -> str:
        """Return the stack as a traceback shows it."""
        return "".join(traceback.format_list(self.stack)).rstrip()


Report = Callable[[Stall], object]


# Settings


def check_seconds(seconds: object, name: str = "watch") -> float:
    """Return a threshold as a float; TypeError or ValueError in one sentence."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {seconds!r}")
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"{name} must be a number of seconds above 0, not {seconds!r}")
    return float(seconds)


def environment_seconds() -> float | None:
    """Return the threshold of FASTAIO_WATCH; None if it is not set, or makes no sense."""
    text = os.environ.get(ENVIRONMENT_VARIABLE)
    if not text:
        return None
    try:
        return check_seconds(float(text), ENVIRONMENT_VARIABLE)
    except ValueError:
        problem = f"{ENVIRONMENT_VARIABLE} must be a number of seconds above 0, not {text!r}"
        environment.warn(problem, "no loop is watched")
        return None


def log_no_threads(error: Exception) -> None:
    """Log that a loop is not watched."""
    _logger.warning("The event loop is not watched: %s", error)


# Stacks


def _callback_frames(frame: FrameType | None) -> list[traceback.FrameSummary]:
    """Return the frames from the loop's callback on, the most recent call last."""
    walked = []
    while frame is not None and frame.f_code not in _outer_code():
        walked.append((frame, frame.f_lineno))
        frame = frame.f_back
    return list(traceback.StackSummary.extract(iter(reversed(walked))))


def _outer_code() -> frozenset[CodeType]:
    """Return the code that runs a loop: the frames outside of it do not interest."""
    from .loop import EventLoop

    return frozenset((EventLoop.run_forever.__code__,))


def _parse_stack(text: str) -> list[traceback.FrameSummary]:
    """Read faulthandler's text, the most recent call first; return the frames of the callback."""
    code = next(iter(_outer_code()))
    frames = []
    for match in _FRAME.finditer(text):
        file, line, name = match["file"], int(match["line"]), match["name"]
        if file == code.co_filename and name == code.co_name:
            break
        frames.append(traceback.FrameSummary(file, line, name, lookup_line=False))
    frames.reverse()
    return frames


# Reports


class _Reporter:
    """The thread that reports, and the stalls that go on."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards what follows, except _stalls
        self._thread: threading.Thread | None = None
        self._over = False  # the interpreter ends: threads of the recorder would outlive it
        self._loops: weakref.WeakSet[EventLoop] = weakref.WeakSet()
        self._stalls: dict[int, Stall] = {}
        self._signal = 0
        self._file: Any = None

    def watch(self, loop: EventLoop) -> None:
        """Add a loop, and start the threads unless they run."""
        with self._lock:
            self.start()
            self._loops.add(loop)

    def leave(self, loop: EventLoop) -> None:
        """Take a loop off; the last one ends the threads."""
        with self._lock:
            self._loops.discard(loop)
            thread = None if self._loops else self._stop()
        self._join(thread)

    def start(self) -> None:
        """Start the threads unless they run; OSError or RuntimeError if there can be none."""
        with self._lock:
            if self._thread is None and not self._over:
                self._start()

    def _start(self) -> None:
        if not self._signal:
            self._signal = self._register_signal()
        fd = self._file.fileno() if self._file is not None else -1
        run = _fastaio._start_recorder(self._signal, fd)
        thread = threading.Thread(
            target=self._run, args=(run,), name="fastaio-recorder", daemon=True
        )
        self._thread = thread
        try:
            thread.start()
        except BaseException:
            self._thread = None
            _fastaio._stop_recorder()
            raise

    def running(self) -> bool:
        """Return whether the threads run."""
        return self._thread is not None

    def stop(self) -> None:
        """End the threads."""
        with self._lock:
            thread = self._stop()
        self._join(thread)

    def end(self) -> None:
        """End the threads, at the end of the interpreter: nothing starts them again."""
        with self._lock:
            self._over = True
        self.stop()

    def _stop(self) -> threading.Thread | None:
        thread, self._thread = self._thread, None
        if thread is not None:
            _fastaio._stop_recorder()
        return thread

    def _join(self, thread: threading.Thread | None) -> None:
        # Without the lock: a report in that thread may call watch().
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def forget(self) -> None:
        """Forget the threads, which a forked child has not got."""
        self._lock = threading.RLock()
        self._thread = None
        self._loops.clear()
        self._stalls.clear()

    def _register_signal(self) -> int:
        """Have faulthandler write stacks at a signal that nobody uses; return it, or 0.

        The signal stays registered: its default action would end the process.
        """
        free = [
            number
            for number in range(signal.SIGRTMAX - 1, signal.SIGRTMIN, -1)
            if signal.getsignal(number) is signal.SIG_DFL
        ]
        try:
            import faulthandler  # subinterpreters may not have it

            file = os.fdopen(os.memfd_create("fastaio-stacks"), "w+b", 0)
            faulthandler.register(free[0], file=file, all_threads=False, chain=False)
        except (ImportError, OSError, IndexError, RuntimeError):
            return 0  # stalls that keep the GIL are told without a stack
        self._file = file
        return free[0]

    def _run(self, run: int) -> None:
        while (event := _fastaio._next_stall(run)) is not None:
            try:
                self._tell(*event)
            except Exception:  # noqa: BLE001 - the recorder goes on, whatever a report raises
                _logger.exception("The report of a blocked event loop failed")
            event = None

    def _tell(
        self,
        kind: str,
        loop: EventLoop,
        number: int,
        seconds: float,
        stack: str | None,
        subject: str | None,
    ) -> None:
        stall = self._stalls.pop(number, None) or Stall(loop)
        stall.seconds = seconds
        stall.over = kind == "over"
        if not stall.over:
            self._stalls[number] = stall
            self._describe(stall)
            if kind == "dumped":
                return  # the native thread has reported it; the log gets it when it is over
        elif stack is not None:
            stall.keeps_gil = True
            stall.stack = _parse_stack(stack)
        stall.subject = stall.subject or subject
        report = loop._stall_report or _log
        report(stall)

    def _describe(self, stall: Stall) -> None:
        loop = stall.loop
        thread_id = loop._thread_id
        frame = sys._current_frames().get(thread_id) if thread_id is not None else None
        stall.stack = _callback_frames(frame)
        frame = None
        task = asyncio.current_task(loop)
        if task is not None:
            stall.subject = repr(task)
            stall.awaited_by = [describe(other) for other in awaited_by(task)]


def _log(stall: Stall) -> None:
    linecache.checkcache()
    _logger.warning(
        "%s", str(stall)
    )  # a handler may format the record later, when the stall is over


_reporter = _Reporter()


def watch(loop: EventLoop) -> None:
    """Start the recorder's threads for a loop unless they run.

    Raises OSError or RuntimeError if this process can have no more threads.
    """
    _reporter.watch(loop)


def leave(loop: EventLoop) -> None:
    """Note that a loop is not watched any more. The last one ends the threads."""
    _reporter.leave(loop)


# The threads end before a fork, since os.fork() warns of threads. The parent starts them again. A
# child starts them when it runs a watched loop.
_restart_after_fork = False


def _before_fork() -> None:
    global _restart_after_fork
    _restart_after_fork = _reporter.running()
    _reporter.stop()


def _after_fork_in_parent() -> None:
    if _restart_after_fork:
        _reporter.start()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_reporter.forget
)
atexit.register(_reporter.end)

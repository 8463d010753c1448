"""Look-ups of names, in threads of their own.

A name service may answer after seconds, or never. So look-ups do not take the threads of the
default executor, which files and other jobs need.

- A loop has at most MAX_THREADS such threads. A thread is started when a question finds no idle
  one, and ends after IDLE_SECONDS without a question. Other questions wait in their order.
- A question that is in flight is asked once. Each waiter gets its own list.
- A cancelled waiter leaves. A question without waiters is not begun. If it has begun, its answer
  is dropped, and the next such question is asked afresh.
- The threads are daemons: a question that nobody waits for does not delay the end of the process,
  nor shutdown_default_executor().
- A forked child starts with no thread and no question.
"""

from __future__ import annotations

import asyncio
import copy
import os
import socket
import sys
import threading
from asyncio import futures
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ("Lookups",)

MAX_THREADS = 32
#: Seconds. Where an interpreter forbids daemons, idle threads would delay its end.
IDLE_SECONDS = 10.0 if getattr(threading, "_daemon_threads_allowed", lambda: True)() else 0.0
#: Seconds that shutdown() waits for threads that have nothing left to do but end.
JOIN_SECONDS = 1.0

_convert_error: Callable[[BaseException], BaseException] = futures._convert_future_exc  # type: ignore[attr-defined]

# Values of exactly these types compare without calling code of a program.
_PLAIN = frozenset(
    (str, bytes, int, type(None), socket.AddressFamily, socket.SocketKind, socket.AddressInfo)
)
# What these functions tell audit hooks, by the arguments of a question.
_EVENTS: dict[Any, tuple[str, slice]] = {
    socket.getaddrinfo: ("socket.getaddrinfo", slice(5)),
    socket.getnameinfo: ("socket.getnameinfo", slice(1)),
}


def _is_plain(value: object) -> bool:
    if type(value) is tuple:
        return all(type(item) in _PLAIN for item in value)
    return type(value) in _PLAIN


def _another(error: BaseException) -> BaseException:
    """Return a copy of an error, so that waiters do not share a traceback; else the error."""
    try:
        twin = copy.copy(error)
    except Exception:
        return error
    if type(twin) is not type(error):
        return error
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin.with_traceback(error.__traceback__)


class _Question:
    """A look-up: who waits for it, and the answer."""

    __slots__ = ("args", "error", "func", "is_answered", "key", "loop", "result", "waiters")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        key: Hashable,
        func: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        self.loop = loop
        self.key = key
        self.func = func
        self.args = args
        self.waiters: list[asyncio.Future[Any]] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_answered = False

    def ask(self) -> None:
        """Call the function. Called in a thread."""
        try:
            self.result = self.func(*self.args)
        except BaseException as error:  # noqa: BLE001 - the waiters get any error
            self.error = error

    def tell(self) -> None:
        """Hand the answer to the waiters. Called in the loop."""
        waiters, self.waiters = self.waiters, []
        result, error = self.result, self.error
        if error is not None:
            error = _convert_error(error)
        is_first = True
        for waiter in waiters:
            try:
                if error is not None:
                    waiter.set_exception(error if is_first else _another(error))
                else:
                    waiter.set_result(result if is_first or type(result) is not list else [*result])
            except asyncio.InvalidStateError:  # cancelled, maybe by another thread at this moment
                continue
            is_first = False


class _Worker:
    """A thread. While it sleeps, give() hands it a question."""

    __slots__ = ("_wake", "question", "thread")

    def __init__(self, lookups: Lookups, number: int, question: _Question) -> None:
        self.question: _Question | None = question
        self._wake = threading.Semaphore(0)
        self.thread = threading.Thread(
            target=lookups._work,
            args=(self,),
            name=f"fastaio-dns_{number}",
            daemon=IDLE_SECONDS > 0,
        )

    def give(self, question: _Question | None) -> None:
        """Wake the thread with a question; with None it ends."""
        self.question = question
        self._wake.release()

    def sleep(self, timeout: float | None) -> bool:
        """Wait for give(). Return false if the time is over before."""
        return self._wake.acquire(timeout=timeout)


class Lookups:
    """The look-ups of a loop.

    Idle threads keep this object alive, so it does not hold the loop.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._note_fork()

    def _note_fork(self) -> None:
        """Begin anew in a forked child, which has none of the threads."""
        pid = os.getpid()
        if pid == self._pid:
            return
        self._pid = pid
        self._mutex = threading.RLock()  # guards what follows, which threads change as well
        self._queue: OrderedDict[_Question, None] = OrderedDict()
        self._workers: set[_Worker] = set()
        self._sleepers: list[_Worker] = []  # the last is woken first, so that the first may end
        self._count = 0  # of threads ever started, for their names
        self._is_closed = False
        # The loop's thread alone uses this table.
        self._in_flight: dict[Hashable, _Question] = {}

    async def ask(
        self, loop: asyncio.AbstractEventLoop, func: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        """Return ``func(*args)``, called in a thread, or raise its exception.

        A look-up with the same function and arguments that is in flight serves this call, too.
        Then the audit event of the function is raised here. Raises RuntimeError if no thread can
        be started.
        """
        self._note_fork()
        key: Hashable = (func, *args) if all(map(_is_plain, args)) else object()
        question = self._in_flight.get(key)
        waiter = loop.create_future()
        if question is None:
            question = _Question(loop, key, func, args)
            question.waiters.append(waiter)  # before a thread can see that there is none
            self._submit(question)
            self._in_flight[key] = question
        else:
            if func in _EVENTS:
                name, told = _EVENTS[func]
                sys.audit(name, *args[told])
            question.waiters.append(waiter)
        try:
            return await waiter
        finally:
            if waiter in question.waiters:
                self._leave(question, waiter)

    def _leave(self, question: _Question, waiter: asyncio.Future[Any]) -> None:
        self._note_fork()
        question.waiters.remove(waiter)
        if not question.waiters:
            self._forget(question)
            with self._mutex:
                self._queue.pop(question, None)

    def _forget(self, question: _Question) -> None:
        if self._in_flight.get(question.key) is question:
            del self._in_flight[question.key]

    def _submit(self, question: _Question) -> None:
        with self._mutex:
            if self._sleepers:
                self._sleepers.pop().give(question)
                return
            if len(self._workers) >= MAX_THREADS:
                self._queue[question] = None
                return
            self._count += 1
            worker = _Worker(self, self._count - 1, question)
            self._workers.add(worker)
        try:
            worker.thread.start()
        except RuntimeError:
            with self._mutex:
                self._workers.discard(worker)
                if not self._workers:
                    raise
                self._queue[question] = None

    # In the threads

    def _work(self, worker: _Worker) -> None:
        try:
            question = worker.question
            while question is not None:
                if question.waiters:
                    question.ask()
                    self._deliver(question)
                worker.question = question = None
                question = self._next(worker)
        finally:
            with self._mutex:  # close() looks at each of them
                self._workers.discard(worker)

    def _deliver(self, question: _Question) -> None:
        question.is_answered = True
        try:
            if not question.loop.is_closed():
                question.loop.call_soon_threadsafe(self._answered, question)
        except RuntimeError:
            if not question.loop.is_closed():
                raise

    def _answered(self, question: _Question) -> None:
        self._forget(question)
        question.tell()

    def _next(self, worker: _Worker) -> _Question | None:
        """Return the next question of a thread; None ends it."""
        with self._mutex:
            if self._queue:
                worker.question = self._queue.popitem(last=False)[0]
                return worker.question
            if self._is_closed or IDLE_SECONDS <= 0:
                self._workers.discard(worker)  # while the mutex is held, so that none counts on it
                return None
            self._sleepers.append(worker)
        if not worker.sleep(IDLE_SECONDS):
            with self._mutex:
                if worker in self._sleepers:
                    self._sleepers.remove(worker)
                    self._workers.discard(worker)
                    return None
            worker.sleep(None)  # a question has come at the last moment
        return worker.question

    # The end

    def close(self) -> list[threading.Thread]:
        """End the threads: idle ones now, others after the look-up at hand.

        Return the threads that have nothing left to do. Questions that have not begun are dropped.
        """
        self._note_fork()
        with self._mutex:
            self._is_closed = True
            self._queue.clear()
            ending = [
                worker.thread
                for worker in self._workers
                if worker.question is None or worker.question.is_answered
            ]
            for worker in self._sleepers:
                self._workers.discard(worker)
                worker.give(None)
            self._sleepers.clear()
        return ending

    async def shutdown(self, timeout: float | None) -> bool:
        """Wait for the look-ups that somebody waits for, then end the threads.

        timeout: in seconds; None: no limit. Return false if it is over before.
        """
        self._note_fork()
        waiters = [waiter for one in self._in_flight.values() for waiter in one.waiters]
        in_time = True
        if waiters:
            in_time = not (await asyncio.wait(waiters, timeout=timeout))[1]
        for thread in self.close():
            thread.join(JOIN_SECONDS)
        return in_time

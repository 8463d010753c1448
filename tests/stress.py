"""Threads with a loop each, which hand everything to each other that asyncio allows; for minutes.

    python -m tests.stress [--seconds 60] [--threads 8] [--seed N]

Each thread runs a loop, closes it after a while and makes a new one. On each loop actors use the
loops of the others: coroutines by run_coroutine_threadsafe(), callbacks by call_soon_threadsafe(),
some of them cancelled again, futures that others watch, sockets that go from loop to loop, jobs of
executors, and loops that close meanwhile. Nothing may be lost. Prints the counts; the exit status
is 1 if something was lost. A Python without a GIL finds more; with one, all has to hold, too.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import concurrent.futures
import contextlib
import faulthandler
import random
import socket
import sys
import threading
import time

import fastaio

#: An answer that takes longer is lost.
PATIENCE = 60.0


class Lost(Exception):
    """Something was handed over and did not arrive."""


class Crew:
    """The threads, their present loops, and what they have counted."""

    def __init__(self, size: int, seed: int, seconds: float) -> None:
        self.seed = seed
        self.end = time.monotonic() + seconds
        self.counts: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}
        self._ended: collections.deque[asyncio.AbstractEventLoop] = collections.deque(maxlen=size)
        self.threads = [
            threading.Thread(target=self._work, args=(number,), name=f"stress-{number}")
            for number in range(size)
        ]

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end or bool(self.problems)

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def problem(self, text: str) -> None:
        with self._lock:
            self.problems.append(text)

    def enter(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._loops[number] = loop

    def leave(self, number: int) -> None:
        with self._lock:
            self._ended.append(self._loops.pop(number))

    @contextlib.contextmanager
    def another(self, rng: random.Random, number: int):
        """A loop of another thread; None if no other runs. It may end at any moment."""
        with self._lock:
            others = [loop for other, loop in self._loops.items() if other != number]
        yield rng.choice(others) if others else None

    def ended(self, rng: random.Random) -> asyncio.AbstractEventLoop | None:
        """A loop that is about to close, or has closed; None if there is none yet."""
        with self._lock:
            return rng.choice(self._ended) if self._ended else None

    def _work(self, number: int) -> None:
        rng = random.Random(self.seed * 1000 + number)
        try:
            while not self.over:
                with asyncio.Runner(loop_factory=fastaio.new_event_loop) as runner:
                    runner.run(Actors(self, number, rng).live())
                self.count("loops")
        except BaseException as error:
            self.problem(f"thread {number}: {type(error).__name__}: {error}")
            raise


class Actors:
    """What goes on on one loop for as long as it lives."""

    def __init__(self, crew: Crew, number: int, rng: random.Random) -> None:
        self.crew = crew
        self.number = number
        self.rng = rng
        self.open = True

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        self.crew.enter(self.number, loop)
        actors = (
            self.ask, self.call, self.watch, self.sockets, self.relay,
            self.jobs, self.look, self.late, self.churn,
        )  # fmt: skip
        tasks = [asyncio.create_task(self.repeat(actor)) for actor in actors]
        await asyncio.sleep(self.rng.uniform(0.2, 1.5))
        self.crew.leave(self.number)
        self.open = False
        done, pending = await asyncio.wait(tasks, timeout=PATIENCE)
        for task in pending:
            self.crew.problem(f"thread {self.number}: {task!r} does not end")
            task.cancel()
        for task in done:
            task.result()

    async def repeat(self, actor) -> None:
        while self.open and not self.crew.over:
            await actor()
            self.crew.count(actor.__name__)
            if self.rng.random() < 0.1:
                await asyncio.sleep(self.rng.choice((0, 0, 0.001)))

    async def ask(self) -> None:
        """A coroutine on another loop."""

        async def answer(number: int) -> int:
            await asyncio.sleep(0)
            return number + 1

        with self.crew.another(self.rng, self.number) as loop:
            if loop is None:
                return await asyncio.sleep(0.001)
            number = self.rng.randrange(1000)
            coroutine = answer(number)
            try:
                future = asyncio.run_coroutine_threadsafe(coroutine, loop)
            except RuntimeError:  # it has been closed
                coroutine.close()
                return None
            if await self.arrives(future, loop) and future.result() != number + 1:
                raise Lost("the answer is another one's")

    async def arrives(
        self, future: concurrent.futures.Future[object], loop: asyncio.AbstractEventLoop
    ) -> bool:
        """Wait for what another loop does; return False if that has closed before."""
        wrapped = asyncio.wrap_future(future)
        end = time.monotonic() + PATIENCE
        while not (await asyncio.wait([wrapped], timeout=0.05))[0]:
            if loop.is_closed():
                return False
            if time.monotonic() > end:
                raise Lost("a coroutine was not run")
        return not wrapped.cancelled()

    async def call(self) -> None:
        """Callbacks on another loop; some are cancelled again, and then do not run."""
        with self.crew.another(self.rng, self.number) as loop:
            if loop is None:
                return await asyncio.sleep(0.001)
            ran: list[int] = []
            try:
                handles = [loop.call_soon_threadsafe(ran.append, i) for i in range(20)]
                for handle in handles[::3]:
                    handle.cancel()
                    if not handle.cancelled():
                        raise Lost("cancel() has no effect")
                done = concurrent.futures.Future()
                loop.call_soon_threadsafe(done.set_result, None)
            except RuntimeError:
                return None
            begin = time.monotonic()
            while not done.done():
                if loop.is_closed():
                    return None
                if time.monotonic() - begin > PATIENCE:
                    raise Lost("a callback did not run")
                await asyncio.sleep(0.0005)
            if ran != sorted(ran) or not set(ran) >= set(range(20)) - set(range(0, 20, 3)):
                raise Lost(f"callbacks ran as {ran}")

    async def watch(self) -> None:
        """Threads look at a future of this loop, and one completes it."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        told = concurrent.futures.Future()

        def onlooker() -> None:
            while not future.done():
                for _ in range(20):
                    future.add_done_callback(noted.append)
                    future.remove_done_callback(noted.append)
                    repr(future)
                time.sleep(0.0002)  # the threads are many, the CPUs may be few
            future.add_done_callback(lambda _: told.set_result(None))

        noted: list[object] = []
        thread = threading.Thread(target=onlooker)
        thread.start()
        await asyncio.sleep(0.001)
        loop.call_soon_threadsafe(future.set_result, 7)
        if await future != 7:
            raise Lost("the result is another one's")
        async with asyncio.timeout(PATIENCE):
            await asyncio.wrap_future(told)
        thread.join()

    async def sockets(self) -> None:
        """A connected socket goes to another loop, which echoes what comes."""

        async def echo(sock: socket.socket) -> None:
            reader, writer = await asyncio.open_connection(sock=sock)
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
            writer.close()

        ours, theirs = socket.socketpair()
        with self.crew.another(self.rng, self.number) as loop:
            if loop is None:
                ours.close()
                theirs.close()
                return await asyncio.sleep(0.001)
            coroutine = echo(theirs)
            try:
                future = asyncio.run_coroutine_threadsafe(coroutine, loop)
            except RuntimeError:
                coroutine.close()
                ours.close()
                theirs.close()
                return None
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                for _ in range(5):
                    data = self.rng.randbytes(self.rng.randrange(1, 5000))
                    writer.write(data)
                    end = time.monotonic() + PATIENCE
                    echo_task = asyncio.ensure_future(reader.readexactly(len(data)))
                    while not (await asyncio.wait([echo_task], timeout=0.05))[0]:
                        if loop.is_closed() or future.done():
                            echo_task.cancel()
                            return None
                        if time.monotonic() > end:
                            raise Lost("an echo did not come")
                    if echo_task.result() != data:
                        raise Lost("an echo is wrong")
            except (asyncio.IncompleteReadError, ConnectionError):
                if not loop.is_closed() and not future.done():
                    raise Lost("an echo did not come") from None
            finally:
                writer.close()
                theirs_left = future.cancelled()
            if theirs_left:
                theirs.close()

    async def relay(self) -> None:
        """One socket goes round: each loop answers once on it, and hands it on."""

        async def answer(sock: socket.socket) -> None:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, (await loop.sock_recv(sock, 1000))[::-1])

        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            for _ in range(3):
                with self.crew.another(self.rng, self.number) as other:
                    if other is None:
                        return await asyncio.sleep(0.001)
                    data = self.rng.randbytes(self.rng.randrange(1, 1000))
                    await loop.sock_sendall(ours, data)
                    coroutine = answer(theirs)
                    try:
                        future = asyncio.run_coroutine_threadsafe(coroutine, other)
                    except RuntimeError:
                        coroutine.close()
                        return None
                    if not await self.arrives(future, other):
                        return None
                    future.result()
                    if await loop.sock_recv(ours, 1000) != data[::-1]:
                        raise Lost("an answer of a socket is wrong")

    async def late(self) -> None:
        """Calls of a loop that closes at this moment, or has closed: an answer, or RuntimeError."""
        loop = self.crew.ended(self.rng)
        if loop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(int)
            loop._write_to_self()
            loop.metrics()
            loop.get_debug()
            assert loop.backend in ("epoll", "io_uring", None), loop.backend
            loop.is_closed()
        await asyncio.sleep(0.001)

    async def jobs(self) -> None:
        """Executors' threads hand their results back."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(
                *(loop.run_in_executor(None, pow, i, 2) for i in range(10)),
                asyncio.to_thread(sum, (1, 2, 3)),
            )
        if found != [*(i * i for i in range(10)), 6]:
            raise Lost(f"jobs returned {found}")

    async def look(self) -> None:
        """Looking at other loops: tasks, states, counters."""
        with self.crew.another(self.rng, self.number) as loop:
            if loop is None:
                return await asyncio.sleep(0.001)
            for task in asyncio.all_tasks(loop):
                repr(task)
                task.done()
            loop.metrics()
            repr(loop)
            loop.is_running()
            loop.time()
            await asyncio.sleep(0)

    async def churn(self) -> None:
        """Tasks, queues, locks and timers of this loop alone."""
        queue: asyncio.Queue[int] = fastaio.Queue(2)

        async def produce() -> None:
            for i in range(20):
                await queue.put(i)

        async def consume() -> int:
            return sum([await queue.get() for _ in range(20)])

        async with asyncio.timeout(PATIENCE):
            _, total = await fastaio.gather(produce(), consume())
        if total != 190:
            raise Lost("items of a queue were lost")


def main() -> int:
    """Run the crew; return the exit status."""
    summary = __doc__.split("\n")[0] if __doc__ else ""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=summary)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    faulthandler.dump_traceback_later(options.seconds + 3 * PATIENCE, exit=True)
    crew = Crew(options.threads, options.seed, options.seconds)
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"seed {options.seed}, {options.threads} threads, {'with' if gil else 'without'} a GIL")
    for thread in crew.threads:
        thread.start()
    for thread in crew.threads:
        thread.join()
    faulthandler.cancel_dump_traceback_later()
    print(", ".join(f"{count} {what}" for what, count in sorted(crew.counts.items())))
    for text in crew.problems:
        print("PROBLEM", text)
    return 1 if crew.problems else 0


if __name__ == "__main__":
    sys.exit(main())

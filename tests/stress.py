"""Threads with a loop each, which hand everything to each other that asyncio allows; for minutes.

    python -m tests.stress [--seconds 60] [--threads 8] [--seed N]

Each thread runs a loop, closes it after a while and makes a new one. On each loop actors use the
loops of the others: coroutines by run_coroutine_threadsafe(), callbacks by call_soon_threadsafe(),
some of them cancelled again, futures that others watch, sockets that go from loop to loop, servers,
TLS connections, groups of tasks that others cancel and look at, objects that others drop, jobs of
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
import functools
import gc
import io
import os
import random
import socket
import ssl
import sys
import threading
import time
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

import fastaio

#: An answer that takes longer is lost.
PATIENCE = 60.0

T = TypeVar("T")


class Lost(Exception):
    """Something was handed over and did not arrive."""


def hand_over(
    coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> concurrent.futures.Future[T] | None:
    """Run a coroutine in another loop. Return its future; None if the loop has been closed.

    The caller keeps the coroutine until then: nobody else may have a reference to its task.
    """
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        return None


@functools.cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    """(client's, server's): the contexts that all loops share; None without trustme."""
    try:
        import trustme
    except ImportError:
        return None
    authority = trustme.CA()
    client, server = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    )
    authority.configure_trust(client)
    authority.issue_cert("stress.example.org").configure_cert(server)
    return client, server


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, up to the end."""
    try:
        while data := await reader.read(70_000):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other loop has ended
    finally:
        writer.close()


def look_at(task: asyncio.Task[object] | None) -> None:
    """Ask a task for all that it tells. Its loop may be running in another thread.

    Not for its call graph: asyncio's functions read the coroutine's frames while they run.
    """
    if task is None:
        return
    names = (
        "__repr__", "get_stack", "get_name", "get_coro", "get_context", "get_loop", "done",
        "cancelled", "cancelling", "__sizeof__",
    )  # fmt: skip
    attributes = ("_state", "_fut_waiter", "_callbacks", "_must_cancel", "_num_cancels_requested")
    looks = [
        *(getattr(task, name) for name in names),
        *(functools.partial(getattr, task, name) for name in attributes),
        functools.partial(task.print_stack, file=io.StringIO()),
    ]
    for look in looks:
        with contextlib.suppress(RuntimeError):
            look()


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
            self.jobs, self.look, self.late, self.churn, self.serve, self.tls,
            self.group, self.primitives, self.drop, self.files, self.datagrams,
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
            future = hand_over(coroutine, loop)
            if future is None:
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
        """A thread looks at a future and a timer of this loop, which completes and cancels them."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(PATIENCE, int)
        told = concurrent.futures.Future()

        def onlooker() -> None:
            while not future.done():
                for _ in range(20):
                    future.add_done_callback(noted.append)
                    future.remove_done_callback(noted.append)
                    repr(future)
                    repr(timer)
                    assert timer.cancelled() in (False, True)
                    assert timer.when() > 0
                    assert isinstance(timer, asyncio.TimerHandle)
                time.sleep(0.0002)  # the threads are many, the CPUs may be few
            future.add_done_callback(lambda _: told.set_result(None))

        noted: list[object] = []
        thread = threading.Thread(target=onlooker)
        thread.start()
        await asyncio.sleep(0.001)
        timer.cancel()
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
            future = hand_over(coroutine, loop)
            if future is None:
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
                await self.arrives(future, loop)  # a task that nobody keeps may be collected
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
                    future = hand_over(coroutine, other)
                    if future is None:
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
                look_at(task)
            with contextlib.suppress(RuntimeError):  # a loop in another thread may refuse
                look_at(asyncio.current_task(loop))
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

    async def serve(self) -> None:
        """A server of this loop; the client's loop is another one."""

        async def ask(address: tuple[str, int], data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(data)
                return await reader.readexactly(len(data))
            finally:
                writer.close()

        with self.crew.another(self.rng, self.number) as loop:
            if loop is None:
                return await asyncio.sleep(0.001)
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            async with server:
                data = self.rng.randbytes(self.rng.randrange(1, 5000))
                coroutine = ask(server.sockets[0].getsockname(), data)
                future = hand_over(coroutine, loop)
                if future is None:
                    return None
                if await self.arrives(future, loop) and future.result() != data:
                    raise Lost("a server's echo is wrong")

    async def tls(self) -> None:
        """A TLS connection between this loop and another one, whose contexts all loops share."""
        contexts = tls_contexts()

        async def accept(sock: socket.socket) -> None:
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=contexts[1]
            )
            await echo(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

        ours, theirs = socket.socketpair()
        with self.crew.another(self.rng, self.number) as loop:
            if loop is None or contexts is None:
                ours.close()
                theirs.close()
                return await asyncio.sleep(0.001)
            coroutine = accept(theirs)
            future = hand_over(coroutine, loop)
            if future is None:
                ours.close()
                theirs.close()
                return None
            exchange = asyncio.ensure_future(self.exchange(ours, contexts[0]))
            end = time.monotonic() + PATIENCE
            while not (await asyncio.wait([exchange], timeout=0.05))[0]:
                if loop.is_closed():
                    exchange.cancel()
                elif time.monotonic() > end:
                    raise Lost("an echo over TLS did not come")
            arrived = await self.arrives(future, loop)  # a task that nobody keeps may be collected
            try:
                exchange.result()
            except (OSError, EOFError, asyncio.CancelledError):
                if arrived:  # else the other loop has ended meanwhile
                    raise Lost("an echo over TLS did not come") from None
            finally:
                ours.close()
                if future.cancelled():
                    theirs.close()

    async def exchange(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Send data over TLS, and read the echoes."""
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname="stress.example.org"
        )
        try:
            for _ in range(3):
                data = self.rng.randbytes(self.rng.choice((10, 1000, 60_000)))
                writer.write(data)
                if await reader.readexactly(len(data)) != data:
                    raise Lost("an echo over TLS is wrong")
                writer.get_extra_info("ssl_object").cipher()
        finally:
            writer.transport.abort()

    async def group(self) -> None:
        """A group of tasks. Another thread looks at it, and cancels it from outside."""
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        begun: list[int] = []
        ended: list[int] = []

        async def member(number: int) -> None:
            begun.append(number)
            try:
                while True:
                    await asyncio.sleep(number % 2 * 0.0001)
            finally:
                ended.append(number)

        async def grouped() -> None:
            async with asyncio.timeout(PATIENCE), fastaio.TaskGroup() as group:
                tasks.extend(group.create_task(member(i)) for i in range(6))
                tasks.append(asyncio.current_task())

        def outsider() -> None:
            for task in tasks:
                look_at(task)
            repr(tasks)
            if direct:
                tasks[0].cancel("by another thread")
            loop.call_soon_threadsafe(whole.cancel)
            while not whole.done():
                look_at(whole)
                time.sleep(0.0005)
            tasks.clear()

        direct = self.rng.random() < 0.5
        whole = asyncio.create_task(grouped())
        while len(begun) < 6:
            await asyncio.sleep(0)
        outside = loop.run_in_executor(None, outsider)
        try:
            await whole
        except asyncio.CancelledError:
            pass
        else:
            raise Lost("a group was not cancelled")
        await outside
        if sorted(ended) != [*range(6)]:
            raise Lost(f"of a group only these have ended: {ended}")

    async def primitives(self) -> None:
        """Every primitive, used by tasks of this loop alone."""
        lock, semaphore, event = fastaio.Lock(), fastaio.Semaphore(2), fastaio.Event()
        condition, barrier, passed = fastaio.Condition(), fastaio.Barrier(4), []

        async def use(number: int) -> int:
            await barrier.wait()
            async with lock, semaphore:
                await fastaio.sleep(0)
            async with condition:
                passed.append(number)
                condition.notify_all()
                await condition.wait_for(lambda: len(passed) >= 4)
            event.set()
            with contextlib.suppress(TimeoutError):
                async with fastaio.timeout(0):
                    await fastaio.sleep(PATIENCE)
            return await fastaio.wait_for(fastaio.shield(fastaio.sleep(0, number)), PATIENCE)

        async with fastaio.timeout(PATIENCE), fastaio.TaskGroup() as group:
            users = [group.create_task(use(i)) for i in range(4)]
            await event.wait()
            total = sum([await each for each in fastaio.as_completed(users)])
        if total != 6 or sorted(passed) != [0, 1, 2, 3]:
            raise Lost(f"primitives: {total}, {passed}")

    async def drop(self) -> None:
        """Another thread drops the last references to what this loop has made."""
        loop = asyncio.get_running_loop()

        async def fail() -> None:
            raise ValueError("nobody asks for it")

        async def wait(future: asyncio.Future[object]) -> None:
            await future

        things: list[object] = []
        for number in range(10):
            done, failed, open_ = loop.create_future(), loop.create_future(), loop.create_future()
            done.set_result(number)
            failed.set_exception(ValueError(number))
            failed.exception()
            open_.add_done_callback(things.append)
            failing = asyncio.ensure_future(fail())
            await asyncio.wait([failing])
            failing.exception()
            waiting = asyncio.ensure_future(wait(open_))
            together = fastaio.gather(waiting, return_exceptions=True)
            await asyncio.sleep(0)
            waiting.cancel()
            together.add_done_callback(lambda _: None)
            queue = fastaio.Queue()
            queue.put_nowait(queue)
            await together
            things += [
                done, failed, open_, failing, waiting, together, queue, fastaio.Lock(), fail(),
                loop.call_later(0.001, int), loop.call_soon(int), asyncio.StreamReader(),
                asyncio.timeout(1), fastaio.TaskGroup(), queue.get(), done.__await__(),
            ]  # fmt: skip
            del done, failed, open_, failing, waiting, together, queue

        refs = []
        for thing in things:
            with contextlib.suppress(TypeError):
                refs.append(weakref.ref(thing))
        thing = None

        def forget() -> None:
            for thing in things:
                if asyncio.iscoroutine(thing):
                    thing.close()
            del thing
            while things:
                things.pop()
            if direct:
                gc.collect()

        direct = self.rng.random() < 0.05
        forgotten = loop.run_in_executor(None, forget)
        for ref in reversed(refs):
            ref()
        del ref
        while refs:
            refs.pop()
        await forgotten

    async def datagrams(self) -> None:
        """Datagrams to a socket of this loop."""
        loop = asyncio.get_running_loop()

        class Receiver(asyncio.DatagramProtocol):
            def __init__(self) -> None:
                self.left = 20
                self.all = loop.create_future()

            def datagram_received(self, data: bytes, addr: object) -> None:
                self.left -= 1
                if self.left == 0:
                    self.all.set_result(None)

        transport, protocol = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=transport.get_extra_info("sockname")
        )
        try:
            for _ in range(20):
                sender.sendto(b"x")
            async with asyncio.timeout(PATIENCE):
                await protocol.all
        finally:
            sender.close()
            transport.close()

    async def files(self) -> None:
        """A file, which threads read and write for this loop."""
        async with fastaio.open(os.devnull, "wb") as file:
            await file.write(b"x" * 1000)
        async with fastaio.open(__file__, "rb") as file:
            if b"stress" not in await file.read(1000):
                raise Lost("a file's bytes are others")


def main() -> int:
    """Run the crew; return the exit status."""
    summary = __doc__.split("\n")[0] if __doc__ else ""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=summary)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    faulthandler.dump_traceback_later(options.seconds + 3 * PATIENCE, exit=True)
    tls_contexts()  # before there are threads
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

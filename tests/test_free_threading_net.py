"""Connections, servers, pipes, files and jobs on an interpreter without a GIL: what is used by a
thread that may not, and what ends in another thread, harms nothing.

The scenarios run in a process of their own. A crash or a hang there is a failed test.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings

import pytest

from .rival import RACES, race
from .support import FREE_THREADED, GUARD, run_python

without_gil = pytest.mark.skipif(not FREE_THREADED, reason="this interpreter has a GIL")

HOSTILE_SECONDS = 1.5
LOOPS = 8


def survives(scenario):
    """Run a function of a test module in a new process, which must end well."""
    source = f"import {scenario.__module__} as t; t.{scenario.__name__}(); print('survived')"
    done = run_python(source, timeout=2 * GUARD)
    assert done.stdout.endswith("survived\n"), done.stderr
    return done.stderr


def new_loop():
    import fastaio

    loop = fastaio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    return loop


def in_threads(function, count=LOOPS):
    """Call function(i) in `count` threads at once; raise the first exception."""
    errors = []
    barrier = threading.Barrier(count)

    def run(i):
        try:
            barrier.wait(GUARD)
            function(i)
        except BaseException as exc:  # noqa: BLE001 - passed on below
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(i,), name=f"test-{i}") for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


# ---- strangers ---------------------------------------------------------------------------------

# What a stranger would end the process or the test by.
_LEFT_OUT = {"__class__", "__init_subclass__", "__subclasshook__", "__reduce_ex__", "__reduce__"}
_ARGUMENTS = ((), (b"data",), (None,), (1,), ("socket",), (1, 2), (b"x", None))


def strangle(objects, seconds=HOSTILE_SECONDS):
    """Use each attribute and method of the objects in four threads, over and over."""
    deadline = time.monotonic() + seconds

    def meddle(seed):
        turn = seed
        while time.monotonic() < deadline:
            turn += 1
            obj = objects[turn % len(objects)]
            with contextlib.suppress(Exception, asyncio.CancelledError):
                repr(obj)
                hash(obj)
            for name in dir(type(obj)):
                if name in _LEFT_OUT or time.monotonic() > deadline:
                    continue
                with contextlib.suppress(BaseException):
                    value = getattr(obj, name)
                    if turn % 5 == 0 and not name.startswith("__"):
                        setattr(obj, name, value)
                    if callable(value) and not isinstance(value, type):
                        result = value(*_ARGUMENTS[(turn + seed) % len(_ARGUMENTS)])
                        if hasattr(result, "send") and hasattr(result, "close"):
                            with contextlib.suppress(BaseException):
                                result.send(None)
                            result.close()

    threads = [threading.Thread(target=meddle, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    return threads


async def meddled(objects, work):
    """Have strangers use the objects, while work() goes on in the loop."""
    threads = strangle(objects)
    while any(thread.is_alive() for thread in threads):
        with contextlib.suppress(Exception):
            await asyncio.wait_for(work(), 0.2)
        await asyncio.sleep(0)
    for thread in threads:
        thread.join()


def run_hostile(main):
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda unraisable: None
    loop = new_loop()
    loop.run_until_complete(main())
    with contextlib.suppress(Exception):
        loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    gc.collect()


async def _echo(reader, writer):
    with contextlib.suppress(Exception):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
    writer.close()


def strangers_meet_streams():
    async def main():
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        loop = asyncio.get_running_loop()
        listener = next(iter(loop._listeners.values()))
        read = reader.read(10)

        async def work():
            writer.write(b"x" * 100)
            await reader.readexactly(100)

        await meddled([writer.transport, reader, reader._native_reader, listener, read], work)
        read.close()
        writer.transport.abort()
        server.close()

    run_hostile(main)


def strangers_meet_tls():
    async def main():
        from .tlsutil import HOST, client_context, server_context

        server = await asyncio.start_server(_echo, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(
            *address, ssl=client_context(), server_hostname=HOST
        )
        transport = writer.transport

        async def work():
            writer.write(b"x" * 100_000)
            await reader.readexactly(100_000)

        await meddled([transport, transport._ssl_protocol, transport], work)
        transport.abort()
        server.close()

    run_hostile(main)


def strangers_meet_datagrams_and_pipes():
    async def main():
        loop = asyncio.get_running_loop()
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        udp, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        unix, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=ends[0])
        read, write = os.pipe()
        reading, _ = await loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0))
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb", 0))
        address = udp.get_extra_info("sockname")

        async def work():
            udp.sendto(b"x", address)
            writing.write(b"x" * 100)
            await asyncio.sleep(0.001)

        await meddled([udp, unix, reading, writing], work)
        for transport in (udp, unix, reading, writing):
            transport.close()
        await asyncio.sleep(0)
        ends[1].close()

    run_hostile(main)


def strangers_meet_operations():
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        waiting = loop.sock_recv(ours, 10)
        task = asyncio.create_task(loop.sock_recv(ours, 1))
        await asyncio.sleep(0)

        async def work():
            await loop.sock_sendall(theirs, b"x")
            await loop.run_in_executor(None, int)

        await meddled([waiting, task.get_coro(), loop._wakeup], work)
        waiting.close()
        task.cancel()
        ours.close()
        theirs.close()

    run_hostile(main)


@without_gil
@pytest.mark.parametrize(
    "scenario",
    [
        strangers_meet_streams,
        strangers_meet_tls,
        strangers_meet_datagrams_and_pipes,
        strangers_meet_operations,
    ],
)
@pytest.mark.fastaio_only
def test_strangers_harm_nothing(scenario):
    survives(scenario)


@without_gil
@pytest.mark.fastaio_only
def test_a_stranger_is_told(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        heard = []

        def use():
            for call in (lambda: writer.write(b"x"), writer.transport.pause_reading):
                try:
                    heard.append(call())
                except RuntimeError as exc:
                    heard.append(str(exc))
            heard.append(repr(writer.transport))

        thread = threading.Thread(target=use, name="stranger")
        thread.start()
        thread.join()
        assert all("'MainThread'" in text and "'stranger'" in text for text in heard[:2])
        assert heard[2].endswith("of a loop in another thread>")
        writer.close()
        server.close()
        assert loop.is_running()

    run(main)


# ---- ends in other threads ---------------------------------------------------------------------


def dropped_elsewhere():
    """Connections, their streams and their operations lose the last reference in another thread."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda unraisable: None  # a StreamWriter's __del__() uses the transport
    loop = new_loop()

    async def main():
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(30):
            things = [await asyncio.open_connection(*address) for _ in range(5)]
            for _, writer in things:
                writer.write(b"x" * 10)
                writer.transport.pause_reading()  # so that the loop holds no reference
            read, write = os.pipe()
            things.append(await loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0)))
            things[-1][0].pause_reading()
            os.close(write)
            read, write = os.pipe()
            things.append(await loop.connect_write_pipe(asyncio.Protocol, open(write, "wb", 0)))
            os.close(read)
            things.append(
                await loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
                )
            )
            things[-1][0].pause_reading()
            things.append(loop.sock_recv(socket.socket(), 10))
            box = [things]
            del things, _, writer
            thread = threading.Thread(target=lambda box=box: (box.clear(), gc.collect()))
            thread.start()
            await asyncio.to_thread(thread.join)
            await asyncio.sleep(0)
        gc.collect()
        for _ in range(1000):
            if len(os.listdir("/proc/self/fd")) <= before + 10:
                break
            await asyncio.sleep(0.01)
            gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before + 10, "connections are left"
        server.close()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def collected_elsewhere():
    """The collector finds the cycles of one loop in threads that run another one."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda unraisable: None  # a StreamWriter's __del__() uses the transport
    deadline = time.monotonic() + 2
    done = threading.Event()

    def collect():
        while not done.is_set():
            gc.collect()

    def play(i):
        loop = new_loop()

        async def main():
            server = await asyncio.start_server(_echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            while time.monotonic() < deadline:
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"x" * 100)
                await reader.readexactly(100)
                cycle = [reader, writer, loop.sock_recv(socket.socket(), 1)]
                cycle.append(cycle)
                del cycle, reader, writer
            server.close()

        loop.run_until_complete(main())
        loop.close()

    collector = threading.Thread(target=collect)
    collector.start()
    in_threads(play, 3)
    done.set()
    collector.join()


@pytest.mark.parametrize("scenario", [dropped_elsewhere, collected_elsewhere])
@pytest.mark.fastaio_only
def test_ends_in_other_threads(scenario):
    survives(scenario)


# ---- many loops --------------------------------------------------------------------------------


def loops_open_and_close():
    def play(i):
        for _ in range(25):
            loop = new_loop()

            async def main():
                server = await asyncio.start_server(_echo, "127.0.0.1", 0)
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"x" * 1000)
                await reader.readexactly(1000)
                writer.close()
                server.close()

            loop.run_until_complete(main())
            loop.close()

    in_threads(play)


def results_arrive():
    """Jobs, look-ups and files of eight loops: none is lost."""
    directory = tempfile.mkdtemp()

    def play(i):
        import fastaio.files

        loop = new_loop()

        async def one(n):
            assert await asyncio.to_thread(lambda: n) == n
            answers = await loop.getaddrinfo("127.0.0.1", n + 1, type=socket.SOCK_STREAM)
            assert answers[0][4] == ("127.0.0.1", n + 1)
            assert await loop.getaddrinfo("localhost", n + 1)

        async def main():
            for round_ in range(10):
                await asyncio.gather(*(one(round_ * 20 + n) for n in range(20)))
                path = os.path.join(directory, f"{i}-{round_}")
                async with fastaio.files.open(path, "w") as file:
                    await file.write("line\n" * 1000)
                async with fastaio.files.open(path) as file:
                    assert len(await file.read()) == 5000
            await loop.shutdown_default_executor()

        loop.run_until_complete(asyncio.wait_for(main(), GUARD))
        loop.close()

    in_threads(play)


def sockets_travel():
    """A connection is echoed by one loop, then by the next: each detaches it from its transport."""
    count = 4
    loops = [new_loop() for _ in range(count)]
    ready = [threading.Event() for _ in range(count)]
    threads = []
    for loop, event in zip(loops, ready, strict=True):
        loop.call_soon(event.set)
        threads.append(threading.Thread(target=loop.run_forever))
        threads[-1].start()
    for event in ready:
        assert event.wait(GUARD)

    async def serve(sock):
        reader, writer = await asyncio.open_connection(sock=sock)
        data = await reader.readexactly(10)
        writer.write(data)
        await writer.drain()
        copy = writer.get_extra_info("socket").dup()
        writer.close()
        await writer.wait_closed()
        return copy

    ours, sock = socket.socketpair()
    ours.settimeout(GUARD)
    for step in range(200):
        sock.setblocking(False)
        passed = asyncio.run_coroutine_threadsafe(serve(sock), loops[step % count])
        ours.sendall(b"%010d" % step)
        assert ours.recv(10) == b"%010d" % step
        sock = passed.result(GUARD)
    sock.close()
    ours.close()
    for loop, thread in zip(loops, threads, strict=True):
        loop.call_soon_threadsafe(loop.stop)
        thread.join(GUARD)
        loop.close()


def executors_end():
    """Jobs are given to executors that end at the same time: each is made, or refused."""

    async def main():
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(None, int) for _ in range(20)]
        await loop.shutdown_default_executor()
        for done in await asyncio.gather(*jobs, return_exceptions=True):
            assert done == 0 or isinstance(done, (RuntimeError, asyncio.CancelledError))

    def play(i):
        for _ in range(40):
            loop = new_loop()
            loop.run_until_complete(asyncio.wait_for(main(), GUARD))
            loop.close()

    in_threads(play, 4)


def forks_beside_output():
    """A thread forks while loops of other threads queue output."""
    stop = threading.Event()

    def play(i):
        if i == 0:
            for _ in range(15):
                pid = os.fork()
                if pid == 0:
                    os._exit(7)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            stop.set()
            return
        loop = new_loop()

        async def main():
            server = await asyncio.start_server(_echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            while not stop.is_set():
                writer.write(b"x" * 1000)
                time.sleep(0.001)  # the keeper sends
                await reader.readexactly(1000)
            writer.close()
            server.close()

        loop.run_until_complete(main())
        loop.close()

    warnings.simplefilter("ignore")
    in_threads(play, 4)


@pytest.mark.parametrize(
    "scenario",
    [loops_open_and_close, results_arrive, sockets_travel, executors_end, forks_beside_output],
)
@pytest.mark.fastaio_only
def test_many_loops(scenario):
    survives(scenario)


def signals_reach_the_main_loop():
    stop = threading.Event()
    other = threading.Thread(target=lambda: _spin_loops(stop))
    other.start()
    loop = new_loop()
    heard = []

    async def main():
        loop.add_signal_handler(signal.SIGUSR1, heard.append, threading.current_thread())
        for n in range(20):
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
            async with asyncio.timeout(GUARD):
                while len(heard) <= n:
                    await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    stop.set()
    other.join(GUARD)
    loop.close()
    assert heard == [threading.main_thread()] * 20


def _spin_loops(stop):
    while not stop.is_set():
        loop = new_loop()
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()


@pytest.mark.fastaio_only
def test_signals_reach_the_main_loop():
    survives(signals_reach_the_main_loop)


# ---- the loop ends a future while another thread cancels it ------------------------------------


def a_turn_later(function, *args):
    """Have the running loop call a function after the next step of each task."""
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, function, *args)


@contextlib.asynccontextmanager
async def reads_of_a_stream():
    """Reads of one connection, which gets a byte for each."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)

    async def read():
        assert await reader.read(10)

    def begin(number):
        a_turn_later(ours.send, b"x")
        return read()

    with ours:
        yield begin
        assert not reader.at_eof()
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def receives_of_a_socket():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()

    def begin(number):
        a_turn_later(ours.send, b"x")
        return loop.sock_recv(theirs, 10)

    with ours, theirs:
        yield begin


@contextlib.asynccontextmanager
async def accepts_of_a_socket():
    loop = asyncio.get_running_loop()

    def connect():
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())

    async def accept():
        sock, _ = await loop.sock_accept(listener)
        sock.close()

    def begin(number):
        a_turn_later(connect)
        return accept()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield begin


@contextlib.asynccontextmanager
async def connections():
    """Connections of sockets that are connected already."""
    loop = asyncio.get_running_loop()

    async def connect():
        ours, theirs = socket.socketpair()
        with ours:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=theirs)
            transport.close()

    yield lambda number: connect()


@contextlib.asynccontextmanager
async def syncs_of_a_file():
    import fastaio.files

    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 4096)
        file.flush()
        yield lambda number: fastaio.files.fdatasync(file)


@contextlib.asynccontextmanager
async def lookups():
    loop = asyncio.get_running_loop()
    yield lambda number: loop.getaddrinfo("localhost", number % 1000 + 1)


@pytest.mark.fastaio_only
@pytest.mark.parametrize(
    ("operations", "spread", "races"),
    [
        (reads_of_a_stream, 1500, 4 * RACES),
        (receives_of_a_socket, 1500, RACES),
        (accepts_of_a_socket, 3000, RACES // 2),
        (connections, 300, RACES // 4),
        (syncs_of_a_file, 900, RACES // 10),
        (lookups, 900, RACES // 10),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_operation_ends_while_another_thread_cancels_it(loop_factory, operations, spread, races):
    race(loop_factory, operations(), spread=spread, races=races)

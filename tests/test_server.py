"""Server objects: serving, closing, and what a flood of clients or a lack of descriptors does."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import os
import queue
import select
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref

import pytest

from .ioutil import (
    Echo,
    Recorder,
    Reports,
    ended,
    exchange,
    is_open,
    no_new_descriptors,
    serving,
    turns,
    until,
)
from .support import GUARD, PYTHON_312, PYTHON_313, PYTHON_314, collect, run_python

LOCALHOST = "127.0.0.1"


class Collected(Echo):
    """An echo that is found again in the list it is made for."""

    def __init__(self, made):
        made.append(self)
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc):
        self.lost.set_result(exc)


# Attributes


def test_attributes(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (server, address):
            assert isinstance(server, asyncio.AbstractServer)
            assert server.get_loop() is loop
            assert server.is_serving() is True
            assert type(server.sockets) is tuple
            (sock,) = server.sockets
            assert sock.getsockname() == address
            assert sock.family == socket.AF_INET
            assert sock.type == socket.SOCK_STREAM
            assert not hasattr(sock, "close")
            assert repr(server).startswith("<Server sockets=(<asyncio.TransportSocket fd=")
            assert server._ssl_context is None
        assert server.sockets == ()
        assert server.is_serving() is False
        assert repr(server) == "<Server sockets=()>"

    run(main)


def test_weak_references_and_attributes(run):
    async def main():
        async with serving() as (server, _):
            server.note = "kept"
            assert server.note == "kept"
            assert weakref.ref(server)() is server

    run(main)


# Closing


def test_close_stops_listening(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with no_new_descriptors():
            async with serving() as (server, address):
                fd = server.sockets[0].fileno()
                server.close()
                assert server.sockets == ()
                assert not is_open(fd)
                with pytest.raises(ConnectionRefusedError):
                    await loop.create_connection(Recorder, *address)
                server.close()

    run(main)


def test_connections_outlive_close(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (server, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            await exchange(transport, protocol)
            server.close()
            await exchange(transport, protocol)
            await ended(transport, protocol)

    run(main)


def test_close_and_listen_again(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (server, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            await exchange(transport, protocol)
            server.close()
            again = await loop.create_server(Echo, *address)
            other = await loop.create_connection(Recorder, *address)
            await exchange(*other)
            await exchange(transport, protocol)
            await ended(*other)
            await ended(transport, protocol)
            again.close()

    run(main)


def test_clients_in_the_queue_when_it_closes(run):
    """Connected but not accepted yet: the kernel resets them."""

    async def main():
        async with serving() as (server, address):
            clients = []
            for _ in range(5):
                client = socket.create_connection(address)
                client.settimeout(GUARD)
                clients.append(client)
            server.close()
            for client in clients:
                with client, contextlib.suppress(ConnectionResetError):
                    assert await asyncio.to_thread(client.recv, 1) == b""

    run(main)


def test_async_with(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, LOCALHOST, 0)
        async with server as entered:
            assert entered is server
            assert server.is_serving()
        assert not server.is_serving()

    run(main)


def test_wait_closed_without_connections(run):
    async def main():
        async with serving() as (server, _):
            server.close()
            async with asyncio.timeout(GUARD):
                assert await server.wait_closed() is None
                assert await server.wait_closed() is None

    run(main)


@pytest.mark.skipif(not PYTHON_312, reason="3.11 returns at once")
def test_wait_closed_waits_for_close_and_for_the_connections(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (server, address):
            first = await loop.create_connection(Recorder, *address)
            second = await loop.create_connection(Recorder, *address)
            await exchange(*first)
            await exchange(*second)
            waiters = [asyncio.create_task(server.wait_closed()) for _ in range(2)]
            await turns(5)
            assert not any(waiter.done() for waiter in waiters)
            await ended(*first)
            server.close()
            await turns(5)
            assert not any(waiter.done() for waiter in waiters)
            await ended(*second)
            async with asyncio.timeout(GUARD):
                await asyncio.gather(*waiters)

    run(main)


@pytest.mark.skipif(not PYTHON_312, reason="3.11 has it otherwise")
def test_a_wait_closed_that_is_cancelled(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (server, address):
            connection = await loop.create_connection(Recorder, *address)
            await exchange(*connection)
            server.close()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), 0.01)
            waiter = asyncio.create_task(server.wait_closed())
            await turns()
            await ended(*connection)
            async with asyncio.timeout(GUARD):
                await waiter

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="new in 3.13")
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_close_and_abort_clients(run, method):
    async def main():
        loop = asyncio.get_running_loop()
        made = []
        async with serving(lambda: Collected(made)) as (server, address):
            clients = [await loop.create_connection(Recorder, *address) for _ in range(3)]
            for client in clients:
                await exchange(*client)
            server.close()
            getattr(server, method)()
            async with asyncio.timeout(GUARD):
                await server.wait_closed()
                for _, protocol in clients:
                    await protocol.lost
                for protocol in made:
                    assert await protocol.lost is None
            assert len(made) == 3
            getattr(server, method)()

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="new in 3.13")
def test_close_clients_sends_what_is_left_and_abort_clients_does_not(run):
    async def main():
        loop = asyncio.get_running_loop()
        size = 20_000_000  # more than the kernel takes

        made = []

        class Big(asyncio.Protocol):
            def connection_made(self, transport):
                made.append(self)
                transport.write(b"x" * size)

        for method in ("close_clients", "abort_clients"):
            async with serving(Big) as (server, address):
                transport, protocol = await loop.create_connection(Recorder, *address)
                transport.pause_reading()
                await until(lambda: made)
                made.clear()
                received = len(protocol.data)
                server.close()
                getattr(server, method)()
                await turns(5)
                transport.resume_reading()
                async with asyncio.timeout(GUARD):
                    await protocol.lost
                    await server.wait_closed()
                assert len(protocol.data) >= received
                assert (len(protocol.data) == size) is (method == "close_clients")

    run(main)


def test_a_closed_server_cannot_be_started(run):
    async def main():
        async with serving() as (server, _):
            server.close()
            with pytest.raises(RuntimeError, match=r"^server <Server sockets=\(\)> is closed$"):
                await server.serve_forever()

    run(main)


# serve_forever


def test_serve_forever_and_cancel(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with no_new_descriptors():
            async with serving(start_serving=False) as (server, address):
                task = asyncio.create_task(server.serve_forever())
                await turns()
                assert server.is_serving()
                connection = await loop.create_connection(Recorder, *address)
                await exchange(*connection)
                await ended(*connection)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    async with asyncio.timeout(GUARD):
                        await task
                assert not server.is_serving()
                assert server.sockets == ()

    run(main)


@pytest.mark.skipif(not PYTHON_314, reason="earlier releases leave the clients alone")
def test_serve_forever_cancelled_closes_the_clients(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (server, address):
            task = asyncio.create_task(server.serve_forever())
            transport, protocol = await loop.create_connection(Recorder, *address)
            await exchange(transport, protocol)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(GUARD):
                    await task
            async with asyncio.timeout(GUARD):
                assert await protocol.lost is None

    run(main)


def test_close_ends_serve_forever(run):
    async def main():
        async with serving() as (server, _):
            task = asyncio.create_task(server.serve_forever())
            await turns()
            server.close()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(GUARD):
                    await task

    run(main)


def test_serve_forever_twice(run):
    async def main():
        async with serving() as (server, _):
            task = asyncio.create_task(server.serve_forever())
            await turns()
            with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
                await server.serve_forever()
            assert not task.done()
            server.close()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)


def test_a_loop_closed_with_a_server_open(loop_factory, recwarn):
    """Whatever the order of their ends, listening is over when both have gone."""
    loop = loop_factory()
    server = loop.run_until_complete(loop.create_server(Echo, LOCALHOST, 0))
    address = server.sockets[0].getsockname()
    socket.create_connection(address).close()
    loop.close()
    server.close()
    del server, loop
    collect()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


# Accepting


def test_protocol_errors_do_not_end_the_server(run):
    async def main():
        loop = asyncio.get_running_loop()
        reports = Reports(loop)

        class Broken(asyncio.Protocol):
            def connection_made(self, transport):
                raise ZeroDivisionError("made")

            def data_received(self, data):
                raise ZeroDivisionError("data")

        async with serving(Broken) as (_, address):
            for _ in range(3):
                transport, protocol = await loop.create_connection(Recorder, *address)
                transport.write(b"x")
                async with asyncio.timeout(GUARD):
                    await protocol.lost
        assert [str(exc) for exc in reports.exceptions].count("data") == 3
        assert [str(exc) for exc in reports.exceptions].count("made") == 3

    run(main)


def test_clients_that_leave_before_they_are_accepted(run):
    async def main():
        loop = asyncio.get_running_loop()
        reports = Reports(loop)
        made = []
        async with no_new_descriptors():
            async with serving(lambda: Collected(made)) as (_, address):
                for _ in range(20):
                    socket.create_connection(address).close()
                transport, protocol = await loop.create_connection(Recorder, *address)
                await exchange(transport, protocol)
                await ended(transport, protocol)
                await until(lambda: len(made) == 21)
        assert reports == []

    run(main)


def test_the_contexts_of_connections_are_apart(run):
    var = contextvars.ContextVar("var", default="fresh")

    async def main():
        loop = asyncio.get_running_loop()
        seen = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                seen.append(var.get())
                var.set("stained")

        async with serving(Protocol) as (_, address):
            connections = [await loop.create_connection(Recorder, *address) for _ in range(3)]
            await until(lambda: len(seen) == 3)
            for connection in connections:
                await ended(*connection)
        assert seen == ["fresh"] * 3

    run(main)


# Several processes, one socket


WORKERS = """
import asyncio, os, signal, socket, sys

new_event_loop = lambda: {factory}()
listener = socket.create_server(("127.0.0.1", 0), backlog=256)


class Worker(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"%d" % os.getpid())
        transport.close()


async def work(ready):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Worker, sock=listener)
    os.write(ready, b"r")
    await stop.wait()
    server.close()


read, write = os.pipe()
children = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(work(write))
        os._exit(0)
    children.append(pid)
count = 0
while count < 4:
    count += len(os.read(read, 4))
print(listener.getsockname()[1], *children, flush=True)
listener.close()
sys.stdin.read()
for pid in children:
    os.kill(pid, signal.SIGTERM)
statuses = [os.waitpid(pid, 0)[1] for pid in children]
print(*statuses, flush=True)
"""


class Program:
    """A Python program that runs beside the test, and the lines that it prints."""

    def __init__(self, source):
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", textwrap.dedent(source)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.lines = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._read)

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.thread.join()
        self.process.__exit__(*exc)

    def line(self, timeout=GUARD):
        return self.lines.get(timeout=timeout)

    def lines_within(self, seconds):
        deadline = time.monotonic() + seconds
        lines = []
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self.line(max(0, deadline - time.monotonic())))
        return lines

    def cpu_ticks(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            return sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))


def test_forked_workers_lose_no_connection(loop_factory_source):
    def ask(port):
        with socket.create_connection((LOCALHOST, port), timeout=GUARD) as client:
            answer = b""
            while part := client.recv(100):
                answer += part
            return int(answer)

    with Program(WORKERS.format(factory=loop_factory_source)) as program:
        port, *children = map(int, program.line().split())
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(ask, [port] * 800))
        assert len(answers) == 800
        assert set(answers) <= set(children)
        program.process.stdin.close()
        assert program.line().split() == ["0"] * 4
        assert program.process.wait(GUARD) == 0


# Out of descriptors


STARVING = """
import asyncio, os, resource

async def main():
    loop = asyncio.get_running_loop()

    def report(loop, context):
        print("REPORT", context["message"], type(context["exception"]).__name__,
              context["exception"].errno, context["socket"].fileno() > 0)

    loop.set_exception_handler(report)

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    server = await loop.create_server(Echo, "127.0.0.1", 0)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 11, used + 11))
    print("PORT", server.sockets[0].getsockname()[1])
    await server.serve_forever()

with asyncio.Runner(loop_factory={factory}) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.fastaio_only)])
def test_out_of_descriptors(loop_factory_source, strict):
    """The server says so, waits, and serves those who waited; asyncio says so many times."""

    def talk(client):
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"

    with (
        Program(STARVING.format(factory=loop_factory_source)) as program,
        contextlib.ExitStack() as stack,
    ):
        port = int(program.line().split()[1])

        def connect():
            client = socket.create_connection((LOCALHOST, port), timeout=GUARD)
            return stack.enter_context(client)

        begin = time.monotonic()
        clients = [connect() for _ in range(25)]
        expected = "REPORT socket.accept() out of system resource OSError 24 True"
        assert program.line() == expected
        rest = program.lines_within(0.3)
        assert set(rest) <= {expected}
        if strict:  # another one after a second, if so much has passed
            assert len(rest) <= time.monotonic() - begin
        # Who has come in before is served meanwhile.
        talk(clients[0])
        before = program.cpu_ticks()
        assert select.select([clients[-1]], [], [], 0.2)[0] == []
        assert program.cpu_ticks() - before <= 10, "it waits without burning the processor"
        for client in clients[:15]:
            client.close()
        for client in clients[15:]:
            talk(client)
            client.close()
        # And it still listens.
        talk(connect())


# The socket objects of connections

PATCHED = """
import asyncio, socket, sys
asyncio_factory = {factory}

class Protocol(asyncio.Protocol):
    def connection_made(self, transport):
        transport.close()

async def connect():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()

def run():
    with asyncio.Runner(loop_factory=asyncio_factory) as runner:
        runner.run(connect())

run()
calls = []
for name in ("__init__", "close", "_real_close"):
    def method(self, *args, original=getattr(socket.socket, name), name=name, **kwargs):
        calls.append(name)
        return original(self, *args, **kwargs)
    setattr(socket.socket, name, method)
run()
# The listening socket, the connection's two ends, and the loop's own.
assert calls.count("__init__") >= 3 and calls.count("close") >= 3, calls
assert calls.count("_real_close") >= 3, calls
"""


def test_a_socket_whose_accept_returns_another_sequence(run):
    class Listening(socket.socket):
        def accept(self):
            return list(super().accept())

    async def main():
        loop = asyncio.get_running_loop()
        sock = Listening()
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Echo, sock=sock)
        transport, protocol = await loop.create_connection(Recorder, *sock.getsockname())
        transport.write(b"data")
        assert await protocol.wait_bytes(4) == b"data"
        transport.close()
        server.close()
        await server.wait_closed()

    run(main)


def test_methods_of_sockets_that_have_been_replaced_are_called(loop_factory_source):
    run_python(PATCHED.format(factory=loop_factory_source))


def test_the_socket_of_a_connection(run):
    async def main():
        loop = asyncio.get_running_loop()
        made = []
        async with serving(lambda: Collected(made)) as (server, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            await until(lambda: made)
            sock = made[0].transport.get_extra_info("socket")._sock
            other = transport.get_extra_info("socket")._sock
            assert type(sock) is socket.socket
            assert (sock.family, sock.type, sock.proto) == (other.family, other.type, other.proto)
            assert sock.getblocking() is False and sock.gettimeout() == 0
            assert not sock.get_inheritable()
            assert repr(sock).startswith("<socket.socket fd=")
            file = sock.makefile("rb", buffering=0)
            made[0].transport.close()
            assert await made[0].lost is None
            # The file holds it open.
            assert sock._closed and sock.fileno() >= 0
            fd = sock.fileno()
            os.fstat(fd)
            file.close()
            assert sock.fileno() == -1
            with pytest.raises(OSError):
                os.fstat(fd)
            transport.close()

    run(main)


def test_who_cancels_all_tasks_closes_what_has_just_been_accepted(run):
    """Between connection_made() and the first step of the task that it makes, only the task that
    sets the connection up knows of it."""

    async def main():
        loop = asyncio.get_running_loop()
        me = asyncio.current_task()
        lost = loop.create_future()

        def cancel_all():
            for task in asyncio.all_tasks():
                if task is not me:
                    task.cancel()

        class Session(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport
                loop.call_soon(cancel_all)
                self.task = loop.create_task(self.serve())

            async def serve(self):
                try:
                    await loop.create_future()
                finally:
                    self.transport.close()

            def connection_lost(self, exc):
                lost.set_result(exc)

        server = await loop.create_server(Session, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            assert await asyncio.wait_for(lost, GUARD) is None
            server.close()
            await asyncio.wait_for(server.wait_closed(), GUARD)

    run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_a_factory_runs_in_the_task_of_its_connection(run, debug):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        reports = []

        def report(_, context):
            reports.append((context["message"], repr(context["exception"])))

        loop.set_exception_handler(report)
        seen = []

        def factory():
            task = asyncio.current_task()
            seen.append((task.get_coro().__name__, task in asyncio.all_tasks()))
            if len(seen) == 1:
                raise LookupError("no protocol")
            return Echo()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address):
            await until(lambda: len(seen) == 1 and (reports or not debug))
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()
        assert seen == [("_accept_connection2", True)] * 2
        message = "Error on transport creation for incoming connection"
        assert reports == ([(message, "LookupError('no protocol')")] if debug else [])
        server.close()

    run(main)


def test_a_connection_is_set_up_by_the_loops_task_factory(run):
    async def main():
        loop = asyncio.get_running_loop()
        names = []

        def factory(loop, coro, **kwargs):
            names.append(coro.__name__)
            return asyncio.Task(coro, loop=loop, **kwargs)

        server = await loop.create_server(Echo, "127.0.0.1", 0)
        loop.set_task_factory(factory)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()
        assert names == ["_accept_connection2"]
        server.close()

    run(main)


def test_a_task_that_sets_up_a_connection_is_cancelled_before_it_starts(run):
    async def main():
        loop = asyncio.get_running_loop()
        made = []

        def factory(loop, coro, **kwargs):
            task = asyncio.Task(coro, loop=loop, **kwargs)
            if coro.__name__ == "_accept_connection2":
                task.cancel()
            return task

        server = await loop.create_server(lambda: made.append(1), "127.0.0.1", 0)
        loop.set_task_factory(factory)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # the socket is only dropped
                assert await asyncio.wait_for(loop.sock_recv(client, 1), GUARD) == b""
        assert made == []
        server.close()

    run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_a_loop_is_closed_while_connections_are_set_up(loop, monkeypatch, debug):
    """The end of the coroutine closes the transport, which the closed loop refuses. The exception
    handler is told in debug mode only."""
    unraisable, reports = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(repr(args.exc_value)))
    loop.set_debug(debug)
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))

    class Silent(asyncio.Protocol):
        def __init__(self):
            loop.stop()

    server = loop.run_until_complete(loop.create_server(Silent, "127.0.0.1", 0))
    with socket.create_connection(server.sockets[0].getsockname()), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop.run_forever()
        server.close()
        del server
        loop.close()
        gc.collect()
    failed = ["Error on transport creation for incoming connection"] if debug else []
    assert sorted(reports) == [*failed, "Task was destroyed but it is pending!"]
    assert unraisable == []


def test_debug_mode_tells_where_the_coroutine_of_a_connection_was_made(run):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.set_exception_handler(lambda *_: None)
        origins = []

        def factory():
            origins.append(asyncio.current_task().get_coro().cr_origin)
            return Echo()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            await until(lambda: origins)
        server.close()
        (origin,) = origins
        assert all(len(place) == 3 for place in origin)
        assert origin

    run(main)

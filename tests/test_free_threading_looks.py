"""Looks of another thread while the loop runs: they answer, and as they do on asyncio.

Loggers, monitoring and debuggers look at connections, pipes and servers from threads of their own.
The loop's thread is busy meanwhile: without a GIL it has the claim.
"""

import asyncio
import contextlib
import os
import socket
import sys
import threading

import pytest

from .support import GUARD, PYTHON_312, describe


@pytest.fixture(autouse=True)
def no_watcher_is_left():
    """Up to 3.13 asyncio's first child makes a watcher, which loops of other tests would use."""
    policy = asyncio.get_event_loop_policy() if sys.version_info < (3, 14) else None
    before = getattr(policy, "_watcher", None)
    yield
    if hasattr(policy, "_watcher"):
        policy._watcher = before


NAMES = ("socket", "sockname", "peername", "pipe", "subprocess", "nonsense")


def extra_info(obj):
    """Looks at the extra information of a transport or a writer."""
    return {f"extra {name}": lambda name=name: obj.get_extra_info(name) for name in NAMES}


def of_any_transport(transport):
    return {
        "is_closing": transport.is_closing,
        "get_protocol": transport.get_protocol,
        **extra_info(transport),
    }


def of_reading(transport):
    return {"is_reading": transport.is_reading}


def of_writing(transport):
    return {
        "size": transport.get_write_buffer_size,
        "limits": transport.get_write_buffer_limits,
    }


def of_stream(transport):
    return {
        **of_any_transport(transport),
        **of_reading(transport),
        **of_writing(transport),
    }


class Datagrams(asyncio.DatagramProtocol):
    pass


async def connected():
    """A transport, and the socket at the other end."""
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    return transport, theirs


@contextlib.asynccontextmanager
async def connection():
    """Looks at a connection whose kernel has taken all output."""
    transport, theirs = await connected()
    with theirs:
        yield of_stream(transport)
        transport.abort()


@contextlib.asynccontextmanager
async def paused_connection():
    transport, theirs = await connected()
    transport.pause_reading()
    transport.set_write_buffer_limits(1000, 10)
    with theirs:
        yield of_stream(transport)
        transport.abort()


@contextlib.asynccontextmanager
async def full_connection():
    """Looks at a connection whose kernel takes no more output."""
    transport, theirs = await connected()
    transport.write(b"x" * 10_000_000)
    await asyncio.sleep(0)
    size = transport.get_write_buffer_size()
    with theirs:
        yield {
            **of_stream(transport),
            "size": lambda: transport.get_write_buffer_size() == size > 0,
        }
        transport.abort()


@contextlib.asynccontextmanager
async def full_tls_connection():
    pytest.importorskip("trustme")
    from .tlsutil import both_ends

    async with both_ends(asyncio.Protocol, asyncio.Protocol) as (transport, _, peer, _):
        peer.pause_reading()
        for _ in range(100):  # once the wire has paused TLS, the rest stays here
            transport.write(b"x" * 100_000)
            await asyncio.sleep(0)
        size = transport.get_write_buffer_size()
        looks = of_stream(transport)
        yield {**looks, "size": lambda: transport.get_write_buffer_size() == size > 0}


@contextlib.asynccontextmanager
async def full_pipe():
    reading, writing = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(
        asyncio.Protocol, open(writing, "wb")
    )
    transport.write(b"x" * 1_000_000)
    await asyncio.sleep(0)
    with open(reading, "rb"):
        yield {**of_any_transport(transport), **of_writing(transport)}
        transport.abort()


@contextlib.asynccontextmanager
async def closing_connection():
    transport, theirs = await connected()
    transport.close()
    with theirs:
        looks = of_stream(transport)
        looks["extra socket"] = lambda: transport.get_extra_info("socket").fileno() >= 0
        yield looks


@contextlib.asynccontextmanager
async def closed_connection():
    transport, theirs = await connected()
    transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with theirs:
        looks = of_stream(transport)
        looks["extra socket"] = lambda: transport.get_extra_info("socket").fileno() >= 0
        yield looks


@contextlib.asynccontextmanager
async def tls_connection():
    pytest.importorskip("trustme")
    from .tlsutil import both_ends

    async with both_ends(asyncio.Protocol, asyncio.Protocol) as (transport, *_):
        looks = of_stream(transport)
        for name in ("cipher", "compression", "peercert", "sslcontext"):
            looks[f"extra {name}"] = lambda name=name: transport.get_extra_info(name)
        yield looks


@contextlib.asynccontextmanager
async def tls_streams():
    pytest.importorskip("trustme")
    from .tlsutil import HOST, client_context, server_context

    left, right = socket.socketpair()
    loop = asyncio.get_running_loop()
    accepting = asyncio.create_task(
        loop.connect_accepted_socket(asyncio.Protocol, right, ssl=server_context())
    )
    reader, writer = await asyncio.open_connection(
        sock=left, ssl=client_context(), server_hostname=HOST
    )
    peer, _ = await accepting
    yield of_streams(reader, writer)
    writer.close()
    peer.abort()


def of_streams(reader, writer):
    return {
        "at_eof": reader.at_eof,
        "exception": reader.exception,
        "can_write_eof": writer.can_write_eof,
        "writer is_closing": writer.is_closing,
        "writer transport": lambda: writer.transport,
        "transport is_reading": lambda: writer.transport.is_reading(),
        "repr of the reader": lambda: type(repr(reader)),
        "repr of the writer": lambda: type(repr(writer)),
        **extra_info(writer),
    }


@contextlib.asynccontextmanager
async def streams():
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    with theirs:
        yield of_streams(reader, writer)
        writer.close()


@contextlib.asynccontextmanager
async def streams_at_their_end():
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    theirs.close()
    assert await reader.read() == b""
    yield of_streams(reader, writer)
    writer.close()


@contextlib.asynccontextmanager
async def streams_with_data():
    """Looks at a reader at its end that has data: first as the transport gave it, then in part."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    with theirs:
        theirs.send(b"one line\nand another")
        theirs.shutdown(socket.SHUT_WR)
        assert await reader.readline() == b"one line\n"
        while not reader._eof:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        yield of_streams(reader, writer)
        writer.close()


@contextlib.asynccontextmanager
async def failed_streams():
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    reader.set_exception(ConnectionError("failed"))
    with theirs:
        yield of_streams(reader, writer)
        writer.close()


@contextlib.asynccontextmanager
async def datagrams():
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    yield {**of_any_transport(transport), **of_writing(transport)}
    transport.close()


@contextlib.asynccontextmanager
async def closed_datagrams():
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    transport.close()
    yield {"is_closing": transport.is_closing, **of_writing(transport)}


@contextlib.asynccontextmanager
async def read_pipe():
    reading, writing = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        asyncio.Protocol, open(reading, "rb")
    )
    with open(writing, "wb"):
        yield {**of_any_transport(transport), **of_reading(transport)}
        transport.close()


@contextlib.asynccontextmanager
async def write_pipe():
    reading, writing = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(
        asyncio.Protocol, open(writing, "wb")
    )
    with open(reading, "rb"):
        yield {
            **of_any_transport(transport),
            **of_writing(transport),
            "can_write_eof": transport.can_write_eof,
        }
        transport.abort()


@contextlib.asynccontextmanager
async def process():
    child = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    transport = child._transport
    looks = {
        **of_any_transport(transport),
        "pid": lambda: transport.get_pid() == child.pid,
        "returncode": transport.get_returncode,
        "returncode of the process": lambda: child.returncode,
        "pipe's transport": lambda: transport.get_pipe_transport(0),
        "stdin is_closing": child.stdin.is_closing,
        "stdin extra": lambda: child.stdin.get_extra_info("pipe"),
        "stdout at_eof": child.stdout.at_eof,
    }
    yield looks
    child.stdin.close()
    await child.wait()


@contextlib.asynccontextmanager
async def server():
    opened = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    yield {
        "is_serving": opened.is_serving,
        "sockets": lambda: len(opened.sockets),
        "name": lambda: opened.sockets[0].getsockname()[0],
        "loop": opened.get_loop,
    }
    opened.close()
    await opened.wait_closed()


@contextlib.asynccontextmanager
async def loop_itself():
    loop = asyncio.get_running_loop()

    async def wait():
        await asyncio.sleep(GUARD)

    task = loop.create_task(wait(), name="waits")
    handle = loop.call_soon(int)
    timer = loop.call_later(GUARD, int)
    await asyncio.sleep(0)
    later = loop.call_soon(int)
    yield {
        "exception handler": loop.get_exception_handler,
        "task factory": loop.get_task_factory,
        "debug": loop.get_debug,
        "running": loop.is_running,
        "closed": loop.is_closed,
        "duration": lambda: loop.slow_callback_duration,
        "executor": lambda: loop._default_executor,
        "time": lambda: type(loop.time()),
        "repr": lambda: type(repr(loop)),
        "task": task.get_name,
        "task's coroutine": task.get_coro,
        "task's loop": task.get_loop,
        "task done": task.done,
        "handle cancelled": handle.cancelled,
        "queued handle cancelled": later.cancelled,
        "timer when": lambda: type(timer.when()),
        "timer cancelled": timer.cancelled,
        "context": lambda: not PYTHON_312 or handle.get_context() is not None,
        "thread": lambda: loop._thread_id == threading.main_thread().ident,
        "set debug": lambda: loop.set_debug(False),
        "signals": lambda: type(loop._signal_handlers),
    }
    timer.cancel()
    task.cancel()


def in_stranger(looks):
    """Return what each look answers in a thread, while this one waits."""
    answers = {}

    def look():
        for name, function in looks.items():
            try:
                answers[name] = function()
            except Exception as exc:  # noqa: BLE001 - the answer
                answers[name] = exc

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(GUARD)
    assert not thread.is_alive()
    return answers


def comparable(value):
    """An answer as something that is the same on both loops."""
    if isinstance(value, (bool, int, str, type(None), BaseException)):
        return describe(value)
    if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return value
    return "object"


MAKERS = [
    connection,
    paused_connection,
    full_connection,
    closing_connection,
    closed_connection,
    tls_connection,
    full_tls_connection,
    tls_streams,
    streams,
    streams_at_their_end,
    streams_with_data,
    failed_streams,
    datagrams,
    closed_datagrams,
    read_pipe,
    write_pipe,
    full_pipe,
    process,
    server,
    loop_itself,
]


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_another_thread_gets_the_answers_of_the_loop(same_outcome, maker):
    def scenario(env):
        async def main():
            async with maker() as looks:
                answers = in_stranger(looks)
                own = {name: function() for name, function in looks.items()}
                assert {name: answers[name] for name in own if answers[name] != own[name]} == {}
                return {name: comparable(answer) for name, answer in answers.items()}

        return env.run(main())

    (result, value), _ = same_outcome(scenario)
    assert result == "returned", value


def of_primitives(names):
    """Looks at primitives that somebody uses."""
    lock, event, semaphore = names.Lock(), names.Event(), names.Semaphore(0)
    condition, barrier, queue = names.Condition(lock), names.Barrier(3), names.Queue(2)
    timeout, group = names.timeout(GUARD), names.TaskGroup()
    queue.put_nowait("item")
    return {
        "locked": lock.locked,
        "condition locked": condition.locked,
        "is_set": event.is_set,
        "semaphore locked": semaphore.locked,
        "parties": lambda: barrier.parties,
        "n_waiting": lambda: barrier.n_waiting,
        "broken": lambda: barrier.broken,
        "qsize": queue.qsize,
        "empty": queue.empty,
        "full": queue.full,
        "maxsize": lambda: queue.maxsize,
        "when": timeout.when,
        "expired": timeout.expired,
        "reprs": lambda: [
            describe(each)
            for each in (lock, event, semaphore, condition, barrier, queue, timeout, group)
        ],
    }, (lock, timeout, group)


def test_another_thread_looks_at_primitives(same):
    async def scenario(names, log):
        looks, (lock, timeout, group) = of_primitives(names)
        async with lock, group, timeout:
            group.create_task(asyncio.sleep(0))
            answers = in_stranger(looks)
            for name, function in looks.items():
                assert answers[name] == function(), name
                log(name, name == "when" or answers[name])

    same(scenario)


@pytest.mark.fastaio_only
@pytest.mark.parametrize("mode", ["w+", "wb+"])
def test_another_thread_looks_at_a_file(run, tmp_path, mode):
    import fastaio

    path = str(tmp_path / "file")

    async def main():
        async with fastaio.open(path, mode) as file:
            await file.write("text" if mode == "w+" else b"text")
            with open(file.fileno(), mode, closefd=False) as plain:
                looks = {
                    "fileno": file.fileno,
                    "closed": lambda: file.closed,
                    "name": lambda: file.name,
                    "mode": lambda: file.mode,
                    "readable": lambda: bool(file.readable()),
                    "repr": lambda: type(repr(file)),
                }
                answers = in_stranger(looks)
                assert answers == {name: function() for name, function in looks.items()}
                assert answers["fileno"] == plain.fileno()
                assert answers["name"] == path
                assert answers["mode"] == plain.mode
        assert in_stranger(looks)["closed"]

    run(main)


@pytest.mark.fastaio_only  # asyncio's repr() of a transport can fail there
def test_looks_beside_connections_that_come_and_go(loop_factory):
    """Threads look at connections while these are made, paused, written to and closed."""
    loop = loop_factory()
    seen, errors, over = [], [], threading.Event()

    def look():
        while not over.is_set():
            for each in list(seen):
                try:
                    for function in each.values():
                        function()
                except Exception as exc:  # noqa: BLE001 - checked below
                    errors.append(exc)
                    return

    async def talk():
        left, right = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=left)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=right)
        seen.append({**of_streams(reader, writer), **of_stream(writer.transport)})
        seen.append(of_stream(transport))
        del seen[:-6]
        for _ in range(20):
            writer.write(b"x" * 100_000)
            transport.write(b"some\n" * 10)
            transport.pause_reading()
            await reader.readline()
            transport.resume_reading()
            writer.transport.set_write_buffer_limits(1000)
            await writer.drain()
        transport.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        transport.close()

    async def main():
        for _ in range(20):
            await talk()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        loop.run_until_complete(main())
    finally:
        over.set()
        for thread in threads:
            thread.join(GUARD)
        loop.close()
    assert errors == []

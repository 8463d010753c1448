"""The sock_* methods: a user's own sockets, awaited."""

import asyncio
import collections.abc
import contextlib
import gc
import inspect
import select
import socket
import ssl
import warnings

import pytest

from .ioutil import (
    connected,
    drain,
    fill,
    listening,
    no_new_descriptors,
    pair,
    pattern,
    turns,
    until,
    unused_port,
)
from .support import GUARD

LOCALHOST = "127.0.0.1"


def udp_pair():
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock in (a, b):
        sock.setblocking(False)
        sock.bind((LOCALHOST, 0))
    return a, b


# Receiving


def test_recv_of_what_is_there(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"0123456789")
            data = await loop.sock_recv(a, 4)
            assert type(data) is bytes
            assert data == b"0123"
            assert await loop.sock_recv(a, 100) == b"456789"

    run(main)


def test_a_recv_resumed_too_early(run):
    """It yields its future again if the first one to get that has taken note, as a task does."""

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            operation = loop.sock_recv(a, 100)
            future = operation.send(None)
            future._asyncio_future_blocking = False
            assert operation.send(None) is future
            with pytest.raises(RuntimeError, match="await wasn't used with future"):
                operation.send(None)
            operation.close()
            b.send(b"data")
            assert await loop.sock_recv(a, 100) == b"data"

    run(main)


def test_recv_waits(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            task = asyncio.create_task(loop.sock_recv(a, 100))
            await turns(5)
            assert not task.done()
            b.send(b"late")
            async with asyncio.timeout(GUARD):
                assert await task == b"late"

    run(main)


def test_recv_at_the_end(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"last")
            b.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(a, 100) == b"last"
            assert await loop.sock_recv(a, 100) == b""
            assert await loop.sock_recv(a, 100) == b""

    run(main)


def test_recv_of_nothing(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"stays")
            assert await loop.sock_recv(a, 0) == b""
            assert drain(a) == b"stays"

    run(main)


@pytest.mark.parametrize("early", [True, False])
def test_recv_of_a_large_message(run, early):
    """A message of which less is taken than there is loses the rest."""

    async def main():
        loop = asyncio.get_running_loop()
        message = pattern(300_000)
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with a, b:
            a.setblocking(False)
            b.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200 * 1024)
            if early:
                b.send(message)
            task = asyncio.create_task(loop.sock_recv(a, 1_000_000))
            await turns()
            if not early:
                b.send(message)
            async with asyncio.timeout(GUARD):
                assert await task == message

    run(main)


@pytest.mark.parametrize("early", [True, False])
def test_recv_into(run, early):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            for buffer in (bytearray(10), memoryview(bytearray(10))):
                if early:
                    b.send(b"abc")
                task = asyncio.create_task(loop.sock_recv_into(a, buffer))
                if not early:
                    await turns()
                    b.send(b"abc")
                async with asyncio.timeout(GUARD):
                    assert await task == 3
                assert bytes(buffer) == b"abc\0\0\0\0\0\0\0"

    run(main)


@pytest.mark.parametrize("early", [True, False])
def test_recvfrom(run, early):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = udp_pair()
        with a, b:
            if early:
                b.sendto(b"datagram", a.getsockname())
            task = asyncio.create_task(loop.sock_recvfrom(a, 100))
            if not early:
                await turns()
                b.sendto(b"datagram", a.getsockname())
            async with asyncio.timeout(GUARD):
                assert await task == (b"datagram", b.getsockname())

    run(main)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    ("args", "expected"), [((), b"datagram"), ((4,), b"data")], ids=["whole", "part"]
)
def test_recvfrom_into(run, early, args, expected):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = udp_pair()
        with a, b:
            buffer = bytearray(20)
            if early:
                b.sendto(b"datagram", a.getsockname())
            task = asyncio.create_task(loop.sock_recvfrom_into(a, buffer, *args))
            if not early:
                await turns()
                b.sendto(b"datagram", a.getsockname())
            async with asyncio.timeout(GUARD):
                assert await task == (len(expected), b.getsockname())
            assert buffer.rstrip(b"\0") == expected

    run(main)


def test_recv_error(run):
    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        with sock:
            sock.setblocking(False)
            with pytest.raises(OSError) as caught:
                await loop.sock_recv(sock, 10)
            assert caught.value.errno == 107  # ENOTCONN
        with pytest.raises(OSError) as caught:
            await loop.sock_recv(sock, 10)
        assert caught.value.errno == 9  # EBADF

    run(main)


def test_recv_error_while_waiting(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair(socket.AF_INET) as (a, b):
            task = asyncio.create_task(loop.sock_recv(a, 10))
            await turns()
            # Closing with unread bytes makes the kernel send a reset.
            a.send(b"unread")
            await until(lambda: select.select([b], [], [], 0)[0])
            b.close()
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(GUARD):
                    await task

    run(main)


# Sending


def test_sendall_of_little(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            assert await loop.sock_sendall(a, b"data") is None
            assert drain(b) == b"data"
            assert await loop.sock_sendall(a, b"") is None
            assert drain(b) == b""

    run(main)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sendall_of_much(run, kind):
    data = pattern(3_000_000)

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            task = asyncio.create_task(loop.sock_sendall(a, kind(data)))
            got = bytearray()
            while len(got) < len(data):
                got += await loop.sock_recv(b, 100_000)
            assert await task is None
            assert got == data

    run(main)


@pytest.mark.parametrize(("claimed", "length"), [(-5, 10), (50, 100)])
def test_a_patched_send_that_claims_nonsense(same_outcome, monkeypatch, claimed, length):
    """Nothing is sent that does not belong to the data."""

    class Data(bytearray):
        def __len__(self):
            return length

    def scenario(env):
        async def main():
            def send(self, data):
                patch.undo()
                return claimed

            with pair() as (a, b), monkeypatch.context() as patch:
                patch.setattr(socket.socket, "send", send, raising=False)
                task = asyncio.create_task(env.loop.sock_sendall(a, Data(b"0123456789")))
                await turns(10)
                done = task.done()
                task.cancel()
                await asyncio.wait([task])
                return done, drain(b)

        return env.run(main())

    same_outcome(scenario)


def test_sendall_and_recv_of_one_socket_at_once(run):
    data = pattern(1_000_000)

    async def main():
        loop = asyncio.get_running_loop()

        async def receive(sock):
            got = bytearray()
            while len(got) < len(data):
                got += await loop.sock_recv(sock, 65536)
            return bytes(got)

        with pair() as (a, b):
            async with asyncio.timeout(GUARD):
                _, _, from_b, from_a = await asyncio.gather(
                    loop.sock_sendall(a, data),
                    loop.sock_sendall(b, data[::-1]),
                    receive(a),
                    receive(b),
                )
            assert from_a == data
            assert from_b == data[::-1]

    run(main)


def test_sendall_to_a_peer_that_has_gone(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.close()
            with pytest.raises(BrokenPipeError):
                await loop.sock_sendall(a, b"x")

        with pair() as (a, b):
            fill(a)
            task = asyncio.create_task(loop.sock_sendall(a, b"x"))
            await turns()
            assert not task.done()
            b.close()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                async with asyncio.timeout(GUARD):
                    await task

    run(main)


@pytest.mark.parametrize("bad", ["text", None, 5], ids=["str", "None", "int"])
def test_sendall_of_what_is_not_bytes(run, bad):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, _), pytest.raises(TypeError, match="a bytes-like object is required"):
            await loop.sock_sendall(a, bad)

    run(main)


def test_sendto(run):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = udp_pair()
        with a, b:
            assert await loop.sock_sendto(a, b"datagram", b.getsockname()) == 8
            async with asyncio.timeout(GUARD):
                assert await loop.sock_recvfrom(b, 100) == (b"datagram", a.getsockname())
            assert await loop.sock_sendto(a, b"", b.getsockname()) == 0
            async with asyncio.timeout(GUARD):
                assert await loop.sock_recvfrom(b, 100) == (b"", a.getsockname())

    run(main)


def test_sendto_waits_for_room(run, tmp_path):
    """Local datagram sockets have a short queue, and a sender that is told to wait."""

    async def main():
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "datagrams")
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with receiver, sender:
            receiver.setblocking(False)
            sender.setblocking(False)
            receiver.bind(path)
            # Connected, so that its readiness to be written follows this receiver's queue.
            sender.connect(path)
            sent = 0
            try:
                while True:
                    sender.send(b"%d" % sent)
                    sent += 1
            except BlockingIOError:
                pass
            task = asyncio.create_task(loop.sock_sendto(sender, b"last", path))
            await turns(5)
            assert not task.done()
            got = []
            while not got or got[-1] != b"last":
                async with asyncio.timeout(GUARD):
                    got.append(await loop.sock_recv(receiver, 100))
            assert await task == 4
            assert got == [b"%d" % number for number in range(sent)] + [b"last"]

    run(main)


# Connecting and accepting


def test_connect_and_accept(run):
    async def main():
        loop = asyncio.get_running_loop()
        with listening() as listener, socket.socket() as client:
            client.setblocking(False)
            accepting = asyncio.create_task(loop.sock_accept(listener))
            await turns()
            assert await loop.sock_connect(client, listener.getsockname()) is None
            async with asyncio.timeout(GUARD):
                conn, address = await accepting
            with conn:
                assert type(conn) is socket.socket
                assert conn.gettimeout() == 0
                assert not conn.get_inheritable()
                assert address == client.getsockname()
                await loop.sock_sendall(client, b"ping")
                assert await loop.sock_recv(conn, 10) == b"ping"

    run(main)


def test_accept_of_what_is_waiting(run):
    async def main():
        loop = asyncio.get_running_loop()
        with listening() as listener, socket.create_connection(listener.getsockname()) as client:
            conn, address = await loop.sock_accept(listener)
            conn.close()
            assert address == client.getsockname()

    run(main)


def test_connect_and_accept_unix(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "sock")
        with (
            listening(socket.AF_UNIX, path) as listener,
            socket.socket(socket.AF_UNIX) as client,
        ):
            client.setblocking(False)
            await loop.sock_connect(client, path)
            conn, address = await loop.sock_accept(listener)
            with conn:
                assert address == ""
                await loop.sock_sendall(conn, b"pong")
                assert await loop.sock_recv(client, 10) == b"pong"

    run(main)


def test_connect_by_name(run):
    async def main():
        loop = asyncio.get_running_loop()
        with listening() as listener, socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
            assert client.getpeername() == listener.getsockname()

    run(main)


def test_connect_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        address = (LOCALHOST, unused_port())
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError) as caught:
                await loop.sock_connect(client, address)
            assert caught.value.errno == 111
            assert caught.value.strerror == f"Connect call failed {address}"

    run(main)


def test_connect_to_a_path_that_is_not_there(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            with pytest.raises(FileNotFoundError):
                await loop.sock_connect(client, str(tmp_path / "nothing"))

    run(main)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("127.0.0.1", 65536), OverflowError),
        (("127.0.0.1", "no such service"), socket.gaierror),
        (("no.such.host.invalid", 80), socket.gaierror),
    ],
)
def test_connect_to_a_bad_address(run, address, error):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(error):
                await loop.sock_connect(client, address)

    run(main)


def test_accept_on_a_socket_that_does_not_listen(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(OSError) as caught:
                await loop.sock_accept(sock)
            assert caught.value.errno == 22  # EINVAL

    run(main)


def test_many_connects_and_accepts(run):
    async def main():
        loop = asyncio.get_running_loop()
        with listening() as listener:
            clients = []
            conns = []
            for _ in range(20):
                client = socket.socket()
                client.setblocking(False)
                clients.append(client)
                _, (conn, address) = await asyncio.gather(
                    loop.sock_connect(client, listener.getsockname()),
                    loop.sock_accept(listener),
                )
                conns.append(conn)
                assert address == client.getsockname()
            for sock in clients + conns:
                sock.close()

    run(main)


# Cancellation


async def cancelled(task):
    await turns()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_cancelled_recv_takes_nothing(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            for _ in range(3):
                await cancelled(asyncio.create_task(loop.sock_recv(a, 10)))
                assert loop.remove_reader(a) is False
            b.send(b"kept")
            assert await loop.sock_recv(a, 10) == b"kept"

    run(main)


# Two turns: the bytes have been taken and the task has not run. There asyncio loses them.
@pytest.mark.parametrize("pause", [0, 1, pytest.param(2, marks=pytest.mark.fastaio_only), 3, 4])
def test_a_recv_cancelled_as_its_bytes_arrive_loses_none(run, pause):
    """Whatever the moment, the bytes are in the result or in the socket."""
    data = pattern(200)

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            got = bytearray()
            for position in range(0, len(data), 2):
                task = asyncio.create_task(loop.sock_recv(a, 2))
                await turns(2)
                b.send(data[position : position + 2])
                await turns(pause)
                task.cancel()
                try:
                    got += await task
                except asyncio.CancelledError:
                    assert loop.remove_reader(a) is False
                got += drain(a)
            assert got == data

    run(main)


def test_a_recv_cancelled_in_the_turn_of_its_bytes(run):
    """Cancelled by a callback that runs after the bytes have come and before the task."""

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            task = asyncio.create_task(loop.sock_recv(a, 10))
            await turns(2)
            b.send(b"x")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await loop.sock_recv(a, 10) == b"x"

    run(main)


def test_a_cancelled_recvfrom_and_recv_into(run):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = udp_pair()
        with a, b:
            buffer = bytearray(10)
            await cancelled(asyncio.create_task(loop.sock_recvfrom(a, 10)))
            await cancelled(asyncio.create_task(loop.sock_recvfrom_into(a, buffer)))
            await cancelled(asyncio.create_task(loop.sock_recv_into(a, buffer)))
            assert loop.remove_reader(a) is False
            assert buffer == bytes(10)
            # The buffers are let go: they can be resized again.
            buffer.extend(b"x")
            b.sendto(b"kept", a.getsockname())
            async with asyncio.timeout(GUARD):
                assert await loop.sock_recvfrom(a, 10) == (b"kept", b.getsockname())

    run(main)


def test_a_cancelled_sendall(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            fill(a)
            data = bytearray(b"never sent")
            await cancelled(asyncio.create_task(loop.sock_sendall(a, data)))
            assert loop.remove_writer(a) is False
            drain(b)
            await turns(5)
            assert drain(b) == b""
            gc.collect()
            data.extend(b"free again")

    run(main)


def test_a_cancelled_accept_takes_nothing(run):
    async def main():
        loop = asyncio.get_running_loop()
        with no_new_descriptors(), listening() as listener:
            await cancelled(asyncio.create_task(loop.sock_accept(listener)))
            assert loop.remove_reader(listener) is False
            with socket.create_connection(listener.getsockname()) as client:
                conn, address = await loop.sock_accept(listener)
                with conn:
                    assert address == client.getsockname()

    run(main)


# After one turn or two asyncio has accepted for a task that is cancelled, and loses the client
# (one turn: mended in 3.14).
@pytest.mark.parametrize(
    "pause",
    [0, *(pytest.param(pause, marks=pytest.mark.fastaio_only) for pause in (1, 2)), 3, 4],
)
def test_an_accept_cancelled_as_a_client_comes_loses_none(run, pause):
    async def main():
        loop = asyncio.get_running_loop()
        with listening() as listener:
            for _ in range(20):
                task = asyncio.create_task(loop.sock_accept(listener))
                await turns(2)
                with socket.create_connection(listener.getsockname()) as client:
                    await turns(pause)
                    task.cancel()
                    try:
                        conn, address = await task
                    except asyncio.CancelledError:
                        async with asyncio.timeout(GUARD):
                            conn, address = await loop.sock_accept(listener)
                    conn.close()
                    assert address == client.getsockname()

    run(main)


def test_a_cancelled_connect(run):
    """A connect that waits (the listener's queue is full) and is given up."""

    async def main():
        loop = asyncio.get_running_loop()
        with listening(backlog=0) as listener:
            clients = []
            waiting = None
            try:
                while waiting is None:
                    client = socket.socket()
                    client.setblocking(False)
                    clients.append(client)
                    task = asyncio.create_task(loop.sock_connect(client, listener.getsockname()))
                    done, _ = await asyncio.wait([task], timeout=0.1)
                    if not done:
                        waiting = task
                    assert len(clients) < 50
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert loop.remove_writer(clients[-1]) is False
                assert clients[-1].fileno() != -1
            finally:
                for client in clients:
                    client.close()

    run(main)


def test_timeouts(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(a, 10), 0.01)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await loop.sock_recv(a, 10)
            assert loop.remove_reader(a) is False
            b.send(b"x")
            assert await asyncio.wait_for(loop.sock_recv(a, 10), GUARD) == b"x"

    run(main)


# What each of them returns is a coroutine


CALLS = {
    "sock_recv": lambda loop, a, b: loop.sock_recv(a, 10),
    "sock_recv_into": lambda loop, a, b: loop.sock_recv_into(a, bytearray(10)),
    "sock_recvfrom": lambda loop, a, b: loop.sock_recvfrom(a, 10),
    "sock_recvfrom_into": lambda loop, a, b: loop.sock_recvfrom_into(a, bytearray(10)),
    "sock_sendall": lambda loop, a, b: loop.sock_sendall(a, b"x"),
    "sock_sendto": lambda loop, a, b: loop.sock_sendto(a, b"x", b.getsockname()),
    "sock_connect": lambda loop, a, b: loop.sock_connect(a, b.getsockname()),
    "sock_accept": lambda loop, a, b: loop.sock_accept(a),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_real_coroutine(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            coro = CALLS[name](loop, a, b)
            assert isinstance(coro, collections.abc.Coroutine)
            assert isinstance(coro, collections.abc.Awaitable)
            assert asyncio.iscoroutine(coro)
            assert inspect.isawaitable(coro)
            for method in ("send", "throw", "close", "__await__"):
                assert callable(getattr(coro, method))
            assert not hasattr(coro, "__anext__")
            coro.close()

    run(main)


@pytest.mark.parametrize("name", CALLS)
def test_never_awaited_warns(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            gc.collect()  # other tests' garbage may warn as well
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                CALLS[name](loop, a, b)
                gc.collect()
            assert len(caught) == 1
            assert caught[0].category is RuntimeWarning
            message = str(caught[0].message).splitlines()[0]  # debug mode tells the origin as well
            assert message.startswith("coroutine ")
            assert message.endswith(f"{name}' was never awaited")

    run(main)


def test_nothing_is_taken_before_the_first_step(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"data")
            first = loop.sock_recv(a, 2)
            second = loop.sock_recv(a, 2)
            assert a.recv(100, socket.MSG_PEEK) == b"data"
            assert await second == b"da"
            assert await first == b"ta"

            sending = loop.sock_sendall(a, b"x")
            assert drain(b) == b""
            await sending
            assert drain(b) == b"x"

    run(main)


def test_a_closed_coroutine_takes_nothing(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"data")
            coro = loop.sock_recv(a, 10)
            coro.close()
            coro.close()
            with pytest.raises(RuntimeError, match="^cannot reuse already awaited coroutine$"):
                coro.send(None)
            assert drain(a) == b"data"

    run(main)


def test_awaited_twice(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"data")
            coro = loop.sock_recv(a, 2)
            assert await coro == b"da"
            with pytest.raises(RuntimeError, match="^cannot reuse already awaited coroutine$"):
                await coro
            assert drain(a) == b"ta"

    run(main)


def test_stepped_by_hand(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"now")
            coro = loop.sock_recv(a, 10)
            with pytest.raises(StopIteration) as caught:
                coro.send(None)
            assert caught.value.value == b"now"

            coro = loop.sock_recv(a, 10)
            with pytest.raises(TypeError):
                coro.send("not None")
            coro.close()

            coro = loop.sock_recv(a, 10)
            awaited = coro.send(None)
            assert asyncio.isfuture(awaited)
            with pytest.raises(ZeroDivisionError):
                coro.throw(ZeroDivisionError())
            await turns()

            coro = loop.sock_recv(a, 10)
            with pytest.raises(ZeroDivisionError):
                coro.throw(ZeroDivisionError())

    run(main)


def thrown(coro, arguments):
    """What throw(*arguments) raises and warns of."""
    with warnings.catch_warnings(record=True) as caught, contextlib.closing(coro):
        warnings.simplefilter("always")
        try:
            coro.throw(*arguments)
        except Exception as exc:
            raised = type(exc), str(exc), type(exc.__context__)
    return raised, [(w.category, str(w.message)) for w in caught if "throw()" in str(w.message)]


THROWN = {
    "a class": lambda: (KeyError,),
    "an instance": lambda: (KeyError("k"),),
    "a class and a value": lambda: (KeyError, "k"),
    "a class and an instance": lambda: (KeyError, KeyError("k")),
    "a class and arguments": lambda: (KeyError, ("a", "b")),
    "an instance and None": lambda: (KeyError("k"), None, None),
    "an instance and a value": lambda: (KeyError("k"), "separate"),
    "a class that cannot be called": lambda: (UnicodeDecodeError,),
    "a string": lambda: ("a string",),
    "an int and a value": lambda: (7, "a value"),
}


@pytest.mark.parametrize("arguments", THROWN.values(), ids=THROWN)
def test_throw_takes_what_a_coroutine_in_python_takes(run, arguments):
    async def plain():
        """Never runs."""

    async def main():
        with pair() as (a, _):
            try:
                raise LookupError
            except LookupError:
                coro = asyncio.get_running_loop().sock_recv(a, 10)
                assert thrown(coro, arguments()) == thrown(plain(), arguments())

    run(main)


def test_a_waiting_coroutine_that_is_closed_lets_go(run):
    """close() on a waiting call: bytes that come later are for the next reader."""

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            coro = loop.sock_recv(a, 10)
            coro.send(None).cancel()
            coro.close()
            await turns()
            assert loop.remove_reader(a) is False
            b.send(b"x")
            assert await loop.sock_recv(a, 10) == b"x"

    run(main)


def test_in_task_gather_wait_for_and_task_group(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"12345")
            assert await asyncio.create_task(loop.sock_recv(a, 1)) == b"1"
            assert await asyncio.ensure_future(loop.sock_recv(a, 1)) == b"2"
            assert await asyncio.gather(loop.sock_recv(a, 1)) == [b"3"]
            assert await asyncio.wait_for(loop.sock_recv(a, 1), GUARD) == b"4"
            async with asyncio.TaskGroup() as group:
                task = group.create_task(loop.sock_recv(a, 1))
            assert task.result() == b"5"
            assert await asyncio.shield(asyncio.create_task(loop.sock_sendall(b, b"6"))) is None
            future = asyncio.run_coroutine_threadsafe(loop.sock_recv(a, 1), loop)
            assert await asyncio.wrap_future(future) == b"6"

    run(main)


def test_run_until_complete_takes_it(loop):
    with pair() as (a, b):
        b.send(b"x")
        assert loop.run_until_complete(loop.sock_recv(a, 10)) == b"x"


def test_inside_a_wrapping_generator(run):
    """`await` from a coroutine of another kind: an object with __await__."""

    class Wrapped:
        def __init__(self, coro):
            self.coro = coro

        def __await__(self):
            return (yield from self.coro.__await__())

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            loop.call_later(0.01, b.send, b"x")
            assert await Wrapped(loop.sock_recv(a, 10)) == b"x"

    run(main)


# What is refused


@pytest.mark.parametrize("name", CALLS)
def test_a_blocking_socket_in_debug_mode(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with a, b:
            with pytest.raises(ValueError, match="^the socket must be non-blocking$"):
                await CALLS[name](loop, a, b)
            a.settimeout(5)
            with pytest.raises(ValueError, match="^the socket must be non-blocking$"):
                await CALLS[name](loop, a, b)

    run(main, debug=True)


@pytest.mark.parametrize("name", CALLS)
def test_an_ssl_socket(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with pair(socket.AF_INET) as (a, b):
            wrapped = context.wrap_socket(a, do_handshake_on_connect=False)
            with wrapped, pytest.raises(TypeError, match="^Socket cannot be of type SSLSocket$"):
                await CALLS[name](loop, wrapped, b)

    run(main)


def test_a_transports_socket_is_refused_once_it_would_wait(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, peer):
            fd = transport.get_extra_info("socket").fileno()
            sock = transport.get_extra_info("socket")._sock
            with pytest.raises(RuntimeError, match=f"^File descriptor {fd} is used by transport "):
                await loop.sock_recv(sock, 10)
            await peer.send(b"mine")
            assert await protocol.wait_bytes(4) == b"mine"

    run(main)


# The loop and the caller


def test_a_socket_subclass_has_its_own_methods_called(run):
    class Shouting(socket.socket):
        def recv(self, *args):
            return super().recv(*args).upper()

        def send(self, data, *args):
            return super().send(bytes(data).upper(), *args)

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with Shouting(fileno=a.detach()) as loud, b:
            loud.setblocking(False)
            b.setblocking(False)
            b.send(b"early")
            assert await loop.sock_recv(loud, 10) == b"EARLY"
            task = asyncio.create_task(loop.sock_recv(loud, 10))
            await turns()
            b.send(b"late")
            assert await task == b"LATE"
            await loop.sock_sendall(loud, b"sent")
            assert drain(b) == b"SENT"

    run(main)


def test_many_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(150)]
        for sockets in pairs:
            for sock in sockets:
                sock.setblocking(False)
        try:

            async def echo(sock):
                while data := await loop.sock_recv(sock, 100):
                    await loop.sock_sendall(sock, data)

            async def ask(sock, index):
                for turn in range(5):
                    question = b"%d:%d" % (index, turn)
                    await loop.sock_sendall(sock, question)
                    assert await loop.sock_recv(sock, 100) == question
                sock.shutdown(socket.SHUT_WR)

            async with asyncio.timeout(GUARD):
                await asyncio.gather(
                    *(echo(a) for a, _ in pairs),
                    *(ask(b, index) for index, (_, b) in enumerate(pairs)),
                )
        finally:
            for sockets in pairs:
                for sock in sockets:
                    sock.close()

    run(main)


def test_a_loop_that_ends_with_a_call_waiting(loop_factory):
    """Runner's cancellation reaches it, and the number can be used by another loop at once."""

    async def main(sock):
        asyncio.create_task(asyncio.get_running_loop().sock_recv(sock, 10))
        await turns()

    async def again(sock):
        return await asyncio.get_running_loop().sock_recv(sock, 10)

    with pair() as (a, b):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main(a))
        b.send(b"x")
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(again(a)) == b"x"

"""getaddrinfo and getnameinfo: literals, names, errors, and what test suites put in their place."""

import asyncio
import collections.abc
import concurrent.futures
import gc
import socket
import threading
import warnings

import pytest

from .ioutil import Echo, Recorder, ended, exchange, needs_ipv6, serving, turns
from .support import GUARD

LOCALHOST = "127.0.0.1"


@pytest.fixture
def lookups(monkeypatch):
    """The calls of socket.getaddrinfo, which answers from a table."""
    calls = []
    table = {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.1", "127.0.0.2"]}

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        calls.append((host, port, family, type, proto, flags))
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in table[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return calls


# The same answers as the socket module's


CASES = [
    (("127.0.0.1", 80), {}),
    (("127.0.0.1", 80), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", 80), {"type": socket.SOCK_DGRAM}),
    (("127.0.0.1", 80), {"type": socket.SOCK_RAW}),
    (("127.0.0.1", 80), {"family": socket.AF_INET}),
    (("127.0.0.1", 80), {"family": socket.AF_INET6}),
    (("127.0.0.1", 80), {"proto": socket.IPPROTO_TCP}),
    (("127.0.0.1", 80), {"proto": socket.IPPROTO_UDP, "type": socket.SOCK_DGRAM}),
    (("127.0.0.1", 80), {"proto": socket.IPPROTO_UDP, "type": socket.SOCK_STREAM}),
    (("127.0.0.1", 80), {"flags": socket.AI_NUMERICHOST, "type": socket.SOCK_STREAM}),
    (("127.0.0.1", 80), {"flags": socket.AI_CANONNAME, "type": socket.SOCK_STREAM}),
    (("127.0.0.1", 80), {"flags": socket.AI_PASSIVE, "type": socket.SOCK_STREAM}),
    (("127.0.0.1", 80), {"flags": socket.AI_ADDRCONFIG, "type": socket.SOCK_STREAM}),
    (
        ("127.0.0.1", 80),
        {
            "flags": socket.AI_V4MAPPED,
            "family": socket.AF_INET6,
            "type": socket.SOCK_STREAM,
        },
    ),
    (("127.0.0.1", "80"), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", b"80"), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", "http"), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", "no such service"), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", None), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", ""), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", 0), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", 65535), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", 65536), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", -1), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", 1.5), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", "65536"), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", " 80"), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", "0x50"), {"type": socket.SOCK_STREAM}),
    ((b"127.0.0.1", 80), {"type": socket.SOCK_STREAM}),
    (("127.1", 80), {"type": socket.SOCK_STREAM}),
    (("0x7f.1", 80), {"type": socket.SOCK_STREAM}),
    (("2130706433", 80), {"type": socket.SOCK_STREAM}),
    (("0177.0.0.1", 80), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1 ", 80), {"type": socket.SOCK_STREAM, "flags": socket.AI_NUMERICHOST}),
    (("127.0.0.1\0", 80), {"type": socket.SOCK_STREAM}),
    (("256.0.0.1", 80), {"type": socket.SOCK_STREAM, "flags": socket.AI_NUMERICHOST}),
    (("", 80), {"type": socket.SOCK_STREAM}),
    (("", 80), {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}),
    ((None, 80), {"type": socket.SOCK_STREAM}),
    ((None, 80), {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}),
    ((None, None), {}),
    ((5, 80), {}),
    (("::1", 80), {"type": socket.SOCK_STREAM}),
    (("::1", 80), {"family": socket.AF_INET, "type": socket.SOCK_STREAM}),
    (("::1", 80), {"family": socket.AF_INET6, "type": socket.SOCK_STREAM}),
    (("::1%lo", 80), {"type": socket.SOCK_STREAM}),
    (("fe80::1%1", 80), {"type": socket.SOCK_STREAM}),
    (("::ffff:127.0.0.1", 80), {"type": socket.SOCK_STREAM}),
    (("[::1]", 80), {"type": socket.SOCK_STREAM, "flags": socket.AI_NUMERICHOST}),
    (("localhost", 80), {"family": socket.AF_INET, "type": socket.SOCK_STREAM}),
    (("name", 80), {"flags": socket.AI_NUMERICHOST}),
    (("127.0.0.1", "http"), {"flags": socket.AI_NUMERICSERV}),
    (("127.0.0.1", 80), {"family": 12345}),
    (("127.0.0.1", 80), {"type": 12345}),
]


@pytest.mark.parametrize(("args", "kwargs"), CASES)
def test_getaddrinfo_like_the_socket_module(run, args, kwargs):
    async def main():
        loop = asyncio.get_running_loop()
        try:
            expected = socket.getaddrinfo(*args, **kwargs)
        except Exception as exc:
            with pytest.raises(type(exc)) as caught:
                await loop.getaddrinfo(*args, **kwargs)
            assert caught.value.args == exc.args
        else:
            result = await loop.getaddrinfo(*args, **kwargs)
            assert result == expected
            assert [tuple(map(type, info)) for info in result] == [
                tuple(map(type, info)) for info in expected
            ]

    run(main)


def test_only_keywords(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError):
            await loop.getaddrinfo(LOCALHOST, 80, socket.AF_INET)
        with pytest.raises(TypeError):
            await loop.getaddrinfo(LOCALHOST, 80, nonsense=1)
        with pytest.raises(TypeError):
            await loop.getaddrinfo(LOCALHOST)
        assert await loop.getaddrinfo(host=LOCALHOST, port=80, type=socket.SOCK_STREAM)

    run(main)


@pytest.mark.parametrize(
    ("sockaddr", "flags"),
    [
        (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("127.0.0.1", 80), socket.NI_NUMERICHOST),
        (("127.0.0.1", 80), 0),
        (("::1", 80, 0, 0), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("127.0.0.1", 70000), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("name.invalid", 80), socket.NI_NUMERICHOST),
        (("127.0.0.1",), 0),
        ("127.0.0.1", 0),
        (None, 0),
        (("127.0.0.1", 80), "text"),
    ],
)
def test_getnameinfo_like_the_socket_module(run, sockaddr, flags):
    async def main():
        loop = asyncio.get_running_loop()
        try:
            expected = socket.getnameinfo(sockaddr, flags)
        except Exception as exc:
            with pytest.raises(type(exc)) as caught:
                await loop.getnameinfo(sockaddr, flags)
            assert caught.value.args == exc.args
        else:
            assert await loop.getnameinfo(sockaddr, flags) == expected

    run(main)


# Coroutines


@pytest.mark.parametrize("name", ["getaddrinfo", "getnameinfo"])
def test_real_coroutines(run, name):
    async def main():
        loop = asyncio.get_running_loop()

        def call():
            if name == "getaddrinfo":
                return loop.getaddrinfo(LOCALHOST, 80)
            return loop.getnameinfo((LOCALHOST, 80), socket.NI_NUMERICHOST)

        coro = call()
        assert isinstance(coro, collections.abc.Coroutine)
        assert asyncio.iscoroutine(coro)
        expected = await coro
        with pytest.raises(RuntimeError, match="^cannot reuse already awaited coroutine$"):
            await coro
        assert await asyncio.create_task(call()) == expected
        assert await asyncio.gather(call(), call()) == [expected, expected]
        assert await asyncio.wait_for(call(), GUARD) == expected
        call().close()
        gc.collect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
            gc.collect()
        (warning,) = caught
        message = str(warning.message).splitlines()[0]  # debug mode tells the origin as well
        assert message.endswith(f"{name}' was never awaited")

    run(main)


def test_run_until_complete_takes_it(loop):
    infos = loop.run_until_complete(loop.getaddrinfo(LOCALHOST, 80, type=socket.SOCK_STREAM))
    assert infos[0][4] == (LOCALHOST, 80)


def test_cancelled_while_a_thread_looks(run, monkeypatch):
    """The task ends at once; the thread's answer, when it comes, hurts nobody."""
    release = threading.Event()
    entered = threading.Event()

    def getaddrinfo(*args, **kwargs):
        entered.set()
        release.wait(GUARD)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(loop.getaddrinfo("slow.test", 80))
        await asyncio.to_thread(entered.wait, GUARD)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_connection(Recorder, "slow.test", 80), 0.01)
        release.set()
        await turns()

    try:
        run(main)
    finally:
        release.set()


# In the executor, with what stands in socket.getaddrinfo now


def test_a_patched_getaddrinfo_is_used(run, lookups):
    async def main():
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo("two.test", 80, family=socket.AF_INET)
        assert [info[4] for info in infos] == [("127.0.0.1", 80), ("127.0.0.2", 80)]
        assert lookups == [("two.test", 80, socket.AF_INET, 0, 0, 0)]
        with pytest.raises(socket.gaierror, match="Name or service not known"):
            await loop.getaddrinfo("three.test", 80)

    run(main)


def test_a_patched_getaddrinfo_serves_connections(run, lookups):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            transport, protocol = await loop.create_connection(Recorder, "one.test", address[1])
            assert lookups == [("one.test", address[1], 0, socket.SOCK_STREAM, 0, 0)]
            await exchange(transport, protocol)
            await ended(transport, protocol)
            with pytest.raises(socket.gaierror):
                await loop.create_connection(Recorder, "three.test", address[1])
        server = await loop.create_server(Echo, "two.test", 0)
        assert {sock.getsockname()[0] for sock in server.sockets} == {"127.0.0.1", "127.0.0.2"}
        server.close()

    run(main)


def test_literals_need_no_lookup(run, lookups):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            transport, protocol = await loop.create_connection(
                Recorder, *address, local_addr=(LOCALHOST, 0)
            )
            await ended(transport, protocol)
        assert lookups == []

    run(main)


@needs_ipv6
def test_ipv6_literals_need_no_lookup(run, lookups):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "::1", 0)
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Recorder, *address[:2])
        await ended(transport, protocol)
        server.close()
        assert lookups == []

    run(main)


def test_the_default_executor_is_used(run):
    class Executor(concurrent.futures.ThreadPoolExecutor):
        calls = 0

        def submit(self, *args, **kwargs):
            self.calls += 1
            return super().submit(*args, **kwargs)

    async def main():
        loop = asyncio.get_running_loop()
        with Executor(1) as executor:
            loop.set_default_executor(executor)
            await loop.getaddrinfo("localhost", 80, family=socket.AF_INET)
            assert executor.calls == 1
            await loop.getnameinfo((LOCALHOST, 80))
            assert executor.calls == 2
            await loop.shutdown_default_executor()

    run(main)


def test_an_overridden_getaddrinfo_is_used(run):
    async def main():
        loop = asyncio.get_running_loop()
        names = []

        async def getaddrinfo(host, port, **kwargs):
            names.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (LOCALHOST, port))]

        loop.getaddrinfo = getaddrinfo
        async with serving() as (_, address):
            transport, protocol = await loop.create_connection(Recorder, "any.test", address[1])
            await exchange(transport, protocol)
            await ended(transport, protocol)
            server = await loop.create_server(Echo, "other.test", 0)
            server.close()
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, ("third.test", address[1]))
        assert names == ["any.test", "other.test", "third.test"]

    run(main)


def test_many_lookups_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(
            *(
                loop.getaddrinfo("localhost", port, family=socket.AF_INET, type=socket.SOCK_STREAM)
                for port in range(1, 200)
            )
        )
        assert [infos[0][4][1] for infos in results] == list(range(1, 200))

    run(main)


def test_getaddrinfo_on_a_closed_loop(loop):
    loop.close()
    coro = loop.getaddrinfo("localhost", 80)
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        coro.send(None)

"""getaddrinfo and getnameinfo: literals, names, errors, and what test suites put in their place."""

import asyncio
import collections.abc
import concurrent.futures
import gc
import os
import socket
import threading
import warnings
import weakref

import pytest

from .ioutil import Echo, Recorder, ended, exchange, needs_ipv6, serving, turns
from .support import FUTURE_TAKES_STOP_ITERATION, GUARD, PYTHON_313, collect, run_python

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


# Threads of their own


class Resolver:
    """A socket.getaddrinfo() that answers when it may."""

    def __init__(self, monkeypatch):
        self.calls = []
        self.threads = set()
        self.most = 0
        self._running = 0
        self._mutex = threading.Lock()
        self.may_answer = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host, port, *args):
        with self._mutex:
            self.calls.append(host)
            self.threads.add(threading.current_thread())
            self._running += 1
            self.most = max(self.most, self._running)
        assert self.may_answer.wait(GUARD)
        with self._mutex:
            self._running -= 1
        if host == "none.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (LOCALHOST, port))]

    async def asked(self, count):
        while len(self.calls) < count:
            await asyncio.sleep(0.001)


@pytest.fixture
def resolver(monkeypatch):
    """A name service that answers once `may_answer` is set."""
    resolver = Resolver(monkeypatch)
    yield resolver
    resolver.may_answer.set()


@pytest.mark.fastaio_only
def test_slow_lookups_delay_neither_jobs_nor_files(run, resolver, tmp_path):
    import fastaio

    path = tmp_path / "file"
    path.write_bytes(b"content")

    async def main():
        loop = asyncio.get_running_loop()
        asking = [
            asyncio.create_task(loop.getaddrinfo(f"slow{number}.test", 80)) for number in range(64)
        ]
        await resolver.asked(32)
        for _ in range(3):
            assert await asyncio.wait_for(loop.run_in_executor(None, pow, 2, 3), GUARD) == 8
        async with fastaio.open(path, "rb") as f:
            assert await asyncio.wait_for(f.read(), GUARD) == b"content"
        assert len(resolver.calls) == 32
        assert not any(task.done() for task in asking)
        resolver.may_answer.set()
        await asyncio.wait_for(asyncio.gather(*asking), GUARD)
        assert sorted(resolver.calls) == sorted(f"slow{number}.test" for number in range(64))
        assert resolver.most == 32

    run(main)


@pytest.mark.fastaio_only
def test_the_same_question_is_asked_once(run, resolver):
    async def main():
        loop = asyncio.get_running_loop()

        def ask(host, **kwargs):
            return asyncio.create_task(loop.getaddrinfo(host, 80, **kwargs))

        same = [ask("one.test") for _ in range(3)]
        other = ask("one.test", type=socket.SOCK_STREAM)
        await resolver.asked(2)
        await turns()
        assert resolver.calls == ["one.test", "one.test"]
        resolver.may_answer.set()
        first, second, third = await asyncio.gather(*same)
        assert first == second == third == await other
        assert len({id(first), id(second), id(third)}) == 3
        await ask("one.test")  # that one has been answered
        assert len(resolver.calls) == 3

    run(main)


@pytest.mark.fastaio_only
def test_each_waiter_gets_its_own_error(run, resolver):
    async def main():
        loop = asyncio.get_running_loop()
        asking = [asyncio.create_task(loop.getaddrinfo("none.test", 80)) for _ in range(3)]
        await resolver.asked(1)
        resolver.may_answer.set()
        errors = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(error) for error in errors} == {socket.gaierror}
        assert {error.args for error in errors} == {(socket.EAI_NONAME, "no such name")}
        assert len({id(error) for error in errors}) == 3
        assert resolver.calls == ["none.test"]

    run(main)


@pytest.mark.fastaio_only
def test_hooks_hear_of_each_question():
    """Of those, too, that a question in flight answers."""
    source = """
import asyncio, socket, sys, threading
import fastaio

may_answer, asked, told = threading.Event(), threading.Event(), []

def hook(event, args):
    if event == "socket.getaddrinfo":
        told.append(args)
        if threading.current_thread() is not threading.main_thread():
            asked.set()
            may_answer.wait(30)

async def main():
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(loop.getaddrinfo("localhost", 80, proto=6)) for _ in range(3)]
    await asyncio.to_thread(asked.wait, 30)
    may_answer.set()
    await asyncio.gather(*tasks)

sys.addaudithook(hook)
fastaio.run(main())
assert told == [("localhost", 80, 0, 0, 6)] * 3, told
"""
    run_python(source)


def test_what_cannot_be_compared_is_asked_all_the_same(run, resolver):
    class Name(str):
        __slots__ = ()
        __hash__ = None

    async def main():
        loop = asyncio.get_running_loop()
        names = [Name("one.test"), ["one.test"], Name("one.test")]
        asking = [asyncio.create_task(loop.getaddrinfo(name, 80)) for name in names]
        await resolver.asked(3)
        resolver.may_answer.set()
        await asyncio.gather(*asking)
        assert sorted(map(str, resolver.calls)) == sorted(map(str, names))

    run(main)


def test_one_of_two_waiters_is_cancelled(run, resolver):
    async def main():
        loop = asyncio.get_running_loop()
        one, two = (asyncio.create_task(loop.getaddrinfo("one.test", 80)) for _ in range(2))
        await resolver.asked(1)
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        resolver.may_answer.set()
        assert (await two)[0][4] == (LOCALHOST, 80)

    run(main)


@pytest.mark.fastaio_only
def test_a_question_without_waiters_is_not_joined(run, resolver):
    async def main():
        loop = asyncio.get_running_loop()
        for count in (1, 2):
            task = asyncio.create_task(loop.getaddrinfo("one.test", 80))
            await resolver.asked(count)
            task.cancel()
            await asyncio.wait([task])
        task = asyncio.create_task(loop.getaddrinfo("one.test", 80))
        await resolver.asked(3)
        resolver.may_answer.set()
        await task

    run(main)


@pytest.mark.fastaio_only
def test_a_cancelled_question_that_waits_for_a_thread_is_never_asked(run, resolver):
    async def main():
        loop = asyncio.get_running_loop()
        asking = [
            asyncio.create_task(loop.getaddrinfo(f"slow{number}.test", 80)) for number in range(32)
        ]
        await resolver.asked(32)
        late = asyncio.create_task(loop.getaddrinfo("late.test", 80))
        await turns()
        late.cancel()
        await asyncio.wait([late])
        resolver.may_answer.set()
        await asyncio.gather(*asking)
        assert "late.test" not in resolver.calls

    run(main)


@pytest.mark.fastaio_only
def test_idle_threads_are_used_again_and_end(run, monkeypatch):
    from fastaio import lookups

    monkeypatch.setattr(lookups, "IDLE_SECONDS", 0.2)
    resolver = Resolver(monkeypatch)
    resolver.may_answer.set()

    async def main():
        loop = asyncio.get_running_loop()
        for number in range(20):
            await loop.getaddrinfo(f"{number}.test", 80)
            await turns()  # until the thread sleeps, as a rule
        assert len(resolver.threads) < 20
        while any(thread.is_alive() for thread in resolver.threads):
            await asyncio.sleep(0.01)
        before = set(resolver.threads)
        await loop.getaddrinfo("again.test", 80)
        assert resolver.threads > before

    run(main)


def test_a_run_ends_its_threads(run, resolver):
    resolver.may_answer.set()

    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.getaddrinfo(f"{number}.test", 80) for number in range(5)))

    before = threading.active_count()
    run(main)
    assert threading.active_count() == before
    assert not any(thread.is_alive() for thread in resolver.threads)


@pytest.mark.fastaio_only
def test_a_run_does_not_wait_for_what_nobody_waits_for(run, resolver):
    async def main():
        loop = asyncio.get_running_loop()
        kept.append(asyncio.create_task(loop.getaddrinfo("slow.test", 80)))
        await resolver.asked(1)

    kept = []
    run(main)
    assert kept[0].cancelled()
    (thread,) = resolver.threads
    assert thread.is_alive()
    resolver.may_answer.set()
    thread.join(GUARD)
    assert not thread.is_alive()


@pytest.mark.fastaio_only
def test_the_process_does_not_wait_either():
    source = """
import asyncio, socket, threading
import fastaio

asked = threading.Event()

def getaddrinfo(*args):
    asked.set()
    threading.Event().wait()

async def main():
    task = asyncio.create_task(asyncio.get_running_loop().getaddrinfo("slow.test", 80))
    await asyncio.to_thread(asked.wait, 30)

socket.getaddrinfo = getaddrinfo
fastaio.run(main())
"""
    run_python(source)


def test_shutting_down_waits_for_lookups(loop, resolver):
    async def main():
        asking = asyncio.create_task(loop.getaddrinfo("slow.test", 80))
        await resolver.asked(1)
        loop.call_later(0.01, resolver.may_answer.set)
        await loop.shutdown_default_executor()
        assert resolver.may_answer.is_set()
        assert (await asking)[0][4] == (LOCALHOST, 80)
        with pytest.raises(RuntimeError, match="^Executor shutdown has been called$"):
            await loop.getaddrinfo("slow.test", 80)
        with pytest.raises(RuntimeError, match="^Executor shutdown has been called$"):
            await loop.getnameinfo((LOCALHOST, 80))

    loop.run_until_complete(main())


@pytest.mark.skipif(not PYTHON_313, reason="the timeout of 3.12 joins the threads all the same")
def test_shutting_down_with_a_timeout(loop, resolver):
    async def main():
        asking = asyncio.create_task(loop.getaddrinfo("slow.test", 80))
        await resolver.asked(1)
        with pytest.warns(
            RuntimeWarning,
            match="The executor did not finishing joining its threads within 0.01 seconds.",
        ):
            await loop.shutdown_default_executor(timeout=0.01)
        resolver.may_answer.set()
        await asking

    loop.run_until_complete(main())


def test_a_loop_closed_while_a_lookup_is_in_flight(loop_factory, resolver, caplog):
    loop = loop_factory()
    future = asyncio.ensure_future(loop.getaddrinfo("slow.test", 80), loop=loop)
    loop.run_until_complete(resolver.asked(1))
    loop.close()
    resolver.may_answer.set()
    for thread in resolver.threads:
        thread.join(GUARD)
        assert not thread.is_alive()
    assert not future.done()
    assert not caplog.records
    future._log_destroy_pending = False


def test_a_dropped_loop_is_not_kept_by_idle_threads(loop_factory, resolver):
    resolver.may_answer.set()
    loop = loop_factory()
    loop.run_until_complete(loop.getaddrinfo("one.test", 80))
    reference = weakref.ref(loop)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        collect()
    assert reference() is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.fastaio_only
def test_a_forked_child_looks_names_up(loop, resolver):
    """On asyncio it waits for threads that it does not have."""
    asking = loop.create_task(loop.getaddrinfo("slow.test", 80))
    loop.run_until_complete(resolver.asked(1))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            resolver.may_answer = threading.Event()
            resolver.may_answer.set()
            again = asyncio.wait_for(loop.getaddrinfo("slow.test", 80), GUARD)
            infos = loop.run_until_complete(again)
            asking.cancel()
            loop.run_until_complete(asyncio.wait([asking]))
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            status = 0 if infos[0][4] == (LOCALHOST, 80) else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    resolver.may_answer.set()
    loop.run_until_complete(asking)


@pytest.mark.parametrize("place", ["instance", "class"])
def test_a_replaced_run_in_executor_is_used(loop_factory, place):
    calls = []

    def run_in_executor(executor, func, *args):
        calls.append((executor, func, args))
        future = loop.create_future()
        future.set_result("answer")
        return future

    loop = loop_factory()
    if place == "instance":
        loop.run_in_executor = run_in_executor
    else:
        loop.__class__ = type(
            "Loop", (type(loop),), {"run_in_executor": staticmethod(run_in_executor)}
        )
    try:
        assert loop.run_until_complete(loop.getaddrinfo("name", 80)) == "answer"
        assert loop.run_until_complete(loop.getnameinfo((LOCALHOST, 80))) == "answer"
        assert calls == [
            (None, socket.getaddrinfo, ("name", 80, 0, 0, 0, 0)),
            (None, socket.getnameinfo, ((LOCALHOST, 80), 0)),
        ]
    finally:
        loop.close()


def test_debug_mode_logs_lookups(run, resolver, caplog):
    resolver.may_answer.set()
    caplog.set_level("DEBUG", logger="asyncio")

    async def main():
        loop = asyncio.get_running_loop()
        await loop.getaddrinfo("one.test", 80, type=socket.SOCK_STREAM)
        loop.slow_callback_duration = 0.0
        await loop.getaddrinfo("two.test", 80)

    run(main, debug=True)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    said = [(level, text) for level, text in said if "address info" in text]
    kind = "type=<SocketKind.SOCK_STREAM: 1>"
    assert said[0] == ("DEBUG", f"Get address info one.test:80, {kind}")
    assert said[1][0] == "DEBUG"
    assert said[1][1].startswith(f"Getting address info one.test:80, {kind} took ")
    assert said[2] == ("DEBUG", "Get address info two.test:80")
    assert said[3][0] == "INFO"


@pytest.mark.parametrize(
    "error", [StopIteration(1), SystemExit(3), concurrent.futures.CancelledError()]
)
def test_odd_errors(same_outcome, monkeypatch, error):
    """What a look-up raises ends the task as on asyncio."""
    if isinstance(error, StopIteration) and not FUTURE_TAKES_STOP_ITERATION:
        pytest.skip("the task waits without end")

    def getaddrinfo(*args):
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    same_outcome(lambda env: env.run(env.loop.getaddrinfo("name", 80)))


@pytest.mark.fastaio_only
def test_a_thread_that_cannot_be_started(run, resolver, monkeypatch):
    """The first look-up fails then; others wait for a thread that there is."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    async def main():
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await loop.getaddrinfo("one.test", 80)
        first = asyncio.create_task(loop.getaddrinfo("one.test", 80))
        await resolver.asked(1)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            second = asyncio.create_task(loop.getaddrinfo("two.test", 80))
            await turns()
        resolver.may_answer.set()
        await asyncio.gather(first, second)
        assert resolver.calls == ["one.test", "two.test"]

    run(main)

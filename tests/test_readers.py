"""add_reader, add_writer and their removal: descriptors that belong to the user."""

import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import threading
import weakref

import pytest

from .ioutil import Recorder, connected, drain, fill, pair, turns, until
from .support import GUARD


async def watched(loop, fd, callback):
    """Until `callback` says so, called for as long as `fd` is readable."""
    done = loop.create_future()

    def ready():
        if callback() and not done.done():
            done.set_result(None)

    loop.add_reader(fd, ready)
    try:
        async with asyncio.timeout(GUARD):
            await done
    finally:
        loop.remove_reader(fd)


@pytest.fixture
def pipe():
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError as exc:  # the test has closed it
            assert exc.errno == 9


# Readers


@pytest.mark.parametrize("wrapped", [False, True], ids=["number", "object"])
@pytest.mark.parametrize("side", ["reader", "writer"])
def test_a_thread_beside_the_loop_adds(run, side, wrapped):
    """As ipykernel does. asyncio does not promise it."""

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            called = loop.create_future()
            what = a if wrapped else a.fileno()
            add = getattr(loop, f"add_{side}")
            errors = []

            def work():
                add(what, lambda *args: called.done() or called.set_result(args), 1, 2)
                try:
                    add(None, print)
                except (TypeError, ValueError) as exc:
                    errors.append(exc)

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            b.send(b"x")
            assert await asyncio.wait_for(called, GUARD) == (1, 2)
            assert getattr(loop, f"remove_{side}")(a)
            assert len(errors) == 1

    run(main)


def test_a_reader_is_called_with_its_arguments(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            called = loop.create_future()
            result = loop.add_reader(
                a, lambda *args: called.done() or called.set_result(args), 1, 2
            )
            assert result is None
            await turns()
            assert not called.done()
            b.send(b"x")
            async with asyncio.timeout(GUARD):
                assert await called == (1, 2)
            assert loop.remove_reader(a) is True

    run(main)


def test_one_byte_per_callback(run, pipe):
    """Readiness is a level: a callback that leaves bytes behind is called again."""
    read, write = pipe

    async def main():
        loop = asyncio.get_running_loop()
        got = []

        def one():
            got.append(os.read(read, 1))
            return len(got) == 5

        os.write(write, b"01234")
        await watched(loop, read, one)
        assert got == [b"0", b"1", b"2", b"3", b"4"]

    run(main)


def test_a_reader_that_reads_nothing_is_called_again_and_again(run):
    async def main():
        loop = asyncio.get_running_loop()
        calls = 0

        def count():
            nonlocal calls
            calls += 1
            return calls == 20

        with pair() as (a, b):
            b.send(b"x")
            await watched(loop, a, count)
            assert drain(a) == b"x"

    run(main)


def test_bytes_that_arrived_before_the_reader(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"early")
            await turns()
            got = []
            await watched(loop, a, lambda: got.append(a.recv(100)) is None)
            assert got == [b"early"]

    run(main)


def test_end_of_file_makes_readable(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.shutdown(socket.SHUT_WR)
            got = []
            await watched(loop, a, lambda: got.append(a.recv(100)) is None)
            assert got == [b""]

    run(main)


def test_a_hang_up_calls_reader_and_writer(run, pipe):
    read, write = pipe

    async def main():
        loop = asyncio.get_running_loop()
        reader = loop.create_future()
        writer = loop.create_future()
        # The pipe is full, so it is not the room in it that calls the writer.
        try:
            while True:
                os.write(write, b"x" * 4096)
        except BlockingIOError:
            pass
        loop.add_writer(write, lambda: writer.done() or writer.set_result(None))
        await turns(5)
        assert not writer.done()
        os.close(read)
        async with asyncio.timeout(GUARD):
            await writer
        loop.remove_writer(write)

        with pair() as (a, b):
            loop.add_reader(a, lambda: reader.done() or reader.set_result(None))
            b.close()
            async with asyncio.timeout(GUARD):
                await reader
            loop.remove_reader(a)

    run(main)


@pytest.mark.parametrize("as_number", [True, False])
def test_a_number_and_an_object_are_the_same_descriptor(run, as_number):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            called = []
            loop.add_reader(a.fileno() if as_number else a, called.append, 1)
            assert loop.remove_reader(a if as_number else a.fileno()) is True
            b.send(b"x")
            await turns()
            assert called == []

    run(main)


def test_a_second_reader_replaces_the_first(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            calls = []
            loop.add_reader(a, calls.append, "first")
            loop.add_reader(a, calls.append, "second")
            b.send(b"x")
            await until(lambda: calls)
            assert set(calls) == {"second"}
            assert loop.remove_reader(a) is True
            assert loop.remove_reader(a) is False

    run(main)


def test_a_replaced_reader_that_was_about_to_run_does_not(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b), pair() as (c, d):
            calls = []

            def replace_both():
                calls.append("replace")
                for sock in (a, c):
                    loop.add_reader(sock, new, sock)

            def new(sock):
                calls.append("new")
                sock.recv(1)
                loop.remove_reader(sock)

            loop.add_reader(a, replace_both)
            loop.add_reader(c, replace_both)
            b.send(b"x")
            d.send(b"x")
            await until(lambda: calls.count("new") == 2)
            assert calls == ["replace", "new", "new"]

    run(main)


def test_remove_inside_the_callback(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            calls = []

            def once():
                calls.append(loop.remove_reader(a))

            loop.add_reader(a, once)
            b.send(b"x")
            await until(lambda: calls)
            await turns(5)
            assert calls == [True]

    run(main)


def test_a_reader_removed_by_another_callback_of_the_same_turn_is_not_called(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b), pair() as (c, d):
            calls = []

            def first(name, other):
                calls.append(name)
                loop.remove_reader(a)
                loop.remove_reader(c)

            loop.add_reader(a, first, "a", c)
            loop.add_reader(c, first, "c", a)
            b.send(b"x")
            d.send(b"x")
            await until(lambda: calls)
            await turns(5)
            assert len(calls) == 1

    run(main)


def test_removed_and_added_again(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            calls = []
            b.send(b"x")
            for number in range(10):
                loop.add_reader(a, calls.append, number)
                await until(lambda number=number: number in calls)
                assert loop.remove_reader(a) is True
            assert sorted(set(calls)) == list(range(10))

    run(main)


def test_remove_of_what_is_not_watched(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, _):
            assert loop.remove_reader(a) is False
            assert loop.remove_writer(a) is False
            loop.add_reader(a, print)
            assert loop.remove_writer(a) is False
            assert loop.remove_reader(a) is True
            loop.add_writer(a, print)
            assert loop.remove_reader(a) is False
            assert loop.remove_writer(a) is True

    run(main)


def test_a_callback_that_raises_is_reported_and_stays(run):
    async def main():
        loop = asyncio.get_running_loop()
        reported = []
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        with pair() as (a, b):
            count = 0

            def fail():
                nonlocal count
                count += 1
                if count == 3:
                    loop.remove_reader(a)
                raise ZeroDivisionError(count)

            loop.add_reader(a, fail)
            b.send(b"x")
            await until(lambda: len(reported) == 3)
            await turns(5)
        assert [repr(context["exception"]) for context in reported] == [
            "ZeroDivisionError(1)",
            "ZeroDivisionError(2)",
            "ZeroDivisionError(3)",
        ]
        assert all("Exception in callback" in context["message"] for context in reported)

    run(main)


def test_the_context_of_the_caller_is_the_callbacks(run):
    var = contextvars.ContextVar("var", default="none")

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            seen = []
            var.set("caller")
            loop.add_reader(a, lambda: seen.append(var.get()))
            var.set("later")
            b.send(b"x")
            await until(lambda: seen)
            assert seen[0] == "caller"
            loop.remove_reader(a)

    run(main)


def test_a_removed_callback_is_let_go(run):
    class Callback:
        def __call__(self):
            raise AssertionError

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, _):
            references = []
            for add, remove in (
                (loop.add_reader, loop.remove_reader),
                (loop.add_writer, loop.remove_writer),
            ):
                callback = Callback()
                references.append(weakref.ref(callback))
                add(a, callback)
                remove(a)
                del callback
            await turns()
            gc.collect()
            assert [reference() for reference in references] == [None, None]

    run(main)


# Writers


def test_a_writer_is_called_while_there_is_room(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            calls = []
            loop.add_writer(a, calls.append, "room")
            await until(lambda: len(calls) > 3)
            assert loop.remove_writer(a) is True
            count = len(calls)
            await turns(5)
            assert len(calls) == count

    run(main)


def test_a_writer_waits_for_room(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            fill(a)
            calls = []
            loop.add_writer(a, calls.append, "room")
            await turns(10)
            assert calls == []
            drain(b)
            await until(lambda: calls)
            loop.remove_writer(a)

    run(main)


def test_reader_and_writer_of_one_descriptor_are_apart(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            reads = []
            writes = []
            loop.add_reader(a, lambda: reads.append(a.recv(10)))
            loop.add_writer(a, writes.append, 1)
            await until(lambda: writes)
            assert reads == []
            b.send(b"1")
            await until(lambda: reads)
            assert loop.remove_writer(a) is True
            count = len(writes)
            b.send(b"2")
            await until(lambda: len(reads) == 2)
            assert len(writes) == count
            loop.add_writer(a, writes.append, 2)
            assert loop.remove_reader(a) is True
            b.send(b"3")
            await until(lambda: 2 in writes)
            assert reads == [b"1", b"2"]
            assert loop.remove_writer(a) is True
            assert drain(a) == b"3"

    run(main)


# Descriptors that come and go


def test_close_and_reuse_of_the_number(run):
    """The user closes without remove_reader and gets the number again."""

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        number = a.fileno()
        calls = []
        loop.add_reader(number, calls.append, "old")
        a.close()
        b.close()
        c, d = socket.socketpair()
        with c, d:
            assert c.fileno() == number
            # asyncio's selector cannot register it anew before it is told of the end.
            loop.remove_reader(number)
            loop.add_reader(number, calls.append, "new")
            d.send(b"x")
            await until(lambda: calls)
            assert set(calls) == {"new"}
            assert loop.remove_reader(number) is True

    run(main)


@pytest.mark.fastaio_only
def test_close_and_reuse_without_remove(run):
    """The new owner's callback works although the old one never said goodbye."""

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        number = a.fileno()
        calls = []
        loop.add_reader(number, calls.append, "old")
        a.close()
        b.close()
        c, d = socket.socketpair()
        with c, d:
            assert c.fileno() == number
            loop.add_reader(number, calls.append, "new")
            d.send(b"x")
            await until(lambda: calls)
            assert set(calls) == {"new"}
            assert loop.remove_reader(number) is True

    run(main)


def test_close_without_remove_stops_the_callbacks(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            number = a.fileno()
            calls = []
            loop.add_reader(number, calls.append, 1)
            b.send(b"x")
            await until(lambda: calls)
            a.close()
            await turns()
            count = len(calls)
            await turns(5)
            assert len(calls) == count
            loop.remove_reader(number)

    run(main)


def test_a_dup_keeps_its_own_watch(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            copy = a.dup()
            with copy:
                calls = []
                loop.add_reader(a, calls.append, "a")
                loop.add_reader(copy, calls.append, "copy")
                b.send(b"x")
                await until(lambda: len(set(calls)) == 2)
                assert loop.remove_reader(a) is True
                a.close()
                calls.clear()
                await until(lambda: len(calls) > 3)
                assert set(calls) == {"copy"}
                assert loop.remove_reader(copy) is True

    run(main)


@pytest.mark.fastaio_only
def test_a_number_closed_while_a_dup_lives_does_not_spin(run):
    """The kernel keeps reporting the file under a number that is closed and cannot be removed.

    asyncio's selector calls the callback for ever. The loop has to end with a working set of
    watches, and in quiet once the number's watch is removed.
    """

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b), pair() as (c, d):
            number = a.fileno()
            copy = a.dup()
            with copy:
                calls = []
                loop.add_reader(number, calls.append, "stale")
                loop.add_reader(c, lambda: calls.append(c.recv(10)))
                await turns()
                a.close()
                loop.remove_reader(number)
                b.send(b"for the dup")
                await turns(5)
                before = loop.metrics()["polls"]
                await asyncio.sleep(0.05)
                assert loop.metrics()["polls"] - before < 50
                assert "stale" not in calls
                d.send(b"alive")
                await until(lambda: b"alive" in calls)
                loop.remove_reader(c)
                assert copy.recv(100) == b"for the dup"

    run(main)


@pytest.mark.fastaio_only
def test_many_such_numbers_delay_nobody(run):
    """What is reported beside them is told at once, not anew after each of them."""

    async def main():
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            stale = [stack.enter_context(pair()) for _ in range(20)]
            alive = [stack.enter_context(pair()) for _ in range(20)]
            calls = []
            for a, _ in stale:
                number = a.fileno()
                loop.add_reader(number, calls.append, "stale")
                stack.enter_context(a.dup())
                a.close()
                loop.remove_reader(number)
            for a, _ in alive:
                loop.add_reader(a, lambda a=a: calls.append(a.recv(10)))
            before = loop.metrics()["io_events"]
            for _, b in stale + alive:
                b.send(b"x")
            await until(lambda: len(calls) == 20)
            assert set(calls) == {b"x"}
            assert loop.metrics()["io_events"] - before <= 40
            for a, _ in alive:
                loop.remove_reader(a)

    run(main)


def test_many_descriptors(run):
    async def main():
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(200)]
        got = set()

        def ready(index):
            got.add((index, pairs[index][0].recv(100)))
            loop.remove_reader(pairs[index][0])

        try:
            for index, (a, _) in enumerate(pairs):
                loop.add_reader(a, ready, index)
            for index, (_, b) in enumerate(pairs):
                b.send(str(index).encode())
            await until(lambda: len(got) == 200)
            assert got == {(index, str(index).encode()) for index in range(200)}
        finally:
            for a, b in pairs:
                a.close()
                b.close()

    run(main)


# What is refused


@pytest.mark.parametrize("name", ["add_reader", "add_writer"])
def test_a_regular_file(run, name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")

    async def main():
        loop = asyncio.get_running_loop()
        with open(path, "rb") as file:
            with pytest.raises(PermissionError) as caught:
                getattr(loop, name)(file, print)
            assert caught.value.errno == 1
            # Refused is refused: nothing is left behind.
            assert loop.remove_reader(file) is False
            assert loop.remove_writer(file) is False

    run(main)


@pytest.mark.parametrize("name", ["add_reader", "add_writer"])
def test_descriptor_minus_one(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match=r"^Invalid file descriptor: -1$"):
            getattr(loop, name)(-1, print)
        closed = socket.socket()
        closed.close()
        with pytest.raises(ValueError, match=r"^Invalid file descriptor: -1$"):
            getattr(loop, name)(closed.fileno(), print)

    run(main)


@pytest.mark.parametrize("name", ["add_reader", "add_writer"])
def test_a_number_that_is_not_open(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        os.close(read)
        os.close(write)
        with pytest.raises(OSError) as caught:
            getattr(loop, name)(write, print)
        assert caught.value.errno == 9

    run(main)


@pytest.mark.parametrize("name", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
@pytest.mark.parametrize("bad", ["text", None, 1.5, object()], ids=["str", "None", "float", "obj"])
def test_not_a_descriptor(run, name, bad):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="^Invalid file object: "):
            getattr(loop, name)(bad, *([print] if name.startswith("add") else []))

    run(main)


@pytest.mark.parametrize("name", ["add_reader", "add_writer"])
def test_add_on_a_closed_loop(loop, name):
    loop.close()
    with pair() as (a, _), pytest.raises(RuntimeError, match="^Event loop is closed$"):
        getattr(loop, name)(a, print)


@pytest.mark.parametrize("name", ["remove_reader", "remove_writer"])
def test_remove_on_a_closed_loop(loop, name):
    with pair() as (a, _):
        loop.add_reader(a, print)
        loop.add_writer(a, print)
        loop.close()
        assert getattr(loop, name)(a) is False


@pytest.mark.parametrize("name", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
def test_a_transports_descriptor_is_refused(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, peer):
            fd = transport.get_extra_info("socket").fileno()
            args = [print] if name.startswith("add") else []
            with pytest.raises(RuntimeError, match=rf"^File descriptor {fd} is used by transport "):
                getattr(loop, name)(fd, *args)
            with pytest.raises(RuntimeError, match=r"^File descriptor .* is used by transport "):
                getattr(loop, name)(transport.get_extra_info("socket"), *args)
            # The transport has not noticed.
            await peer.send(b"still here")
            assert await protocol.wait_bytes(10) == b"still here"

    run(main)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_descriptor_of_a_transport_that_is_ending_is_free(run, end):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, _):
            sock = transport.get_extra_info("socket")
            getattr(transport, end)()
            assert loop.remove_reader(sock) is False
            assert loop.remove_writer(sock) is False
            loop.add_reader(sock, print)
            loop.add_writer(sock, print)
            assert loop.remove_reader(sock) is True
            assert loop.remove_writer(sock) is True
            assert await protocol.lost is None
            assert sock.fileno() == -1

    run(main)


def test_the_descriptor_of_a_transport_that_has_ended_is_free(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, _):
            fd = transport.get_extra_info("socket").fileno()
            transport.close()
            assert await protocol.lost is None
            assert loop.remove_reader(fd) is False
            a, b = socket.socketpair()
            with a, b:
                assert fd in (a.fileno(), b.fileno())
                mine, other = (a, b) if a.fileno() == fd else (b, a)
                calls = []
                loop.add_reader(fd, lambda: calls.append(mine.recv(10)))
                other.send(b"new")
                await until(lambda: calls)
                assert calls == [b"new"]
                loop.remove_reader(fd)

    run(main)


# Runs and loops


def test_a_watch_outlives_a_run(loop):
    with pair() as (a, b):
        calls = []
        loop.add_reader(a, lambda: calls.append(a.recv(10)))
        loop.run_until_complete(asyncio.sleep(0))
        b.send(b"between")

        async def wait():
            await until(lambda: calls)

        loop.run_until_complete(wait())
        assert calls == [b"between"]
        assert loop.remove_reader(a) is True


def test_a_readable_descriptor_wakes_an_idle_loop(loop):
    """The loop blocks without a timer; only the descriptor can end it."""
    with pair() as (a, b):
        loop.add_reader(a, loop.stop)
        timer = threading.Timer(0.05, b.send, [b"x"])
        timer.start()
        loop.run_forever()
        timer.join()
        assert a.recv(10) == b"x"
        loop.remove_reader(a)


def test_three_turns_deliver_what_has_been_sent(run):
    """A loop with work at hand still looks at its descriptors."""

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            for number in range(20):
                calls = []
                loop.add_reader(a, lambda calls=calls: calls.append(a.recv(10)))
                b.send(b"%d" % number)
                await turns(3)
                assert calls == [b"%d" % number]
                loop.remove_reader(a)

    run(main)


def test_a_busy_loop_still_reads(run):
    """Callbacks without end do not starve descriptors."""

    async def main():
        loop = asyncio.get_running_loop()
        stop = False

        def spin():
            if not stop:
                loop.call_soon(spin)

        with pair() as (a, b):
            got = loop.create_future()
            loop.add_reader(a, lambda: got.done() or got.set_result(a.recv(10)))
            spin()
            await asyncio.to_thread(b.send, b"x")
            async with asyncio.timeout(GUARD):
                assert await got == b"x"
            stop = True
            loop.remove_reader(a)

    run(main)


def test_two_loops_watch_one_descriptor(loop_factory):
    first, second = loop_factory(), loop_factory()
    try:
        with pair() as (a, b):
            calls = []
            for name, loop in (("first", first), ("second", second)):
                loop.add_reader(a, lambda name=name, loop=loop: (calls.append(name), loop.stop()))
            b.send(b"x")
            first.run_forever()
            second.run_forever()
            assert set(calls) == {"first", "second"}
            first.remove_reader(a)
            second.remove_reader(a)
    finally:
        first.close()
        second.close()


def test_a_transport_protocol_may_watch_other_descriptors(run):
    """Readers and transports live side by side."""

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            async with connected(Recorder) as (transport, protocol, peer):
                got = []
                loop.add_reader(a, lambda: got.append(a.recv(100)))
                for number in range(50):
                    b.send(b"%03d" % number)
                    await peer.send(b"%03d" % number)
                    await protocol.wait_bytes(3 * (number + 1))
                    await until(lambda number=number: len(b"".join(got)) == 3 * (number + 1))
                assert bytes(protocol.data) == b"".join(got)
                loop.remove_reader(a)

    run(main)

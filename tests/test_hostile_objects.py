"""Objects whose `__del__`, `__eq__` and the like meddle with the future, task or handle at work.

Each scenario runs in a forked child, for a mistake here is a crash.
"""

import asyncio
import contextlib
import contextvars
import functools
import gc
import itertools
import socket
import sys
import warnings

import pytest

from .hardship import quiet_loop, survives, turn
from .support import PYTHON_312

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


class Last:
    """Calls `action()` when the last reference to it goes; can stand in for a callback."""

    def __init__(self, action):
        self.action = action

    def __del__(self):
        self.action()

    def __call__(self, *args):
        pass


class Equal(Last):
    """Equals everything, and meddles when it is compared."""

    def __del__(self):
        pass

    def __eq__(self, other):
        action, self.action = self.action, lambda: None
        action()
        return True

    __hash__ = None


class Same:
    """Equals the very object that it was made with, without holding it."""

    def __init__(self, wanted):
        self.wanted = id(wanted)

    def __eq__(self, other):
        return id(other) == self.wanted

    __hash__ = None


def spoil():
    """Fill memory that has just been freed with something else."""
    return [bytearray(size) for size in range(16, 600, 8) for _ in range(5)]


def nothing(*args):
    pass


# ---- handles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cancel", "assign", "close"])
def test_arguments_that_replace_the_arguments(way):
    others = [(), (1,), (1, 2, 3, 4), tuple(range(9)), [object()] * 3]

    def action():
        loop = quiet_loop()
        for count, new in itertools.product([1, 3, 4, 6], others):
            handles = [None]

            def meddle(new=new, handles=handles):
                handles[0]._args = new
                handles[0]._args  # noqa: B018 - looks at them
                handles[0].cancel()

            handles[0] = handle = loop.call_soon(nothing, *(Last(meddle) for _ in range(count)))
            if way == "cancel":
                handle.cancel()
            elif way == "assign":
                handle._args = (1, 2)
            else:
                loop.close()
                loop = quiet_loop()
            spoil()
            repr(handle)
        turn(loop)
        loop.close()

    survives(action)


def test_a_callback_that_replaces_itself():
    def action():
        loop = quiet_loop()

        def meddle():
            handle._callback = nothing
            handle._args = (1, 2, 3)
            handle.cancel()

        handle = loop.call_soon(Last(meddle), 1, 2)
        handle.cancel()
        handle = loop.call_soon(Last(meddle), 1, 2)
        handle._callback = print
        turn(loop)
        loop.close()

    survives(action)


# ---- callbacks of futures ------------------------------------------------------------------------


def again(fut):
    fut.add_done_callback(nothing)
    fut.add_done_callback(nothing)


def initialise(fut):
    with contextlib.suppress(RuntimeError):  # from 3.15 on that is refused
        fut.__init__(loop=fut.get_loop())


MEDDLING = {
    "add": again,
    "remove": lambda fut: fut.remove_done_callback(nothing),
    "remove all": lambda fut: fut.remove_done_callback(Equal(nothing)),
    "finish": lambda fut: fut.done() or fut.set_result(1),
    "cancel": lambda fut: fut.cancel(),
    "init": initialise,
    "init and add": lambda fut: (initialise(fut), again(fut)),
    "look": lambda fut: (fut._callbacks, repr(fut)),
}


def use_up(fut):
    """Everything that goes by the callbacks."""
    fut._callbacks  # noqa: B018
    again(fut)
    fut.remove_done_callback(nothing)
    again(fut)
    if not fut.done():
        fut.set_result(None)


@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_removed_callbacks_that_change_the_callbacks(what):
    def action():
        loop = quiet_loop()
        for first, kind, before in itertools.product([True, False], [Last, Equal], [0, 1, 2, 5]):
            fut = loop.create_future()
            meddling = kind(lambda fut=fut: what(fut))
            context = contextvars.Context()
            if first:
                fut.add_done_callback(meddling, context=context)
            for _ in range(before):
                fut.add_done_callback(nothing)
            if not first:
                fut.add_done_callback(meddling, context=context)
            wanted = Same(meddling) if kind is Last else nothing
            del meddling, context
            fut.remove_done_callback(wanted)
            spoil()
            use_up(fut)
            turn(loop, 2)
        loop.close()

    survives(action)


def fill(fut, field, last):
    """Give the future one thing to drop."""
    if field == "result":
        fut.set_result(last)
    elif field == "exception":
        fut.set_exception(ValueError(last))
        fut.exception()
    elif field == "message":
        fut.cancel(last)
    elif field == "callback":
        fut.add_done_callback(last)
        again(fut)
    else:
        var = contextvars.ContextVar("var")
        context = contextvars.Context()
        context.run(var.set, last)
        fut.add_done_callback(nothing, context=context)


@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_what_a_future_drops_when_it_is_initialised_again(what):
    def action():
        loop = quiet_loop()
        for field in ("result", "exception", "message", "callback", "context"):
            fut = loop.create_future()
            fill(fut, field, Last(lambda fut=fut: what(fut)))
            initialise(fut)
            spoil()
            use_up(fut)
            turn(loop, 2)
        loop.close()

    survives(action)


def test_a_cancel_message_that_initialises_the_future_again():
    def action():
        loop = quiet_loop()
        fut = loop.create_future()
        fut._cancel_message = Last(lambda: (initialise(fut), again(fut)))
        again(fut)
        fut.cancel()
        use_up(fut)
        turn(loop, 2)
        loop.close()

    survives(action)


# ---- long chains ---------------------------------------------------------------------------------

LENGTH = 200_000


def finished(loop, value):
    fut = loop.create_future()
    fut.set_result(value)
    return fut


def failed(loop, value):
    fut = loop.create_future()
    fut.set_exception(ValueError(value))
    fut.exception()
    return fut


def cancelled(loop, value):
    """Several futures: one level takes little of the stack."""
    for _ in range(5):
        fut = loop.create_future()
        fut.cancel(msg=value)
        value = fut
    return value


def with_attribute(loop, value):
    fut = loop.create_future()
    fut.value = value
    return fut


def with_callback(loop, value):
    fut = loop.create_future()
    fut.add_done_callback((value or loop).__eq__)
    return fut


def iterator(loop, value):
    return finished(loop, value).__await__()


def handle(loop, value):
    timer = loop.call_later(1000, nothing, value)
    timer._args = (value,)
    return timer


def operation(loop, value):
    return loop.sock_recv(None, value)


def subclassed(loop, value):
    fut = subclass()(loop=loop)
    fut.set_result(value)
    return fut


@functools.cache
def subclass():
    import fastaio

    return type("Future", (fastaio.Future,), {})


@pytest.mark.parametrize(
    "link",
    [
        finished,
        failed,
        cancelled,
        with_attribute,
        with_callback,
        iterator,
        handle,
        operation,
        subclassed,
    ],
)
def test_a_long_chain_is_freed(link):
    def action():
        warnings.simplefilter("ignore")
        gc.disable()
        loop = quiet_loop()
        thing = None
        for _ in range(LENGTH):
            thing = link(loop, thing)
        thing = None
        loop.close()

    survives(action)


@pytest.mark.parametrize("by", ["result", "context"])
def test_a_long_chain_of_tasks_is_freed(by):
    def action():
        gc.disable()
        loop = quiet_loop()
        var = contextvars.ContextVar("var")

        async def give(value):
            return value

        async def main():
            task = None
            for _ in range(LENGTH):
                context = contextvars.Context()
                if by == "context":
                    context.run(var.set, task)
                task = loop.create_task(give(task if by == "result" else None), context=context)
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            return task

        task = loop.run_until_complete(main())
        del task
        loop.close()

    survives(action)


@pytest.mark.skipif(not PYTHON_312, reason="wait_for() makes a task of each coroutine")
def test_a_long_chain_of_coroutines_that_await_each_other():
    def action():
        import fastaio

        warnings.simplefilter("ignore")
        loop = quiet_loop()

        async def main():
            coro = fastaio.sleep(0)
            for _ in range(LENGTH):
                coro = fastaio.wait_for(coro, None)
            with pytest.raises(RecursionError):
                await coro

        loop.run_until_complete(main())
        loop.close()

    survives(action)


def test_unretrieved_exceptions_of_a_long_chain_are_all_reported():
    def action():
        gc.disable()
        loop = quiet_loop()
        fut = None
        for _ in range(2000):
            another = loop.create_future()
            another.set_exception(ValueError(fut))
            fut = another
        kept = []
        loop.set_exception_handler(lambda loop, context: kept.append(str(context["message"])))
        fut = another = None
        loop.close()
        return len(kept), set(kept)

    assert survives(action) == "(2000, {'Future exception was never retrieved'})"


# Up to 3.13 the interpreter puts a deallocation off once so many are nested.
DEPTHS = range(9900, 10020) if sys.version_info >= (3, 13) else range(30, 260)


class Late:
    """Calls what it has been given when it goes."""

    __slots__ = ("action",)

    def __del__(self):
        if hasattr(self, "action"):
            self.action()


@pytest.mark.parametrize("way", ["send", "turn"])
def test_a_transport_whose_deallocation_is_put_off(way):
    """Its output is still listed, its descriptor watched, and code of others runs meanwhile."""

    def action():
        warnings.simplefilter("ignore")
        gc.disable()
        loop = quiet_loop()

        async def connect():
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            return transport, theirs

        async def main():
            other, others_peer = await connect()

            def meddle():
                if way == "send":
                    other.write(b"y")
                else:
                    loop.call_soon(nothing)  # or else the turn waits
                    loop._run_once()

            for depth in DEPTHS:
                transport, peer = await connect()
                transport.pause_reading()  # now nothing but us holds it
                await asyncio.sleep(0)
                peer.send(b"in")
                other.write(b"x")
                transport.write(b"out")
                chain = [transport]
                del transport
                for level in range(depth):
                    late = Late()
                    if level < 40 or level > depth - 40:
                        late.action = meddle
                    chain = [late, chain]
                del late
                chain = None
                assert peer.recv(10) == b"out"
                peer.close()
                await asyncio.sleep(0)
                others_peer.recv(10000)
            other.abort()
            others_peer.close()

        loop.run_until_complete(main())
        loop.close()

    survives(action)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="a server does not see the transport")
@pytest.mark.parametrize("fails_in", ["server", "protocol"])
def test_a_transport_that_has_written_before_its_making_fails(fails_in):
    class Server:
        def _attach(self, transport):
            transports.append(transport)
            transport.write(b"early")
            if fails_in == "server":
                raise ZeroDivisionError

        def _detach(self, transport):
            pass

    class Protocol(asyncio.Protocol):
        @property
        def connection_made(self):
            raise ZeroDivisionError

    transports = []

    def action():
        loop = quiet_loop()
        protocol = asyncio.Protocol() if fails_in == "server" else Protocol()

        async def main():
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            mine, peer = socket.socketpair()
            mine.setblocking(False)
            other, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
            with contextlib.suppress(ZeroDivisionError):
                loop._make_stream_transport(ours, protocol, None, None, Server())
            other.write(b"x")
            for transport in transports:
                transport.write(b"late")
            await asyncio.sleep(0)
            other.abort()
            for sock in (ours, theirs, peer):
                sock.close()

        loop.run_until_complete(main())
        loop.close()

    survives(action)

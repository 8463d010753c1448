"""Each native type, made and dropped again and again in each of its states, leaves nothing.

Three measures: allocated blocks and traced bytes for what comes from Python's allocators, the
process's memory for what does not, and the open descriptors.
"""

import asyncio
import contextlib
import contextvars
import gc
import os
import signal
import socket
import sys
import tracemalloc
import weakref

import pytest

from .support import PYTHON_312, Env, collect

ROUNDS = 1500


async def nothing():
    return None


async def failing():
    raise ValueError("failing")


async def waiting(fut):
    return await fut


# AddressSanitizer keeps freed memory for a while, to see whether it is still used.
UNDER_ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")


@pytest.fixture
def env(kind):
    env = Env(kind)
    asyncio.set_event_loop(env.loop)
    yield env
    env.loop.close()
    asyncio.set_event_loop(None)


def measures():
    collect()
    traced, _ = tracemalloc.get_traced_memory()
    return sys.getallocatedblocks(), traced, len(gc.get_objects())


def assert_no_growth(action, rounds=ROUNDS):
    """A leak is there each time; a table that grows, or a cache that fills, only once."""
    tracemalloc.start()
    try:
        for _ in range(rounds // 5):
            action()
        for _ in range(8):
            before = measures()
            for _ in range(rounds):
                action()
            blocks, traced, objects = (
                after - start for after, start in zip(measures(), before, strict=True)
            )
            # One block in each round would be a leak; bytes are what large blocks are found by.
            # Both count what the interpreter keeps in its free lists as in use.
            few = blocks < 100 + rounds / 4 and objects < 16 + rounds / 4
            if few and traced < 16_384 + rounds * 8:
                return
    finally:
        tracemalloc.stop()
    raise AssertionError(f"{blocks} blocks, {traced} bytes, {objects} objects in {rounds} rounds")


# Futures


def awaited_halfway(env):
    fut = env.future()
    iterator = fut.__await__()
    next(iterator)
    fut.set_result(None)
    for _ in iterator:
        raise AssertionError("a settled future waits no more")


def initialised_twice(env):
    with contextlib.suppress(RuntimeError):  # refused since 3.15
        env.future().__init__(loop=env.loop)


def report_of_a_future(env):
    env.future().set_exception(ValueError())
    env.reports.clear()


FUTURES = {
    "pending": lambda env: env.future(),
    "result": lambda env: env.future().set_result([1]),
    "cancelled": lambda env: env.future().cancel("message"),
    "never retrieved": report_of_a_future,
    "uninitialised": lambda env: env.Future.__new__(env.Future),
    "initialised twice": initialised_twice,
    "awaited halfway": awaited_halfway,
    "create_future": lambda env: env.loop.create_future(),
    "repr": lambda env: repr(env.future()),
}


@pytest.mark.parametrize("action", FUTURES.values(), ids=FUTURES)
def test_futures(env, action):
    assert_no_growth(lambda: action(env))


def test_futures_with_exceptions(env):
    def action():
        fut = env.future()
        fut.set_exception(ValueError("kept"))
        fut.exception()
        try:
            fut.result()
        except ValueError:
            del fut

    assert_no_growth(action)


def test_futures_with_callbacks(env):
    context = contextvars.copy_context()

    def action():
        for count in range(4):
            pending, removed, done = env.future(), env.future(), env.future()
            for fut in (pending, removed, done):
                for _ in range(count):
                    fut.add_done_callback(id, context=context)
            removed.remove_done_callback(id)
            done.set_result(None)
            str(pending._callbacks)
        env.turn()

    assert_no_growth(action, ROUNDS // 3)


def test_futures_in_cycles(env, future_type):
    class Own(future_type):
        """Has a __dict__, so that a future can hold itself."""

    def action():
        for fut in (Own(loop=env.loop), Own(loop=env.loop)):
            fut.itself = [fut]
            fut.add_done_callback(lambda other, fut=fut: None)
        fut.set_result(fut)
        other = env.future()
        other.set_result([other])
        env.turn()

    assert_no_growth(action)


def test_futures_in_debug_mode(env):
    env.loop.set_debug(True)
    assert_no_growth(lambda: env.future().set_result(None), ROUNDS // 3)


def test_weak_references_to_futures(env):
    def action():
        fut = env.future()
        refs.append(weakref.ref(fut))
        fut.set_result(refs[-1])

    refs = []
    for _ in range(100):
        action()
    collect()
    assert not any(ref() for ref in refs)


# Tasks


def cancelled_task(env):
    task = env.task(waiting(env.future()))
    env.turn()
    task.cancel("message")
    env.turn(2)
    assert task.cancelled()


def cancelled_early(env):
    task = env.task(nothing())
    task.cancel()
    env.turn()


def failed_task(env):
    task = env.task(failing())
    env.turn()
    assert isinstance(task.exception(), ValueError)


def never_retrieved(env):
    env.task(failing())
    env.turn()
    env.reports.clear()


def destroyed_pending(env):
    task = env.task(waiting(env.future()))
    env.turn()
    task._log_destroy_pending = False


def task_in_a_cycle(env):
    async def body():
        me = asyncio.current_task()
        box = [me]
        await asyncio.sleep(0)
        return box

    task = env.task(body())
    task.add_done_callback(lambda other, task=task: None)
    env.turn(3)


def awaited_by_others(env):
    fut = env.future()
    inner = env.task(waiting(fut))
    outer = [env.task(waiting(inner)) for _ in range(3)]
    env.turn(2)
    repr(inner)
    fut.set_result(None)
    env.turn(4)
    assert all(task.done() for task in outer)


def foreign_future(env):
    fut = asyncio.futures._PyFuture(loop=env.loop)
    task = env.task(waiting(fut))
    env.turn()
    fut.set_result("value")
    env.turn(2)
    assert task.result() == "value"


class BadYield:
    def __await__(self):
        yield 5


def bad_yield(env):
    task = env.task(waiting(BadYield()))
    env.turn(2)
    assert isinstance(task.exception(), RuntimeError)


def stack_and_repr(env):
    task = env.task(waiting(env.future()), name="named", context=contextvars.copy_context())
    env.turn()
    task.get_stack()
    task.get_coro()
    task.set_name(repr(task))
    asyncio.all_tasks(env.loop)
    task.cancel()
    env.turn(2)


TASKS = {
    "done": lambda env: env.run(env.task(nothing())),
    "create_task": lambda env: env.run(env.loop.create_task(nothing())),
    "failed": failed_task,
    "never retrieved": never_retrieved,
    "cancelled": cancelled_task,
    "cancelled early": cancelled_early,
    "destroyed pending": destroyed_pending,
    "in a cycle": task_in_a_cycle,
    "awaited by others": awaited_by_others,
    "foreign future": foreign_future,
    "bad yield": bad_yield,
    "stack and repr": stack_and_repr,
    "uninitialised": lambda env: env.Task.__new__(env.Task),
}


@pytest.mark.parametrize("action", TASKS.values(), ids=TASKS)
def test_tasks(env, action):
    assert_no_growth(lambda: action(env), ROUNDS // 2)


@pytest.mark.skipif(not PYTHON_312, reason="eager start is new in 3.12")
def test_eager_tasks(env):
    async def main():
        for _ in range(2):
            env.task(nothing(), eager_start=True)
            await env.task(asyncio.sleep(0), eager_start=True)

    assert_no_growth(lambda: env.run(main()), ROUNDS // 3)


def test_tasks_are_forgotten(env):
    for action in TASKS.values():
        action(env)
    collect()
    assert asyncio.all_tasks(env.loop) == set()
    # Other tests may have left tasks of theirs in exceptions.
    ours = (thing for thing in gc.get_objects() if type(thing) is env.Task)
    assert [task for task in ours if task.get_loop() is env.loop] == []


# Handles and timers


def handle_in_a_cycle(env):
    box = []
    box.append(env.loop.call_soon(box.append, box))
    box.append(env.loop.call_later(1000, box.append, box))
    box[1].cancel()
    env.turn()


def timers_that_fire(env):
    for count in range(3):
        env.loop.call_later(0, max, 1, 2, *range(count))
    env.turn(2)


def timer_repr(env):
    timer = env.loop.call_later(1000, max, 1)
    repr(timer)
    timer.cancel()
    env.turn()


def failing_callback(env):
    env.loop.call_soon(divmod, 1, 0)
    env.turn()
    env.reports.clear()


HANDLES = {
    "call_soon": lambda env: (env.loop.call_soon(max, 1, 2), env.turn()),
    "many arguments": lambda env: (env.loop.call_soon(max, *range(20)), env.turn()),
    "cancelled": lambda env: (env.loop.call_soon(max, 1, 2).cancel(), env.turn()),
    "threadsafe": lambda env: (env.loop.call_soon_threadsafe(max, 1, 2), env.turn()),
    "timer fires": timers_that_fire,
    "timer cancelled": lambda env: (env.loop.call_later(1000, max, 1, 2).cancel(), env.turn()),
    "in a cycle": handle_in_a_cycle,
    "failing": failing_callback,
    "repr": timer_repr,
    "refused": lambda env: pytest.raises(TypeError, env.loop.call_soon),
}


@pytest.mark.parametrize("action", HANDLES.values(), ids=HANDLES)
def test_handles(env, action):
    assert_no_growth(lambda: action(env))


class Owner:
    """Has the handle of its own method."""

    def method(self):
        pass


def owners(loop):
    """Weak references to objects in cycles with queued handles, one for each way to queue."""
    things = [Owner() for _ in range(6)]
    things[0].handle = loop.call_soon(things[0].method)
    things[1].handle = loop.call_later(1000, things[1].method)
    things[2].handle = loop.call_at(loop.time() - 1, things[2].method)
    things[3].handle = loop.call_soon_threadsafe(things[3].method)
    loop.call_later(1000, things[4].method)
    loop.call_soon(things[5].method)
    return [weakref.ref(thing) for thing in things]


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
@pytest.mark.parametrize("turns", [0, 1], ids=["as made", "while it ran"])
def test_a_dropped_loop_takes_what_it_has_queued_along(loop_factory, turns):
    """Even one that nobody has closed: the collector does not see what a running loop queues."""

    def use(loop):
        def queue():
            refs.extend(owners(loop))
            loop.stop()

        if turns:
            loop.call_soon(queue)
            loop.run_forever()
        else:
            queue()
        assert [ref() is None for ref in refs] == [False] * 6
        collect()
        assert [ref() is None for ref in refs] == [False] * 6
        loop.itself = loop
        refs.append(weakref.ref(loop))

    refs = []
    use(loop_factory())
    collect()
    assert [ref() for ref in refs] == [None] * 7


async def uses_a_signal():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)


async def uses_a_connection():
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    writer.write(b"x")
    writer.close()
    await writer.wait_closed()
    theirs.close()


async def uses_a_thread():
    await asyncio.to_thread(int)


async def uses_a_process():
    await (await asyncio.create_subprocess_exec("true")).wait()


@pytest.mark.parametrize(
    "use", [nothing, uses_a_signal, uses_a_connection, uses_a_thread, uses_a_process]
)
def test_a_closed_loop_is_in_no_cycle(loop_factory, use):
    """It goes with its last reference, as asyncio's does: tornado's tests look for such cycles."""
    collect()
    gc.disable()
    try:
        loop = loop_factory()
        loop.run_until_complete(use())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        ref = weakref.ref(loop)
        del loop
        assert ref() is None
    finally:
        gc.enable()


def test_handles_that_the_loop_has_let_go_of(env):
    """In cycles that are garbage while the loop runs on."""

    def cancelled_when_due(loop):
        thing.handle = loop.call_later(0, thing.method)
        thing.handle.cancel()

    def kept_args(loop):
        thing.handle = loop.call_later(1000, print, *range(9))
        thing.handle.cancel()
        thing.handle._args = (thing,)

    def crowd(loop):
        thing.handles = [loop.call_later(1000, thing.method) for _ in range(200)]
        for handle in thing.handles:
            handle.cancel()
            handle._args = (thing,)

    def found_weakly(loop):
        def find(owner):
            owner.handle = owner.ref()
            found.append(owner.handle is not None)

        thing.ref = weakref.ref(loop.call_soon_threadsafe(find, thing))

    found = []

    def kept(make):
        return lambda loop: setattr(thing, "handle", make(loop))

    ways = {
        "called": kept(lambda loop: loop.call_soon(thing.method)),
        "due": kept(lambda loop: loop.call_later(0, thing.method)),
        "threadsafe": kept(lambda loop: loop.call_soon_threadsafe(thing.method)),
        "cancelled when due": cancelled_when_due,
        "cancelled": kept_args,
        "many cancelled": crowd,
        "found weakly": found_weakly,
    }

    async def main():
        nonlocal thing
        for name, way in ways.items():
            thing = Owner()
            way(asyncio.get_running_loop())
            ref, thing = weakref.ref(thing), None
            await asyncio.sleep(0.001)
            collect()
            assert ref() is None, name

    thing = None
    env.loop.run_until_complete(main())
    assert found == [True]


@pytest.mark.fastaio_only
def test_a_slow_callback_whose_repr_fails(loop_factory, monkeypatch):
    """The report of the failure has the callback's handle, and may be kept."""

    class Slow:
        def __call__(self, future):
            loop.stop()

        def __repr__(self):
            raise ValueError

    loop = loop_factory()
    loop.warn_slow_callbacks = True
    loop.slow_callback_duration = 0
    callback, errors = Slow(), []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: errors.append(report.exc_value))
    future = loop.create_future()
    future.add_done_callback(callback)
    future.set_result(None)
    loop.run_forever()
    loop.close()
    callback.error = errors.pop()
    assert type(callback.error) is ValueError
    ref = weakref.ref(callback)
    del callback, future
    collect()
    assert ref() is None


# What a program does


async def a_bit_of_everything():
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(asyncio.sleep(0, number))
    await asyncio.gather(nothing(), asyncio.sleep(0.00001))
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(1)
    except TimeoutError:
        queue = asyncio.Queue()
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(1)
        await getter
    lock = asyncio.Lock()
    async with lock:
        waiter = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        waiter.cancel()
    await asyncio.wait([waiter])


def test_a_bit_of_everything(env):
    assert_no_growth(lambda: env.run(a_bit_of_everything()), ROUNDS // 5)


def test_watching_descriptors(env):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        async def main():
            ready = env.loop.create_future()
            env.loop.add_reader(ours, ready.set_result, [1])
            env.loop.add_reader(ours, ready.set_result, [2])
            env.loop.add_writer(ours, int)
            theirs.send(b"x")
            await ready
            env.loop.remove_writer(ours)
            env.loop.remove_reader(ours)
            assert await env.loop.sock_recv(ours, 1) == b"x"
            reading = asyncio.ensure_future(env.loop.sock_recv(ours, 1))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])

        assert_no_growth(lambda: env.run(main()), ROUNDS // 5)


# Transports of datagrams and pipes


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.sender = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, addr):
        if not self.sender.done():
            self.sender.set_result(addr)


async def datagrams():
    loop = asyncio.get_running_loop()
    receiving, protocol = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    address = receiving.get_extra_info("sockname")
    sending, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    sending.sendto(b"x")
    sending.sendto(bytes(100_000))  # too long
    receiving.sendto(b"x", await protocol.sender)
    for transport in (sending, receiving):
        transport.itself = transport
        transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def pipes():
    loop = asyncio.get_running_loop()
    out, into = os.pipe()
    reader = asyncio.StreamReader()
    source, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb", 0)
    )
    target, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(into, "wb", 0))
    target.itself = target
    for _ in range(10):
        target.write(b"0123456789")
    target.write(bytearray(200_000))
    target.write(b"end")
    assert len(await reader.readexactly(200_103)) == 200_103
    target.write(bytes(200_000))
    target.abort()
    source.close()
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("work", [datagrams, pipes])
def test_transports(env, work):
    env.run(work())
    open_before = descriptors()
    assert_no_growth(lambda: env.run(work()), ROUNDS // 10)
    assert descriptors() == open_before


# Loops


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def little_work():
    asyncio.get_running_loop().call_soon_threadsafe(int)
    await asyncio.sleep(0.00001)
    await asyncio.gather(nothing(), nothing())


def unused(new_loop):
    new_loop().close()


def used(new_loop):
    loop = new_loop()
    loop.run_until_complete(little_work())
    loop.close()


def closed_with_work_left(new_loop):
    loop = new_loop()
    fut = loop.create_future()
    task = loop.create_task(waiting(fut))
    task._log_destroy_pending = False
    loop.call_later(1000, print, loop)
    reader, writer = socket.socketpair()
    loop.add_reader(reader, print, loop)
    loop.itself = loop
    loop.stop()
    loop.run_forever()
    loop.call_soon(print, loop)
    loop.call_soon_threadsafe(print, loop)
    loop.close()
    reader.close()
    writer.close()
    task.get_coro().close()


def in_debug_mode(new_loop):
    loop = new_loop()
    loop.set_debug(True)
    loop.run_until_complete(little_work())
    loop.close()


LOOPS = [unused, used, closed_with_work_left, in_debug_mode]


@pytest.mark.parametrize("action", LOOPS, ids=lambda action: action.__name__)
def test_loops(loop_factory, action):
    refs = []

    def new_loop():
        loop = loop_factory()
        refs.append(weakref.ref(loop))
        return loop

    for _ in range(20):
        action(new_loop)
    collect()
    assert not any(ref() for ref in refs)
    refs.clear()
    open_before = descriptors()
    memory_before = resident_bytes()
    assert_no_growth(lambda: action(loop_factory), 400)
    assert descriptors() == open_before
    # A buffer forgotten by each loop would be much more than this.
    if not UNDER_ASAN:
        assert resident_bytes() - memory_before < 8_000_000


def test_loops_that_run_servers(loop_factory):
    def action():
        async def main():
            async def echo(reader, writer):
                writer.write(await reader.read(100))
                writer.close()
                await writer.wait_closed()

            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            async with server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"data")
                assert await reader.read() == b"data"
                writer.close()
                await writer.wait_closed()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    for _ in range(3):
        action()
    collect()
    open_before = descriptors()
    assert_no_growth(action, 60)
    assert descriptors() == open_before

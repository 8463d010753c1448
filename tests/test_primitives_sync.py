"""The waits of fastaio's locks and queues against asyncio's where they are driven by hand, where a
wake-up comes together with an exception, and where subclasses and other locks take part."""

import asyncio
import gc
import inspect

import pytest

from . import primutil
from .ioutil import turns
from .primutil import settle, spawn
from .support import PYTHON_312


class Case:
    """A kind of wait: what it waits on, the wait itself, and what ends it."""

    def __init__(self, make, wait, wake):
        self.make = make
        self.wait = wait
        self.wake = wake


async def held_lock(aio):
    lock = aio.Lock()
    await lock.acquire()
    return lock


async def held_condition(aio):
    condition = aio.Condition()
    await condition.acquire()
    return condition


async def full_queue(aio):
    queue = aio.Queue(1)
    queue.put_nowait("first")
    return queue


async def unfinished_queue(aio):
    queue = aio.Queue()
    queue.put_nowait("first")
    return queue


def simple(name, *args):
    async def make(aio):
        return getattr(aio, name)(*args)

    return make


def notify(condition):
    if condition.locked():
        condition.notify()


CASES = {
    "Lock": Case(held_lock, lambda it: it.acquire(), lambda it: it.release()),
    "Event": Case(simple("Event"), lambda it: it.wait(), lambda it: it.set()),
    "Semaphore": Case(simple("Semaphore", 0), lambda it: it.acquire(), lambda it: it.release()),
    "BoundedSemaphore": Case(
        simple("BoundedSemaphore", 0), lambda it: it.acquire(), lambda it: it._wake_up_next()
    ),
    "Condition": Case(held_condition, lambda it: it.wait(), notify),
    "Condition.wait_for": Case(
        held_condition, lambda it: it.wait_for(lambda: not it._waiters and not it.locked()), notify
    ),
    "Barrier": Case(simple("Barrier", 2), lambda it: it.wait(), lambda it: it.n_waiting),
    "Queue.get": Case(simple("Queue"), lambda it: it.get(), lambda it: it.put_nowait("item")),
    "Queue.put": Case(full_queue, lambda it: it.put("item"), lambda it: it.get_nowait()),
    "Queue.join": Case(unfinished_queue, lambda it: it.join(), lambda it: it.task_done()),
    "PriorityQueue.get": Case(
        simple("PriorityQueue"), lambda it: it.get(), lambda it: it.put_nowait(1)
    ),
    "LifoQueue.get": Case(simple("LifoQueue"), lambda it: it.get(), lambda it: it.put_nowait(1)),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)

FIELDS = ("_locked", "_value", "_count", "_unfinished_tasks")
LINES = ("_waiters", "_getters", "_putters")


def state(it):
    """What can be seen of an object from outside."""
    return (
        [(name, getattr(it, name)) for name in FIELDS if hasattr(it, name)],
        [(name, len(getattr(it, name) or ())) for name in LINES if hasattr(it, name)],
        repr(it),
    )


def step(log, function, *args):
    """Call something; note how that ends, but not which future is yielded."""
    try:
        value = function(*args)
        log("yielded" if asyncio.isfuture(value) else value)
    except BaseException as exc:  # noqa: BLE001 - compared
        log("raised", exc, getattr(exc, "value", None), type(exc.__context__).__name__)


# Coroutines that are driven by hand


@each_case
@pytest.mark.parametrize("when", ["before", "waiting", "woken"])
def test_throw(same, case, when):
    async def throw(aio, log, exc):
        it = await case.make(aio)
        coro = case.wait(it)
        if when != "before":
            step(log, coro.send, None)
            log(*state(it))
        if when == "woken":
            step(log, case.wake, it)
        step(log, coro.throw, exc)
        log(inspect.getcoroutinestate(coro), *state(it))
        coro.close()
        log(*state(it))
        step(log, coro.send, None)

    async def scenario(aio, log):
        for exc in (ValueError("thrown"), asyncio.CancelledError("thrown"), GeneratorExit()):
            await throw(aio, log, exc)
        await throw(aio, log, KeyboardInterrupt())

    same(scenario)


@each_case
@pytest.mark.parametrize("when", ["before", "waiting", "woken"])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_close(same, case, when):
    async def scenario(aio, log):
        it = await case.make(aio)
        coro = case.wait(it)
        if when != "before":
            step(log, coro.send, None)
        if when == "woken":
            step(log, case.wake, it)
        step(log, coro.close)
        step(log, coro.close)
        log(inspect.getcoroutinestate(coro), *state(it))
        step(log, coro.send, None)
        step(log, coro.throw, ValueError("late"))

    same(scenario)


@each_case
def test_a_wait_is_dropped(same, case):
    """The garbage collector closes a coroutine that waits."""

    async def scenario(aio, log):
        it = await case.make(aio)
        coro = case.wait(it)
        step(log, coro.send, None)
        log(*state(it))
        del coro
        gc.collect()
        log(*state(it))

    same(scenario)


@each_case
def test_stepped_too_early(same, case):
    """A step before the wake-up finds a future that is not done, as `await` in Python does."""

    async def scenario(aio, log):
        it = await case.make(aio)
        coro = case.wait(it)
        step(log, coro.send, None)
        step(log, coro.send, None)
        log(*state(it))
        coro.close()
        log(*state(it))

    same(scenario)


@each_case
def test_stepped_too_early_by_who_has_taken_note(same, case):
    """A task resets the flag of the future that it gets. Then the future is yielded again."""

    async def scenario(aio, log):
        it = await case.make(aio)
        coro = case.wait(it)
        future = coro.send(None)
        for _ in range(2):
            future._asyncio_future_blocking = False
            log(coro.send(None) is future, future._asyncio_future_blocking)
        coro.close()
        log(*state(it))

    same(scenario)


@pytest.mark.skipif(not PYTHON_312, reason="wait_for() does not await the future itself")
def test_a_future_that_somebody_else_has_yielded(same):
    async def scenario(aio, log):
        future = asyncio.get_running_loop().create_future()
        next(iter(future))
        for awaitable in (aio.wait_for(future, None), aio.wait_for(future, 10)):
            with pytest.raises(RuntimeError, match="await wasn't used with future"):
                await awaitable
        future.set_result("late")
        log(await aio.wait_for(future, None))

    same(scenario)


@each_case
def test_never_awaited(same, case):
    async def scenario(aio, log):
        it = await case.make(aio)
        coro = case.wait(it)
        log(coro.__name__, coro.__qualname__.rpartition(".")[2], asyncio.iscoroutine(coro))
        with pytest.warns(RuntimeWarning, match=r"was never awaited") as caught:
            del coro
            gc.collect()
        log([str(warning.message) for warning in caught])
        log(*state(it))

    same(scenario)


@each_case
def test_awaited_twice(same, case):
    async def scenario(aio, log):
        it = await case.make(aio)
        coro = case.wait(it)
        task = asyncio.create_task(coro)
        await turns(2)
        with pytest.raises(RuntimeError) as caught:
            await coro
        log(caught.value)
        task.cancel()
        await settle(task)
        with pytest.raises(RuntimeError) as caught:
            await coro
        log(caught.value, *state(it))

    same(scenario)


# A wake-up that meets a cancellation


@each_case
@pytest.mark.parametrize("order", ["wake first", "cancel first"])
def test_a_wake_up_meets_a_cancellation(same, case, order):
    async def play(aio, log, waiting):
        it = await case.make(aio)
        tasks = [spawn(log, number, case.wait(it)) for number in range(waiting)]
        await turns(3)
        if hasattr(it, "notify"):
            await it.acquire()
        actions = [lambda: case.wake(it), lambda: tasks[0].cancel("late")]
        for action in actions if order == "wake first" else reversed(actions):
            step(log, action)
        log(*state(it))
        if hasattr(it, "notify"):
            it.release()
        for _ in range(5):
            await turns(1)
            log([task.done() for task in tasks], *state(it))
        for task in tasks:
            task.cancel()
        await settle(*tasks)
        log([task.cancelled() for task in tasks], *state(it))

    async def scenario(aio, log):
        for waiting in (1, 3):
            await play(aio, log, waiting)

    same(scenario)


def test_a_cancelled_waiter_of_a_semaphore_while_others_come(same):
    async def scenario(aio, log):
        semaphore = aio.Semaphore(1)
        await semaphore.acquire()
        tasks = [spawn(log, number, semaphore.acquire()) for number in range(4)]
        await turns(1)
        semaphore.release()
        semaphore.release()
        tasks[0].cancel()
        tasks[2].cancel()
        late = spawn(log, "late", semaphore.acquire())
        for _ in range(4):
            await turns(1)
            log(*state(semaphore))
        semaphore.release()
        semaphore.release()
        await settle(*tasks, late)
        log(*state(semaphore))

    same(scenario)


# Condition and other locks


def python_lock(log):
    """A lock written in Python; acquire() raises what is in `fails`."""

    class Own:
        held = False
        fails = ()

        def locked(self):
            return self.held

        async def acquire(self):
            log("acquire", self.held)
            while self.held:
                await asyncio.sleep(0)
            if self.fails:
                raise self.fails.pop(0)
            self.held = True
            return "acquired"

        def release(self):
            log("release", self.held)
            self.held = False

    return Own()


@pytest.mark.parametrize(
    "fails",
    [
        [],
        [asyncio.CancelledError("one")],
        [asyncio.CancelledError("one"), asyncio.CancelledError("two")],
        [ValueError("broken")],
        [asyncio.CancelledError("one"), ValueError("broken")],
    ],
    ids=lambda fails: "-".join(type(exc).__name__ for exc in fails) or "none",
)
@pytest.mark.parametrize("cancel", [False, True])
def test_a_condition_with_a_lock_in_python(same, fails, cancel):
    async def scenario(aio, log):
        lock = python_lock(log)
        condition = aio.Condition(lock)

        async def user(name):
            async with condition as value:
                log(name, "has", value)
                try:
                    log(name, await condition.wait())
                except BaseException as exc:
                    log(name, exc, type(exc.__context__).__name__, condition.locked())
                    raise

        tasks = [asyncio.create_task(user(name)) for name in ("first", "second")]
        await turns(3)
        async with condition:
            condition.notify()
        if cancel:
            tasks[0].cancel("now")
        lock.fails = [type(exc)(*exc.args) for exc in fails]
        await turns(5)
        log([task.done() for task in tasks], len(condition._waiters), len(lock.fails))
        lock.fails = []
        async with condition:
            condition.notify_all()
        await settle(*tasks)
        log(len(condition._waiters), condition.locked())

    same(scenario)


def test_a_lock_whose_methods_change_during_a_wait(same):
    async def scenario(aio, log):
        condition = aio.Condition()
        await condition.acquire()
        waiting = spawn(log, "waiting", condition.wait())
        await turns(1)
        log(condition.locked())
        await condition.acquire()
        acquire, release = condition.acquire, condition.release

        async def loud_acquire():
            log("acquire")
            return await acquire()

        def loud_release():
            log("release")
            release()

        condition.acquire, condition.release = loud_acquire, loud_release
        condition.notify()
        condition.release()
        await settle(waiting)
        async with condition if not condition.locked() else aio.Lock():
            log("inside")
        condition.locked = lambda: log("locked") or True
        condition.notify()
        del condition.acquire
        with pytest.raises(AttributeError):
            await condition.acquire()
        condition._lock = None
        condition.notify_all()

    same(scenario)


def test_a_lock_of_a_subclass(same):
    async def scenario(aio, log):
        class Own(aio.Lock):
            async def acquire(self):
                log("acquire", self.locked())
                return await super().acquire()

            def release(self):
                log("release", self.locked())
                super().release()

        condition = aio.Condition(Own())
        async with condition:
            waiting = spawn(log, "waiting", condition.wait())
        await turns(2)
        async with condition:
            condition.notify()
        await settle(waiting)
        log(condition.locked(), *state(condition))

    same(scenario)


def test_a_subclass_of_condition(same):
    async def scenario(aio, log):
        class Own(aio.Condition):
            def notify(self, n=1):
                log("notify", n)
                super().notify(n)

            async def wait(self):
                log("wait")
                return await super().wait()

            def _notify(self, n):
                log("_notify", n)
                super()._notify(n)

        condition = Own()
        answers = [False, False, "yes"]

        async def user():
            async with condition:
                log(await condition.wait_for(lambda: answers.pop(0)))

        tasks = [asyncio.create_task(user())]
        for _ in range(2):
            await turns(2)
            async with condition:
                condition.notify_all()
        await settle(*tasks)
        log(*state(condition))

    same(scenario)


def test_odd_numbers_to_notify(same):
    async def scenario(aio, log):
        condition = aio.Condition()

        async def user(number):
            async with condition:
                log(number, await condition.wait())

        tasks = [asyncio.create_task(user(number)) for number in range(6)]
        await turns(8)
        for n in (0, -1, 0.5, True, 10**30, "x", None):
            async with condition:
                try:
                    log(n, condition.notify(n))
                except TypeError as exc:
                    log(exc)
            await turns(6)
            log(n, [task.done() for task in tasks])
        async with condition:
            log(condition.notify(n=2), len(condition._waiters))
            condition.notify_all()
        await settle(*tasks)

    same(scenario)


# Semaphore


def test_subclasses_of_bounded_semaphores(same):
    async def scenario(aio, log):
        class Own(aio.BoundedSemaphore):
            def release(self):
                log("release", self._value)
                super().release()

        own = Own(1)
        async with own:
            waiting = spawn(log, "waiting", own.acquire())
            await turns(1)
        await settle(waiting)
        own.release()
        with pytest.raises(ValueError, match="too many"):
            own.release()
        log(*state(own))
        own._bound_value = 5
        own.release()
        log(*state(own))
        del own._bound_value
        with pytest.raises(AttributeError):
            own.release()

    same(scenario)


def test_what_bounded_semaphores_do_by_super(same):
    async def scenario(aio, log):
        class Between(aio.Semaphore):
            def __init__(self, value=1):
                log("__init__", value, self._bound_value)
                super().__init__(value)

            def release(self):
                log("release", self._value)
                super().release()

        class Own(aio.BoundedSemaphore, Between):
            pass

        own = Own(2)
        async with own:
            log(*state(own))
        with pytest.raises(ValueError, match="too many"):
            own.release()
        original = aio.Semaphore.release
        aio.Semaphore.release = lambda self: log("patched", self._value) or original(self)
        try:
            bounded = aio.BoundedSemaphore()
            async with bounded:
                log(*state(bounded))
            log(*state(bounded))
        finally:
            aio.Semaphore.release = original

    same(scenario)


def test_a_semaphore_whose_value_is_changed(same):
    async def scenario(aio, log):
        semaphore = aio.Semaphore(0)
        tasks = [spawn(log, number, semaphore.acquire()) for number in range(3)]
        await turns(1)
        semaphore._value = 2
        log(semaphore.locked())
        log(semaphore._wake_up_next(), semaphore._wake_up_next(), *state(semaphore))
        await turns(2)
        log(*state(semaphore))
        semaphore._value = 0.5
        semaphore.release()
        await turns(2)
        log(*state(semaphore))
        semaphore._value = "x"
        with pytest.raises(TypeError):
            semaphore.release()
        log([task.done() for task in tasks])

    same(scenario)


# Barrier


@pytest.mark.parametrize("how", ["cancel", "abort", "reset"])
@pytest.mark.parametrize("after", range(1, 5))
def test_a_barrier_disturbed_in_any_turn(same, how, after):
    async def scenario(aio, log):
        barrier = aio.Barrier(2)
        tasks = [spawn(log, number, barrier.wait()) for number in range(5)]
        await turns(after)
        if how == "cancel":
            tasks[after].cancel()
        else:
            await getattr(barrier, how)()
        for _ in range(4):
            await turns(1)
            log([task.done() for task in tasks], *state(barrier))
        await barrier.reset()
        log(barrier.broken, *state(barrier))
        await turns(4)
        for task in tasks:
            task.cancel()
        await settle(*tasks)
        log(*state(barrier))

    same(scenario)


def test_a_subclass_of_barrier(same):
    async def scenario(aio, log):
        class Own(aio.Barrier):
            async def _block(self):
                log("_block", self._count)
                await super()._block()

            async def _release(self):
                log("_release", self._count)
                await super()._release()

            async def _wait(self):
                log("_wait", self._count)
                await super()._wait()

            def _exit(self):
                log("_exit", self._count)
                super()._exit()

        barrier = Own(3)

        async def user(number):
            async with barrier as position:
                log(number, position)

        await asyncio.gather(*map(user, range(6)))
        log(*state(barrier))

    same(scenario)


def test_a_barrier_with_another_condition(same):
    async def scenario(aio, log):
        class Own(aio.Condition):
            def notify_all(self):
                log("notify_all")
                super().notify_all()

        barrier = aio.Barrier(2)
        barrier._cond = Own()
        tasks = [spawn(log, number, barrier.wait()) for number in range(4)]
        await settle(*tasks)
        log(*state(barrier))
        plain = aio.Barrier(2)
        waiting = [spawn(log, "waiting", plain.wait())]
        await turns(1)
        plain._parties = 3
        waiting += [spawn(log, name, plain.wait()) for name in ("second", "third")]
        await settle(*waiting)
        log(*state(plain))
        plain._parties = 1
        plain._count = "x"
        with pytest.raises(TypeError):
            await plain.wait()

    same(scenario)


# What runs while an object is looked at


def test_a_class_attribute_that_takes_the_lock_away():
    """Looking at a class may run a descriptor, which may drop what the method works on."""
    aio = primutil.FASTAIO
    condition = aio.Condition()
    original = vars(aio.Lock)["__init__"]
    seen = []

    class Taking:
        """A descriptor that takes the condition's lock away, and itself."""

        def __get__(self, instance, owner=None):
            seen.append(owner)
            owner.__init__ = original
            del condition._lock

    aio.Lock.__init__ = Taking()
    try:
        with pytest.raises(RuntimeError, match="un-acquired lock"):
            condition.notify()
    finally:
        aio.Lock.__init__ = original
    assert seen == [aio.Lock]
    with pytest.raises(RuntimeError, match="un-acquired lock"):
        condition.notify()

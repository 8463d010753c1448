"""fastaio's Lock, Event, Condition, Semaphore and Barrier against asyncio's: the same calls give
the same events in the same order."""

import asyncio

import pytest

from . import primutil
from .ioutil import turns
from .primutil import attempt, settle, spawn
from .support import GUARD, PYTHON_312

# Lock


def test_a_lock_is_first_come_first_served(same):
    async def scenario(aio, log):
        lock = aio.Lock()

        async def user(number):
            async with lock as value:
                log(number, "in", value, lock.locked(), repr(lock))
                await turns(number % 3)
            log(number, "out", lock.locked())

        await asyncio.gather(*map(user, range(8)))
        log(lock.locked(), repr(lock), lock._locked, lock._waiters)

    events = same(scenario)
    assert [event[0] for event in events if event[1:2] == ("in",)] == list(range(8))


def test_a_free_lock_is_had_at_once(same):
    async def scenario(aio, log):
        lock = aio.Lock()
        asyncio.get_running_loop().call_soon(log, "another turn")
        log(await lock.acquire())
        lock.release()
        async with lock:
            log("inside")
        await asyncio.sleep(0)

    assert same(scenario) == [(True,), ("inside",), ("another turn",)]


def test_a_free_lock_with_cancelled_waiters(same):
    async def scenario(aio, log):
        lock = aio.Lock()
        await lock.acquire()
        waiting = spawn(log, "first", lock.acquire())
        await turns(1)
        waiting.cancel()
        lock.release()
        log(repr(lock), len(lock._waiters))
        log(await lock.acquire())  # nobody who waits will have it
        await settle(waiting)
        lock.release()

    same(scenario)


def test_a_lock_is_not_taken_from_who_was_woken(same):
    async def scenario(aio, log):
        lock = aio.Lock()
        await lock.acquire()
        first = spawn(log, "first", lock.acquire())
        await turns(1)
        lock.release()
        second = spawn(log, "second", lock.acquire())
        log(lock.locked(), repr(lock))
        log("third", await lock.acquire() if not lock._waiters else "would wait")
        await turns(2)
        lock.release()
        await settle(first, second)
        log(repr(lock))

    same(scenario)


@pytest.mark.parametrize("woken", [False, True])
def test_who_is_cancelled_passes_the_lock_on(same, woken):
    async def scenario(aio, log):
        lock = aio.Lock()
        await lock.acquire()
        first, second = (spawn(log, name, lock.acquire()) for name in ("first", "second"))
        await turns(1)
        if woken:
            lock.release()
        first.cancel("enough")
        if not woken:
            lock.release()
        await settle(first, second)
        log(first.cancelled(), second.cancelled(), lock.locked())

    assert ("second", "got", True) in same(scenario)


def test_a_release_of_a_free_lock(same):
    async def scenario(aio, log):
        lock = aio.Lock()
        for _ in range(2):
            with pytest.raises(RuntimeError) as caught:
                lock.release()
            log(caught.value, repr(lock))

    assert same(scenario)[0][0] == ("RuntimeError", "Lock is not acquired.")


def test_another_task_may_release(same):
    async def scenario(aio, log):
        lock = aio.Lock()
        await lock.acquire()
        waiting = spawn(log, "waiter", lock.acquire())
        await turns(1)
        asyncio.get_running_loop().call_soon(lock.release)
        await settle(waiting)

    same(scenario)


def test_waiters_that_somebody_has_meddled_with(same):
    async def scenario(aio, log):
        lock = aio.Lock()
        await lock.acquire()
        first, second = (spawn(log, name, lock.acquire()) for name in ("first", "second"))
        await turns(1)
        waiters = lock._waiters
        log(type(waiters).__name__, [type(waiter).__mro__[-2].__name__ for waiter in waiters])
        waiters[0].cancel()
        lock.release()
        await settle(first, second)
        log(lock._waiters is waiters, len(waiters))
        lock._locked = False
        log(lock.locked())
        lock._waiters = None
        log(await lock.acquire())

    same(scenario)


# Event


def test_an_event_wakes_all_in_order(same):
    async def scenario(aio, log):
        event = aio.Event()
        tasks = [spawn(log, number, event.wait()) for number in range(5)]
        await turns(2)
        log(repr(event), event.is_set(), event._value, len(event._waiters))
        tasks[1].cancel()
        event.set()
        event.set()
        log(repr(event), event.is_set(), [waiter.done() for waiter in event._waiters])
        event.clear()
        event.clear()
        log(repr(event))
        late = spawn(log, "late", event.wait())
        await settle(*tasks)
        log(late.done(), len(event._waiters))
        event.set()
        await settle(late)

    events = same(scenario)
    assert [event[0] for event in events if event[1:2] == ("got",)] == [0, 2, 3, 4, "late"]


def test_an_event_that_is_set_makes_nobody_wait(same):
    async def scenario(aio, log):
        event = aio.Event()
        event.set()
        asyncio.get_running_loop().call_soon(log, "another turn")
        log(await event.wait(), await event.wait())
        await turns(1)

    assert same(scenario) == [(True, True), ("another turn",)]


def test_a_waiter_cancelled_after_set(same):
    async def scenario(aio, log):
        event = aio.Event()
        first, second = (spawn(log, name, event.wait()) for name in ("first", "second"))
        await turns(1)
        event.set()
        first.cancel()
        await settle(first, second)
        log(len(event._waiters))

    same(scenario)


# Condition


def test_notify_wakes_so_many(same):
    async def scenario(aio, log):
        condition = aio.Condition()

        async def user(number):
            async with condition as value:
                log(number, value, condition.locked())
                log(number, await condition.wait())

        tasks = [asyncio.create_task(user(number)) for number in range(7)]
        await turns(3)
        log(repr(condition), len(condition._waiters), condition.locked())
        async with condition:
            condition.notify()
            condition.notify(2)
            condition.notify(0)
        await turns(12)
        log([task.done() for task in tasks], repr(condition))
        async with condition:
            condition.notify_all()
        await settle(*tasks)
        log(repr(condition))

    same(scenario)


def test_a_condition_without_its_lock(same):
    async def scenario(aio, log):
        condition = aio.Condition()
        for call in (condition.notify, condition.notify_all, condition.release):
            with pytest.raises(RuntimeError) as caught:
                call()
            log(caught.value)
        for awaitable in (condition.wait(), condition.wait_for(lambda: False)):
            with pytest.raises(RuntimeError) as caught:
                await awaitable
            log(caught.value)
        log(await condition.wait_for(lambda: "true at once"))

    same(scenario)


def test_wait_for_asks_until_it_is_true(same):
    async def scenario(aio, log):
        condition = aio.Condition()
        answers = [False, 0, None, "yes"]

        def predicate():
            log("asked", condition.locked())
            return answers.pop(0)

        async def user():
            async with condition:
                log(await condition.wait_for(predicate))

        task = asyncio.create_task(user())
        for _ in range(3):
            await turns(2)
            async with condition:
                condition.notify()
        await settle(task)

        def failing():
            raise ValueError("asked in vain")

        async with condition:
            with pytest.raises(ValueError, match="in vain"):
                await condition.wait_for(failing)
        log(repr(condition))

    same(scenario)


@pytest.mark.parametrize("notified", [False, True])
@pytest.mark.parametrize("held", [False, True])
def test_a_cancelled_wait_has_the_lock_again(same, notified, held):
    async def scenario(aio, log):
        condition = aio.Condition()

        async def user(name):
            async with condition:
                try:
                    log(name, await condition.wait())
                except asyncio.CancelledError as exc:
                    log(name, exc, condition.locked())
                    raise

        tasks = [asyncio.create_task(user(name)) for name in ("first", "second")]
        await turns(3)
        await condition.acquire()
        if notified:
            condition.notify()
        tasks[0].cancel("once")
        if held:
            await turns(2)
            tasks[0].cancel("twice")
            await turns(2)
        condition.release()
        await turns(8)
        log([task.done() for task in tasks], repr(condition))
        async with condition:
            condition.notify_all()
        await settle(*tasks)
        log([task.cancelled() for task in tasks], [task.cancelling() for task in tasks])

    same(scenario)


def test_the_lock_of_a_condition(same):
    async def scenario(aio, log):
        lock = aio.Lock()
        condition, other = aio.Condition(lock), aio.Condition(lock=lock)
        log(condition._lock is lock, other._lock is lock)
        async with condition:
            log(lock.locked(), other.locked(), repr(other))
        for name in ("locked", "acquire", "release"):
            log(name, callable(getattr(condition, name)))

        class Own:
            """As much of a lock as a condition asks for."""

            def locked(self):
                log("Own.locked")
                return True

            async def acquire(self):
                log("Own.acquire")
                return True

            def release(self):
                log("Own.release")

        own = aio.Condition(Own())
        waiting = spawn(log, "own", own.wait())
        await turns(1)
        own.notify_all()
        await settle(waiting)
        async with own:
            log("inside")
        with pytest.raises(AttributeError) as caught:
            aio.Condition(object())
        log(caught.value)

    same(scenario)


# Semaphore


def test_a_semaphore_lets_so_many_in(same):
    async def scenario(aio, log):
        semaphore = aio.Semaphore(2)

        async def user(number):
            async with semaphore as value:
                log(number, "in", value, semaphore._value, semaphore.locked(), repr(semaphore))
                await turns(2)
            log(number, "out")

        await asyncio.gather(*map(user, range(7)))
        log(semaphore._value, repr(semaphore))

    events = same(scenario)
    assert [event[0] for event in events if event[1] == "in"] == list(range(7))


@pytest.mark.parametrize("woken", [False, True])
@pytest.mark.parametrize("value", [0, 1])
def test_who_is_cancelled_passes_the_place_on(same, woken, value):
    async def scenario(aio, log):
        semaphore = aio.Semaphore(value)
        if value:
            await semaphore.acquire()
        tasks = [spawn(log, name, semaphore.acquire()) for name in ("first", "second", "third")]
        await turns(1)
        if woken:
            semaphore.release()
        tasks[0].cancel()
        if not woken:
            semaphore.release()
        log(semaphore.locked(), semaphore._value, repr(semaphore))
        await turns(3)
        semaphore.release()
        await settle(*tasks)
        log(semaphore._value, len(semaphore._waiters or ()), repr(semaphore))

    same(scenario)


def test_many_are_woken_by_many_releases(same):
    async def scenario(aio, log):
        semaphore = aio.Semaphore(0)
        tasks = [spawn(log, number, semaphore.acquire()) for number in range(6)]
        await turns(1)
        for _ in range(4):
            semaphore.release()
        late = spawn(log, "late", semaphore.acquire())
        await turns(3)
        log(semaphore._value, semaphore.locked(), repr(semaphore))
        for _ in range(3):
            semaphore.release()
        await settle(*tasks, late)
        log(repr(semaphore))

    same(scenario)


def test_values_of_semaphores(same):
    async def scenario(aio, log):
        for kind in (aio.Semaphore, aio.BoundedSemaphore):
            log(repr(kind()), repr(kind(3)), repr(kind(value=0)), kind()._value)
            for bad in (-1, -(10**30)):
                with pytest.raises(ValueError, match=">= 0") as caught:
                    kind(bad)
                log(caught.value)
            for odd in ("x", None):
                with pytest.raises(TypeError) as caught:
                    kind(odd)
                log(caught.value)
            large = kind(10**30)
            log(await large.acquire(), large._value, repr(large))
            large.release()
            log(large._value)
            half = kind(1.5)
            log(await half.acquire(), half._value, half.locked())
            half.release()
            log(half._value)

    same(scenario)


def test_a_bounded_semaphore_released_too_often(same):
    async def scenario(aio, log):
        semaphore = aio.BoundedSemaphore(2)
        for _ in range(2):
            with pytest.raises(ValueError, match="too many") as caught:
                semaphore.release()
            log(caught.value, semaphore._value, semaphore._bound_value)
        async with semaphore:
            log(repr(semaphore))
        with pytest.raises(ValueError, match="too many"):
            semaphore.release()

    assert same(scenario)[0][0] == ("ValueError", "BoundedSemaphore released too many times")


# Barrier


def test_a_barrier_again_and_again(same):
    async def scenario(aio, log):
        barrier = aio.Barrier(3)

        async def user(number):
            for _ in range(3):
                await turns(number)
                async with barrier as position:
                    log(number, position, barrier.n_waiting, barrier.parties, repr(barrier))

        await asyncio.gather(*map(user, range(3)))
        log(barrier.broken, repr(barrier), barrier._count)

    same(scenario)


@pytest.mark.parametrize("how", ["reset", "abort", "cancel"])
def test_a_barrier_whose_waiters_are_disturbed(same, how):
    async def scenario(aio, log):
        barrier = aio.Barrier(3)
        tasks = [spawn(log, number, barrier.wait()) for number in range(2)]
        await turns(2)
        log(repr(barrier), barrier.n_waiting, barrier.broken)
        if how == "cancel":
            tasks[0].cancel()
        else:
            log(await getattr(barrier, how)())
        await turns(3)
        log(repr(barrier), barrier.n_waiting, barrier.broken, [task.done() for task in tasks])
        late = [spawn(log, f"late {number}", barrier.wait()) for number in range(3)]
        await turns(4)
        log(await barrier.reset(), repr(barrier))
        await settle(*tasks, *late)
        log(repr(barrier))

    same(scenario)


def test_a_reset_while_a_barrier_lets_out(same):
    async def scenario(aio, log):
        barrier = aio.Barrier(2)
        tasks = [spawn(log, number, barrier.wait()) for number in range(2)]
        await turns(1)
        await barrier.reset()
        log(repr(barrier))
        await settle(*tasks)
        one = asyncio.create_task(attempt(log, "one", barrier.wait()))
        await turns(1)
        two = asyncio.create_task(attempt(log, "two", barrier.wait()))
        await turns(1)
        one.cancel()
        await settle(one, two)
        log(repr(barrier), barrier.broken)

    same(scenario)


def test_barriers_of_odd_sizes(same):
    async def scenario(aio, log):
        for parties in (0, -1):
            with pytest.raises(ValueError, match="parties") as caught:
                aio.Barrier(parties)
            log(caught.value)
        with pytest.raises(TypeError) as caught:
            aio.Barrier("2")
        log(caught.value)
        with pytest.raises(TypeError) as caught:
            aio.Barrier()
        log(caught.value)
        log(await aio.Barrier(1).wait())
        async with aio.Barrier(parties=1) as position:
            log(position)

    same(scenario)


# What all have


MAKERS = {
    "Barrier": lambda aio: aio.Barrier(2),
    "BoundedSemaphore": lambda aio: aio.BoundedSemaphore(0),
    "Condition": lambda aio: aio.Condition(),
    "Event": lambda aio: aio.Event(),
    "Lock": lambda aio: aio.Lock(),
    "Semaphore": lambda aio: aio.Semaphore(0),
}

WAITS = {
    "Barrier": lambda it: it.wait(),
    "BoundedSemaphore": lambda it: it.acquire(),
    "Condition": lambda it: it.wait(),
    "Event": lambda it: it.wait(),
    "Lock": lambda it: it.acquire(),
    "Semaphore": lambda it: it.acquire(),
}


@pytest.mark.parametrize("name", MAKERS)
def test_one_loop_each(same, loop_factory, name):
    """Waiting ties an object to the loop; using it on another one is asyncio's RuntimeError."""

    async def scenario(aio, log):
        it = MAKERS[name](aio)
        if name in ("Lock", "Condition"):
            await it.acquire()
        task = asyncio.create_task(WAITS[name](it))
        await turns(2)
        task.cancel()
        await settle(task)
        if name in ("Lock", "Condition") and not it.locked():
            await it.acquire()

        async def elsewhere():
            await WAITS[name](it)

        def in_another_loop():
            loop = loop_factory()
            try:
                with pytest.raises(RuntimeError) as caught:
                    loop.run_until_complete(asyncio.wait_for(elsewhere(), GUARD))
                log(caught.value)
            finally:
                loop.close()

        await asyncio.to_thread(in_another_loop)

    events = same(scenario)
    assert events
    assert "is bound to a different event loop" in events[0][0][1]


@pytest.mark.parametrize("name", MAKERS)
def test_arguments_that_do_not_fit(same, name):
    async def scenario(aio, log):
        kind = getattr(aio, name)
        for args, kwargs in (((1, 2, 3), {}), ((), {"loop": None}), ((), {"nonsense": 1})):
            with pytest.raises(TypeError) as caught:
                kind(*args, **kwargs)
            log(caught.value)
        it = MAKERS[name](aio)
        for method in ("acquire", "release", "locked", "wait", "set", "reset", "abort", "is_set"):
            if hasattr(it, method):
                with pytest.raises(TypeError) as caught:
                    getattr(it, method)(1, 2, 3)
                log(method, caught.value)

    same(scenario)


@pytest.mark.parametrize("name", MAKERS)
def test_made_without_a_loop(name, same, loop_factory):
    """An object can be made before there is a loop. It is tied to one when somebody waits."""
    made = {id(aio): MAKERS[name](aio) for aio in (primutil.ASYNCIO, primutil.FASTAIO)}

    async def scenario(aio, log):
        it = made[id(aio)]
        log(repr(it), getattr(it, "_loop", "none"))
        if name in ("Lock", "Condition"):
            await it.acquire()
        task = spawn(log, "waits", WAITS[name](it))
        await turns(1)
        log(it._loop is asyncio.get_running_loop() or name in ("Condition", "Barrier"))
        task.cancel()
        await settle(task)

    same(scenario)


def test_exceptions_inside(same):
    async def scenario(aio, log):
        for it in (aio.Lock(), aio.Semaphore(1), aio.Condition()):
            with pytest.raises(ZeroDivisionError):
                async with it:
                    log(repr(it))
                    log(1 / 0)
            log(it.locked(), repr(it))
        if PYTHON_312:
            with pytest.raises(RuntimeError, match="not acquired"):
                async with (lock := aio.Lock()):
                    lock.release()
        log("done")

    same(scenario)


def test_a_subclass_that_overrides_acquire_and_release(same):
    async def scenario(aio, log):
        for kind in (aio.Lock, aio.Semaphore):

            class Own(kind):
                async def acquire(self):
                    log("acquire")
                    return await super().acquire()

                def release(self):
                    log("release")
                    super().release()

            own = Own()
            async with own:
                log("inside", own.locked(), repr(own))
                waiting = spawn(log, "other", own.acquire())
                await turns(1)
            await settle(waiting)
            log(own.locked())
            condition_lock = aio.Lock()
            condition = aio.Condition(condition_lock)
            condition.acquire = own.acquire
            own.release()
            async with condition:
                log("condition", own.locked())
                await condition_lock.acquire()

    same(scenario)


@pytest.mark.parametrize(
    "name",
    ["Lock", "Semaphore"],
)
def test_a_subclass_with_its_own_waking(same, name):
    async def scenario(aio, log):
        class Lock(aio.Lock):
            def _wake_up_first(self):
                log("wake up")
                super()._wake_up_first()

        class Semaphore(aio.Semaphore):
            def _wake_up_next(self):
                log("wake up", self._value)
                return super()._wake_up_next()

            def locked(self):
                log("locked")
                return super().locked()

        it = {"Lock": Lock, "Semaphore": Semaphore}[name]()
        await it.acquire()
        tasks = [spawn(log, number, it.acquire()) for number in range(2)]
        await turns(1)
        it.release()
        tasks[0].cancel()
        await settle(*tasks)
        it.release()

    same(scenario)

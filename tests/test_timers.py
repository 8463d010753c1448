"""call_later, call_at, sleep: order, precision, odd delays, cancellation, virtual clocks."""

import asyncio
import gc
import math
import random
import statistics
import sys
import time
import tracemalloc
import weakref

import pytest

from .hardship import quiet_loop, survives, turn
from .support import PYTHON_313, collect


def test_order_by_deadline(loop):
    seen = []
    start = loop.time() + 0.005
    plan = [(number % 5, number) for number in range(200)]
    random.Random(7).shuffle(plan)
    for slot, number in plan:
        loop.call_at(start + slot * 0.001, seen.append, (slot, number))
    done = loop.create_future()
    loop.call_at(start + 0.006, done.set_result, None)
    loop.run_until_complete(done)
    slots = [slot for slot, _ in seen]
    assert slots == sorted(slots)
    assert sorted(seen) == sorted(plan)


@pytest.mark.fastaio_only
def test_timers_of_one_deadline_fire_in_order_of_creation(loop):
    seen = []
    deadline = loop.time() + 0.002
    for number in range(1000):
        loop.call_at(deadline, seen.append, number)
    done = loop.create_future()
    loop.call_at(deadline, done.set_result, None)
    loop.run_until_complete(done)
    assert seen == list(range(1000))


def test_random_deadlines_fire_in_order(loop):
    rng = random.Random(3)
    base = loop.time()
    deadlines = [base + rng.random() * 0.05 for _ in range(3000)]
    fired = []
    handles = [loop.call_at(deadline, fired.append, deadline) for deadline in deadlines]
    cancelled = set(rng.sample(range(3000), 1500))
    for index in cancelled:
        handles[index].cancel()
    done = loop.create_future()
    loop.call_at(base + 0.06, done.set_result, None)
    loop.run_until_complete(done)
    left = [deadline for index, deadline in enumerate(deadlines) if index not in cancelled]
    assert fired == sorted(left)


@pytest.mark.parametrize("delay", [0, 0.0, -1, -0.5, -math.inf, False])
def test_a_delay_that_is_over_runs_at_once_but_not_now(loop, delay):
    seen = []
    loop.call_later(delay, seen.append, "timer")
    assert seen == []
    done = loop.create_future()
    loop.call_later(delay, done.set_result, None)
    loop.run_until_complete(done)
    assert seen == ["timer"]


def test_a_timer_of_no_delay_does_not_miss_a_turn(loop):
    """It is due by the very clock that its deadline was taken from, however short a turn is."""
    late = 0

    def schedule(left):
        seen = []

        def second_turn():
            loop.call_soon(third_turn)

        def third_turn():
            nonlocal late
            late += not seen
            if left:
                loop.call_soon(schedule, left - 1)
            else:
                loop.stop()

        loop.call_later(0.0, seen.append, True)
        loop.call_soon(second_turn)

    loop.call_soon(schedule, 3000)
    loop.run_forever()
    assert late == 0


def test_a_timer_that_falls_due_while_the_loop_polls(loop_factory):
    """The clock is read once all has been polled, so the timer fires in this turn, not the next."""
    seen = []
    plain = loop_factory()
    plain.close()

    class Slow(type(plain)):
        slow = False

        def _process_events(self, events):
            super()._process_events(events)
            if self.slow:
                self.slow = False
                time.sleep(0.02)

    def first_turn():
        loop.call_later(0.01, seen.append, "timer")
        loop.call_soon(second_turn)
        loop.slow = True
        time.sleep(0.001)  # long enough for the next turn to poll

    def second_turn():
        loop.call_soon(seen.append, "third turn")
        loop.call_soon(loop.stop)

    loop = Slow()
    try:
        loop.call_soon(first_turn)
        loop.run_forever()
    finally:
        loop.close()
    assert seen == ["timer", "third turn"]


def test_deadlines_a_fraction_of_a_nanosecond_apart(loop):
    """They are compared as the floats that they are."""
    seen = []
    deadline = loop.time()
    times = [deadline]
    for _ in range(5):
        times.append(math.nextafter(times[-1], math.inf))
    for number in (3, 1, 5, 0, 4, 2):
        loop.call_at(times[number], seen.append, number)
    loop.call_at(times[-1], seen.append, "last")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen[:5] == [0, 1, 2, 3, 4]
    assert set(seen[5:]) == {5, "last"}


def test_negative_delays_fire_in_order_of_their_deadlines(same_outcome):
    def scenario(env):
        seen = []
        now = env.loop.time()
        for number, delay in enumerate([-1, 0, -3, -2, 0, -1000]):
            env.loop.call_at(now + delay, seen.append, (delay, number))
        env.turn(2)
        return [delay for delay, _ in seen]

    (_, delays), _ = same_outcome(scenario)
    assert delays == [-1000, -3, -2, -1, 0, 0]


def test_call_soon_runs_before_a_timer_that_is_due(loop):
    seen = []
    loop.call_later(-1, seen.append, "timer")
    loop.call_soon(seen.append, "soon")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen in (["soon"], ["soon", "timer"])


ODD_DELAYS = {
    "call_later of an int": lambda loop: loop.call_later(1000, print),
    "call_later of a bool": lambda loop: loop.call_later(True, print),
    "call_later of a list": lambda loop: loop.call_later([], print),
    "call_later of infinity": lambda loop: loop.call_later(math.inf, print),
    "call_at of infinity": lambda loop: loop.call_at(math.inf, print),
    "call_at of a huge int": lambda loop: loop.call_at(10**30, print),
    "call_later of years": lambda loop: loop.call_later(1e12, print),
    "call_at of a negative": lambda loop: loop.call_at(-5, print),
}


@pytest.mark.parametrize("call", ODD_DELAYS.values(), ids=ODD_DELAYS)
def test_odd_delays(call, same_outcome):
    def scenario(env):
        handle = call(env.loop)
        cancelled = handle.cancelled()
        when = handle.when() if handle.when() in (math.inf, 10**30, -5) else "some time"
        handle.cancel()
        env.turn()
        return cancelled, when

    same_outcome(scenario)


def test_far_timers_do_not_wake_or_block_the_loop(loop):
    seen = []
    handles = [
        loop.call_later(1e12, seen.append, "far"),
        loop.call_at(math.inf, seen.append, "never"),
        loop.call_at(sys.float_info.max, seen.append, "never"),
    ]
    assert loop.run_until_complete(asyncio.sleep(0.001, "slept")) == "slept"
    assert seen == []
    for handle in handles:
        handle.cancel()


@pytest.mark.skipif(not PYTHON_313, reason="asyncio.sleep refuses NaN since 3.13")
def test_sleep_of_nan(same_outcome):
    (how, (name, _)), _ = same_outcome(lambda env: env.run(asyncio.sleep(math.nan)))
    assert (how, name) == ("raised", "ValueError")


def test_a_nan_deadline_leaves_the_loop_usable(loop):
    handle = loop.call_later(math.nan, print)
    handle.cancel()
    seen = []
    loop.call_later(0.001, seen.append, 1)
    assert loop.run_until_complete(asyncio.sleep(0.002, "slept")) == "slept"
    assert seen == [1]


def test_nothing_fires_early(run):
    async def main():
        loop = asyncio.get_running_loop()
        for delay in (0.0001, 0.0005, 0.001, 0.0015, 0.0033, 0.01):
            for _ in range(5):
                start = time.monotonic()
                deadline = loop.time() + delay
                await asyncio.sleep(delay)
                assert loop.time() >= deadline - loop_resolution()
                assert time.monotonic() - start >= delay - loop_resolution()

    def loop_resolution():
        # asyncio runs a timer one clock resolution early; a nanosecond is below any measure.
        return max(time.get_clock_info("monotonic").resolution, 1e-6)

    run(main)


def test_short_sleeps_are_not_late(run):
    async def main():
        late = []
        for _ in range(50):
            start = time.monotonic()
            await asyncio.sleep(0.0005)
            late.append(time.monotonic() - start - 0.0005)
        return statistics.median(late)

    assert run(main) < 0.010


def test_an_idle_loop_uses_no_cpu(run):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(3600, print)
        await asyncio.sleep(0.01)
        before = time.thread_time()
        await asyncio.sleep(0.5)
        return time.thread_time() - before

    assert run(main) < 0.1


def test_a_callback_sees_a_time_past_its_deadline(run):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        deadline = loop.time() + 0.003
        loop.call_at(deadline, lambda: done.set_result(loop.time()))
        assert await done >= deadline - 1e-6

    run(main)


def test_the_clock_is_monotonic_time(loop):
    before = time.monotonic()
    now = loop.time()
    assert type(now) is float
    assert before <= now <= time.monotonic()


def test_a_timer_made_by_a_timer_waits_for_the_next_turn(loop):
    order = []
    done = loop.create_future()

    def first():
        order.append("first")
        loop.call_at(loop.time() - 1, second)
        loop.call_soon(order.append, "soon")

    def second():
        order.append("second")
        done.set_result(None)

    loop.call_later(0, first)
    loop.run_until_complete(done)
    assert order == ["first", "soon", "second"]


def test_timers_do_not_starve_the_rest(run):
    async def main():
        loop = asyncio.get_running_loop()
        fired = 0
        stop = False

        def again():
            nonlocal fired
            fired += 1
            if not stop:
                loop.call_later(0, again)

        again()
        for _ in range(50):
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        stop = True
        assert fired > 1

    run(main)


def test_a_hundred_thousand_cancelled_timers_need_no_memory(run):
    async def main():
        loop = asyncio.get_running_loop()

        async def churn(count):
            for number in range(count):
                loop.call_later(3600, print, number).cancel()
                if number % 1000 == 0:
                    await asyncio.sleep(0)

        await churn(5000)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            blocks = sys.getallocatedblocks()
            await churn(100_000)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            assert grown < 2_000_000
            assert sys.getallocatedblocks() - blocks < 20_000
        finally:
            tracemalloc.stop()

    run(main)


def test_cancelling_most_keeps_the_rest(run):
    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        base = loop.time()
        for number in range(5000):
            handle = loop.call_at(base + 0.01 + number * 1e-6, fired.append, number)
            if number % 50:
                handle.cancel()
        await asyncio.sleep(0.05)
        assert fired == list(range(0, 5000, 50))

    run(main)


def test_cancelled_timers_are_released(loop):
    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)
    loop.call_later(3600, print, thing).cancel()
    del thing
    collect()
    assert ref() is None


# Virtual clocks


class Clock:
    def __init__(self, start):
        self.now = start

    def __call__(self):
        return self.now


def test_a_clock_set_on_the_loop_is_used(loop):
    clock = Clock(5000.0)
    loop.time = clock
    try:
        fired = []
        assert loop.time() == 5000.0
        handle = loop.call_later(10, fired.append, "ten")
        assert handle.when() == 5010.0
        loop.call_later(3600, fired.append, "hour")

        def run_once():
            loop.call_soon(loop.stop)
            loop.run_forever()

        run_once()
        assert fired == []
        clock.now = 5010.5
        run_once()
        run_once()
        assert fired == ["ten"]
        clock.now += 3600
        run_once()
        run_once()
        assert fired == ["ten", "hour"]
    finally:
        del loop.time
    assert abs(loop.time() - time.monotonic()) < 60


def test_a_clock_that_says_nan(same_outcome):
    """No deadline is ahead of it, so timers fire."""

    def scenario(env):
        seen = []
        env.loop.call_later(3600, seen.append, "fired")
        env.loop.time = lambda: math.nan
        env.turn(2)
        return seen

    assert same_outcome(scenario)[0] == ("returned", ["fired"])


def test_a_clock_that_jumps_ahead_when_the_loop_would_wait(loop):
    """An hour's sleep passes at once: the clock moves as soon as nothing is ready."""
    clock = Clock(100.0)
    loop.time = clock
    try:

        async def advance(task):
            while not task.done():
                await asyncio.sleep(0)
                clock.now += 60

        async def main():
            task = asyncio.create_task(asyncio.sleep(3600, "an hour"))
            await advance(task)
            return task.result()

        start = time.monotonic()
        assert loop.run_until_complete(main()) == "an hour"
        assert clock.now >= 3700
        assert time.monotonic() - start < 30
    finally:
        del loop.time


def test_a_clock_in_a_subclass(loop_factory):
    base = type(loop := loop_factory())
    loop.close()

    class Virtual(base):
        now = 0.0

        def time(self):
            return self.now

    loop = Virtual()
    try:
        fired = []
        loop.call_later(100, fired.append, 1)
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert fired == []
        loop.now = 101.0
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert fired == [1]
        assert loop.run_until_complete(asyncio.wait_for(advance(loop), 1000)) == "done"
    finally:
        loop.close()


async def advance(loop):
    for _ in range(10):
        loop.now += 1
        await asyncio.sleep(0)
    return "done"


@pytest.mark.fastaio_only  # asyncio keeps the deadline as it is
def test_a_timer_that_is_cancelled_while_its_deadline_becomes_a_float():
    class When:
        def __init__(self, loop):
            self.loop = loop

        def __float__(self):
            for found in gc.get_objects():
                if type(found).__name__ == "TimerHandle":
                    found.cancel()
            return self.loop.time()

    def action():
        loop = quiet_loop()
        runs = []
        for _ in range(3):
            loop.call_at(When(loop), runs.append, "cancelled")
        for _ in range(3):
            loop.call_later(0.001, runs.append, "run")
            loop.call_later(0.002, loop.stop)
            loop.run_forever()
        turn(loop)  # without a timer
        loop.close()
        return runs

    assert survives(action) == repr(["run"] * 3)

"""Task: running coroutines, cancellation."""

import asyncio
import collections.abc
import types

import pytest

from .support import GUARD


async def nothing():
    return None


async def returning(value):
    await asyncio.sleep(0)
    return value


async def forever():
    await asyncio.get_running_loop().create_future()


# Running


def test_create_task_makes_one(run, task_type):
    async def main():
        task = asyncio.create_task(returning(1))
        assert type(task) is task_type
        assert isinstance(task, asyncio.Task)
        assert asyncio.isfuture(task)
        assert not task.done()
        assert await task == 1
        assert task.done()
        assert task.result() == 1
        assert task.exception() is None

    run(main)


def test_a_task_starts_in_the_next_turn_and_in_order(run):
    async def main():
        order = []

        async def worker(number):
            order.append((number, "start"))
            await asyncio.sleep(0)
            order.append((number, "end"))

        tasks = [asyncio.create_task(worker(number)) for number in range(3)]
        assert order == []
        await asyncio.sleep(0)
        assert order == [(0, "start"), (1, "start"), (2, "start")]
        await asyncio.wait(tasks)
        assert order[3:] == [(0, "end"), (1, "end"), (2, "end")]

    run(main)


def test_an_exception_leaves_through_await(run):
    async def failing():
        await asyncio.sleep(0)
        raise LookupError("lost")

    async def main():
        task = asyncio.create_task(failing())
        with pytest.raises(LookupError, match="lost") as caught:
            await task
        assert task.exception() is caught.value
        names = [entry.name for entry in caught.traceback]
        assert names[-1] == "failing"

    run(main)


def test_results_are_not_settable(same_outcome):
    def scenario(env):
        task = env.task(nothing())
        errors = []
        for method, value in ((task.set_result, 1), (task.set_exception, ValueError())):
            try:
                method(value)
            except RuntimeError as exc:
                errors.append(exc)
        env.run(task)
        return errors

    (_, errors), _ = same_outcome(scenario)
    assert [name for name, _ in errors] == ["RuntimeError", "RuntimeError"]


def test_a_generator_based_coroutine(run):
    @types.coroutine
    def generator(fut):
        value = yield from fut
        return value + 1

    async def body(fut):
        return await generator(fut)

    async def main():
        fut = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(body(fut))
        await asyncio.sleep(0)
        fut.set_result(41)
        assert await task == 42

    run(main)


class PurePythonCoroutine(collections.abc.Coroutine):
    """A coroutine that the interpreter knows nothing of: send, throw, close and that is all."""

    def __init__(self, steps):
        self.steps = iter(steps)
        self.sent = []

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        self.sent.append(value)
        step = next(self.steps, None)
        if isinstance(step, BaseException):
            raise step
        if step is None:
            raise StopIteration("end")
        return step

    def throw(self, typ, value=None, tb=None):
        raise typ if isinstance(typ, BaseException) else typ(value)

    def close(self):
        self.steps = iter(())


def test_a_coroutine_written_as_a_class(run):
    async def main():
        coro = PurePythonCoroutine([])
        assert await asyncio.create_task(coro) == "end"
        assert coro.sent == [None]
        failing = PurePythonCoroutine([KeyError("k")])
        with pytest.raises(KeyError):
            await asyncio.create_task(failing)
        cancelled = PurePythonCoroutine([])
        task = asyncio.create_task(cancelled)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


@pytest.mark.parametrize("value", [None, (1, 2), StopIteration(5), ValueError("v")], ids=repr)
def test_any_value_can_be_returned(run, value):
    async def main():
        task = asyncio.create_task(returning(value))
        assert await task is value
        assert await asyncio.create_task(awaiting(task)) is value

    async def awaiting(task):
        return await task

    run(main)


def test_a_stop_iteration_raised_inside(run):
    async def main():
        async def raising():
            raise StopIteration("x")

        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.create_task(raising())

    run(main)


def test_tasks_await_tasks_deeply(run):
    async def nested(depth):
        if depth:
            return await asyncio.create_task(nested(depth - 1)) + 1
        return 0

    assert run(nested(1000)) == 1000


def test_ten_thousand_tasks(run):
    async def main():
        tasks = [asyncio.create_task(returning(number)) for number in range(10_000)]
        assert sum(await asyncio.gather(*tasks)) == sum(range(10_000))

    run(main)


def test_a_long_run_without_waiting_does_not_starve_others(run):
    async def main():
        ticks = 0

        async def ticker():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(ticker())
        for _ in range(100):
            await asyncio.sleep(0)
        task.cancel()
        assert 99 <= ticks <= 101

    run(main)


BAD_ARGUMENTS = {
    "no coroutine": lambda env: env.Task(),
    "an int": lambda env: env.Task(5, loop=env.loop),
    "a coroutine function": lambda env: env.Task(nothing, loop=env.loop),
    "a future": lambda env: env.Task(env.future(), loop=env.loop),
    "no loop": lambda env: closing(nothing(), lambda coro: env.Task(coro)),
    "bad loop": lambda env: closing(nothing(), lambda coro: env.Task(coro, loop=5)),
    "name by position": lambda env: closing(nothing(), lambda c: env.Task(c, env.loop)),
    "create_task of an int": lambda env: env.loop.create_task(5),
    "create_task of a function": lambda env: env.loop.create_task(nothing),
}


def closing(coro, use):
    try:
        return use(coro)
    finally:
        coro.close()


@pytest.mark.parametrize("scenario", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bad_arguments(scenario, same_outcome):
    same_outcome(scenario)


# Cancellation


def test_cancel_before_the_first_step(run):
    async def main():
        ran = []

        async def body():
            ran.append(True)

        task = asyncio.create_task(body())
        assert task.cancel("early")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert ran == []

    run(main)


def test_cancel_while_waiting(run):
    async def main():
        fut = asyncio.get_running_loop().create_future()

        async def body():
            await fut

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        assert task.cancel()
        assert not task.done()
        assert fut.cancelled()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not task.cancel()

    run(main)


def test_cancel_while_running_takes_effect_at_the_next_wait(run):
    async def main():
        reached = []

        async def body():
            asyncio.current_task().cancel("self")
            reached.append("still running")
            await asyncio.sleep(0)
            reached.append("never")

        task = asyncio.create_task(body())
        with pytest.raises(asyncio.CancelledError, match="self"):
            await task
        assert reached == ["still running"]

    run(main)


def test_cancel_goes_down_a_chain_of_tasks(run):
    async def main():
        inner = asyncio.create_task(forever())

        async def outer():
            await inner

        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel("down")
        with pytest.raises(asyncio.CancelledError, match="down"):
            await task
        assert inner.cancelled()

    run(main)


def test_a_cancellation_may_be_swallowed(run):
    async def main():
        async def stubborn():
            try:
                await forever()
            except asyncio.CancelledError as exc:
                return exc.args

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        task.cancel("message")
        assert await task == ("message",)
        assert not task.cancelled()

    run(main)


def test_counting_cancellations(run):
    async def main():
        async def body():
            task = asyncio.current_task()
            assert task.cancelling() == 0
            for _ in range(2):
                with pytest.raises(asyncio.CancelledError):
                    await forever()
            return task.cancelling()

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        assert task.cancel()
        assert task.cancelling() == 1
        await asyncio.sleep(0)
        assert task.cancel()
        assert await task == 2
        assert task.uncancel() == 1
        assert task.uncancel() == 0
        assert task.uncancel() == 0
        assert task.cancelling() == 0

    run(main)


@pytest.mark.fastaio_only
def test_the_count_can_be_read(run):
    async def main():
        task = asyncio.create_task(forever())
        assert task._num_cancels_requested == 0
        task.cancel()
        assert task._num_cancels_requested == 1
        await asyncio.wait([task])

    run(main)


def test_uncancel_takes_back_a_pending_cancellation(same_outcome):
    def scenario(env):
        async def body():
            task = asyncio.current_task()
            task.cancel()
            must = [task._must_cancel]
            task.uncancel()
            must.append(task._must_cancel)
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                must.append("cancelled")
            return must

        return env.run(env.task(body()))

    same_outcome(scenario)


def test_a_second_cancel_while_the_first_is_delivered(run):
    async def main():
        order = []

        async def body():
            try:
                await forever()
            except asyncio.CancelledError:
                order.append("first")
                try:
                    await asyncio.sleep(GUARD)
                except asyncio.CancelledError:
                    order.append("second")
                    raise

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert order == ["first", "second"]
        assert task.cancelled()

    run(main)


def test_the_waited_future_may_refuse(run, future_type):
    class Refusing(future_type):
        def cancel(self, msg=None):
            return False

    async def main():
        fut = Refusing()

        async def body():
            await fut

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        assert task._fut_waiter is fut
        assert task.cancel()
        assert task._must_cancel
        fut.set_result(None)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_the_waited_future_has_a_cancel_of_its_own(run):
    async def main():
        fut = asyncio.get_running_loop().create_future()
        messages = []

        async def body():
            await fut

        def cancel(msg=None):
            messages.append(msg)
            return type(fut).cancel(fut, msg)

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        fut.cancel = cancel
        assert task.cancel("message")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert messages == ["message"]

    run(main)


def test_a_settled_future_and_a_cancellation_in_one_turn(same_outcome):
    def scenario(env):
        async def body(fut):
            try:
                return await fut
            except asyncio.CancelledError as exc:
                return ["cancelled", *exc.args]

        results = []
        for first in ("set", "cancel"):
            fut = env.future()
            task = env.task(body(fut))
            env.turn()
            if first == "set":
                fut.set_result("value")
                task.cancel("late")
            else:
                task.cancel("early")
                results.append(fut.cancelled())
            results.append(env.run(task))
        return results

    same_outcome(scenario)


def test_the_message_travels(same_outcome):
    def scenario(env):
        async def inner():
            await forever()

        async def outer():
            await asyncio.create_task(inner())

        task = env.task(outer())
        env.turn(3)
        task.cancel("why")
        try:
            env.run(task)
        except asyncio.CancelledError as exc:
            context = exc.__context__
            return [exc, context, task._cancel_message]

    same_outcome(scenario)

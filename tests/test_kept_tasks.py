"""Tasks that nobody refers to, and cancellations that were swallowed."""

import asyncio
import gc
import weakref

import pytest

from .support import PYTHON_313, collect

pytestmark = pytest.mark.fastaio_only


async def wait_for_ever():
    """Wait for a future that only this coroutine refers to."""
    await asyncio.get_running_loop().create_future()


def test_a_task_that_nobody_refers_to_is_kept(loop):
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))

    async def main():
        task = weakref.ref(asyncio.create_task(wait_for_ever()))
        await asyncio.sleep(0)
        collect()
        return task

    assert not loop.keep_tasks
    assert loop.run_until_complete(main())() is None
    assert reports == ["Task was destroyed but it is pending!"]
    loop.keep_tasks = True
    task = loop.run_until_complete(main())
    assert task() is not None
    task().cancel()
    loop.run_until_complete(asyncio.sleep(0))
    collect()
    assert task() is None
    assert len(reports) == 1


@pytest.mark.parametrize("end", ["result", "exception", "eager"])
def test_a_task_that_is_done_is_not_kept(loop, end):
    if end == "eager":
        eager = getattr(asyncio, "eager_task_factory", None)
        if eager is None:
            pytest.skip("eager tasks are new in 3.12")
        loop.set_task_factory(eager)
    loop.keep_tasks = True

    async def work():
        if end == "exception":
            raise ZeroDivisionError

    async def main():
        task = asyncio.create_task(work())
        await asyncio.wait([task])
        task.exception()
        return weakref.ref(task)

    task = loop.run_until_complete(main())
    collect()
    assert task() is None


def test_kept_tasks_go_with_the_loop_and_with_the_switch(loop_factory):
    for close in (True, False):
        loop = loop_factory()
        loop.set_exception_handler(lambda *_: None)
        loop.keep_tasks = True
        task = weakref.ref(loop.create_task(wait_for_ever()))
        loop.run_until_complete(asyncio.sleep(0))
        assert task() is not None
        if close:
            loop.close()
        else:
            loop.keep_tasks = False
        gc.collect()
        assert task() is None
        loop.close()


def test_a_hash_that_turns_the_switch(loop, task_type):
    others = []

    class Meddling(task_type):
        meddles = False

        def __hash__(self):
            if Meddling.meddles:
                Meddling.meddles = False
                loop.keep_tasks = False
                others.extend(set() for _ in range(100))
            return 1

    async def work():
        pass

    async def main():
        loop.keep_tasks = Meddling.meddles = True
        task = Meddling(work(), loop=loop)
        assert not Meddling.meddles
        loop.keep_tasks = Meddling.meddles = True
        await task
        assert not Meddling.meddles

    loop.run_until_complete(main())
    assert not any(others)


def test_a_loop_that_keeps_tasks_is_collected(loop_factory):
    loop = loop_factory()
    loop.set_exception_handler(lambda *_: None)
    loop.keep_tasks = True
    loop.create_task(wait_for_ever())
    loop.run_until_complete(asyncio.sleep(0))
    loop._close_native()
    there = weakref.ref(loop)
    loop.close()
    del loop
    collect()
    assert there() is None


async def swallow(end):
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        if end is not None:
            raise end from None


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("end", [None, ZeroDivisionError])
def test_a_swallowed_cancellation_is_told_in_debug_mode(loop, caplog, debug, end):
    loop.set_debug(debug)
    loop.slow_callback_duration = 30

    async def main():
        task = asyncio.create_task(swallow(end), name="the task")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert (task.exception() and type(task.exception())) is end

    loop.run_until_complete(main())
    told = [r.getMessage() for r in caplog.records if "swallowed" in r.getMessage()]
    if debug and PYTHON_313:
        (message,) = told
        assert message.startswith(
            "Task was cancelled, but its coroutine swallowed the cancellation"
        )
        assert "name='the task'" in message
    else:
        assert told == []


def test_cancellations_that_end_well_are_not_told(loop, caplog):
    loop.set_debug(True)

    async def uncancel():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()

    async def fail():
        raise ZeroDivisionError

    async def main():
        for work in (uncancel, wait_for_ever):
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(30)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(30), 0.001)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.sleep(30)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:  # which is cancelled in __aexit__()
                group.create_task(fail())
        early = asyncio.create_task(asyncio.sleep(0))
        early.cancel()
        await asyncio.wait([early])
        assert early.cancelled()

    loop.run_until_complete(main())
    assert not [record for record in caplog.records if "swallowed" in record.getMessage()]

"""fastaio's TaskGroup and timeout() against asyncio's: the same events in the same order."""

import asyncio
import contextvars
import inspect

import pytest

from .ioutil import turns
from .primutil import Boom, forever, later, settle
from .support import GUARD, PYTHON_312, PYTHON_314

var = contextvars.ContextVar("var", default=0)


async def noted(log, name, awaitable):
    """Await something, and note how that ends."""
    try:
        log(name, "got", await awaitable)
    except BaseException as exc:
        log(name, "raised", exc)
        raise


def parts(exc):
    """An exception group as a list of its exceptions."""
    if isinstance(exc, BaseExceptionGroup):
        return [type(exc).__name__, exc.message, [parts(each) for each in exc.exceptions]]
    return exc


# TaskGroup


def test_a_group(same):
    async def scenario(aio, log):
        async with aio.TaskGroup() as group:
            log(repr(group))
            tasks = [group.create_task(noted(log, n, later(3 - n, n))) for n in range(3)]
            named = group.create_task(later(0), name="named")
            log(repr(group), named.get_name(), len(group._tasks))
        log(repr(group), [task.result() for task in tasks], group._tasks)
        log(asyncio.current_task().cancelling())

    same(scenario)


def test_a_group_of_nobody(same):
    async def scenario(aio, log):
        asyncio.get_running_loop().call_soon(log, "another turn")
        async with aio.TaskGroup() as group:
            pass
        log("left", repr(group))
        await turns(1)

    assert same(scenario)[-1] == ("another turn",)


@pytest.mark.parametrize("ends", ["empty", "waits", "fails", "is cancelled"])
def test_what_a_group_drops_in_the_end(same, ends):
    """Newer releases of asyncio drop the parent task and the errors, older ones keep them."""

    async def scenario(aio, log):
        group = aio.TaskGroup()

        async def parent():
            async with group:
                if ends != "empty":
                    group.create_task(later(2, 1))
                if ends == "fails":
                    raise Boom

        task = asyncio.ensure_future(parent())
        await turns(2)
        if ends == "is cancelled":
            task.cancel()
        log(await asyncio.gather(task, return_exceptions=True), task.cancelling())
        log(group._parent_task is task, group._parent_task is None)
        log(group._errors, group._base_error)

    same(scenario)


@pytest.mark.parametrize("in_body", [None, "raise", "await"])
def test_children_that_fail(same, in_body):
    async def scenario(aio, log):
        try:
            async with aio.TaskGroup() as group:
                group.create_task(noted(log, "stuck", forever()))
                group.create_task(noted(log, "first", later(2, error=Boom("first"))))
                group.create_task(noted(log, "second", later(2, error=ValueError("second"))))
                if in_body == "raise":
                    await turns(1)
                    raise KeyError("body")
                if in_body == "await":
                    await forever()
        except BaseException as exc:  # noqa: BLE001 - noted
            log(parts(exc), exc.__cause__, exc.__suppress_context__)
        log(asyncio.current_task().cancelling(), repr(group))

    same(scenario)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exceptions_that_end_programs(same, kind):
    async def scenario(aio, log):
        with pytest.raises(kind) as caught:
            async with aio.TaskGroup() as group:
                task = group.create_task(noted(log, "stuck", forever()))
                await turns(1)
                raise kind("from the body")
        log(caught.value, task.cancelled())

    same(scenario)


def test_a_child_that_raises_what_is_no_exception(same):
    class Other(BaseException):
        """Neither ends a program, nor is an Exception."""

    async def scenario(aio, log):
        with pytest.raises(BaseExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                group.create_task(noted(log, "stuck", forever()))
                group.create_task(later(1, error=Other("child")))
                await forever()
        log(parts(caught.value))

    same(scenario)


def test_a_group_that_is_cancelled(same):
    async def scenario(aio, log):
        async def body(spawn_late):
            async with aio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(noted(log, "child", forever()), name=str(number))
                if spawn_late:
                    try:
                        await forever()
                    finally:
                        group.create_task(noted(log, "late", later(1, "late")))

        for spawn_late in (False, True):
            task = asyncio.create_task(body(spawn_late))
            await turns(3)
            task.cancel("from outside")
            await settle(task)
            log(task.cancelled(), task.cancelling())
            if not task.cancelled():
                log(parts(task.exception()))

    same(scenario)


def test_a_cancellation_and_a_failure(same):
    async def scenario(aio, log):
        async def body():
            async with aio.TaskGroup() as group:
                group.create_task(later(2, error=Boom("child")))
                try:
                    await forever()
                except asyncio.CancelledError as exc:
                    log("body", exc, asyncio.current_task().cancelling())
                    raise

        for count in (1, 2, 3, 4):
            task = asyncio.create_task(body())
            await turns(count)
            task.cancel()
            await settle(task)
            log(count, task.cancelled(), task.cancelling())
            if not task.cancelled():
                log(parts(task.exception()))

    same(scenario)


def test_nested_groups(same):
    async def scenario(aio, log):
        try:
            async with aio.TaskGroup() as outer:
                outer.create_task(noted(log, "outer child", forever()))
                async with aio.TaskGroup() as inner:
                    inner.create_task(noted(log, "inner child", forever()))
                    inner.create_task(later(1, error=Boom("inner")))
        except BaseExceptionGroup as exc:
            log(parts(exc))
        try:
            async with aio.TaskGroup() as outer:
                outer.create_task(later(1, error=Boom("outer")))
                async with aio.TaskGroup() as inner:
                    inner.create_task(noted(log, "inner child", forever()))
        except BaseExceptionGroup as exc:
            log(parts(exc), asyncio.current_task().cancelling())

    same(scenario)


def test_children_of_children(same):
    async def scenario(aio, log):
        async with aio.TaskGroup() as group:

            async def child(depth):
                log("depth", depth)
                if depth < 3:
                    group.create_task(child(depth + 1))
                    group.create_task(child(depth + 2))

            group.create_task(child(0))
        log(repr(group))

    same(scenario)


def test_groups_out_of_season(same):
    async def scenario(aio, log):
        group = aio.TaskGroup()
        coro = later(0)
        with pytest.raises(RuntimeError) as caught:
            group.create_task(coro)
        log(caught.value)
        coro.close()
        async with group:
            with pytest.raises(RuntimeError) as caught:
                await group.__aenter__()
            log(caught.value)
        with pytest.raises(RuntimeError) as caught:
            group.create_task(coro := later(0))
        log(caught.value)
        coro.close()
        with pytest.raises(BaseExceptionGroup):
            async with aio.TaskGroup() as group:
                group.create_task(later(0, error=Boom()))
                try:
                    await forever()
                finally:
                    try:
                        group.create_task(coro := later(0))
                    except RuntimeError as exc:
                        log(exc)
                        coro.close()
        for bad in (5, None, "text", later):
            async with aio.TaskGroup() as group:
                try:
                    group.create_task(bad)
                except (TypeError, AttributeError) as exc:
                    log(exc)
        with pytest.raises(TypeError) as caught:
            aio.TaskGroup(5)
        log(caught.value)
        async with aio.TaskGroup() as group:
            with pytest.raises(TypeError) as caught:
                group.create_task()
            log(caught.value)

    same(scenario)


def test_a_group_outside_of_a_task(same):
    async def scenario(aio, log):
        def enter():
            entering = aio.TaskGroup().__aenter__()
            try:
                entering.__await__().send(None)
            except (RuntimeError, StopIteration) as exc:
                log(exc)

        asyncio.get_running_loop().call_soon(enter)
        await turns(2)

    same(scenario)


def test_contexts_and_factories_of_a_group(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()

        async def look(name):
            log(name, var.get())

        context = contextvars.copy_context()
        context.run(var.set, "given")
        var.set("own")
        async with aio.TaskGroup() as group:
            group.create_task(look("inherits"))
            group.create_task(look("given"), context=context)
            if PYTHON_312 and hasattr(asyncio, "eager_task_factory"):
                loop.set_task_factory(asyncio.eager_task_factory)
                done = group.create_task(look("eager"))
                log(done.done(), len(group._tasks))
                loop.set_task_factory(None)
            made = []

            def factory(loop, coro, **kwargs):
                made.append(sorted(kwargs))
                kwargs.pop("eager_start", None)
                return asyncio.Task(coro, loop=loop, **kwargs)

            loop.set_task_factory(factory)
            group.create_task(look("factory"), name="named")
            group.create_task(look("factory"))
            loop.set_task_factory(None)
            log(made)
            if PYTHON_314:
                group.create_task(look("eager by argument"), eager_start=True)

    same(scenario)


def test_the_attributes_of_a_group(same):
    async def scenario(aio, log):
        names = [
            "_entered",
            "_exiting",
            "_aborting",
            "_parent_cancel_requested",
            "_errors",
            "_base_error",
            "_on_completed_fut",
        ]

        def look(group):
            log([getattr(group, name) for name in names], len(group._tasks))
            log(group._loop is asyncio.get_running_loop(), group._parent_task is not None)

        group = aio.TaskGroup()
        look(group)
        try:
            async with group:
                look(group)
                group.create_task(later(1, error=Boom("child")))
                await forever()
        except BaseExceptionGroup as exc:
            log(parts(exc))
        log(group._entered, group._exiting, group._aborting, group._parent_cancel_requested)
        group.own = "an attribute"
        log(group.own)

    same(scenario)


def test_subclasses_of_a_group(same):
    async def scenario(aio, log):
        class Own(aio.TaskGroup):
            def create_task(self, coro, **kwargs):
                log("create_task", sorted(kwargs))
                return super().create_task(coro, **kwargs)

            async def __aenter__(self):
                log("enter")
                return await super().__aenter__()

            async def __aexit__(self, kind, error, traceback):
                log("exit", error)
                return await super().__aexit__(kind, error, traceback)

            def _abort(self):
                log("_abort")
                super()._abort()

            def _is_base_error(self, exc):
                log("_is_base_error", exc)
                return super()._is_base_error(exc)

            def _on_task_done(self, task):
                log("_on_task_done", task.get_name())
                super()._on_task_done(task)

        try:
            async with Own() as group:
                group.create_task(later(1), name="good")
                group.create_task(later(2, error=Boom("child")), name="bad")
                await forever()
        except BaseExceptionGroup as exc:
            log(parts(exc))

    same(scenario)


# Timeouts


def test_timeouts(same):
    async def scenario(aio, log):
        with pytest.raises(TimeoutError) as caught:
            async with aio.timeout(0.001) as scope:
                log(scope.expired(), scope.when() is not None)
                await forever()
        log(caught.value, caught.value.__cause__, scope.expired())
        log(asyncio.current_task().cancelling())
        asyncio.get_running_loop().call_soon(log, "another turn")
        async with aio.timeout(GUARD) as scope:
            pass
        log(scope.expired(), repr(scope).partition(" ")[0])
        async with aio.timeout(None) as scope:
            log(scope.when(), repr(scope))
        await turns(1)

    same(scenario)


@pytest.mark.parametrize("delay", [0, -1, 0.0, False])
def test_timeouts_that_are_over(same, delay):
    async def scenario(aio, log):
        for count in range(4):
            try:
                async with aio.timeout(delay) as scope:
                    await turns(count)
                    log("body is over", scope.expired())
            except TimeoutError as exc:
                log(count, exc, exc.__cause__)
            log(scope.expired(), asyncio.current_task().cancelling())
        async with aio.timeout_at(asyncio.get_running_loop().time() + GUARD) as scope:
            await turns(1)
        log(scope.expired())

    same(scenario)


def test_rescheduling(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with aio.timeout(None) as scope:
                log(scope.reschedule(loop.time() - 1), scope.expired())
                await forever()
        for call in (lambda: scope.reschedule(None), lambda: scope.reschedule(1)):
            with pytest.raises(RuntimeError) as caught:
                call()
            log(caught.value)
        async with aio.timeout(0) as scope:
            scope.reschedule(loop.time() + GUARD)
            await turns(3)
            scope.reschedule(None)
            log(scope.when())
        try:
            async with aio.timeout(0) as scope:
                try:
                    await forever()
                except asyncio.CancelledError:
                    log(repr(scope).partition(" when")[0], scope.expired())
                    try:
                        scope.reschedule(None)
                    except (RuntimeError, AssertionError) as exc:
                        log(exc)
                    raise
        except TimeoutError as exc:
            log(exc)
        fresh = aio.timeout(GUARD)
        try:
            fresh.reschedule(None)
        except (RuntimeError, AssertionError) as exc:
            log(exc)

    same(scenario)


def test_nested_timeouts(same):
    async def scenario(aio, log):
        for outer_delay, inner_delay in ((0.001, GUARD), (GUARD, 0.001), (0, 0)):
            try:
                async with aio.timeout(outer_delay) as outer:
                    try:
                        async with aio.timeout(inner_delay) as inner:
                            await forever()
                    except TimeoutError:
                        log("inside")
                        raise
            except TimeoutError:
                log("outside")
            log(outer.expired(), inner.expired(), asyncio.current_task().cancelling())

    same(scenario)


def test_timeouts_and_other_cancellations(same):
    async def scenario(aio, log):
        async def body(delay, swallow):
            async with aio.timeout(delay):
                try:
                    await forever()
                except asyncio.CancelledError as exc:
                    log(exc)
                    if not swallow:
                        raise
            return "went on"

        for delay in (0, GUARD):
            for swallow in (False, True):
                task = asyncio.create_task(body(delay, swallow))
                await turns(1)
                task.cancel("from outside")
                await settle(task)
                log(delay, swallow, task.cancelled(), task.cancelling())
                if not task.cancelled():
                    log(task.exception() or task.result())

    same(scenario)


def test_exceptions_inside_a_timeout(same):
    async def scenario(aio, log):
        for delay in (0, GUARD):
            try:
                async with aio.timeout(delay) as scope:
                    try:
                        await forever() if delay == 0 else await turns(1)
                    finally:
                        raise Boom("instead")
            except (Boom, TimeoutError) as exc:
                log(exc, exc.__cause__, exc.__context__)
                if exc.__context__ is not None:
                    log(exc.__context__.__cause__, exc.__context__.__context__)
            log(scope.expired(), asyncio.current_task().cancelling())
        try:
            async with aio.timeout(0):
                async with aio.TaskGroup() as group:
                    group.create_task(forever())
                    group.create_task(later(1, error=Boom("child")))
                    await forever()
        except BaseException as exc:  # noqa: BLE001 - noted
            log(parts(exc))

    same(scenario)


def test_timeouts_out_of_season(same):
    async def scenario(aio, log):
        scope = aio.timeout(GUARD)
        async with scope:
            with pytest.raises(RuntimeError) as caught:
                async with scope:
                    log("never")
            log(caught.value)
        with pytest.raises(RuntimeError) as caught:
            async with scope:
                log("never")
        log(caught.value)
        with pytest.raises(TypeError) as caught:
            aio.timeout("x")
        log(caught.value)
        with pytest.raises(TypeError) as caught:
            async with aio.timeout_at("x"):
                log("never")
        log(caught.value)
        for args in ((), (1, 2)):
            for function in (aio.timeout, aio.timeout_at):
                with pytest.raises(TypeError) as caught:
                    function(*args)
                log(caught.value)
        log(aio.timeout(delay=1).when() > 0, aio.timeout_at(when=1).when())

        def outside():
            entering = aio.timeout(GUARD).__aenter__()
            try:
                entering.__await__().send(None)
            except (RuntimeError, StopIteration) as exc:
                log(exc)

        asyncio.get_running_loop().call_soon(outside)
        await turns(2)

    same(scenario)


def test_timeouts_that_begin_while_cancelled(same):
    async def scenario(aio, log):
        async def body():
            try:
                await forever()
            except asyncio.CancelledError:
                log(asyncio.current_task().cancelling())
            try:
                async with aio.timeout(0):
                    await forever()
            except TimeoutError as exc:
                log("times out", exc)
            log(asyncio.current_task().cancelling())

        task = asyncio.create_task(body())
        await turns(1)
        task.cancel()
        await settle(task)
        log(task.cancelled())

    same(scenario)


def test_reprs_of_timeouts(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        when = round(loop.time() + 1000)
        scope = aio.timeout_at(when)
        log(repr(scope).replace(str(when), "WHEN"), isinstance(scope, asyncio.Timeout))
        async with scope:
            log(repr(scope).replace(str(when), "WHEN"))
        log(repr(scope).replace(str(when), "WHEN"))
        log(inspect.isawaitable(scope), type(scope).__name__)

    same(scenario)


def test_a_timeout_that_is_due_when_its_body_ends(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        for busy in (False, True):
            try:
                async with aio.timeout(0.001) as scope:
                    if busy:
                        until = loop.time() + 0.003
                        while loop.time() < until:
                            pass
                    log("body is over")
            except TimeoutError as exc:
                log(exc)
            log(scope.expired(), asyncio.current_task().cancelling())
            await turns(2)

    same(scenario)

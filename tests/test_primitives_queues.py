"""fastaio's queues against asyncio's: the same calls, the same events in the same order."""

import asyncio
import collections
import heapq

import pytest

from .ioutil import turns
from .primutil import settle, spawn
from .support import PYTHON_313

KINDS = ["Queue", "PriorityQueue", "LifoQueue"]


def state(queue):
    """What can be seen of a queue without an address in it."""
    return (
        queue.qsize(),
        queue.empty(),
        queue.full(),
        queue._unfinished_tasks,
        queue._finished.is_set(),
        len(queue._getters),
        len(queue._putters),
        list(queue._queue),
        str(queue),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("maxsize", [0, 1, 3])
def test_producers_and_consumers(same, kind, maxsize):
    async def scenario(aio, log):
        queue = getattr(aio, kind)(maxsize)

        async def produce(number):
            for item in range(number, 12, 3):
                await queue.put(item)
                log("put", item, state(queue))

        async def consume(number):
            while True:
                item = await queue.get()
                log(number, "got", item, state(queue))
                await turns(number)
                queue.task_done()

        consumers = [asyncio.create_task(consume(number)) for number in range(3)]
        await asyncio.gather(*map(produce, range(3)))
        await queue.join()
        log("joined", state(queue))
        for task in consumers:
            task.cancel()
        await settle(*consumers)
        log(state(queue))

    same(scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_items_at_hand_are_had_at_once(same, kind):
    async def scenario(aio, log):
        queue = getattr(aio, kind)(3)
        asyncio.get_running_loop().call_soon(log, "another turn")
        for item in (2, 3, 1):
            log(await queue.put(item), state(queue))
        for _ in range(3):
            log(await queue.get(), state(queue))
        await turns(1)

    assert same(scenario)[-1] == ("another turn",)


@pytest.mark.parametrize("kind", KINDS)
def test_full_and_empty(same, kind):
    async def scenario(aio, log):
        queue = getattr(aio, kind)(maxsize=2)
        with pytest.raises(asyncio.QueueEmpty) as caught:
            queue.get_nowait()
        log(caught.value)
        log(queue.put_nowait("a"), queue.put_nowait("b"))
        with pytest.raises(asyncio.QueueFull) as caught:
            queue.put_nowait("c")
        log(caught.value, state(queue))
        log(queue.get_nowait(), queue.get_nowait(), queue.maxsize, state(queue))

    same(scenario)


def test_odd_sizes(same):
    async def scenario(aio, log):
        for maxsize in (-1, 1.5, None, "1", True, 10**30, -(10**30), float("inf"), [], 0.0):
            log("size", repr(maxsize))
            try:
                queue = aio.Queue(maxsize)
                log(queue.maxsize, queue._maxsize, str(queue))
                log(queue.full())
                log(queue.put_nowait(1), queue.full(), str(queue))
                log(queue.put_nowait(2), queue.full(), str(queue))
            except (TypeError, asyncio.QueueFull) as exc:
                log(exc)
            try:
                queue = aio.Queue(maxsize)
                for item in range(2):
                    await asyncio.wait_for(queue.put(item), 0.001)
                    log("put", item)
            except (TypeError, TimeoutError) as exc:
                log(exc)
        for args, kwargs in (((1, 2), {}), ((), {"loop": None}), ((), {"size": 1})):
            with pytest.raises(TypeError) as caught:
                aio.Queue(*args, **kwargs)
            log(caught.value)

    same(scenario)


def test_a_size_that_changes(same):
    async def scenario(aio, log):
        queue = aio.Queue(1)
        await queue.put(1)
        queue._maxsize = 2
        log(queue.maxsize, queue.full(), await queue.put(2), state(queue))
        with pytest.raises(AttributeError):
            queue.maxsize = 5
        log(state(queue))

    same(scenario)


@pytest.mark.parametrize("woken", [False, True])
def test_a_cancelled_get_loses_nothing(same, woken):
    async def scenario(aio, log):
        queue = aio.Queue()
        tasks = [spawn(log, number, queue.get()) for number in range(3)]
        await turns(1)
        if woken:
            queue.put_nowait("item")
        tasks[0].cancel()
        log(state(queue))
        if not woken:
            queue.put_nowait("item")
        await turns(4)
        log(state(queue))
        queue.put_nowait("other")
        await settle(*tasks[:-1])
        tasks[2].cancel()
        await settle(tasks[2])
        log(state(queue))

    assert (1, "got", "item") in same(scenario)


@pytest.mark.parametrize("woken", [False, True])
def test_a_cancelled_put_leaves_its_place(same, woken):
    async def scenario(aio, log):
        queue = aio.Queue(1)
        queue.put_nowait("first")
        tasks = [spawn(log, number, queue.put(number)) for number in range(3)]
        await turns(1)
        if woken:
            log(queue.get_nowait())
        tasks[0].cancel()
        if not woken:
            log(queue.get_nowait())
        await turns(4)
        log(state(queue))
        log(queue.get_nowait(), await queue.get())
        await settle(*tasks)
        log(state(queue))

    assert (0, "got", None) not in same(scenario)


def test_who_comes_later_may_be_served_first(same):
    """A getter that has been woken may find that somebody else was quicker; it waits again."""

    async def scenario(aio, log):
        queue = aio.Queue(1)
        waiting = spawn(log, "waiting", queue.get())
        await turns(1)
        queue.put_nowait(1)
        log("quicker", queue.get_nowait())
        await turns(3)
        log(state(queue))
        queue.put_nowait(2)
        await settle(waiting)
        queue.put_nowait(3)
        putting = spawn(log, "putting", queue.put(4))
        await turns(1)
        log(queue.get_nowait())
        queue.put_nowait(5)
        await turns(3)
        log(state(queue))
        log(queue.get_nowait())
        await settle(putting)
        log(state(queue))

    same(scenario)


def test_task_done_and_join(same):
    async def scenario(aio, log):
        queue = aio.Queue()
        log(await queue.join())
        with pytest.raises(ValueError, match="too many times") as caught:
            queue.task_done()
        log(caught.value)
        for item in range(2):
            queue.put_nowait(item)
        tasks = [spawn(log, number, queue.join()) for number in range(2)]
        await turns(2)
        log(queue.get_nowait(), queue.task_done(), state(queue))
        await turns(2)
        log([task.done() for task in tasks])
        log(queue.get_nowait(), queue.task_done(), state(queue))
        queue.put_nowait("again")
        await settle(*tasks)
        log(state(queue))

    assert ("ValueError", "task_done() called too many times") in [
        event[0] for event in same(scenario) if event
    ]


@pytest.mark.skipif(not PYTHON_313, reason="shutdown() is new in 3.13")
@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_shutdown(same, kind, immediate):
    async def scenario(aio, log):
        queue = getattr(aio, kind)(2)
        joiner = spawn(log, "join", queue.join())
        getters = [spawn(log, f"get {number}", queue.get()) for number in range(2)]
        await turns(2)
        log(queue.shutdown(immediate), state(queue), queue._is_shutdown)
        await settle(joiner, *getters)
        queue = getattr(aio, kind)(2)
        queue.put_nowait(1)
        queue.put_nowait(2)
        putters = [spawn(log, f"put {number}", queue.put(number)) for number in range(2)]
        joiner = spawn(log, "join", queue.join())
        await turns(2)
        log(queue.shutdown(immediate=immediate), state(queue))
        log(queue.shutdown(), state(queue))
        await settle(*putters)
        for call in (lambda: queue.put_nowait(3), queue.get_nowait, queue.get_nowait):
            try:
                log(call())
            except asyncio.QueueShutDown as exc:
                log(exc)
        for waiting in (queue.put(4), queue.get()):
            with pytest.raises(asyncio.QueueShutDown) as caught:
                await waiting
            log(caught.value)
        while not joiner.done() and queue._unfinished_tasks:
            queue.task_done()
        await settle(joiner)
        log(state(queue))

    same(scenario)


def test_subclasses_with_their_own_store(same):
    async def scenario(aio, log):
        class Unique(aio.Queue):
            """Gets what has been put most often; nothing twice."""

            def _init(self, maxsize):
                log("_init", maxsize)
                self.seen = collections.Counter()
                self._queue = self.seen

            def _put(self, item):
                log("_put", item)
                self.seen[item] += 1

            def _get(self):
                item, count = self.seen.most_common(1)[0]
                log("_get", item, count)
                del self.seen[item]
                return item

        queue = Unique(3)
        consumer = spawn(log, "consumer", queue.get())
        await turns(1)
        for item in "abcab":
            await queue.put(item)
            log(len(queue._queue), queue.qsize(), queue.full())
            await turns(2)
            if queue.full():
                log(await queue.get())
        await settle(consumer)
        log(queue.get_nowait(), str(queue).count("Unique"))

    events = same(scenario)
    assert events[0] == ("_init", 3)


def test_subclasses_that_override_what_is_public(same):
    async def scenario(aio, log):
        class Loud(aio.Queue):
            def put_nowait(self, item):
                log("put_nowait", item)
                super().put_nowait(item)

            def get_nowait(self):
                log("get_nowait")
                return super().get_nowait()

            def full(self):
                log("full")
                return super().full()

            def empty(self):
                log("empty")
                return super().empty()

            def qsize(self):
                log("qsize")
                return super().qsize()

            def _wakeup_next(self, waiters):
                log("_wakeup_next", len(waiters))
                super()._wakeup_next(waiters)

            def task_done(self):
                log("task_done")
                super().task_done()

            def _format(self):
                return "loud"

        queue = Loud(1)
        putters = [spawn(log, f"put {number}", queue.put(number)) for number in range(3)]
        await turns(2)
        for _ in range(3):
            log(await queue.get())
            queue.task_done()
        await settle(*putters)
        getter = spawn(log, "get", queue.get())
        await turns(1)
        queue.put_nowait("last")
        await settle(getter)
        log(str(queue), queue._unfinished_tasks)

    same(scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_methods_that_are_patched(same, kind):
    async def scenario(aio, log):
        queue = getattr(aio, kind)()
        put, get = queue._put, queue._get
        queue._put = lambda item: (log("_put", item), put(item))
        queue._get = lambda: (log("_get"), get())[1]
        await queue.put(1)
        queue.put_nowait(2)
        log(await queue.get(), queue.get_nowait(), state(queue))

    same(scenario)


def test_priorities(same):
    async def scenario(aio, log):
        queue = aio.PriorityQueue()
        for item in [(2, "b"), (1, "z"), (2, "a"), (0, "")]:
            await queue.put(item)
        log(list(queue._queue))
        heapq.heappush(queue._queue, (1, "y"))
        log([await queue.get() for _ in range(5)])
        await queue.put(1)
        with pytest.raises(TypeError) as caught:
            await queue.put("x")
        log(caught.value, state(queue))
        with pytest.raises(TypeError) as caught:
            queue.put_nowait(None)
        log(caught.value, queue._unfinished_tasks)

        class Sulky:
            def __lt__(self, other):
                log("compared")
                raise ValueError("not with me")

        queue = aio.PriorityQueue()
        queue.put_nowait(Sulky())
        with pytest.raises(ValueError, match="not with me"):
            queue.put_nowait(Sulky())
        log(queue.qsize(), queue._unfinished_tasks)

    same(scenario)


def test_stores_that_were_exchanged(same):
    """Libraries look into `_queue`, and put something else there."""

    async def scenario(aio, log):
        queue = aio.Queue()
        log(type(queue._queue).__name__, type(queue._getters).__name__)
        queue.put_nowait(1)
        queue._queue.extend([2, 3])
        log(queue.qsize(), queue.get_nowait(), queue.get_nowait())
        queue._queue.clear()
        log(queue.empty(), state(queue))
        queue._queue = collections.deque("xyz")
        log(await queue.get(), state(queue))
        queue._unfinished_tasks = 7
        queue.task_done()
        log(queue._unfinished_tasks)
        queue._queue = ["a list"]
        log(queue.qsize())
        try:
            log(queue.get_nowait())
        except AttributeError as exc:
            log(exc)
        stack = aio.LifoQueue()
        stack._queue = collections.deque([1, 2])
        log(stack.get_nowait(), state(stack))
        waiting = spawn(log, "waiting", stack.get())
        await settle(waiting)
        del queue._queue
        with pytest.raises(AttributeError) as caught:
            queue.qsize()
        log(caught.value)

    same(scenario)


def test_waiters_are_futures_in_deques(same):
    async def scenario(aio, log):
        queue = aio.Queue(1)
        getters = [spawn(log, number, queue.get()) for number in range(3)]
        await turns(1)
        log([asyncio.isfuture(waiter) for waiter in queue._getters])
        queue._getters[0].set_result(None)  # woken for nothing: it waits again, behind the others
        await turns(2)
        log(len(queue._getters))
        queue._getters.popleft().cancel()
        await turns(2)
        for item in "abc":
            await queue.put(item)
            await turns(2)
        await settle(*getters)
        log(state(queue))

    same(scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_one_loop_each(same, loop_factory, kind):
    async def scenario(aio, log):
        queue = getattr(aio, kind)(1)
        waiting = asyncio.create_task(queue.get())
        await turns(1)
        waiting.cancel()
        await settle(waiting)

        def in_another_loop():
            loop = loop_factory()
            try:
                log(loop.run_until_complete(queue.put(1)))  # does not wait, so nobody asks
                with pytest.raises(RuntimeError) as caught:
                    loop.run_until_complete(queue.put(2))
                log(str(caught.value).partition(" is bound")[2])
                log(loop.run_until_complete(queue.get()))
                with pytest.raises(RuntimeError, match="is bound to a different event loop"):
                    loop.run_until_complete(queue.get())
            finally:
                loop.close()

        await asyncio.to_thread(in_another_loop)

    assert same(scenario)


def test_reprs(same):
    async def scenario(aio, log):
        for kind in (aio.Queue, aio.PriorityQueue, aio.LifoQueue):
            queue = kind(2)
            log(repr(queue), str(queue))
            waiting = [asyncio.create_task(queue.get()) for _ in range(2)]
            await turns(1)
            log(repr(queue), str(queue))
            for item in range(4):
                await queue.put(item)
            await settle(*waiting)
            putting = asyncio.create_task(queue.put(9))
            await turns(1)
            log(repr(queue), str(queue), f"{queue}", f"{queue!s:.5}")
            queue.get_nowait()
            await settle(putting)

    same(scenario)

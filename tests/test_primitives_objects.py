"""What libraries and tests do with the primitives besides calling them: subclasses, attributes,
references, copies, mocks, other loops."""

import asyncio
import contextlib
import copy
import gc
import pickle
import sys
import weakref
from unittest.mock import AsyncMock, MagicMock, patch

import pytest

import fastaio

from . import primutil
from .support import describe, normalise

CLASSES = {
    "Barrier": (2,),
    "BoundedSemaphore": (),
    "Condition": (),
    "Event": (),
    "LifoQueue": (),
    "Lock": (),
    "PriorityQueue": (),
    "Queue": (),
    "Semaphore": (),
    "TaskGroup": (),
}

each_class = pytest.mark.parametrize("name", CLASSES)
both = pytest.mark.parametrize("aio", [primutil.ASYNCIO, primutil.FASTAIO], ids=["asyncio", "own"])


def make(aio, name):
    return getattr(aio, name)(*CLASSES[name])


def outcome(function, *args):
    """What a call returns or raises, in words that both owners share."""
    try:
        return describe(function(*args))
    except Exception as exc:  # noqa: BLE001 - compared
        return describe(exc)


@each_class
def test_isinstance(name):
    native = make(primutil.FASTAIO, name)
    assert isinstance(native, getattr(primutil.ASYNCIO, name))
    assert issubclass(type(native), getattr(primutil.ASYNCIO, name))
    assert not isinstance(make(primutil.ASYNCIO, name), getattr(primutil.FASTAIO, name)) or (
        getattr(primutil.ASYNCIO, name) is getattr(primutil.FASTAIO, name)
    )
    if name in ("PriorityQueue", "LifoQueue"):
        assert isinstance(native, primutil.FASTAIO.Queue)
    if name == "BoundedSemaphore":
        assert isinstance(native, primutil.FASTAIO.Semaphore)


@each_class
def test_public_names_are_all_there(name):
    own, native = getattr(primutil.ASYNCIO, name), getattr(primutil.FASTAIO, name)
    assert set(dir(own)) <= set(dir(native))


@both
@each_class
def test_attributes_of_ones_own(aio, name):
    it = make(aio, name)
    it.label = ["anything"]
    assert it.label == ["anything"]
    assert vars(it)["label"] is it.label
    del it.label
    assert not hasattr(it, "label")

    class Own(getattr(aio, name)):
        """A subclass with a constructor and a slot of its own."""

        __slots__ = ("slot",)

        def __init__(self, *args, label):
            super().__init__(*args)
            self.label = label

    own = Own(*CLASSES[name], label="given")
    own.slot = own
    assert own.label == "given"
    assert own.slot is own


@both
@each_class
def test_subclasses_of_two(aio, name):
    class Mixin:
        """Comes first, and knows nothing of what comes behind."""

        def __init__(self, *args, **kwargs):
            self.mixed = True
            super().__init__(*args, **kwargs)

    class Both(Mixin, getattr(aio, name)):
        pass

    assert Both(*CLASSES[name]).mixed
    assert type("Later", (getattr(aio, name), Mixin), {})(*CLASSES[name])


@both
@each_class
def test_weak_references(aio, name):
    it = make(aio, name)
    ref = weakref.ref(it)
    table = weakref.WeakKeyDictionary({it: 1})
    assert ref() is it
    del it
    gc.collect()
    assert ref() is None
    assert not table


@both
@each_class
def test_cycles_are_collected(aio, name):
    it = make(aio, name)
    it.itself = it
    ref = weakref.ref(it)
    del it
    gc.collect()
    assert ref() is None


@both
@each_class
def test_hash_and_equality(aio, name):
    one, other = make(aio, name), make(aio, name)
    assert one == one  # noqa: PLR0124
    assert one != other
    assert len({one, other, one}) == 2


@each_class
def test_copies_and_pickles(name):
    """asyncio's objects can be copied and pickled while nobody waits."""
    results = []
    for aio in (primutil.ASYNCIO, primutil.FASTAIO):
        it = make(aio, name)
        results.append((outcome(copy.copy, it), outcome(copy.deepcopy, it)))
        with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
            again = pickle.loads(pickle.dumps(it))
            assert type(again) is type(it)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("Lock", "_locked"),
        ("Lock", "_waiters"),
        ("Event", "_value"),
        ("Event", "_waiters"),
        ("Condition", "_lock"),
        ("Condition", "_waiters"),
        ("Semaphore", "_value"),
        ("Semaphore", "_waiters"),
        ("BoundedSemaphore", "_bound_value"),
        ("Barrier", "_parties"),
        ("Barrier", "_count"),
        ("Barrier", "_state"),
        ("Barrier", "_cond"),
        ("Queue", "_maxsize"),
        ("Queue", "_queue"),
        ("Queue", "_getters"),
        ("Queue", "_putters"),
        ("Queue", "_unfinished_tasks"),
        ("Queue", "_finished"),
        ("TaskGroup", "_tasks"),
        ("TaskGroup", "_errors"),
        ("TaskGroup", "_loop"),
        ("Lock", "_loop"),
    ],
)
def test_attributes_that_others_touch(name, attribute):
    own, native = make(primutil.ASYNCIO, name), make(primutil.FASTAIO, name)
    assert describe(getattr(native, attribute)) == describe(getattr(own, attribute))
    assert type(getattr(native, attribute)).__name__ == type(getattr(own, attribute)).__name__
    for it in (own, native):
        kept = getattr(it, attribute)
        for value in ("text", None, 5, kept):
            setattr(it, attribute, value)
            assert getattr(it, attribute) is value
        delattr(it, attribute)


@each_class
def test_an_object_that_was_never_initialised(name):
    """__new__() without __init__(): an attribute is missing, or it works; nothing else happens."""

    def use(aio):
        kind = getattr(aio, name)
        it = kind.__new__(kind)
        seen = []
        for method in (
            "locked",
            "release",
            "is_set",
            "set",
            "clear",
            "notify",
            "qsize",
            "empty",
            "full",
            "put_nowait",
            "get_nowait",
            "task_done",
            "__repr__",
        ):
            args = (1,) if method == "put_nowait" else ()
            seen.append((method, outcome(lambda: getattr(it, method)(*args))))  # noqa: B023
        return seen

    own, native = use(primutil.ASYNCIO), use(primutil.FASTAIO)
    for (method, expected), (_, actual) in zip(own, native, strict=True):
        assert actual == expected or actual[0] == "AttributeError", method


@both
@each_class
def test_initialised_twice(aio, name):
    it = make(aio, name)
    before = normalise(repr(it))
    it.__init__(*CLASSES[name])
    assert normalise(repr(it)) == before


# Mocks


@both
def test_mocks_know_what_is_a_coroutine(aio):
    queue = MagicMock(spec=aio.Queue)
    assert isinstance(queue, aio.Queue)
    for name in ("get", "put", "join"):
        assert isinstance(getattr(queue, name), AsyncMock), name
    for name in ("get_nowait", "put_nowait", "qsize", "task_done"):
        assert not isinstance(getattr(queue, name), AsyncMock), name
    with pytest.raises(AttributeError):
        _ = queue.nonsense
    lock = MagicMock(spec=aio.Lock)
    assert isinstance(lock.acquire, AsyncMock)
    assert not isinstance(lock.release, AsyncMock)
    event = MagicMock(spec=aio.Event())
    assert isinstance(event.wait, AsyncMock)


@both
def test_methods_can_be_patched(run, aio):
    async def main():
        lock, queue, event = aio.Lock(), aio.Queue(), aio.Event()
        with patch.object(lock, "acquire", AsyncMock(return_value="mocked")) as acquire:
            assert await lock.acquire() == "mocked"
            async with lock:
                acquire.assert_awaited()
                lock._locked = True  # as acquire() would have left it
        with patch.object(aio.Queue, "get", AsyncMock(return_value="mocked")):
            assert await queue.get() == "mocked"
        queue.put_nowait("real")
        assert await queue.get() == "real"
        with patch.object(event, "wait", AsyncMock()) as wait:
            await event.wait()
        wait.assert_awaited_once_with()
        with patch.object(aio.Event, "is_set", return_value=True):
            assert event.is_set()
        assert not event.is_set()

    run(main)


# How a program may put an attribute into an object.
SETTERS = {
    "setattr": setattr,
    "object": object.__setattr__,
    "vars": lambda it, name, value: vars(it).__setitem__(name, value),
}


@both
@pytest.mark.parametrize("put", SETTERS.values(), ids=SETTERS)
def test_methods_of_one_object_can_be_replaced(run, aio, put):
    """However it is done, `async with` and the methods call what stands in the object."""

    async def main():
        seen = []
        queue, lock, semaphore, event = aio.Queue(1), aio.Lock(), aio.Semaphore(), aio.Event()

        async def acquire():
            seen.append("acquire")
            return True

        put(lock, "label", "an attribute that hides nothing")
        async with lock:
            seen.append(lock.locked())
        put(lock, "acquire", acquire)
        put(lock, "release", lambda: seen.append("release"))
        async with lock:
            seen.append(lock.locked())
        put(semaphore, "release", lambda: seen.append("released"))
        async with semaphore:
            seen.append(semaphore.locked())
        put(queue, "_put", lambda item: seen.append(item))
        put(queue, "empty", lambda: False)
        put(queue, "_get", lambda: "got")
        await queue.put(1)
        seen.append(await queue.get())
        put(event, "is_set", lambda: "set")
        seen.append(event.is_set())
        return seen

    seen = run(main)
    assert seen == [True, "acquire", False, "release", True, "released", 1, "got", "set"]


@both
@pytest.mark.parametrize("put", [setattr, object.__setattr__], ids=["setattr", "object"])
def test_the_lock_of_a_condition_can_be_replaced(run, aio, put):
    """A condition goes by the attributes that it has taken from its lock."""

    async def main():
        condition, seen = aio.Condition(), []
        release = condition.release
        put(condition, "locked", lambda: seen.append("locked") or True)
        condition.notify()
        put(condition, "release", lambda: seen.append("release") or release())
        async with condition:
            seen.append(condition._lock.locked())
        condition._lock = aio.Lock()
        async with condition:
            seen.append(condition._lock.locked())
        return seen

    assert run(main) == ["locked", True, "release", False, "release"]


@pytest.mark.fastaio_only
@pytest.mark.parametrize("value", [None, (), (1, 2, 3, 4), [], "text"])
def test_what_a_condition_notes_of_its_lock(run, value):
    """It may be anything: a condition that does not find its notes uses the attributes."""

    async def main():
        condition = primutil.FASTAIO.Condition()
        condition._lock_methods = value
        async with condition:
            condition.notify_all()
            return condition.locked()

    assert run(main) is True


@both
@each_class
def test_specs_of_instances(aio, name):
    it = make(aio, name)
    mock = MagicMock(spec=it)
    assert isinstance(mock, type(it))
    assert set(dir(it)) <= set(dir(mock)) | {"__dict__", "__weakref__"} | {
        attribute for attribute in dir(it) if attribute.startswith("__")
    }


# Loops of others


def uvloop_factory():
    return pytest.importorskip("uvloop").new_event_loop


@pytest.mark.parametrize(
    "factory", [lambda: asyncio.SelectorEventLoop, uvloop_factory], ids=["asyncio", "uvloop"]
)
def test_on_loops_of_others(factory):
    """Each primitive waits, is woken, times out and is cancelled on a loop that is not ours."""
    aio = primutil.FASTAIO

    async def main():
        lock, event, condition = aio.Lock(), aio.Event(), aio.Condition()
        semaphore, queue, barrier = aio.Semaphore(1), aio.Queue(1), aio.Barrier(3)
        order = []

        async def user(number):
            async with lock, semaphore:
                await aio.sleep(0)
                order.append(number)
            await barrier.wait()
            await event.wait()
            async with condition:
                await condition.wait_for(lambda: len(order) >= 4)
            await queue.put(number)

        async with aio.timeout(20), aio.TaskGroup() as group:
            for number in range(3):
                group.create_task(user(number))
            while len(order) < 3:
                await aio.sleep(0.001)
            event.set()
            await aio.sleep(0)
            order.append("go")
            for _ in range(10):
                async with condition:
                    condition.notify_all()
                await aio.sleep(0)
            got = [await aio.wait_for(queue.get(), 10) for _ in range(3)]
        assert order == [0, 1, 2, "go"]
        assert sorted(got) == [0, 1, 2]
        with pytest.raises(TimeoutError):
            await aio.wait_for(queue.get(), 0.001)
        with pytest.raises(TimeoutError):
            async with aio.timeout(0.001):
                await aio.shield(aio.gather(queue.get()))
        sleepers = [asyncio.create_task(aio.sleep(0.001, number)) for number in range(3)]
        done, pending = await aio.wait(sleepers)
        assert (done, pending) == (set(sleepers), set())
        values = [await each for each in aio.as_completed([aio.sleep(0, 1), aio.sleep(0.001, 2)])]
        assert values == [1, 2]

    loop = factory()()
    try:
        loop.run_until_complete(main())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()


@pytest.mark.fastaio_only
def test_nothing_of_them_outlives_a_subinterpreter():
    """Importing the module twice in one process gives classes of their own."""
    interpreters = pytest.importorskip(
        "concurrent.interpreters" if sys.version_info >= (3, 14) else "_xxsubinterpreters"
    )
    if sys.version_info < (3, 14):
        pytest.skip("concurrent.interpreters is new in 3.14")
    interpreter = interpreters.create()
    try:
        interpreter.exec(
            "import asyncio, fastaio\n"
            "async def main():\n"
            "    async with fastaio._fastaio.Lock():\n"
            "        await fastaio._fastaio.sleep(0)\n"
            "fastaio.run(main())\n"
        )
    finally:
        interpreter.close()


@pytest.mark.fastaio_only
@pytest.mark.parametrize(
    ("name", "method"),
    [("Lock", "acquire"), ("Semaphore", "acquire"), ("BoundedSemaphore", "acquire")]
    + [("Event", "wait"), ("Condition", "wait"), ("Barrier", "wait"), ("Queue", "get")]
    + [("PriorityQueue", "get"), ("LifoQueue", "join"), ("TaskGroup", "__aenter__")],
)
def test_plain_objects_are_native(name, method):
    """What nobody has overridden or patched needs no Python code."""
    coroutine = getattr(make(primutil.FASTAIO, name), method)()
    try:
        assert type(coroutine).__name__ == "Op"
    finally:
        coroutine.close()


@pytest.mark.fastaio_only
def test_a_plain_group_has_native_callbacks():
    fastaio = pytest.importorskip("fastaio")

    async def main():
        async with fastaio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0))
            return [type(callback).__name__ for callback, _ in task._callbacks]

    assert fastaio.run(main()) == ["DoneCallback"]


@both
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of TaskGroup's end
@pytest.mark.parametrize("factory", [fastaio.new_event_loop, asyncio.SelectorEventLoop])
@pytest.mark.parametrize("name", ["timeout", "TaskGroup", "Lock"])
def test_a_task_that_waits_within_async_with_is_collected(aio, name, factory):
    """Nothing outside of the task keeps what __aenter__() has returned."""
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    async def wait():
        async with aio.timeout(None) if name == "timeout" else getattr(aio, name)():
            await loop.create_future()

    def turn():
        loop.call_soon(loop.stop)
        loop.run_forever()

    gone = weakref.ref(loop.create_task(wait()))
    turn()
    turn()
    gc.collect()
    turn()
    loop.close()
    assert gone() is None
    assert reports == ["Task was destroyed but it is pending!"]

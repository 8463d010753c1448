"""What differential programs are made of: ``from tests.fuzz.stage import *``.

A program runs twice, on asyncio and on fastaio. All that can be seen is written down as it happens:
`log()` notes the current task, the virtual time and what was seen. Time is virtual: `loop.time` is
replaced, as test suites do, and moves by one with each turn, so no machine is too slow.
"""

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import random
import re
import socket
import sys
import threading
import types
import warnings
import weakref

import fastaio

from .. import primutil
from ..support import SIGNATURE, normalise

__all__ = (
    "Boom",
    "Token",
    "asyncio",
    "backwards",
    "bare",
    "begin",
    "callback",
    "concurrent",
    "context",
    "contextvars",
    "counter",
    "finish",
    "functools",
    "gc",
    "held",
    "leave",
    "log",
    "logged",
    "look",
    "names",
    "pair",
    "queues",
    "raising",
    "seen",
    "spawn",
    "threadsafe",
    "told",
    "var",
    "watch",
    "writelines",
)

TURNS = 80
ORDERS = 12  # of sets: so many times a program is run again to see whether it depends on them
QUIET_TURNS = 12  # of a program with I/O: so many turns without an event, and time moves
var = contextvars.ContextVar("var", default=0)
_CALL = re.compile(r"callback .*")
_ITSELF = re.compile(r"(Task cannot await on itself: <Task \w+ name='.*?') .*")
_CREATED = re.compile(r"created at \S+?:\d+")


class Boom(Exception):
    """What programs raise."""


def freed(what, number):
    """Note that something is freed, unless a callback has raised: then asyncio's own frames are in
    a traceback and keep things alive."""
    if not play.raised:
        log(what, number)


class Token:
    """Notes when it is freed, and within which task."""

    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return f"Token({self.number})"

    def __del__(self):
        freed("freed", self.number)


def watch(number, thing):
    """Note when `thing` is freed."""
    play.watched.append(weakref.ref(thing, lambda ref: freed("gone", number)))


@types.coroutine
def bare(value=0):
    """Yield to the loop what is no future."""
    return (yield value) if value != 0 else (yield)


def told(future, number):
    """Note the result of a concurrent future."""
    future.add_done_callback(lambda future: log(number, "concurrent", future._state))
    return play.loop.create_future()


def raising(loop, context):
    """An exception handler that fails."""
    raise Boom("in the handler")


def leave(number):
    """End the run by an exception."""
    raise SystemExit(number)


def writelines(writer, parts):
    """writelines(), but where asyncio's stumbles (on a closed transport) or is write() (3.11)."""
    if not writer.is_closing():
        try:
            writer.writelines(parts)
        except RuntimeError as exc:
            raise RuntimeError(str(exc).replace("writelines()", "write()")) from None


class Play:
    """One run of a program: its loop, its clock and what was seen."""

    factory = None
    eager = None
    names = asyncio
    order = None
    io = False

    def __init__(self):
        self.loop = None
        self.now = 0.0
        self.ended = False
        self.raised = False
        self.events = []
        self.reports = []
        self.callbacks = {}
        self.watched = []

    def time(self):
        return self.now


play = Play()


def plain(thing):
    """Its text without addresses, and without the place where it was made: asyncio has frames of
    its own there."""
    text = normalise(str(thing)).replace("'_ThreadSafeHandle'", "'Handle'")
    return _CREATED.sub("created at X", text)


def describe_error(exc, depth=0):
    """An exception with all that hangs on it."""
    if exc is None:
        return None
    text = f"{type(exc).__name__}({plain(exc)})"
    text = _ITSELF.sub(r"\1", text)
    if isinstance(exc, TypeError) and SIGNATURE.search(text):
        text = "TypeError(arguments that do not fit)"  # the interpreter's text, another one for C
    if isinstance(exc, BaseExceptionGroup):
        text += f"[{', '.join(describe_error(part) for part in exc.exceptions)}]"
    if depth < 4:
        if exc.__cause__ is not None:
            text += f" from <{describe_error(exc.__cause__, depth + 1)}>"
        elif exc.__context__ is not None and not exc.__suppress_context__:
            text += f" during <{describe_error(exc.__context__, depth + 1)}>"
    return text


def describe(value):
    """A value as both implementations should show it."""
    if isinstance(value, BaseException):
        return describe_error(value)
    if isinstance(value, asyncio.Future):
        return show(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(describe, value)))}}}"
    return plain(repr(value))


def show(future):
    """The state of a future or a task."""
    name = future.get_name() if isinstance(future, asyncio.Task) else "future"
    if name.startswith("Task-"):
        name = "Task-N"
    if not future.done():
        return f"{name} pending"
    if future.cancelled():
        return f"{name} cancelled"
    future._log_traceback = False
    error = future._exception
    return f"{name} {describe_error(error) if error else describe(future._result)}"


def who():
    try:
        task = asyncio.current_task(play.loop)
    except RuntimeError:
        return "?"
    if task is None:
        return "-"
    name = task.get_name()
    return "Task-N" if name.startswith("Task-") else name


def log(*seen):
    """Note what is seen, by whom, and when, until the end: then the collector decides."""
    if play.ended:
        return
    when = "" if play.io else f"{play.now:g} "
    play.events.append((who(), f"{when}{' '.join(map(describe, seen))}"))


class logged:
    """Notes and swallows what its statements raise."""

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        pass

    def __exit__(self, kind, exc, traceback):
        if isinstance(exc, GeneratorExit):  # when that comes depends on the collector
            return False
        if exc is not None:
            log(self.number, exc)
        return True


def look(number, thing):
    """Note the repr() of something."""
    log(number, f"repr {plain(repr(thing))}")


def callback(number):
    """The callback of this number, always the same one."""

    def called(future):
        log(number, "called with", future, var.get())

    called.__qualname__ = called.__name__ = f"callback{number}"
    return play.callbacks.setdefault(number, called)


def spawn(coro, name, **kwargs):
    """A task with a name."""
    return play.loop.create_task(coro, name=name, **kwargs)


def threadsafe(function, *args):
    """call_soon_threadsafe() in another thread, which has ended when this returns."""
    thread = threading.Thread(target=play.loop.call_soon_threadsafe, args=(function, *args))
    thread.start()
    thread.join()


def context(value):
    """A context in which `var` has that value."""
    made = contextvars.copy_context()
    made.run(var.set, value)
    return made


async def pair(limit=2**16):
    """Two connected (reader, writer) pairs on the loop."""
    ours, theirs = socket.socketpair()
    return [
        *await asyncio.open_connection(sock=ours, limit=limit),
        *await asyncio.open_connection(sock=theirs, limit=limit),
    ]


def queues():
    """One of each kind of primitive."""
    return {
        "queue": asyncio.Queue(2),
        "lock": asyncio.Lock(),
        "event": asyncio.Event(),
        "semaphore": asyncio.Semaphore(2),
        "condition": asyncio.Condition(),
    }


def names():
    """asyncio, with the primitives of this run."""
    return play.names


def backwards(kind):
    """A subclass of a queue that overrides the methods which are made for that."""

    class Backwards(kind):
        def _init(self, maxsize):
            self._queue = []

        def _put(self, item):
            log("_put", item)
            self._queue.insert(0, item)

        def _get(self):
            log("_get")
            return self._queue.pop()

    return Backwards


async def seen(number, waiting):
    """Await something and note how that ends."""
    with logged(number):
        log(number, await waiting)


async def held(condition, waiting):
    """Await something with the lock of a condition held."""
    async with condition:
        return await waiting


def counter(number):
    """A predicate that is true when it is called for the so many'th time."""
    calls = []

    def predicate():
        calls.append(None)
        log("predicate", len(calls))
        return len(calls) > number

    return predicate


def on_report(loop, context):
    """Reports of objects that are dropped come when the collector likes; they are sorted."""
    play.raised = True
    message = _CALL.sub("callback F", normalise(str(context.get("message"))))
    error = describe_error(context.get("exception"))
    keys = sorted(context.keys() - {"source_traceback"})
    dropped = "never retrieved" in message or "destroyed" in message
    if dropped:
        play.reports.append(f"{message} {error} {keys}")
    else:
        log("report", message, error, " ".join(keys))


def begin(debug=False, eager=False, io=False):
    """The loop of this run."""
    loop = play.loop = play.factory()
    loop.time = play.time
    play.io = io
    loop.set_debug(debug)
    loop.slow_callback_duration = 1e9
    loop.set_exception_handler(on_report)
    asyncio.set_event_loop(loop)
    var.set(0)
    if play.order is not None:
        shuffle_sets(loop, play.order)
    if eager:
        loop.set_task_factory(play.eager)
    return loop


def shuffle_sets(loop, chance):
    """Give what this loop creates hashes by chance, so an order of its own in sets."""

    class Shuffled:
        def __init__(self, *args, **kwargs):
            self.place = chance.getrandbits(60)
            super().__init__(*args, **kwargs)

        def __hash__(self):
            return self.place

    class ShuffledFuture(Shuffled, fastaio.Future):
        pass

    class ShuffledTask(Shuffled, fastaio.Task):
        pass

    def create_task(loop, coro, **kwargs):
        return ShuffledTask(coro, loop=loop, **kwargs)

    loop.create_future = functools.partial(ShuffledFuture, loop=loop)
    loop.set_task_factory(create_task)
    play.eager = eager_factory(ShuffledTask)


def turn(loop):
    if loop.is_closed():
        return
    loop.call_soon(loop.stop)
    try:
        loop.run_forever()
    except BaseException as exc:  # noqa: BLE001 - as it is, and the loop goes on
        play.raised = True
        log("run_forever() raised", exc)


def run_all(loop, turns):
    quiet = 0
    for _ in range(turns):
        before = len(play.events)
        turn(loop)
        if play.io:
            quiet = 0 if len(play.events) > before else quiet + 1
            if quiet < QUIET_TURNS:
                continue
            quiet = 0
        play.now += 1


def by_name(task):
    """A key that sorts tasks alike in each run; default names are numbered in order."""
    name = str(task.get_name())
    if name.startswith("Task-"):
        return "Task-", int(name[5:]), task.get_coro().__qualname__
    return name, 0, task.get_coro().__qualname__


def finish(loop, pool, *others):
    """Run to the end, cancel what is left, and look at all there is."""
    factor = QUIET_TURNS * 2 if play.io else 1
    run_all(loop, TURNS * factor)
    log("what is left")
    for number in sorted(pool):
        log(number, pool[number])
    for task in sorted(asyncio.all_tasks(loop), key=by_name):
        log("left", task)
        task.cancel()
    run_all(loop, 10 * factor)
    for number in sorted(pool):
        log(number, pool[number])
    for other in (*others, pool):
        other.clear()
    run_all(loop, 2)
    play.ended = True
    gc.collect()
    run_all(loop, 2)
    loop.close()


def play_on(code, factory, eager, names=asyncio, order=None):
    """What is seen when the program runs on a loop of this factory, with these primitives, and with
    sets of futures in an order by chance where `order` is a random.Random."""
    play.__init__()
    play.factory, play.eager, play.names, play.order = factory, eager, names, order
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda args: None
    gc.disable()
    namespace = {"__name__": "program"}
    try:
        exec(code, namespace)
    except Exception as exc:  # noqa: BLE001 - an event like any other
        play.events.append(("-", f"the program raised {describe_error(exc)}"))
    namespace.clear()
    play.loop = None
    asyncio.set_event_loop(None)
    gc.collect()
    gc.enable()
    events = play.events
    if play.io:  # whose bytes come first is not told, but what each task sees is
        events = sorted(events, key=lambda event: event[0])
    return [" | ".join(event) for event in events] + sorted(play.reports)


FACTORIES = {"asyncio": asyncio.SelectorEventLoop}


def eager_factory(kind):
    """A factory of eager tasks of this class, where there are any."""
    create = getattr(asyncio, "create_eager_task_factory", None)
    return create and create(kind)


def on_loop(backend):
    """The factories of loops and of eager tasks for a backend of fastaio, or for "asyncio"."""
    factory = FACTORIES.get(backend) or functools.partial(fastaio.new_event_loop, backend=backend)
    return factory, eager_factory(asyncio.Task if backend == "asyncio" else fastaio.Task)


def compare(text, backend):
    """Run the program on asyncio and on fastaio; return the first difference, or ""."""
    code = compile(text, "<program>", "exec")
    expected = play_on(code, *on_loop("asyncio"))
    actual = play_on(code, *on_loop(backend))
    return difference(expected, actual, backend)


def compare_primitives(text, backend):
    """Run the program with asyncio's primitives and with fastaio's on one kind of loop; return the
    first difference, or ""."""
    code = compile(text, "<program>", "exec")
    expected = play_on(code, *on_loop(backend), primutil.ASYNCIO)
    actual = play_on(code, *on_loop(backend), primutil.FASTAIO)
    found = difference(expected, actual, f"fastaio's primitives on {backend}")
    return "" if found and depends_on_order(code, backend) else found


def depends_on_order(code, backend):
    """Whether asyncio itself does not always do the same: TaskGroup, wait() and as_completed() go
    through sets of futures and coroutines, which have the order of their hashes, so of their
    addresses. Futures get hashes by chance here, and coroutines other addresses."""
    seen = None
    for number in range(ORDERS):
        chance = random.Random(number)
        blocks = [bytes(chance.randrange(16, 1200)) for _ in range(6000)]
        chance.shuffle(blocks)
        del blocks[3000:]
        events = play_on(code, *on_loop(backend), primutil.ASYNCIO, chance)
        if seen not in (None, events):
            return True
        seen = events
    return False


def difference(expected, actual, name):
    """The first difference between what is seen in two runs, with what is around it, or ""."""
    if expected == actual or any("RecursionError" in event for event in expected + actual):
        return ""  # where recursion ends is not asyncio's to say
    first = 0
    while first < min(len(expected), len(actual)) and expected[first] == actual[first]:
        first += 1
    lines = [
        f"asyncio: {expected[first] if first < len(expected) else '(nothing)'}",
        f"fastaio: {actual[first] if first < len(actual) else '(nothing)'}",
        "",
    ]
    for title, events in (("asyncio", expected), (name, actual)):
        lines.append(f"{title}:")
        shown = range(max(first - 15, 0), min(first + 15, len(events)))
        lines += [f"  {'>' if number == first else ' '} {events[number]}" for number in shown]
    return "\n".join(lines)

"""Puts fastaio where CPython's tests look for asyncio's loop, Task and Future, and its primitives
where FASTAIO_PRIMITIVES asks for them.

Only names are replaced. ``_PyTask``, ``_PyFuture`` and ``test_utils.TestLoop`` stay asyncio's, so
that fastaio's tasks also run on a foreign loop and foreign tasks on fastaio's loop.
"""

import asyncio
import asyncio.base_events
import asyncio.futures
import asyncio.tasks
import asyncio.unix_events
import functools
import gc
import importlib
import sys
import types

from tests.conformance.modules import PACKAGE, Module, with_primitives
from tests.support import FREE_THREADED

# Young objects are looked at each time this many more were made than freed.
SAMPLE_EVERY = 50


class Census:
    """Counts the loops made, and the tasks and futures that a collection of garbage came across.

    Native types call no Python code when they are made. What is seen is therefore a sample, a lower
    bound that needs no help from the types under test: enough to tell some from none.

    Without a GIL each collection looks at all objects, and is rare. There calls are counted instead
    (see Makers).
    """

    def __init__(self, loop_type, task_type, future_type, calls):
        self.calls = calls
        self.loops = 0
        self.backends = set()
        self.seen = {"tasks": 0, "futures": 0}
        self.task_type = task_type
        self.future_type = future_type
        self.count_loops(loop_type)
        if FREE_THREADED:
            self.makers = Makers(loop_type, {"tasks": task_type, "futures": future_type}, self.seen)
            return
        gc.set_threshold(SAMPLE_EVERY, *gc.get_threshold()[1:])
        gc.callbacks.append(self.sample)

    def count_loops(self, loop_type):
        original = loop_type.__init__

        @functools.wraps(original)
        def counted(loop, selector=None, *args, **kwargs):
            # Where the tests choose a selector, there is none to choose here.
            self.loops += 1
            original(loop, *args, **kwargs)
            self.backends.add(loop.backend)

        loop_type.__init__ = counted

    def sample(self, phase=None, info=None):
        if phase == "stop":
            return
        for value in gc.get_objects(generation=0):
            kind = type(value)
            if issubclass(kind, self.task_type):
                self.seen["tasks"] += 1
            elif issubclass(kind, self.future_type):
                self.seen["futures"] += 1

    def report(self):
        if not FREE_THREADED:
            self.sample()
        called = self.calls.report() if self.calls else {}
        return {"loops": self.loops, **self.seen, **called}


class Makers:
    """Counts calls in Python code of the types of tasks and futures, and of the methods of a loop
    that make them."""

    TOOL = 3  # the other of the two that sys.monitoring leaves to whoever comes first

    def __init__(self, loop_type, types, counts):
        self.loop_type = loop_type
        self.types = types
        self.counts = counts
        self.methods = {"create_task": "tasks", "create_future": "futures"}
        self.functions = {id(getattr(loop_type, name)): kind for name, kind in self.methods.items()}
        monitoring = sys.monitoring
        monitoring.use_tool_id(self.TOOL, __name__)
        monitoring.register_callback(self.TOOL, monitoring.events.CALL, self.note)
        monitoring.set_events(self.TOOL, monitoring.events.CALL)

    def note(self, code, offset, callee, first):
        # No attribute of the callee is looked up before its type is known: it may be hostile.
        if issubclass(type(callee), type):
            for kind, made in self.types.items():
                self.counts[kind] += made in type.mro(callee)
        elif id(callee) in self.functions:
            if issubclass(type(first), self.loop_type):
                self.counts[self.functions[id(callee)]] += 1
        elif type(callee) is types.BuiltinMethodType and callee.__name__ in self.methods:
            if issubclass(type(callee.__self__), self.loop_type):
                self.counts[self.methods[callee.__name__]] += 1


class Calls:
    """Counts the places in Python code that call each primitive of fastaio.

    3.11 cannot tell which callable is called. There a primitive counts once if it still stands in
    the place of asyncio's when the tests are over.
    """

    TOOL = 4  # one of the two that sys.monitoring leaves to whoever comes first

    def __init__(self):
        from fastaio import _fastaio, primitives

        self.natives = {}
        for name in (name for names in primitives.NAMES.values() for name in names):
            native = getattr(asyncio, name)
            if native is getattr(_fastaio, name, None):
                self.natives[id(native)] = name
        self.places = {name: set() for name in self.natives.values()}
        if sys.version_info >= (3, 12):
            monitoring = sys.monitoring
            monitoring.use_tool_id(self.TOOL, __name__)
            monitoring.register_callback(self.TOOL, monitoring.events.CALL, self.note)
            monitoring.set_events(self.TOOL, monitoring.events.CALL)

    def note(self, code, offset, callee, first):
        name = self.natives.get(id(callee))
        if name is not None:
            self.places[name].add((code, offset))
        elif isinstance(callee, type(len)):
            return sys.monitoring.DISABLE  # hot, and never one of ours
        return None

    def report(self):
        if sys.version_info >= (3, 12):
            sys.monitoring.free_tool_id(self.TOOL)
            return {name: len(places) for name, places in self.places.items() if places}
        in_place = (name for name in self.places if id(getattr(asyncio, name)) in self.natives)
        return dict.fromkeys(in_place, 1)


def put_fastaio(module: Module) -> Census:
    """Replace the names. To be called before the test module is imported.

    With FASTAIO_PRIMITIVES the import of fastaio has replaced those of the primitives.
    """
    import fastaio

    # TestLoop subclasses asyncio's BaseEventLoop, so it has to exist before that name is replaced.
    importlib.import_module(f"{PACKAGE}.utils")

    loop, task, future = fastaio.EventLoop, fastaio.Task, fastaio.Future
    asyncio.tasks._CTask = task
    asyncio.tasks.Task = asyncio.Task = task
    if module.future:
        asyncio.futures._CFuture = future
        asyncio.futures.Future = asyncio.Future = future

    asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = loop
    for place in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(place, name):
                setattr(place, name, loop)
    if module.base_loop:
        asyncio.base_events.BaseEventLoop = asyncio.BaseEventLoop = loop

    return Census(loop, task, future, Calls() if with_primitives() else None)

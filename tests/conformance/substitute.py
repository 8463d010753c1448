"""Puts fastaio where CPython's tests look for asyncio's loop, Task and Future.

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

from tests.conformance.modules import PACKAGE, Module

# Young objects are looked at each time this many more were made than freed.
SAMPLE_EVERY = 50


class Census:
    """Counts the loops made, and the tasks and futures that a collection of garbage came across.

    Native types call no Python code when they are made. What is seen is therefore a sample, a lower
    bound that needs no help from the types under test: enough to tell some from none.
    """

    def __init__(self, loop_type, task_type, future_type):
        self.loops = 0
        self.backends = set()
        self.seen = {"tasks": 0, "futures": 0}
        self.task_type = task_type
        self.future_type = future_type
        self.count_loops(loop_type)
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
        self.sample()
        return {"loops": self.loops, **self.seen}


def put_fastaio(module: Module) -> Census:
    """Replace the names. To be called before the test module is imported."""
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

    return Census(loop, task, future)

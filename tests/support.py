"""What several test modules share."""

import asyncio
import gc
import os
import re
import subprocess
import sys
import sysconfig
import time
from typing import Any, NamedTuple

PYTHON_312 = sys.version_info >= (3, 12)
PYTHON_313 = sys.version_info >= (3, 13)
PYTHON_314 = sys.version_info >= (3, 14)

# A build without a GIL, whether or not the GIL has been switched on.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

# From 3.12.6 on a future takes a StopIteration, as the cause of a RuntimeError; before, it refuses
# one.
FUTURE_TAKES_STOP_ITERATION = sys.version_info >= (3, 12, 6)

# A guard against hanging, never a measure: generous, for slow machines and sanitizers.
GUARD = 30.0


class Kind(NamedTuple):
    """The three classes that a scenario is played with."""

    loop_factory: Any
    Future: Any
    Task: Any


ASYNCIO = Kind(asyncio.SelectorEventLoop, asyncio.Future, asyncio.Task)


class Env:
    """A fresh loop and its helpers, handed to every scenario."""

    def __init__(self, kind):
        self.Future = kind.Future
        self.Task = kind.Task
        self.new_loop = kind.loop_factory
        self.loop = kind.loop_factory()
        self.reports = []
        self.loop.set_exception_handler(
            lambda loop, context: self.reports.append(describe(context))
        )

    def future(self):
        return self.Future(loop=self.loop)

    def task(self, coro, **kwargs):
        return self.Task(coro, loop=self.loop, **kwargs)

    def turn(self, count=1):
        """Run what is ready now, and return."""
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)


_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_MODULE = re.compile(
    r"\b(?:fastaio\._fastaio|fastaio\.\w+|fastaio|_asyncio|asyncio(?:\.\w+)?)\.(?=[A-Z])"
)
_LOOP = re.compile(r"<[\w.]*EventLoop (?=running)")
_TASK_NAME = re.compile(r"Task-\d+")
SIGNATURE = re.compile(
    r"takes .*argument|missing .*argument|unexpected keyword|expected .* argument"
)
_WHEN = re.compile(r"when=[\d.e+-]+")


def normalise(text):
    """`text` without what may differ between two runs or two implementations."""
    text = _ADDRESS.sub("0x", text)
    text = _MODULE.sub("", text)
    text = _LOOP.sub("<EventLoop ", text)
    text = text.replace("<_ThreadSafeHandle ", "<Handle ")
    text = _TASK_NAME.sub("Task-N", text)
    return _WHEN.sub("when=T", text)


def describe(value):
    """`value` as something that compares equal when two implementations agree."""
    if value is None or isinstance(value, (bool, int, float, bytes)):
        return value
    if isinstance(value, str):
        return normalise(value)
    if isinstance(value, BaseException):
        text = normalise(str(value))
        if isinstance(value, TypeError) and SIGNATURE.search(text):
            # Written by the interpreter, another text for C than for Python.
            text = "arguments that do not fit"
        return (type(value).__name__, text)
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    return normalise(repr(value))


def outcome(scenario, kind):
    """What `scenario(env)` returns or raises on a fresh loop of `kind`, and what it reported."""
    env = Env(kind)
    gc.disable()  # what a cycle's end looks like depends on when it is collected
    try:
        try:
            result = ("returned", describe(scenario(env)))
        except BaseException as exc:  # noqa: BLE001 - KeyboardInterrupt is an outcome like any other
            result = ("raised", describe(exc))
        collect()
        return result, env.reports
    finally:
        gc.enable()
        if not env.loop.is_closed():
            env.loop.close()
        asyncio.set_event_loop(None)


def collect():
    """Collect cycles, those included that finalizers have only just freed."""
    for _ in range(3):
        gc.collect()


def wait_until(condition, timeout=GUARD):
    """Block this thread until `condition()` is true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not true after {timeout} s: {condition}")
        time.sleep(0.001)


def run_python(source, *args, timeout=GUARD, check=True, **kwargs):
    """Run `source` in a new interpreter that imports from where this one does."""
    env = dict(kwargs.pop("env", os.environ))
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", source, *args],
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout,
        env=env,
        **kwargs,
    )
    if check and done.returncode:
        raise AssertionError(f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done

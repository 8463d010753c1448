"""One suite for two loops: ``pytest --loop=fastaio`` (the default) or ``--loop=asyncio``, and for
both of fastaio's backends: ``FASTAIO_BACKEND=io_uring python -m pytest``. With ``--primitives``
asyncio's names for locks, queues, ``sleep()`` and so on mean fastaio's.

asyncio is the reference. A test that holds on both loops is right; what only fastaio offers
carries ``@pytest.mark.fastaio_only``.
"""

import asyncio
import gc
import importlib
import inspect
import os
import signal

import pytest

from . import primutil
from .support import ASYNCIO, Kind, outcome


def pytest_addoption(parser):
    parser.addoption(
        "--loop",
        choices=("fastaio", "asyncio"),
        default="fastaio",
        help="the event loop under test (default: fastaio)",
    )
    parser.addoption(
        "--primitives",
        action="store_true",
        help="put fastaio's locks, queues, sleep() and so on in the place of asyncio's",
    )


def pytest_configure(config):
    # A shell starts background jobs with Ctrl-C ignored; tests of Ctrl-C need Python's handler,
    # here and in the processes that they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--loop") == "fastaio" and "FASTAIO_BACKEND" in os.environ:
        # By the environment, a backend that cannot be had is only warned of.
        fastaio = importlib.import_module("fastaio")
        fastaio.new_event_loop(backend=os.environ["FASTAIO_BACKEND"] or "auto").close()
    if config.getoption("--primitives"):
        os.environ["FASTAIO_PRIMITIVES"] = "1"  # for the processes that the tests start, too
        importlib.import_module("fastaio").primitives.install()
    config.addinivalue_line("markers", "fastaio_only: tests what only fastaio has")


def pytest_report_header(config):
    backend = os.environ.get("FASTAIO_BACKEND", "auto")
    whose = "fastaio" if config.getoption("--primitives") else "asyncio"
    return (
        f"event loop: {config.getoption('--loop')}, backend of fastaio: {backend}, "
        f"primitives: {whose}"
    )


def pytest_collection_modifyitems(config, items):
    # Libraries leave things in a process that other tests look for: threads, servers, tasks.
    items.sort(key=lambda item: "ecosystem" in item.path.parts)
    if config.getoption("--loop") == "fastaio":
        return
    skip = pytest.mark.skip(reason="only fastaio has this")
    for item in items:
        if "fastaio_only" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish():
    # Thousands of tests stay to the end, and many of them collect garbage: not among the others.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def on_fastaio(request):
    """True when fastaio is under test, False for asyncio."""
    return request.config.getoption("--loop") == "fastaio"


@pytest.fixture(scope="session")
def loop_factory(on_fastaio):
    """A callable without arguments that makes a loop of the kind under test."""
    if on_fastaio:
        import fastaio

        return fastaio.new_event_loop
    return asyncio.SelectorEventLoop


@pytest.fixture(scope="session")
def loop_factory_source(on_fastaio):
    """An expression for ``loop_factory``, for programs that a test runs in a new process."""
    if on_fastaio:
        return "__import__('fastaio').new_event_loop"
    return "__import__('asyncio').SelectorEventLoop"


@pytest.fixture(scope="session")
def future_type(on_fastaio):
    """The Future class under test."""
    if on_fastaio:
        import fastaio

        return fastaio.Future
    return asyncio.Future


@pytest.fixture(scope="session")
def task_type(on_fastaio):
    """The Task class under test."""
    if on_fastaio:
        import fastaio

        return fastaio.Task
    return asyncio.Task


@pytest.fixture
def loop(loop_factory):
    """A fresh loop of the kind under test, current for this thread and closed at the end."""
    loop = loop_factory()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        asyncio.set_event_loop(None)


@pytest.fixture
def run(loop_factory):
    """Run a coroutine, or what a coroutine function returns, on a fresh loop."""

    def run(main, *, debug=None):
        coro = main() if inspect.iscoroutinefunction(main) else main
        with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
            return runner.run(coro)

    return run


@pytest.fixture(scope="session")
def kind(loop_factory, future_type, task_type):
    """Loop factory, Future and Task under test, for scenarios."""
    return Kind(loop_factory, future_type, task_type)


@pytest.fixture
def same_outcome(kind):
    """Play a scenario with asyncio and with what is under test; both must end alike."""

    def same_outcome(scenario):
        expected = outcome(scenario, ASYNCIO)
        actual = outcome(scenario, kind)
        assert actual == expected
        return actual

    return same_outcome


@pytest.fixture
def same(loop_factory):
    """Run ``scenario(names, log)`` with asyncio's primitives and with fastaio's, each on a loop of
    the kind under test; both must do the same. Return what was logged."""

    def same(scenario):
        expected = primutil.play(scenario, primutil.ASYNCIO, loop_factory)
        actual = primutil.play(scenario, primutil.FASTAIO, loop_factory)
        assert actual == expected
        assert expected[1] == ("returned", None)
        return expected[0]

    return same

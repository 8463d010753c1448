"""Tests of CPython that ask about asyncio's private parts and so cannot hold for fastaio.

Each is run all the same, and one that passes is an error, as is one that no longer exists: the
list can only be as long as it has to be. A name may hold ``*``, for the variants of one test.
"""

import os
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.conformance.modules import with_primitives
from tests.support import FREE_THREADED


@dataclass(frozen=True)
class NotApplicable:
    test: str
    reason: str
    since: tuple[int, int] = (3, 11)
    until: tuple[int, int] = (3, 15)
    #: False for what would hang or end the process.
    run: bool = True
    #: False where it is the eager system calls of the epoll backend that matter.
    io_uring: bool = True
    #: True where it is the native primitives that the test cannot hold for.
    primitives: bool = False
    #: True for what does not hold only where there is no GIL.
    free_threaded: bool = False

    @property
    def here(self) -> bool:
        if self.primitives and not with_primitives():
            return False
        if self.free_threaded and not FREE_THREADED:
            return False
        if not self.io_uring and os.environ.get("FASTAIO_BACKEND") == "io_uring":
            return False
        return self.since <= sys.version_info[:2] <= self.until

    def covers(self, test: str) -> bool:
        return fnmatchcase(test, self.test)


QUEUES = "looks into the Python containers of asyncio's queue or timers; ours are native"
MOCK_SELECTOR = "expects the loop to call the mock that it put in the place of asyncio's selector"
CUT_WAKE_UP = (
    "puts a mock in the place of the wake-up from another thread, which only a loop whose selector "
    "is a mock and never blocks can do without"
)
PYTHON_REGISTRY = (
    "has the loop make the tasks and asks asyncio's pure-Python registry, which knows no native one"
)
PYTHON_RUNNING_LOOP = (
    "has asyncio's pure-Python functions say which loop runs; from 3.14 on a task in C, asyncio's "
    "too, runs only in the loop that the thread state names"
)

PYTHON_CURRENT_TASK = (
    "has asyncio's pure-Python functions say which task runs; the native time limits ask those in C"
)
NO_FRAMES = (
    "counts the Python frames of asyncio's wait(), wait_for(), as_completed() and TaskGroup in a "
    "call stack; the native ones have none"
)


def _base_events(reason: str, *tests: str, run: bool = True) -> list[NotApplicable]:
    prefix = "test_base_events.BaseEventLoopTests."
    return [NotApplicable(prefix + test, reason, run=run) for test in tests]


def _call_stacks(*tests: str) -> list[NotApplicable]:
    prefix = "test_graph.TestCallStackC."
    return [
        NotApplicable(prefix + test, NO_FRAMES, since=(3, 14), primitives=True) for test in tests
    ]


SECOND_INIT = (
    "calls __init__() of a task or future again; where there is no GIL that is refused, as it is "
    "everywhere from 3.15 on"
)


def _second_init(*tests: str) -> list[NotApplicable]:
    return [NotApplicable(test, SECOND_INIT, until=(3, 14), free_threaded=True) for test in tests]


MOCK_SOCKET = (
    "gives a transport a mock for a socket; nothing touches it on asyncio because add_reader is "
    "a mock as well, while a native transport asks its descriptor"
)

NOT_APPLICABLE = [
    NotApplicable(
        "test_base_events.BaseEventLoopTests.test_create_connection_happy_eyeballs*",
        MOCK_SOCKET,
        since=(3, 15),
        io_uring=False,
    ),
    *_base_events(
        QUEUES,
        "test__add_callback_handle",
        "test__run_once_cancelled_event_cleanup",
    ),
    *_base_events(QUEUES, "test__run_once", "test__run_once_schedule_handle", run=False),
    *_base_events(
        MOCK_SELECTOR,
        "test_run_forever_pre_stopped",
        "test_single_selecter_event_callback_after_stopping",
    ),
    NotApplicable(
        "test_base_events.BaseEventLoopTests.test_custom_run_forever_integration",
        "steps an idle loop ten times: one that does not block, because its selector is a mock",
        since=(3, 13),
        run=False,
    ),
    *_base_events(
        CUT_WAKE_UP,
        "test_asyncgen_finalization_by_gc_in_other_thread",
        "test_check_thread",
        run=False,
    ),
    NotApplicable(
        "test_base_events.BaseEventLoopTests.test_shutdown_default_executor_timeout",
        CUT_WAKE_UP,
        since=(3, 12),
        run=False,
    ),
    *_base_events(
        "expects the abstract base class to lack what a real loop has", "test_not_implemented"
    ),
    NotApplicable(
        "test_base_events.BaseEventLoopWithSelectorTests."
        "test_create_server_soreuseport_only_defined",
        "serves on a mock that is no socket and has no descriptor",
    ),
    NotApplicable(
        "test_free_threading.*PyFreeThreading."
        "test_all_tasks_from_other_thread_includes_eager_tasks",
        PYTHON_REGISTRY,
        since=(3, 14),
    ),
    NotApplicable("test_graph.TestCallStackPy.*", PYTHON_REGISTRY, since=(3, 14)),
    NotApplicable(
        "test_events.TestPyGetEventLoop.test_get_event_loop_new_process",
        PYTHON_RUNNING_LOOP,
        since=(3, 14),
        run=False,
    ),
    NotApplicable(
        "test_eager_task_factory.PyEagerTaskFactoryLoopTests.test_staggered_race_with_eager_tasks",
        PYTHON_CURRENT_TASK,
        since=(3, 14),
        run=False,
        primitives=True,
    ),
    NotApplicable(
        "test_eager_task_factory.PyEagerTaskFactoryLoopTests."
        "test_staggered_race_with_eager_tasks_no_delay",
        PYTHON_CURRENT_TASK,
        since=(3, 14),
        primitives=True,
    ),
    *_second_init(
        "test_tasks.*.test_proper_refcounts",
        "test_futures.C*Tests.test_use_after_free_on_fut_context_0_with_evil__getattribute__",
    ),
    *_call_stacks("test_stack_tgroup", "test_stack_wait"),
    *_call_stacks("test_stack_wait_for_non_positive_timeout"),
    *_call_stacks("test_stack_as_completed", "test_stack_as_completed_timeout"),
]


def listed(module: str) -> list[NotApplicable]:
    """What is listed for a module on this version of Python."""
    return [entry for entry in NOT_APPLICABLE if entry.here and entry.test.startswith(module + ".")]

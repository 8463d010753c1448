"""Which modules of ``test.test_asyncio`` are run, and what each must have made of fastaio's types.

A module whose tests ran without one fastaio loop, task or future proves nothing, so the runner
fails it. ``made`` names what must have been seen. With ``--primitives`` the same holds for
``primitives``, the native locks, queues and functions that the tests must have called.
"""

import importlib.util
import os
from dataclasses import dataclass

PACKAGE = "test.test_asyncio"


@dataclass(frozen=True)
class Module:
    name: str
    made: tuple[str, ...] = ("loops", "tasks", "futures")
    #: Seconds that one test may take; more is a hang.
    limit: int = 60
    #: Whether its tests make loops by the name of asyncio's BaseEventLoop.
    base_loop: bool = False
    #: False where the tests ask whether a task is an instance of what has the name asyncio.Future.
    #: A native task is one of asyncio's; loop.create_future() gives native futures all the same.
    future: bool = True
    #: Names of asyncio that its tests call.
    primitives: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """What must have been seen of fastaio."""
        return self.made + (self.primitives if with_primitives() else ())

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(f"{PACKAGE}.{self.name}") is not None


MODULES = [
    Module(
        "test_tasks",
        limit=120,
        primitives=("as_completed", "gather", "shield", "sleep", "wait"),
    ),
    Module("test_futures", made=("tasks", "futures")),
    Module("test_futures2", made=("loops", "tasks")),
    Module("test_base_events", base_loop=True),
    Module("test_eager_task_factory"),
    Module(
        "test_taskgroups",
        primitives=("TaskGroup", "sleep"),
    ),
    Module(
        "test_timeouts",
        primitives=("sleep", "timeout", "timeout_at"),
    ),
    Module(
        "test_waitfor",
        primitives=("sleep", "wait_for"),
    ),
    Module(
        "test_locks",
        primitives=("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"),
    ),
    Module(
        "test_queues",
        primitives=("LifoQueue", "PriorityQueue", "Queue"),
    ),
    Module("test_runners", base_loop=True),
    Module("test_context", made=("loops", "tasks")),
    Module("test_pep492", base_loop=True),
    Module("test_free_threading"),
    Module("test_graph", future=False),
    Module("test_threads"),
    Module("test_staggered"),
    Module("test_events"),
    Module("test_streams"),
    Module("test_server"),
    Module("test_buffered_proto", made=("loops", "tasks")),
    Module("test_sock_lowlevel"),
    Module("test_sendfile"),
    Module("test_unix_events"),
    Module("test_subprocess"),
    Module("test_sslproto"),
    Module("test_ssl"),
]


BY_NAME = {module.name: module for module in MODULES}


def suite_installed() -> bool:
    """Whether this interpreter came with its tests; distributions often leave them out."""
    try:
        return importlib.util.find_spec(f"{PACKAGE}.utils") is not None
    except ModuleNotFoundError:
        return False


def with_primitives() -> bool:
    """Whether fastaio's primitives stand in the place of asyncio's in a run on fastaio."""
    return os.environ.get("FASTAIO_PRIMITIVES") == "1"

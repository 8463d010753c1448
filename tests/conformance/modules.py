"""Which modules of ``test.test_asyncio`` are run, and what each must have made of fastaio's types.

A module whose tests ran without one fastaio loop, task or future proves nothing, so the runner
fails it. ``made`` names what must have been seen.
"""

import importlib.util
from dataclasses import dataclass

PACKAGE = "test.test_asyncio"


@dataclass(frozen=True)
class Module:
    name: str
    made: tuple[str, ...] = ("loops", "tasks", "futures")
    #: Seconds that one test may take; more is a hang.
    limit: int = 60

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(f"{PACKAGE}.{self.name}") is not None


MODULES = [
    Module("test_tasks", limit=120),
    Module("test_futures"),
    Module("test_futures2"),
    Module("test_base_events"),
    Module("test_eager_task_factory"),
    Module("test_taskgroups"),
    Module("test_timeouts"),
    Module("test_waitfor"),
    Module("test_locks"),
    Module("test_queues"),
    Module("test_runners"),
    Module("test_context"),
    Module("test_pep492"),
    Module("test_free_threading"),
    Module("test_graph"),
]


def suite_installed() -> bool:
    """Whether this interpreter came with its tests; distributions often leave them out."""
    try:
        return importlib.util.find_spec(f"{PACKAGE}.utils") is not None
    except ModuleNotFoundError:
        return False

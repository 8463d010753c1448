"""Threads that call every method of futures, tasks and primitives at once, with hostile arguments.

    python -m tests.hostile_threads GROUP [--seconds 0.5] [--threads 4] [--seed N]

The calls may raise whatever they like. The process must neither crash nor hang.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import faulthandler
import functools
import gc
import logging
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import fastaio

#: Names that concern the class or the interpreter, not the object.
LEFT_OUT = frozenset(
    {"__class__", "__init_subclass__", "__subclasshook__", "__new__", "__dir__", "__getattribute__"}
)


def is_method(subject: object, name: str) -> bool:
    return hasattr(subject, "__dict__") and callable(getattr(type(subject), name, None))


class Evil:
    """Equal to everything, and each question does something to the subject."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def __eq__(self, other: object) -> bool:
        self._try()
        return True

    def __hash__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        self._try()
        return True

    def __call__(self, *args: object, **kwargs: object) -> Any:
        self._try()
        return self

    def __index__(self) -> int:
        self._try()
        return 1

    def _try(self) -> None:
        try:
            self._act()
        except Exception:  # noqa: BLE001 - whatever the subject raises is right
            return


class Stage:
    """The loop in a thread of its own, and the objects that the other threads maltreat."""

    def __init__(self, seed: int, loop: Any = None) -> None:
        self.seed = seed
        self.left_out = LEFT_OUT
        self.loop = loop if loop is not None else fastaio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: None)
        self.over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.subject: Any = None
        self.others: list[Any] = [None]  # what calls have returned: coroutines, futures
        self.calls = 0

    def run(self) -> None:
        while not self.over:
            try:
                self.loop.run_forever()
            except Exception:  # noqa: BLE001 - the repr of a maltreated task, as on asyncio
                continue

    def future(self) -> Any:
        return fastaio.Future(loop=self.loop)

    def in_loop(self, make: Callable[[], Any]) -> Any:
        async def made() -> list[Any]:
            return [make()]  # in a list: a coroutine would be awaited

        return asyncio.run_coroutine_threadsafe(made(), self.loop).result(20)[0]

    def argument(self, chance: random.Random) -> object:
        subject = self.subject
        return chance.choice(
            (
                None,
                0,
                1,
                0.001,
                "name",
                Exception,
                StopIteration(1),
                asyncio.CancelledError("why"),
                GeneratorExit,
                object(),
                subject,
                print_nothing,
                contextvars.copy_context(),
                Evil(gc.collect) if chance.random() < 0.01 else Evil(print_nothing),
                Evil(getattr(subject, "cancel", print_nothing)),
                Evil(functools.partial(setattr, subject, "_state", None)),
                chance.choice(self.others),
            )
        )

    def call(self, chance: random.Random) -> None:
        subject = self.subject if chance.random() < 0.7 else chance.choice(self.others)
        names = [name for name in dir(type(subject)) if name not in self.left_out]
        name = chance.choice(names)
        self.calls += 1
        kind = chance.random()
        if kind < 0.1:
            if not is_method(subject, name):  # code of asyncio's would loop without end
                setattr(subject, name, self.argument(chance))
        elif kind < 0.13:
            delattr(subject, name)
        else:
            value = getattr(subject, name)
            if callable(value):
                count = chance.choice((0, 0, 1, 1, 2, 3))
                self.keep(value(*(self.argument(chance) for _ in range(count))), chance)

    def keep(self, result: object, chance: random.Random) -> None:
        """Let other threads use an object that a call has returned, or use it now."""
        if hasattr(result, "throw") or asyncio.isfuture(result):
            self.others[chance.randrange(len(self.others))] = result
            if len(self.others) < 8:
                self.others.append(result)
            if chance.random() < 0.5 and hasattr(result, "throw"):  # a socket has send(), too
                result.send(None)

    def maltreat(self, number: int, end: float) -> None:
        chance = random.Random(f"{self.seed} {number}")
        while time.monotonic() < end:
            for _ in range(20):
                try:
                    self.call(chance)
                except (Exception, asyncio.CancelledError, GeneratorExit):
                    continue

    def play(self, make: Callable[[Stage], Any], threads: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.subject = make(self)
        crew = [
            threading.Thread(target=self.maltreat, args=(number, end), daemon=True)
            for number in range(threads)
        ]
        for thread in crew:
            thread.start()
        while time.monotonic() < end:
            time.sleep(seconds / 20)
            self.subject = make(self)  # the threads go on with the new one
        for thread in crew:
            thread.join(20)
            if thread.is_alive():
                faulthandler.dump_traceback(all_threads=True)
                sys.exit(f"a thread hangs with {self.subject!r}")
        self.subject = None
        self.others = [None]

    def end(self) -> None:
        self.over = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
        if self.thread.is_alive():
            faulthandler.dump_traceback(all_threads=True)
            sys.exit("the loop hangs")


def print_nothing(*args: object, **kwargs: object) -> None:
    """A callback."""


async def forever(stage: Stage) -> None:
    while True:
        await stage.future()


async def rounds() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def a_group(stage: Stage) -> Any:
    async def members() -> Any:
        group = fastaio.TaskGroup()
        await group.__aenter__()
        for _ in range(3):
            group.create_task(rounds())
        return group

    return asyncio.run_coroutine_threadsafe(members(), stage.loop).result(20)


GROUPS: dict[str, tuple[Callable[[Stage], Any], ...]] = {
    "futures": (
        lambda stage: stage.future(),
        lambda stage: iter(stage.future()),
        lambda stage: fastaio.Future.__new__(fastaio.Future),
        lambda stage: stage.in_loop(lambda: stage.loop.create_task(forever(stage))),
        lambda stage: stage.in_loop(lambda: stage.loop.create_task(rounds())),
        lambda stage: fastaio.Task.__new__(fastaio.Task),
    ),
    "locks": (
        lambda stage: fastaio.Lock(),
        lambda stage: fastaio.Event(),
        lambda stage: fastaio.Semaphore(1),
        lambda stage: fastaio.BoundedSemaphore(2),
        lambda stage: fastaio.Condition(),
        lambda stage: fastaio.Barrier(2),
    ),
    "queues": (
        lambda stage: fastaio.Queue(2),
        lambda stage: fastaio.PriorityQueue(),
        lambda stage: fastaio.LifoQueue(1),
        lambda stage: fastaio.Queue(1).put(1),
        lambda stage: fastaio.Queue(1).get(),
    ),
    "functions": (
        lambda stage: stage.in_loop(lambda: fastaio.gather(stage.future(), rounds())),
        lambda stage: stage.in_loop(lambda: fastaio.shield(stage.future())),
        lambda stage: fastaio.wait([stage.future()], timeout=0.01),
        lambda stage: fastaio.wait_for(rounds(), 0.01),
        lambda stage: fastaio.sleep(0.001),
        lambda stage: stage.in_loop(lambda: fastaio.as_completed([stage.future(), rounds()])),
        lambda stage: stage.in_loop(lambda: fastaio.timeout(0.01)),
        a_group,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each object")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    faulthandler.enable()
    faulthandler.dump_traceback_later(options.seconds * 8 + 15, exit=True)
    warnings.simplefilter("ignore")
    logging.disable()
    sys.unraisablehook = print_nothing
    sys.setswitchinterval(1e-5)
    stage = Stage(options.seed)
    for make in GROUPS[options.group]:
        stage.play(make, options.threads, options.seconds)
    stage.end()
    print(stage.calls, "calls")


if __name__ == "__main__":
    main()

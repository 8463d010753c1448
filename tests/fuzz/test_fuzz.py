"""A bounded run of the fuzzer, and that it finds what is planted."""

import os
import subprocess
import sys

import pytest

from ..support import run_python

SEEDS = 50 if "libasan" in os.environ.get("LD_PRELOAD", "") else 100
FIRST = 20_261_129
GUARD = 240


def fuzz(*args):
    """What ``python -m tests.fuzz`` prints, and its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=GUARD,
    )
    return done.stdout, done.returncode


@pytest.mark.fastaio_only
@pytest.mark.timeout(GUARD)
@pytest.mark.parametrize("mode", ["hostile", "differential", "primitives"])
def test_no_program_fails(mode):
    printed, status = fuzz("--mode", mode, "--seed", FIRST, "--count", SEEDS)
    assert status == 0, printed


@pytest.mark.timeout(GUARD)
def test_asyncio_does_what_asyncio_does():
    arguments = "--mode", "differential", "--backend", "asyncio"
    printed, status = fuzz(*arguments, "--seed", FIRST, "--count", SEEDS)
    assert status == 0, printed


@pytest.mark.fastaio_only
def test_a_seed_is_a_program():
    modes = "hostile", "differential", "primitives"
    shown = [fuzz("--seed", 1, "--mode", mode, "--show") for mode in modes]
    assert [status for _, status in shown] == [0, 0, 0]
    for printed, _ in shown:
        compile(printed, "<program>", "exec")
    assert shown[0] == fuzz("--seed", 1, "--mode", "hostile", "--show")


# A hunt through three seeds, with one statement more in the middle of the second program.
PLANTED = """
import sys
from tests.fuzz import hunt
from tests.fuzz.program import Op

mode, statement, backend, seconds, shrink_seconds = sys.argv[1:]
hunt.SECONDS_EACH = float(seconds)

def generate(mode, seed, backend):
    program = hunt.make(mode, seed, "epoll")
    if seed != 2:
        return program
    ops = program.main.ops
    ops = (*ops[:3], Op("!" + statement), *ops[3:])
    return program._replace(main=program.main._replace(ops=ops))

def say(text):
    print(text)

hunt.prepare()
found = hunt.Hunt(say, shrink_seconds=float(shrink_seconds), generate=generate)
found.run([mode], [backend], 1, count=3)
print("failures", len(found.failures), "of", found.count)
"""


def planted(mode, statement, backend="epoll", seconds=20, shrink=30, before=""):
    arguments = mode, statement, backend, str(seconds), str(shrink)
    return run_python(before + PLANTED, *arguments, timeout=GUARD).stdout


@pytest.mark.fastaio_only
@pytest.mark.timeout(GUARD)
@pytest.mark.parametrize(
    ("mode", "statement", "happened"),
    [
        ("hostile", "__import__('ctypes').string_at(0)", "crash: "),
        ("hostile", "asyncio.sleep = None", "crash: exit status 1"),
        ("hostile", "print('runtime error: planted')", "crash: runtime error: planted"),
        ("hostile", "asyncio.gather = lambda *args: asyncio.sleep(0)", "corruption"),
        ("differential", "__import__('ctypes').string_at(0)", "crash: "),
    ],
)
def test_what_is_planted_is_found_and_shrunk(mode, statement, happened):
    printed = planted(mode, statement)
    assert printed.endswith("failures 1 of 3\n"), printed
    program = printed.split("\n\n")
    assert happened in program[0]
    assert "--seed 2 --count 1" in program[0]
    lines = printed.splitlines()
    begin = next(number for number, line in enumerate(lines) if " = begin(" in line)
    end = next(number for number, line in enumerate(lines) if line.startswith(("end(", "finish(")))
    assert [line for line in lines[begin + 2 : end] if line] == [statement]


@pytest.mark.fastaio_only
@pytest.mark.timeout(GUARD)
def test_a_hang_is_found():
    statement = "1 in iter(int, 1)"  # for ever, in C, and no signal handler is called
    printed = planted("hostile", statement, seconds=4, shrink=0)
    assert "hang; hostile seed 2 on epoll" in printed
    assert statement in printed
    assert "Fatal Python error: Aborted" in printed, printed  # where it was
    assert printed.endswith("failures 1 of 3\n")


# Primitives with a fault each, and a hunt for the first program that shows it.
FAULTY = """
import asyncio
from tests import primutil

class Lock(asyncio.Lock):
    "Wakes who came last."
    def _wake_up_first(self):
        if self._waiters and not (last := self._waiters[-1]).done():
            last.set_result(True)

class Queue(asyncio.Queue):
    "Wakes who came last."
    def _wakeup_next(self, waiters):
        waiters.rotate(1)
        super()._wakeup_next(waiters)

class Event(asyncio.Event):
    "Wakes a turn late."
    def set(self):
        asyncio.get_event_loop().call_soon(super().set)

async def sleep(delay, result=None):
    "Wakes a turn late."
    await asyncio.sleep(delay)
    return await asyncio.sleep(0, result)

async def wait_for(awaitable, timeout):
    "Has another cause."
    try:
        return await asyncio.wait_for(awaitable, timeout)
    except TimeoutError:
        raise TimeoutError from None

def gather(*awaitables, return_exceptions=False):
    "Cancels in another order."
    return asyncio.gather(*awaitables[::-1], return_exceptions=return_exceptions)

class TaskGroup(asyncio.TaskGroup):
    "Forgets what its body has raised."
    async def __aexit__(self, kind, error, traceback):
        return await super().__aexit__(None, None, None)

import sys
from tests.fuzz import primitives, stage
from tests.fuzz.program import source

name = sys.argv[1]
vars(primutil.FASTAIO).update(vars(primutil.ASYNCIO), **{name: globals()[name]})
for seed in range(400):
    text = source(primitives.generate(seed, "asyncio"))
    if difference := stage.compare_primitives(text, "asyncio"):
        print(seed, difference)
        break
"""


@pytest.mark.fastaio_only
@pytest.mark.timeout(GUARD)
@pytest.mark.parametrize(
    "name", ["Event", "Lock", "Queue", "TaskGroup", "gather", "sleep", "wait_for"]
)
def test_a_faulty_primitive_is_found(name):
    printed = run_python(FAULTY, name, timeout=GUARD).stdout
    assert "asyncio: " in printed
    assert "fastaio's primitives on asyncio:" in printed


SWAPPED = """
import asyncio
from tests.fuzz import stage

class Swapped(asyncio.SelectorEventLoop):
    "Runs a callback of a certain argument before all others."

    def call_soon(self, callback, *args, context=None):
        handle = super().call_soon(callback, *args, context=context)
        if args == ("swapped",):
            self._ready.rotate(1)
        return handle

stage.FACTORIES["swapped"] = Swapped
"""


@pytest.mark.timeout(GUARD)
def test_another_order_is_found_and_shrunk():
    statement = "h[0] = loop.call_soon(log, 1); h[1] = loop.call_soon(log, 'swapped')"
    printed = planted("differential", statement, "swapped", before=SWAPPED)
    assert "difference; differential seed 2" in printed, printed
    assert "asyncio: - | 0 1\nfastaio: - | 0 'swapped'\n" in printed
    program = printed.partition("difference; differential seed 2")[2].partition("finish(")[0]
    assert program.count("\n") < 12, printed

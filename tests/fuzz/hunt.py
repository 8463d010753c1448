"""Run many generated programs, and report each that fails: its seed, shrunk, and what happened."""

import logging
import os
import re
import sys
import time
from typing import NamedTuple

from . import differential, forked, hostile, primitives, stage, world
from .program import source
from .shrink import shrink

GENERATORS = {"hostile": hostile, "differential": differential, "primitives": primitives}
MODES = tuple(GENERATORS)
#: How the two runs of a program are compared; a hostile program runs once.
COMPARISONS = {"differential": stage.compare, "primitives": stage.compare_primitives}
BATCH = 25
SECONDS_EACH = 20.0  # what one program may take, on a slow machine with sanitizers
# With one of these a loop may rightly wait for ever: it can be run while it runs, and the inner run
# takes the outer one's stop(), or it forgets what was queued.
FORGETFUL = (
    "_nest_patched",
    "_set_running_loop",
    "_thread_id",
    "oop.__init__",
    "loop._run",
    "loop._closed",
)


class Failure(NamedTuple):
    """A program that failed, and how."""

    mode: str
    backend: str
    seed: int
    outcome: forked.Outcome
    program: object
    others: tuple = ()  # the seeds that have to run before it, where it does not fail by itself

    @property
    def signature(self):
        """What failures of one cause have in common: the C functions, else the first words."""
        frames = re.findall(r"#\d+ 0x\w+ in (\w+) .*?(?:_fastaio|asyncio)", self.outcome.output)
        if frames:
            return (self.outcome.kind, *frames[:3])
        lines = self.outcome.output.splitlines()
        if self.outcome.kind == "difference":
            return (self.outcome.kind, re.sub(r"\d+", "", " ".join(lines[:2])))
        places = re.findall(r'File ".*?", line \d+ in \w+', self.outcome.output)
        return (self.outcome.what, *places[:1])


def make(mode, seed, backend):
    """The program of a seed."""
    return GENERATORS[mode].generate(seed, backend)


def prepare():
    """Make what all children share, before the first fork."""
    logging.disable()
    world.client_tls()
    world.server_tls()


def play(mode, program, backend):
    """Run one program in this process; return an exit status and print what was wrong."""
    text = source(program)
    if mode in COMPARISONS:
        difference = COMPARISONS[mode](text, backend)
        if difference:
            print(difference)
            return forked.DIFFERENT
        return 0
    code = compile(text, "<program>", "exec")
    exec(code, {"__name__": "program"})
    if world.stuck and not any(name in text for name in FORGETFUL):
        print(f"it waited for ever:\n{world.stuck[0]}")
        return forked.STUCK
    wrong = world.unsound()
    if wrong:
        print("a new loop is unsound:", wrong)
        return forked.CORRUPT
    return 0


def run_programs(mode, programs, backend):
    """The outcome of a list of programs that run in one child, one after the other."""

    def child(reach):
        for index, program in enumerate(programs):
            reach(index)
            status = play(mode, program, backend)
            if status:
                return status
        return 0

    return forked.run(child, SECONDS_EACH + len(programs) / 2)


class Hunt:
    """Runs batches of seeds and collects what fails."""

    def __init__(self, say=print, *, shrink_seconds=60.0, generate=make):
        self.say = say
        self.shrink_seconds = shrink_seconds
        self.generate = generate
        self.failures = []
        self.count = 0
        self.seen = {}

    def batch(self, mode, backend, seeds):
        """Run these seeds; report what fails and go on behind it."""
        seeds = list(seeds)
        while seeds:
            programs = [self.generate(mode, seed, backend) for seed in seeds]
            outcome = run_programs(mode, programs, backend)
            if not outcome.what:
                self.count += len(seeds)
                return
            self.count += outcome.reached + 1
            self.found(mode, backend, seeds[: outcome.reached + 1], outcome)
            seeds = seeds[outcome.reached + 1 :]

    def found(self, mode, backend, seeds, outcome):
        """Look which seed fails by itself, the last one first; shrink it and report it."""
        for seed in reversed(seeds):
            program = self.generate(mode, seed, backend)
            alone = run_programs(mode, [program], backend)
            if alone.what:
                outcome, others, before = alone, [], []
                break
        else:
            *others, seed = seeds
            *before, program = [self.generate(mode, seed, backend) for seed in seeds]
        failure = Failure(mode, backend, seed, outcome, program, tuple(others))
        if failure.signature in self.seen:
            self.seen[failure.signature] += 1
            return
        self.seen[failure.signature] = 1

        def fails(candidate):
            ended = run_programs(mode, [*before, candidate], backend)
            return ended.kind == outcome.kind

        small = shrink(program, fails, self.shrink_seconds)
        again = run_programs(mode, [*before, small], backend)
        failure = failure._replace(program=small, outcome=again if again.what else outcome)
        self.failures.append(failure)
        self.say(report(failure))

    def run(self, modes, backends, first, seconds=None, count=None):
        """Run seeds from `first` on, for so many seconds or so many seeds of each kind."""
        deadline = None if seconds is None else time.monotonic() + seconds
        seed = first
        while count is None or seed < first + count:
            last = seed + BATCH if count is None else min(seed + BATCH, first + count)
            for mode in modes:
                for backend in backends:
                    if deadline is not None and time.monotonic() > deadline:
                        return
                    self.batch(mode, backend, range(seed, last))
            seed = last


def report(failure):
    """What is printed of a failure."""
    lines = [
        "=" * 98,
        f"{failure.outcome.what}; {failure.mode} seed {failure.seed} on {failure.backend}; again:",
        f"  {sys.executable} -m tests.fuzz --mode {failure.mode} --backend {failure.backend} "
        f"--seed {failure.seed} --count 1",
    ]
    if failure.others:
        lines.append(f"only in a batch, after the seeds from {failure.others[0]} on")
    output = failure.outcome.output.strip()
    lines += ["", source(failure.program).rstrip(), "", output[-6000:], "=" * 98]
    return "\n".join(lines)


def usable(backend):
    """Whether a loop with this backend can be made here; asked in a child."""

    def child(reach):
        world.fastaio.new_event_loop(backend=backend).close()

    return not forked.run(child, SECONDS_EACH).what


def backends():
    """The backends that there are on this machine, or the one of FASTAIO_BACKEND."""
    asked = os.environ.get("FASTAIO_BACKEND", "auto")
    names = ["epoll", "io_uring"] if asked == "auto" else [asked]
    return [name for name in names if usable(name)]

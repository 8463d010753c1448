"""Runs modules of CPython's asyncio tests, each in a process of its own, and judges the outcome.

A test that hangs or ends its process is a failed test; the rest of its module goes on in a new
process. What fails on fastaio is run on asyncio too, so that a test that this machine cannot pass
is told apart.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field

from tests.conformance.modules import Module
from tests.conformance.not_applicable import NotApplicable, listed

#: Seconds for what happens outside a test: imports, fixtures, the end of the process.
BETWEEN_TESTS = 60
#: What a run that cannot get on is allowed before it is given up.
MOST_RESTARTS = 10


@dataclass
class Outcome:
    id: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return self.outcome in ("failed", "crashed", "hung")


@dataclass
class Report:
    """What a module came to."""

    module: str
    loop: str
    run: int = 0
    passed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    #: Objects of fastaio by kind and, in a run with its primitives, places that call each of them.
    made: dict[str, int] = field(default_factory=dict)
    #: Listed in not_applicable.py, and failed as it says.
    not_applicable: list[str] = field(default_factory=list)
    #: Failed here and on asyncio too.
    fails_on_asyncio: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    #: What is wrong beyond single tests.
    errors: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.failures and not self.errors

    def line(self) -> str:
        made = " ".join(f"{count} {kind}" for kind, count in self.made.items())
        return (
            f"{self.module:26}{self.run:5} run {self.passed:5} passed {len(self.failures):4} failed"
            f" {len(self.not_applicable):4} not applicable {self.skipped:4} skipped"
            f" {self.seconds:6.1f} s" + (f"   seen {made}" if made else "")
        )

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Child:
    """One process that runs tests of a module, and the events that it sends."""

    def __init__(self, module: str, loop: str, *options: str):
        self.read, write = os.pipe()
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.child", module]
            + ["--loop", loop, "--report-to", str(write), *options],
            pass_fds=[write],
            stdin=subprocess.DEVNULL,
            stdout=self.errors,
            stderr=self.errors,
            start_new_session=True,
        )
        os.close(write)
        os.set_blocking(self.read, False)
        self.buffer = b""
        #: Seconds to wait for the next event.
        self.limit = BETWEEN_TESTS

    def events(self):
        """Yield events until the process has closed its end; TimeoutError if it sends none."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.read, selectors.EVENT_READ)
            while True:
                if not selector.select(self.limit):
                    raise TimeoutError
                data = os.read(self.read, 1 << 16)
                if not data:
                    return
                *lines, self.buffer = (self.buffer + data).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    def end(self, *, hung: bool = False) -> int:
        """Reap the process, by force where it hangs, and return its exit status."""
        if not hung:
            try:
                return self.process.wait(BETWEEN_TESTS)
            except subprocess.TimeoutExpired:
                pass
        self.process.send_signal(signal.SIGABRT)  # faulthandler tells where it stood
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the whole group has ended
        return self.process.wait()

    def said(self, most: int = 4000) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")[-most:]

    def close(self) -> None:
        os.close(self.read)
        self.errors.close()


def run_tests(
    module: Module, loop: str, *, leave_out: list[str], only: list[str] | None = None
) -> tuple[list[Outcome], dict[str, int], list[str]]:
    """Run a module. Returns each test's outcome, what was made, and what went wrong besides."""
    outcomes: list[Outcome] = []
    made: dict[str, int] = {}
    errors: list[str] = []
    ids: list[str] = []
    start = 0
    for _ in range(MOST_RESTARTS):
        options = ["--start", str(start)]
        if leave_out:
            options += ["--leave-out", *leave_out]
        if only is not None:
            options += ["--only", *only]
        child = Child(module.name, loop, *options)
        running: str | None = None
        finished = hung = False
        try:
            try:
                for event in child.events():
                    match event.pop("event"):
                        case "tests":
                            ids = event["ids"]
                        case "start":
                            running, child.limit = event["id"], module.limit
                        case "end":
                            running, child.limit = None, BETWEEN_TESTS
                            outcomes.append(Outcome(**event))
                        case "finished":
                            finished = True
                            for kind, count in event["made"].items():
                                made[kind] = made.get(kind, 0) + count
                            wanted = os.environ.get("FASTAIO_BACKEND", "auto")
                            for backend in event["backends"]:
                                if wanted not in ("auto", backend):
                                    errors.append(f"loops ran on {backend}, not on {wanted}")
                            break  # the pipe may stay open in processes that the tests left
            except TimeoutError:
                hung = True
            status = child.end(hung=hung)
            said = child.said()
        finally:
            child.close()
        if finished and not hung:
            if status != 0:
                errors.append(f"the process ended with status {status}:\n{said}")
            return outcomes, made, errors
        if running is None:
            what = "hung" if hung else f"ended with status {status}"
            errors.append(f"the process {what} outside any test:\n{said}")
            return outcomes, made, errors
        what = "hung" if hung else "crashed"
        outcomes.append(Outcome(running, what, f"{what} (status {status})\n{said}"))
        start = ids.index(running) + 1
    errors.append(f"given up after {MOST_RESTARTS} hangs and crashes")
    return outcomes, made, errors


def run_module(module: Module, loop: str) -> Report:
    """Run a module and judge it."""
    began = time.monotonic()
    entries = listed(module.name) if loop == "fastaio" else []
    exact = [entry.test for entry in entries if not entry.run]
    outcomes, made, errors = run_tests(module, loop, leave_out=exact)
    report = Report(module.name, loop, made=made, errors=errors)
    report.not_applicable += exact
    for outcome in outcomes:
        judge(report, outcome, [entry for entry in entries if entry.covers(outcome.id)])
    if not report.run:
        report.errors.append("no test was run")
    names = {outcome.id for outcome in outcomes}
    for entry in entries:
        if entry.run and not any(entry.covers(name) for name in names):
            report.errors.append(f"{entry.test} is listed as not applicable but does not exist")
    if loop == "fastaio":
        for kind in module.wanted:
            if not made.get(kind):
                report.errors.append(f"no {kind} of fastaio were seen: nothing is proved")
        excuse(report, module)
    report.seconds = time.monotonic() - began
    return report


def judge(report: Report, outcome: Outcome, entries: list[NotApplicable]) -> None:
    if outcome.outcome == "skipped":
        report.skipped += 1
        return
    report.run += 1
    if outcome.failed and entries:
        report.not_applicable.append(outcome.id)
    elif outcome.failed:
        report.failures[outcome.id] = outcome.detail
    else:
        report.passed += 1
        if entries:
            report.errors.append(f"{outcome.id} is listed as not applicable but passes")


def excuse(report: Report, module: Module) -> None:
    """Set apart what fails on asyncio just the same."""
    if not report.failures:
        return
    outcomes, _, _ = run_tests(module, "asyncio", leave_out=[], only=list(report.failures))
    for outcome in outcomes:
        if outcome.failed and outcome.id in report.failures:
            del report.failures[outcome.id]
            report.fails_on_asyncio.append(outcome.id)

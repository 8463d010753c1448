"""Runs one module of ``test.test_asyncio`` in this process and reports each test as a JSON line.

Started by ``runner.py``; the lines go to a descriptor of their own.
"""

import argparse
import faulthandler
import importlib
import json
import os
import signal
import time
import traceback
import unittest

from tests.conformance.modules import BY_NAME, PACKAGE


class Reporter(unittest.TestResult):
    """Sends what happens to each test, as it happens: a crash or a hang loses nothing."""

    def __init__(self, send):
        super().__init__()
        self.send = send
        self.outcome = None
        self.detail = ""
        self.began = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.outcome, self.detail, self.began = None, "", time.monotonic()
        self.send(event="start", id=short_id(test))

    def stopTest(self, test):
        super().stopTest(test)
        self.send(
            event="end",
            id=short_id(test),
            outcome=self.outcome or "passed",
            detail=self.detail,
            seconds=round(time.monotonic() - self.began, 3),
        )

    def fail(self, test, error):
        detail = "".join(traceback.format_exception(*error))
        if isinstance(test, unittest.TestCase) or hasattr(test, "test_case"):
            self.outcome = "failed"
            self.detail = self.detail or detail
        else:  # a fixture of a class or of the module, outside any test
            self.send(event="end", id=short_id(test), outcome="failed", detail=detail, seconds=0)

    def addError(self, test, err):
        self.fail(test, err)

    def addFailure(self, test, err):
        self.fail(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.fail(test, err)

    def addSkip(self, test, reason):
        if not isinstance(test, unittest.TestCase):
            return
        if self.outcome is None:
            self.outcome, self.detail = "skipped", reason

    def addExpectedFailure(self, test, err):
        self.outcome = "passed"

    def addUnexpectedSuccess(self, test):
        self.outcome, self.detail = "failed", "unexpected success"


def short_id(test):
    return test.id().removeprefix(PACKAGE + ".")


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--loop", choices=("fastaio", "asyncio"), required=True)
    parser.add_argument("--report-to", type=int, required=True)
    parser.add_argument("--start", type=int, default=0, help="leave out the first tests")
    parser.add_argument("--leave-out", nargs="*", default=[], help="tests not to run")
    parser.add_argument("--only", nargs="*", help="the only tests to run")
    options = parser.parse_args()

    def send(**message):
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(options.report_to, data) :]

    os.set_inheritable(options.report_to, False)
    # A shell starts background jobs with Ctrl-C ignored, and the tests of Ctrl-C need it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    census = None
    if options.loop == "fastaio":
        from tests.conformance.substitute import put_fastaio

        census = put_fastaio(BY_NAME[options.module])
    module = importlib.import_module(f"{PACKAGE}.{options.module}")
    tests = list(flatten(unittest.defaultTestLoader.loadTestsFromModule(module)))
    chosen = [
        test
        for test in tests[options.start :]
        if short_id(test) not in options.leave_out
        and (options.only is None or short_id(test) in options.only)
    ]
    send(event="tests", ids=[short_id(test) for test in tests])
    unittest.TestSuite(chosen).run(Reporter(send))
    send(
        event="finished",
        made=census.report() if census else {},
        backends=sorted(census.backends) if census else [],
    )


if __name__ == "__main__":
    main()

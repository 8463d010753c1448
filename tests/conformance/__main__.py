"""``python -m tests.conformance``: CPython's own asyncio tests on fastaio, module by module."""

import argparse
import json
import os
import sys

from tests.conformance.modules import BY_NAME, MODULES, suite_installed, with_primitives
from tests.conformance.runner import run_module


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--module", nargs="+", metavar="NAME", help="only these, e.g. test_tasks")
    parser.add_argument("--loop", choices=("fastaio", "asyncio"), default="fastaio")
    parser.add_argument(
        "--backend", choices=("epoll", "io_uring"), help="of fastaio; else as FASTAIO_BACKEND says"
    )
    parser.add_argument(
        "--primitives", action="store_true", help="put fastaio's in the place of asyncio's, too"
    )
    parser.add_argument("--json", metavar="FILE", help="write the reports to this file")
    parser.add_argument("-v", "--verbose", action="store_true", help="whole tracebacks")
    options = parser.parse_args()
    if not suite_installed():
        print("This Python came without its tests (test.test_asyncio).", file=sys.stderr)
        return 2
    if unknown := set(options.module or ()) - BY_NAME.keys():
        parser.error(f"not among the modules: {', '.join(sorted(unknown))}")

    if options.backend:
        os.environ["FASTAIO_BACKEND"] = options.backend
    if options.primitives:
        if options.loop == "asyncio":
            parser.error("--primitives are fastaio's: not with --loop asyncio")
        os.environ["FASTAIO_PRIMITIVES"] = "1"
    backend = os.environ.get("FASTAIO_BACKEND", "auto") if options.loop == "fastaio" else "none"
    primitives = with_primitives() and options.loop == "fastaio"
    whose = "fastaio's" if primitives else "asyncio's"
    print(
        f"Python {sys.version.split()[0]}, {options.loop}, backend: {backend}, {whose} primitives"
    )
    reports = []
    for module in MODULES:
        if options.module and module.name not in options.module:
            continue
        if not module.installed:
            print(f"{module.name:26} not in this Python")
            continue
        report = run_module(module, options.loop)
        reports.append(report)
        print(report.line(), flush=True)
        for test, detail in report.failures.items():
            lines = detail.rstrip().splitlines()
            print(f"    FAILED {test}")
            for line in lines if options.verbose else lines[-1:]:
                print(f"        {line}")
        for test in report.fails_on_asyncio:
            print(f"    fails on asyncio too: {test}")
        for error in report.errors:
            print(f"    ERROR {error}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            python = sys.version.split()[0]
            found = [report.as_json() for report in reports]
            run = {"python": python, "backend": backend, "primitives": primitives}
            json.dump({**run, "modules": found}, file, indent=1)
    run, passed = sum(r.run for r in reports), sum(r.passed for r in reports)
    failed = sum(len(r.failures) for r in reports)
    beside = sum(len(r.not_applicable) for r in reports)
    print(f"{run} run, {passed} passed, {failed} failed, {beside} not applicable")
    return 0 if all(report.good for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())

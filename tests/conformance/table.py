"""``python -m tests.conformance.table FILE.json ...``: the table of docs/conformance.md, from what
``python -m tests.conformance --json FILE.json`` has found with each Python."""

import argparse
import json
import sys

from tests.conformance.modules import MODULES
from tests.conformance.not_applicable import NOT_APPLICABLE

HEAD = """# Conformance

CPython's own asyncio tests, as installed with each interpreter, run on fastaio's loop, `Task` and
`Future`. These commands make this page:

```
python -m tests.conformance --json 3.13.json            # with each Python
python -m tests.conformance --primitives --json p3.13.json --module test_tasks test_taskgroups \\
    test_timeouts test_waitfor test_locks test_queues test_graph test_staggered \\
    test_eager_task_factory
python -m tests.conformance.table 3.11.json 3.12.json ... > docs/conformance.md
```

Each module runs in a process of its own under a time limit. A hang is a failure, and so is a module
whose tests made no loop, task or future of fastaio. Only names are replaced: no file of CPython is
copied or changed. A cell has the number of tests that passed and, after the plus, of those that do
not apply. Tests that skip themselves (a resource is missing, or the system is another one) do not
count. The last table has the modules that use locks, queues, `sleep()` and so on: there,
fastaio's are in the place of asyncio's.
"""

REASONS = """
## What does not apply

These tests ask about asyncio's private parts. They run too, except those that would hang or end the
process. One that passes is an error, because then it does apply
(`tests/conformance/not_applicable.py`).

| Test | Pythons | Why |
|---|---|---|
"""


def cell(report) -> str:
    if report is None:
        return "-"
    failed = len(report["failures"]) + len(report["errors"])
    text = str(report["passed"])
    if report["not_applicable"]:
        text += f" + {len(report['not_applicable'])}"
    return f"{text}, **{failed} failed**" if failed else text


def table(runs) -> str:
    heads = [f"{run['python']}" for run in runs]
    lines = ["| Module | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(runs)]
    found = [{report["module"]: report for report in run["modules"]} for run in runs]
    there = set().union(*found)
    for module in (module for module in MODULES if module.name in there):
        cells = [cell(reports.get(module.name)) for reports in found]
        lines.append(f"| {module.name} | " + " | ".join(cells) + " |")
    totals = []
    for reports in found:
        passed = sum(report["passed"] for report in reports.values())
        beside = sum(len(report["not_applicable"]) for report in reports.values())
        totals.append(f"**{passed} + {beside}**" if beside else f"**{passed}**")
    lines.append("| **all** | " + " | ".join(totals) + " |")
    return "\n".join(lines) + "\n"


def kind_of(run) -> tuple[str, bool]:
    """What runs of one table have in common: the backend, and whose primitives."""
    return run["backend"], run.get("primitives", False)


def versions(entry) -> str:
    first, last = (".".join(map(str, version)) for version in (entry.since, entry.until))
    return first if first == last else f"{first} to {last}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.table", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.json")
    runs = []
    for name in parser.parse_args().files:
        with open(name, encoding="utf-8") as file:
            runs.append(json.load(file))
    runs.sort(key=lambda run: [int(part) for part in run["python"].split(".")[:2]])
    out = sys.stdout.write
    out(HEAD)
    for kind in dict.fromkeys(map(kind_of, runs)):
        backend, primitives = kind
        title = "the default" if backend == "auto" else f"`{backend}`"
        out(f"\n## Backend: {title}{', with the native primitives' if primitives else ''}\n\n")
        out(table([run for run in runs if kind_of(run) == kind]))
    out(REASONS)
    for entry in NOT_APPLICABLE:
        where = versions(entry) + (", with `--primitives`" if entry.primitives else "")
        out(f"| `{entry.test}` | {where} | {entry.reason} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.conformance.table FILE.json ...``: the table of docs/conformance.md, from what
``python -m tests.conformance --json FILE.json`` has found with each Python."""

import argparse
import json
import sys

from tests.conformance.modules import MODULES
from tests.conformance.not_applicable import NOT_APPLICABLE

HEAD = """# Conformance

CPython's own tests of asyncio, those installed with each interpreter, on fastaio's loop, `Task` and
`Future`. This page is made by

```
python -m tests.conformance --json 3.13.json            # with each Python
python -m tests.conformance.table 3.11.json 3.12.json ... > docs/conformance.md
```

Each module runs in a process of its own under a time limit, so that a hang is a failure; a module
whose tests made no loop, task or future of fastaio is one, too. Only names are replaced: nothing of
CPython's is copied or changed. A cell says how many tests passed; behind the plus stands how many
do not apply. Tests that skip themselves (for want of a resource, or on this system) do not count.
"""

REASONS = """
## What does not apply

These ask about asyncio's private parts. They are run all the same, but those that would hang or end
the process, and one that passes is an error (`tests/conformance/not_applicable.py`).

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
    for module in MODULES:
        cells = [cell(reports.get(module.name)) for reports in found]
        lines.append(f"| {module.name} | " + " | ".join(cells) + " |")
    totals = []
    for reports in found:
        passed = sum(report["passed"] for report in reports.values())
        beside = sum(len(report["not_applicable"]) for report in reports.values())
        totals.append(f"**{passed} + {beside}**")
    lines.append("| **all** | " + " | ".join(totals) + " |")
    return "\n".join(lines) + "\n"


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
    for backend in dict.fromkeys(run["backend"] for run in runs):
        title = "the default" if backend == "auto" else f"`{backend}`"
        out(f"\n## Backend: {title}\n\n")
        out(table([run for run in runs if run["backend"] == backend]))
    out(REASONS)
    for entry in NOT_APPLICABLE:
        out(f"| `{entry.test}` | {versions(entry)} | {entry.reason} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

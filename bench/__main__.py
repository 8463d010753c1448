"""The command line: ``python -m bench [cells or globs ...]``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import figures, native, plot, report, system
from bench.cells import Cell, Served, Settings, all_cells, select
from bench.loops import LOOPS
from bench.progress import Progress
from bench.runner import Run, missing, probe


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("cells", nargs="*", help="families, names or globs (default: everything)")
    parser.add_argument("--loops", help="comma-separated (default: all that are installed)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 4; neighbours 2)")
    parser.add_argument("--quick", action="store_true", help="one round of short measurements")
    parser.add_argument("--list", action="store_true", help="show the cells and loops, then leave")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="draw the ratios of at most eight cells (.svg)",
    )
    parser.add_argument("--from", dest="source", metavar="FILE", help="show an earlier --json file")
    parser.add_argument(
        "--figures",
        metavar="FILE",
        nargs="+",
        help="renew the tables in README.md or docs/ (see figures.py)",
    )
    options = parser.parse_args(argv)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    unknown = [name for name in (options.loops or "").split(",") if name and name not in LOOPS]
    if unknown:
        parser.error(f"unknown loop {unknown[0]!r}; there are {', '.join(LOOPS)}")
    if options.plot and Path(options.plot).suffix != ".svg":
        parser.error("--plot wants a file that ends in .svg")
    if problem := find_problem(options):  # told now, and not after twenty minutes
        parser.error(problem)
    return options


def find_problem(options: argparse.Namespace) -> str | None:
    """Return why a file that the command line names is of no use; None if all are."""
    read = [name for name in (options.source, *(options.figures or ())) if name]
    made = [name for name in (options.json, options.plot) if name]
    for name in read:
        if not os.access(name, os.R_OK):
            return f"cannot read {name}"
    for name in [*made, *(options.figures or ())]:
        if not os.access(name if Path(name).exists() else Path(name).parent, os.W_OK):
            return f"cannot write {name}"
    try:
        figures.check([Path(name) for name in options.figures or ()])
    except LookupError as error:
        return str(error.args[0])
    return None


def show_list(cells: Sequence[Cell], present: dict[str, str], absent: dict[str, str]) -> None:
    """Print the cells and the loops."""
    for cell in cells:
        print(f"{cell.name:32} {cell.title}")
    print()
    for name in LOOPS:
        if name in present or name in absent:
            print(f"{name:32} {present.get(name) or 'absent: ' + absent[name]}")


def build(cells: Sequence[Cell]) -> dict[str, str]:
    """Compile the C programs; return the cells that cannot run here, each with the reason."""
    try:
        for name in ("load", "echo_server", "peer"):
            native.program(name)
    except native.BuildError as error:
        raise SystemExit(str(error)) from None
    encrypted = [cell for cell in cells if isinstance(cell, Served) and cell.load.tls]
    try:
        if encrypted:
            native.program("load", tls=True)
    except native.BuildError as error:
        return {cell.name: str(error) for cell in encrypted}
    return {}


def measure(cells: Sequence[Cell], options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark; an interrupt ends it early, with what there is."""
    wanted = [name for name in LOOPS if options.loops is None or name in options.loops.split(",")]
    present, absent = probe(wanted)
    if not present:
        raise SystemExit("none of these loops works here: " + "; ".join(absent.values()))
    skipped = {cell.name: f"needs {', '.join(missing(cell))}" for cell in cells if missing(cell)}
    skipped |= build(cells)
    cells = [cell for cell in cells if cell.name not in skipped]
    if options.quick:
        cells = [cell for cell in cells if cell.quick or cell.name in options.cells]
    rounds = options.rounds or (1 if options.quick else None)
    machine = system.describe()  # before the run, which is a load itself
    if busy := report.load_warning(machine):
        print(busy, file=sys.stderr)
    run = Run(cells, list(present), rounds, Settings.quick() if options.quick else Settings())
    progress = Progress(run.total())
    try:
        run.go(
            lambda turn, cell, loop: progress.begin(
                f"round {turn + 1}/{run.rounds_of(cell)} {cell.name}", loop
            ),
            progress.end,
        )
    except KeyboardInterrupt:
        print("\ninterrupted: what follows is not complete", file=sys.stderr)
    finally:
        progress.close()
    return {
        "machine": machine,
        "command": sys.argv[1:],
        "loops": present,
        "absent": absent,
        "skipped": skipped,
        "cells": run.results(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    options = arguments(argv)
    try:
        cells = select(all_cells(), options.cells)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    if options.list:
        show_list(cells, *probe())
        return 0
    if options.source:
        document = json.loads(Path(options.source).read_text())
        names = {cell.name for cell in cells}
        document["cells"] = {k: v for k, v in document["cells"].items() if k in names}
    else:
        document = measure(cells, options)
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    print(report.text(document), end="")
    if options.figures:
        print(*figures.write([Path(path) for path in options.figures], document), sep="\n")
    if options.plot:
        plot.draw(document, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs cells: a fresh process for every measurement, all loops in turn, round after round.

Interleaving matters more than anything else here: the machine is never as fast as it was a minute
ago, so loops are compared within a round, and each keeps its best round.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import native, system
from bench.cells import LIMIT, Cell, Sample, Served, Settings
from bench.loops import LOOPS

_CHILD = str(Path(__file__).with_name("child.py"))
#: Figures of a sample where more is better; of everything else the least is the best.
_MORE_IS_BETTER = frozenset({"rps", "ops", "requests", "count"})


class Failure(Exception):
    """A measurement that did not come about; the text says why."""


class Measured:
    """A process in a session of its own, which is ended with everything it started."""

    def __init__(
        self,
        command: Sequence[str],
        patience: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._deadline = time.monotonic() + patience
        self._patience = patience
        self._errors = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env={**os.environ, "PYTHONHASHSEED": "0", **(environment or {})},
        )
        self.pid = self._process.pid
        system.raise_session(self.pid)

    def __enter__(self) -> Measured:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it is gone already, and so is everything it started
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def answer(self) -> dict[str, Any]:
        """The next line of JSON that the process prints."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        line = b""
        while not line.endswith(b"\n"):
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise Failure(f"hangs: no result within {self._patience:.0f} s")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise Failure(self._epitaph())
            line += chunk
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failure(str(answer["error"]))
        return answer

    def _epitaph(self) -> str:
        """Why the process ended without an answer."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else ""
        if code < 0:
            return f"killed by {signal.Signals(-code).name}; {last}".rstrip("; ")
        return last or f"exit status {code}"


def python_child(loop: str, cell: Cell | None, settings: Settings | None = None) -> list[str]:
    """The command of a measuring process."""
    spec: dict[str, object] = {"loop": loop, "cores": system.cores()}
    if cell is not None and settings is not None:
        spec |= {"cell": cell.name, "settings": dataclasses.asdict(settings)}
    return [sys.executable, "-P", _CHILD, json.dumps(spec)]


def probe(names: Sequence[str] = LOOPS) -> tuple[dict[str, str], dict[str, str]]:
    """Which loops work in this interpreter, with their versions; and why the others do not."""
    present: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name in names:
        with Measured(python_child(name, None), 30.0) as process:
            try:
                present[name] = process.answer()["version"]
            except Failure as failure:
                absent[name] = str(failure)
    return present, absent


def missing(cell: Cell) -> list[str]:
    """The modules a cell needs and this interpreter lacks."""
    needs = cell.needs if isinstance(cell, Served) else ()
    return [name for name in needs if importlib.util.find_spec(name) is None]


def measure(cell: Cell, loop: str, settings: Settings) -> Sample:
    """One measurement of one cell on one loop."""
    if isinstance(cell, Served):
        return _measure_served(cell, loop, settings)
    with Measured(python_child(loop, cell, settings), cell.patience) as process:
        return process.answer()


def _measure_served(cell: Served, loop: str, settings: Settings) -> Sample:
    load = cell.load
    cubic = ["--cubic"] if load.cubic else []
    server_core, client_core = system.cores()
    if loop == LIMIT:
        command = [native.program("echo_server"), *cubic]
    else:
        command = python_child(loop, cell, settings)
    with Measured(command, cell.patience, cell.environment) as server:
        if loop == LIMIT:
            system.pin(server_core, server.pid)
        options = {
            "port": server.answer()["port"],
            "pid": server.pid,
            "mode": load.mode,
            "connections": load.connections,
            "size": load.size,
            "pipeline": load.pipeline,
            "path": load.path,
            "warmup": settings.warmup_seconds,
            "seconds": settings.load_seconds,
        }
        arguments = [f"--{key}={value}" for key, value in options.items()]
        try:
            generator = native.program("load", tls=load.tls)
        except native.BuildError as error:
            raise Failure(str(error)) from None
        with Measured([generator, *arguments, *cubic], cell.patience) as client:
            system.pin(client_core, client.pid)
            sample: Sample = client.answer()
    requests = sample["requests"]
    sample["value"] = sample.pop("server_cpu") / requests
    sample["wall"] = sample["seconds"] / requests
    sample["switches"] = sample.pop("server_switches") / requests
    return sample


def best(samples: Sequence[Sample]) -> Sample:
    """The best of each figure, and the median of the one that counts."""
    found = {
        key: (max if key in _MORE_IS_BETTER else min)(sample[key] for sample in samples)
        for key in samples[0]
        if all(key in sample for sample in samples)
    }
    found["median"] = statistics.median(sample["value"] for sample in samples)
    return found


class Run:
    """One interleaved run over cells and loops; `results` grows while it goes on."""

    def __init__(
        self, cells: Sequence[Cell], loops: Sequence[str], rounds: int, settings: Settings
    ) -> None:
        self.cells = cells
        self.loops = list(loops)
        self.rounds = rounds
        self.settings = settings
        self.samples: dict[str, dict[str, list[Sample]]] = {cell.name: {} for cell in cells}
        self.errors: dict[str, dict[str, str]] = {cell.name: {} for cell in cells}

    def runners(self, cell: Cell) -> list[str]:
        """Who takes part in a cell."""
        return [*self.loops, LIMIT] if cell.has_limit else self.loops

    def total(self) -> int:
        """How many measurements the run has."""
        return self.rounds * sum(len(self.runners(cell)) for cell in self.cells)

    def go(self, begin: Callable[[int, Cell, str], None], end: Callable[[], None]) -> None:
        """Measure everything; `begin` and `end` are called around each measurement."""
        for turn in range(self.rounds):
            for cell in self.cells:
                runners = self.runners(cell)
                shift = turn % len(runners)  # nobody always comes first
                for loop in runners[shift:] + runners[:shift]:
                    begin(turn, cell, loop)
                    self._one(cell, loop)
                    end()

    def _one(self, cell: Cell, loop: str) -> None:
        samples, errors = self.samples[cell.name], self.errors[cell.name]
        if loop in errors and loop not in samples:
            return  # it has never worked; do not wait for it every round
        try:
            samples.setdefault(loop, []).append(measure(cell, loop, self.settings))
        except Failure as failure:
            errors[loop] = str(failure)
            if not samples[loop]:
                del samples[loop]

    def results(self) -> dict[str, Any]:
        """Everything as plain data, for JSON and for the tables."""
        cells: dict[str, Any] = {}
        for cell in self.cells:
            loops: dict[str, Any] = {}
            for loop in self.runners(cell):
                samples = self.samples[cell.name].get(loop, [])
                entry: dict[str, Any] = {}
                if samples:
                    entry = {"best": best(samples), "rounds": samples}
                if loop in self.errors[cell.name]:
                    entry["error"] = self.errors[cell.name][loop]
                if entry:
                    loops[loop] = entry
            cells[cell.name] = {
                "title": cell.title,
                "unit": cell.unit,
                "baseline": cell.baseline,
                "loops": loops,
            }
        return cells

"""Runs cells: a fresh process for every measurement, all loops in turn, round after round.

Interleaving matters more than anything else here: the machine is never as fast as it was a minute
ago, so loops are compared within a round. The tables show the best of the rounds where other work
on the machine can only make a figure worse, and else the median.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import native, system
from bench.cells import LIMIT, Cell, Sample, Served, Settings
from bench.loops import LOOPS
from bench.units import median

_CHILD = str(Path(__file__).with_name("child.py"))


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
    return [name for name in cell.needs if importlib.util.find_spec(name) is None]


def measure(cell: Cell, loop: str, settings: Settings) -> Sample:
    """One measurement of one cell on one loop."""
    settings = cell.settings(settings)
    if isinstance(cell, Served):
        return _measure_served(cell, loop, settings)
    patience = cell.patience * settings.patience
    with Measured(python_child(loop, cell, settings), patience) as process:
        return process.answer()


def _measure_served(cell: Served, loop: str, settings: Settings) -> Sample:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_server(cell, loop, settings)) for _ in range(cell.servers)]
        ports = [server.answer()["port"] for server in servers]
        clients = [
            stack.enter_context(_client(cell, server, port, settings))
            for server, port in zip(servers, ports, strict=True)
        ]
        sample = together([client.answer() for client in clients], cell.load.connections)
    sample["value"] = cell.value(sample)
    sample["wall"] = sample["seconds"] / sample["requests"]
    sample["switches"] = sample.pop("server_switches") / sample["requests"]
    return sample


def _server(cell: Served, loop: str, settings: Settings) -> Measured:
    """Start the server of a cell, or the C program that is its limit."""
    patience = cell.patience * settings.patience
    if loop != LIMIT:
        return Measured(python_child(loop, cell, settings), patience, cell.environment)
    cubic = ["--cubic"] if cell.load.cubic else []
    server = Measured([native.program("echo_server"), *cubic], patience, cell.environment)
    system.pin(system.cores()[0], server.pid)
    return server


def _client(cell: Served, server: Measured, port: int, settings: Settings) -> Measured:
    """Start the load generator against a server."""
    load = cell.load
    options = {
        "port": port,
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
    switches = ["--cubic"] * load.cubic + ["--whole"] * cell.whole
    client = Measured([generator, *arguments, *switches], cell.patience * settings.patience)
    system.pin(system.cores()[1], client.pid)
    return client


def together(answers: Sequence[Sample], connections: int) -> Sample:
    """Join what several load generators, each with so many connections, measured at a time.

    Counts are added, latencies are the worst, and the share is that of the least served connection
    of all.
    """
    sums = {"requests", "rps", "server_cpu", "server_switches"}
    sample = {
        key: (sum if key in sums else max)(answer[key] for answer in answers) for key in answers[0]
    }
    least = min(answer["share"] * answer["requests"] for answer in answers) / connections
    sample["share"] = least * connections * len(answers) / sample["requests"]
    return sample


#: Figures that other work on the machine makes greater, and those that it makes smaller.
_COSTS = ("wall", "cpu")
_RATES = ("rps", "times")


def _of_rounds(cell: Cell, key: str) -> Callable[[Iterable[float]], float]:
    """Return how one figure is made of those of the rounds."""
    if cell.varies:
        return median
    if key in _RATES or (key == "value" and cell.more_is_better):
        return max
    return min if key in ("value", *_COSTS) else median


def summary(cell: Cell, samples: Sequence[Sample]) -> Sample:
    """Return what the tables show of several rounds, of each figure that all have: the best of CPU
    times and rates, and the median of latencies and shares, which tell of what goes wrong."""
    keys = [key for key in samples[0] if all(key in sample for sample in samples)]
    return {key: _of_rounds(cell, key)(sample[key] for sample in samples) for key in keys}


class Run:
    """One interleaved run over cells and loops; `results` grows while it goes on. Each cell says
    how many rounds it has, unless a number is given."""

    def __init__(
        self, cells: Sequence[Cell], loops: Sequence[str], rounds: int | None, settings: Settings
    ) -> None:
        self.cells = cells
        self.loops = list(loops)
        self.rounds = rounds
        self.settings = settings
        self.samples: dict[str, dict[str, list[Sample]]] = {cell.name: {} for cell in cells}
        self.errors: dict[str, dict[str, str]] = {cell.name: {} for cell in cells}

    def rounds_of(self, cell: Cell) -> int:
        """Return how many rounds a cell has."""
        return cell.rounds if self.rounds is None else self.rounds

    def total(self) -> int:
        """Return how many measurements the run has."""
        return sum(self.rounds_of(cell) * len(cell.runners(self.loops)) for cell in self.cells)

    def go(self, begin: Callable[[int, Cell, str], None], end: Callable[[], None]) -> None:
        """Measure everything; `begin` and `end` are called around each measurement."""
        for turn in range(max(map(self.rounds_of, self.cells), default=0)):
            for cell in self.cells:
                runners = cell.runners(self.loops)
                if not runners or turn >= self.rounds_of(cell):
                    continue
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
            for loop in cell.runners(self.loops):
                samples = self.samples[cell.name].get(loop, [])
                entry: dict[str, Any] = {}
                if samples:
                    entry = {"shown": summary(cell, samples), "rounds": samples}
                if loop in self.errors[cell.name]:
                    entry["error"] = self.errors[cell.name][loop]
                if entry:
                    loops[loop] = entry
            cells[cell.name] = {
                "title": cell.title,
                "unit": cell.unit,
                "baseline": cell.baseline,
                "beside": [[figure.key, figure.unit] for figure in cell.beside],
                "more_is_better": cell.more_is_better,
                "varies": cell.varies,
                "group": cell.group,
                "loops": loops,
            }
        return cells

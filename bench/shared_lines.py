"""Cache lines that loops in two threads share: ``python -m bench.shared_lines [operation ...]``.

A line that one thread writes and another one touches moves between their processors. With more
processors than this machine has, such a line becomes the limit. Two threads with a loop each do an
operation a thousand times, one thread after the other. valgrind's lackey traces both, and the
lines are compared. A line counts if one thread writes it and the other one touches it, both at
least once in two operations. Interpreters with a GIL share much more, so this is for those without.
What the kernel touches is not seen.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import ctypes
import gc
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench import loops  # noqa: E402
from bench.native import program  # noqa: E402
from bench.report import table  # noqa: E402
from bench.workloads import scheduling  # noqa: E402
from bench.workloads.threads import call_soon, echo, streams  # noqa: E402

COUNT = 1000
#: Where the child puts the page whose stores mark the phases.
MARKS = 0x6000_0000_0000
_LINE = 64
_MAP_FIXED_NOREPLACE = 0x100000

OPERATIONS = {
    "sleep0": scheduling.sleep0,
    "create-task": scheduling.create_task,
    "call-soon": call_soon,
    "future": scheduling.future,
    "timers": scheduling.timers,
    "gather": scheduling.gather,
    "queue": scheduling.queue,
    "echo": echo,
    "streams": streams,
}


def _map_marks() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED_NOREPLACE
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    if libc.mmap(MARKS, mmap.PAGESIZE, protection, flags, -1, 0) != MARKS:
        raise OSError(ctypes.get_errno(), "mmap")


def _mark(number: int) -> None:
    ctypes.memset(MARKS + number * _LINE, 1, 1)


class _Crew:
    """Threads with a loop each, which work in turn."""

    def __init__(self, operation: str, loop_name: str) -> None:
        self._body, self._loop_name = OPERATIONS[operation], loop_name
        self._turn = threading.Condition()
        self._whose = 0

    def _in_turn(self, turn: int, work: object, *args: object) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._whose == turn)
        work(*args)  # type: ignore[operator]
        with self._turn:
            self._whose += 1
            self._turn.notify_all()

    def _work(self, number: int) -> None:
        loop = loops.make(self._loop_name)
        loop.spin_us = 0  # type: ignore[attr-defined]
        asyncio.set_event_loop(loop)
        body = self._body
        self._in_turn(number, loop.run_until_complete, body(COUNT))

        def measure() -> None:
            coro = body(COUNT)
            _mark(2 * number)
            loop.run_until_complete(coro)
            _mark(2 * number + 1)

        self._in_turn(2 + number, measure)
        self._in_turn(4 + number, loop.close)

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, args=[number]) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _places() -> list[tuple[int, int, str]]:
    """What is where: (address, size, name) of objects and of the files that are mapped."""
    places = []
    for obj in gc.get_objects():
        places.append((id(obj), sys.getsizeof(obj), f"{type(obj).__name__} {_name(obj)}"))
        if isinstance(obj, dict):
            for key, value in obj.items():
                title = f"{type(value).__name__} {key!r}"
                places.append((id(value), sys.getsizeof(value), title))
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        start, end = (int(word, 16) for word in fields[0].split("-"))
        if len(fields) == 6 and "w" in fields[1]:
            places.append((start, end - start, f"a part of {fields[5].rsplit('/')[-1]}"))
    return sorted(places)


def _name(obj: object) -> str:
    for attribute in ("__qualname__", "__name__"):
        name = getattr(type(obj), attribute, None) and getattr(obj, attribute, None)
        if isinstance(name, str):
            return name
    return ""


def run(operation: str, loop_name: str, names_file: str) -> None:
    """Do the work under valgrind, and write down what is where."""
    _map_marks()
    _mark(1)
    gc.collect()
    gc.disable()
    _Crew(operation, loop_name).run()
    Path(names_file).write_text(json.dumps(_places()))


def shared_lines(operation: str, loop_name: str) -> list[tuple[str, list[float]]]:
    """Return (name, loads and stores per operation) of each line that counts."""
    with tempfile.TemporaryDirectory() as folder:
        names_file = str(Path(folder, "names"))
        specification = json.dumps([operation, loop_name, names_file])
        tracing = [
            "valgrind",
            "--tool=lackey",
            "--trace-mem=yes",
            "--basic-counts=no",
            "--log-fd=9",
        ]
        child = [sys.executable, "-P", __file__, "--run", specification]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        to_pipe = ["sh", "-c", 'exec "$@" 9>&1 >&2', "sh"]  # the trace alone goes to the pipe
        with subprocess.Popen(
            [*to_pipe, *tracing, *child], stdout=subprocess.PIPE, env=environment
        ) as traced:
            found = subprocess.run(
                [program("shared_lines"), hex(MARKS)],
                stdin=traced.stdout,
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            ).stdout
        if traced.returncode:
            raise SystemExit(f"{operation} failed")
        places = [tuple(place) for place in json.loads(Path(names_file).read_text())]
    rows = []
    for line in found.splitlines():
        address, *counts = (int(word, 0) for word in line.split())
        loads, stores, other_loads, other_stores = rates = [count / COUNT for count in counts]
        moved = min(stores, other_loads + other_stores), min(other_stores, loads + stores)
        if max(moved) >= 0.5:
            rows.append((_whose(places, address), rates))
    return rows


def _whose(places: list[tuple[int, int, str]], address: int) -> str:
    """Return the address of a line, and what is there."""
    last = bisect.bisect(places, (address + _LINE,))
    for start, size, name in reversed(places[max(0, last - 50) : last]):
        if start + size > address:
            return f"{address:#x} {name} + {address - start}"
    return f"{address:#x}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.shared_lines", description=__doc__)
    parser.add_argument("operations", nargs="*", help=f"of {', '.join(OPERATIONS)} (default: all)")
    parser.add_argument("--loop", default="fastaio", help="whose loop (default: fastaio)")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.run:
        run(*json.loads(options.run))
        return
    unknown = [name for name in options.operations if name not in OPERATIONS]
    if unknown:
        parser.error(f"unknown operation {unknown[0]!r}; there are {', '.join(OPERATIONS)}")
    if shutil.which("valgrind") is None:
        parser.error("valgrind is not installed")
    for operation in options.operations or OPERATIONS:
        rows = [
            [name, *(f"{rate:.2f}" for rate in rates)]
            for name, rates in shared_lines(operation, options.loop)
        ]
        print(f"\n{operation}: {len(rows)} shared lines")
        if rows:
            print(table(["line", "loads", "stores", "other's loads", "stores"], rows))


if __name__ == "__main__":
    main()

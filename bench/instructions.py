"""Instructions per operation, by valgrind: ``python -m bench.instructions [operation ...]``.

CPU time differs by percents from one minute to the next. The instructions of a function do not, so
they show what a line of code costs. Under valgrind a loop is some fifty times slower. So each of
its turns polls, and how often it offers the GIL varies: where a difference is small, compare the
functions that callgrind_annotate lists. Each operation runs 1000 and 3000 times, each in a process
of its own, and the difference is divided by 2000. Only the thread of the loop is counted, and no
time in the kernel: what a system call costs does not show.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench import loops  # noqa: E402
from bench.report import table  # noqa: E402
from bench.workloads import scheduling  # noqa: E402

COUNTS = (1000, 3000)
VARIANTS = ("", loops.WATCHED, loops.ACCOUNTS)


class _Echo(asyncio.Protocol):
    """Sends back what it gets, so many times."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._left -= 1
        if self._left == 0:
            self.done.set_result(None)
        else:
            self._transport.write(data)


async def echo(count: int) -> None:
    """One message of 1 KiB that two protocols on the loop send to and fro."""
    loop = asyncio.get_running_loop()
    ends = socket.socketpair()
    made = [await loop.create_connection(lambda: _Echo(count), sock=end) for end in ends]
    made[0][0].write(bytes(1024))
    await asyncio.wait([protocol.done for _, protocol in made], return_when="FIRST_COMPLETED")
    for transport, _ in made:
        transport.abort()
    await asyncio.sleep(0)


OPERATIONS = {
    "sleep0": scheduling.sleep0,
    "create-task": scheduling.create_task,
    "call-soon": scheduling.call_soon,
    "future": scheduling.future,
    "echo": echo,
}


def run(operation: str, count: int, loop_name: str) -> None:
    """Do an operation so many times."""
    loop = loops.make(loop_name)
    loop.spin_us = 0  # type: ignore[attr-defined]
    asyncio.set_event_loop(loop)
    body = OPERATIONS[operation]
    loop.run_until_complete(body(scheduling.CHUNK))
    gc.collect()
    gc.disable()
    loop.run_until_complete(body(count))
    loop.close()


def count_once(operation: str, count: int, loop_name: str) -> int:
    """Return the instructions of the main thread of a process that runs an operation."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        command = ["valgrind", "-q", "--tool=callgrind", "--separate-threads=yes"]
        command += [f"--callgrind-out-file={out}", sys.executable, "-P", __file__]
        specification = json.dumps([operation, count, loop_name])
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run([*command, "--run", specification], check=True, env=environment)
        lines = out.with_name("out-01").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("totals:")).split()[1])


def count_instructions(operation: str, loop_name: str) -> float:
    """Return the instructions of one operation."""
    few, many = (count_once(operation, count, loop_name) for count in COUNTS)
    return (many - few) / (COUNTS[1] - COUNTS[0])


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("operations", nargs="*", help=f"of {', '.join(OPERATIONS)} (default: all)")
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
    rows = []
    for operation in options.operations or OPERATIONS:
        counts = [count_instructions(operation, "fastaio" + variant) for variant in VARIANTS]
        rows.append([operation, *(f"{count:,.1f}" for count in counts)])
    print(table(["instructions", "", "watched", "with accounts"], rows))


if __name__ == "__main__":
    main()

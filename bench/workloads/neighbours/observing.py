"""What it costs to observe a loop: by the recorder, and by accounts.

Each cell compares a loop to itself, watched with a threshold of 0.1 s, and with accounts by
function. All threads count, those of the recorder included. Instructions are a finer measure of
the loop's own thread: `python -m bench.instructions`.
"""

from __future__ import annotations

from bench.cells import Cell, Context, Load, Sample, Serve, Served, Work
from bench.loops import ACCOUNTS, WATCHED
from bench.workloads import echo, scheduling, servers
from bench.workloads.neighbours.common import PATIENCE

GROUP = "observing"
VARIANTS = (WATCHED, ACCOUNTS)


def _scheduling(name: str, title: str, body: scheduling.Body, unit: int = 1) -> Cell:
    def run(context: Context) -> Sample:
        measured = scheduling.measure_async(context, body, unit)
        return context.new_loop().run_until_complete(measured)

    return Work(
        f"neighbours/observe-{name}",
        title,
        "s",
        None,
        PATIENCE,
        run=run,
        group=GROUP,
        variants=VARIANTS,
    )


def _served(name: str, title: str, serve: Serve, load: Load, needs: tuple[str, ...] = ()) -> Cell:
    return Served(
        f"neighbours/observe-{name}",
        title,
        "s",
        None,
        PATIENCE,
        serve=serve,
        load=load,
        group=GROUP,
        variants=VARIANTS,
        needs=needs,
    )


CELLS: list[Cell] = [
    _scheduling("sleep0", "`await sleep(0)`", scheduling.sleep0),
    _scheduling("call-soon", "`call_soon(f)`", scheduling.call_soon, scheduling.CHUNK),
    _served("echo", "echo 1 KiB, 10 connections", echo.serve_protocol, Load(connections=10)),
    _served(
        "uvicorn",
        "uvicorn, plain text, 32 connections",
        servers.uvicorn_plain,
        Load(mode="http", connections=32),
        ("uvicorn", "httptools"),
    ),
]

"""Memory that the process still has after a burst of callbacks and one of timers."""

from __future__ import annotations

import asyncio
import gc

from bench.cells import Cell, Context, Sample
from bench.workloads.memory import private_bytes
from bench.workloads.neighbours.common import cell

COUNT = 600_000


def _nothing() -> None:
    """The callback that does nothing."""


async def burst(context: Context) -> Sample:
    """600,000 callbacks, all queued before one of them runs; then as many timers."""
    loop = asyncio.get_running_loop()
    before = private_bytes()
    for _ in range(COUNT):
        loop.call_soon(_nothing)
    most = private_bytes()
    await asyncio.sleep(0.01)
    for _ in range(COUNT):
        loop.call_later(0, _nothing)
    most = max(most, private_bytes())
    await asyncio.sleep(0.05)
    gc.collect()
    await asyncio.sleep(0.01)
    return {"value": float(private_bytes()), "before": float(before), "most": float(most)}


CELLS: list[Cell] = [
    cell("burst", "memory after 600,000 call_soon(), then call_later(0)", burst, "B")
]

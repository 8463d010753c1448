"""Neighbours: what a loop leaves to the other threads, connections, processes and callbacks.

Each cell puts a greedy party beside a modest one and reports what the modest one gets. Figures are
medians of the rounds, not the best: a fault that shows now and then is a fault. Where a cell waits
for something in vain the figure is `never`.

* `threads`: other threads that want the GIL.
* `shares`: equal senders on connections of every kind.
* `order`: bytes that a callback has written before it blocks.
* `lateness`: a short timer beside a flood of callbacks, of input, of other timers.
* `bursts`: memory that a burst leaves behind.
* `spinning`: what looking for events before blocking costs and brings.
* `observing`: what the recorder and accounts cost.
"""

from __future__ import annotations

from bench.cells import Cell
from bench.workloads.neighbours import (
    bursts,
    lateness,
    observing,
    order,
    shares,
    spinning,
    threads,
)

CELLS: list[Cell] = [
    *threads.CELLS,
    *shares.CELLS,
    *order.CELLS,
    *lateness.CELLS,
    *bursts.CELLS,
    *spinning.CELLS,
    *observing.CELLS,
]

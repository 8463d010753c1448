"""The type of loop.metrics(), and the meaning of each key."""

from __future__ import annotations

from typing import TypedDict

__all__ = ("COUNTERS", "GAUGES", "Metrics")


class Metrics(TypedDict):
    """The counters of a loop since it was made, and its gauges. docs/observing.md has the units."""

    iterations: int
    callbacks: int
    polls: int
    blocks: int
    spins: int
    spin_hits: int
    spin_ns: int
    io_events: int
    timers_fired: int
    wakeups: int
    slow_callbacks: int
    bytes_received: int
    bytes_sent: int
    connections_made: int
    connections_lost: int
    keeper_sends: int
    gil_offers: int
    tasks_started: int
    tasks_ended: int
    busy_ns: int
    idle_ns: int
    ready: int
    timers: int
    connections: int
    tasks: int
    file_operations: int
    executor_jobs: int
    lag_histogram: list[int]


GAUGES = {
    "ready": "callbacks that are queued for the next turn",
    "timers": "timers that are scheduled, cancelled ones included until they are removed",
    "connections": "stream connections that are open",
    "tasks": "native tasks that have not ended",
    "file_operations": "operations on files in flight on the loop's io_uring",
    "executor_jobs": "calls in threads that have not ended, those of fastaio.files included",
}
"""The meaning of each gauge: a number that holds at the moment."""

COUNTERS = {
    "iterations": "turns of the loop",
    "callbacks": "callbacks and steps of tasks that have run",
    "polls": "times that the kernel was asked for events",
    "blocks": "polls that could wait",
    "spins": "waits that polled again and again before they blocked",
    "spin_hits": "spins that ended with an event",
    "spin_ns": "nanoseconds of spinning",
    "io_events": "events that the kernel reported",
    "timers_fired": "timers that became due",
    "wakeups": "times that another thread woke the loop",
    "slow_callbacks": "callbacks that took slow_callback_duration or longer",
    "bytes_received": "bytes that stream connections received",
    "bytes_sent": "bytes that stream connections sent",
    "connections_made": "stream connections that were made",
    "connections_lost": "stream connections that ended",
    "keeper_sends": "sends of output while a callback blocked",
    "gil_offers": "times that the busy loop offered the GIL to other threads",
    "tasks_started": "native tasks that were made",
    "tasks_ended": "native tasks that ended, or were dropped pending",
    "busy_ns": "nanoseconds in callbacks, the sum of lag_histogram",
    "idle_ns": "nanoseconds of waiting for events, spins included",
}
"""The meaning of each counter: a number that only grows."""

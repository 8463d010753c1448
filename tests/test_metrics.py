"""loop.metrics(): counters that move when what they count happens."""

import asyncio
import json
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

import fastaio
from fastaio import metrics

from .ioutil import turns
from .support import GUARD

pytestmark = pytest.mark.fastaio_only

COUNTERS = {
    "iterations",
    "callbacks",
    "polls",
    "spins",
    "spin_hits",
    "io_events",
    "timers_fired",
    "bytes_received",
    "bytes_sent",
    "wakeups",
    "slow_callbacks",
}


def growth(loop, coro):
    """How much each counter grew while `coro` ran."""
    before = loop.metrics()
    loop.run_until_complete(coro)
    after = loop.metrics()
    return {name: after[name] - before[name] for name in COUNTERS}


def test_what_is_there(loop):
    metrics = loop.metrics()
    assert COUNTERS | {"lag_histogram"} <= set(metrics)
    for name in COUNTERS:
        assert type(metrics[name]) is int
        assert metrics[name] >= 0
    histogram = metrics["lag_histogram"]
    assert isinstance(histogram, list)
    assert histogram and all(type(count) is int for count in histogram)
    json.dumps({name: metrics[name] for name in COUNTERS})


def test_a_new_loop_has_counted_nothing_yet(loop_factory):
    loop = loop_factory()
    try:
        metrics = loop.metrics()
        assert all(metrics[name] == 0 for name in COUNTERS)
        assert sum(metrics["lag_histogram"]) == 0
    finally:
        loop.close()


def test_each_call_gives_a_new_dict(loop):
    first = loop.metrics()
    first["callbacks"] = -1
    first["lag_histogram"].clear()
    assert loop.metrics()["callbacks"] == 0
    assert loop.metrics()["lag_histogram"]


def test_iterations_and_callbacks(loop):
    grown = growth(loop, turns(100))
    assert 100 <= grown["iterations"] <= 110
    assert 100 <= grown["callbacks"] <= 110

    async def many():
        for _ in range(500):
            loop.call_soon(int)
        await turns(2)

    grown = growth(loop, many())
    assert grown["callbacks"] >= 500
    assert grown["iterations"] < 20


def test_timers(loop):
    async def main():
        for _ in range(50):
            loop.call_later(0.0001, int)
        loop.call_later(3600, int).cancel()
        await asyncio.sleep(0.002)

    grown = growth(loop, main())
    assert grown["timers_fired"] == 51


def test_polls_and_events(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        async def main():
            done = loop.create_future()
            loop.add_reader(ours, done.set_result, None)
            theirs.send(b"x")
            await done
            loop.remove_reader(ours)

        grown = growth(loop, main())
    assert grown["polls"] >= 1
    assert grown["io_events"] >= 1


def test_wakeups(loop):
    async def main():
        # Again where the thread finds the loop awake: there is nobody to wake up then.
        while not loop.metrics()["wakeups"]:
            done = loop.create_future()
            timer = threading.Timer(0.01, loop.call_soon_threadsafe, (done.set_result, None))
            timer.start()
            await done
            timer.join(GUARD)

    grown = growth(loop, asyncio.wait_for(main(), GUARD))
    assert grown["wakeups"] == 1


def test_bytes(loop):
    payload = b"x" * 10_000

    async def main():
        async def echo(reader, writer):
            writer.write(await reader.readexactly(len(payload)))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(payload)
            assert await reader.read() == payload
            writer.close()
            await writer.wait_closed()

    grown = growth(loop, asyncio.wait_for(main(), GUARD))
    assert grown["bytes_sent"] == 2 * len(payload)
    assert grown["bytes_received"] == 2 * len(payload)


@pytest.mark.parametrize("debug", [False, True])
def test_slow_callbacks(loop, debug, caplog):
    if debug:
        loop.set_debug(True)
    else:
        loop.warn_slow_callbacks = True
    loop.slow_callback_duration = 0.01

    async def main():
        await asyncio.sleep(0)
        time.sleep(0.03)
        await asyncio.sleep(0)

    grown = growth(loop, main())
    assert grown["slow_callbacks"] >= 1
    assert any(" took " in record.getMessage() for record in caplog.records)


def test_the_lag_of_every_iteration_is_in_the_histogram(loop):
    before = sum(loop.metrics()["lag_histogram"])
    loop.run_until_complete(turns(100))
    assert sum(loop.metrics()["lag_histogram"]) > before


def test_a_closed_loop_keeps_its_counters(loop_factory):
    loop = loop_factory()
    loop.run_until_complete(turns(10))
    loop.close()
    assert loop.metrics()["iterations"] >= 10


def test_spins_are_counted_where_they_happen(loop):
    metrics = growth(loop, asyncio.sleep(0.001))
    assert metrics["spin_hits"] <= metrics["spins"]


def test_the_type_and_the_documents_have_every_key(loop):
    keys = set(loop.metrics())
    assert keys == set(fastaio.Metrics.__annotations__)
    assert keys == set(metrics.COUNTERS) | set(metrics.GAUGES) | {"lag_histogram"}
    page = (Path(__file__).parent.parent / "docs" / "observing.md").read_text()
    for key, meaning in {**metrics.COUNTERS, **metrics.GAUGES}.items():
        assert f"| `{key}` | {meaning} |" in page


NARROWED = """
import asyncio, fastaio
async def main() -> int:
    assert isinstance(loop := asyncio.get_running_loop(), fastaio.EventLoop)
    loop.watch(0.1)
    return loop.metrics()["tasks"]
fastaio.run(main(), watch=0.2)
"""


def test_the_running_loop_is_narrowed_in_one_line(tmp_path):
    api = pytest.importorskip("mypy.api")
    file = tmp_path / "narrowed.py"
    file.write_text(NARROWED)
    output, errors, status = api.run(["--strict", "--python-executable", sys.executable, str(file)])
    assert status == 0, output + errors
    file.write_text(NARROWED.replace('["tasks"]', '["task"]'))
    output, _, status = api.run(["--strict", "--python-executable", sys.executable, str(file)])
    assert status == 1
    assert 'TypedDict "Metrics" has no key "task"' in output


def test_gauges(loop):
    async def main():
        assert loop.metrics()["tasks"] == 1
        tasks = [asyncio.create_task(asyncio.sleep(30)) for _ in range(10)]
        loop.call_soon(int)
        before = loop.metrics()
        assert before["tasks"] == 11
        assert before["ready"] == 11
        await asyncio.sleep(0)
        assert loop.metrics()["timers"] == 10
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return loop.metrics()

    after = loop.run_until_complete(main())
    assert after["tasks"] == 1
    assert after["ready"] == 0
    assert loop.metrics()["tasks"] == 0
    assert loop.metrics()["tasks_started"] == loop.metrics()["tasks_ended"] == 11


def test_tasks_that_fail_and_tasks_that_are_dropped_have_ended(loop):
    async def fail():
        raise ZeroDivisionError

    async def main():
        await asyncio.gather(fail(), fail(), return_exceptions=True)

    loop.run_until_complete(main())
    assert loop.metrics()["tasks"] == 0
    loop.set_exception_handler(lambda *_: None)
    coro = asyncio.sleep(30)
    loop.create_task(coro)
    assert loop.metrics()["tasks"] == 1
    loop.close()  # the queue had the only reference
    assert loop.metrics()["tasks"] == 0
    coro.close()


def test_connections(loop):
    async def main():
        connected = asyncio.Event()

        async def serve(reader, writer):
            connected.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await connected.wait()
            assert loop.metrics()["connections"] == 2
            writer.close()
            await writer.wait_closed()
            while loop.metrics()["connections"]:
                await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(main(), GUARD))


def test_executor_jobs(loop):
    go = threading.Event()

    async def main():
        jobs = [loop.run_in_executor(None, go.wait, GUARD) for _ in range(3)]
        assert loop.metrics()["executor_jobs"] == 3
        go.set()
        await asyncio.gather(*jobs)
        assert loop.metrics()["executor_jobs"] == 0
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        assert loop.metrics()["executor_jobs"] == 0

    loop.run_until_complete(main())


def test_slow_callbacks_are_counted_always(loop, caplog):
    loop.slow_callback_duration = 0.01

    async def main():
        await asyncio.sleep(0)
        time.sleep(0.02)
        await asyncio.sleep(0)

    assert growth(loop, main())["slow_callbacks"] == 1
    assert not caplog.records


def test_slow_callbacks_of_a_large_batch_are_counted(loop):
    loop.slow_callback_duration = 0.05

    async def main():
        for number in range(100):
            loop.call_soon(time.sleep, 0.06 if number % 10 == 5 else 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    # The first part of 32 may hold several; then the loop measures each callback.
    assert 7 <= growth(loop, main())["slow_callbacks"] <= 10


def test_many_quick_callbacks_are_not_slow(loop):
    loop.slow_callback_duration = 0.2

    async def main():
        for _ in range(400):
            loop.call_soon(time.sleep, 0.001)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert growth(loop, main())["slow_callbacks"] == 0


def test_the_time_is_busy_or_idle(loop):
    async def main():
        before = loop.metrics()
        begin = time.monotonic_ns()
        await asyncio.sleep(0.1)
        time.sleep(0.1)
        await asyncio.sleep(0.05)
        spent = time.monotonic_ns() - begin
        after = loop.metrics()
        return spent, *(after[key] - before[key] for key in ("busy_ns", "idle_ns"))

    spent, busy, idle = loop.run_until_complete(main())
    assert busy >= 95_000_000
    assert idle >= 140_000_000
    assert busy + idle <= spent + 5_000_000

"""Thousands of tasks at once, with a limit, a timeout for each, and a task group around them.

    python examples/fan_out.py

Nothing in ``main`` knows which loop it runs on, so the same work is timed on both.
"""

import asyncio
import time

import fastaio

JOBS = 20_000


async def job(number: int, at_once: asyncio.Semaphore) -> int:
    async with at_once, asyncio.timeout(0.2):
        # One in a thousand takes too long.
        await asyncio.sleep(10 if number % 1000 == 999 else 0)
        return number


async def guarded(number: int, at_once: asyncio.Semaphore) -> int | None:
    try:
        return await job(number, at_once)
    except TimeoutError:
        return None


async def main() -> tuple[int, int]:
    at_once = asyncio.Semaphore(500)
    results = await asyncio.gather(*(guarded(number, at_once) for number in range(JOBS)))
    late = results.count(None)
    return len(results) - late, late


if __name__ == "__main__":
    for name, factory in (
        ("asyncio", asyncio.SelectorEventLoop),
        ("fastaio", fastaio.new_event_loop),
    ):
        with asyncio.Runner(loop_factory=factory) as runner:
            began = time.perf_counter()
            done, late = runner.run(main())
            seconds = time.perf_counter() - began
        print(f"{name}: {done:,} jobs done, {late} timed out, {seconds:.3f} s")

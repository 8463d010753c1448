"""freezegun stops the clock of the loop, and moves it."""

import asyncio

from ..support import GUARD
from .support import need

need("freezegun")


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_frozen_clock_moves_timers(run):
    from freezegun import freeze_time

    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        with freeze_time("2020-01-01") as frozen:
            start = loop.time()
            loop.call_later(60, fired.append, "timer")
            sleeper = asyncio.create_task(asyncio.sleep(30, "slept"))
            await turns()
            assert loop.time() == start
            assert fired == [] and not sleeper.done()
            frozen.tick(40)
            await turns()
            assert loop.time() == start + 40
            assert fired == [] and sleeper.result() == "slept"
            frozen.tick(40)
            await turns()
            assert fired == ["timer"]
            try:
                async with asyncio.timeout(10):
                    frozen.tick(11)
                    await loop.create_future()
            except TimeoutError:
                fired.append("timeout")
        assert fired == ["timer", "timeout"]
        start = loop.time()
        await asyncio.sleep(0.01)
        assert 0.01 <= loop.time() - start < GUARD

    run(main)


def test_a_clock_that_is_frozen_for_others_only(run):
    from freezegun import freeze_time

    async def main():
        loop = asyncio.get_running_loop()
        with freeze_time("2020-01-01", real_asyncio=True):
            start = loop.time()
            await asyncio.sleep(0.01)
            assert 0.01 <= loop.time() - start < GUARD

    run(main)


def test_a_loop_made_while_the_clock_is_frozen(loop_factory):
    from freezegun import freeze_time

    with freeze_time("2020-01-01", auto_tick_seconds=5):
        loop = loop_factory()
        try:
            first = loop.time()
            assert loop.time() >= first + 5
            loop.run_until_complete(asyncio.sleep(20))
        finally:
            loop.close()

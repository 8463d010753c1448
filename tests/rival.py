"""A thread that ends the futures that a loop is about to end itself."""

import asyncio
import contextlib
import threading
import time

from .support import FREE_THREADED, GUARD

RACES = 20000 if FREE_THREADED else 100


class Rival:
    """A thread that calls end(future) for each future that it gets, a little later each time."""

    def __init__(self, loop, end, spread):
        self.loop = loop
        self.end = end
        self.spread = spread
        self.given = None
        self.over = False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        last, number = None, 0
        while not self.over:
            given = self.given
            if not FREE_THREADED:
                time.sleep(0)  # hand over the GIL
            if given is not last:
                last, number = given, number + 1
                for _ in range(number * 37 % self.spread):
                    pass
                with contextlib.suppress(asyncio.InvalidStateError):  # the loop was first
                    self.end(given)
                if not FREE_THREADED:
                    self.loop.call_soon_threadsafe(int)  # with a GIL only this wakes the loop


def race(loop_factory, begin, *, end=lambda future: future.cancel(), spread, races=RACES):
    """Have a loop end the futures of begin(number) while another thread calls end(future).

    begin: a function, or an asynchronous context manager that yields one. It may return a
    coroutine, too. Its future may fail with ZeroDivisionError.
    Whoever is first, the loop must have nothing else to report, and must not fail.
    """
    reports = []
    loop = loop_factory()
    rival = Rival(loop, end, spread)

    def report(loop, context):
        if not isinstance(context.get("exception"), ZeroDivisionError):
            reports.append(context)

    async def play(begin):
        loop.set_exception_handler(report)
        for number in range(races):
            future = asyncio.ensure_future(begin(number))
            loop.call_soon(setattr, rival, "given", future)
            with contextlib.suppress(asyncio.CancelledError, ZeroDivisionError):
                await future

    async def enter():
        if hasattr(begin, "__aenter__"):
            async with begin as function:
                await play(function)
        else:
            await play(begin)

    rival.thread.start()
    try:
        loop.run_until_complete(enter())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        rival.over = True
        rival.thread.join(GUARD)
        loop.close()
    assert not rival.thread.is_alive()
    assert not reports, reports[0]

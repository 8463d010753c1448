"""The primitives of both owners, asyncio's and fastaio's, to be compared."""

import asyncio
import types

import fastaio

from .ioutil import turns
from .support import GUARD, collect, describe

#: The names that fastaio has as well, in alphabetical order.
NAMES = sorted(name for names in fastaio.primitives.NAMES.values() for name in names)


def _originals():
    """What asyncio defines, also where fastaio's stand in its place (pytest --primitives)."""
    replaced = {name: original for _, name, original, _ in fastaio.primitives._replaced}
    return {name: replaced.get(name, getattr(asyncio, name)) for name in NAMES}


#: Everything that asyncio has, with its own primitives.
ASYNCIO = types.SimpleNamespace(**{**vars(asyncio), **_originals()})
#: Everything that asyncio has, with fastaio's primitives.
FASTAIO = types.SimpleNamespace(
    **{**vars(asyncio), **{name: getattr(fastaio._fastaio, name) for name in [*NAMES, "Timeout"]}}
)


def play(scenario, names, loop_factory):
    """Run ``scenario(names, log)`` on a new loop; return what it logged, how it ended, what the
    loop reported."""
    events = []
    loop = loop_factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(describe(context["message"])))

    def log(*seen):
        events.append(tuple(describe(value) for value in seen))

    try:
        asyncio.set_event_loop(loop)
        try:
            ended = ("returned", describe(loop.run_until_complete(scenario(names, log))))
        except BaseException as exc:  # noqa: BLE001 - KeyboardInterrupt is an outcome like any other
            ended = ("raised", describe(exc))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        del left
        collect()
    finally:
        loop.close()
        asyncio.set_event_loop(None)
    return events, ended, sorted(reports)


# What scenarios are made of


class Boom(Exception):
    """What the children raise."""


async def later(count, value=None, error=None):
    """Return or raise after so many turns."""
    await turns(count)
    if error is not None:
        raise error
    return value


async def forever():
    """Wait until somebody cancels."""
    await asyncio.get_running_loop().create_future()


async def attempt(log, name, awaitable):
    """Await something, and note how that ends."""
    log(name, "begins")
    try:
        log(name, "got", await awaitable)
    except BaseException as exc:
        log(name, "raised", exc)
        raise


def spawn(log, name, awaitable):
    """Make a task that notes how its wait ends."""
    return asyncio.create_task(attempt(log, name, awaitable), name=str(name))


async def settle(*tasks):
    """Wait until the tasks are done."""
    await asyncio.wait(tasks, timeout=GUARD)

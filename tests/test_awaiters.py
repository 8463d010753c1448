"""Which tasks wait for a task, found on every version and on every loop."""

import asyncio

import pytest

from fastaio.awaiters import awaited_by, describe


async def wait_directly(inner):
    await inner


async def wait_by_gather(inner):
    await asyncio.gather(inner, asyncio.sleep(0))


async def wait_by_nested_gather(inner):
    await asyncio.gather(asyncio.gather(inner))


async def wait_by_wait(inner):
    await asyncio.wait([inner])


async def wait_by_wait_for(inner):
    await asyncio.wait_for(inner, 30)


async def wait_by_shield(inner):
    await asyncio.shield(inner)


WAYS = [
    wait_directly,
    wait_by_gather,
    wait_by_nested_gather,
    wait_by_wait,
    wait_by_wait_for,
    wait_by_shield,
]


def names(task):
    return [waiter.get_name() for waiter in awaited_by(task)]


@pytest.mark.parametrize("wait", WAYS)
def test_ways_to_wait(loop, wait):
    async def inner():
        await asyncio.sleep(0.001)
        return names(asyncio.current_task())

    async def outer(middle):
        await middle

    async def main():
        task = asyncio.create_task(inner(), name="inner")
        middle = asyncio.create_task(wait(task), name="middle")
        last = asyncio.create_task(outer(middle), name="outer")
        found = await asyncio.shield(task)
        await last
        return found

    found = loop.run_until_complete(loop.create_task(main(), name="main"))
    assert set(found) == {"middle", "outer", "main"}
    assert found.index("middle") < found.index("outer")


def test_a_task_group(loop):
    found = []

    async def child():
        await asyncio.sleep(0.001)
        found.append(names(asyncio.current_task()))

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(child(), name="child")

    loop.run_until_complete(loop.create_task(main(), name="main"))
    assert found == [["main"]]


def test_nobody_waits(loop):
    async def main():
        task = asyncio.create_task(asyncio.sleep(0.001))
        await asyncio.sleep(0)
        found = awaited_by(task)
        await task
        return found

    assert loop.run_until_complete(main()) == []


def test_describe(loop):
    async def main():
        return describe(asyncio.current_task())

    text = loop.run_until_complete(loop.create_task(main(), name="the name"))
    assert text == "'the name' (test_describe.<locals>.main)"

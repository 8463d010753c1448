"""aiofiles and aiosqlite: work in threads, and the way back to the loop."""

import asyncio

import pytest

from .apps import pattern
from .support import need


def test_aiofiles(run, tmp_path):
    aiofiles = need("aiofiles")
    path = tmp_path / "file"
    data = pattern(5_000_000)

    async def write_and_read(number):
        name = tmp_path / f"text {number}"
        async with aiofiles.open(name, "w") as file:
            await file.writelines(f"line {line}\n" for line in range(100))
        async with aiofiles.open(name) as file:
            lines = [line async for line in file]
        assert lines == [f"line {line}\n" for line in range(100)]

    async def main():
        async with aiofiles.open(path, "wb") as file:
            assert await file.write(data) == len(data)
        async with aiofiles.open(path, "rb") as file:
            await file.seek(1000)
            assert await file.read(5000) == data[1000:6000]
            assert await file.read() == data[6000:]
        await asyncio.gather(*map(write_and_read, range(30)))
        with pytest.raises(FileNotFoundError):
            async with aiofiles.open(tmp_path / "nothing"):
                pass

    run(main)


def test_aiosqlite(stage, tmp_path):
    aiosqlite = need("aiosqlite")

    async def scenario():
        async with aiosqlite.connect(tmp_path / "data.sqlite") as database:
            await database.execute("create table numbers (n integer primary key, t text)")
            rows = [(number, f"text {number}") for number in range(2000)]
            await database.executemany("insert into numbers values (?, ?)", rows)
            await database.commit()
            async with database.execute("select n, t from numbers order by n") as cursor:
                assert [row async for row in cursor] == rows

            async def query(number):
                async with database.execute("select ? + 1", (number,)) as cursor:
                    return (await cursor.fetchone())[0]

            assert await asyncio.gather(*map(query, range(300))) == list(range(1, 301))
            with pytest.raises(aiosqlite.IntegrityError):
                await database.execute("insert into numbers values (5, '')")
            task = asyncio.create_task(query(1))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await query(41) == 42

    stage(scenario)

"""A task that moves much is no reason for others to wait: on the loop, and for the GIL."""

import asyncio
import os
import sys
import threading

import pytest

import fastaio
from fastaio import _fastaio, files

from .support import FREE_THREADED

MEBI = 1 << 20


@pytest.fixture
def large(tmp_path):
    """A file of 64 MiB in the page cache."""
    path = tmp_path / "large"
    path.write_bytes(bytes(64 * MEBI))
    path.read_bytes()
    return path


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"s" * 4096)
    return path


async def copy(large, other):
    async with fastaio.open(large, "rb") as source, fastaio.open(other, "wb") as target:
        while data := await source.read(MEBI):
            await target.write(data)


async def read_in_large_pieces(large, other):
    async with fastaio.open(large, "rb") as f:
        while await f.read(MEBI):
            pass


async def read_into_a_buffer(large, other):
    buffer = bytearray(MEBI)
    async with fastaio.open(large, "rb") as f:
        while await f.readinto(buffer):
            pass


async def read_lines(large, other):
    with open(large, "r+b") as f:
        f.truncate(0)
        f.write(b"line\n" * 4_000_000)
    async with fastaio.open(large) as f:
        async for _ in f:
            pass


async def read_at_offsets(large, other):
    with open(large, "rb") as f:
        for offset in range(0, 64 * MEBI, MEBI):
            await files.pread(f, MEBI, offset)


async def write(large, other):
    data = bytes(MEBI)
    async with fastaio.open(other, "wb") as f:
        for _ in range(64):
            await f.write(data)


async def read_whole_files(large, other):
    with open(other, "wb") as f:
        f.write(bytes(4096))
    for _ in range(4096):
        await files.read_bytes(other)


async def open_small_files(large, other):
    with open(other, "wb") as f:
        f.write(b"x")
    for _ in range(2000):
        async with fastaio.open(other, "rb") as f:
            await f.read()


async def look_at_paths(large, other):
    for _ in range(5000):
        await files.stat(large)


GREEDY = [
    copy,
    read_in_large_pieces,
    read_into_a_buffer,
    read_lines,
    read_at_offsets,
    write,
    read_whole_files,
    open_small_files,
    look_at_paths,
]


@pytest.mark.parametrize("greedy", GREEDY)
def test_the_other_tasks_have_their_turns(run, tmp_path, large, small, greedy):
    async def main():
        turns = 0
        reads = 0

        async def modest():
            nonlocal reads
            while True:
                assert len(await files.read_bytes(small)) == 4096
                reads += 1
                await asyncio.sleep(0)

        async def idle():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = [asyncio.ensure_future(modest()), asyncio.ensure_future(idle())]
        await greedy(large, tmp_path / "other")
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return turns, reads

    turns, reads = run(main)
    # At the least one for each MiB, or 64 paths.
    floor = {read_lines: 15, open_small_files: 25, read_whole_files: 15}.get(greedy, 60)
    assert turns >= floor and reads >= floor, (turns, reads)


@pytest.mark.skipif(FREE_THREADED, reason="there is no GIL")
def test_large_copies_release_the_gil(large):
    # The other thread wants the GIL all the time, and the interpreter never takes it by force.
    count = 0
    stop = False

    def other():
        nonlocal count
        while not stop:
            os.stat(".")  # gives the GIL away
            count += 1

    def others_had_it(read):
        """Whether the other thread has run within so many reads that it had every chance."""
        before = count
        for _ in range(20_000):
            read()
            if count != before:
                return True
        return False

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=other)
    buffer = bytearray(MEBI)
    with open(large, "rb") as f:
        fd = f.fileno()
        sys.setswitchinterval(3600)
        try:
            thread.start()
            assert others_had_it(lambda: _fastaio._readinto_now(fd, buffer, 0))
            assert others_had_it(lambda: _fastaio._read_now(fd, MEBI, 0))
            small = memoryview(buffer)[:4096]
            assert not others_had_it(lambda: _fastaio._readinto_now(fd, small, 0))
        finally:
            stop = True
            sys.setswitchinterval(interval)
            thread.join()

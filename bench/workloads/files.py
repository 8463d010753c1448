"""Files in the page cache: CPU time of the process, all its threads, per operation.

Rows are ways to work with files, columns the loops that they run on. `files` is fastaio.files and
fastaio.open(), which work on every loop; in blazio's column it is blazio.open(). `limit` is C:
plain system calls, for random reads in depth a bare io_uring.

FASTAIO_BENCH_FILE_MB is the size of the large file in MiB (default: 64), FASTAIO_BENCH_FILES the
number of small ones (default: 1,000), TMPDIR the place for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from bench import native
from bench.best import Best
from bench.cells import Cell, Context, Sample, Work
from bench.workloads.scheduling import measure_async

CELLS: list[Cell] = []

BLOCK = 4096
CHUNK = 1024 * 1024
SMALL = 2048
LARGE_MB = int(os.environ.get("FASTAIO_BENCH_FILE_MB", "64"))
FILES = int(os.environ.get("FASTAIO_BENCH_FILES", "1000"))

#: Does n operations; made by an async context manager that opens what is needed.
Operations = Callable[[int], Awaitable[object]]
Setup = Callable[[Context, Path], contextlib.AbstractAsyncContextManager[Operations]]


@contextlib.contextmanager
def _place(small: bool) -> Iterator[Path]:
    """A large file, or a folder of small ones; warm."""
    with tempfile.TemporaryDirectory(prefix="fastaio-bench-") as name:
        folder = Path(name)
        if small:
            for number in range(FILES):
                (folder / str(number)).write_bytes(os.urandom(SMALL))
            yield folder
            return
        path = folder / "large"
        with path.open("wb") as file:
            block = os.urandom(CHUNK)
            for _ in range(LARGE_MB):
                file.write(block)
        path.read_bytes()
        yield path


def _limit(context: Context, path: Path, mode: str, depth: int, size: int) -> Sample:
    """The C program, as often as other cells are measured."""
    best = Best(context.settings)
    count = max(
        int(context.settings.batch_seconds * 1.5e9) // (1000 if size == BLOCK else 60_000), 64
    )
    count = count // depth * depth if mode == "ring" else count
    command = [native.program("file_limit"), mode, str(path), str(count), str(depth), str(size)]
    while best.wants_more():
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        cpu, wall = map(float, done.stdout.split())
        best.add({"value": cpu, "wall": wall, "ops": float(count)})
    return best.sample


def _cell(
    name: str, title: str, setup: Setup, mode: str, *, depth: int = 1, size: int, unit: int = 1
) -> None:
    def run(context: Context) -> Sample:
        with _place(mode == "small") as path:
            if context.is_limit:
                return _limit(context, path, mode, FILES if mode == "small" else depth, size)
            loop = context.new_loop()

            async def drive() -> Sample:
                async with setup(context, path) as operations:
                    return await measure_async(context, operations, unit)

            return loop.run_until_complete(drive())

    limited = name.endswith("-files")
    CELLS.append(
        Work(f"files/{name}", title, baseline="asyncio", patience=60, run=run, limited=limited)
    )


# ---- random reads ----


def _in_depth(depth: int, length: int, read: Callable[[int], Awaitable[bytes]]) -> Operations:
    """n reads at random places by `depth` tasks."""
    places = [n * BLOCK for n in range(length // BLOCK)]
    rng = random.Random(1)

    async def work(offsets: list[int]) -> None:
        for offset in offsets:
            await read(offset)

    async def operations(count: int) -> None:
        chosen = rng.choices(places, k=count)
        await asyncio.gather(*[work(chosen[n::depth]) for n in range(depth)])

    return operations


def _random(depth: int, how: str) -> Setup:
    @contextlib.asynccontextmanager
    async def setup(context: Context, path: Path) -> AsyncIterator[Operations]:
        length = path.stat().st_size
        if how == "aiofiles":
            import aiofiles

            async with contextlib.AsyncExitStack() as stack:
                # A file has one position: each task has its own.
                handles = [
                    await stack.enter_async_context(aiofiles.open(path, "rb", 0))
                    for _ in range(depth)
                ]
                free = list(handles)

                async def read(offset: int) -> bytes:
                    handle = free.pop()
                    await handle.seek(offset)
                    data = await handle.read(BLOCK)
                    free.append(handle)
                    return bytes(data)

                yield _in_depth(depth, length, read)
        elif how == "to_thread":
            fd = os.open(path, os.O_RDONLY)
            yield _in_depth(depth, length, lambda at: asyncio.to_thread(os.pread, fd, BLOCK, at))
            os.close(fd)
        elif context.loop == "blazio":
            import blazio

            async with blazio.open(str(path), "rb") as file:
                yield _in_depth(depth, length, lambda at: file.pread(BLOCK, at))
        else:
            from fastaio import files

            fd = os.open(path, os.O_RDONLY)
            yield _in_depth(depth, length, lambda at: files.pread(fd, BLOCK, at))
            os.close(fd)

    return setup


# ---- whole files in sequence ----


def _opened(how: str, context: Context, path: Path, mode: str) -> Any:
    if how == "aiofiles":
        import aiofiles

        return aiofiles.open(path, mode)
    if context.loop == "blazio":
        import blazio

        return blazio.open(str(path), mode)
    import fastaio

    return fastaio.open(path, mode)


def _reading(how: str) -> Setup:
    @contextlib.asynccontextmanager
    async def setup(context: Context, path: Path) -> AsyncIterator[Operations]:
        async def operations(count: int) -> None:
            if how == "to_thread":
                with path.open("rb", 0) as plain:
                    for _ in range(count):
                        if not await asyncio.to_thread(plain.read, CHUNK):
                            plain.seek(0)
                return
            async with _opened(how, context, path, "rb") as file:
                for _ in range(count):
                    if not await file.read(CHUNK):
                        await file.seek(0)

        yield operations

    return setup


def _writing(how: str) -> Setup:
    block = os.urandom(CHUNK)

    @contextlib.asynccontextmanager
    async def setup(context: Context, path: Path) -> AsyncIterator[Operations]:
        async def operations(count: int) -> None:
            if how == "to_thread":
                with path.open("r+b", 0) as plain:
                    for number in range(count):
                        if number % LARGE_MB == 0:
                            plain.seek(0)
                        await asyncio.to_thread(plain.write, block)
                return
            async with _opened(how, context, path, "r+b") as file:
                for number in range(count):
                    if number % LARGE_MB == 0:
                        await file.seek(0)
                    await file.write(block)

        yield operations

    return setup


# ---- small files ----


def _small(how: str) -> Setup:
    @contextlib.asynccontextmanager
    async def setup(context: Context, path: Path) -> AsyncIterator[Operations]:
        paths = [path / str(number) for number in range(FILES)]

        async def read_opened(one: Path) -> bytes:
            async with _opened(how, context, one, "rb") as file:
                return bytes(await file.read())

        read: Callable[[Path], Awaitable[bytes]] = read_opened
        if how == "to_thread":

            def read_in_thread(one: Path) -> Awaitable[bytes]:
                return asyncio.to_thread(one.read_bytes)

            read = read_in_thread
        elif how == "files" and context.loop != "blazio":
            from fastaio import files

            read = files.read_bytes

        async def operations(count: int) -> None:
            for number in range(count):
                await read(paths[number % FILES])

        yield operations

    return setup


WAYS = ("files", "aiofiles", "to_thread")

for _depth in (1, 16, 64):
    for _way in WAYS:
        _cell(
            f"random-4k-d{_depth}-{_way}",
            f"random 4 KiB reads, depth {_depth}: {_way}",
            _random(_depth, _way),
            "ring" if _depth > 1 else "pread",
            depth=_depth,
            size=BLOCK,
            unit=_depth,
        )
for _way in WAYS:
    _cell(
        f"read-1m-{_way}", f"sequential read, per MiB: {_way}", _reading(_way), "read", size=CHUNK
    )
for _way in WAYS:
    _cell(
        f"write-1m-{_way}",
        f"sequential write, per MiB: {_way}",
        _writing(_way),
        "write",
        size=CHUNK,
    )
for _way in WAYS:
    _cell(f"small-{_way}", f"open, read, close 2 KiB: {_way}", _small(_way), "small", size=SMALL)

"""The same script of operations on an asynchronous file and on io's: every answer is the same.

Scripts are random, from fixed seeds: a failing one is named by its seed and can be played again.
"""

import os
import random

import pytest

import fastaio

TEXT = "".join(
    random.Random(7).choice(["line\n", "x", "äöü", "€uro\r\n", "\r", "😀", "\n", "long " * 90])
    for _ in range(4000)
)
BINARY = random.Random(8).randbytes(300_000).replace(b"\x01", b"\n")


class Io:
    """io's file with the face of an asynchronous one."""

    def __init__(self, file):
        self.file = file

    async def readlines(self, hint=-1):
        # Of text files, io's own makes tell() impossible, as iteration does.
        lines = []
        while line := self.file.readline():
            lines.append(line)
            if 0 < hint < sum(map(len, lines)):
                break
        return lines

    def __getattr__(self, name):
        async def call(*args):
            return getattr(self.file, name)(*args)

        return call


def reading(rng, binary):
    size = rng.choice([0, 1, 5, 100, 5000, 70_000])
    choices = [
        ("read", size),
        ("read", size),
        ("readline",),
        ("readline",),
        ("readline",),
        ("readline", rng.choice([0, 1, 3, 50])),
        ("readlines", rng.choice([-1, 1, 100, 9000])),
        ("read",) if rng.random() < 0.1 else ("read", 3),
    ]
    if binary:
        choices += [("readinto", size), ("readinto", 17)]
    return rng.choice(choices)


def writing(rng, binary):
    size = rng.choice([0, 1, 20, 3000, 100_000])
    if rng.random() < 0.1:
        return ("flush",)
    if binary:
        piece = bytes([rng.randrange(256)]) * size
        return rng.choice(
            [("write", piece), ("write", bytearray(piece)), ("writelines", [piece, b"\n"])]
        )
    piece = rng.choice("aäπ\n") * size
    return rng.choice([("write", piece), ("writelines", [piece, "end\r\n", "\n"])])


def moving(rng, binary, cookies):
    if binary:
        return rng.choice(
            [
                ("seek", rng.randrange(310_000)),
                ("seek", -rng.randrange(1, 400), os.SEEK_CUR),
                ("seek", rng.randrange(400), os.SEEK_CUR),
                ("seek", -rng.randrange(1000), os.SEEK_END),
                ("seek", 0, 99),
                ("tell",),
                ("tell",),
            ]
        )
    return rng.choice(
        [("seek", 0), ("seek", 0, os.SEEK_CUR), ("seek", 0, os.SEEK_END), ("tell",), ("tell",)]
        + [("seek", cookie) for cookie in cookies[-3:]]
    )


async def play(rng, file, mode, steps):
    """What a script's operations return or raise."""
    binary = "b" in mode
    cookies = []
    seen = []
    for _ in range(steps):
        kind = rng.random()
        if kind < 0.2:
            name, *args = moving(rng, binary, cookies)
        elif kind < 0.22:
            name, *args = rng.choice([("truncate",), ("truncate", rng.randrange(200_000))])
        elif ("+" in mode and kind < 0.5) or mode[0] in "wax":
            name, *args = writing(rng, binary)
        elif kind < 0.99:
            name, *args = reading(rng, binary)
        else:
            name, *args = writing(rng, binary)
        if name == "readinto":
            args = [bytearray(args[0])]
        if mode[0] == "a" and name in ("tell", "truncate"):
            # What is appended is placed when it is written; when that is, depends on the buffer.
            await file.flush()
        if "+" in mode and not binary and name in ("write", "writelines", "truncate"):
            # io writes behind the block that it has read, wherever the reader is.
            if isinstance(file, Io):
                await file.seek(await file.tell())
        try:
            result = await getattr(file, name)(*args)
        except (OSError, ValueError, TypeError) as exc:
            result = (type(exc), str(exc))
        if name in ("tell", "seek") and isinstance(result, int):
            cookies.append(result)
            result &= (1 << 64) - 1  # above are notes of the decoder's, which have no one form
        if "+" in mode and not binary and name in ("write", "writelines"):
            # Before 3.13 io reads from a wrong place otherwise.
            await file.flush()
        if name == "readinto":
            result = (result, bytes(args[0]))
        seen.append((name, result))
    await file.close()
    return seen


def prepare(path, mode):
    if mode[0] == "x":
        path.unlink(missing_ok=True)
    elif "b" in mode:
        path.write_bytes(BINARY)
    else:
        path.write_bytes(TEXT.encode())


async def both(tmp_path, seed, mode, steps, **kwargs):
    results = []
    contents = []
    for name in ("theirs", "ours"):
        path = tmp_path / name
        prepare(path, mode)
        if name == "ours":
            file = await fastaio.open(path, mode, **kwargs)
        else:
            file = Io(open(path, mode, **kwargs))  # noqa: SIM115
        results.append(await play(random.Random(seed), file, mode, steps))
        contents.append(path.read_bytes())
    for theirs, ours in zip(*results, strict=True):
        assert ours == theirs, f"seed {seed}, {mode}"
    assert contents[1] == contents[0]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mode", ["rb", "wb", "ab", "r+b", "w+b", "a+b", "xb"])
def test_binary_scripts(run, tmp_path, mode, seed):
    run(both(tmp_path, seed, mode, 150))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["rb", "wb", "r+b"])
def test_unbuffered_scripts(run, tmp_path, mode, seed):
    run(both(tmp_path, seed, mode, 60, buffering=0))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_buffer_sizes_in_scripts(run, tmp_path, mode, seed):
    run(both(tmp_path, seed, mode, 100, buffering=2 + seed * 500))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"], ids=repr)
@pytest.mark.parametrize("mode", ["r", "w", "a", "r+", "w+", "a+", "x"])
def test_text_scripts(run, tmp_path, mode, newline, seed):
    # Writes cut characters in half. Which call meets what cannot be decoded depends on the blocks
    # that are read, so nothing is an error here.
    run(
        both(
            tmp_path,
            seed,
            mode,
            100,
            encoding="utf-8",
            errors="surrogateescape",
            newline=newline,
        )
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", ["r", "w", "r+"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "ascii"])
def test_encodings_in_scripts(run, tmp_path, mode, encoding, seed):
    if (encoding, mode) == ("utf-16", "r+"):
        pytest.skip("what is written into the middle of a file begins with a byte order mark")
    run(both(tmp_path, seed, mode, 60, encoding=encoding, errors="replace"))


# Byte order marks: at the start of a file, once, whatever has been read before

MARKED = ["utf-16", "utf-32", "utf-8-sig"]
STEPS = [
    ("read",),
    ("read", 0),
    ("read", 1),
    ("read", 100),
    ("readline",),
    ("readlines",),
    ("write", "x\n"),
    ("write", ""),
    ("writelines", ["ä", "€\n"]),
    ("seek", 0),
    ("seek", 0, os.SEEK_CUR),
    ("seek", 0, os.SEEK_END),
    ("seek", "where it is"),
    ("tell",),
    ("truncate",),
    ("truncate", 0),
    ("flush",),
]


def place(position):
    """A position of tell() without the decoder's state at the start of a file."""
    start, beyond = position & ((1 << 64) - 1), (position >> 96) & ((1 << 64) - 1)
    return position if start or beyond else 0


async def step(file, name, *args):
    if args == ("where it is",):
        args = (place(await file.tell()),)
    if name in ("write", "writelines", "truncate") and isinstance(file, Io):
        # io writes behind the block that it has read, wherever the reader is.
        await file.seek(place(await file.tell()))
    try:
        result = await getattr(file, name)(*args)
    except (OSError, ValueError) as exc:
        return type(exc), str(exc)
    return place(result) & ((1 << 64) - 1) if name in ("tell", "seek") else result


async def play_steps(tmp_path, mode, encoding, content, steps):
    played = []
    for name in ("theirs", "ours"):
        path = tmp_path / name
        path.write_bytes(content)
        if mode == "x+":
            path.unlink()
        if name == "ours":
            file = await fastaio.open(path, mode, encoding=encoding)
        else:
            file = Io(open(path, mode, encoding=encoding))  # noqa: SIM115
        results = [await step(file, *one) for one in steps]
        await file.close()
        played.append((results, path.read_bytes()))
    assert played[1] == played[0], (mode, steps)
    return played[1][1]


def without_reads_behind_writes(steps):
    # io's decoder looks for a byte order mark there, and raises. Before 3.13 io reads from a wrong
    # place.
    written = False
    for name, *args in steps:
        if (name, *args) == ("seek", 0):
            written = False
        if not written or not name.startswith("read"):
            yield name, *args
        written = written or name in ("write", "writelines")


@pytest.mark.parametrize("content", ["", "äbc\nde\n"], ids=["empty", "text"])
@pytest.mark.parametrize("encoding", [*MARKED, "utf-16-le", "utf-8"])
@pytest.mark.parametrize("mode", ["r+", "w+", "a+", "x+"])
def test_byte_order_marks(run, tmp_path, mode, encoding, content):
    data = content.encode(encoding) if content else b""

    async def main():
        for seed in range(25):
            steps = random.Random(seed).choices(STEPS, k=8)
            steps = list(without_reads_behind_writes(steps))
            await play_steps(tmp_path, mode, encoding, data, steps)

    run(main)


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("mode", ["r+", "w+", "a+", "x+"])
def test_what_is_written_after_a_read_of_nothing_can_be_read(run, tmp_path, mode, encoding):
    async def main():
        for read in ("read",), ("read", 1), ("readline",), ("readlines",), ("read", 0):
            steps = [read, ("write", "one\n"), ("flush",), ("write", "two\n")]
            data = await play_steps(tmp_path, mode, encoding, b"", steps)
            assert data.decode(encoding) == "one\ntwo\n"
            assert data == "one\ntwo\n".encode(encoding)
        # Also where the program goes back to a position that it was told.
        path = tmp_path / "file"
        path.unlink(missing_ok=True)
        if mode == "r+":
            path.touch()
        async with fastaio.open(path, mode, encoding=encoding) as f:
            assert await f.read(1) == ""
            await f.seek(await f.tell())
            await f.write("one\n")
        assert path.read_text(encoding) == "one\n"

    run(main)

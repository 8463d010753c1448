"""FASTAIO_* environment variables: a wrong value is warned of, and the program serves on."""

import os
import re
from pathlib import Path

import pytest

from .support import run_python

pytestmark = pytest.mark.fastaio_only

SERVE = """
import asyncio, socket
import fastaio
fastaio.install()

async def main():
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    assert await reader.read() == b""
    writer.close()
    server.close()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, fastaio.EventLoop)
    print("served", loop.backend, loop.spin_us, asyncio.Lock is fastaio.Lock)

for _ in range(2):
    asyncio.run(main())
"""

# By variable: what makes no sense, and what the warning ends with.
WRONG = {
    "FASTAIO_BACKEND": (["iouring", "1"], "the default is used"),
    "FASTAIO_INSTALL": (["x", "2"], "spawned processes do not install fastaio"),
    "FASTAIO_PRIMITIVES": (["x", "2", "true", " 1"], "asyncio keeps its own primitives"),
    "FASTAIO_SPIN_US": (["x", "-1", "1001", "9" * 5000], "the loop measures whether to spin"),
    "FASTAIO_TLS": (["x", "SSL"], "OpenSSL is called directly"),
    "FASTAIO_TOP": (["x", "2"], "fastaio top gets no answer here"),
    "FASTAIO_WATCH": (["x", "0", "-1"], "no loop is watched"),
}


def without_variables(**variables):
    plain = {key: value for key, value in os.environ.items() if not key.startswith("FASTAIO_")}
    return {**plain, **variables}


def test_every_variable_is_tried_here():
    page = (Path(__file__).parent.parent / "docs" / "environment.md").read_text()
    assert sorted(re.findall(r"^\| `(FASTAIO_\w+)`", page, re.MULTILINE)) == sorted(WRONG)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (values, _) in WRONG.items() for value in values],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_wrong_value_is_told_once_and_the_program_serves(name, value, tmp_path):
    env = without_variables(**{name: value}, XDG_RUNTIME_DIR=str(tmp_path))
    done = run_python("import warnings\n" + SERVE, env=env)
    first, second = done.stdout.splitlines()
    assert first == second
    assert re.fullmatch(r"served epoll (None|0) False", first)
    (line,) = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert f"RuntimeWarning: {name} must be " in line
    assert f"not {value!r}" in line
    assert line.endswith(WRONG[name][1])
    assert not (tmp_path / "fastaio").exists()


@pytest.mark.parametrize("name", WRONG)
def test_an_empty_value_counts_as_unset(name):
    done = run_python(SERVE, env=without_variables(**{name: ""}))
    assert done.stdout.startswith("served epoll ")
    assert done.stderr == ""


@pytest.mark.parametrize("name", sorted(WRONG.keys() - {"FASTAIO_INSTALL"}))
def test_where_warnings_are_errors_nothing_is_left_behind(name):
    """The loop that cannot be made leaves no descriptor, and no complaint of its finalizer."""
    source = f"""
import gc, os, warnings
import fastaio
before = sorted(os.listdir("/proc/self/fd"))
os.environ[{name!r}] = "x"
warnings.simplefilter("error")
try:
    fastaio.new_event_loop().close()
except RuntimeWarning as warning:
    print(warning)
warnings.simplefilter("always")
gc.collect()
assert sorted(os.listdir("/proc/self/fd")) == before
"""
    done = run_python(source, env=without_variables())
    assert done.stderr == ""
    reads_at_import = name in ("FASTAIO_PRIMITIVES", "FASTAIO_TLS")
    assert done.stdout == "" if reads_at_import else done.stdout.startswith(f"{name} must be ")

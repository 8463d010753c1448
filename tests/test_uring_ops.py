"""Operations on a ring, below Python: c/uring_ops.c, built with the room that it tests."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .ringutil import needs_io_uring

HERE = Path(__file__).parent
PROGRAM = HERE / "c" / "uring_ops.c"
ROOM = HERE.parent / "src" / "_fastaio"
CASES = re.findall(r'^    \{"(\w+)", \w+\},$', PROGRAM.read_text(), re.MULTILINE)
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

pytestmark = [
    pytest.mark.fastaio_only,
    needs_io_uring,
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler here"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The program, with sanitizers where the compiler has them."""
    binary = tmp_path_factory.mktemp("uring_ops") / "uring_ops"
    command = [COMPILER, "-std=c11", "-D_GNU_SOURCE", "-UNDEBUG", "-g", f"-I{ROOM}", "-pthread"]
    command += [str(PROGRAM), str(ROOM / "poll" / "uring.c"), "-o", str(binary)]
    for sanitizers in (["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"], []):
        done = subprocess.run([*command, *sanitizers], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return binary
    pytest.fail(done.stderr)


def test_there_are_cases():
    assert len(CASES) > 5


@pytest.mark.parametrize("case", CASES)
def test_operations(program, case):
    # Without what a sanitized interpreter preloads: the program has its own.
    done = subprocess.run(
        [program, case],
        capture_output=True,
        text=True,
        check=False,
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert (done.returncode, done.stderr) == (0, "")

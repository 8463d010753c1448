"""Programs in tests/c: they test sources of the native half below Python, one case per run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "c"
SOURCES = PROGRAMS.parent.parent / "src" / "_fastaio"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler here")


def cases_of(program):
    """The names in the table of cases of a program."""
    return re.findall(r'^    \{"(\w+)", \w+\},$', (PROGRAMS / program).read_text(), re.MULTILINE)


def build(directory, program, *sources, flags=()):
    """The path of the program, built with sources of src/_fastaio and with sanitizers."""
    binary = directory / program.removesuffix(".c")
    command = [COMPILER, "-std=c11", "-D_GNU_SOURCE", "-UNDEBUG", "-g", f"-I{SOURCES}", *flags]
    command += [str(PROGRAMS / program), *(str(SOURCES / path) for path in sources)]
    command += ["-o", str(binary)]
    for sanitizers in (["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"], []):
        done = subprocess.run([*command, *sanitizers], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return binary
    pytest.fail(done.stderr)


def check_case(binary, case):
    """Run a case; fail with its message."""
    # The environment lacks what a sanitized interpreter preloads: the program has its own.
    done = subprocess.run(
        [binary, case],
        capture_output=True,
        text=True,
        check=False,
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )
    if done.returncode != 0 or done.stderr:
        pytest.fail(f"{binary.name} {case}: status {done.returncode}\n{done.stderr}")

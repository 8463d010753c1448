"""Builds the one extension module; everything else about the project stands in pyproject.toml.

Switches, each an environment variable set to 1:

FASTAIO_DEBUG     no optimisation, full debug information, assertions on
FASTAIO_SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer, assertions on
FASTAIO_COVERAGE  gcov counters
FASTAIO_WERROR    a warning stops the build
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

if sys.platform != "linux":
    sys.exit(f"fastaio runs on Linux only; this is {sys.platform}.")
if sys.implementation.name != "cpython" or sys.version_info < (3, 11):
    sys.exit(
        "fastaio needs CPython 3.11 or newer; this is "
        f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}."
    )


def switch(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


COMPILE = [
    "-std=c11",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    # The signatures of CPython's slots and its zero-terminated tables are what they are.
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
]
LINK = []
DEFINES = [("_GNU_SOURCE", None)]
UNDEFINES = []

if switch("FASTAIO_SANITIZE"):
    sanitizers = "-fsanitize=address,undefined"
    COMPILE += [
        "-O1",
        "-g3",
        "-fno-omit-frame-pointer",
        "-fno-sanitize-recover=undefined",
        sanitizers,
    ]
    LINK += [sanitizers]
    UNDEFINES += ["NDEBUG"]
elif switch("FASTAIO_COVERAGE"):
    COMPILE += ["-O0", "-g3", "--coverage"]
    LINK += ["--coverage"]
elif switch("FASTAIO_DEBUG"):
    COMPILE += ["-O0", "-g3"]
    UNDEFINES += ["NDEBUG"]
else:
    COMPILE += [
        "-O3",
        # Calls of the interpreter need no detour by the linker's table.
        "-fno-plt",
        # A change in one function does not move the others within their cache lines, which makes
        # a task's life 10% faster or slower.
        "-falign-functions=64",
    ]
if switch("FASTAIO_WERROR"):
    COMPILE += ["-Werror"]

root = Path(__file__).parent
room = Path("src", "_fastaio")


def files(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / room).rglob(pattern))


setup(
    ext_modules=[
        Extension(
            "fastaio._fastaio",
            sources=files("*.c"),
            depends=files("*.h"),
            include_dirs=[str(room)],
            define_macros=DEFINES,
            undef_macros=UNDEFINES,
            extra_compile_args=COMPILE,
            extra_link_args=LINK,
        )
    ]
)

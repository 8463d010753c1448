"""Builds the one extension module, and is the build backend: setuptools', behind two checks.

The checks run before anything is fetched or compiled: the system and the interpreter, then the
compiler and its headers. Everything else about the project stands in pyproject.toml.

Switches, each an environment variable set to 1:

FASTAIO_DEBUG     no optimisation, full debug information, assertions on
FASTAIO_SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer, assertions on; or, set to
                  "thread", ThreadSanitizer, for an interpreter that has been built with it
FASTAIO_COVERAGE  gcov counters
FASTAIO_WERROR    a warning stops the build

A build without a switch has no debug information, unless CFLAGS has -g.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

# -------------------------------------------------------------------------------------- checks
# Interpreters that fastaio does not support read this file too, so its syntax is Python 3.7's.

# What a C compiler, the C library's headers and Python's headers are called.
PACKAGES = {
    "debian": ("apt-get install", "gcc", "libc6-dev", "python{}.{}-dev"),
    "ubuntu": ("apt-get install", "gcc", "libc6-dev", "python{}.{}-dev"),
    "fedora": ("dnf install", "gcc", "glibc-devel", "python3-devel"),
    "rhel": ("dnf install", "gcc", "glibc-devel", "python3-devel"),
    "alpine": ("apk add", "gcc", "musl-dev", "python3-dev"),
}
NAMES = ("a C compiler", "the C library's headers", "Python's headers")


def check_system():
    """Exit with one sentence where fastaio cannot run."""
    name, (major, minor) = sys.implementation.name, sys.version_info[:2]
    if sys.platform != "linux" or name != "cpython" or (major, minor) < (3, 11):
        name = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalPy"}.get(name, name)
        sys.exit(
            "fastaio needs Linux and CPython 3.11 or newer; "
            f"this is {name} {major}.{minor} on {sys.platform}."
        )


def find_missing():
    """Return the indices of NAMES that the build lacks; none if it fails for another reason."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    include = sysconfig.get_path("include")
    if shutil.which(compiler[0]) is None:
        return [0, 1] if Path(include, "Python.h").exists() else [0, 1, 2]
    flags = shlex.split(os.environ.get("CPPFLAGS", "") + " " + os.environ.get("CFLAGS", ""))
    probe = subprocess.run(
        [*compiler, *flags, "-I" + include, "-fsyntax-only", "-x", "c", "-"],
        input="#include <stdio.h>\n#include <Python.h>\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if probe.returncode == 0:
        return []
    return [index for index, name in ((1, "stdio.h:"), (2, "Python.h:")) if name in probe.stdout]


def check_compiler():
    """Exit with one sentence that says what to install, if the extension cannot be compiled."""
    missing = find_missing()
    if not missing:
        return
    names = [NAMES[index] for index in missing]
    what = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    how = "install what is missing"
    try:
        release = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        release = ""
    for line in release.splitlines():
        key, _, value = line.partition("=")
        known = [name for name in value.strip("\"'").split() if name in PACKAGES]
        if key in ("ID", "ID_LIKE") and known:
            command, *packages = PACKAGES[known[0]]
            listed = " ".join(packages[index] for index in missing)
            how = f"{command} {listed}".format(*sys.version_info)
            break
    sys.exit(f"fastaio's build needs {what}: {how}, or install a wheel of fastaio.")


# ------------------------------------------------------------------------------------- backend


def get_requires_for_build_wheel(config_settings=None):
    """Return what a build needs, once it is known that there can be one."""
    check_system()
    check_compiler()
    return ["setuptools>=77"]


get_requires_for_build_editable = get_requires_for_build_wheel


def get_requires_for_build_sdist(config_settings=None):
    """Return what a source distribution needs. It can be made on any system."""
    return ["setuptools>=77"]


def hook(name):
    """Return setuptools' hook. It can be imported only after the functions above have run."""

    def call(*args, **kwargs):
        import setuptools.build_meta

        return getattr(setuptools.build_meta, name)(*args, **kwargs)

    return call


build_wheel = hook("build_wheel")
build_editable = hook("build_editable")
build_sdist = hook("build_sdist")
prepare_metadata_for_build_wheel = hook("prepare_metadata_for_build_wheel")
prepare_metadata_for_build_editable = hook("prepare_metadata_for_build_editable")


# --------------------------------------------------------------------------------------- build


def switch(name):
    """Return whether an environment variable is set to something else than 0."""
    return os.environ.get(name, "0") not in ("", "0")


def check_thread_sanitizer():
    """Exit with one sentence where ThreadSanitizer would not see what the interpreter does."""
    if "--with-thread-sanitizer" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        sys.exit(
            "FASTAIO_SANITIZE=thread needs a CPython configured with --with-thread-sanitizer, "
            "and the compiler that built it."
        )


def options():
    """Return the extension's arguments that depend on the switches."""
    compile_args = [
        "-std=c11",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        # The signatures of CPython's slots and its zero-terminated tables are what they are.
        "-Wno-unused-parameter",
        "-Wno-missing-field-initializers",
    ]
    link_args = []
    define = [("_GNU_SOURCE", None)]
    undefine = []
    if os.environ.get("FASTAIO_SANITIZE") == "thread":
        check_thread_sanitizer()
        compile_args += ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=thread"]
        # The flags of a CPython that clang has built warn of code for other versions of Python.
        compile_args += ["-Wno-unreachable-code"]
        link_args += ["-fsanitize=thread"]
        undefine += ["NDEBUG"]
    elif switch("FASTAIO_SANITIZE"):
        sanitizers = "-fsanitize=address,undefined"
        compile_args += [
            "-O1",
            "-g3",
            "-fno-omit-frame-pointer",
            "-fno-sanitize-recover=undefined",
            sanitizers,
        ]
        link_args += [sanitizers]
        undefine += ["NDEBUG"]
    elif switch("FASTAIO_COVERAGE"):
        compile_args += ["-O0", "-g3", "--coverage"]
        link_args += ["--coverage"]
    elif switch("FASTAIO_DEBUG"):
        compile_args += ["-O0", "-g3"]
        undefine += ["NDEBUG"]
    else:
        compile_args += [
            "-O3",
            # Calls of the interpreter need no detour by the linker's table.
            "-fno-plt",
            # A change in one function does not move the others within their cache lines, which
            # makes a task's life 10% faster or slower.
            "-falign-functions=64",
        ]
        # Python's own flags have it, but a CFLAGS in the environment may replace these.
        define += [("NDEBUG", None)]
        if "-g" not in os.environ.get("CFLAGS", "").split():
            # Most distributions build Python with -g, which extensions inherit.
            compile_args += ["-g0"]
    if switch("FASTAIO_WERROR"):
        compile_args += ["-Werror"]
    return {
        "extra_compile_args": compile_args,
        "extra_link_args": link_args,
        "define_macros": define,
        "undef_macros": undefine,
    }


def build():
    """Run the setuptools command that the command line names."""
    from setuptools import Extension, setup

    root = Path(__file__).parent
    room = Path("src", "_fastaio")

    def files(pattern):
        return sorted(str(path.relative_to(root)) for path in (root / room).rglob(pattern))

    setup(
        ext_modules=[
            Extension(
                "fastaio._fastaio",
                sources=files("*.c"),
                depends=files("*.h"),
                include_dirs=[str(room)],
                # These are part of libc from glibc 2.34 on, and wheels are built with an older one.
                libraries=["dl", "m", "pthread"],
                **options(),
            )
        ]
    )


if __name__ == "__main__":
    check_system()
    build()

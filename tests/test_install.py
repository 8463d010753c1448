"""Installing: what a build says before it begins, and a source tree that is imported uncompiled."""

import importlib.machinery
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .support import GUARD

pytestmark = pytest.mark.fastaio_only

ROOT = Path(__file__).parent.parent
HOOK = "print(setup.get_requires_for_build_wheel())"


def run(code, cwd=ROOT, **variables):
    """Run code with no environment but the variables; return exit code and all output's lines.

    Another folder than this one is run without site: an editable install would find what it lacks.
    """
    flags = [] if cwd == ROOT else ["-S"]
    result = subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=cwd,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=GUARD,
    )
    return result.returncode, result.stdout.splitlines()


def make_compiler(folder, said):
    """A compiler that fails with a message."""
    path = folder / "cc"
    path.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    path.chmod(0o755)
    return str(path)


# The build


@pytest.mark.parametrize(
    ("change", "this"),
    [
        ("sys.platform = 'darwin'", "CPython {}.{} on darwin"),
        ("sys.platform = 'win32'", "CPython {}.{} on win32"),
        ("sys.implementation.name = 'pypy'", "PyPy {}.{} on linux"),
        ("sys.version_info = (3, 10, 4)", "CPython 3.10 on linux"),
    ],
)
def test_another_system_or_interpreter(change, this):
    this = this.format(*sys.version_info)
    assert run(f"import sys, setup; {change}; {HOOK}") == (
        1,
        [f"fastaio needs Linux and CPython 3.11 or newer; this is {this}."],
    )


def test_a_source_distribution_is_made_anywhere():
    code, lines = run(
        "import sys; sys.platform = 'darwin'; import setup;"
        "print(setup.get_requires_for_build_sdist())"
    )
    assert (code, lines) == (0, ["['setuptools>=77']"])


def test_no_compiler():
    code, lines = run("import setup; " + HOOK, CC="/nowhere/cc -pthread")
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("fastaio's build needs a C compiler and the C library's headers")
    assert lines[0].endswith(", or install a wheel of fastaio.")


def test_the_packages_of_the_distribution(tmp_path):
    release = tmp_path / "os-release"
    code = f"""
import pathlib
real = pathlib.Path.read_text
pathlib.Path.read_text = lambda self, **kwargs: real(
    pathlib.Path({str(release)!r}) if str(self) == "/etc/os-release" else self, **kwargs)
import setup; {HOOK}
"""
    for text, command in (
        ('NAME="x"\nID=debian\n', "apt-get install gcc libc6-dev"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "apt-get install gcc libc6-dev"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install gcc glibc-devel"),
        ("ID=alpine\n", "apk add gcc musl-dev"),
        ("ID=other\n", "install what is missing"),
        ("", "install what is missing"),
    ):
        release.write_text(text)
        status, lines = run(code, CC="/nowhere/cc")
        assert status == 1
        assert f": {command}" in lines[0]


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ("fatal error: stdio.h: No such file or directory", "the C library's headers"),
        ("fatal error: Python.h: No such file or directory", "Python's headers"),
    ],
)
def test_a_compiler_without_headers(tmp_path, said, missing):
    code, lines = run("import setup; " + HOOK, CC=make_compiler(tmp_path, said))
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"fastaio's build needs {missing}: ")


def test_a_compiler_that_fails_otherwise_says_so_itself(tmp_path):
    code, lines = run("import setup; " + HOOK, CC=make_compiler(tmp_path, "unrecognized option"))
    assert (code, lines) == (0, ["['setuptools>=77']"])


def test_the_backend_is_setuptools():
    pytest.importorskip("setuptools")
    code, lines = run(
        "import setup; from unittest.mock import patch;"
        "names = ['build_wheel', 'build_editable', 'build_sdist'];"
        "assert all(hasattr(setup, name) for name in names);"
        "hook = patch('setuptools.build_meta.build_sdist', lambda *args: print('made', *args));"
        "hook.start(); setup.build_sdist('here')"
    )
    assert (code, lines) == (0, ["made here"])


# An uncompiled tree


@pytest.fixture
def tree(tmp_path):
    """A folder with fastaio's Python files and no extension."""
    shutil.copytree(
        ROOT / "fastaio",
        tmp_path / "fastaio",
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
    )
    return tmp_path


def test_python_in_an_uncompiled_checkout(tree):
    (tree / "setup.py").touch()
    code, lines = run("import fastaio", tree)
    assert code == 1
    assert lines[-1].startswith(
        f"ImportError: this is fastaio's source tree ({tree}), whose extension is not compiled: "
    )
    assert "During handling" not in "".join(lines)

    (tree / "fastaio" / "_fastaio.cpython-39-x86_64-linux-gnu.so").touch()
    code, lines = run("import fastaio", tree)
    assert code == 1
    assert "is compiled as _fastaio.cpython-39-x86_64-linux-gnu.so, not for CPython" in lines[-1]


def test_the_command_in_an_uncompiled_checkout(tree):
    (tree / "setup.py").touch()
    code, lines = run("import runpy; runpy._run_module_as_main('fastaio')", tree)
    assert code != 0
    assert len(lines) == 1
    assert "this is fastaio's source tree" in lines[0]


def test_an_installed_package_without_its_extension(tree):
    assert run("import fastaio", tree)[1][-1].endswith(
        "lacks its extension module: install fastaio again"
    )
    (tree / "fastaio" / "_fastaio.cpython-39-x86_64-linux-gnu.so").touch()
    lines = run("import fastaio", tree)[1]
    assert lines[-1].endswith(
        f"needs _fastaio{importlib.machinery.EXTENSION_SUFFIXES[0]}: "
        "install fastaio with the Python that runs"
    )


def test_an_extension_that_lacks_something_else_says_what(tree):
    (tree / "fastaio" / "_fastaio.py").write_text("import nothing_of_this_name")
    lines = run("import fastaio", tree)[1]
    # 3.15 adds advice behind it
    assert lines[-1].startswith("ModuleNotFoundError: No module named 'nothing_of_this_name'")


# What the documents and the wheels promise


def test_nothing_says_that_the_registry_has_fastaio():
    suggestion = re.compile(r"pip3? (?:install|download)(?: -\S+)* ['\"]?fastaio(?![./-])")
    texts = [*ROOT.glob("*.md"), *ROOT.rglob("docs/**/*.md"), *ROOT.rglob("fastaio/**/*.py")]
    assert len(texts) > 20
    assert [str(path) for path in texts if suggestion.search(path.read_text())] == []


def test_all_packages_are_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    places = {
        project.get("package-dir", {}).get(name, name.replace(".", "/"))
        for name in project["packages"]
    }
    found = {
        path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("fastaio/**/__init__.py")
    }
    assert places == found


def test_wheels_are_built_for_the_pythons_of_the_classifiers():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    prefix = "Programming Language :: Python :: 3."
    versions = {
        name.removeprefix(prefix)
        for name in project["project"]["classifiers"]
        if name.startswith(prefix)
    }
    builds = project["tool"]["cibuildwheel"]["build"]
    assert {f"cp3{version}-*" for version in versions} == {
        name for name in builds if not name.endswith("t-*")
    }
    assert "cp314t-*" in builds

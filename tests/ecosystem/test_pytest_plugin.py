"""``pytest --fastaio``: a plugin that costs nothing unless it is asked for."""

import os
import sys

import pytest

from .support import need
from .test_switching import ROOT, SUITE, run_pytest

pytestmark = pytest.mark.fastaio_only

need("pytest_asyncio")

UNUSED = """
import sys

def test_fastaio_is_not_imported():
    assert "pytest_fastaio" in sys.modules
    assert not [name for name in sys.modules if name.partition(".")[0] == "fastaio"]
    {in_class}
"""

NESTED = """
import asyncio
import pytest

pytest_plugins = ["pytester"]

def kind():
    loop = asyncio.new_event_loop()
    loop.close()
    return type(loop).__module__

def test_a_pytest_in_this_process(pytester):
    assert kind() == "fastaio.loop"
    pytester.makepyfile("def test(): pass")
    pytester.runpytest_inprocess("--fastaio", "-p", "no:asyncio").assert_outcomes(passed=1)
    assert kind() == "fastaio.loop"
    {in_class}
"""


def test_a_pytest_without_the_option_does_not_import_fastaio(tmp_path):
    assert "1 passed" in run_pytest(tmp_path, [], suite=UNUSED)


def test_without_the_option_the_loop_is_asyncios(tmp_path):
    suite = SUITE.replace('"fastaio.loop"', '"asyncio.unix_events"')
    assert "3 passed" in run_pytest(tmp_path, [], suite=suite)


@pytest.mark.parametrize(
    "options",
    [["-p", "pytest_fastaio"], ["-p", "fastaio.pytest_fastaio"], ["-p", "no:asyncio"]],
)
def test_the_plugin_may_be_loaded_twice(tmp_path, options):
    suite = SUITE
    if options[1] == "no:asyncio":
        suite = (
            SUITE[: SUITE.index("@pytest.mark.asyncio")] + SUITE[SUITE.index("@pytest.fixture") :]
        )
    number = suite.count("async def test")
    assert f"{number} passed" in run_pytest(tmp_path, ["--fastaio", *options], suite=suite)


def test_the_header_names_the_loop(tmp_path):
    said = run_pytest(tmp_path, ["--fastaio", "-v"])
    assert "fastaio: fastaio.loop.EventLoop, epoll (the default)" in said


def test_a_pytest_inside_a_pytest_takes_nothing_back(tmp_path):
    assert "1 passed" in run_pytest(tmp_path, ["--fastaio"], suite=NESTED)


def test_the_entry_point_has_the_name_of_its_module():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"pytest_fastaio": "pytest_fastaio"}
    tools = project["tool"]["setuptools"]
    assert "pytest_fastaio" in tools["packages"]
    folder = ROOT / tools["package-dir"]["pytest_fastaio"]
    assert os.path.isfile(folder / "__init__.py")
    assert sys.version_info >= (3, 11)

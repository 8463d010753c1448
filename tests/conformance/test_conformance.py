"""CPython's own asyncio tests, one test here for each of their modules."""

import pytest

from tests.conformance.modules import MODULES, suite_installed
from tests.conformance.runner import run_module


@pytest.mark.timeout(600)
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_module_of_cpython(module, request):
    loop = request.config.getoption("--loop")
    if loop == "asyncio":
        pytest.skip("asyncio passes its own tests; what fails on fastaio is tried there, too")
    if not suite_installed():
        pytest.skip("this Python came without its tests")
    if not module.installed:
        pytest.skip("not in this version of Python")
    report = run_module(module, loop)
    failures = [f"{test}\n{detail}" for test, detail in report.failures.items()]
    assert report.good, "\n".join([report.line(), *report.errors, *failures])

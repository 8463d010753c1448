"""How long a wait spins, below Python: c/spin.c feeds the measurement with costs."""

import pytest

from .cprogram import build, cases_of, check_case, needs_compiler

PROGRAM = "spin.c"
CASES = cases_of(PROGRAM)

pytestmark = [pytest.mark.fastaio_only, needs_compiler]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    directory = tmp_path_factory.mktemp("spin")
    flags = ["-Wl,--wrap=clock_gettime", "-Wl,--wrap=getrusage"]
    return build(directory, PROGRAM, "loop/spin.c", flags=flags)


def test_there_are_cases():
    assert len(CASES) > 5


@pytest.mark.parametrize("case", CASES)
def test_the_decision(program, case):
    check_case(program, case)

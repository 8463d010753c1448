"""Operations on a ring, below Python: c/uring_ops.c, built with the source that it tests."""

import pytest

from .cprogram import build, cases_of, check_case, needs_compiler
from .ringutil import needs_io_uring

PROGRAM = "uring_ops.c"
CASES = cases_of(PROGRAM)

pytestmark = [pytest.mark.fastaio_only, needs_io_uring, needs_compiler]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uring_ops")
    return build(directory, PROGRAM, "poll/uring.c", flags=["-pthread"])


def test_there_are_cases():
    assert len(CASES) > 5


@pytest.mark.parametrize("case", CASES)
def test_operations(program, case):
    check_case(program, case)

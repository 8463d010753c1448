"""Each type of the package, used by several threads at once: hostile_types.py."""

import subprocess
import sys

import pytest

from .support import FREE_THREADED, GUARD

if not FREE_THREADED:
    pytest.skip("this interpreter has a GIL", allow_module_level=True)

from . import hostile_types

GROUPS = 12
NAMES = [name for name, _ in hostile_types.subjects()]


@pytest.mark.fastaio_only
def test_each_type_has_a_maker_or_a_reason_why_not():
    types = set(hostile_types.every_type())
    made = {name.split(" of ")[0] for name in hostile_types.MAKERS}
    known = made | set(hostile_types.NO_OBJECT)
    assert types - known == set(), "these types have no maker in hostile_types.py"
    absent = {name for name in known - types if not name.startswith(("asyncio.", "ssl."))}
    assert absent <= {"gunicorn.Worker"}, "there are no such types"
    assert made & set(hostile_types.NO_OBJECT) == set()


@pytest.mark.fastaio_only
@pytest.mark.parametrize("number", range(GROUPS))
def test_hostile_threads_harm_nothing(number):
    names = NAMES[number::GROUPS]
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile_types", *names, "--seconds", "0.4"],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=4 * GUARD,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-6000:]}"
    assert int(done.stdout.split()[-2]) > 100 * len(names)

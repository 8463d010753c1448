"""examples/race.py, as a reader of the README runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..support import GUARD
from .support import environment, need

pytestmark = pytest.mark.fastaio_only

RACE = Path(__file__).parents[2] / "examples" / "race.py"


def race(*arguments):
    return subprocess.run(
        [sys.executable, str(RACE), *arguments],
        capture_output=True,
        text=True,
        timeout=4 * GUARD,
        check=False,
        env=environment(),
    )


def test_the_race_shows_requests_cpu_time_and_latency():
    for name in ("fastapi", "httptools", "uvicorn"):
        need(name)
    done = race("--rounds", "2", "--seconds", "0.25", "--connections", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    found = re.findall(
        r"^ *(\w+) .* ([\d,]+) req/s +(\d+) us CPU/req  p50 +([\d.]+) ms  p99 +([\d.]+) ms$",
        done.stdout,
        re.MULTILINE,
    )
    assert [name for name, *_ in found] == ["asyncio", "fastaio"]
    for _, rate, cost, p50, p99 in found:
        assert 0 < float(p50) <= float(p99)
        # One server on one core: what a request costs is less than the time between two.
        assert 0 < float(cost) <= 1.1e6 / float(rate.replace(",", ""))
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"fastaio answered [\d.]+ times the requests of asyncio \([\d,]+ and [\d,]+\), "
        r"with [\d.]+ times the CPU time for each\. The app is unchanged\.",
        last,
    )


@pytest.mark.parametrize("option", ["--rounds", "--connections", "--seconds"])
def test_a_race_of_nothing_is_refused(option):
    need("fastapi")
    done = race(option, "0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"error: {option} must be more than 0")

"""How long a loop may spin before it blocks: a default for loop.spin_us.

A wait that is shorter than what blocking costs is cheaper if the loop asks the kernel again and
again instead. The native loop finds out by trial whether that pays. It only can where another CPU
does the work that is waited for: with less than two of them the loop always blocks at once.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from . import environment

__all__ = ("ENVIRONMENT_VARIABLE", "default_spin_us")

ENVIRONMENT_VARIABLE = "FASTAIO_SPIN_US"

# What loop.spin_us takes.
_LONGEST_US = 1000


def _quota(directory: Path) -> float | None:
    """The CPUs that one cgroup (version 2) may use, or None where it sets no limit."""
    try:
        limit, period = (directory / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None  # the root of the hierarchy has no such file; neither has version 1
    return None if limit == "max" else int(limit) / int(period)


def _quota_v1() -> float | None:
    directory = Path("/sys/fs/cgroup/cpu")
    try:
        limit = int((directory / "cpu.cfs_quota_us").read_text())
        period = int((directory / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return None if limit <= 0 else limit / period


def _cgroup_cpus() -> float | None:
    """The smallest quota of this process's cgroup and those above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = [_quota_v1()]
    for line in lines:
        hierarchy, _, path = line.split(":", 2)
        if hierarchy == "0":
            below = Path("/sys/fs/cgroup", path.lstrip("/"))
            quotas += [_quota(directory) for directory in (below, *below.parents)]
    return min((quota for quota in quotas if quota is not None), default=None)


_cgroup_cpus_once = functools.cache(_cgroup_cpus)


def _given_us() -> int | None:
    """The microseconds of FASTAIO_SPIN_US; None if it is not set, or makes no sense."""
    text = os.environ.get(ENVIRONMENT_VARIABLE)
    if not text:
        return None
    try:
        us = int(text)
    except ValueError:
        us = -1
    if 0 <= us <= _LONGEST_US:
        return us
    problem = f"{ENVIRONMENT_VARIABLE} must be a number from 0 to {_LONGEST_US}, not {text!r}"
    environment.warn(problem, "the loop measures whether to spin")
    return None


def default_spin_us() -> int | None:
    """Return loop.spin_us for a new loop: None (the loop measures), or 0 with less than two CPUs.

    The environment variable FASTAIO_SPIN_US sets a number of microseconds; 0 switches spinning off.
    """
    given = _given_us()
    if given is not None:
        return given
    cpus = float(len(os.sched_getaffinity(0)))
    quota = _cgroup_cpus_once()
    if quota is not None:
        cpus = min(cpus, quota)
    return None if cpus >= 2 else 0

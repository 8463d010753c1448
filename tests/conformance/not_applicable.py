"""Tests of CPython that ask about asyncio's private parts and so cannot hold for fastaio.

Each is run all the same, and one that passes is an error, as is one that no longer exists: the
list can only be as long as it has to be. A name may hold ``*``, for the variants of one test.
"""

import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class NotApplicable:
    test: str
    reason: str
    since: tuple[int, int] = (3, 11)
    until: tuple[int, int] = (3, 15)
    #: False for what would hang or end the process.
    run: bool = True

    @property
    def here(self) -> bool:
        return self.since <= sys.version_info[:2] <= self.until

    def covers(self, test: str) -> bool:
        return fnmatchcase(test, self.test)


NOT_APPLICABLE: list[NotApplicable] = []


def listed(module: str) -> list[NotApplicable]:
    """What is listed for a module on this version of Python."""
    return [entry for entry in NOT_APPLICABLE if entry.here and entry.test.startswith(module + ".")]

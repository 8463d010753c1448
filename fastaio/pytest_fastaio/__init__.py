"""A plugin of pytest: with ``--fastaio`` the tests run on fastaio's loops.

It serves whatever asks asyncio for a loop: pytest-asyncio, anyio's plugin, IsolatedAsyncioTestCase
and ``asyncio.run()``. It is installed as a package of its own: a pytest that does not use it does
not import fastaio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ("pytest_addoption", "pytest_configure", "pytest_report_header")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option, if this plugin is not loaded under another name already."""
    try:
        parser.getgroup("fastaio").addoption(
            "--fastaio", action="store_true", help="run the tests on fastaio's event loops"
        )
    except ValueError:
        return


def pytest_configure(config: pytest.Config) -> None:
    """Install fastaio until pytest ends."""
    if not config.getoption("fastaio"):
        return
    import fastaio.policy

    if not fastaio.policy.is_installed():
        fastaio.install()
        config.add_cleanup(fastaio.uninstall)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the loop and its backend."""
    if not config.getoption("fastaio"):
        return None
    import fastaio

    report = fastaio.which()
    return f"fastaio: {report.loop}, {report.backend} ({report.backend_reason})"

"""Which loop the servers in processes of their own run on, and the servers of other projects."""

import asyncio
import inspect

import pytest

from ..ioutil import no_new_descriptors
from ..support import GUARD
from . import servers


@pytest.fixture(scope="session")
def uvicorn_loop(on_fastaio):
    """The value of uvicorn's --loop."""
    return "fastaio:new_event_loop" if on_fastaio else "asyncio"


@pytest.fixture(scope="session")
def loop_module(on_fastaio):
    """The package that a loop under test comes from."""
    return "fastaio" if on_fastaio else "asyncio"


@pytest.fixture
def stage(run):
    """Run a coroutine function under a time limit; it leaves no descriptor open."""

    def stage(scenario):
        assert inspect.iscoroutinefunction(scenario)

        async def main():
            async with no_new_descriptors(others=True), asyncio.timeout(2 * GUARD):
                await scenario()

        run(main)

    return stage


@pytest.fixture(scope="session")
def postgresql():
    with servers.PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb():
    with servers.MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def redis():
    with servers.Redis() as server:
        yield server

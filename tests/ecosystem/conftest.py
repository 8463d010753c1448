"""Which loop the servers in processes of their own run on."""

import pytest


@pytest.fixture(scope="session")
def uvicorn_loop(on_fastaio):
    """The value of uvicorn's --loop."""
    return "fastaio:new_event_loop" if on_fastaio else "asyncio"


@pytest.fixture(scope="session")
def loop_module(on_fastaio):
    """The package that a loop under test comes from."""
    return "fastaio" if on_fastaio else "asyncio"

"""pytest-asyncio: a suite of its own, run by a pytest of its own, on the loop under test."""

import importlib.metadata
import subprocess
import sys
import textwrap

import pytest

from ..support import GUARD
from .support import environment, need

need("pytest_asyncio")

SUITE = """
import asyncio
import contextlib
import sys

import pytest
import pytest_asyncio

MODULE = {module!r}


def on_the_loop_under_test():
    loop = asyncio.get_running_loop()
    assert type(loop).__module__.partition(".")[0] == MODULE
    return loop


@pytest_asyncio.fixture
async def server():
    on_the_loop_under_test()

    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()


@pytest_asyncio.fixture
async def generator():
    async def numbers():
        for number in range(3):
            yield number

    async with contextlib.aclosing(numbers()) as values:
        yield values


async def test_streams(server):
    on_the_loop_under_test()
    reader, writer = await asyncio.open_connection(*server)
    writer.write(b"hello\\n")
    assert await reader.readline() == b"hello\\n"
    writer.close()
    await writer.wait_closed()


async def test_tasks(generator):
    on_the_loop_under_test()
    assert await asyncio.gather(*(asyncio.sleep(0, number) for number in range(10)))
    assert [value async for value in generator] == [0, 1, 2]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(10)


async def test_threads():
    loop = on_the_loop_under_test()
    assert await asyncio.to_thread(lambda: 5) == 5
    future = loop.create_future()
    await asyncio.to_thread(loop.call_soon_threadsafe, future.set_result, 6)
    assert await future == 6


@pytest.mark.asyncio(loop_scope="class")
class TestClassScope:
    async def test_first(self):
        on_the_loop_under_test()

    async def test_second(self):
        on_the_loop_under_test()


async def test_a_failure_is_a_failure():
    on_the_loop_under_test()
    raise ZeroDivisionError("as expected")
"""

HOOK = """
def pytest_asyncio_loop_factories(config, item):
    return {{"under test": lambda: {factory}()}}
"""

POLICY = """
import asyncio
import warnings
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self):
            return {factory}()


@pytest.fixture(scope="session")
def event_loop_policy():
    return {policy}
"""


def run_suite(path, conftest, module):
    path.joinpath("conftest.py").write_text(textwrap.dedent(conftest))
    path.joinpath("test_suite.py").write_text(textwrap.dedent(SUITE.format(module=module)))
    path.joinpath("pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)],
        cwd=path,
        capture_output=True,
        text=True,
        timeout=2 * GUARD,
        env=environment(),
        check=False,
    )
    assert "1 failed, 5 passed" in done.stdout, done.stdout + done.stderr
    assert "ZeroDivisionError: as expected" in done.stdout
    return done.stdout


def version():
    return tuple(map(int, importlib.metadata.version("pytest-asyncio").split(".")[:2]))


@pytest.mark.skipif(version() < (1, 4), reason="the hook is new in 1.4")
def test_the_loop_factory_hook(tmp_path, loop_factory_source, loop_module):
    run_suite(tmp_path, HOOK.format(factory=loop_factory_source), loop_module)


def test_the_policy_fixture(tmp_path, loop_factory_source, loop_module, on_fastaio):
    policy = "__import__('fastaio').EventLoopPolicy()" if on_fastaio else "Policy()"
    conftest = POLICY.format(factory=loop_factory_source, policy=policy)
    run_suite(tmp_path, conftest, loop_module)

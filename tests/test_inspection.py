"""A process is asked from outside what its tasks wait for: python -m asyncio ps, and pstree."""

import subprocess
import sys

import pytest

from .support import GUARD, PYTHON_314

pytestmark = pytest.mark.skipif(not PYTHON_314, reason="3.14 has it first")

PROGRAM = """
import asyncio

async def leaf():
    print("ready", flush=True)
    await asyncio.sleep(600)

async def trunk():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="the leaf")

async def main():
    await asyncio.create_task(trunk(), name="the trunk")

asyncio.Runner(loop_factory={factory}).run(main())
"""


@pytest.mark.parametrize("command", ["ps", "pstree"])
def test_tasks_of_another_process(loop_factory_source, command):
    program = PROGRAM.format(factory=loop_factory_source)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            asked = subprocess.run(
                [sys.executable, "-m", "asyncio", command, str(process.pid)],
                capture_output=True,
                text=True,
                timeout=GUARD,
            )
        finally:
            process.kill()
    said = asked.stdout + asked.stderr
    if "ermission" in said:
        pytest.skip("this system lets no process look into another one")
    assert asked.returncode == 0, said
    for text in ("the leaf", "the trunk", "leaf"):
        assert text in asked.stdout

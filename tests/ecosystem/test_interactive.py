"""Where people type: asyncio's own prompt, IPython, a Jupyter kernel, and nest_asyncio in it."""

import os
import subprocess
import sys
import textwrap

import pytest

from ..support import GUARD
from .support import environment, need

POLICY = "import fastaio; fastaio.install()"


def python(program, *arguments, say=None, **variables):
    """Run a program, say something to it, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments],
        input=say,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * GUARD,
        env={**environment(), **variables},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def policy(on_fastaio):
    """A line that makes new loops those under test."""
    return POLICY if on_fastaio else "pass"


def test_the_prompt_of_asyncio(policy, loop_module):
    program = f"""{policy}
import runpy
runpy.run_module("asyncio", run_name="__main__", alter_sys=True)
"""
    said = python(
        program,
        say=textwrap.dedent("""\
        print("on", type(asyncio.get_running_loop()).__module__)
        await asyncio.sleep(0.01, "slept")
        task = asyncio.create_task(asyncio.sleep(0, "task"))
        await task
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        reader, writer = None, None
        await asyncio.gather(*(asyncio.sleep(0, n) for n in range(3)))
        """),
        PYTHON_BASIC_REPL="1",
    )
    assert f"on {loop_module}" in said
    for text in ("'slept'", "'task'", "TimeoutError", "[0, 1, 2]"):
        assert text in said


def test_ipython(policy, loop_module, tmp_path):
    need("IPython")
    program = f"""{policy}
import sys
from IPython import start_ipython
sys.exit(start_ipython(["--simple-prompt", "--no-banner", "--colors=nocolor"]))
"""
    said = python(
        program,
        say=textwrap.dedent("""\
        import asyncio
        await asyncio.sleep(0.01, "slept")
        await asyncio.gather(*(asyncio.sleep(0, n) for n in range(3)))
        task = asyncio.create_task(asyncio.sleep(0, "task")); await task
        print("on", type(task.get_loop()).__module__)
        """),
        IPYTHONDIR=str(tmp_path),
    )
    assert "'slept'" in said and "'task'" in said and "[0, 1, 2]" in said
    assert f"on {loop_module}" in said


NESTED = """
import asyncio, nest_asyncio

async def value(n):
    await asyncio.sleep(0.001)
    return n

async def main():
    loop = asyncio.get_running_loop()
    beside = asyncio.ensure_future(value("beside"))
    try:
        loop.run_until_complete(coro := value(0))
    except RuntimeError as exc:
        coro.close()
        print("before:", exc)
    nest_asyncio.apply()
    print("nested:", loop.run_until_complete(value(1)), asyncio.run(value(2)))
    print("in it:", [loop.run_until_complete(value(n)) for n in range(20)])
    print(await beside, await value(3), type(loop).__module__)
"""


def test_nest_asyncio(policy, loop_module):
    need("nest_asyncio")
    program = f"{policy}\n{NESTED}\nloop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\n"
    said = python(program + "loop.run_until_complete(main())")
    assert "before: This event loop is already running" in said
    assert "nested: 1 2" in said
    assert f"in it: {list(range(20))}" in said
    assert f"beside 3 {loop_module}" in said


def test_a_kernel_of_jupyter(policy, loop_module, tmp_path):
    """A notebook is executed; the loop of its kernel is the one under test."""
    for name in ("ipykernel", "nbclient", "nbformat", "nest_asyncio"):
        need(name)
    import nbclient
    import nbformat
    from jupyter_client.manager import AsyncKernelManager

    sources = [
        "import asyncio\nprint(type(asyncio.get_running_loop()).__module__)",
        "await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(5)))",
        "task = asyncio.ensure_future(asyncio.sleep(0.01, 'task'))",
        "await task",
        "import nest_asyncio\nnest_asyncio.apply()\n"
        "asyncio.get_event_loop().run_until_complete(asyncio.sleep(0.01, 'nested'))",
        "await asyncio.sleep(0, 'after')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    launch = f"{policy}; from ipykernel.kernelapp import launch_new_instance as start; start()"
    manager = AsyncKernelManager()
    manager.kernel_spec.argv = [sys.executable, "-c", launch, "-f", "{connection_file}"]
    client = nbclient.NotebookClient(notebook, km=manager, timeout=GUARD)
    # The kernel inherits the import path, and keeps its files in a folder of its own.
    variables = {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    old = {name: os.environ.get(name) for name in variables}
    try:
        os.environ.update(variables)
        client.execute(env={**environment(), **variables})
    finally:
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    outputs = []
    for cell in notebook.cells:
        for output in cell.outputs:
            outputs.append(output.get("text") or output["data"]["text/plain"])
    first, *rest = outputs
    assert first.partition(".")[0].strip() == loop_module
    assert rest == ["[0, 1, 2, 3, 4]", "'task'", "'nested'", "'after'"]

"""The ways into fastaio: run, install, the policy, python -m fastaio, runners, subinterpreters."""

import asyncio
import importlib.metadata
import os
import sys
import unittest

import pytest

from .support import GUARD, PYTHON_312, PYTHON_313, PYTHON_314, run_python

pytestmark = pytest.mark.fastaio_only

has_policies = pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies end with 3.15")


@pytest.fixture
def fastaio():
    return pytest.importorskip("fastaio")


async def returning(value):
    await asyncio.sleep(0)
    return value


async def current_loop():
    return asyncio.get_running_loop()


# In this process


def test_what_is_public(fastaio):
    names = {
        "EventLoop",
        "EventLoopPolicy",
        "Future",
        "Task",
        "__version__",
        "install",
        "new_event_loop",
        "run",
    }
    assert names <= set(fastaio.__all__)
    for name in fastaio.__all__:
        assert hasattr(fastaio, name)


def test_the_version_is_the_metadata(fastaio):
    try:
        installed = importlib.metadata.version("fastaio")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("built in place, not installed")
    assert fastaio.__version__ == installed


def test_new_event_loop(fastaio):
    loop = fastaio.new_event_loop()
    try:
        assert type(loop) is fastaio.EventLoop
        assert isinstance(loop, asyncio.AbstractEventLoop)
        assert loop.run_until_complete(returning(1)) == 1
    finally:
        loop.close()


def test_run(fastaio):
    assert fastaio.run(returning("value")) == "value"
    assert type(fastaio.run(current_loop())) is fastaio.EventLoop
    assert fastaio.run(current_loop()).is_closed()


def test_run_in_debug_mode(fastaio):
    async def debug():
        return asyncio.get_running_loop().get_debug()

    assert fastaio.run(debug(), debug=True) is True
    assert fastaio.run(debug(), debug=False) is False


def test_run_of_what_is_no_coroutine(fastaio):
    with pytest.raises((TypeError, ValueError)):
        fastaio.run(5)


def test_run_inside_a_running_loop(fastaio):
    async def main():
        coro = returning(1)
        try:
            with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
                fastaio.run(coro)
        finally:
            coro.close()

    fastaio.run(main())


def test_run_leaves_nothing_behind(fastaio):
    cancelled = []

    async def left_over():
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.append(True)

    async def main():
        kept.append(asyncio.create_task(left_over()))
        await asyncio.sleep(0)

    kept = []
    fastaio.run(main())
    assert cancelled == [True]
    assert kept[0].cancelled()


@pytest.mark.parametrize("backend", ["auto", "epoll"])
def test_backends(fastaio, backend):
    loop = fastaio.new_event_loop(backend=backend)
    assert loop.backend == "epoll" or backend == "auto"
    assert isinstance(loop.backend, str)
    loop.close()
    assert type(fastaio.run(current_loop(), backend=backend)) is fastaio.EventLoop


@pytest.mark.parametrize("backend", ["kqueue", "", "EPOLL"])
def test_unknown_backends(fastaio, backend):
    with pytest.raises(ValueError, match="backend"):
        fastaio.new_event_loop(backend=backend)


@pytest.mark.parametrize("backend", [5, None, b"epoll"])
def test_backends_of_a_wrong_type(fastaio, backend):
    with pytest.raises((TypeError, ValueError)):
        fastaio.new_event_loop(backend=backend)


def test_the_backend_is_no_positional_argument(fastaio):
    with pytest.raises(TypeError):
        fastaio.new_event_loop("epoll")


def test_the_backend_from_the_environment(fastaio, monkeypatch):
    monkeypatch.setenv("FASTAIO_BACKEND", "epoll")
    loop = fastaio.new_event_loop()
    assert loop.backend == "epoll"
    loop.close()
    monkeypatch.setenv("FASTAIO_BACKEND", "nonsense")
    with pytest.warns(RuntimeWarning, match="FASTAIO_BACKEND"):
        fastaio.new_event_loop().close()
    fastaio.new_event_loop(backend="epoll").close()


@pytest.mark.skipif(not PYTHON_312, reason="asyncio.run has a loop_factory since 3.12")
def test_asyncio_run_with_a_loop_factory(fastaio):
    loop = asyncio.run(current_loop(), loop_factory=fastaio.new_event_loop)
    assert type(loop) is fastaio.EventLoop


def test_asyncio_runner(fastaio):
    with asyncio.Runner(loop_factory=fastaio.new_event_loop) as runner:
        assert type(runner.get_loop()) is fastaio.EventLoop
        assert runner.run(returning(1)) == 1
        assert runner.run(returning(2)) == 2


def run_case(case):
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun
    assert result.wasSuccessful(), result.errors + result.failures


@pytest.mark.skipif(not PYTHON_313, reason="the class attribute is new in 3.13")
def test_unittest_with_a_loop_factory(fastaio):
    class Case(unittest.IsolatedAsyncioTestCase):
        loop_factory = staticmethod(fastaio.new_event_loop)

        async def asyncSetUp(self):
            self.ready = await returning("ready")

        async def test_it(self):
            self.assertIs(type(asyncio.get_running_loop()), fastaio.EventLoop)
            self.assertEqual(self.ready, "ready")

    run_case(Case)


# In a process of its own


def run_strictly(source, *args, **kwargs):
    """Run with every warning an error."""
    return run_python("import warnings; warnings.simplefilter('error')\n" + source, *args, **kwargs)


@has_policies
def test_install():
    done = run_strictly(
        """
import asyncio, fastaio
fastaio.install()

async def main():
    print(type(asyncio.get_running_loop()) is fastaio.EventLoop)

asyncio.run(main())
loop = asyncio.new_event_loop()
print(type(loop) is fastaio.EventLoop)
loop.close()
with asyncio.Runner() as runner:
    print(type(runner.get_loop()) is fastaio.EventLoop)
"""
    )
    assert done.stdout.split() == ["True"] * 3
    assert done.stderr == ""


@has_policies
def test_the_policy():
    # asyncio.set_event_loop_policy() itself warns from 3.14 on; that warning is not ours.
    done = run_strictly(
        """
import asyncio, fastaio
policy = fastaio.EventLoopPolicy()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    asyncio.set_event_loop_policy(policy)
    print(asyncio.get_event_loop_policy() is policy)

async def main():
    print(type(asyncio.get_running_loop()) is fastaio.EventLoop)

asyncio.run(main())
loop = policy.new_event_loop()
policy.set_event_loop(loop)
print(policy.get_event_loop() is loop)
policy.set_event_loop(None)
loop.close()
"""
    )
    assert done.stdout.split() == ["True"] * 3
    assert done.stderr == ""


@has_policies
def test_the_policy_is_one_of_asyncios():
    run_python(
        """
import asyncio, fastaio, warnings
warnings.simplefilter("ignore")
assert isinstance(fastaio.EventLoopPolicy(), asyncio.AbstractEventLoopPolicy)
assert issubclass(fastaio.EventLoopPolicy, asyncio.DefaultEventLoopPolicy)
"""
    )


@has_policies
def test_unittest_with_the_policy():
    run_python(
        """
import asyncio, fastaio, unittest
fastaio.install()

class Case(unittest.IsolatedAsyncioTestCase):
    async def test_it(self):
        self.assertIs(type(asyncio.get_running_loop()), fastaio.EventLoop)

result = unittest.TestResult()
unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
assert result.testsRun == 1 and result.wasSuccessful(), result.errors
"""
    )


def test_importing_changes_nothing():
    run_strictly(
        """
import asyncio
before = dict(vars(asyncio))
import fastaio
assert {name: vars(asyncio)[name] for name in before} == before

async def main():
    return type(asyncio.get_running_loop()), type(asyncio.current_task())

loop, task = asyncio.run(main())
assert loop.__module__.startswith("asyncio"), loop
assert task is asyncio.Task
"""
    )


SCRIPT = """
import asyncio, sys

async def main():
    print(type(asyncio.get_running_loop()).__module__.split(".")[0], __name__, *sys.argv[1:])

asyncio.run(main())
"""


def run_module(tmp_path, *args, check=True):
    source = (
        "import runpy, sys; sys.argv[0] = 'fastaio'; "
        "runpy.run_module('fastaio', run_name='__main__', alter_sys=True)"
    )
    return run_python(source, *args, check=check, cwd=tmp_path)


@has_policies
def test_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = run_module(tmp_path, str(script), "--flag", "value")
    assert done.stdout.split() == ["fastaio", "__main__", "--flag", "value"]
    assert done.stderr == ""
    done = run_module(tmp_path, "--backend", "epoll", "--", str(script), "--", "value")
    assert done.stdout.split() == ["fastaio", "__main__", "--", "value"]


@has_policies
def test_a_module_and_code(tmp_path):
    (tmp_path / "program.py").write_text(SCRIPT)
    environment = dict(os.environ, PYTHONPATH=str(tmp_path))
    done = run_python(
        "import sys, runpy; sys.path.insert(0, '.'); sys.argv[0] = 'fastaio'; "
        "runpy.run_module('fastaio', run_name='__main__', alter_sys=True)",
        "-m",
        "program",
        "argument",
        cwd=tmp_path,
        env=environment,
    )
    assert done.stdout.split() == ["fastaio", "__main__", "argument"]
    done = run_module(tmp_path, "-c", SCRIPT, "argument")
    assert done.stdout.split() == ["fastaio", "__main__", "argument"]
    done = run_module(tmp_path, "-c" + SCRIPT, "argument")
    assert done.stdout.split() == ["fastaio", "__main__", "argument"]
    done = run_module(tmp_path, "--backend", "epoll", "-mtimeit", "-n1", "-r1", "print('run')")
    assert done.stdout.split()[0] == "run"
    done = run_module(tmp_path, "-c", "def f(a: int): pass\nprint(f.__annotations__['a'] is int)")
    assert done.stdout.split() == ["True"]


@has_policies
def test_the_exit_status_of_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.exit(7)")
    assert run_module(tmp_path, str(script), check=False).returncode == 7
    script.write_text("raise ValueError('from the script')")
    done = run_module(tmp_path, str(script), check=False)
    assert done.returncode == 1
    assert "ValueError: from the script" in done.stderr


@pytest.mark.parametrize(
    "args", [["-m"], ["-c"], ["--backend", "nonsense", "script.py"], ["--unknown"], ["--backend"]]
)
def test_a_wrong_command_line(tmp_path, args):
    done = run_module(tmp_path, *args, check=False)
    assert done.returncode == 2
    assert "usage: python -m fastaio" in done.stderr


# Subinterpreters with a GIL of their own

IN_INTERPRETER = f"""
import asyncio, fastaio, sys

async def child(number):
    await asyncio.sleep(0.0001)
    return number

async def main():
    tasks = [asyncio.create_task(child(number)) for number in range(100)]
    assert asyncio.all_tasks() == {{*tasks, asyncio.current_task()}}
    assert type(tasks[0]) is fastaio.Task
    total = sum(await asyncio.gather(*tasks))
    async with asyncio.timeout({GUARD}):
        got = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon_threadsafe(got.set_result, total)
        return await got

for _ in range(3):
    assert fastaio.run(main()) == sum(range(100))
"""

WITH_INTERPRETERS = """
import sys, threading
import fastaio
source = sys.argv[1]
if sys.version_info >= (3, 14):
    from concurrent import interpreters

    def play():
        interpreter = interpreters.create()
        interpreter.exec(source)
        interpreter.close()
else:
    if sys.version_info >= (3, 13):
        import _interpreters
    else:
        import _xxsubinterpreters as _interpreters

    def play():
        interpreter = _interpreters.create()
        failure = _interpreters.run_string(interpreter, source)
        assert failure is None, failure
        _interpreters.destroy(interpreter)

failures = []

def guarded():
    try:
        play()
    except BaseException as exc:
        failures.append(repr(exc))

for _ in range(2):
    guarded()
threads = [threading.Thread(target=guarded) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
exec(source)
assert not failures, failures
print("all of them", flush=True)
"""


@pytest.mark.skipif(not PYTHON_312, reason="a GIL per interpreter is new in 3.12")
def test_subinterpreters():
    # After subinterpreters that used asyncio, with fastaio or without, 3.12 may crash at exit.
    done = run_python(WITH_INTERPRETERS, IN_INTERPRETER, timeout=2 * GUARD, check=PYTHON_313)
    assert done.stdout.strip() == "all of them"


@pytest.mark.skipif(not PYTHON_314, reason="concurrent.interpreters is new in 3.14")
def test_two_interpreters_have_types_of_their_own():
    run_python(
        """
from concurrent import interpreters
import fastaio
interpreter = interpreters.create()
interpreter.exec("import fastaio; there = id(fastaio.Future)")
interpreter.exec(f"assert there != {id(fastaio.Future)}")
interpreter.close()
"""
    )

"""What install() sets beside the policy, what uninstall() takes back, the command line, which()."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from .support import GUARD, run_python

pytestmark = pytest.mark.fastaio_only

has_policies = pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies end with 3.15")


def run_fastaio(*args, say=None, check=True, **variables):
    """Run ``python -m fastaio`` with the arguments."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FASTAIO_")}
    done = subprocess.run(
        [sys.executable, "-m", "fastaio", *args],
        input=say,
        capture_output=True,
        text=True,
        timeout=2 * GUARD,
        check=False,
        env={**environment, "PYTHONPATH": path, **variables},
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


# The command line

MAIN = "import asyncio, sys\nasync def main():\n    loop = asyncio.get_running_loop()\n"
SAY = MAIN + "    print(type(loop).__module__, *sys.argv)\nasyncio.run(main())\n"


@has_policies
def test_a_program_from_standard_input():
    done = run_fastaio("-", "an", "--argument", say=SAY)
    assert done.stdout.split() == ["fastaio.loop", "-", "an", "--argument"]
    assert done.stderr == ""
    done = run_fastaio("-", say="print(__name__, '__file__' in globals(), 'ä')".encode().decode())
    assert done.stdout.split() == ["__main__", "True", "ä"]
    done = run_fastaio("-", say="1 +", check=False)
    assert done.returncode == 1
    assert 'File "<stdin>", line 1' in done.stderr


@has_policies
def test_a_prompt_that_knows_await():
    say = "await asyncio.sleep(0, type(asyncio.get_running_loop()).__module__)\n2 +\n1 + 1\n"
    done = run_fastaio(say=say, PYTHON_BASIC_REPL="1")
    assert "'fastaio.loop'" in done.stdout
    assert "SyntaxError" in done.stderr
    assert "2\n" in done.stdout


@has_policies
@pytest.mark.parametrize(
    "words, status, sentence",
    [
        (["-m", "no_such_module"], 1, "No module named no_such_module"),
        (["-m", "json.no_such_module.at_all"], 1, "No module named json.no_such_module.at_all"),
        (["no_such_script.py"], 2, f"can't open file '{os.getcwd()}/no_such_script.py': No such"),
    ],
)
def test_a_program_that_is_not_there(words, status, sentence):
    done = run_fastaio(*words, check=False)
    assert done.returncode == status
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"python -m fastaio: {sentence}")


@has_policies
def test_a_module_that_fails_to_import_another(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("import no_such_module\n")
    (tmp_path / "broken" / "part.py").write_text("")
    source = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    source += "runpy.run_module('fastaio', run_name='__main__', alter_sys=True)"
    for name in ("broken.part", "broken"):
        done = run_python(source, str(tmp_path), "-m", name, check=False)
        assert "ModuleNotFoundError: No module named 'no_such_module'" in done.stderr


def test_the_version():
    import fastaio

    assert run_fastaio("--version").stdout == f"fastaio {fastaio.__version__}\n"


@has_policies
def test_a_wrong_backend_in_the_environment_is_one_sentence():
    done = run_fastaio("-c", SAY, FASTAIO_BACKEND="iouring")
    assert done.stdout.split() == ["fastaio.loop", "-c"]
    assert done.stderr.count("FASTAIO_BACKEND must be 'auto', 'epoll' or 'io_uring'") == 1
    assert "the default is used" in done.stderr
    assert "Traceback" not in done.stderr


# Spawned processes

SPAWNING = """
import asyncio, json, multiprocessing, os, sys
{before}
METHOD = {method!r}

async def name():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]

def work(method, connection):
    import fastaio.policy
    found = [asyncio.run(name()), fastaio.policy.is_installed(), os.environ.get("FASTAIO_BACKEND")]
    if method:  # a process of this process
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context(method)
        child = context.Process(target=work, args=(None, there))
        child.start()
        found += here.recv()
        child.join()
    connection.send(found)

if __name__ == "__main__":
    {main}
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context(METHOD)
    child = context.Process(target=work, args=(METHOD, there))
    child.start()
    print(json.dumps(here.recv()))
    child.join()
    assert child.exitcode == 0
"""

INSTALL = "import fastaio; fastaio.install()"


def spawn(tmp_path, method, *, before="pass", main="pass", command=(), **variables):
    """Run a script that starts processes; give what they say of their loops."""
    script = tmp_path / "script.py"
    script.write_text(SPAWNING.format(method=method, before=before, main=main))
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FASTAIO_")}
    done = subprocess.run(
        [sys.executable, *command, str(script)],
        capture_output=True,
        text=True,
        timeout=2 * GUARD,
        check=False,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": path, **variables},
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return json.loads(done.stdout)


@has_policies
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_a_program(tmp_path, method):
    command = ("-m", "fastaio", "--backend", "epoll")
    assert spawn(tmp_path, method, command=command) == ["fastaio", True, "epoll"] * 2


@has_policies
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_after_install(tmp_path, method):
    assert spawn(tmp_path, method, main=INSTALL) == ["fastaio", True, None] * 2


@has_policies
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_after_uninstall(tmp_path, method):
    main = INSTALL + "; fastaio.uninstall()"
    assert spawn(tmp_path, method, main=main) == ["asyncio", False, None] * 2


@has_policies
def test_processes_that_the_environment_keeps_on_asyncio(tmp_path):
    found = spawn(tmp_path, "spawn", main=INSTALL, FASTAIO_INSTALL="0")
    assert found == ["asyncio", False, None] * 2


@has_policies
def test_a_forkserver_that_is_older_than_install(tmp_path):
    main = (
        "context = multiprocessing.get_context(METHOD); child = context.Process(target=print);"
        "child.start(); child.join(); os.environ['FASTAIO_BACKEND'] = 'epoll';" + INSTALL
    )
    lines = spawn_lines(tmp_path, main)
    assert json.loads(lines[-1]) == ["fastaio", True, "epoll"] * 2


def spawn_lines(tmp_path, main):
    script = tmp_path / "script.py"
    script.write_text(SPAWNING.format(method="forkserver", before="pass", main=main))
    return run_python(
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", str(script)
    ).stdout.splitlines()


@has_policies
def test_a_child_that_cannot_import_fastaio(tmp_path):
    """It runs on asyncio, and says so."""
    main = f"{INSTALL}; sys.path[:] = [p for p in sys.path if not os.path.isdir(p + '/fastaio')]"
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, multiprocessing, os, sys\n"
        "def work():\n"
        "    print(type(asyncio.new_event_loop()).__module__.partition('.')[0])\n"
        "if __name__ == '__main__':\n"
        f"    {main}\n"
        "    os.environ.pop('PYTHONPATH')\n"
        "    child = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    child.start(); child.join(); print(child.exitcode)\n"
    )
    done = run_python(
        "import os, runpy, sys; from pathlib import Path;"
        "sys.path[:] = [p for p in sys.path if p]; os.chdir('/');"
        "runpy.run_path(sys.argv[1], run_name='__main__')",
        str(script),
    )
    if done.stdout.split() == ["fastaio", "0"]:
        pytest.skip("fastaio is installed where every Python finds it")
    assert done.stdout.split() == ["asyncio", "0"]
    assert "this process runs on asyncio" in done.stderr
    assert "cannot import fastaio" in done.stderr


# Loops of another kind


@has_policies
def test_a_foreign_loop_is_told_once():
    done = run_python(
        """
import asyncio, fastaio, warnings
fastaio.install()

async def main():
    return type(asyncio.get_running_loop())

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert asyncio.run(main()) is fastaio.EventLoop
    assert not caught
    for _ in range(2):
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            assert runner.run(main()) is asyncio.SelectorEventLoop
    [warning] = caught
    assert warning.category is RuntimeWarning
    print(warning.message)
    print(warning.filename, warning.lineno)
"""
    )
    message, place = done.stdout.splitlines()
    assert "asyncio.unix_events._UnixSelectorEventLoop" in message
    assert "run by __main__ (<string>:14)" in message
    assert message.endswith("loop_factory=fastaio.new_event_loop, or no loop_factory at all")
    assert place == "<string> 14"


@has_policies
def test_a_server_that_prefers_another_loop_is_told_its_own_option():
    """Each package that is known by name, here as a module that runs asyncio's loop."""
    done = run_python(
        """
import asyncio, fastaio, types, warnings
from fastaio.doors import foreign
fastaio.install()
code = "import asyncio; asyncio.SelectorEventLoop().run_until_complete(asyncio.sleep(0))"
assert {"uvicorn", "gunicorn", "hypercorn", "granian", "sanic"} <= set(foreign._INSTEAD)
for name, advice in foreign._INSTEAD.items():
    foreign._warned = False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(code, name, "exec"), types.ModuleType(f"{name}.server").__dict__)
    [warning] = [one for one in caught if one.category is RuntimeWarning]
    assert f"it is run by {name}.server ({name}:1); for fastaio's: {advice}" in str(warning.message)
"""
    )
    assert done.stdout == ""


@has_policies
def test_a_foreign_loop_that_is_run_by_hand():
    done = run_python(
        """
import asyncio, fastaio, warnings
fastaio.install()
warnings.simplefilter("error")  # even then the loop runs
loop = asyncio.SelectorEventLoop()
for _ in range(2):
    loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""
    )
    assert done.stderr.strip().endswith("for fastaio's: loop = fastaio.new_event_loop()")
    assert len(done.stderr.splitlines()) == 1


@has_policies
def test_another_policy_that_is_set_after_install():
    done = run_python(
        """
import asyncio, fastaio, warnings
fastaio.install()
warnings.simplefilter("ignore", DeprecationWarning)
asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
asyncio.run(asyncio.sleep(0))
"""
    )
    assert (
        "fastaio.install(), called after the code that sets another event loop policy"
        in done.stderr
    )


@has_policies
def test_a_loop_that_took_asyncios_function_by_name(tmp_path):
    """A loop in Python, imported before install()."""
    (tmp_path / "ownloop.py").write_text(
        "from asyncio.events import AbstractEventLoop, _set_running_loop\n"
        "class Loop(AbstractEventLoop):\n"
        "    def run_forever(self):\n"
        "        _set_running_loop(self)\n"
        "        _set_running_loop(None)\n"
    )
    done = run_python(
        "import sys; sys.path.insert(0, sys.argv[1]); import ownloop, fastaio; fastaio.install();"
        "ownloop.Loop().run_forever()",
        str(tmp_path),
    )
    assert done.stderr.count("a foreign event loop runs, ownloop.Loop") == 1


# What uninstall() takes back


@has_policies
def test_uninstall_takes_back_all_that_install_has_set():
    run_python(
        """
import asyncio, multiprocessing.spawn, os, sys

def look():
    modules = asyncio, asyncio.events, asyncio.runners, multiprocessing.spawn
    return [dict(vars(module)) for module in modules], list(sys.meta_path), dict(os.environ)

import fastaio
before = look()
for _ in range(3):
    fastaio.install()
    fastaio.install()
    assert look() != before
    assert os.environ["FASTAIO_INSTALL"] == "1"
    fastaio.uninstall()
    assert look() == before
    fastaio.uninstall()
    assert look() == before
"""
    )


@has_policies
def test_uninstall_leaves_what_others_have_replaced_since():
    run_python(
        """
import asyncio.events, fastaio
fastaio.install()
other = lambda loop: None
asyncio.events._set_running_loop = other
fastaio.uninstall()
assert asyncio.events._set_running_loop is other
assert asyncio._set_running_loop is not other
"""
    )


def test_a_hook_is_called_once_its_module_is_imported(tmp_path, monkeypatch):
    from fastaio.doors.imports import ImportHooks

    for name in ("hooked_now", "hooked_later", "hooked_never"):
        (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import hooked_now  # type: ignore[import-not-found]

    hooks = ImportHooks()
    called = []
    try:
        names = ("hooked_now", "hooked_later", "hooked_never", "there_is_no_such_module")
        hooks.set(dict.fromkeys(names, lambda module: called.append((module, module.value))))
        assert called == [(hooked_now, 1)]
        import hooked_later  # type: ignore[import-not-found]

        assert called == [(hooked_now, 1), (hooked_later, 1)]
        assert hooked_later.__spec__.loader is hooked_later.__loader__
        with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
            __import__("there_is_no_such_module")
        hooks.remove()
        assert hooks not in sys.meta_path
        __import__("hooked_never")
        assert len(called) == 2
    finally:
        hooks.remove()
        for name in ("hooked_now", "hooked_later", "hooked_never"):
            sys.modules.pop(name, None)


# which(), and --check


def test_which_of_a_running_loop():
    import fastaio

    async def main():
        return fastaio.which()

    report = fastaio.run(main(), backend="epoll")
    assert report.is_fastaio
    assert report.loop == "fastaio.loop.EventLoop"
    assert (report.backend, report.backend_reason) == ("epoll", "asked for by backend")
    assert "OpenSSL" in report.tls
    assert report.gil is getattr(sys, "_is_gil_enabled", lambda: True)()
    assert report.kernel == os.uname().release
    assert report.python in sys.version
    rows = dict(line.split(":", 1) for line in str(report).splitlines())
    assert list(rows) == ["loop", "backend", "TLS", "primitives", "Python", "kernel"]
    assert rows["backend"].strip() == "epoll (asked for by backend)"


def test_which_of_asyncios_loop():
    import fastaio

    async def main():
        return fastaio.which()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        report = runner.run(main())
    assert not report.is_fastaio
    assert report.backend is None
    assert "backend:    not fastaio's" in str(report)
    assert fastaio.which().loop == report.loop  # no loop runs: one of asyncio's policy


def test_which_tells_what_encrypts():
    source = "import warnings; warnings.simplefilter('error')\n"
    source += "import fastaio; loop = fastaio.new_event_loop(); print(fastaio.which(loop).tls)"
    source += "; loop.close()"
    plain = {k: v for k, v in os.environ.items() if k != "FASTAIO_TLS"}
    for variables, end in (({"FASTAIO_TLS": "ssl"}, ", by Python's ssl\n"), ({}, ", directly\n")):
        done = run_python(source, env={**plain, **variables})
        assert done.stdout.endswith(end)
        assert done.stderr == ""


@has_policies
def test_check():
    done = run_fastaio("--check", "-c", "print('before')\n" + SAY)
    assert done.stdout.startswith("loop:       fastaio.loop.EventLoop\nbackend:    epoll")
    assert done.stderr == "before\n"  # nothing of main() has run


@has_policies
def test_check_of_this_python_alone():
    assert run_fastaio("--check").stdout.startswith("loop:       fastaio.loop.EventLoop\n")


@has_policies
def test_check_of_a_foreign_loop():
    foreign = "import asyncio\nloop = asyncio.SelectorEventLoop()\nloop.run_forever()\n"
    done = run_fastaio("--check", "-c", foreign, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("loop:       asyncio.unix_events._UnixSelectorEventLoop\n")
    assert "run by __main__ (<string>:3)" in done.stderr


@has_policies
def test_check_where_no_loop_starts():
    done = run_fastaio("--check", "-c", "raise SystemExit(3)", check=False)
    assert done.returncode == 1
    assert done.stdout == "no event loop has started: the program has ended with 3\n"


@has_policies
def test_check_ends_what_the_program_has_started(tmp_path):
    """A loop starts in a child; the parent, which would wait for ever, is ended."""
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, multiprocessing, os, signal, time\n"
        "def work():\n"
        "    asyncio.run(asyncio.sleep(0))\n"
        "if __name__ == '__main__':\n"
        "    print('pid', os.getpid(), flush=True)\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    multiprocessing.get_context('spawn').Process(target=work).start()\n"
        "    signal.pause()\n"
    )
    done = run_fastaio("--check", str(script))
    assert done.stdout.startswith("loop:       fastaio.loop.EventLoop\n")
    pid = int(done.stderr.split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_worker_and_the_kernel_name_what_is_missing():
    for source in ("import fastaio.gunicorn", "import fastaio.kernel; fastaio.kernel.install([])"):
        done = run_python(
            "import sys\nsys.modules['uvicorn_worker'] = sys.modules['ipykernel'] = None\n"
            f"try:\n    {source}\nexcept ImportError as error:\n    print(error)\n"
        )
        assert "needs" in done.stdout and len(done.stdout.splitlines()) == 1

"""``python -m fastaio`` and install() under real servers, beyond the rows of test_switching.py."""

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import sys

import pytest

from ..support import run_python
from .support import LOCALHOST, Client, Program, eventually, need
from .test_switching import ASGI, SERVERS, python

pytestmark = pytest.mark.fastaio_only

RUNS = r"Uvicorn running on http://127\.0\.0\.1:(\d+)"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with app.py in it."""
    (tmp_path / "app.py").write_text(ASGI)
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("FASTAIO_", "UVICORN_")):
            monkeypatch.delenv(name)
    return tmp_path


def state(port):
    """What the application says of its loop, once it answers."""

    def ask():
        with contextlib.suppress(ConnectionError, EOFError), Client((LOCALHOST, port)) as client:
            return client.ask("GET", "/state")

    return json.loads(eventually(ask).body)


def served(*command, pattern=RUNS):
    """Start a server, ask for its state, end it; give the state and all that it printed."""
    with Program(*command) as server:
        found = state(int(server.wait_for(pattern)[1]))
        return found, server.terminate()[1]


# uvicorn


@pytest.mark.parametrize("arguments", ["app", "'app:app', workers=2", "'app:app', reload=True"])
def test_uvicorn_run_in_a_script(folder, arguments):
    """uvicorn.run() without a loop, in a script that knows nothing of fastaio."""
    need("uvicorn")
    (folder / "serve.py").write_text(
        "import uvicorn\nfrom app import app\n"
        f"if __name__ == '__main__':\n    uvicorn.run({arguments}, port=0)\n"
    )
    found, text = served("-m", "fastaio", "serve.py")
    assert found["loop"] == found["task"] == "fastaio"
    assert "Warning" not in text and "Traceback" not in text


def test_uvicorn_run_after_install(folder):
    need("uvicorn")
    (folder / "serve.py").write_text(
        "import fastaio, uvicorn\n"
        "if __name__ == '__main__':\n"
        "    fastaio.install()\n"
        "    uvicorn.run('app:app', port=0, workers=2)\n"
    )
    assert served("serve.py")[0]["loop"] == "fastaio"


def test_uvicorn_reloads_on_fastaio(folder):
    need("uvicorn")
    with Program(
        *("-m", "fastaio", "-m", "uvicorn", "app:app", "--port", "0", "--reload"),
    ) as server:
        port = int(server.wait_for(RUNS)[1])
        first = state(port)
        server.wait_for("lifespan.startup by fastaio.loop")
        app = folder / "app.py"
        app.write_text(ASGI + "# changed\n")
        later = app.stat().st_mtime + 10
        os.utime(app, (later, later))
        server.wait_for("lifespan.startup by fastaio.loop")
        second = eventually(lambda: (now := state(port))["pid"] != first["pid"] and now)
        assert first["loop"] == second["loop"] == "fastaio"
        server.terminate()


def test_an_older_uvicorn_sets_no_policy_of_its_own(tmp_path):
    """Before 0.36 its automatic choice was a function that set a policy."""
    for name in ("uvicorn", "uvicorn/loops"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "uvicorn" / "loops" / "auto.py").write_text(
        "def auto_loop_setup(use_subprocess=False):\n    raise ZeroDivisionError\n"
    )
    run_python(
        "import sys; sys.path.insert(0, sys.argv[1]); import asyncio, fastaio; fastaio.install()\n"
        "from uvicorn.loops.auto import auto_loop_setup\n"
        "auto_loop_setup(use_subprocess=True)\n"
        "fastaio.uninstall()\n"
        "import uvicorn.loops.auto\n"
        "assert uvicorn.loops.auto.auto_loop_setup is not auto_loop_setup\n",
        str(tmp_path),
    )


@pytest.mark.parametrize("value", ["iouring", "io-uring"])
def test_a_wrong_backend_in_the_environment_serves_on(folder, monkeypatch, value):
    need("uvicorn")
    monkeypatch.setenv("FASTAIO_BACKEND", value)
    command = ("-m", "uvicorn", "app:app", "--port", "0", "--loop", "fastaio:new_event_loop")
    found, text = served(*command)
    assert found["loop"] == "fastaio"
    assert text.count(f"FASTAIO_BACKEND must be 'auto', 'epoll' or 'io_uring', not {value!r}") == 1
    assert "Traceback" not in text


# Loops that somebody has chosen by name


@pytest.mark.parametrize(
    "library, command, maker, instead",
    [
        (
            "uvicorn",
            "uvicorn app:app --loop asyncio",
            "uvicorn.",
            "uvicorn --loop fastaio:new_event_loop",
        ),
        (
            "uvicorn_worker",
            "gunicorn app:app -k uvicorn_worker.UvicornH11Worker",
            "uvicorn_worker._workers",
            "gunicorn -k fastaio.gunicorn.Worker",
        ),
    ],
)
def test_a_server_that_is_told_to_use_another_loop(folder, library, command, maker, instead):
    """It does, and one warning tells."""
    need(library)
    words = command.split()
    options, pattern = SERVERS[words[0]]
    found, text = served("-m", "fastaio", "-m", *words, *options, pattern=pattern)
    assert found["loop"] == "asyncio"
    assert text.count("a foreign event loop runs, asyncio.unix_events._UnixSelectorEventLoop") == 1
    assert f"it is run by {maker}" in text
    assert f"for fastaio's: {instead}" in text


def test_uvloop_by_name(folder):
    pytest.importorskip("uvloop")
    for words in ("uvicorn app:app --loop uvloop", "gunicorn app:app -k asgi --asgi-loop uvloop"):
        options, pattern = SERVERS[words.split()[0]]
        found, text = served("-m", "fastaio", "-m", *words.split(), *options, pattern=pattern)
        assert found["loop"] == "uvloop"
        assert text.count("a foreign event loop runs, uvloop.Loop") == 1


@pytest.mark.parametrize(
    "order", ["fastaio.install(); import uvloop", "import uvloop; fastaio.install()"]
)
def test_uvloop_run(order):
    pytest.importorskip("uvloop")
    done = run_python(
        f"import asyncio, fastaio; {order}\n"
        "for _ in range(2):\n    uvloop.run(asyncio.sleep(0))\n"
        "run_forever = uvloop.Loop.run_forever\n"
        "fastaio.uninstall()\n"
        "assert 'run_forever' not in vars(uvloop.Loop)\n"
        "with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:\n"
        "    runner.run(asyncio.sleep(0))\n"
    )
    assert done.stderr.count("a foreign event loop runs, uvloop.Loop") == 1
    assert "run by __main__ (<string>:3)" in done.stderr


# A port that another program has


@pytest.fixture
def taken():
    with socket.create_server((LOCALHOST, 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "library, command",
    [
        ("uvicorn", "uvicorn app:app --port {port}"),
        ("uvicorn", "uvicorn app:app --port {port} --workers 2"),
        ("uvicorn_worker", "gunicorn app:app --bind 127.0.0.1:{port} -k fastaio.gunicorn.Worker"),
        ("hypercorn", "hypercorn app:app --bind 127.0.0.1:{port}"),
    ],
)
def test_a_port_in_use(folder, taken, library, command):
    """The server's own sentence, and an end: as on asyncio."""
    need(library)
    words = command.format(port=taken).split()
    with Program("-m", "fastaio", "-m", *words) as server:
        server.wait_for("(?i)address.* in use|Connection in use")
        if words[0] == "gunicorn":  # tries again for some seconds
            server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) != 0
        server._thread.join(30)
        text = "".join(server.output)
    assert "fastaio/loop.py" not in text  # hypercorn's own traceback ends in its own file


def test_wrong_arguments_of_a_server_are_its_own(folder):
    need("uvicorn")
    with Program("-m", "fastaio", "-m", "uvicorn", "app:app", "--workers", "x") as server:
        server.wait_for("'x' is not a valid integer")
        assert server.process.wait(30) == 2


# Other processes


def name_of_loop():
    import asyncio

    async def main():
        return type(asyncio.get_running_loop()).__module__

    return asyncio.run(main())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_executor_of_processes(method):
    source = (
        "import fastaio, multiprocessing; fastaio.install()\n"
        f"from {__name__} import in_an_executor; print(in_an_executor({method!r}))\n"
    )
    assert run_python(source).stdout == "['fastaio.loop', 'fastaio.loop']\n"


def in_an_executor(method):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        return [future.result() for future in [executor.submit(name_of_loop) for _ in range(2)]]


# anyio


def test_anyio_run():
    need("anyio")
    source = (
        "import anyio, asyncio, fastaio\nfastaio.install()\n"
        "async def main():\n    print(type(asyncio.get_running_loop()).__module__)\n"
        "anyio.run(main)\n"
        "anyio.run(main, backend_options={'loop_factory': asyncio.SelectorEventLoop})\n"
    )
    done = run_python(source)
    assert done.stdout.split() == ["fastaio.loop", "asyncio.unix_events"]
    assert done.stderr.count("it is run by anyio.") == 1
    assert "for fastaio's: anyio.run(main, backend_options=" in done.stderr


# Jupyter


def test_a_notebook_on_the_installed_kernel(folder):
    for name in ("ipykernel", "nbclient", "nbformat"):
        need(name)
    python("-m", "fastaio", "--backend", "epoll", "--install-kernel", JUPYTER_DATA_DIR=str(folder))
    specification = json.loads((folder / "kernels" / "fastaio" / "kernel.json").read_text())
    assert specification["argv"][:4] == [sys.executable, "-m", "fastaio", "--backend"]
    source = """
import nbclient, nbformat
code = "import asyncio\\nawait asyncio.sleep(0)\\nprint(asyncio.get_running_loop().backend_reason)"
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
nbclient.NotebookClient(notebook, kernel_name="fastaio", timeout=60).execute()
print(notebook.cells[0].outputs[0]["text"])
"""
    variables = {"IPYTHONDIR": str(folder), "JUPYTER_RUNTIME_DIR": str(folder)}
    said = python("-c", source, JUPYTER_PATH=str(folder), **variables)
    assert said.strip() == "asked for by FASTAIO_BACKEND"

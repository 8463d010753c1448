"""The rows of the switch tables, in docs/switching.md and README.md: each row's own text is run."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ..ioutil import unused_port
from ..support import GUARD, PYTHON_312, PYTHON_313
from .support import LOCALHOST, Client, Program, environment, eventually, need

pytestmark = pytest.mark.fastaio_only

ROOT = Path(__file__).parents[2]


def rows(name):
    """The snippets in the last column of the tables of switching, in a file of Markdown."""
    text = (ROOT / name).read_text()
    tables = re.findall(r"^\| What you have \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert tables, f"{name} has no table of switching"
    for line in "".join(tables).splitlines():
        have, write = (cell.strip() for cell in line.strip("|").split(" | "))
        snippets = re.findall(r"`([^`]+)`", write)
        assert snippets, f"no code in the row {line}"
        yield from ((have, snippet) for snippet in snippets)


ROWS = [*rows("docs/switching.md"), *rows("README.md")]
SNIPPETS = list(dict.fromkeys(snippet for _, snippet in ROWS))

SAY = "print('loop:', type(asyncio.get_running_loop()).__module__)"
PROGRAM = f"""
import asyncio

async def main():
    {SAY}

if __name__ == "__main__" or __name__ == "package.__main__":
    asyncio.run(main())
"""
ASGI = f"from {__package__}.apps import asgi as app\n"
AIOHTTP = """
import asyncio, json
from aiohttp import web

async def state(request):
    return web.json_response({"loop": type(asyncio.get_running_loop()).__module__.split(".")[0]})

app = web.Application()
app.router.add_get("/state", state)
"""

# How each server is told to take a free port, and how it tells which one.
SERVERS = {
    "uvicorn": (["--port", "0"], r"Uvicorn running on http://127\.0\.0\.1:(\d+)"),
    "fastapi": (["--host", LOCALHOST, "--port", "0"], r"running on http://127\.0\.0\.1:(\d+)"),
    "gunicorn": (
        ["--bind", f"{LOCALHOST}:0", "--no-control-socket", "--worker-tmp-dir", "/dev/shm"],
        r"Listening at: http://127\.0\.0\.1:(\d+)",
    ),
    "hypercorn": (["--bind", f"{LOCALHOST}:0"], r"Running on http://127\.0\.0\.1:(\d+)"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that the rows speak of; it is the current one of what is started."""
    (tmp_path / "script.py").write_text(PROGRAM)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(PROGRAM)
    (tmp_path / "app.py").write_text(ASGI)
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("FASTAIO_", "UVICORN_")):
            monkeypatch.delenv(name)
    return tmp_path


def python(*arguments, say=None, cwd=None, **variables):
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        input=say,
        capture_output=True,
        text=True,
        timeout=2 * GUARD,
        check=False,
        cwd=cwd,
        env={**environment(), "PYTHON_BASIC_REPL": "1", **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command_line(snippet):
    """Its words, with the interpreter that runs here in front; and its environment variables."""
    words = shlex.split(snippet)
    variables = {}
    while "=" in words[0]:
        name, value = words.pop(0).split("=", 1)
        variables[name] = value
    return words[1:] if words[0] == "python" else ["-m", *words], variables


def serves_on_fastaio(command, pattern):
    """Start a server, and ask it for its loop."""
    with Program(*command) as server:
        port = int(server.wait_for(pattern)[1])

        def ask():
            try:
                with Client((LOCALHOST, port)) as client:
                    return client.ask("GET", "/state")
            except (ConnectionError, EOFError):
                return None  # the workers listen a moment after they have said so

        assert json.loads(eventually(ask).body)["loop"] == "fastaio"
        status, text = server.terminate()
    assert "Traceback" not in text and "foreign event loop" not in text, text


def run_command(snippet, folder, monkeypatch):
    words, variables = command_line(snippet)
    name = next((name for name in SERVERS if name in words), None)
    if words == ["-m", "fastaio", "--install-kernel"]:
        need("ipykernel")
        said = python(*words, JUPYTER_DATA_DIR=str(folder))
        assert str(folder / "kernels" / "fastaio") in said
    elif words[:2] == ["-m", "pytest"]:
        need("pytest_asyncio")
        assert "3 passed" in run_pytest(folder, words[2:])
    elif "--check" in words:
        assert python(*words).startswith("loop:       fastaio.loop.EventLoop\n")
    elif name is not None:
        need({"fastapi": "fastapi_cli"}.get(name, name))
        if name == "fastapi":
            (folder / "app.py").write_text(ASGI.replace("import asgi", "import api"))
        for word in words:
            if (
                word.partition(".Uvicorn")[0] == "uvicorn_worker"
                or word == "fastaio.gunicorn.Worker"
            ):
                need("uvicorn_worker")
            elif word.startswith("aiohttp."):
                need("aiohttp")
                (folder / "app.py").write_text(AIOHTTP)
        options, pattern = SERVERS[name]
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        serves_on_fastaio([*words, *options], pattern)
    else:
        prompt = SAY.replace("print", "await asyncio.sleep(0, print") + ")"
        say = {"-": PROGRAM, "fastaio": prompt + "\n"}.get(words[-1])
        assert "loop: fastaio.loop" in python(*words, say=say)


SUITE = """
import asyncio
import unittest
import pytest

def check():
    assert type(asyncio.get_running_loop()).__module__ == "fastaio.loop"

@pytest.mark.asyncio
async def test_of_pytest_asyncio():
    check()

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_of_anyio(anyio_backend):
    check()

class TestCase(unittest.IsolatedAsyncioTestCase):
    {in_class}

    async def test_of_unittest(self):
        check()
"""


def run_pytest(folder, options, *, suite=SUITE, in_class=""):
    """Run a suite with the plugin installed: a folder on the path has it, with its metadata."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    if not (site / "pytest_fastaio").exists():
        (site / "pytest_fastaio").symlink_to(ROOT / "fastaio" / "pytest_fastaio")
        metadata = site / "pytest_fastaio-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: pytest-fastaio\nVersion: 1\n"
        )
        (metadata / "entry_points.txt").write_text("[pytest11]\npytest_fastaio = pytest_fastaio\n")
    (folder / "test_suite.py").write_text(suite.format(in_class=in_class or "pass"))
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings =\n  error\n"
        "  ignore::pytest.PytestConfigWarning\n"
    )
    path = os.pathsep.join([str(site), environment()["PYTHONPATH"]])
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-s", "test_suite.py", *options]
    return python(*words, cwd=folder, PYTHONPATH=path)


def run_python_snippet(snippet):
    if "loop_factory=" in snippet and snippet.startswith("asyncio.run(") and not PYTHON_312:
        pytest.skip("asyncio.run() has a loop_factory since 3.12")
    if snippet.startswith("anyio"):
        need("anyio")
    after = {
        "asyncio.Runner": "runner.run(main())",
        "fastaio.install": "asyncio.run(main())",
        "asyncio.set_event_loop_policy": "asyncio.run(main())",
    }.get(snippet.partition("(")[0], "pass")
    source = (
        "import asyncio, contextlib, fastaio, warnings\n"
        "with contextlib.suppress(ImportError):\n    import anyio\n"
        f"{PROGRAM.partition('if __name__')[0]}\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        f"runner = {snippet}\n{after}\n"
        "if isinstance(runner, asyncio.Runner):\n    runner.close()\n"
    )
    assert "loop: fastaio.loop" in python("-c", source)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_row(snippet, folder, monkeypatch):
    if re.match(r"(python|pytest|uvicorn|gunicorn|hypercorn) |[A-Z_]+=", snippet):
        run_command(snippet, folder, monkeypatch)
    elif snippet.startswith("uvicorn.run("):
        need("uvicorn")
        source = f"import uvicorn\nfrom app import app\n{snippet[:-1]}, port=0)\n"
        serves_on_fastaio(["-c", source], SERVERS["uvicorn"][1])
    elif snippet.startswith("web.run_app("):
        need("aiohttp")
        (folder / "app.py").write_text(AIOHTTP)
        place = f"host='{LOCALHOST}', port={unused_port()}"
        source = f"import fastaio\nfrom app import app, web\n{snippet[:-1]}, {place})\n"
        serves_on_fastaio(["-c", source], r"Running on http://127\.0\.0\.1:(\d+)")
    elif snippet.startswith("loop_factory ="):
        need("pytest_asyncio")
        if not PYTHON_313:
            pytest.skip("the class attribute is new in 3.13")
        suite = "import fastaio\n" + SUITE[: SUITE.index("@pytest.mark.asyncio")]
        suite += SUITE[SUITE.index("class TestCase") :]
        assert "1 passed" in run_pytest(folder, [], suite=suite, in_class=snippet)
    else:
        run_python_snippet(snippet)


def test_every_door_has_a_row():
    text = "\n".join(SNIPPETS)
    for name in (
        *("uvicorn app:app", "--workers", "--reload", "UVICORN_LOOP", "uvicorn.run", "fastapi run"),
        *("fastaio.gunicorn.Worker", "UvicornWorker", "GunicornWebWorker", "-k asgi", "hypercorn"),
        *("asyncio.run(", "asyncio.Runner(", "anyio.run(", "pytest --fastaio", "--install-kernel"),
        *("fastaio.install()", "web.run_app(", "fastaio -c", "fastaio -\n", "fastaio -m package"),
    ):
        assert name in text

"""The recorder names the blocking line: in a uvicorn, an aiohttp, a notebook, while it blocks."""

import re
import sys

import pytest

from ..support import GUARD
from .support import LOCALHOST, Client, Program, environment, need

pytestmark = pytest.mark.fastaio_only

BLOCKING = "block_until_exists(path)  # the blocking line"

ASGI = f"""
from urllib.parse import parse_qs
from {__package__}.apps import block_until_exists

async def load(path):
    {BLOCKING}

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await load(parse_qs(scope["query_string"].decode())["path"][0])
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"loaded"}})
"""

AIOHTTP = f"""
import asyncio, socket
import fastaio
from aiohttp import web
from {__package__}.apps import block_until_exists

async def load(path):
    {BLOCKING}

async def handle(request):
    await load(request.query["path"])
    return web.Response(text="loaded")

app = web.Application()
app.router.add_get("/", handle)
sock = socket.create_server(("{LOCALHOST}", 0))
print("port", sock.getsockname()[1], flush=True)
web.run_app(app, sock=sock, loop=fastaio.new_event_loop(), print=None)
"""


def check_report(program, address, path):
    """Make the server block, read the report, and only then let it go on."""
    with Client(address) as client:
        client.sock.sendall(f"GET /?path={path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        program.wait_for(r"has been blocked for 0\.\d+ seconds, and still is, by <Task pending")
        program.wait_for(r'File ".*", line \d+, in load')
        program.wait_for(re.escape(BLOCKING))
        path.touch()
        program.wait_for(r"The event loop was blocked for \d\.\d+ seconds by <Task")
        assert client.file.readline().split()[1] == b"200"


def test_uvicorn(tmp_path, monkeypatch):
    need("uvicorn")
    monkeypatch.setenv("FASTAIO_WATCH", "0.05")
    (tmp_path / "blocking_app.py").write_text(ASGI)
    options = ("--port", "0", "--app-dir", str(tmp_path), "--lifespan", "off")
    command = ("-m", "uvicorn", "--loop", "fastaio:new_event_loop", *options, "blocking_app:app")
    with Program(*command) as program:
        port = program.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1]
        check_report(program, (LOCALHOST, int(port)), tmp_path / "go")


def test_aiohttp(tmp_path, monkeypatch):
    need("aiohttp")
    monkeypatch.setenv("FASTAIO_WATCH", "0.05")
    (tmp_path / "server.py").write_text(AIOHTTP)
    with Program(str(tmp_path / "server.py")) as program:
        port = program.wait_for(r"port (\d+)")[1]
        check_report(program, (LOCALHOST, int(port)), tmp_path / "go")


CELL = """
import logging, threading

class Handler(logging.Handler):
    def emit(self, record):
        message.append(record.getMessage())
        told.set()

message, told = [], threading.Event()
logging.getLogger("fastaio").addHandler(Handler())

def load():
    assert told.wait(30)  # the blocking line

load()
print(message[0])
"""


def test_a_notebook(tmp_path):
    for name in ("ipykernel", "nbclient", "nbformat"):
        need(name)
    import nbclient
    import nbformat
    from jupyter_client.manager import AsyncKernelManager

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    launch = (
        "import fastaio; fastaio.install(); "
        "from ipykernel.kernelapp import launch_new_instance as start; start()"
    )
    manager = AsyncKernelManager()
    manager.kernel_spec.argv = [sys.executable, "-c", launch, "-f", "{connection_file}"]
    client = nbclient.NotebookClient(notebook, km=manager, timeout=GUARD)
    folders = {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in folders.items():
            patch.setenv(name, value)
        client.execute(env={**environment(), **folders, "FASTAIO_WATCH": "0.2"})
    (cell,) = notebook.cells
    text = "".join(output.get("text", "") for output in cell.outputs)
    assert "has been blocked for " in text
    assert "in load\n    assert told.wait(30)  # the blocking line" in text

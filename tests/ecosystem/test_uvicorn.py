"""uvicorn with both of its HTTP implementations, started by its own command line."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import threading

import pytest

from ..support import GUARD
from .apps import pattern
from .support import SIZE, Client, Program, Uvicorn, eventually, need, request

need("uvicorn")


@pytest.fixture(scope="module", params=["httptools", "h11"])
def server(request, uvicorn_loop):
    need(request.param)
    with Uvicorn("asgi", uvicorn_loop, "--http", request.param) as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def state(server):
    with Client(server.address) as client:
        return json.loads(client.ask("GET", "/state").body)


def settled(server, baseline):
    """All requests have ended and all connections but the asking one are closed."""

    def check():
        now = state(server)
        return now["active"] == 1 and now["descriptors"] <= baseline["descriptors"]

    eventually(check)


def test_the_loop_is_the_one_under_test(server, loop_module, on_fastaio):
    now = state(server)
    assert now["loop"] == loop_module
    # asyncio's own C classes live in _asyncio.
    assert now["task"] == ("fastaio" if on_fastaio else "_asyncio")


def test_keep_alive(client):
    for number in range(200):
        response = client.ask("GET", f"/number/{number}")
        assert (response.status, response.body) == (200, b"%d" % number)


def test_pipelining(client):
    """Requests in one packet are answered in order."""
    client.sock.sendall(b"".join(request("GET", f"/number/{number}") for number in range(100)))
    answers = [client.receive().body for _ in range(100)]
    assert answers == [b"%d" % number for number in range(100)]


def test_pipelining_with_bodies(client):
    bodies = [pattern(1000 + number) for number in range(20)]
    client.sock.sendall(b"".join(request("POST", "/digest", body) for body in bodies))
    for body in bodies:
        assert client.receive().body.decode() == hashlib.sha256(body).hexdigest()


def test_a_request_in_single_bytes(client):
    for byte in request("POST", "/digest", b"body"):
        client.sock.send(bytes([byte]))
    assert client.receive().body.decode() == hashlib.sha256(b"body").hexdigest()


def test_a_large_upload(client):
    body = pattern(SIZE)
    response = client.ask("POST", "/digest", body)
    assert response.body.decode() == hashlib.sha256(body).hexdigest()


def test_a_chunked_upload(client):
    body = pattern(SIZE)
    client.send("POST", "/digest", headers=["Transfer-Encoding: chunked"])
    for position in range(0, SIZE, 100_003):
        part = body[position : position + 100_003]
        client.sock.sendall(b"%x\r\n%b\r\n" % (len(part), part))
    client.sock.sendall(b"0\r\n\r\n")
    assert client.receive().body.decode() == hashlib.sha256(body).hexdigest()


def test_a_large_download(client):
    for _ in range(2):
        assert client.ask("GET", f"/bytes/{SIZE}").body == pattern(SIZE)


def test_large_bodies_both_ways_at_once(client):
    body = pattern(SIZE)
    sending = threading.Thread(target=client.send, args=("POST", "/echo", body))
    sending.start()
    try:
        assert client.receive().body == body
    finally:
        sending.join(GUARD)


def test_expect_100_continue(client):
    client.sock.sendall(
        b"POST /digest HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    assert client.head()[0] == 100
    client.sock.sendall(b"body")
    assert client.receive().body.decode() == hashlib.sha256(b"body").hexdigest()


def test_streaming(client):
    """The parts come one by one, not all at the end."""
    client.send("GET", "/stream/20")
    status, headers = client.head()
    assert status == 200
    assert list(client.chunks(headers)) == [b"part %d\n" % number for number in range(20)]


def test_errors_and_bad_requests(server):
    with Client(server.address) as client:
        assert client.ask("GET", "/nothing").status == 404
        assert client.ask("GET", "/fail").status == 500
    with Client(server.address) as client:
        client.sock.sendall(b"nonsense\r\n\r\n")
        assert client.head()[0] == 400
    with Client(server.address) as client:
        assert client.ask("GET", "/text").body == b"hello"


def test_connection_close(server):
    with Client(server.address) as client:
        response = client.ask("GET", "/text", headers=["Connection: close"])
        assert response.body == b"hello"
        assert client.at_eof()


def test_500_clients_at_once(server, run):
    """The clients run on the loop under test as well."""

    async def client(number, ready, go):
        reader, writer = await asyncio.open_connection(*server.address)
        ready.append(number)
        await go.wait()
        for turn in range(3):
            answer = b"%d" % (number * 10 + turn)
            writer.write(request("GET", f"/number/{answer.decode()}"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            length = int(re.search(rb"content-length: (\d+)", head)[1])
            assert await reader.readexactly(length) == answer
        writer.close()
        await writer.wait_closed()

    async def main():
        ready = []
        go = asyncio.Event()
        async with asyncio.timeout(GUARD), asyncio.TaskGroup() as group:
            for number in range(500):
                group.create_task(client(number, ready, go))
            while len(ready) < 500:
                await asyncio.sleep(0.01)
            go.set()

    baseline = state(server)
    run(main)
    settled(server, baseline)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_clients_that_vanish_mid_body(server, how):
    baseline = state(server)
    clients = []
    for number in range(40):
        client = Client(server.address)
        clients.append(client)
        if number % 2:  # in the middle of the request
            client.send("POST", "/digest", headers=["Content-Length: 1000000"])
            client.sock.sendall(b"x" * 10_000)
        else:  # in the middle of the response
            client.send("GET", "/forever")
            client.head()
            client.file.read(1000)
    eventually(lambda: state(server)["active"] == 41)
    for client in clients:
        getattr(client, how)()
    settled(server, baseline)
    with Client(server.address) as client:
        assert client.ask("GET", "/text").body == b"hello"


def test_a_client_that_does_not_read_is_waited_for(server):
    """The application's writes stop, so the server's memory is bounded."""

    def memory():
        with open(f"/proc/{state(server)['pid']}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    with Client(server.address) as warm:
        warm.ask("GET", f"/bytes/{SIZE}")
    before = memory()
    client = Client(server.address)
    client.send("GET", "/forever")
    client.head()
    for _ in range(20):
        assert state(server)["active"] == 2
    assert memory() - before < 64 * 1024 * 1024
    client.reset()
    eventually(lambda: state(server)["active"] == 1)


def test_websockets(server, run):
    client = need("websockets.asyncio.client")

    async def main():
        async with client.connect(f"ws://127.0.0.1:{server.port}/", max_size=None) as socket:
            for number in range(50):
                await socket.send(f"message {number}")
            for number in range(50):
                assert await socket.recv() == f"message {number}"
            data = pattern(1_000_000)
            await socket.send(data)
            assert await socket.recv() == data

    run(main)


# The end of a server


@pytest.mark.parametrize("implementation", ["httptools", "h11"])
def test_graceful_shutdown(uvicorn_loop, loop_module, implementation):
    need(implementation)
    with Uvicorn("asgi", uvicorn_loop, "--http", implementation) as server:
        with Client(server.address) as idle, Client(server.address) as busy:
            assert idle.ask("GET", "/text").body == b"hello"
            busy.send("GET", "/slow/0.5")
            server.wait_for("slow request begins")
            server.process.send_signal(signal.SIGTERM)
            # The idle connection ends; the answer that is being made is delivered first.
            assert idle.at_eof()
            assert busy.receive().body == b"done"
            assert busy.at_eof()
        status = server.process.wait(GUARD)
        # uvicorn lets the signal have its way once it has cleaned up.
        assert status in (0, -signal.SIGTERM)
        server.wait_for(f"lifespan.shutdown by {loop_module}")
        server.wait_for("Finished server process")
    text = "".join(server.output)
    assert "Traceback" not in text
    assert "Warning" not in text


def test_shutdown_with_a_client_that_never_ends(uvicorn_loop):
    options = ("--timeout-graceful-shutdown", "1")
    with Uvicorn("asgi", uvicorn_loop, *options) as server:
        with Client(server.address) as client:
            client.send("GET", "/forever")
            client.head()
            status, text = server.terminate()
    assert status in (0, -signal.SIGTERM)
    assert "Cancel" in text


def test_keyboard_interrupt(uvicorn_loop):
    with Uvicorn("asgi", uvicorn_loop) as server:
        with Client(server.address) as client:
            assert client.ask("GET", "/text").body == b"hello"
        server.process.send_signal(signal.SIGINT)
        status = server.process.wait(GUARD)
        assert status in (0, 130, -signal.SIGINT)
        server.wait_for("Finished server process")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before the open, or before the read
        return False


def test_several_workers(uvicorn_loop, loop_module):
    with Program(
        "-m",
        "uvicorn",
        "--loop",
        uvicorn_loop,
        "--port",
        "0",
        "--workers",
        "2",
        f"{__package__}.apps:asgi",
    ) as server:
        port = int(server.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1])
        for _ in range(2):
            server.wait_for(f"lifespan.startup by {loop_module}")

        def connected():
            # The workers listen a moment after they have said that they are starting.
            with contextlib.suppress(ConnectionRefusedError):
                return Client(("127.0.0.1", port))

        def pid():
            with eventually(connected) as client:
                return json.loads(client.ask("GET", "/state").body)["pid"]

        # One of them may be quicker every time: the other one answers when it has gone.
        first = pid()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not is_running(first))
        assert pid() != first
        status, text = server.terminate()
        assert status in (0, -signal.SIGTERM)
        assert text.count("lifespan.shutdown by") >= 1


def test_in_this_process(run, loop_module):
    """uvicorn.Server.serve() as a task beside its clients."""
    uvicorn = need("uvicorn")
    httpx = need("httpx")
    from .apps import asgi

    async def main():
        server = uvicorn.Server(uvicorn.Config(asgi, port=0, log_level="warning"))
        # Signals are pytest's here.
        task = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.001)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answers = await asyncio.gather(*(client.get(f"/number/{n}") for n in range(50)))
            assert [answer.text for answer in answers] == [str(n) for n in range(50)]
            assert (await client.get("/state")).json()["loop"] == loop_module
        server.should_exit = True
        async with asyncio.timeout(GUARD):
            await task

    run(main)

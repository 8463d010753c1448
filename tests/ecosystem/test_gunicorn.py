"""gunicorn with uvicorn's worker, and hypercorn: their processes, their signals."""

import asyncio
import json
import os
import signal

from ..ioutil import until, unused_port
from ..support import GUARD
from .apps import pattern
from .support import LOCALHOST, Client, Program, eventually, need


def state(port):
    with Client((LOCALHOST, port)) as client:
        return json.loads(client.ask("GET", "/state").body)


def test_gunicorn(on_fastaio, loop_module):
    need("gunicorn")
    need("uvicorn_worker")
    worker = "fastaio.gunicorn.Worker" if on_fastaio else f"{__package__}.workers.AsyncioWorker"
    with Program(
        *("-m", "gunicorn", "--workers", "2", "--bind", f"{LOCALHOST}:0"),
        *("--no-control-socket", "--worker-tmp-dir", "/dev/shm", "--graceful-timeout", "10"),
        *("--worker-class", worker, f"{__package__}.apps:asgi"),
    ) as server:
        port = int(server.wait_for(r"Listening at: http://127\.0\.0\.1:(\d+)")[1])
        for _ in range(2):
            server.wait_for(f"lifespan.startup by {loop_module}")
        with Client((LOCALHOST, port)) as client:
            for number in range(50):
                assert client.ask("GET", f"/number/{number}").body == b"%d" % number
            assert client.ask("GET", "/bytes/1000000").body == pattern(1_000_000)
        first = state(port)
        assert first["loop"] == loop_module
        # One that dies is replaced.
        os.kill(first["pid"], signal.SIGKILL)
        server.wait_for(f"lifespan.startup by {loop_module}")
        # What a request has begun is finished.
        with Client((LOCALHOST, port)) as client:
            client.send("GET", "/slow/0.3")
            server.wait_for("slow request begins")
            server.process.send_signal(signal.SIGTERM)
            assert client.receive().body == b"done"
        assert server.process.wait(GUARD) == 0
    assert "Traceback" not in "".join(server.output)


def test_hypercorn(run, loop_module):
    """In this process, over HTTP/1.1 and HTTP/2."""
    need("hypercorn")
    httpx = need("httpx")
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from .apps import asgi

    async def main():
        config = Config()
        port = unused_port()
        config.bind = [f"{LOCALHOST}:{port}"]
        config.errorlog = None
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(asgi, config, shutdown_trigger=stop.wait))

        def answers():
            try:
                Client((LOCALHOST, port)).close()
            except ConnectionRefusedError:
                return False
            return True

        await until(answers)
        url = f"http://{LOCALHOST}:{port}"
        for version in ({}, {"http1": False, "http2": True}):
            async with httpx.AsyncClient(base_url=url, timeout=GUARD, **version) as client:
                numbers = await asyncio.gather(*(client.get(f"/number/{n}") for n in range(50)))
                assert [answer.text for answer in numbers] == [str(n) for n in range(50)]
                assert numbers[0].http_version == ("HTTP/2" if version else "HTTP/1.1")
                data = pattern(1_000_000)
                assert (await client.get("/bytes/1000000")).content == data
                assert (await client.post("/echo", content=data)).content == data
                assert (await client.get("/state")).json()["loop"] == loop_module
        stop.set()
        async with asyncio.timeout(GUARD):
            await serving

    run(main)


def test_a_client_reaches_hypercorn_in_another_process(loop_module):
    """Its command line takes the loop from the policy."""
    need("hypercorn")
    program = (
        "import sys, fastaio; from hypercorn.__main__ import main; fastaio.install(); "
        "sys.exit(main(sys.argv[1:]))"
    )
    if loop_module == "asyncio":
        program = program.replace("fastaio.install(); ", "")
    with Program(
        *("-W", "ignore::DeprecationWarning", "-c", program, "--workers", "0"),
        *("--bind", f"{LOCALHOST}:0", f"{__package__}.apps:asgi"),
    ) as server:
        port = int(server.wait_for(r"Running on http://127\.0\.0\.1:(\d+)")[1])
        eventually(lambda: state(port)["loop"] == loop_module)
        status, _ = server.terminate()
        assert status == 0

"""Serve one request with uvicorn on fastaio, in a place that has no compiler; copied there."""

import asyncio
import http.client
import shutil
import socket
import subprocess
import sys
import time

PATH = "/tmp/served.socket"


async def app(scope, receive, send):
    """Answer with the loop's class."""
    loop = type(asyncio.get_running_loop())
    body = f"{loop.__module__}.{loop.__qualname__}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def connect():
    """Connect to the server once it listens."""
    deadline = time.monotonic() + 30
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(PATH)
            return client
        except OSError:
            client.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def main():
    """Start the server, ask it once, and stop it."""
    for name in ("cc", "gcc", "clang"):
        assert shutil.which(name) is None, name
    command = [sys.executable, "-m", "uvicorn", "served:app", "--lifespan=off", "--uds", PATH]
    server = subprocess.Popen([*command, "--loop=fastaio:new_event_loop"])
    try:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = connect()
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read().decode()
        assert (response.status, body) == (200, "fastaio.loop.EventLoop"), body
        connection.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()

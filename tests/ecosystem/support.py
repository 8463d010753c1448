"""Servers in processes of their own, plain clients, and the libraries that may be missing."""

import contextlib
import importlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from ..support import GUARD

LOCALHOST = "127.0.0.1"
SIZE = 10 * 1024 * 1024


def need(name):
    """Import a library, or skip where it is missing; under CI a missing one is an error.

    Interpreters that are not released yet lack the wheels of some.
    """
    if os.environ.get("CI") and sys.version_info < (3, 15):
        return importlib.import_module(name)
    return pytest.importorskip(name, exc_type=ImportError)


def environment():
    """This process's environment, with its import path."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    return dict(os.environ, PYTHONPATH=path, PYTHONUNBUFFERED="1")


class Program:
    """A server in a process of its own, and the lines that it prints."""

    def __init__(self, *command):
        self.output = []
        self._lines = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.output.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern, timeout=GUARD):
        """The match of the next line that has `pattern`."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no {pattern!r} in:\n{''.join(self.output)}")
            if match := re.search(pattern, line):
                return match

    def terminate(self):
        """Ask it to end, and give its exit status and all that it printed."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(GUARD)
        self._thread.join(GUARD)
        return status, "".join(self.output)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(GUARD)
        self._thread.join(GUARD)
        self.process.stdout.close()


class Uvicorn(Program):
    """uvicorn with an application of apps.py."""

    def __init__(self, app, loop, *options):
        super().__init__(
            "-m", "uvicorn", "--loop", loop, "--port", "0", *options, f"{__package__}.apps:{app}"
        )
        try:
            running = self.wait_for(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")
        except BaseException:
            self.__exit__()
            raise
        self.port = int(running[1])
        self.address = (LOCALHOST, self.port)
        self.url = f"http://{LOCALHOST}:{self.port}"


class Response:
    """What an HTTP server answered."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


class Client:
    """HTTP/1.1 over a blocking socket, with nothing between the test and the bytes."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, timeout=GUARD)
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()

    def reset(self):
        """Vanish: the server sees a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def send(self, method, path, body=b"", headers=()):
        self.sock.sendall(request(method, path, body, headers))

    def head(self):
        """Status and headers of the next response."""
        line = self.file.readline()
        if not line:
            raise EOFError
        version, status, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        headers = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(status), headers

    def chunks(self, headers):
        """The parts of a body as they come."""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self.file.readline(), 16):
                yield self.file.read(size)
                assert self.file.readline() == b"\r\n"
            assert self.file.readline() == b"\r\n"
        else:
            left = int(headers.get("content-length", 0))
            while left:
                part = self.file.read(min(left, 1 << 16))
                if not part:
                    raise EOFError
                left -= len(part)
                yield part

    def receive(self):
        status, headers = self.head()
        return Response(status, headers, b"".join(self.chunks(headers)))

    def ask(self, method, path, body=b"", headers=()):
        self.send(method, path, body, headers)
        return self.receive()

    def at_eof(self):
        """Whether the server ends the connection here; waits for it to do one or the other."""
        return self.file.read(1) == b""


def request(method, path, body=b"", headers=()):
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def eventually(condition, timeout=GUARD):
    """Wait in this thread until `condition()` holds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)
    return value

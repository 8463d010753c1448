"""One server on every core: loops in threads of one process, beside forked workers.

python examples/threads.py               # both, with 2 loops
python examples/threads.py --loops 8

Threads serve at the same time on an interpreter without a GIL (python3.14t). With a GIL they take
turns. Each loop has a listening socket of its own on one port (SO_REUSEPORT). The kernel gives each
new connection to one of them.
"""

import argparse
import asyncio
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

import fastaio

CONNECTIONS = 64
PAYLOAD = 16  # bytes of a request; its answer is as long


class Answer(asyncio.Protocol):
    """Answer each request with its own bytes in upper case."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())


def serve(port: int) -> None:
    """Run a loop of this thread, which serves until the process ends."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answer, "127.0.0.1", port, reuse_port=True, backlog=1024)
        await server.serve_forever()

    fastaio.run(main())


def in_threads(port: int, loops: int) -> None:
    """Serve in the threads of one process. What they know is shared: a cache, a pool, a model."""
    for _ in range(loops):
        threading.Thread(target=serve, args=(port,), daemon=True).start()
    signal.pause()


def in_workers(port: int, loops: int) -> None:
    """Serve in forked processes. Each has a copy of everything."""
    workers: list[int] = []
    for _ in range(loops):
        worker = os.fork()
        if worker == 0:
            serve(port)
        workers.append(worker)

    def stop(*_: object) -> None:
        for worker in workers:
            os.kill(worker, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for worker in workers:
        os.waitpid(worker, 0)


class Ask(asyncio.Protocol):
    """Send requests one after the other; know when the last one is answered."""

    transport: asyncio.Transport

    def __init__(self, requests: int) -> None:
        self.left = requests
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"x" * PAYLOAD)

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left:
            self.transport.write(b"x" * PAYLOAD)
        else:
            self.transport.close()
            self.done.set_result(None)


async def ask(port: int, requests: int) -> float:
    """Send requests on all connections; return how many a second were answered."""
    loop = asyncio.get_running_loop()
    each = requests // CONNECTIONS
    began = time.perf_counter()
    clients = [
        (await loop.create_connection(lambda: Ask(each), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(client.done for client in clients))
    return each * CONNECTIONS / (time.perf_counter() - began)


def free_port() -> tuple[socket.socket, int]:
    """A port that stays reserved while the socket, which does not listen, is open."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    return holder, holder.getsockname()[1]


def wait_until_served(port: int, loops: int) -> None:
    """Wait until so many sockets listen on the port."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    while True:
        with open("/proc/net/tcp") as table:
            if sum(wanted in line for line in table) == loops:
                return
        time.sleep(0.01)


def measure(server: Callable[[int, int], None], loops: int, requests: int) -> tuple[float, float]:
    """Start a server and load it; return requests per second, and CPU microseconds for each."""
    holder, port = free_port()
    with holder:
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            server(port, loops)
            os._exit(0)
        wait_until_served(port, loops)
        rate = fastaio.run(ask(port, requests))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return rate, cpu / requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loops", type=int, default=2)
    parser.add_argument("--requests", type=int, default=100_000)
    options = parser.parse_args()
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"{options.loops} loops, {'with a GIL' if gil else 'without a GIL'}")
    for name, server in (("threads", in_threads), ("workers", in_workers)):
        rate, cpu = measure(server, options.loops, options.requests)
        print(f"{name}: {rate:,.0f} requests/s, {cpu:.1f} us of CPU for each")


if __name__ == "__main__":
    main()

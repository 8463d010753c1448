"""On an interpreter without a GIL it stays off: no import and no use of fastaio switches it on."""

import asyncio
import os
import pkgutil
import signal
import socket
import sys
import tempfile
import threading

import pytest

from .ringutil import why_no_ring
from .support import FREE_THREADED, GUARD, run_python

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.skipif(not FREE_THREADED, reason="this interpreter has a GIL"),
]

# A warning is an error, and the interpreter warns where an import switches the GIL on.
PROGRAM = """
import sys, warnings
warnings.simplefilter("error")
assert not sys._is_gil_enabled(), "the GIL is on from the start"
import fastaio
assert not sys._is_gil_enabled(), "the import switches it on"
import tests.test_free_threading_gil as scenario
scenario.{function}(*sys.argv[1:])
assert not sys._is_gil_enabled(), "a use switches it on"
print("off")
"""


def stays_off(function, *args):
    """Run a function of this module in a new process, whose GIL must stay off."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    source = PROGRAM.format(function=function.__name__)
    done = run_python(source, *args, timeout=2 * GUARD, env=env)
    assert done.stdout == "off\n", done.stderr


# What runs a program, or needs a library that may switch the GIL on itself.
LEFT_OUT = {"fastaio.__main__", "fastaio.gunicorn", "fastaio.kernel"}


def import_all():
    """Import the modules of fastaio."""
    import fastaio

    names = [info.name for info in pkgutil.walk_packages(fastaio.__path__, "fastaio.")]
    assert "fastaio.doors.spawn" in names and "fastaio._fastaio" in names
    for name in names:
        if name not in LEFT_OUT:
            __import__(name)
        assert not sys._is_gil_enabled(), name


def test_imports():
    stays_off(import_all)


async def _echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _talk(server, **kwargs):
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address, **kwargs)
    writer.write(b"x" * 10_000)
    assert await reader.readexactly(10_000) == b"x" * 10_000
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def use_streams():
    await _talk(await asyncio.start_server(_echo, "127.0.0.1", 0))


async def use_tls():
    try:
        from .tlsutil import HOST, client_context, server_context
    except ModuleNotFoundError:  # trustme, which makes the certificates
        return
    server = await asyncio.start_server(_echo, "127.0.0.1", 0, ssl=server_context())
    await _talk(server, ssl=client_context(), server_hostname=HOST)


async def use_datagrams():
    loop = asyncio.get_running_loop()
    received = loop.create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            received.set_result(data)

    transport, _ = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    assert await received == b"x"
    transport.close()


async def use_sockets():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        await loop.sock_sendall(ours, b"x")
        assert await loop.sock_recv(theirs, 10) == b"x"
        readable = asyncio.Event()
        loop.add_reader(theirs, readable.set)
        ours.send(b"y")
        await readable.wait()
        loop.remove_reader(theirs)


async def use_processes():
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert await process.communicate(b"x") == (b"x", None)


async def use_files():
    import fastaio

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "file")
        async with fastaio.open(path, "w") as file:
            await file.write("line\n" * 1000)
        async with fastaio.open(path, "rb") as file:
            assert len(await file.read()) == 5000


async def use_threads():
    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(lambda: 1) == 1
    assert await loop.getaddrinfo("localhost", 80)
    called = asyncio.Event()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(called.set,))
    thread.start()
    await called.wait()
    thread.join()


async def use_signals():
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, heard.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await heard.wait()
    loop.remove_signal_handler(signal.SIGUSR1)


async def use_primitives():
    lock, queue = asyncio.Lock(), asyncio.Queue()
    async with lock, asyncio.timeout(GUARD), asyncio.TaskGroup() as group:
        group.create_task(queue.put(1))
        assert await asyncio.wait_for(queue.get(), GUARD) == 1
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0.001, 2)) == [1, 2]
    for first in asyncio.as_completed([asyncio.sleep(0, 3)]):
        assert await first == 3
    assert await asyncio.shield(asyncio.sleep(0, 4)) == 4
    assert len(asyncio.all_tasks()) == 1


async def use_inspection():
    from fastaio import telemetry

    loop = asyncio.get_running_loop()
    loop.account()
    loop.watch(GUARD)
    await asyncio.sleep(0)
    assert "fastaio_account" in await asyncio.to_thread(telemetry.prometheus)


USES = [
    use_streams,
    use_tls,
    use_datagrams,
    use_sockets,
    use_processes,
    use_files,
    use_threads,
    use_signals,
    use_primitives,
    use_inspection,
]


def use_all(backend):
    """Use everything, on a loop of the main thread and on one of another thread."""
    import fastaio

    fastaio.install(primitives=True)

    async def main():
        assert asyncio.get_running_loop().backend == backend
        for use in USES:
            if use is use_signals and threading.current_thread() is not threading.main_thread():
                continue
            await asyncio.wait_for(use(), GUARD)
            assert not sys._is_gil_enabled(), use.__name__

    def run():
        with asyncio.Runner(loop_factory=lambda: fastaio.new_event_loop(backend=backend)) as runner:
            runner.run(main())

    run()
    errors = []
    threading.excepthook = errors.append
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not errors, errors


@pytest.mark.parametrize("backend", ["epoll", "io_uring"])
def test_uses(backend):
    if backend == "io_uring" and why_no_ring():
        pytest.skip(why_no_ring())
    stays_off(use_all, backend)

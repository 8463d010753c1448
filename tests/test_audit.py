"""Audit events (PEP 578): the loop's short ways raise those that the standard library raises.

A hook stays for the life of a process, so each scenario has a process of its own: with asyncio's
loop and with the one under test, which must raise the same events in the same order.
"""

import json

import pytest

from .support import run_python

PRELUDE = """
import asyncio, json, os, socket, sys, threading

events = []
listening = False
refuse = None

def describe(value):
    if isinstance(value, socket.socket):
        return f"socket {value.family.name} {value.type.name}"
    if isinstance(value, int):
        return int(value)
    return value if isinstance(value, (str, tuple)) or value is None else type(value).__name__

def hook(event, args):
    if listening and event.startswith("socket."):
        if event == "socket.__new__":
            # The socket is not made yet. A native listener makes sockets that do not block.
            args = (*args[1:2], args[2] & ~socket.SOCK_NONBLOCK, *args[3:])
        events.append([event, [describe(arg) for arg in args]])
        if event == refuse:
            raise exc

sys.addaudithook(hook)

class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.data = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()
    def datagram_received(self, data, addr):
        if not self.data.done():
            self.data.set_result(data)
    def error_received(self, error):
        events.append(["error_received", [repr(error)]])
    def connection_lost(self, error):
        self.lost.set_result(repr(error))

def play(main, ports=lambda: ()):
    loop = eval(sys.argv[1])()
    loop.set_exception_handler(lambda loop, context: events.append(
        ["reported", [context["message"], repr(context.get("exception"))]]))
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        loop.close()
    print(json.dumps(events))

def number_ports(ports):
    # Ports differ from process to process.
    def renumber(value):
        if isinstance(value, (list, tuple)):
            return [renumber(item) for item in value]
        return f"port {ports.index(value)}" if value in ports else value
    events[:] = [renumber(event) for event in events]
"""

SENDTO = """
async def main():
    global listening, refuse, exc
    loop = asyncio.get_running_loop()
    receiver, got = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    there = receiver.get_extra_info("sockname")
    sender, sending = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    connected, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=there)
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    raw.setblocking(False)
    listening = True
    sender.sendto(b"one", there)
    sender.sendto(b"two", there)
    connected.sendto(b"three")
    await loop.sock_sendto(raw, b"four", there)
    await got.data
    EXTRA
    listening = False
    for transport in (receiver, sender, connected):
        transport.close()
    raw.close()
    await asyncio.sleep(0.01)
    number_ports([there[1]])
play(main)
"""

REFUSED = """
    refuse, exc = "socket.sendto", EXCEPTION
    try:
        sender.sendto(b"no", there)
    except BaseException as error:
        events.append(["raised", [repr(error)]])
    refuse = None
    await asyncio.sleep(0.01)
    events.append(["closing", [sender.is_closing()]])
"""

STREAMS = """
async def main():
    global listening
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()
    async def serve(reader, writer):
        writer.write(await reader.read(10))
        writer.close()
        accepted.set_result(None)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    listening = True
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"hello")
    assert await reader.read(10) == b"hello"
    await accepted
    writer.close()
    await writer.wait_closed()
    sock = socket.socket()
    sock.setblocking(False)
    listener = socket.create_server(("127.0.0.1", 0))
    await loop.sock_connect(sock, listener.getsockname())
    listener.setblocking(False)
    conn, _ = await loop.sock_accept(listener)
    await loop.sock_sendall(sock, b"x")
    assert await loop.sock_recv(conn, 1) == b"x"
    listening = False
    here = listener.getsockname()[1]
    conn.close()
    listener.close()
    sock.close()
    server.close()
    # Who connects and who accepts is not ordered.
    number_ports([port, here])
    events.sort(key=json.dumps)
play(main)
"""

NAMES = """
async def main():
    global listening
    loop = asyncio.get_running_loop()
    listening = True
    for _ in range(3):
        await loop.getaddrinfo("127.0.0.1", 80)
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        await loop.getaddrinfo("::1", None, family=socket.AF_INET6, proto=6)
    listening = False
play(main)
"""


def events_of(source, loop):
    return json.loads(run_python(PRELUDE + source, loop).stdout)


SCENARIOS = {
    "sendto": SENDTO.replace("EXTRA", ""),
    "sendto refused": SENDTO.replace("EXTRA", REFUSED.replace("EXCEPTION", "RuntimeError('no')")),
    "sendto refused by OSError": SENDTO.replace(
        "EXTRA", REFUSED.replace("EXCEPTION", "PermissionError(1, 'no')")
    ),
    "sendto refused by Ctrl-C": SENDTO.replace(
        "EXTRA", REFUSED.replace("EXCEPTION", "KeyboardInterrupt()")
    ),
    "streams": STREAMS,
    "names": NAMES,
}


@pytest.mark.parametrize("source", SCENARIOS.values(), ids=SCENARIOS)
def test_the_events_are_those_of_asyncio(loop_factory_source, source):
    expected = events_of(source, "asyncio.SelectorEventLoop")
    assert expected
    assert events_of(source, loop_factory_source) == expected

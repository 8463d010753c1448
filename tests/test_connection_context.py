"""Which context variables the callbacks of a connection see."""

import asyncio
import contextvars
import sys

from .ioutil import no_new_descriptors, until

ONE_CONTEXT = sys.version_info >= (3, 15)

variable = contextvars.ContextVar("variable", default="unset")


class Noting(asyncio.Protocol):
    """Notes what each callback finds in the variable, and leaves its own name there."""

    def __init__(self):
        self.seen = [("factory", variable.get())]
        self.transport = None

    def note(self, name):
        self.seen.append((name, variable.get()))
        variable.set(name)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        self.note(f"data {data.decode()}")

    def connection_lost(self, exc):
        self.note("lost")


def test_callbacks_of_a_connection(run):
    """From 3.15 on a connection has one context, from its making to its loss."""

    async def main():
        loop = asyncio.get_running_loop()
        accepted = []

        def accept():
            accepted.append(Noting())
            return accepted[-1]

        variable.set("server")
        server = await loop.create_server(accept, "127.0.0.1", 0)
        variable.set("client")
        transport, client = await loop.create_connection(Noting, *server.sockets[0].getsockname())
        variable.set("later")
        await until(lambda: accepted and accepted[0].transport)
        for number in (b"1", b"2"):
            count = len(accepted[0].seen)
            transport.write(number)
            await until(lambda count=count: len(accepted[0].seen) > count)
            accepted[0].transport.write(number)
            await until(lambda count=count: len(client.seen) > count)
        transport.pause_reading()
        transport.resume_reading()
        accepted[0].transport.write(b"3")
        await until(lambda: len(client.seen) == 5)
        variable.set("closing")
        transport.close()
        await until(lambda: client.seen[-1][0] == accepted[0].seen[-1][0] == "lost")
        server.close()
        await server.wait_closed()
        return client.seen, accepted[0].seen

    async def guarded():
        async with no_new_descriptors():
            return await main()

    client, accepted = run(guarded)
    assert accepted == [
        ("factory", "server"),
        ("made", "server"),
        ("data 1", "made" if ONE_CONTEXT else "server"),
        ("data 2", "data 1"),
        ("lost", "data 2"),
    ]
    assert client == [
        ("factory", "client"),
        ("made", "client"),
        ("data 1", "made" if ONE_CONTEXT else "client"),
        ("data 2", "data 1"),
        ("data 3", "data 2" if ONE_CONTEXT else "later"),
        ("lost", "data 3" if ONE_CONTEXT else "closing"),
    ]

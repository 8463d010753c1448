"""An echo server and its clients, written with asyncio's streams and run by fastaio.

python examples/echo_server.py              # serve and talk to it
python examples/echo_server.py --port 8888  # serve until Ctrl-C; try: nc localhost 8888
"""

import argparse
import asyncio
import time

import fastaio


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def talk(port: int, messages: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(messages):
        line = f"message {number}\n".encode()
        writer.write(line)
        assert await reader.readline() == line
    writer.close()
    await writer.wait_closed()
    return messages


async def main(port: int | None) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", port or 0)
    host, port_in_use = server.sockets[0].getsockname()[:2]
    print(f"{type(asyncio.get_running_loop()).__name__} serves on {host}:{port_in_use}")
    async with server:
        if port:
            await server.serve_forever()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(talk(port_in_use, 1000)) for _ in range(20)]
        seconds = time.perf_counter() - began
        total = sum(client.result() for client in clients)
        print(f"20 clients sent {total:,} lines and got them back in {seconds:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    try:
        fastaio.run(main(parser.parse_args().port))
    except KeyboardInterrupt:
        print("stopped")

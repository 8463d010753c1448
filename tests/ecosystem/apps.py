"""The applications that the servers run."""

import asyncio
import hashlib
import json
import os
import random
import sys
import time

from ..support import GUARD

try:
    import fastapi
except ImportError:
    fastapi = None

active = 0


def pattern(size):
    """Bytes in which any byte lost, doubled or out of place shows."""
    return random.Random(size).randbytes(size)


def state():
    loop = asyncio.get_running_loop()
    return {
        "loop": type(loop).__module__.partition(".")[0],
        "task": type(asyncio.current_task()).__module__.partition(".")[0],
        "pid": os.getpid(),
        "active": active,
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


def say(text):
    """Print a line in one piece, as other processes write to the same pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def asgi(scope, receive, send):
    """A bare ASGI application."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            say(f"{message['type']} by {type(asyncio.get_running_loop()).__module__}")
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        global active
        active += 1
        try:
            await http(scope, receive, send)
        finally:
            active -= 1


async def websocket(receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        answer = {"type": "websocket.send"}
        if message.get("bytes") is not None:
            answer["bytes"] = message["bytes"]
        else:
            answer["text"] = message["text"]
        await send(answer)


async def http(scope, receive, send):
    async def start(status=200, **headers):
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (name.replace("_", "-").encode(), str(value).encode())
                    for name, value in headers.items()
                ],
            }
        )

    async def body(data=b"", more=False):
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async def parts():
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client has gone")
            yield message.get("body", b"")
            if not message.get("more_body"):
                return

    _, name, *arguments = scope["path"].split("/")
    if name == "text":
        await start(content_type="text/plain", content_length=5)
        await body(b"hello")
    elif name == "number":
        await start(content_length=len(arguments[0]))
        await body(arguments[0].encode())
    elif name == "state":
        data = json.dumps(state()).encode()
        await start(content_length=len(data))
        await body(data)
    elif name == "digest":
        digest = hashlib.sha256()
        async for part in parts():
            digest.update(part)
        await start(content_length=64)
        await body(digest.hexdigest().encode())
    elif name == "bytes":
        data = pattern(int(arguments[0]))
        await start(content_length=len(data))
        await body(data)
    elif name == "echo":
        await start()
        async for part in parts():
            await body(part, True)
        await body()
    elif name == "stream":
        await start()
        for number in range(int(arguments[0])):
            await body(b"part %d\n" % number, True)
            await asyncio.sleep(0.001)
        await body()
    elif name == "forever":
        await start()
        await receive()
        gone = asyncio.create_task(receive())
        while not gone.done():
            await body(b"x" * 65536, True)
            await asyncio.sleep(0)
    elif name == "slow":
        say("slow request begins")
        await asyncio.sleep(float(arguments[0]))
        await start(content_length=4)
        await body(b"done")
    elif name == "fail":
        raise ZeroDivisionError("on request")
    else:
        await start(404, content_length=0)
        await body()


def block_until_exists(path):
    """Hold this thread up, and with it the loop, until somebody has made the file."""
    deadline = time.monotonic() + GUARD
    while not os.path.exists(path):
        assert time.monotonic() < deadline, "nobody has got what was written"
        time.sleep(0.001)


if fastapi is not None:
    from fastapi.responses import StreamingResponse

    api = fastapi.FastAPI()
    notes = []

    async def settings():
        """A dependency with an end of its own."""
        await asyncio.sleep(0)
        yield {"greeting": "hello"}
        notes.append("dependency closed")

    # The types stand in variables, as fastapi wants to look at them.
    Settings = fastapi.Depends(settings)

    @api.get("/items/{number}")
    async def item(number: int, q: str | None = None):
        return {"number": number, "q": q}

    @api.get("/blocking")
    def blocking():
        """A plain function, which fastapi runs in a thread."""
        return {"thread": True}

    @api.get("/greeting")
    async def greeting(settings: dict = Settings):
        return settings

    @api.post("/sum")
    async def total(numbers: list[int]):
        return {"sum": sum(numbers)}

    @api.post("/background")
    async def background(tasks: fastapi.BackgroundTasks):
        async def note():
            await asyncio.sleep(0)
            notes.append("in the background")

        tasks.add_task(note)
        return {}

    @api.get("/notes")
    async def get_notes():
        return notes

    @api.get("/state")
    async def get_state():
        return state()

    @api.post("/digest")
    async def digest(request: fastapi.Request):
        value = hashlib.sha256()
        async for part in request.stream():
            value.update(part)
        return {"digest": value.hexdigest()}

    @api.get("/stream/{count}")
    async def stream(count: int):
        async def parts():
            for number in range(count):
                yield f"part {number}\n"
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    @api.get("/works")
    async def works(path: str):
        """Computes between the parts of its answer, on the loop's thread."""

        async def parts():
            for number in range(3):
                yield f"part {number}\n"
                block_until_exists(f"{path}{number}")

        return StreamingResponse(parts())

    @api.get("/bytes/{size}")
    async def many(size: int):
        return fastapi.Response(pattern(size))

    @api.websocket("/ws")
    async def ws(websocket: fastapi.WebSocket):
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(f"you said {text}")

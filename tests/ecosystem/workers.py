"""A worker of gunicorn on asyncio's loop; fastaio has one of its own."""

from uvicorn_worker import UvicornWorker


class AsyncioWorker(UvicornWorker):
    CONFIG_KWARGS = {"loop": "asyncio", "http": "auto"}

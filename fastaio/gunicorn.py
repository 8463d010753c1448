"""A worker class for gunicorn: ``gunicorn -k fastaio.gunicorn.Worker app:app``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ("Worker",)


def _find_worker() -> Any:
    try:
        return import_module("uvicorn_worker").UvicornWorker
    except ImportError as error:
        raise ImportError(f"fastaio.gunicorn.Worker needs uvicorn-worker: {error}") from error


_UvicornWorker: Any = _find_worker()


class Worker(_UvicornWorker):  # type: ignore[misc]
    """uvicorn's worker, with its ASGI application on fastaio's loop.

    CONFIG_KWARGS are arguments of ``uvicorn.Config``. A subclass may add to them.
    """

    CONFIG_KWARGS: dict[str, Any] = {
        **_UvicornWorker.CONFIG_KWARGS,
        "loop": "fastaio:new_event_loop",
    }

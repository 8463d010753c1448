"""The warning of a loop that is not fastaio's: which, who made it, what to write instead."""

from __future__ import annotations

import asyncio
import sys
import warnings
from asyncio.log import logger
from types import FrameType

from ..loop import EventLoop

__all__ = ("warn_once",)

# What to write, by the package that runs the loop.
_INSTEAD = {
    "aiohttp": "web.run_app(app, loop=fastaio.new_event_loop())",
    "anyio": 'anyio.run(main, backend_options={"loop_factory": fastaio.new_event_loop})',
    "granian": "granian --loop asyncio",
    "gunicorn": "gunicorn -k fastaio.gunicorn.Worker, or gunicorn -k asgi --asgi-loop auto",
    "hypercorn": "hypercorn -k asyncio",
    "pytest_asyncio": "pytest_asyncio_loop_factories() in conftest.py, with fastaio.new_event_loop",
    "sanic": "SANIC_USE_UVLOOP=false in the environment, or app.config.USE_UVLOOP = False",
    "uvicorn": "uvicorn --loop fastaio:new_event_loop",
    "uvicorn_worker": "gunicorn -k fastaio.gunicorn.Worker",
}
_BY_RUNNER = "loop_factory=fastaio.new_event_loop, or no loop_factory at all"
_BY_HAND = "loop = fastaio.new_event_loop()"
_BY_POLICY = "fastaio.install(), called after the code that sets another event loop policy"

# Frames of these are in between; so are those of the loop's own package.
_BETWEEN = frozenset({"asyncio", "contextlib", "fastaio", "threading"})
_BETWEEN_MODULES = frozenset({"uvicorn._compat"})  # its asyncio.run() for 3.11

_warned = False


def warn_once(loop: asyncio.AbstractEventLoop) -> None:
    """Warn, once in a process, if this loop is not one of fastaio's."""
    global _warned
    if _warned or isinstance(loop, EventLoop):
        return
    _warned = True
    kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
    frame, by_runner = _find_maker(kind.partition(".")[0])
    if frame is None:
        maker, file, line, instead = "an unknown caller", "unknown", 0, _BY_HAND
    else:
        name = frame.f_globals.get("__name__") or "unknown"
        file, line = frame.f_code.co_filename, frame.f_lineno
        maker = f"{name} ({file}:{line})"
        instead = _INSTEAD.get(name.partition(".")[0]) or _default_advice(by_runner)
    message = f"a foreign event loop runs, {kind}; it is run by {maker}; for fastaio's: {instead}"
    try:
        warnings.warn_explicit(message, RuntimeWarning, file, line)
    except RuntimeWarning:  # by "-W error": raising here would leave the loop half started
        logger.error(message)


def _default_advice(by_runner: bool) -> str:
    from ..policy import is_installed  # which imports this package

    if not is_installed():
        return _BY_POLICY
    return _BY_RUNNER if by_runner else _BY_HAND


def _find_maker(package: str) -> tuple[FrameType | None, bool]:
    """Return the innermost frame that is the program's, and whether it calls asyncio.Runner."""
    frame: FrameType | None = sys._getframe()
    by_runner = False
    while frame is not None:
        name = frame.f_globals.get("__name__") or ""
        if name == "asyncio.runners":
            by_runner = True
        elif name.partition(".")[0] not in {*_BETWEEN, package} and name not in _BETWEEN_MODULES:
            break
        frame = frame.f_back
    return frame, by_runner

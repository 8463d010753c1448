"""Which poller a loop uses: the argument, else the environment, else what is there."""

import os

__all__ = ("ENVIRONMENT_VARIABLE", "choose")

ENVIRONMENT_VARIABLE = "FASTAIO_BACKEND"


def choose(backend: str = "auto") -> str:
    """The name of the backend for ``backend``: "epoll", or "auto" for the best that there is.

    With "auto" the environment variable FASTAIO_BACKEND decides, if it is set.
    """
    asked_by = "backend"
    if backend == "auto":
        backend = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
        asked_by = ENVIRONMENT_VARIABLE
    if backend in ("auto", "epoll"):
        return "epoll"
    if backend == "io_uring":
        raise NotImplementedError(
            f"{asked_by}='io_uring': this build of fastaio has no io_uring backend yet, "
            "use 'auto' or 'epoll'"
        )
    raise ValueError(f"{asked_by} must be 'auto', 'epoll' or 'io_uring', not {backend!r}")

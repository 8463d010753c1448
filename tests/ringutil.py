"""Whether this machine has io_uring, and loops that run on it."""

import contextlib

import pytest


def why_no_ring():
    """Why a loop cannot be made on io_uring here; "" where it can."""
    try:
        import fastaio

        fastaio.new_event_loop(backend="io_uring").close()
    except (ImportError, OSError) as exc:
        return str(exc)
    return ""


needs_io_uring = pytest.mark.skipif(bool(why_no_ring()), reason=why_no_ring() or "there is a ring")


@contextlib.contextmanager
def ring_loop():
    """A loop on io_uring, closed at the end."""
    import fastaio

    loop = fastaio.new_event_loop(backend="io_uring")
    try:
        yield loop
    finally:
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

"""The first code of a spawned process: install fastaio as in the parent.

spawn.py has this file run by its path. Before it has run, the child may not find fastaio.
"""

import os
import sys
import warnings

RUN_NAME = "__fastaio_child__"


def enter(path: list[str], variables: dict[str, str]) -> None:
    """Install fastaio, found by the parent's import path, with the parent's FASTAIO_* variables.

    A child of a forkserver has the environment of that server, which may be older. A child that
    cannot import fastaio runs on asyncio, with a warning.
    """
    own_path = sys.path
    sys.path = path
    os.environ.update(variables)
    try:
        import fastaio
    except ImportError as error:  # multiprocessing.set_executable() may name another Python
        text = f"this process runs on asyncio: {sys.executable} cannot import fastaio: {error}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    else:
        fastaio.install()
    finally:
        sys.path = own_path


if __name__ == RUN_NAME:
    enter(**globals()["arguments"])

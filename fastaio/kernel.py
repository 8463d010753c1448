"""``python -m fastaio --install-kernel``: a kernel for Jupyter whose notebooks run on fastaio."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

__all__ = ("install", "specification")

NAME = "fastaio"


def specification(options: list[str]) -> dict[str, object]:
    """Return what kernel.json says; ``options`` are those of ``python -m fastaio``."""
    launch = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return {
        "argv": [sys.executable, "-m", "fastaio", *options, *launch],
        "display_name": "Python 3 (fastaio)",
        "language": "python",
        "metadata": {"debugger": True},
    }


def install(options: list[str]) -> str:
    """Install the kernel, in this virtual environment or else for this user; return a sentence.

    JUPYTER_DATA_DIR in the environment names another place, as it does for Jupyter itself.
    ImportError if ipykernel or jupyter_client is missing.
    """
    try:
        import_module("ipykernel")
        manager = import_module("jupyter_client.kernelspec").KernelSpecManager()
    except ImportError as error:
        raise ImportError(
            f"a kernel for Jupyter needs ipykernel, in the environment of {sys.executable}: {error}"
        ) from error
    in_venv = sys.prefix != sys.base_prefix and "JUPYTER_DATA_DIR" not in os.environ
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "kernel.json").write_text(json.dumps(specification(options), indent=1) + "\n")
        place = manager.install_kernel_spec(
            folder, NAME, user=not in_venv, prefix=sys.prefix if in_venv else None
        )
    return f"installed the kernel {NAME} in {place}"

"""Processes that multiprocessing starts by "spawn" or "forkserver" begin without a policy.

multiprocessing sends each of them a pickle of what it has to prepare. fastaio adds one item. When
the child reads that item, it runs child.py, before it imports the program's main module.
"""

from __future__ import annotations

import os
import runpy
from typing import Any

from . import child
from .imports import Hook
from .patches import Patches

__all__ = ("ENVIRONMENT_VARIABLE", "hooks")

ENVIRONMENT_VARIABLE = "FASTAIO_INSTALL"


class _Entry:
    """In the pickle: a call of child.enter(), by the path of its file."""

    def __init__(self, path: list[str]) -> None:
        variables = {k: v for k, v in os.environ.items() if k.startswith("FASTAIO_")}
        self._arguments = {"path": path, "variables": variables}

    def __reduce__(self) -> tuple[Any, ...]:
        return runpy.run_path, (child.__file__, {"arguments": self._arguments}, child.RUN_NAME)


def hooks(patches: Patches) -> dict[str, Hook]:
    """Return what to call with which module."""
    return {"multiprocessing.spawn": lambda module: _patch(patches, module)}


def _patch(patches: Patches, module: Any) -> None:
    get_preparation_data = module.get_preparation_data

    def get_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = get_preparation_data(name)
        if os.environ.get(ENVIRONMENT_VARIABLE) == "1":
            data["fastaio"] = _Entry(data["sys_path"])
        return data

    patches.set(module, "get_preparation_data", get_data)

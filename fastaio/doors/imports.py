"""Functions that are called with a module once it is imported: now, if it is imported already."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ("Hook", "ImportHooks")

Hook = Callable[[Any], None]


class ImportHooks(importlib.abc.MetaPathFinder):
    """A finder that leaves finding to the others, and calls a hook behind a module's execution."""

    def __init__(self) -> None:
        self._hooks: dict[str, Hook] = {}

    @property
    def are_set(self) -> bool:
        """True between set() and remove()."""
        return self in sys.meta_path

    def set(self, hooks: Mapping[str, Hook]) -> None:
        """Call each hook with the module of this name: now or once it is imported."""
        self._hooks = dict(hooks)
        sys.meta_path.insert(0, self)
        for name in hooks:
            if (module := sys.modules.get(name)) is not None:
                self._call(module)

    def remove(self) -> None:
        """Forget the hooks that have not been called."""
        self._hooks.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find the module as the other finders do; its hook is called when it has been executed."""
        if fullname not in self._hooks:
            return None
        spec = self._find_by_others(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._call(module)

            # The loader belongs to this one module. Its class stays what it is.
            vars(spec.loader)["exec_module"] = exec_module
        return spec

    def _find_by_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None

    def _call(self, module: ModuleType) -> None:
        hook = self._hooks.pop(module.__name__, None)
        if hook is not None:
            hook(module)

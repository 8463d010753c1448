"""Attributes that are replaced and given back."""

from __future__ import annotations

from typing import Any

__all__ = ("Patches",)

_MISSING: Any = object()


class Patches:
    """Replaced attributes of modules and classes, in the order of their replacement."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute of ``owner``; an inherited one is hidden."""
        self._replaced.append((owner, name, vars(owner).get(name, _MISSING), value))
        setattr(owner, name, value)

    def undo(self) -> None:
        """Give all attributes back, except those that somebody else has replaced since."""
        while self._replaced:
            owner, name, old, new = self._replaced.pop()
            if vars(owner).get(name) is not new:
                continue
            if old is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, old)

"""Says how far a long run is: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_WIDTH = 28


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """Counts steps up to a total."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = max(total, 1)
        self._done = 0
        self._stream = stream or sys.stderr
        self._tty = self._stream.isatty()
        self._begun = time.monotonic()
        self._heading = ""

    def begin(self, heading: str, detail: str) -> None:
        """A step begins; the heading is what plain output has one line for."""
        if self._tty:
            self._draw(f"{heading} {detail}")
        elif heading != self._heading:
            print(f"[{self._done}/{self._total}] {self._times()} {heading}", file=self._stream)
            self._stream.flush()
        self._heading = heading

    def end(self) -> None:
        """The step is done."""
        self._done += 1

    def close(self) -> None:
        """Take the bar away."""
        if self._tty:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._heading = ""

    def _times(self) -> str:
        past = time.monotonic() - self._begun
        if not self._done:
            return clock(past)
        return f"{clock(past)}, {clock(past / self._done * (self._total - self._done))} left"

    def _draw(self, label: str) -> None:
        full = _WIDTH * self._done // self._total
        bar = "#" * full + "." * (_WIDTH - full)
        share = 100 * self._done // self._total
        self._stream.write(f"\r\x1b[K[{bar}] {share:3d}% {self._times()}  {label}"[:160])
        self._stream.flush()

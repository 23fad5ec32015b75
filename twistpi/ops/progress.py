"""How far a long command is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import attrs
import click

_STEPS = 10
"""Plain lines for one thing that is read."""


@attrs.define
class _Bars:
    """A bar for each thing that is read."""

    _stream: TextIO
    _what: str = ""
    _bar: Any = None
    _done: int = 0

    def show(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.finish()
            self._what, self._done = what, 0
            self._bar = click.progressbar(length=max(total, 1), label=f"{what:10}", file=self._stream)
            self._bar.__enter__()
        self._bar.update(done - self._done)
        self._done = done

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)


@attrs.define
class _Lines:
    """A line at each tenth."""

    _stream: TextIO
    _unit: str
    _last: tuple[str, int] = ("", 0)

    def show(self, what: str, done: int, total: int) -> None:
        step = _STEPS * done // max(total, 1)
        if step > 0 and (what, step) != self._last:
            self._last = (what, step)
            click.echo(f"{what}: {100 * step // _STEPS} % of {total} {self._unit}", file=self._stream)

    def finish(self) -> None:
        """Nothing is left open."""


@contextmanager
def show_progress(stream: TextIO, unit: str = "bytes") -> Iterator[Callable[[str, int, int], None]]:
    """A function to tell what is being read, and how many bytes, or of another ``unit``, of how many are done."""
    shown = _Bars(stream) if stream.isatty() else _Lines(stream, unit)
    try:
        yield shown.show
    finally:
        shown.finish()

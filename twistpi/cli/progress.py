"""Progress of long commands: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

import attrs
import click

_STEPS = 10
"""Plain lines for one thing that is read, at most."""
_BETWEEN = 5.0
"""Seconds before the first plain line, and between two: quick work prints nothing."""


class Progress(Protocol):
    """Shows how far a command is."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that so much of ``what`` is done."""

    def say(self, line: str) -> None:
        """Print a line on the standard output."""


@attrs.define
class _Bars:
    """A bar for each thing that is read."""

    _stream: TextIO
    _what: str = ""
    _bar: Any = None
    _done: int = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.finish()
            self._what, self._done = what, 0
            self._bar = click.progressbar(length=max(total, 1), label=f"{what:10}", file=self._stream)
            self._bar.__enter__()
        self._bar.update(done - self._done)
        self._done = done

    def say(self, line: str) -> None:
        self.finish()
        click.echo(line)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._what, self._bar = "", None


@attrs.define
class _Lines:
    """A line at each tenth."""

    _stream: TextIO
    _unit: str
    _seconds: Callable[[], float]
    _told_at: float = attrs.field(init=False)
    _last: tuple[str, int] = ("", 0)

    @_told_at.default
    def _beginning(self) -> float:
        return self._seconds()

    def __call__(self, what: str, done: int, total: int) -> None:
        step = _STEPS * done // max(total, 1)
        if step > 0 and (what, step) != self._last and self._seconds() >= self._told_at + _BETWEEN:
            self._last, self._told_at = (what, step), self._seconds()
            click.echo(f"{what}: {100 * step // _STEPS} % of {f'{total:,} {self._unit}'.rstrip()}", file=self._stream)

    def say(self, line: str) -> None:
        click.echo(line)

    def finish(self) -> None:
        """Nothing is left open."""


@contextmanager
def show_progress(stream: TextIO, unit: str = "", seconds: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """Return what shows progress on a stream, counted in ``unit``; ``seconds`` is a steady clock."""
    shown = _Bars(stream) if stream.isatty() else _Lines(stream, unit, seconds)
    try:
        yield shown
    finally:
        shown.finish()

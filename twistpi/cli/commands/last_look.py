"""``twistpi import --live URL --follow``: waits for Enter or SIGUSR1, and says meanwhile what was taken."""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import click

from twistpi.model.text import counted
from twistpi.transfer.follower import Follower, Look
from twistpi.transfer.live_source import LiveSource
from twistpi.transfer.target import Target

_ONE = {"indexes": "index", "documentation": "documentation"}


def follow_live(source: LiveSource, target: Target, *, to_stderr: bool) -> Look:
    """Import from ``source`` until the last look is due; return that.  ``to_stderr`` leaves the output to a report in JSON."""
    is_first = True

    def report(look: Look | str) -> None:
        nonlocal is_first
        lines = [look] if isinstance(look, str) else list(look.report.lines() if is_first else _summary(look))
        if is_first:
            lines.append(
                f"Following. When the old server takes no more uploads, press Enter here, or type: kill -USR1 {os.getpid()}"
            )
            is_first = False
        for line in lines:
            click.echo(line, err=to_stderr)
        sys.stdout.flush()

    with waiting_for_the_end() as wait:
        last = Follower(source, target, time.monotonic, wait, report).run()
    click.echo(f"Everything up to serial {last.serial} is here; the end took {last.seconds:.1f} seconds.", err=to_stderr)
    return last


@contextmanager
def waiting_for_the_end() -> Iterator[Callable[[float], bool]]:
    """Return what waits so many seconds, or returns True as soon as SIGUSR1 came or a line was typed on a terminal."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    former = signal.signal(signal.SIGUSR1, lambda _number, _frame: os.write(waker, b"!"))
    with closing(selectors.DefaultSelector()) as selector:
        selector.register(woken, selectors.EVENT_READ)
        if sys.stdin.isatty():
            selector.register(sys.stdin, selectors.EVENT_READ)
        try:
            yield lambda seconds: bool(selector.select(seconds))
        finally:
            signal.signal(signal.SIGUSR1, former)
            os.close(woken)
            os.close(waker)


def _summary(look: Look) -> Iterator[str]:
    taken = look.report.taken()
    if taken:
        parts = [counted(count, _ONE.get(kind, kind.removesuffix("s")), kind) for kind, count in taken.items()]
        yield f"serial {look.serial}: {', '.join(parts)}"
    for line in look.report.lines():
        if line.startswith("!"):
            yield line

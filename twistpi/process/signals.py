"""What signals mean: SIGHUP opens files again, a second SIGTERM or SIGINT makes a stop that takes its time a quick one.

What they are for is called in the reactor.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any]


def on_hangup(reactor: Any, reopen: Callable[[], object]) -> None:
    """Have SIGHUP call ``reopen``; one that comes before the reactor runs is heeded when it does."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reopen))


def on_second_stop(reactor: Any, hurry: Callable[[], object]) -> None:
    """Have a second SIGTERM or SIGINT call ``hurry``.

    To be called when the reactor runs, whose own handlers see to the first one.
    """
    stopping = [False]

    def wrap(former: _Handler) -> _Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            if stopping[0]:
                reactor.callFromThread(hurry)
            else:
                stopping[0] = True
                former(number, frame)

        return handle

    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, wrap(handler))

"""What signals mean: SIGHUP opens files again, a second SIGTERM or SIGINT makes a stop that takes its time a quick one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any]


def install(reactor: Any, *, reopen: Callable[[], object], hurry: Callable[[], object]) -> None:
    """Have signals do that; to be called when the reactor runs, whose own handlers see to the first SIGTERM and SIGINT.

    ``reopen`` and ``hurry`` are called in the reactor.
    """
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reopen))
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

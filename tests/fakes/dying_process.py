"""A process that exits without cleaning up before its nth change of a directory, as if it were killed there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CHANGING = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "os.rmdir", "open"}
"""The events of ``sys.addaudithook`` that change a directory."""


def die_after(steps: int, path: Path, work: Callable[[], object], begins: str) -> bool:
    """Do ``work`` in a process of its own that ends after ``steps`` changes below ``path``, before the next; whether it was done.

    The first one counted has ``begins`` in the name of what is changed.
    """
    child = os.fork()
    if child == 0:
        left = steps
        begun = False

        def watch(event: str, arguments: Any) -> None:
            nonlocal left, begun
            if event not in _CHANGING or not str(arguments[0]).startswith(f"{path}/"):
                return
            if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            begun = begun or begins in str(arguments[0])
            left -= begun
            if left < 0:
                os._exit(9)

        sys.addaudithook(watch)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 0

"""``twistpi gc``: removing blobs that nothing names, or telling which they are; ``twistpi.gc`` says why that is safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from twistpi.blobs.tree import ROOT, Tree
from twistpi.gc.garbage import FOLDERS, GRACE, Collected, Garbage, find_garbage
from twistpi.http.blocking import BlockingResponse
from twistpi.model.errors import ServerAnsweredOtherwise
from twistpi.view.read import Reader

PATH: Final = "/+gc"
"""Where a server sweeps when it is asked to."""
Tell = Callable[[Collected], object]
"""Told how far a sweep is."""
_BETWEEN: Final = 0.2
"""Seconds between two looks at what the server does."""


def find_garbage_in(serverdir: str, reader: Reader, now: float, tell: Tell, each: Callable[[Garbage], object]) -> Collected:
    """What a sweep of ``serverdir`` would remove ``now`` (Unix seconds): ``each`` is told of each.  Only reads; blocking."""
    return find_garbage(Tree(serverdir), reader, now - GRACE, tell, each)


def garbage_line(garbage: Garbage) -> str:
    """One line about a blob, for people."""
    return f"{ROOT}/{garbage.address.relative} ({garbage.size:,} bytes)"


def collected_lines(swept: Collected, *, dry_run: bool) -> Iterator[str]:
    """What to say after a sweep."""
    files = "1 file" if swept.removed == 1 else f"{swept.removed:,} files"
    told = f"{files} with {swept.removed_bytes:,} bytes {'has' if swept.removed == 1 else 'have'} no name any more"
    if not swept.removed:
        yield f"Every one of {swept.blobs:,} files is needed." if not swept.young else "There is nothing to remove yet."
    else:
        yield f"{told}; {'nothing was changed' if dry_run else 'removed'}."
    if swept.young:
        those = "1 more was" if swept.young == 1 else f"{swept.young:,} more were"
        yield f"{those} stored in the last hour: what has no name may be getting one, so it stays for now."


def collect_by_server(
    serverdir: str,
    begin: Callable[[], BlockingResponse],
    look: Callable[[], BlockingResponse],
    pause: Callable[[float], object],
    tell: Tell,
) -> Collected:
    """Have the server that runs on ``serverdir`` sweep, and wait for the end.

    ``begin`` asks it to, ``look`` how far it is.  Raises ``ServerAnsweredOtherwise`` when it fails or ends.
    """
    number = _result(serverdir, begin()).get("number")
    while True:
        told = _result(serverdir, look())
        reports = [report for key in ("last", "running") if isinstance(report := told.get(key), dict)]
        for report in reports:
            swept = Collected(**{field.name: report["swept"][field.name] for field in attrs.fields(Collected)})
            if report["ended"] and report["number"] >= number:
                if report["failure"] is not None:
                    raise ServerAnsweredOtherwise(serverdir, report["failure"])
                return swept
            if report["number"] == number:
                tell(swept)
        pause(_BETWEEN)


def _result(serverdir: str, told: BlockingResponse) -> dict[str, Any]:
    result = told.json.get("result")
    if told.status >= 400 or not isinstance(result, dict):
        raise ServerAnsweredOtherwise(serverdir, told.message)
    return result


def progress_of(show: Callable[[str, int, int], object]) -> Tell:
    """Tells ``show`` what it is to show of a sweep."""
    return lambda swept: show("files", swept.folders, FOLDERS)

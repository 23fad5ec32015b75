"""A summary says what all entries before it say: a view that is folded from it cannot be told from one folded from these."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.view.small_world import AT, INDEX, LOG, fold_history, histories
from tests.view.test_view_fold_property import MEMORY, History, folded
from twistpi.changelog.summary import write_summary
from twistpi.changelog.summary_fold import fold_summary
from twistpi.model.changes import (
    Change,
    FileCached,
    LinksChanged,
    LogStarted,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
)
from twistpi.model.peers import Position
from twistpi.model.releases import AttachmentAdded, FileUploaded, ReleaseDescribed
from twistpi.view.database import dump, open_view
from twistpi.view.read_summary import summarise

OF_MIRRORS = (LinksChanged, ProjectVanished, FileCached, MetadataCached, MetadataMissing)
OF_STAGES = (ReleaseDescribed, FileUploaded, AttachmentAdded)
BASE = Position(3, "c" * 64, 4, 0)
STAGE = "alice/mirror"


def possible(history: History) -> History:
    """``history`` without what never happens: uploads to a mirror, and upstreams of a stage."""

    def happens(change: Change) -> bool:
        if isinstance(change, OF_STAGES):
            return change.index != INDEX
        return not isinstance(change, OF_MIRRORS) or change.index == INDEX

    return [tuple(filter(happens, changes)) or (LogStarted(LOG),) for changes in history]


def summarised(view: str, target: str, later: Sequence[tuple[Change, ...]] = (), steps: int = 99) -> Iterator[tuple[Any, ...]]:
    """The dump of the view at ``target`` that begins with a summary of the one at ``view``, and goes on with ``later``.

    The summary is folded in ``steps``, and the rest after the view was opened anew.
    """
    with contextlib.closing(open_view(view, LOG)) as opened:
        base = opened.position
    sha256 = write_summary(target + ".gz", summarise(view, AT))
    seen: list[tuple[int, int]] = []

    def goes_on(done: int, total: int) -> bool:
        seen.append((done, total))
        return len(seen) <= steps  # the first one is of the digest

    with contextlib.closing(open_view(target, LOG)) as opened:
        fold_summary(opened, target + ".gz", base, sha256, goes_on, step=1)
        assert opened.position == base or len(seen) == steps + 1
        assert seen == sorted(seen)
    with contextlib.closing(open_view(target, LOG)) as opened:
        if opened.position != base:
            fold_summary(opened, target + ".gz", base, sha256)
        assert opened.position == base
        fold_history(opened, later)
    return dump(target)


@settings(max_examples=60)
@given(history=histories().map(possible), cut=st.integers(0, 12), steps=st.integers(0, 9))
def test_a_summary_and_what_follows_it_give_what_all_entries_give(history: History, cut: int, steps: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        whole = folded(os.path.join(folder, "whole.sqlite"), history)
        begun = os.path.join(folder, "begun.sqlite")
        folded(begun, history[:cut])
        assert list(summarised(begun, os.path.join(folder, "view.sqlite"), history[cut:], steps)) == whole

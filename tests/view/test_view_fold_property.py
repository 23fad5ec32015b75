"""The property above all: whatever the log says, it does not matter when and in how many parts it was folded."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.view.small_world import AT, LOG, entries, fold_history, frequent_changes, histories, place
from twistpi.model.changes import Change, IndexDeleted, LinksChanged
from twistpi.model.codec import decode_content, encode_content
from twistpi.model.records import Link
from twistpi.model.releases import FileUploaded, ProjectRemoved
from twistpi.rules.mirrors import file_path
from twistpi.view.database import drop_view, dump, open_view

History = list[tuple[Change, ...]]
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Thousands of databases are made here: no disk needs to sync them."""


def folded(path: str, *parts: Sequence[tuple[Change, ...]]) -> list[tuple[Any, ...]]:
    """The dump of a view at ``path`` after each part was folded by a process of its own."""
    for part in parts or [[]]:
        with contextlib.closing(open_view(path, LOG)) as view:
            fold_history(view, part)
    return list(dump(path))


@settings(max_examples=30)
@given(history=histories(), cut=st.integers(0, 12))
def test_in_one_go_in_two_parts_and_after_a_rebuild_is_the_same(history: History, cut: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = os.path.join(folder, "view.sqlite")
        whole = folded(path, history)
        in_parts = folded(os.path.join(folder, "parts.sqlite"), history[:cut], history[cut:])
        drop_view(path)
        assert in_parts == whole
        assert folded(path, *[[changes] for changes in history]) == whole


@settings(max_examples=100)
@given(history=histories() | histories(frequent_changes), cut=st.integers(0, 12))
def test_many_entries_at_once_are_folded_as_one_after_the_other(history: History, cut: int) -> None:
    bodies = [encode_content(AT, "+mirror", changes) for changes in history]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = os.path.join(folder, "many.sqlite")
        with contextlib.closing(open_view(path, LOG)) as view:
            view.begin()
            view.apply_many(1, bodies[:cut])
            view.apply_many(1 + len(bodies[:cut]), bodies[cut:])
            view.commit(place(len(bodies)))
        decoded = [decode_content(body).changes for body in bodies]
        assert list(dump(path)) == folded(os.path.join(folder, "one.sqlite"), decoded)


@settings(max_examples=30)
@given(history=histories(), undone=histories(), cut=st.integers(0, 12))
def test_what_was_rolled_back_leaves_no_trace(history: History, undone: History, cut: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        whole = folded(os.path.join(folder, "whole.sqlite"), history)
        path = os.path.join(folder, "view.sqlite")
        with contextlib.closing(open_view(path, LOG)) as view:
            fold_history(view, history[:cut])
            view.begin()
            for entry in entries(undone, view.position.serial + 1):
                view.apply(entry)
            view.rollback()
            fold_history(view, history[cut:])
        assert list(dump(path)) == whole


def listed_links(history: History) -> list[tuple[str, Link]]:
    """Every link that was ever listed, with its index, since index or project were removed or its name was uploaded last."""
    links: list[tuple[str, str, Link]] = []
    for change in (change for changes in history for change in changes):
        if isinstance(change, IndexDeleted):
            links = [each for each in links if each[0] != change.index]
        elif isinstance(change, ProjectRemoved):
            links = [each for each in links if each[:2] != (change.index, change.project)]
        elif isinstance(change, FileUploaded):
            links = [each for each in links if (*each[:2], each[2].filename) != (change.index, change.project, change.filename)]
        elif isinstance(change, LinksChanged):
            last_words = {link.filename: link for link in (*change.added, *change.changed)}
            links += [(change.index, change.project, link) for link in last_words.values()]
    return [(index, link) for index, _project, link in links]


@settings(max_examples=40)
@given(history=histories())
def test_every_listed_path_leads_to_its_file_names_are_unique_and_what_is_kept_never_contradicts_a_link(history: History) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = os.path.join(folder, "view.sqlite")
        with contextlib.closing(open_view(path, LOG)) as view:
            fold_history(view, history)
            for index, link in listed_links(history):
                found = view.reader.file_by_path(index, file_path(link))
                assert found is not None
                assert (found[1].path, found[1].link.filename) == (file_path(link), link.filename)
            for index in {change.index for changes in history for change in changes if isinstance(change, LinksChanged)}:
                for project in view.reader.projects(index):
                    known = view.reader.project(index, project)
                    assert known is not None
                    assert all(file.link.sha256 in (None, file.sha256) for file in known.files if file.cached)
                    assert all(file.cached for file in known.files if file.vanished)
        connection = sqlite3.connect(path)
        names = Counter(connection.execute("SELECT project, filename FROM file WHERE replaced = 0"))
        paths = Counter(connection.execute("SELECT project, filename, coalesce(path, substr(link_sha256, 1, 16)) FROM file"))
        assert max((*names.values(), *paths.values()), default=1) == 1
        connection.close()

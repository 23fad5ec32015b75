"""What happened to a release."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from twistpi.model.changes import Change, Entry, IndexDeleted
from twistpi.model.codec import encode_content
from twistpi.model.records import KnownFile, Link
from twistpi.model.releases import (
    DOCZIP,
    TOXRESULT,
    Attachment,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    LogLine,
    ProjectMarked,
    ProjectRemoved,
    Release,
    ReleaseRemoved,
    UploadedFile,
)
from twistpi.rules.release_history import MARKS, historical_changes, history_of

DEV = "alice/dev"


def test_the_history_has_every_event_the_newest_first() -> None:
    uploaded = LogLine("upload", "alice", "2026-11-20T10:00:00Z", "alice/dev")
    pushed = LogLine("push", "bob", "2026-11-21T10:00:00Z", "alice/prod", "alice/dev")
    replaced = LogLine("overwrite", None, "2026-11-19T10:00:00Z", "alice/prod", count=2)
    tested = LogLine("upload", None, "2026-11-22T10:00:00Z", "alice/prod")
    again = attrs.evolve(tested, when="2026-11-22T11:00:00Z")
    known = KnownFile(Link("demo-1.0.zip", "https://files.example/demo-1.0.zip"), "+f/x")
    release = Release(
        "alice/prod", "demo", "1.0",
        files=(UploadedFile(known, (replaced, uploaded, pushed)),),
        attachments=(
            Attachment(TOXRESULT, "demo-1.0.zip.toxresult-0", "+f/t", "0" * 64, 1, (tested,), "demo-1.0.zip"),
            Attachment(TOXRESULT, "demo-1.0.zip.toxresult-1", "+f/u", "0" * 64, 1, (again,), "demo-1.0.zip"),
            Attachment(DOCZIP, "demo-1.0.doc.zip", "+f/d", "0" * 64, 1, (uploaded,)),
        ),
    )  # fmt: skip
    assert [(event.who, event.words) for event in history_of(release)] == [
        ("", "uploaded a test result of demo-1.0.zip to alice/prod, 2 times"),
        ("bob", "pushed demo-1.0.zip from alice/dev to alice/prod"),
        ("alice", "uploaded demo-1.0.zip to alice/dev"),
        ("alice", "uploaded the documentation to alice/dev"),
        ("", "demo-1.0.zip was replaced 2 times before"),
    ]


def test_files_that_come_together_are_told_together() -> None:
    def uploaded(number: int, when: str) -> UploadedFile:
        name = f"demo-1.0-{number}-py3-none-any.whl"
        line = LogLine("upload", "alice", f"2026-11-20T10:{when}Z", DEV)
        return UploadedFile(KnownFile(Link(name, f"https://files.example/{name}"), f"+f/{number}"), (line,))

    files = (*(uploaded(number, f"00:{number:02}") for number in range(8)), uploaded(8, "01:30"))
    assert [event.words for event in history_of(Release(DEV, "demo", "1.0", files=files))] == [
        "uploaded demo-1.0-8-py3-none-any.whl to alice/dev",
        f"uploaded {', '.join(f'demo-1.0-{number}-py3-none-any.whl' for number in range(5))} and 3 more to alice/dev",
    ]


def _entry(serial: int, *changes: Change, by: str = "bob") -> Entry:
    return Entry(serial, f"2026-11-22T17:00:{serial:02d}.123456Z", by, changes)


def _words(*entries: Entry, is_visible: Callable[[str], bool] = lambda index: True) -> list[tuple[str, str, str]]:
    chosen = [attrs.evolve(entry, changes=(change,)) for entry in entries for _project, change in historical_changes(entry)]
    return [(event.who, event.words, event.reason) for event in history_of(Release(DEV, "demo", "1.0"), chosen, is_visible)]


def test_the_changelog_tells_of_yanks_removals_and_the_status_of_the_project() -> None:
    wheel, sdist = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"
    assert _words(
        _entry(2, FileYanked(DEV, "demo", wheel, "broken"), FileYanked(DEV, "demo", sdist, "broken")),
        _entry(3, FileYanked(DEV, "demo", wheel, False)),
        _entry(
            4,
            AttachmentRemoved(DEV, "demo", f"+f/ab/{wheel}.toxresult-20261122-0"),
            AttachmentRemoved(DEV, "demo", "x/demo-1.0.doc.zip"),
        ),
        _entry(5, FileRemoved(DEV, "demo", sdist), by="+anonymous"),
        _entry(6, ReleaseRemoved(DEV, "demo", "1.0.0")),
        _entry(7, ProjectMarked(DEV, "demo", "archived", "use other")),
        _entry(8, ProjectRemoved(DEV, "demo")),
    ) == [
        ("bob", "removed the project demo from alice/dev", ""),
        ("bob", "gave the status archived to demo on alice/dev", "use other"),
        ("bob", "removed demo 1.0.0 from alice/dev", ""),
        ("", f"removed {sdist} from alice/dev", ""),
        ("bob", f"removed {wheel}.toxresult-20261122-0, demo-1.0.doc.zip from alice/dev", ""),
        ("bob", f"unyanked {wheel} on alice/dev", ""),
        ("bob", f"yanked {wheel}, {sdist} on alice/dev", "broken"),
    ]  # fmt: skip


def test_other_releases_and_indexes_and_what_the_server_did_itself_are_left_out() -> None:
    assert not _words(
        _entry(2, FileYanked(DEV, "demo", "demo-1.1.tar.gz", True), FileYanked("alice/prod", "demo", "demo-1.0.tar.gz", True)),
        _entry(3, ReleaseRemoved(DEV, "demo", "1.1"), ProjectRemoved("alice/prod", "demo")),
        _entry(4, FileRemoved(DEV, "demo", "demo-1.0.tar.gz"), by="+eviction"),
        _entry(5, AttachmentRemoved(DEV, "demo", "x/demo-1.1.doc.zip")),
    )


def test_a_push_is_told_to_those_who_may_read_its_target() -> None:
    pushed = FileUploaded("alice/prod", "demo", "1.0", "demo-1.0.tar.gz", "0" * 64, 1, pushed_from=DEV)
    assert _words(_entry(2, pushed)) == [("bob", "pushed demo-1.0.tar.gz from alice/dev to alice/prod", "")]
    assert _words(_entry(2, pushed), is_visible=lambda index: index != "alice/prod") == []


def test_what_happened_to_a_deleted_index_is_not_told_of_a_later_one_of_its_name() -> None:
    yanked = FileYanked(DEV, "demo", "demo-1.0.tar.gz", True)
    assert _words(_entry(2, yanked), _entry(3, IndexDeleted(DEV))) == []
    assert len(_words(_entry(2, IndexDeleted(DEV)), _entry(3, yanked))) == 1


def test_each_change_that_is_told_can_be_found_by_its_marks() -> None:
    changes: list[Change] = [
        FileYanked(DEV, "demo", "a", True),
        FileRemoved(DEV, "demo", "a"),
        ReleaseRemoved(DEV, "demo", "1"),
        ProjectRemoved(DEV, "demo"),
        ProjectMarked(DEV, "demo"),
        AttachmentRemoved(DEV, "demo", "a"),
        IndexDeleted(DEV),
        FileUploaded(DEV, "demo", "1.0", "a", "0" * 64, 1, pushed_from="bob/dev"),
    ]
    for change in changes:
        line = encode_content("2026-11-22T17:00:00.123456Z", "bob", [change])
        assert any(mark in line for mark in MARKS)
        assert list(historical_changes(_entry(2, change)))

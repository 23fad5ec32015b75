"""Feeds are read, brought into a set, and looked up."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.advisories.advisory_set import decode, encode, read_set, write_set
from twistpi.advisories.feed_files import FeedReport, read_feed
from twistpi.advisories.store import AdvisoryStore
from twistpi.model.errors import TwistpiError
from twistpi.rules.advisories import Finding
from twistpi.rules.osv import Advisory, Range

BAD = Advisory("hello", "MAL-2026-1", summary="steals keys", ranges=(Range("0"),))
HOLE = Advisory(
    "hello", "GHSA-1", ("CVE-1",), "reads files", "high", "2026-11-01T00:00:00Z", versions=("1.0",), ranges=(Range("2", "3"),)
)
OTHER = Advisory("other", "GHSA-1", severity="low", versions=("1.0",))


def record(identity: str, project: str = "hello", **more: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}]
    affected = {"package": {"ecosystem": "PyPI", "name": project}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": identity, "affected": [affected], **more}


def set_of(folder: Path, advisories: Iterable[Advisory]) -> bytes:
    file = io.BytesIO()
    write_set(advisories, file, str(folder / f"scratch-{len(list(folder.iterdir()))}"))
    return file.getvalue()


def store(folder: Path, *advisories: Advisory) -> AdvisoryStore:
    made, content = AdvisoryStore(str(folder / "advisories.sqlite")), set_of(folder, advisories)
    made.load(io.BytesIO(content), hashlib.sha256(content).hexdigest())
    return made


def advised(found: AdvisoryStore, project: str, version: str) -> list[Finding]:
    return [advisory.finding(version) for advisory in found.of(project) if advisory.affects(version)]


def test_a_set_is_the_same_bytes_in_whatever_order_the_advisories_come(tmp_path: Path) -> None:
    content = set_of(tmp_path, [BAD, OTHER, HOLE])
    assert content == set_of(tmp_path, [OTHER, HOLE, BAD, HOLE])
    assert [advisory for advisory, _line in read_set(io.BytesIO(content))] == [HOLE, BAD, OTHER]


TEXT = st.text(max_size=20)
NAME = st.text(min_size=1, max_size=20)


@given(
    st.builds(
        Advisory, NAME, NAME, st.tuples(TEXT), TEXT, TEXT, TEXT, TEXT, st.tuples(TEXT), st.tuples(st.builds(Range, TEXT, TEXT))
    )
)
def test_a_line_of_a_set_is_what_was_written(advisory: Advisory) -> None:
    assert decode(encode(advisory)) == advisory


def test_what_affects_a_version_is_found(tmp_path: Path) -> None:
    found = store(tmp_path, BAD, HOLE, OTHER)
    assert [one.advisory for one in advised(found, "hello", "1.0")] == ["GHSA-1", "MAL-2026-1"]
    assert [(one.advisory, one.fixed) for one in advised(found, "hello", "2.5") if not one.is_malware] == [("GHSA-1", "3")]
    assert [one.advisory for one in advised(found, "hello", "9")] == ["MAL-2026-1"]
    assert advised(found, "unheard-of", "1.0") == []
    assert list(found.projects()) == ["hello", "other"]
    assert found.count == 3


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        ((BAD, HOLE, OTHER), ()),
        ((BAD, HOLE), ("other",)),
        ((BAD, HOLE, OTHER, attrs.evolve(BAD, project="third")), ("third",)),
        ((BAD, attrs.evolve(HOLE, severity="low"), OTHER), ("hello",)),
    ],
)
def test_a_new_set_tells_of_which_projects_other_advisories_are_known(
    tmp_path: Path, after: Sequence[Advisory], changed: Sequence[str]
) -> None:
    found, content = store(tmp_path, BAD, HOLE, OTHER), set_of(tmp_path, after)
    assert found.load(io.BytesIO(content), "1" * 64) == frozenset(changed)
    assert AdvisoryStore(str(tmp_path / "another")).load(io.BytesIO(content), "1" * 64) is None


def test_a_file_that_is_damaged_meanwhile_stops_nobody(tmp_path: Path) -> None:
    found = store(tmp_path, *(attrs.evolve(BAD, project=f"project{number}") for number in range(2_000)))
    with open(tmp_path / "advisories.sqlite", "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096 * 20)
    assert [*found.of("project1500")] == []
    assert found.digest == "", "so that it is loaded again"


def test_it_is_there_again_after_a_start_and_nothing_is_known_without_it(tmp_path: Path) -> None:
    digest = store(tmp_path, BAD).digest
    again = AdvisoryStore(str(tmp_path / "advisories.sqlite"))
    assert advised(again, "hello", "1.0") == []
    again.open()
    assert (again.digest, len(advised(again, "hello", "1.0"))) == (digest, 1)
    (tmp_path / "advisories.sqlite").write_bytes(b"no database")
    again.open()
    assert (again.digest, advised(again, "hello", "1.0")) == ("", [])


@pytest.mark.parametrize("wrong", [b"", b"no gzip", "cut", "line"])
def test_a_set_that_cannot_be_read_leaves_the_former(tmp_path: Path, wrong: Any) -> None:
    found, content = store(tmp_path, BAD), set_of(tmp_path, [OTHER])
    damaged = content[:-12] if wrong == "cut" else wrong
    if wrong == "line":
        damaged = gzip.compress(gzip.decompress(set_of(tmp_path, [])) + b'{"project": 3}\nx\n')
    with pytest.raises(TwistpiError):
        found.load(io.BytesIO(damaged), "0" * 64)
    assert [one.advisory for one in advised(found, "hello", "1.0")] == ["MAL-2026-1"]
    assert sorted(path.name for path in tmp_path.glob("advisories*")) == ["advisories.sqlite"]


def test_many_threads_look_up_while_a_new_set_is_loaded(tmp_path: Path) -> None:
    found, content = store(tmp_path, BAD), set_of(tmp_path, [BAD, HOLE])
    wrong: list[object] = []

    def look() -> None:
        for _ in range(300):
            names = [one.advisory for one in advised(found, "hello", "1.0")]
            if names not in (["MAL-2026-1"], ["GHSA-1", "MAL-2026-1"]):
                wrong.append(names)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(5):
        found.load(io.BytesIO(content), str(number) * 64)
    for thread in threads:
        thread.join()
    assert wrong == []


def in_folder(folder: Path, records: list[Any]) -> Path:
    for number, one in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(one))
    return folder


def in_zip(folder: Path, records: list[Any]) -> Path:
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for number, one in enumerate(records):
            archive.writestr(f"PyPI/{number}.json", json.dumps(one))
    return folder / "all.zip"


def in_file(folder: Path, text: str) -> Path:
    (folder / "feed.json").write_text(text)
    return folder / "feed.json"


@pytest.mark.parametrize(
    "put",
    [
        in_folder,
        in_zip,
        lambda folder, records: in_file(folder, json.dumps(records)),
        lambda folder, records: in_file(folder, json.dumps(records, indent=1)),
        lambda folder, records: in_file(folder, "\n".join(map(json.dumps, records)) + "\n\n"),
    ],
    ids=["folder", "zip", "list", "indented", "lines"],
)
def test_a_feed_may_be_a_folder_a_zip_or_a_file(tmp_path: Path, put: Any) -> None:
    path, report = (
        put(tmp_path, [record("A-1"), record("A-2", "other"), record("A-3", withdrawn="2026-11-01T00:00:00Z")]),
        FeedReport(),
    )
    assert [(one.id, one.project) for one in read_feed(str(path), report)] == [("A-1", "hello"), ("A-2", "other")]
    assert (report.records, report.refused) == (3, 0)


def test_what_is_no_record_is_counted_and_passed_over(tmp_path: Path) -> None:
    path, report = in_folder(tmp_path, [record("A-1"), {"no": "id"}, 7]), FeedReport()
    (tmp_path / "x.json").write_text("{")
    assert [one.id for one in read_feed(str(path), report)] == ["A-1"]
    assert (report.records, report.refused, report.first_refusal) == (1, 3, "1.json: it is no JSON object with an id")


def test_one_record_alone_is_a_feed(tmp_path: Path) -> None:
    assert [one.id for one in read_feed(str(in_file(tmp_path, json.dumps(record("A-1"), indent=2))), FeedReport())] == ["A-1"]


@pytest.mark.parametrize("content", ["", "<html>", "{}", "[]"])
def test_what_holds_no_record_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(TwistpiError, match="has no advisory"):
        list(read_feed(str(in_file(tmp_path, content)), FeedReport()))


def test_a_feed_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TwistpiError, match="cannot be read"):
        list(read_feed(str(tmp_path / "missing.zip"), FeedReport()))

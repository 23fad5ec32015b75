"""Where a project is, and which private releases require it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from twistpi.inventory.uses import Dependent, Uses, find_uses, parse_subject
from twistpi.model.changes import Change, Entry, FileCached, IndexCreated, LinksChanged
from twistpi.model.errors import BadRequest
from twistpi.model.peers import Position
from twistpi.model.records import Link
from twistpi.model.releases import FileUploaded, ReleaseDescribed
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.download_tables import add_rows
from twistpi.statistics.downloads import Downloads
from twistpi.view.database import ViewDatabase, open_view


def link(filename: str) -> Link:
    return Link(filename, f"https://files.example/{filename}", {"sha256": f"{len(filename):02x}" * 32}, 30)


def apply(view: ViewDatabase, *changes: Change, by: str = "ann") -> None:
    serial = view.position.serial + 1
    view.begin()
    view.apply(Entry(serial, "2026-11-22T17:00:00.000000Z", by, changes))
    view.commit(Position(serial, f"{serial:064x}", 1, serial))


def release(
    project: str, version: str, required: Any, index: str = "ann/dev", pushed_from: str | None = None
) -> Sequence[Change]:
    described = {"name": project, "version": version, "requires_dist": required, "description": "It says hello, too."}
    filename = f"{project}-{version}.tar.gz"
    return (
        ReleaseDescribed(index, project, version, described),
        FileUploaded(index, project, version, filename, f"{len(filename):02x}" * 32, 20, pushed_from=pushed_from),
    )


@pytest.fixture
def view(tmp_path: Path) -> Iterator[ViewDatabase]:
    """A mirror with four files of ``hello``, two of them here, and two private indexes."""
    names = ["hello-1.0.tar.gz", "hello-1.0-py3-none-any.whl", "hello-2.0.tar.gz", "hello-odd.zip"]
    with closing(open_view(str(tmp_path / "view.sqlite"), "1" * 32)) as view:
        apply(
            view,
            IndexCreated("root/pypi", {"type": "mirror"}),
            IndexCreated("ann/dev", {"type": "stage"}),
            IndexCreated("bob/closed", {"type": "stage"}),
            LinksChanged("root/pypi", "hello", added=tuple(link(name) for name in names), versions_added=("1.0", "2.0")),
            FileCached("root/pypi", "hello", "hello-1.0.tar.gz", "10" * 32, 31),
            FileCached("root/pypi", "hello", "hello-odd.zip", "0d" * 32, 33),
        )
        apply(view, *release("hello", "3.0", [], "bob/closed"), by="bob")
        yield view


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    """What was downloaded, of files that are here and of one that is gone."""
    file = StatisticsFile(str(tmp_path / "statistics.sqlite"))
    counts = {"hello-1.0.tar.gz": 3, "hello-0.9.tar.gz": 4}
    rows = [("root/pypi", "hello", name, "pip", "24.0", "3.12", number) for name, number in counts.items()]
    file.write(lambda connection: add_rows(connection, "2026-11-20", rows))
    return Downloads(file)


def uses(view: ViewDatabase, downloads: Downloads, text: str, *unreadable: str) -> Uses:
    return find_uses(view.reader, downloads, parse_subject(text), lambda name: name not in unreadable)


def requiring(view: ViewDatabase, text: str) -> list[str]:
    return [f"{one.project} {one.version}" for one in uses(view, Downloads(), text).dependents]


def test_each_index_says_what_is_here_what_more_is_listed_and_how_often_it_was_downloaded(
    view: ViewDatabase, downloads: Downloads
) -> None:
    closed, mirror = uses(view, downloads, "Hello").indexes
    assert (mirror.index, mirror.is_mirror, mirror.not_here, mirror.downloads) == ("root/pypi", True, 2, 7)
    here = [(file.filename, file.version, file.size, file.downloads) for file in mirror.files]
    assert here == [("hello-1.0.tar.gz", "1.0", 31, 3), ("hello-odd.zip", "odd", 33, 0)]
    (own,) = closed.files
    assert (own.filename, own.uploaded_by, own.uploaded_at) == ("hello-3.0.tar.gz", "bob", "2026-11-22T17:00:00Z")


@pytest.mark.parametrize(
    ("text", "files", "not_here", "number"),
    [
        ("hello==1.0", ["hello-1.0.tar.gz"], 1, 3),
        ("hello==1.0.0", ["hello-1.0.tar.gz"], 1, 3),
        ("hello<1", [], 0, 4),
        ("hello>=2,<3", [], 1, 0),
        ("hello==9", [], 0, 0),
    ],
)
def test_with_specifiers_only_those_versions_count(
    view: ViewDatabase, downloads: Downloads, text: str, files: list[str], not_here: int, number: int
) -> None:
    found = uses(view, downloads, text)
    mirrors = [one for one in found.indexes if one.is_mirror]
    assert [file.filename for one in mirrors for file in one.files] == files
    assert sum(one.not_here for one in mirrors) == not_here
    assert found.downloads == number


def test_of_what_one_may_not_read_nothing_is_shown(view: ViewDatabase, downloads: Downloads) -> None:
    apply(view, *release("needy", "1", ["hello"], "bob/closed"))
    found = uses(view, downloads, "hello", "bob/closed")
    assert [one.index for one in found.indexes] == ["root/pypi"]
    assert found.dependents == ()


def test_private_releases_that_require_a_project_are_found_however_they_spell_it(view: ViewDatabase) -> None:
    apply(view, *release("app", "1", ["other", "Big.Tool[cli]>=1; extra == 'docs'"]))
    apply(view, *release("app", "2", ["big__tool"]), *release("lib", "1", ["big-tools", "bigtool", "my-big-tool"]))
    assert uses(view, Downloads(), "big_tool").dependents == (
        Dependent("ann/dev", "app", "1", "Big.Tool[cli]>=1; extra == 'docs'", ("cli",), 'extra == "docs"'),
        Dependent("ann/dev", "app", "2", "big__tool", (), ""),
    )


def test_only_releases_that_admit_the_version_are_told(view: ViewDatabase) -> None:
    apply(view, *release("old", "1", ["hello<2"]), *release("new", "1", ["hello>=2"]), *release("odd", "1", ["hello>=1.*"]))
    assert requiring(view, "hello") == ["new 1", "odd 1", "old 1"]
    assert requiring(view, "hello==1.0") == ["odd 1", "old 1"]
    assert requiring(view, "hello>1.5,<2.5") == ["new 1", "odd 1"], "of which 2.0 is known here"
    assert requiring(view, "hello==1.7") == ["odd 1", "old 1"], "also where the version is nowhere here"
    assert requiring(view, "hello>50") == ["new 1", "odd 1", "old 1"], "all where no such version is known"


def test_a_description_that_names_a_project_requires_nothing(view: ViewDatabase) -> None:
    apply(view, *release("story", "1", ["other"]), *release("plain", "1", []))
    assert requiring(view, "hello") == []


def test_who_pushed_a_file_and_from_where_is_told(view: ViewDatabase) -> None:
    apply(view, *release("tool", "1", [], pushed_from="ann/test"))
    (index,) = uses(view, Downloads(), "tool").indexes
    assert [(file.uploaded_by, file.pushed_from) for file in index.files] == [("ann", "ann/test")]


@pytest.mark.parametrize("text", ["", "hello*", "hello==", "../x", "hello world", "hello; extra == 'x'"])
def test_what_names_no_single_project_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_subject(text)

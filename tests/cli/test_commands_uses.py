"""The command that tells where a project is, on a server directory that no server has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import run, write
from twistpi.model.changes import FileCached, LinksChanged
from twistpi.model.records import Link
from twistpi.model.releases import FileUploaded, ReleaseDescribed
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.download_tables import add_rows


@pytest.fixture
def filled(made: Path) -> Path:
    """A mirror with ``hello``, and private releases that require it."""
    links = [Link(name, f"https://files.example/{name}", {"sha256": "ab" * 32}, 3) for name in ("hello-1.tar.gz", "hello-2.zip")]
    described = [
        ReleaseDescribed("carol/dev", "app", str(version), {"name": "app", "requires_dist": ["hello>=1"]})
        for version in range(1, 26)
    ]
    write(
        made,
        LinksChanged("root/pypi", "hello", added=tuple(links)),
        FileCached("root/pypi", "hello", "hello-1.tar.gz", "ab" * 32, 2048),
        *described,
        FileUploaded("carol/dev", "app", "1", "app-1.tar.gz", "cd" * 32, 1536),
    )
    rows = [("root/pypi", "hello", "hello-1.tar.gz", "uv", "0.9", "3.13", 5)]
    StatisticsFile(str(made / "statistics.sqlite")).write(lambda connection: add_rows(connection, "2026-11-20", rows))
    return made


def test_people_are_told_where_a_project_is_and_what_requires_it(filled: Path) -> None:
    done = run(filled, "uses", "Hello")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "root/pypi (mirror): 1 file here, 2 KiB, 1 more listed by the upstream, 5 downloads",
        "  hello-1.tar.gz  2 KiB, 5 downloads",
        "25 private releases require hello:",
        f"  carol/dev  app 5 older ones and {', '.join(map(str, range(6, 26)))}: hello>=1",
    ]


def test_who_uploaded_a_private_file_is_told(filled: Path) -> None:
    (index,) = json.loads(run(filled, "uses", "--json", "app==1").output)["indexes"]
    assert run(filled, "uses", "app==1").output.splitlines() == [
        "carol/dev (private): 1 file here, 1.5 KiB, 0 downloads",
        f"  app-1.tar.gz  1.5 KiB, 0 downloads, root {index['files'][0]['uploaded_at']}",
        "No private release requires app==1.",
    ]


def test_programs_get_everything_as_json(filled: Path) -> None:
    told = json.loads(run(filled, "uses", "--json", "hello<2").output)
    assert (told["project"], told["requirement"], told["downloads"]) == ("hello", "hello<2", 5)
    (index,) = told["indexes"]
    assert (index["index"], index["type"], index["not_here"]) == ("root/pypi", "mirror", 0)
    assert index["files"][0]["filename"] == "hello-1.tar.gz"
    assert len(told["dependents"]) == 25


def test_a_project_that_is_nowhere_is_told_and_one_that_cannot_be_read_is_refused(made: Path) -> None:
    assert run(made, "uses", "nowhere").output == "No index here has nowhere.\nNo private release requires nowhere.\n"
    done = run(made, "uses", "hello*")
    assert done.exit_code == 1
    assert "names more than one project" in done.output

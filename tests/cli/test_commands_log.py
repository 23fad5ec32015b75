"""Which entries ``twistpi log`` selects, and what it shows people."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from tests.cli.commands import run, write
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.reader import segment_path
from twistpi.cli.log_entries import Start, Wanted, entries
from twistpi.model.changes import Change, IndexCreated, LinksChanged, ProjectVanished, UserCreated
from twistpi.model.codec import encode_content

MIRROR = "root/pypi"

ADDRESS = "https://me:secret@upstream.example/simple/"


def test_people_are_shown_no_login_of_an_upstream_and_programs_get_the_entry_as_it_is(made: Path) -> None:
    write(made, IndexCreated("root/other", {"type": "mirror", "mirror_url": ADDRESS}))
    told = run(made, "log").stdout
    assert "secret" not in told
    assert "https://***@upstream.example/simple/" in told
    (change,) = json.loads(run(made, "log", "--json").stdout.splitlines()[-1])["changes"]
    assert change["config"]["mirror_url"] == ADDRESS


@pytest.fixture
def history(made: Path) -> Path:
    """Serials from 3 on, none older than those before: entries at 17:00, 18:00 … of alice and of ``+mirror`` in turn."""
    log = FileChangelog.open(str(made / "changelog"), Disk())
    changed: list[list[Change]] = [
        [LinksChanged(MIRROR, "flask")],
        [IndexCreated("alice/dev", {"type": "stage"}), UserCreated("bob")],
        [LinksChanged(MIRROR, "my-pkg"), LinksChanged(MIRROR, "flask")],
        [ProjectVanished(MIRROR, "flask")],
    ]
    for number, changes in enumerate(changed):
        body = encode_content(f"2126-11-23T{17 + number}:00:00.000000Z", "alice" if number == 1 else "+mirror", changes)
        log.append([body], log.last.serial)
    log.close()
    return made


def _serials(path: Path, *words: str) -> list[int]:
    result = run(path, "log", "--json", *words)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["serial"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "serials"),
    [
        ("", [1, 2, 3, 4, 5, 6]),
        ("--after 4", [5, 6]),
        ("--after 7", []),
        ("--last 2", [5, 6]),
        ("--since 2126-11-23T18:00", [4, 5, 6]),
        ("--since 2126-11-23T19:00:00.000001+01:00", [5, 6]),
        ("--since 2126-11-23 --after 5", [6]),
        ("--since 2126-11-23T20:30", []),
        ("--project My_Pkg", [5]),
        ("--project flask --kind linkschanged", [3, 5]),
        ("--project flask --kind LinksChanged --last 1", [5]),
        ("--kind ProjectVanished --kind UserCreated --after 2", [4, 6]),
        ("--index alice/dev", [4]),
        ("--index alice/dev --kind UserCreated", []),
        ("--user +mirror --user root --after 1", [2, 3, 5, 6]),
        ("--user +mirror --last 2 --after 5", [6]),
    ],
)
def test_entries_are_selected(history: Path, words: str, serials: list[int]) -> None:
    assert _serials(history, *words.split()) == serials


def test_a_time_or_kind_that_does_not_exist_is_refused(made: Path) -> None:
    for words in (["--since", "yesterday"], ["--since", "0001-01-01T00:00+02:00"], ["--kind", "FileUplaoded"], ["--last", "0"]):
        assert run(made, "log", *words).exit_code == 2


def test_what_is_before_the_place_to_begin_is_not_read(history: Path) -> None:
    path = segment_path(str(history / "changelog"), 1)
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"damaged")
    assert _serials(history, "--after", "4") == _serials(history, "--last", "2") == [5, 6]
    assert "serial 1" in run(history, "log").output


@pytest.mark.parametrize(("start", "serials"), [(Start(), [7]), (Start(newest=1), [6, 7]), (Start(after=4), [5, 6, 7])])
def test_who_follows_the_log_and_says_no_place_sees_new_entries_alone(history: Path, start: Start, serials: list[int]) -> None:
    directory = str(history / "changelog")
    followed = entries(directory, start.find(directory, Wanted(), follow=True), lambda: write(history, UserCreated("carla")))
    assert [line.serial for line in islice(followed, len(serials))] == serials

"""The command that explains which index answers, on a server directory that no server has."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from tests.cli.commands import run, write
from twistpi.model.changes import IndexCreated, IndexModified, LinksChanged
from twistpi.model.records import Link
from twistpi.model.releases import FileRemoved, FileUploaded, ReleaseDescribed

OLD = "2026-01-01T00:00:00Z"


def link(filename: str) -> Link:
    return Link(filename, f"https://files.example/{filename}", {"sha256": "ab" * 32}, 3)


@pytest.fixture
def family(made: Path) -> Path:
    """``carol/top`` inherits from ``carol/dev`` and from a mirror; both have six, and the mirror something more."""
    write(
        made,
        IndexCreated("carol/top", {"type": "stage", "bases": ["carol/dev", "root/pypi", "carol/none"]}),
        LinksChanged("carol/dev", "six", added=(link("six-1.0.tar.gz"),)),
        LinksChanged("root/pypi", "six", added=(link("six-1.0.tar.gz"), link("six-9.0.tar.gz"))),
        LinksChanged("root/pypi", "many", added=tuple(link(f"many-{number}.tar.gz") for number in range(25))),
    )
    return made


def test_a_private_name_hides_the_mirrors_and_that_is_told(family: Path) -> None:
    told = run(family, "explain", "carol/top", "Six").output.splitlines()
    assert told[0] == "carol/top: six comes from carol/dev"
    assert told[1:3] == [
        "six installs 1.0 (six-1.0.tar.gz of carol/dev).",
        "  not 9.0: a private index has or reserves the name, so that mirrors do not answer",
    ]
    assert "do not answer, because carol/dev has six and no mirror_whitelist allows it" in told[3]
    assert "devpi index carol/top mirror_whitelist+=six" in told[3]
    assert told[4] == "Note: carol/top names the base carol/none, which does not exist."
    assert told[5:] == [
        " 1. stage   carol/top  has no such project",
        " 2. stage   carol/dev  answers",
        "      six-1.0.tar.gz",
        " 3. mirror  root/pypi  is hidden by the whitelist rule: carol/dev has the project",
        "      six-9.0.tar.gz  not offered: silenced",
        "      six-1.0.tar.gz  not offered: silenced",
    ]


def test_a_name_that_is_private_no_more_or_for_good_is_explained(family: Path) -> None:
    write(
        family,
        ReleaseDescribed("carol/dev", "own", "1", {"name": "own", "version": "1"}),
        FileUploaded("carol/dev", "own", "1", "own-1.tar.gz", "0" * 64, 1),
    )
    write(family, FileRemoved("carol/dev", "own", "own-1.tar.gz"))
    told = run(family, "explain", "carol/top", "own").output
    assert "may answer, because no private index has own" in told
    assert "Note: carol/dev had own until it was removed; to keep it private: devpi index carol/dev reserved+=own" in told
    write(family, IndexModified("carol/dev", {"reserved": ["o*"]}))
    told = run(family, "explain", "carol/top", "own").output
    assert "never answer, because the key reserved of carol/dev names own" in told
    assert "root/pypi  is hidden by the whitelist rule: carol/dev reserves the name" in told
    assert "until it was removed" not in told


def test_a_whitelisted_name_is_explained_file_by_file_and_for_one_version(family: Path) -> None:
    bases = ["carol/dev", "root/pypi"]
    write(family, IndexCreated("carol/open", {"type": "stage", "bases": bases, "mirror_whitelist": ["six"]}))
    told = run(family, "explain", "carol/open", "six").output
    assert told.startswith("carol/open: six comes from carol/dev and root/pypi\n")
    assert "because the mirror_whitelist allows six at carol/open" in told
    assert "six-1.0.tar.gz  hidden: carol/dev has a file of this name and is nearer" in told
    told = run(family, "explain", "carol/open", "six", "9").output
    assert told.startswith("carol/open: six 9 comes from root/pypi\n")
    assert "carol/dev   has the project, but not this version" in told
    assert "six-1.0" not in told


def test_the_newest_files_are_shown_unless_a_version_is_named(family: Path) -> None:
    told = run(family, "explain", "root/pypi", "many").output.splitlines()
    newest = [f"      many-{number}.tar.gz" for number in range(24, 14, -1)]
    assert told[-11:] == [*newest, "      and 15 older files; name a version to see those of it"]


def test_that_nobody_asked_the_upstream_is_told(family: Path) -> None:
    told = run(family, "explain", "carol/top", "unheard-of").output
    assert told.startswith("carol/top: it cannot be told now whether unheard-of exists\n")
    assert "nothing of the project is known here yet; --fetch has the server ask its upstream" in told
    told = run(family, "explain", "carol/top", "unheard-of", "--fetch").output
    assert "root/pypi  cannot tell: no server runs here that could ask its upstream" in told
    assert "no index has unheard-of" in run(family, "explain", "carol/dev", "unheard-of").output


def test_programs_get_every_file_as_json(family: Path) -> None:
    told = json.loads(run(family, "explain", "--json", "carol/top", "six").output)
    assert told["answering"] == ["carol/dev"]
    assert told["mirrors"] == {"allowed": False, "private": "carol/dev", "whitelisted": None, "reserved": None}
    assert told["missing-bases"] == [{"index": "carol/top", "base": "carol/none"}]
    assert [(index["index"], index["type"], index["verdict"]) for index in told["indexes"]] == [
        ("carol/top", "stage", "absent"),
        ("carol/dev", "stage", "answers"),
        ("root/pypi", "mirror", "silenced"),
    ]
    assert told["indexes"][2]["files"][0] == {"filename": "six-9.0.tar.gz", "hidden-by": None, "withheld": "silenced"}
    assert len(json.loads(run(family, "explain", "--json", "root/pypi", "many").output)["indexes"][0]["files"]) == 25


def test_each_newer_version_is_told_with_the_rule_that_keeps_it_away(family: Path) -> None:
    young = attrs.evolve(link("nine-4.0.tar.gz"), upload_time="2026-01-01T00:00:00Z")
    wheel = link("nine-2.0-cp313-cp313-manylinux_2_17_x86_64.whl")
    named = ("nine-1.0.tar.gz", "nine-3.0.tar.gz", "nine-5.0rc1.tar.gz")
    yanked = attrs.evolve(link("nine-3.5.tar.gz"), yanked="it breaks")
    write(
        family,
        LinksChanged(
            "root/pypi", "nine", added=(young, wheel, yanked, *(attrs.evolve(link(one), upload_time=OLD) for one in named))
        ),
        IndexModified("root/pypi", {"min_release_age": 3600 * 24 * 3650, "min_release_age_exempt": ["nine<4", "nine>4"]}),
        IndexModified("carol/top", {"quarantined": ["nine==3.0 it steals"], "policy_mode": "enforce"}),
    )
    at = ("--python", "3.12", "--platform", "linux-x86_64")
    told = run(family, "explain", "carol/top", "nine", *at).output.splitlines()
    assert told[0] == "carol/top: nine comes from root/pypi"
    assert told[1] == "nine for Python 3.12 on linux-x86_64 installs 1.0 (nine-1.0.tar.gz of root/pypi)."
    assert told[2] == "  not 5.0rc1: it is a pre-release, which has to be asked for"
    assert told[3].startswith(
        "  not 4.0: min_release_age of root/pypi: it was uploaded less than 3650 days ago; until 2035-12-30 00:00:00 UTC."
    )
    assert told[4] == "  not 3.5: it is yanked: it breaks"
    assert told[5].startswith(
        "  not 3.0: quarantined of carol/top: nine==3.0 is in quarantine, it steals. Who administers carol/top can"
    )
    assert told[6] == "  not 2.0: it has no file for Python 3.12 on linux-x86_64"
    fields = json.loads(run(family, "explain", "--json", "carol/top", "nine>=2,<5", *at).output)
    assert (fields["would-install"], len(fields["passed-over"])) == (None, 4)
    assert fields["passed-over"][0]["refusal"]["until"] == "2035-12-30 00:00:00 UTC"
    assert json.loads(run(family, "explain", "--json", "carol/top", "nine", "3.5").output)["would-install"] == "3.5"


def test_that_nothing_known_meets_a_requirement_is_told(family: Path) -> None:
    told = run(family, "explain", "root/pypi", "many==99").output.splitlines()
    assert told[1] == "many==99 installs nothing: no version that is known here meets it."


def test_a_project_of_which_no_file_is_offered_is_not_called_unknown(family: Path) -> None:
    write(family, IndexModified("root/pypi", {"deny": ["many"]}))
    assert run(family, "explain", "root/pypi", "many").output.startswith("root/pypi: no index offers a file of many\n")


def test_what_an_allow_list_does_not_name_is_not_asked_for_and_that_is_told(family: Path) -> None:
    write(family, IndexModified("root/pypi", {"allow": ["other"]}))
    told = run(family, "explain", "root/pypi", "many", "--fetch").output
    assert "root/pypi  is not asked, because an allow list does not name the project: root/pypi" in told


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["carol/none2", "six"], "carol/none2 could not be found"),
        (["carol", "six"], "is not an index"),
        (["carol/dev", "../six"], "is not a project name"),
        (["carol/dev", "six*"], "names more than one project"),
        (["carol/dev", "six", "--python", "3.12"], "--python and --platform belong together"),
        (["carol/dev", "six", "--python", "3.12", "--platform", "amiga-m68k"], "is no platform that is known here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_explained_is_refused(family: Path, words: list[str], reason: str) -> None:
    done = run(family, "explain", *words)
    assert done.exit_code == 1
    assert reason in done.output

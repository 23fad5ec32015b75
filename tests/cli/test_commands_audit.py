"""The command that tells which versions an advisory affects, on a server directory that no server has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import run, write
from tests.inventory.advisories import MALWARE, store_of
from twistpi.model.changes import FileCached, IndexCreated, LinksChanged
from twistpi.model.records import Link


@pytest.fixture
def filled(made: Path) -> Path:
    """A mirror with a file of ``hello`` that an advisory affects, and a private index that inherits from it."""
    store, accepted = store_of(made)
    store.close()
    link = Link("hello-1.0.tar.gz", "https://files.example/", {"sha256": "ab" * 32})
    write(
        made,
        accepted,
        IndexCreated("carol/top", {"type": "stage", "bases": ["root/pypi"]}),
        LinksChanged("root/pypi", "hello", added=(link,)),
        FileCached("root/pypi", "hello", "hello-1.0.tar.gz", "ab" * 32, 2048),
    )
    return made


def test_people_are_told_what_is_affected_and_how_to_get_rid_of_it(filled: Path) -> None:
    done = run(filled, "audit")
    assert done.exit_code == 0
    accepted = json.loads(run(filled, "audit", "--json").stdout)["advisories"]["accepted"]
    assert done.output.splitlines() == [
        f"1 version here is affected (4 advisories of https://osv.example/, accepted {accepted}).",
        "hello 1.0 on root/pypi: high, 0 downloads",
        "  GHSA-1 (high, fixed in 2.0): it leaks",
    ]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--fail-on", "high"], 1),
        (["--fail-on", "any", "--index", "carol/top"], 1),
        (["--fail-on", "critical"], 0),
        (["--fail-on", "malware"], 0),
        (["--fail-on", "any", "--index", "carol/dev"], 0),
    ],
)
def test_the_exit_status_is_for_continuous_integration(filled: Path, words: list[str], status: int) -> None:
    done = run(filled, "audit", *words)
    assert done.exit_code == status
    assert ("with findings for --fail-on" in done.stderr) == (status == 1)


def test_programs_get_json_or_csv_and_nothing_else_on_the_standard_output(filled: Path) -> None:
    told = json.loads(run(filled, "audit", "--json", "--fail-on", "low").stdout)
    assert told["advisories"]["count"] == 4
    assert [(one["index"], one["project"], one["version"]) for one in told["affected"]] == [("root/pypi", "hello", "1.0")]
    table = run(filled, "audit", "--csv", "--fail-on", "low").stdout.splitlines()
    assert table[1].startswith("root/pypi,hello,1.0,1,0,GHSA-1,no,high,2.0,")


def test_where_nothing_is_known_the_command_fails_instead_of_finding_nothing(made: Path, filled: Path) -> None:
    store_of(filled, [MALWARE])[0].close()
    done = run(filled, "audit", "--fail-on", "any")
    assert (done.exit_code, "not loaded here yet" in done.stderr) == (1, True)
    done = run(filled, "audit", "--index", "carol/none")
    assert (done.exit_code, "carol/none could not be found" in done.stderr) == (1, True)
    assert run(filled, "audit", "--json", "--csv").exit_code == 2


def test_a_server_without_advisories_has_no_audit(made: Path) -> None:
    done = run(made, "audit")
    assert done.exit_code == 1
    assert "give the server the setting advisories" in done.stderr

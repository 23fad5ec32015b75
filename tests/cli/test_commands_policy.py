"""The commands about what comes in from mirrors, on a server directory that no server has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import looking, run, write
from twistpi.model.changes import AdvisoriesAccepted, IndexCreated
from twistpi.model.records import Json

MIRROR = "root/pypi"


def config_of(path: Path, index: str = MIRROR) -> dict[str, Json]:
    with looking(path) as reader:
        found = reader.index(index)
    assert found is not None
    return dict(found.config)


def test_a_rule_is_set_shown_with_where_it_comes_from_and_removed(made: Path) -> None:
    write(made, IndexCreated("carol/top", {"type": "stage", "bases": [MIRROR]}))
    assert run(made, "policy", "show", "carol/top").output == "carol/top has no rules: it lets in whatever its mirrors have.\n"
    assert run(made, "policy", "set", MIRROR, "min_release_age", "7d").output == "min_release_age of root/pypi is 7 days.\n"
    assert run(made, "policy", "set", "carol/top", "deny", "evil*,hello>=2,<3").output == (
        "deny of carol/top has 2 items: evil*; hello<3,>=2.\n"
    )
    assert run(made, "policy", "show", "carol/top").output.splitlines() == [
        "deny             evil*; hello<3,>=2",
        "min_release_age  7 days  (inherited from root/pypi for its own files)",
    ]
    assert json.loads(run(made, "policy", "show", "--json", "carol/top").output)[1] == {
        "index": MIRROR,
        "rule": "min_release_age",
        "value": 604800,
    }
    assert run(made, "policy", "set", MIRROR, "min_release_age", "--unset").output == "min_release_age of root/pypi is removed.\n"
    assert "min_release_age" not in config_of(made)


def test_a_list_comes_from_a_file_with_comments_and_takes_the_place_of_the_old_one(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "allowed.txt"
    file.write_text("# what we allow\ndjango>=4,<6  # supported\n\nnumpy\nacme-*\n")
    run(made, "policy", "set", MIRROR, "allow", "former")
    done = run(made, "policy", "set", MIRROR, "allow", "--from", str(file))
    assert done.output == "allow of root/pypi has 3 items: django<6,>=4; numpy; acme-*.\n"
    assert config_of(made)["allow"] == ["django<6,>=4", "numpy", "acme-*"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [("# nothing yet\n", "There is nothing in"), ("numpy\n???\n", "does not begin with the name of a project")],
)
def test_a_wrong_or_empty_list_changes_nothing(made: Path, tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "allowed.txt"
    file.write_text(content)
    done = run(made, "policy", "set", MIRROR, "allow", "--from", str(file))
    assert (done.exit_code, reason in done.output) == (1, True), done.output
    assert "allow" not in config_of(made)


def test_an_empty_value_does_not_open_the_gate(made: Path) -> None:
    run(made, "policy", "set", MIRROR, "allow", "numpy")
    done = run(made, "policy", "set", MIRROR, "allow", "")
    assert (done.exit_code, "Remove the rule with --unset" in done.output) == (1, True), done.output
    assert config_of(made)["allow"] == ["numpy"]


def test_a_list_that_cannot_be_fetched_changes_nothing(made: Path) -> None:
    done = run(made, "policy", "set", MIRROR, "allow", "--from", "http://127.0.0.1:9/list")
    assert (done.exit_code, "cannot be fetched" in done.output) == (1, True), done.output


def test_quarantine_is_put_on_given_another_reason_and_taken_back(made: Path) -> None:
    done = run(made, "quarantine", MIRROR, "Hello == 2.0", "--reason", "it steals, they say")
    assert done.output == "hello==2.0 on root/pypi is in quarantine: no file of it is offered.\n"
    run(made, "quarantine", MIRROR, "hello", "--reason", "all of it")
    run(made, "quarantine", MIRROR, "hello==2.0", "--reason", "it steals")
    assert config_of(made)["quarantined"] == ["hello all of it", "hello==2.0 it steals"]
    assert run(made, "release", MIRROR, "hello==2.0").output == "hello==2.0 on root/pypi is not in quarantine any more.\n"
    assert config_of(made)["quarantined"] == ["hello all of it"]
    refused = run(made, "release", MIRROR, "hello==2.0")
    assert (refused.exit_code, "in it is hello" in refused.output) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ["quarantine", MIRROR, "../x", "--reason", "x"],
        ["quarantine", "root/nothing", "hello", "--reason", "x"],
        ["policy", "show", "nothing"],
        ["policy", "set", MIRROR, "min_release_age", "soon"],
        ["policy", "set", MIRROR, "volatile", "no"],
        ["policy", "set", MIRROR, "deny"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_refused(made: Path, words: list[str]) -> None:
    before = config_of(made)
    assert run(made, *words).exit_code != 0
    assert config_of(made) == before


def test_that_mirrors_block_malware_is_shown_as_soon_as_there_are_advisories(made: Path) -> None:
    write(made, AdvisoriesAccepted("0" * 64, 1, 1))
    assert run(made, "policy", "show", MIRROR).output == "advisories  block-malware\n"
    assert run(made, "policy", "set", MIRROR, "advisories", "block-severity=high").exit_code == 0
    assert run(made, "policy", "show", MIRROR).output == "advisories  block-severity=high\n"

"""The commands for a new server directory, passwords and API tokens, while no server runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.commands import UPSTREAM, entries, looking, password_hash_of, run, write
from twistpi.auth import tokens as api_tokens
from twistpi.auth.passwords import hash_password, verify_password
from twistpi.model.changes import TokenCreated
from twistpi.server.node import read_node
from twistpi.server.setting_sources import load_settings
from twistpi.server.storage import check_usable_by


def test_init_makes_a_directory_and_says_that_roots_password_is_blank(tmp_path: Path) -> None:
    done = run(tmp_path / "data", "init", "--upstream", UPSTREAM)
    assert done.exit_code == 0
    assert f"Created the server directory {tmp_path / 'data'}." in done.output
    assert "twistpi passwd root --serverdir " in done.output
    assert password_hash_of(tmp_path / "data", "root") == ""
    with looking(tmp_path / "data") as reader:
        assert [index.config["mirror_url"] for index in reader.indexes()] == [UPSTREAM]


def test_init_takes_roots_password_and_leaves_the_mirror_out(tmp_path: Path) -> None:
    done = run(tmp_path / "data", "init", "--root-passwd", "swordfish", "--no-root-pypi")
    assert done.exit_code == 0
    assert "blank" not in done.output
    assert "swordfish" not in done.output
    assert verify_password("swordfish", password_hash_of(tmp_path / "data", "root"))
    with looking(tmp_path / "data") as reader:
        assert reader.indexes() == []


def test_init_takes_the_hash_of_roots_password(tmp_path: Path) -> None:
    kept = hash_password("swordfish", 4)
    assert run(tmp_path / "data", "init", "--root-passwd-hash", kept).exit_code == 0
    assert password_hash_of(tmp_path / "data", "root") == kept


def test_init_refuses_a_directory_that_is_one_and_changes_nothing(made: Path) -> None:
    before = entries(made, 0)
    done = run(made, "init", "--root-passwd", "other")
    assert done.exit_code == 1
    assert "it is a server directory already; nothing was changed" in done.output
    assert entries(made, 0) == before


def test_init_makes_the_directory_of_a_replica(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef" * 4)
    (tmp_path / "secret").chmod(0o600)
    config = tmp_path / "twistpi.toml"
    config.write_text(f'primary-url = "http://127.0.0.1:9"\nsecretfile = "{tmp_path}/secret"\nrequire-initialised = true\n')
    done = run(tmp_path / "data", "init", "--config", str(config))
    assert (done.exit_code, "fetches everything from http://127.0.0.1:9" in done.output) == (0, True)
    node = read_node(str(tmp_path / "data"))
    assert node is not None
    assert node.is_replica
    check_usable_by(load_settings({"serverdir": [str(tmp_path / "data")], "config": [str(config)]}, {}))


def test_a_variable_that_is_no_setting_is_mentioned(made: Path) -> None:
    done = run(made, "status", TWISTPI_SERVER_DIR="/srv")
    told = "Ignored: the environment variable TWISTPI_SERVER_DIR is no setting (did you mean TWISTPI_SERVERDIR?)."
    assert (done.exit_code, done.stderr.splitlines()) == (0, [told])
    assert "TWISTPI_SERVER_DIR" not in done.stdout


def test_init_refuses_somebody_elses_directory(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear diary")
    done = run(tmp_path, "init")
    assert done.exit_code == 1
    assert "not empty" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]


def test_passwd_asks_for_the_user_and_twice_for_the_password(made: Path) -> None:
    done = run(made, "passwd", told="carol\nswordfish\nswordfish\n")
    assert done.exit_code == 0
    assert "User to set password for: " in done.output
    assert "enter password for carol: " in done.output
    assert "repeat password for carol: " in done.output
    assert "swordfish" not in done.output
    assert verify_password("swordfish", password_hash_of(made, "carol"))
    (entry,) = entries(made, 2)
    assert (entry["by"], [change["kind"] for change in entry["changes"]]) == ("carol", ["UserModified"])


def test_passwd_gives_three_attempts(made: Path) -> None:
    wrong = "one\nother\n"
    done = run(made, "passwd", "carol", told=f"{wrong}\n\nright\nright\n")
    assert done.exit_code == 0
    assert "the passwords differ" in done.output
    assert "the password is empty" in done.output
    done = run(made, "passwd", "carol", told=f"{wrong}{wrong}{wrong}right\nright\n")
    assert done.exit_code == 1
    assert "no password was set" in done.output
    assert len(entries(made, 2)) == 1


def test_passwd_reads_the_password_of_a_script(made: Path) -> None:
    done = run(made, "passwd", "--stdin", "carol", told="swordfish with spaces \n")
    assert (done.exit_code, done.output) == (0, "The password of carol is set.\n")
    assert verify_password("swordfish with spaces ", password_hash_of(made, "carol"))
    assert run(made, "passwd", "--stdin", "carol", told="").exit_code == 1


def test_passwd_refuses_a_user_who_does_not_exist_before_it_asks(made: Path) -> None:
    done = run(made, "passwd", "nobody", told="x\nx\n")
    assert done.exit_code == 1
    assert done.output == "Error: no user 'nobody'\n"


@pytest.mark.parametrize(
    "words",
    [["passwd", "root"], ["token", "list"], ["token", "create", "--user", "root"], ["explain", "root/pypi", "six"]],
    ids=lambda words: words[0],
)
def test_commands_make_no_server_directory_by_the_way(tmp_path: Path, words: list[str]) -> None:
    done = run(tmp_path / "nothing", *words)
    assert done.exit_code == 1
    assert "twistpi init" in done.output
    assert not (tmp_path / "nothing").exists()


def halves_of(token: str) -> tuple[str, str]:
    """The public and the secret half of a token that a command printed."""
    halves = api_tokens.split(token.strip())
    assert halves is not None
    return halves


def test_a_token_is_shown_once_and_kept_as_a_digest(made: Path) -> None:
    done = run(
        made, "token", "create", "--user", "carol", "--may", "upload,read", "--index", "carol/dev", "--project", "My_Project",
        "--days", "90", "--title", "the build",
    )  # fmt: skip
    assert done.exit_code == 0
    public, secret = halves_of(done.output)
    with looking(made) as reader:
        (kept,) = reader.api_tokens("carol")
    assert api_tokens.matches(secret, kept.digest)
    assert (kept.token, kept.may, kept.index, kept.project) == (public, ("read", "upload"), "carol/dev", "my-project")
    assert kept.title == "the build"
    assert kept.expires is not None
    log = run(made, "log").output
    assert secret not in log
    assert secret not in (made / "view.sqlite").read_bytes().decode("latin-1")


def test_tokens_are_listed_without_their_secrets(made: Path) -> None:
    public, secret = halves_of(run(made, "token", "create", "--user", "carol").output)
    write(made, TokenCreated("0" * 16, "root", "ab" * 32, ("read",), expires="2026-01-01T00:00:00Z", title="long ago"))
    done = run(made, "token", "list")
    assert re.search(rf"{public} +carol +read +all +all +never", done.output)
    assert re.search(r"root .*\(over\) +long ago", done.output)
    assert secret not in done.output
    assert "root" not in run(made, "token", "list", "--user", "carol").output
    (facts,) = json.loads(run(made, "token", "list", "--user", "carol", "--json").output)
    assert facts["token"] == public
    assert not {"digest", "password"} & set(facts)
    assert run(made, "token", "list", "--user", "nobody").output == "Error: no user 'nobody'\n"


@pytest.mark.parametrize("whole", [False, True])
def test_a_revoked_token_is_gone(made: Path, whole: bool) -> None:
    text = run(made, "token", "create", "--user", "carol").output.strip()
    public, _ = halves_of(text)
    done = run(made, "token", "revoke", text if whole else public)
    assert (done.exit_code, done.output) == (0, f"The token {public} of carol is revoked.\n")
    with looking(made) as reader:
        assert reader.api_tokens("carol") == []
    again = run(made, "token", "revoke", public)
    assert (again.exit_code, again.output) == (
        1, f"Error: nobody has an API token {public}; twistpi token list shows those there are\n"
    )  # fmt: skip
    assert [change["kind"] for entry in entries(made, 2) for change in entry["changes"]] == ["TokenCreated", "TokenRevoked"]


def test_a_token_of_somebody_else_is_not_revoked(made: Path) -> None:
    public = run(made, "token", "create", "--user", "carol").output.split("-")[1]
    assert run(made, "token", "revoke", "--user", "root", public).exit_code == 1
    with looking(made) as reader:
        assert len(reader.api_tokens("carol")) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--user", "nobody"], "no user 'nobody'"),
        (["--user", "carol", "--may", "everything"], '"may" must be "read", "upload"'),
        (["--user", "carol", "--days", "-1"], "not a number of days"),
        (["--user", "carol", "--index", "carol/none"], "carol/none could not be found"),
        (["--user", "carol", "--index", "dev"], "is not an index"),
        (["--user", "carol", "--may", "upload", "--project", "../x"], "is not a project's name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_token_that_cannot_be_is_refused(made: Path, words: list[str], reason: str) -> None:
    done = run(made, "token", "create", *words)
    assert done.exit_code == 1
    assert reason in done.output
    assert entries(made, 2) == []

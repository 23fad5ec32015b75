"""What ``twistpi export`` writes is, imported again, what was exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import looking, run, write
from tests.transfer.made_dumps import SDIST, WHEEL, write_dump
from twistpi.auth.passwords import hash_password
from twistpi.model.changes import IndexModified, UserCreated
from twistpi.model.releases import FileYanked
from twistpi.view.read import Reader

EXTRA = (
    UserCreated("bob", {}, hash_password("secret", 4)),
    IndexModified("ann/dev", {"acl_read": ["ann"], "mirror_whitelist": ["*", "hello", "elsewhere"]}),
    FileYanked("ann/dev", "hello", SDIST.filename, "broken"),
)
"""What devpi-server does not have."""


def facts(reader: Reader) -> dict[str, Any]:
    """Everything that moves."""
    indexes = reader.indexes()
    stages = [(index.name, project) for index in indexes if not index.is_mirror for project in reader.projects(index.name)]
    mirrored = [(index.name, project) for index in indexes if index.is_mirror for project in reader.projects(index.name)]
    return {
        "users": reader.users(),
        "indexes": indexes,
        "releases": [reader.releases(*names) for names in stages],
        "cached": [reader.files_here(*names) for names in mirrored],
    }


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A server directory with one of everything."""
    data = tmp_path / "data"
    assert run(data, "import", str(write_dump(tmp_path / "dump"))).exit_code == 0
    write(data, *EXTRA)
    return data


@pytest.mark.parametrize("form", ["devpi6", "devpi7"])
def test_an_export_that_is_imported_is_what_was_exported(tmp_path: Path, filled: Path, form: str) -> None:
    result = run(filled, "export", "--format", form, "--include-mirrored-files", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "note: user bob: the password is in twistpi.json alone" in result.output
    assert "in twistpi.json alone; devpi-server lets everybody read the index" in result.output
    again = run(tmp_path / "again", "import", str(tmp_path / "out"))
    assert again.exit_code == 0, again.output
    with looking(filled) as before, looking(tmp_path / "again") as after:
        was, now = facts(before), facts(after)
    for key, value in was.items():
        assert now[key] == value


def test_mirrored_files_are_left_out_unless_they_are_asked_for(tmp_path: Path, filled: Path) -> None:
    assert run(filled, "export", str(tmp_path / "out")).exit_code == 0
    dump = json.loads((tmp_path / "out" / "dataindex.json").read_text())
    assert set(dump["indexes"]["ann/up"]) == {"indexconfig"}
    assert not list(tmp_path.glob("out/**/up-2.0.tar.gz"))


def test_files_are_linked_where_that_is_asked_for(tmp_path: Path, filled: Path) -> None:
    assert run(filled, "export", "--hard-links", str(tmp_path / "out")).exit_code == 0
    (exported,) = tmp_path.glob(f"out/**/{WHEEL.filename}")
    assert exported.samefile(filled / "+files" / WHEEL.path.removeprefix("+f/"))


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, filled: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    result = run(filled, "export", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "is not empty; name another folder for the export" in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_file_that_is_missing_or_damaged_is_named_and_the_rest_is_exported(tmp_path: Path, filled: Path) -> None:
    (filled / "+files" / WHEEL.path.removeprefix("+f/")).write_bytes(b"rotten")
    shutil.rmtree((filled / "+files" / SDIST.path.removeprefix("+f/")).parent)
    result = run(filled, "export", "--json", str(tmp_path / "out"))
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    texts = [one["text"] for one in report["differences"]]
    assert any("its sha256 is" in text for text in texts)
    assert "its bytes are not here; twistpi check tells more" in texts
    assert report["counts"]["files"] == {"taken": 0, "there": 0, "refused": 2}
    assert report["counts"]["documentation"]["taken"] == 1


def test_only_the_owner_can_read_what_holds_passwords(tmp_path: Path, filled: Path) -> None:
    assert run(filled, "export", str(tmp_path / "out")).exit_code == 0
    for name in ("dataindex.json", "twistpi.json"):
        assert (tmp_path / "out" / name).stat().st_mode & 0o077 == 0

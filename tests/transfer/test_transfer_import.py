"""What ``twistpi import`` makes of an export of devpi-server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import looking, run
from tests.transfer.made_dumps import AT, CACHED, DOCS, HASH, RESULT, SDIST, WHEEL, Dump, entry, write_dump
from twistpi.blobs.address import path_address
from twistpi.blobs.tree import Tree
from twistpi.model.releases import LogLine
from twistpi.view.read import Reader

UPLOADED = LogLine("upload", "ann", AT, "ann/dev")


def imported(tmp_path: Path, dump: Path, *words: str, status: int = 0) -> dict[str, Any]:
    """The report of an import into ``tmp_path/data``."""
    result = run(tmp_path / "data", "import", "--json", *words, str(dump))
    assert result.exit_code == status, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def serial(tmp_path: Path) -> int:
    with looking(tmp_path / "data") as reader:
        return reader.serial()


def content(tmp_path: Path, path: str) -> bytes:
    with Tree(str(tmp_path / "data")).open(path_address(path)) as blob:
        return blob.read()


def differences(report: dict[str, Any]) -> list[str]:
    return [f"{one['subject']}: {one['text']}" for one in report["differences"]]


@pytest.mark.parametrize("version", ["2", "3"])
def test_an_export_becomes_users_indexes_releases_and_files(tmp_path: Path, version: str) -> None:
    report = imported(tmp_path, write_dump(tmp_path / "dump", version))
    assert report["complete"]
    assert {kind: counts["taken"] for kind, counts in report["counts"].items()} == {
        "users": 2, "indexes": 2, "releases": 2, "files": 3, "test results": 1, "documentation": 1,
    }  # fmt: skip
    with looking(tmp_path / "data") as reader:
        check_people(reader)
        check_releases(tmp_path, reader)
        check_mirror(tmp_path, reader)
    assert run(tmp_path / "data", "check").exit_code == 0


def check_people(reader: Reader) -> None:
    ann, root, index = reader.user("ann"), reader.user("root"), reader.index("ann/dev")
    assert ann is not None
    assert root is not None
    assert index is not None
    assert (ann.config, ann.password_hash, ann.created, ann.modified) == (
        {"email": "a@b.example"},
        HASH,
        AT,
        "2020-01-01T00:00:00Z",
    )
    assert (root.password_hash, root.created) == (HASH, AT)
    assert index.config == {
        "type": "stage", "volatile": True, "bases": ["ann/up"], "acl_upload": ["ann"], "title": "work",
        "acl_toxresult_upload": [":ANONYMOUS:"], "mirror_whitelist": ["hello"], "mirror_whitelist_inheritance": "intersection",
    }  # fmt: skip


def check_releases(tmp_path: Path, reader: Reader) -> None:
    release, empty = reader.release("ann/dev", "hello", "1.0"), reader.release("ann/dev", "hello", "0.1-old")
    assert release is not None
    assert empty is not None
    assert release.metadata == {"name": "Hello", "version": "1.0", "summary": "é", "requires_python": ">=3.8"}
    assert empty.files == ()
    file, sdist = release.files
    assert (file.known.path, sdist.known.path) == (WHEEL.path, SDIST.path)
    assert file.log == (UPLOADED,)
    assert (file.known.link.upload_time, file.known.link.requires_python) == (AT, ">=3.8")
    assert file.known.metadata_sha256 is not None
    result, docs = release.attachments
    assert (result.for_filename, result.filename) == (WHEEL.filename, f"{WHEEL.filename}.toxresult-20190501102030-0")
    assert result.path.startswith(WHEEL.path)
    assert [content(tmp_path, path) for path in (WHEEL.path, SDIST.path, docs.path, result.path)] == [
        WHEEL.content, SDIST.content, DOCS, RESULT,
    ]  # fmt: skip


def check_mirror(tmp_path: Path, reader: Reader) -> None:
    project = reader.project("ann/up", "up")
    assert project is not None
    (file,) = project.files
    assert (file.link.url, file.link.requires_python, file.link.yanked) == (
        "https://upstream.example/up-2.0.tar.gz",
        ">=3.9",
        "bad",
    )
    assert content(tmp_path, file.path) == CACHED


def test_a_second_import_passes_over_everything_and_writes_nothing(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump")
    imported(tmp_path, dump)
    before = serial(tmp_path)
    report = imported(tmp_path, dump)
    assert all(counts["taken"] == counts["refused"] == 0 for counts in report["counts"].values())
    assert report["bytes"] == 0
    assert serial(tmp_path) == before


def test_a_trial_run_finds_what_is_wrong_and_writes_nothing(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump")
    report = imported(tmp_path, dump, "--dry-run")
    assert report["counts"]["files"]["taken"] == 3
    assert not (tmp_path / "data").exists()
    imported(tmp_path, dump)
    before = serial(tmp_path)
    (dump / "a" / WHEEL.filename).write_bytes(b"other bytes")
    assert imported(tmp_path, dump, "--dry-run")["counts"]["files"]["there"] == 3
    assert serial(tmp_path) == before


def test_what_is_here_stays_as_it_is_and_the_differences_are_named(tmp_path: Path) -> None:
    imported(tmp_path, write_dump(tmp_path / "dump"))

    def change(dump: Dump) -> None:
        dump["users"]["ann"]["email"] = "other@b.example"
        dump["indexes"]["ann/dev"]["indexconfig"]["title"] = "another"
        dump["indexes"]["ann/dev"]["files"][1] = entry("releasefile", f"a/{WHEEL.filename}", b"other bytes")

    other = write_dump(tmp_path / "other", change=change)
    (other / "a" / WHEEL.filename).write_bytes(b"other bytes")
    report = imported(tmp_path, other, status=1)
    assert differences(report) == [
        f"ann/dev hello {WHEEL.filename}: a file of that name is here with other bytes, {WHEEL.sha256}, and stays"
    ]
    assert [f"{note['subject']}: {note['text']}" for note in report["notes"]] == [
        "user ann: is here already, and keeps its email, which differ",
        "index ann/dev: is here already, and keeps its title, which differ",
    ]
    assert content(tmp_path, WHEEL.path) == WHEEL.content


def test_an_archive_that_an_upload_would_be_refused_for_is_imported_as_it_is(tmp_path: Path) -> None:
    odd = "hello-1.0-py2-none-any.whl"

    def change(dump: Dump) -> None:
        dump["indexes"]["ann/dev"]["files"] = [entry("releasefile", odd, b"no wheel at all", entrymapping={"last_modified": ""})]

    dump = write_dump(tmp_path / "dump", change=change)
    (dump / odd).write_bytes(b"no wheel at all")
    assert imported(tmp_path, dump)["complete"]
    with looking(tmp_path / "data") as reader:
        release = reader.release("ann/dev", "hello", "1.0")
    assert release is not None
    assert [file.known.link.filename for file in release.files] == [odd]


def test_two_results_of_one_name_are_both_kept(tmp_path: Path) -> None:
    name = f"{WHEEL.filename}.toxresult-20190501102030-0"

    def change(dump: Dump) -> None:
        files = dump["indexes"]["ann/dev"]["files"]
        files.append(entry("toxresult", f"b/{name}", b"{}", for_entrypath=f"ann/dev/+f/a/b/{WHEEL.filename}"))

    dump = write_dump(tmp_path / "dump", change=change)
    (dump / "b").mkdir()
    (dump / "b" / name).write_bytes(b"{}")
    assert imported(tmp_path, dump)["counts"]["test results"]["taken"] == 2
    before = serial(tmp_path)
    assert imported(tmp_path, dump)["counts"]["test results"]["there"] == 2
    assert serial(tmp_path) == before


def wheel(dump: Dump) -> Dump:
    found: Dump = dump["indexes"]["ann/dev"]["files"][1]
    return found


def hashes(dump: Dump) -> Dump:
    found: Dump = wheel(dump)["entrymapping"]["hashes"]
    return found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda dump: wheel(dump).update(relpath="a/gone.whl"), "a/gone.whl cannot be read: No such file or directory"),
        (lambda dump: wheel(dump).update(relpath="a"), "a is no file"),
        (lambda dump: wheel(dump).update(relpath="../secret.whl"), "its path '../secret.whl' leads out of the folder"),
        (lambda dump: wheel(dump).update(relpath="a/out.whl"), "its path 'a/out.whl' leads out of the folder"),
        (lambda dump: wheel(dump).update(relpath="/etc/passwd"), "its path '/etc/passwd' leads out of the folder"),
        (lambda dump: hashes(dump).update(md5="0" * 32), "its md5 is "),
        (lambda dump: hashes(dump).update(sha256="0" * 64), f"its sha256 is {WHEEL.sha256}"),
        (lambda dump: wheel(dump)["entrymapping"].update(size=7), "bytes instead of 7"),
        (lambda dump: wheel(dump)["entrymapping"].update(last_modified="yesterday"), "'yesterday' is no time"),
        (lambda dump: wheel(dump).update(projectname="../up"), "'../up' is not a project name"),
        (lambda dump: wheel(dump).update(type="wheelhouse"), "it is of the unknown type 'wheelhouse'"),
        (lambda dump: wheel(dump).update(relpath=None), "does not name a project, a version and a path"),
        (lambda dump: wheel(dump).update(log=[{"what": 1}]), "a line of its log is"),
    ],
)
def test_a_file_that_cannot_be_taken_is_named_and_all_others_are_taken(
    tmp_path: Path, change: Callable[[Dump], object], sentence: str
) -> None:
    dump = write_dump(tmp_path / "dump", change=change)
    (tmp_path / "secret.whl").write_bytes(WHEEL.content)
    (dump / "a" / "out.whl").symlink_to(tmp_path / "secret.whl")
    report = imported(tmp_path, dump, status=1)
    assert sentence in differences(report)[0]
    assert (report["counts"]["files"]["taken"], report["counts"]["files"]["refused"]) == (2, 1)
    assert "the tested file" in differences(report)[1], "its test result has nothing to belong to"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda dump: dump["users"].update({"a/b": {}}), "user a/b: username 'a/b' contains characters"),
        (lambda dump: dump["users"].update(bob="x"), "user bob: user bob is no JSON object"),
        (lambda dump: dump["users"]["ann"].update(colour="red"), "user ann: unknown keys are left out: colour"),
        (lambda dump: dump["users"]["ann"].update(pwhash="x"), "user ann: the password hash is of an unknown kind"),
        (lambda dump: dump["indexes"].update({"bob/dev": {"indexconfig": {}}}), "index bob/dev: its user is not in the export"),
        (lambda dump: dump["indexes"].update({"ann/a b": {"indexconfig": {}}}), "index ann/a b: indexname 'a b' contains"),
        (lambda dump: dump["indexes"].update({"ann/x": {}}), "index ann/x: indexconfig is no JSON object"),
        (lambda dump: dump["indexes"].update({"ann/x": {"indexconfig": {"type": []}}}), "index ann/x: its type is []"),
        (
            lambda dump: dump["indexes"]["ann/dev"]["projects"]["hello"].update({"3": {"summary": {}, "license": [1]}}),
            "license is",
        ),
        (lambda dump: dump["indexes"]["ann/up"]["projects"]["up"].update({"3": {"yanked": [1]}}), "its yanked is [1]"),
        (lambda dump: dump["indexes"].update({"ann/x": {"indexconfig": {"type": "odd"}}}), "index ann/x: its type is 'odd'"),
        (lambda dump: dump["indexes"]["ann/dev"]["indexconfig"].update(colour=1), "the setting colour is left out"),
        (lambda dump: dump["indexes"]["ann/dev"]["projects"].update({"..": {"1": {}}}), "ann/dev .. 1: "),
        (lambda dump: dump["indexes"]["ann/dev"]["projects"]["hello"].update({"../1": {}}), "ann/dev hello ../1: "),
        (lambda dump: dump["indexes"]["ann/dev"]["projects"]["hello"].update({"3": {"name": "other"}}), "of 'other', not of"),
    ],
)
def test_a_user_an_index_or_a_release_that_cannot_be_taken_is_named(
    tmp_path: Path, change: Callable[[Dump], object], sentence: str
) -> None:
    report = imported(tmp_path, write_dump(tmp_path / "dump", change=change), status=1)
    assert any(sentence in difference for difference in differences(report)), differences(report)
    assert report["counts"]["files"]["taken"] == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it is no JSON"),
        ('{"users": {', "it is no JSON"),
        ("[]", "it has no dumpversion"),
        ('{"dumpversion": "4"}', "its dump version is 4, and 3 is the newest known"),
        (None, "it has no dataindex.json"),
    ],
)
def test_a_folder_that_is_no_export_makes_nothing(tmp_path: Path, text: str | None, sentence: str) -> None:
    (tmp_path / "dump").mkdir()
    if text is not None:
        (tmp_path / "dump" / "dataindex.json").write_text(text)
    result = run(tmp_path / "data", "import", str(tmp_path / "dump"))
    assert (result.exit_code, sentence in result.output) == (1, True), result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "data").exists()


def test_a_base_that_is_not_in_the_export_is_noted_and_stays_a_base(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", change=lambda dump: dump["indexes"].pop("ann/up"))
    report = imported(tmp_path, dump)
    assert report["notes"] == [{"subject": "index ann/dev", "text": "it inherits from ann/up, which the export does not have"}]

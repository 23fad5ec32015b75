"""What a new server directory holds; opening what is kept: a view that lags catches up, a log that lost entries is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pip._internal.models.index import PyPI

from twistpi.auth.passwords import hash_password, verify_password
from twistpi.blobs.address import blob_address
from twistpi.changelog.disk import Disk
from twistpi.model.changes import FileCached, IndexCreated, IndexModified, LogStarted, UserCreated
from twistpi.model.codec import decode_content, encode_content
from twistpi.model.peers import BEGINNING
from twistpi.model.records import Index
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, decide_upstream, first_changes, mirror_config

ELSEWHERE = "https://user:secret@elsewhere.example/simple/"


def test_a_new_log_begins_with_its_id_the_user_root_and_a_mirror_of_the_public_index() -> None:
    changes = first_changes("ab" * 16, upstream=None, with_mirror=True)
    public = f"{PyPI.simple_url}/"
    config = {
        "type": "mirror",
        "volatile": False,
        "title": "PyPI",
        "mirror_url": public,
        "mirror_web_url_fmt": public.replace("/simple/", "/project/{name}/"),
    }
    assert list(changes) == [LogStarted("ab" * 16), UserCreated("root", password_hash=""), IndexCreated("root/pypi", config)]


def test_root_begins_with_the_password_that_is_given() -> None:
    assert first_changes("ab" * 16, upstream=ELSEWHERE, with_mirror=False, root_password_hash="$hash")[1] == UserCreated(
        "root", password_hash="$hash"
    )


def test_the_mirror_can_be_of_another_index_or_left_out() -> None:
    created = first_changes("ab" * 16, upstream=ELSEWHERE, with_mirror=True)[2]
    config = {"type": "mirror", "volatile": False, "title": "elsewhere.example", "mirror_url": ELSEWHERE}
    assert created == IndexCreated("root/pypi", config)
    assert len(first_changes("ab" * 16, upstream=ELSEWHERE, with_mirror=False)) == 2


def test_the_same_upstream_changes_nothing() -> None:
    assert decide_upstream(Index("root/pypi", mirror_config(ELSEWHERE)), ELSEWHERE) == ()


def test_another_upstream_takes_the_description_along() -> None:
    changes = decide_upstream(Index("root/pypi", mirror_config(None)), ELSEWHERE)
    changed = {"mirror_url": ELSEWHERE, "title": "elsewhere.example"}
    assert changes == (IndexModified("root/pypi", changed, ("mirror_web_url_fmt",)),)


def test_a_description_that_people_gave_stays() -> None:
    index = Index("root/pypi", {"type": "mirror", "mirror_url": "https://a.example/", "title": "Ours", "mirror_web_url_fmt": "x"})
    assert decide_upstream(index, ELSEWHERE) == (IndexModified("root/pypi", {"mirror_url": ELSEWHERE}),)


def test_the_upstream_must_be_given_where_pip_is_not_installed() -> None:
    code = "import sys; sys.modules['pip'] = None; from twistpi.server.storage import mirror_config; mirror_config(None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Error: The setting upstream is '' (from its default); it must be given (--upstream URL)" in done.stderr


_UPSTREAM = "https://upstream.example/simple/"


def _now() -> datetime:
    return datetime(2026, 3, 14, tzinfo=UTC)


def _open(path: Path, **more: Any) -> Storage:
    return Storage.open(Settings(serverdir=str(path), upstream=_UPSTREAM, bcrypt_cost=4, **more), _now, Disk())


def _body(number: int) -> bytes:
    change = FileCached("root/pypi", "six", f"six-{number}.tar.gz", "ab" * 32, number)
    return encode_content("2026-03-14T00:00:00.000000Z", "+mirror", [change])


def test_entries_that_the_view_has_not_seen_are_folded_at_start(tmp_path: Path) -> None:
    storage = _open(tmp_path)
    storage.changelog.append([_body(1), _body(2)], expect=1)
    storage.close()
    storage = _open(tmp_path)
    assert storage.view.position == storage.changelog.last
    assert storage.view.reader.serial() == 3
    storage.close()


def test_a_removed_view_is_made_anew(tmp_path: Path) -> None:
    _open(tmp_path).close()
    (tmp_path / "view.sqlite").unlink()
    storage = _open(tmp_path)
    assert [index.name for index in storage.view.reader.indexes()] == ["root/pypi"]
    storage.close()


def test_another_upstream_takes_effect_and_is_logged_once(tmp_path: Path) -> None:
    for upstream in (_UPSTREAM, "http://other.example/simple/", "http://other.example/simple/", None):
        settings = Settings(serverdir=str(tmp_path), upstream=upstream, bcrypt_cost=4)
        storage = Storage.open(settings, _now, Disk())
        index = storage.view.reader.index("root/pypi")
        storage.close()
    assert index is not None
    assert index.config["mirror_url"] == "http://other.example/simple/"
    assert storage.changelog.last.serial == 2


def test_times_in_the_log_do_not_go_back_with_the_clock(tmp_path: Path) -> None:
    _open(tmp_path).close()
    settings = Settings(serverdir=str(tmp_path), upstream="http://other.example/simple/", bcrypt_cost=4)
    storage = Storage.open(settings, lambda: _now() - timedelta(days=1), Disk())
    times = [decode_content(line.body).at for line in storage.changelog.read(BEGINNING)]
    storage.close()
    assert times == ["2026-03-14T00:00:00.000000Z"] * 2


def test_a_log_without_entries_that_were_acknowledged_is_refused_and_untouched(tmp_path: Path) -> None:
    _open(tmp_path).close()
    segment = next((tmp_path / "changelog").iterdir())
    backup = segment.read_bytes()
    storage = _open(tmp_path)
    storage.changelog.append([_body(1)], expect=1)
    storage.close()
    _open(tmp_path).close()
    segment.write_bytes(backup)
    with pytest.raises(ServerdirRefused, match=r"lost entries that were acknowledged.*remove .*view\.sqlite"):
        _open(tmp_path)
    assert segment.read_bytes() == backup
    (tmp_path / "view.sqlite").unlink()
    storage = _open(tmp_path)
    assert storage.changelog.last.serial == 1
    storage.close()


def _password_of_root(path: Path, **more: Any) -> str | None:
    storage = _open(path, **more)
    root = storage.view.reader.user("root")
    storage.close()
    assert root is not None
    return root.password_hash


def test_root_of_a_new_directory_has_a_blank_password_unless_the_settings_tell_one(tmp_path: Path) -> None:
    kept = hash_password("secret", 4)
    assert _password_of_root(tmp_path / "blank") == ""
    assert verify_password("secret", _password_of_root(tmp_path / "told", root_passwd="secret"))
    assert _password_of_root(tmp_path / "hash", root_passwd_hash=kept) == kept


def test_the_password_of_the_settings_changes_nothing_in_a_directory_that_exists(tmp_path: Path) -> None:
    _open(tmp_path).close()
    assert _password_of_root(tmp_path, root_passwd="secret") == ""
    assert _password_of_root(tmp_path, root_passwd_hash=hash_password("secret", 4)) == ""


def _open_to_others(path: Path) -> set[str]:
    """What somebody else than the owner can read, as far as the folders above let them."""
    found: set[str] = set()
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            if (Path(folder) / name).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                found.add(str((Path(folder) / name).relative_to(path)))
        folders[:] = [name for name in folders if str((Path(folder) / name).relative_to(path)) in found]
    return found


@pytest.fixture
def usual_umask() -> Any:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def umask_of_a_daemon() -> Any:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_of_a_daemon")
def test_a_daemon_makes_a_directory_in_which_a_web_server_finds_the_files(tmp_path: Path) -> None:
    _open(tmp_path / "server").close()
    assert stat.S_IMODE((tmp_path / "server").stat().st_mode) == 0o755
    assert _open_to_others(tmp_path / "server") == {"+files"}


@pytest.mark.usefixtures("usual_umask")
def test_hashes_of_passwords_can_be_read_by_nobody_else_and_files_by_everybody(tmp_path: Path) -> None:
    path = tmp_path / "server"
    storage = _open(path)
    assert (path / "view.sqlite-wal").exists()
    assert _open_to_others(path) == {"node.json", "+files"}
    storage.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    (path / "view.sqlite").unlink()
    _open(path).close()
    assert _open_to_others(path) == {"node.json", "+files"}
    assert os.umask(0o022) == 0o022


@pytest.fixture(params=[0o000, 0o002, 0o022])
def umask(request: pytest.FixtureRequest) -> Any:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_nobody_else_can_write_to_what_a_server_makes_whatever_its_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "server"
    storage = _open(path)
    with storage.blobs.incoming() as incoming:
        incoming.write(b"bytes")
        storage.blobs.keep(incoming, blob_address("0" * 64, "a-1.zip"), "0" * 64)
    (path / "later").touch()
    storage.close()
    modes = {one: stat.S_IMODE(one.stat().st_mode) for one in (path, *path.rglob("*"))}
    assert not [one for one, mode in modes.items() if mode & stat.S_IWOTH]
    assert modes[path / "later"] == (0o664 if umask == 0o002 else 0o644)


@pytest.mark.usefixtures("usual_umask")
def test_what_was_open_to_everybody_is_closed_at_the_next_start_and_a_group_keeps_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "server"
    _open(path).close()
    (path / "changelog").chmod(0o755)
    (path / "view.sqlite").chmod(0o644)
    _open(path).close()
    assert stat.S_IMODE((path / "changelog").stat().st_mode) == 0o750
    assert stat.S_IMODE((path / "view.sqlite").stat().st_mode) == 0o640

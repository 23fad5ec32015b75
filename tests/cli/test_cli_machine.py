"""What the doctor sees on a machine: a server directory that no server has."""

from __future__ import annotations

import os
import subprocess
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.cli.commands import settings, write
from twistpi.cli.diagnostics.machine import Machine, Protected, look_at_machine
from twistpi.http.routes import ProxyRules
from twistpi.model.changes import IndexCreated
from twistpi.model.releases import FileUploaded, ReleaseDescribed
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.node import RECORDED_SETTINGS, Running, record_running
from twistpi.server.setting_sources import words_of

SHA256 = "ab1" + "2cd34ef567890" + "0" * 48


def look(path: Path, **more: Any) -> Machine:
    return look_at_machine(attrs.evolve(settings(path), offline=True, **more), ProxyRules(), lambda: None, 0.0)


def test_a_directory_that_nobody_serves(made: Path) -> None:
    seen = look(made)
    assert (seen.running, seen.descriptors) == (None, None)
    assert (seen.root_is_blank, seen.open_secret, seen.hidden, seen.protected, seen.cached) == (True, None, None, None, None)
    assert 0 < seen.disk_free <= seen.disk_total


def test_a_process_that_serves_and_one_that_is_gone(made: Path) -> None:
    record_running(str(made), ["http://127.0.0.1:3141/"])
    seen = look(made)
    assert seen.running == Running(os.getpid(), ("http://127.0.0.1:3141/",))
    assert seen.descriptors is None or seen.descriptors >= 64
    gone = subprocess.Popen(["true"])
    gone.wait()
    (made / "running.json").write_text(f'{{"pid": {gone.pid}, "addresses": ["http://127.0.0.1:3141/"]}}')
    assert look(made).running is None


def test_the_settings_are_those_of_the_server_that_runs(made: Path) -> None:
    other = attrs.evolve(
        settings(made), max_upload_size=7, trusted_proxy=(ip_network("10.0.0.0/8"), ip_network("::1")), offline=True,
        outside_url="https://pkgs.example",
    )  # fmt: skip
    assert words_of(settings(made), RECORDED_SETTINGS) == {}
    record_running(str(made), ["http://127.0.0.1:3141/"], words_of(other, RECORDED_SETTINGS))
    seen = look_at_machine(settings(made), ProxyRules(), lambda: None, 0.0)
    assert seen.settings == attrs.evolve(other, upstream=None)
    assert seen.upstreams is None


def test_what_others_cannot_read_is_found(made: Path) -> None:
    folder = made / "+files" / "ab1" / "2cd34ef567890"
    folder.mkdir(parents=True)
    (folder / "mine-1.0.tar.gz").write_bytes(b"mine")
    (folder / "mine-1.0.tar.gz").chmod(0o640)
    for above in (folder, folder.parent):
        above.chmod(0o755)
    assert look(made).hidden == str(folder / "mine-1.0.tar.gz")
    folder.parent.chmod(0o750)
    assert look(made).hidden == str(folder.parent)
    (made / "secret").chmod(0o644)
    assert look(made).open_secret == str(made / "secret")
    made.chmod(0o700)
    closed = look(made).closed
    assert closed is not None
    assert str(made).startswith(closed), "it, or a folder above"


def test_a_file_for_some_and_a_project_for_all_are_found(made: Path) -> None:
    described = [ReleaseDescribed(index, "mine", "1.0", {}) for index in ("carol/closed", "carol/dev")]
    uploads = [FileUploaded(index, "mine", "1.0", "mine-1.0.tar.gz", SHA256, 4) for index in ("carol/closed", "carol/dev")]
    write(made, IndexCreated("carol/closed", {"type": "stage", "bases": [], "acl_read": ["carol"]}), *described, *uploads)
    seen = look(made)
    path = "+f/ab1/2cd34ef567890/mine-1.0.tar.gz"
    assert seen.protected == Protected("carol/closed", path, "+files/ab1/2cd34ef567890/mine-1.0.tar.gz")
    assert seen.cached == ("carol/dev", "mine")


def test_a_folder_that_is_no_servers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerdirRefused, match="it is missing or empty"):
        look(tmp_path / "data")

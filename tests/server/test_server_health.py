"""How a server directory is: free space, a changelog that can be written, upstreams that answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twistpi.model.monitoring import Check
from twistpi.model.server_errors import StorageFull
from twistpi.replication.progress import Progress
from twistpi.server.health import ServerHealth

MB = 1 << 20


def _condition(tmp_path: Path, *, free: int = 1000 * MB, failure: Exception | None = None, failing: Any = None) -> ServerHealth:
    disk: Any = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_blocks=2000 * MB // 4096)
    changelog: Any = SimpleNamespace(last=SimpleNamespace(serial=7))
    writer: Any = SimpleNamespace(failure=failure)
    mirror: Any = SimpleNamespace(failing=lambda: failing or {})
    return ServerHealth(
        str(tmp_path), 256 * MB, changelog, writer, mirror, lambda name: name != "alice/closed", statvfs=lambda path: disk
    )


def _check(condition: ServerHealth, name: str) -> Check:
    return next(check for check in condition.checks() if check.name == name)


def test_figures_tell_space_and_serial(tmp_path: Path) -> None:
    figures = {measure.name: measure.value for measure in _condition(tmp_path).measures()}
    assert figures == {
        "twistpi_disk_free_bytes": 1000 * MB,
        "twistpi_disk_size_bytes": 2000 * MB,
        "twistpi_changelog_serial": 7,
    }


@pytest.mark.parametrize(("free", "fine"), [(256 * MB, True), (255 * MB, False), (0, False)])
def test_a_disk_needs_its_reserve(tmp_path: Path, free: int, fine: bool) -> None:
    check = _check(_condition(tmp_path, free=free), "disk")
    assert (check.fine, check.needed) == (fine, True)
    assert ("make room. Until then, mirrors pass files on" in check.sentence) is not fine
    assert str(tmp_path) not in check.sentence


def test_a_disk_that_is_gone_is_told_without_its_path(tmp_path: Path) -> None:
    condition = _condition(tmp_path)
    condition._statvfs = lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error", path))
    check = _check(condition, "disk")
    assert not check.fine
    assert "Input/output error" in check.sentence
    assert str(tmp_path) not in check.sentence


def test_a_log_that_cannot_be_written_is_no_log(tmp_path: Path) -> None:
    assert _check(_condition(tmp_path), "log").fine
    check = _check(_condition(tmp_path, failure=StorageFull(str(tmp_path), "No space left on device")), "log")
    assert (check.fine, check.needed) == (False, True)
    assert "No space left on device); make room. Until then, changes are refused" in check.sentence
    assert str(tmp_path) not in check.sentence


def test_an_upstream_that_is_away_is_a_warning(tmp_path: Path) -> None:
    assert _check(_condition(tmp_path), "upstream").fine
    check = _check(_condition(tmp_path, failing={"root/pypi": "Connection refused"}), "upstream")
    assert (check.fine, check.needed) == (False, False)
    assert "root/pypi: Connection refused" in check.sentence


def test_upstreams_of_closed_indexes_are_not_told_to_everybody(tmp_path: Path) -> None:
    failing = {"alice/closed": "secret.example does not exist", "root/pypi": "Connection refused"}
    sentence = _check(_condition(tmp_path, failing=failing), "upstream").sentence
    assert "root/pypi: Connection refused; some of closed indexes." in sentence
    assert "alice" not in sentence
    assert "secret.example" not in sentence


def _progress(**fields: Any) -> Progress:
    progress = Progress(0.0, 5)
    for name, value in fields.items():
        setattr(progress, name, value)
    return progress


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"connected_at": 1.0, "primary_serial": 5}, "fine"),
        ({"connected_at": 1.0, "primary_serial": 9, "synced_at": 970.0}, "warning"),
        ({"connected_at": 1.0, "primary_serial": 9, "synced_at": 900.0}, "failed"),
        ({"connected_at": 1.0, "primary_serial": 9}, "failed"),
        ({"state": "unreachable", "primary_serial": 9, "synced_at": 100.0}, "warning"),
        ({"state": "diverged", "primary_serial": 9, "synced_at": 990.0}, "failed"),
    ],
)
def test_a_replica_is_ready_unless_it_is_known_to_lack_much(tmp_path: Path, fields: dict[str, Any], result: str) -> None:
    condition = _condition(tmp_path)
    condition._progress, condition._seconds = lambda: _progress(**fields), lambda: 1000.0
    check = _check(condition, "lag")
    assert ("fine" if check.fine else "failed" if check.needed else "warning") == result

"""Opening what is kept: a view that lags catches up, a log that lost entries is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from twistpi.changelog.disk import RealDisk
from twistpi.keeping import Keeping
from twistpi.model.changes import FileCached
from twistpi.model.codec import encode_content
from twistpi.model.errors import ServerdirRefused
from twistpi.settings import Settings

_UPSTREAM = "https://upstream.example/simple/"


def _now() -> datetime:
    return datetime(2026, 3, 14, tzinfo=UTC)


def _open(path: Path) -> Keeping:
    return Keeping.open(Settings(serverdir=str(path), upstream=_UPSTREAM), _now, RealDisk())


def _body(number: int) -> bytes:
    change = FileCached("root/pypi", "six", f"six-{number}.tar.gz", "ab" * 32, number)
    return encode_content("2026-03-14T00:00:00.000000Z", "+mirror", [change])


def test_entries_that_the_view_has_not_seen_are_folded_at_start(tmp_path: Path) -> None:
    keeping = _open(tmp_path)
    keeping.changelog.append([_body(1), _body(2)], expect=1)
    keeping.close()
    keeping = _open(tmp_path)
    assert keeping.view.position == keeping.changelog.last
    assert keeping.view.reader.serial() == 3
    keeping.close()


def test_a_removed_view_is_made_anew(tmp_path: Path) -> None:
    _open(tmp_path).close()
    (tmp_path / "view.sqlite").unlink()
    keeping = _open(tmp_path)
    assert [index.name for index in keeping.view.reader.indexes()] == ["root/pypi"]
    keeping.close()


def test_a_log_without_entries_that_were_acknowledged_is_refused_and_untouched(tmp_path: Path) -> None:
    _open(tmp_path).close()
    segment = next((tmp_path / "changelog").iterdir())
    backup = segment.read_bytes()
    keeping = _open(tmp_path)
    keeping.changelog.append([_body(1)], expect=1)
    keeping.close()
    _open(tmp_path).close()
    segment.write_bytes(backup)
    with pytest.raises(ServerdirRefused, match=r"lost entries that were acknowledged.*remove .*view\.sqlite"):
        _open(tmp_path)
    assert segment.read_bytes() == backup
    (tmp_path / "view.sqlite").unlink()
    keeping = _open(tmp_path)
    assert keeping.changelog.last.serial == 1
    keeping.close()

"""What the server's log says of changes."""

from __future__ import annotations

from hypothesis import given

from tests.strategies import changes
from twistpi.model.changes import (
    Change,
    EpochBegan,
    FileCached,
    LinksChanged,
    LogStarted,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
)
from twistpi.model.releases import FileUploaded, ReleaseDescribed
from twistpi.rules.descriptions import describe

OF_THE_SERVER = (LogStarted, EpochBegan, LinksChanged, ProjectVanished, FileCached, MetadataCached, MetadataMissing)
"""Changes that nobody asks for by a request."""


@given(changes())
def test_every_change_that_people_make_is_described_and_no_other(change: Change) -> None:
    assert bool(describe([change])) is not isinstance(change, OF_THE_SERVER)


def test_an_upload_is_told_once_though_it_describes_its_release_too() -> None:
    files = [FileUploaded("a/dev", "x", "1.0", name, "ab" * 32, 3) for name in ("x-1.0.tar.gz", "x-1.0.zip")]
    assert describe([ReleaseDescribed("a/dev", "x", "1.0"), *files]) == "uploaded x-1.0.tar.gz, x-1.0.zip to a/dev"
    assert describe([ReleaseDescribed("a/dev", "x", "1.0")]) == "described x 1.0 on a/dev"

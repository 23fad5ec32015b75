"""Upload times of files whose upstream tells none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.fakes.upstream import Document, Status
from tests.in_reactor import in_reactor
from tests.mirror.mirror_setup import Setup
from twistpi.changelog.writer import Committed
from twistpi.mirror.upload_times import upload_moment
from twistpi.model.changes import IndexModified, LinksChanged
from twistpi.model.records import Index

FILES = {"hello-1.0.tar.gz": b"one", "hello-2.0.tar.gz": b"two"}
NOW = datetime(2026, 11, 30, tzinfo=UTC)
LATER = 3600.0


async def configure(setup: Setup, **config: object) -> Index:
    committed: Committed = await setup.writer.commit(lambda _reader: [IndexModified(setup.index.name, config)], by="root")
    assert committed.changes
    found = setup.readers.get().index(setup.index.name)
    assert found is not None
    return found


def times(setup: Setup) -> list[str | None]:
    return [file.link.upload_time for file in setup.project("hello").files]


@in_reactor
async def test_files_are_asked_only_where_a_policy_needs_to_know(setup: Setup) -> None:
    setup.fake.add_project("hello", FILES, form="html")
    await setup.mirror.ensure(setup.index, "hello")
    assert times(setup) == [None, None]
    index = await configure(setup, min_release_age=86400)
    state = await setup.mirror.ensure(index, "hello")
    assert (state.kind, times(setup)) == ("revalidated", ["2026-11-01T10:00:00.000000Z"] * 2)
    seen = len(setup.fake.seen)
    setup.clock.shift += LATER
    await setup.mirror.ensure(index, "hello")
    assert [request.method for request in setup.fake.seen[seen:]] == ["GET"]
    assert len(setup.changes(LinksChanged)) == 2


@in_reactor
async def test_a_file_that_does_not_say_counts_as_uploaded_when_it_was_first_seen(setup: Setup) -> None:
    setup.fake.add_project("hello", FILES, form="html")
    setup.fake.documents["/files/hello/hello-1.0.tar.gz"] = Document(b"one")
    setup.fake.misbehave("/files/hello/hello-2.0.tar.gz", Status(405))
    index = await configure(setup, min_release_age=86400)
    before = setup.clock.seconds()
    await setup.mirror.ensure(index, "hello")
    found = [datetime.fromisoformat(time or "").timestamp() for time in times(setup)]
    assert all(before - 1 <= moment <= setup.clock.seconds() for moment in found)


@in_reactor
async def test_a_file_whose_server_is_silent_is_asked_again_later(setup: Setup) -> None:
    setup.fake.add_project("hello", FILES, form="html")
    setup.fake.misbehave("/files/hello/hello-1.0.tar.gz", Status(503))
    index = await configure(setup, min_release_age=86400)
    await setup.mirror.ensure(index, "hello")
    assert times(setup) == [None, "2026-11-01T10:00:00.000000Z"]
    setup.fake.behave("/files/hello/hello-1.0.tar.gz")
    await setup.mirror.ensure(index, "hello")
    assert times(setup)[0] is None  # a moment ago it was asked
    setup.clock.shift += 61
    await setup.mirror.ensure(index, "hello")
    assert times(setup)[0] == "2026-11-01T10:00:00.000000Z"


@in_reactor
async def test_a_page_that_tells_the_times_is_believed(setup: Setup) -> None:
    told = {filename: {"upload-time": "2026-10-01T00:00:00.000000Z"} for filename in FILES}
    setup.fake.add_project("hello", FILES, extra=told)
    index = await configure(setup, min_release_age=86400)
    await setup.mirror.ensure(index, "hello")
    assert times(setup) == ["2026-10-01T00:00:00.000000Z"] * 2
    assert {request.method for request in setup.fake.seen} == {"GET"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Sun, 01 Nov 2026 10:00:00 GMT", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("Fri, 01 Jan 2027 10:00:00 GMT", NOW),
        ("yesterday", NOW),
        ("", NOW),
        (None, NOW),
    ],
)
def test_no_file_is_older_than_it_says_and_none_is_from_the_future(header: str | None, expected: datetime) -> None:
    assert upload_moment(header, NOW) == expected

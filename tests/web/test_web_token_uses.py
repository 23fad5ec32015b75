"""Downloads and uploads with API tokens carry the title of the token in figures and logs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.test_web_log import lines
from tests.web.web_asking import Person, add_stage, nobody
from tests.web.web_uploads import DEV, WHEEL, is_accepted, upload, wheel
from tests.web.web_world import MIRROR, MakeWorld, World, link
from twistpi.auth import tokens as api_tokens
from twistpi.model.changes import TokenCreated
from twistpi.rules.mirrors import file_path
from twistpi.statistics.downloads import Downloads
from twistpi.statistics.tally import Tally
from twistpi.web.access_log import AccessLog
from twistpi.web.traffic import MOST_LABELS, OTHER_LABELS, Traffic

__all__ = ["lines"]

FILE = link("hello-1.0.tar.gz", b"hello")


@pytest.fixture
def world(make_world: MakeWorld, tmp_path: Path) -> Iterator[World]:
    """A server that counts downloads and has an access log in JSON, with an open mirror and alice's closed index."""
    world = make_world(downloads=Downloads(tally=Tally()))
    log = AccessLog(str(tmp_path / "access.log"), "json", sys.stdout)
    world.access_log = log
    world.rebuild()
    world.add_user("alice", None)
    add_stage(world, DEV, acl_read=["alice"])
    world.list_links("hello", [FILE])
    world.cache_file("hello", FILE, b"hello")
    yield world
    log.close()


def with_title(world: World, title: str, expires: str | None = None) -> Person:
    text, public, digest = api_tokens.make(os.urandom)
    world.commit(TokenCreated(public, "alice", digest, ("read", "upload"), expires=expires, title=title))
    return Person(world, f"__token__:{text}")


def counted(world: World) -> dict[tuple[str, str], int]:
    return dict(world.components.traffic.tokens)


def test_uploads_and_downloads_are_counted_by_the_title_of_the_token(world: World) -> None:
    ci = with_title(world, "ci")
    assert is_accepted(upload(ci, DEV, WHEEL, wheel()))
    ((_project, own),) = world.view.reader.files_by_filename(DEV, WHEEL)
    for path in (f"/{DEV}/{own.path}", f"/{MIRROR}/{file_path(FILE)}", f"/{MIRROR}/{file_path(FILE)}"):
        assert ci.get(path, accept="*/*").status == 200
    assert counted(world) == {("upload", "ci"): 1, ("download", "ci"): 3}
    told = nobody(world, "127.0.0.1").get("/+metrics", accept="*/*").body.decode()
    assert 'twistpi_token_downloads_total{token="ci"} 3.0' in told
    assert 'twistpi_token_uploads_total{token="ci"} 1.0' in told


def test_what_comes_without_a_valid_token_has_no_label(world: World) -> None:
    path = f"/{MIRROR}/{file_path(FILE)}"
    past = with_title(world, "past", expires="2020-01-01T00:00:00Z")
    wrong = Person(world, "__token__:twistpi-0123456789abcdef-wrong")
    for person in (nobody(world), past, wrong, Person(world, "alice:password")):
        assert person.get(path, accept="*/*").status == 200
    assert counted(world) == {}


def test_a_refused_upload_is_not_counted(world: World) -> None:
    assert upload(with_title(world, "ci"), DEV, WHEEL, b"no wheel").status == 400
    assert counted(world) == {}


def test_the_log_names_the_token_of_a_change_and_the_access_log_that_of_every_request(
    world: World, tmp_path: Path, lines: list[str]
) -> None:
    ci, bare = with_title(world, "ci\nof the shop"), with_title(world, "")
    assert is_accepted(upload(ci, DEV, WHEEL, wheel()))
    told = next(line for line in lines if "uploaded" in line)
    assert told.startswith(f"alice (token ci of the shop) uploaded {WHEEL} to {DEV}")
    for person in (bare, nobody(world)):
        assert person.get(f"/{MIRROR}/+simple/hello/").status == 200
    found = [json.loads(line).get("token") for line in (tmp_path / "access.log").read_text().splitlines()]
    public = next(token.token for token in world.view.reader.api_tokens("alice") if not token.title)
    assert found == ["ci of the shop", public, None]


def test_labels_beyond_a_number_count_as_others_also_where_workers_counted_them() -> None:
    worker, first = Traffic(), Traffic()
    for number in range(MOST_LABELS + 50):
        worker.count_token("upload", f"job {number}")
    assert len(worker.tokens) == MOST_LABELS + 1
    assert worker.tokens["upload", OTHER_LABELS] == 50
    for number in range(MOST_LABELS):
        first.count_token("download", f"build {number}")
    first.add(worker.take())
    assert len(first.tokens) == MOST_LABELS + 1
    assert first.tokens["upload", OTHER_LABELS] == MOST_LABELS + 50
    assert not worker.tokens

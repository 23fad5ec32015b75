"""What clients are told of failures of the server: what they can do, and nothing about its disk."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from tests.web.web_asking import add_stage, nobody
from tests.web.web_uploads import DEV, SDIST, path_of, reason, sdist, upload, with_stages
from tests.web.web_wire import JSON_PAGE, Wire
from tests.web.web_world import MIRROR, World
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import StorageFull, SyncFailed
from twistpi.web.errors import reply_to


def test_what_was_given_up_is_to_be_asked_for_again() -> None:
    """As when the server takes on another role."""
    failure = Failure(CancelledError())
    reply = reply_to(failure, wants_json=False, path="/root/pypi/+simple/six/")
    assert reply.status == 503
    assert b"Try again" in reply.body
    assert dict(reply.headers)[b"Retry-After"] == b"2", "which pip waits before each of five attempts"


@pytest.mark.parametrize(
    "error", [StorageFull("/srv/twistpi/incoming/7", "No space left"), SyncFailed("/srv/twistpi/x", "No space left")]
)
def test_of_a_disk_that_takes_nothing_askers_hear_no_path(error: TwistpiError) -> None:
    reply = reply_to(Failure(error), wants_json=False, path="/alice/dev/")
    assert reply.status == error.status
    assert b"cannot write to its disk now (No space left)" in reply.body
    assert b"/srv" not in reply.body


PIP = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/{MIRROR}/+simple/unknown/", 404),
        ("/alice/none/+simple/demo-pkg/", 404),
        (f"/{DEV}/+f/abc/0123456789abc/none-1.0.tar.gz", 404),
        (f"/{DEV}/+f/abc/0123456789abc/none-1.0-py3-none-any.whl.metadata", 404),
        ("/alice/closed/+simple/demo-pkg/", 401),
        ("/alice/closed/+f/abc/0123456789abc/none-1.0.tar.gz", 401),
    ],
)
@pytest.mark.parametrize("plain", [True, False], ids=["fast", "ordinary"])
def test_who_prefers_json_gets_every_error_as_json(world: World, path: str, status: int, plain: bool) -> None:
    with_stages(world)
    add_stage(world, "alice/closed", acl_read=["alice"])
    more = {} if plain else {"x_unusual": "1", "connection": "close"}
    for accept in (PIP, JSON_PAGE, "application/json", "application/json, text/html;q=0.5"):
        answer = Wire(world).ask(path, accept=accept, **more)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
        assert ("Unauthorized" in answer.json()["message"]) is (status == 401)
    for accept in ("*/*", "text/html", "text/html, application/vnd.pypi.simple.v1+json;q=0.1"):
        answer = Wire(world).ask(path, accept=accept, **more)
        assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")


def test_a_range_that_is_not_there_is_told_as_json_too(world: World) -> None:
    alice = with_stages(world)
    upload(alice, DEV, SDIST, sdist())
    answer = Wire(world).ask(path_of(world, DEV, SDIST), accept=JSON_PAGE, range="bytes=99999999-")
    assert (answer.status, answer.headers["content-type"]) == (416, "application/json")
    assert answer.json()["message"] == f"The file has {len(sdist())} bytes."


def test_an_upload_without_a_login_is_unauthorized_in_the_status_line(world: World) -> None:
    with_stages(world)
    told = reason(upload(nobody(world), DEV, SDIST, sdist()))
    assert told.startswith("Log in to upload")
    assert "Unauthorized" in told, "devpi upload shows nothing else, and other commands show the word themselves"

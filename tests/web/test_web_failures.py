"""What askers hear of what goes wrong here: what they can do, and nothing of the server's disk."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import StorageFull, SyncFailed
from twistpi.web.errors import reply_to


def test_what_was_given_up_is_to_be_asked_for_again() -> None:
    """As when the server takes on another role."""
    failure = Failure(CancelledError())
    reply = reply_to(failure, wants_json=False, path="/root/pypi/+simple/six/")
    assert reply.status == 503
    assert b"Try again" in reply.body
    assert dict(reply.headers)[b"Retry-After"]


@pytest.mark.parametrize(
    "error", [StorageFull("/srv/twistpi/incoming/7", "No space left"), SyncFailed("/srv/twistpi/x", "No space left")]
)
def test_of_a_disk_that_takes_nothing_askers_hear_no_path(error: TwistpiError) -> None:
    reply = reply_to(Failure(error), wants_json=False, path="/alice/dev/")
    assert reply.status == error.status
    assert b"cannot write to its disk now (No space left)" in reply.body
    assert b"/srv" not in reply.body

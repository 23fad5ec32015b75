"""What is given up because the server takes on another role is no surprise: whoever waited is asked to try again."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from twistpi.web.failures import reply_to


def test_what_was_given_up_is_to_be_asked_for_again() -> None:
    failure = Failure(CancelledError())  # type: ignore[no-untyped-call]
    reply = reply_to(failure, wants_json=False, path="/root/pypi/+simple/six/")
    assert reply.status == 503
    assert b"Try again" in reply.body
    assert dict(reply.headers)[b"Retry-After"]

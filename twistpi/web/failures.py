"""The one place where errors become HTTP."""

from __future__ import annotations

import html

import orjson
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from twistpi.model.errors import TwistpiError
from twistpi.web.replies import JSON, NO_STORE, TEXT, VARY, Headers, Reply, length_of

_RETRY_AFTER = b"5"
"""Seconds; installers that honour it wait exactly that long, so it is short."""
_SURPRISE = "Something went wrong here; the server's log tells more."

log = Logger()


def reply_to(failure: Failure, *, wants_json: bool, path: str) -> Reply:
    """What an asker of ``path`` hears about ``failure``.

    Expected refusals are logged as information, surprises with their traceback.
    """
    error = failure.value
    if isinstance(error, TwistpiError):
        if error.status >= 500:
            log.warn("{path} answered {status}: {reason}", path=path, status=error.status, reason=str(error))
        return error_reply(error.status, str(error), wants_json=wants_json)
    if isinstance(error, HTTPException) and error.code is not None:
        return _routing_reply(error, wants_json=wants_json, path=path)
    log.failure("{path} failed", failure=failure, path=path)
    return error_reply(500, _SURPRISE, wants_json=wants_json)


def error_reply(status: int, message: str, *, wants_json: bool, extra: Headers = ()) -> Reply:
    """``message`` as JSON for who asks so, else as text; never to be stored by a cache."""
    if wants_json:
        kind, body = JSON, orjson.dumps({"message": message}, option=orjson.OPT_APPEND_NEWLINE)
    else:
        kind, body = TEXT, f"{message}\n".encode("utf-8", "replace")
    if status == 503:
        extra = (*extra, (b"Retry-After", _RETRY_AFTER))
    return Reply(status, ((b"Content-Type", kind), length_of(body), NO_STORE, VARY, *extra), body)


def _routing_reply(error: HTTPException, *, wants_json: bool, path: str) -> Reply:
    """The router found nothing, or something that takes other methods."""
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        extra = ((b"Allow", allowed.encode("ascii")),) if allowed else ()
        return error_reply(405, f"This takes only: {allowed}.", wants_json=wants_json, extra=extra)
    if error.code == 404:
        return error_reply(404, f"There is nothing at {path}", wants_json=wants_json)
    return error_reply(error.code or 500, html.unescape(error.description or error.name), wants_json=wants_json)

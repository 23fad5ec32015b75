"""The one place where errors become HTTP."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Final

import attrs
import orjson
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from twistpi.model.errors import FileRefused, LoginFailed, LoginNeeded, PermissionDenied, TwistpiError, fields_of
from twistpi.model.records import NOTHING, Principal
from twistpi.model.server_errors import StorageFull, SyncFailed, WrittenNotShown
from twistpi.model.text import one_line
from twistpi.web.replies import JSON, NO_STORE, TEXT, VARY, Headers, Reply, length_of, phrase_of
from twistpi.web.request import is_form

_RETRY_AFTER = b"2"
"""Seconds, where nothing else is known.

pip 26.3 waits exactly that long before each of its five further attempts (urllib3's ``Retry.sleep_for_retry``): ten seconds in
all, longer than the pause of five for an upstream that failed, and than a restart.  Without the header it waits 7.5 seconds.
uv 0.13 does not look at it, and gives up after seven to ten.
"""
_CHALLENGE = (b"WWW-Authenticate", b'Basic realm="pypi"')
"""Makes installers ask for a login, or stop, instead of looking for the same name elsewhere (RFC 7617)."""
_SURPRISE = "Something went wrong here; the server's log tells more."
_OF_INSTALLERS = re.compile(r"/\+(?:simple|f|e)(?!.*/refresh/?\Z)(?:/|\Z)")
"""Paths of pages and files, which follow HTTP where the devpi protocol is silent."""

_GIVEN_UP = "What this request waited for was given up, because the server stops or takes on another role. Try again in a moment."

_READS: Final = (b"GET", b"HEAD", b"OPTIONS")
_LONGEST_PATH: Final = 300
"""Characters of a path that are logged."""

log = Logger()


def reply_to(failure: Failure, *, wants_json: bool, path: str, request_id: str = "-") -> Reply:
    """Return the response to a request for ``path`` that failed.

    Errors with a status of 500 and more are logged as warnings, unexpected ones with their traceback.
    """
    error = TwistpiError(_GIVEN_UP, 503) if isinstance(failure.value, CancelledError) else failure.value
    if isinstance(error, TwistpiError):
        if error.status >= 500:
            text = "{path} answered {status}: {reason} (request {request})"
            log.warn(text, path=path, status=error.status, reason=str(error), request=request_id)
        fields = _fields_of(error)
        reply = error_reply(error.status, _public_text(error), wants_json=wants_json, extra=_headers_of(error), fields=fields)
        # pip and uv show the phrase of the status line, and nothing else.
        return attrs.evolve(reply, reason=phrase_of(error.sentence)) if isinstance(error, FileRefused) else reply
    if isinstance(error, HTTPException) and error.code is not None:
        return _routing_reply(error, wants_json=wants_json, path=path)
    log.failure("{path} failed (request {request})", failure=failure, path=path, request=request_id)
    return error_reply(500, _SURPRISE, wants_json=wants_json)


def failure_reply(request: Request, failure: Failure, *, wants_json: bool) -> Reply:
    """Return the response to ``request``, which failed."""
    answer = _submit_reply if request.method == b"POST" and is_form(request) else reply_to
    path, named = request.path.decode("ascii", "replace"), getattr(request, "request_id", "-")
    return answer(failure, wants_json=wants_json, path=path, request_id=named)


def log_refusal(request: Request, error: object, principal: Principal, address: str) -> None:
    """Log that ``request`` of ``principal`` at ``address`` was refused, if that is for the log of a normal day.

    That is a change that is not made, and what permissions keep from somebody.  What does not exist is not, nor a missing login,
    which installers send when asked; wrong passwords are logged where they are counted.
    """
    if not isinstance(error, TwistpiError) or not 400 <= error.status < 500 or isinstance(error, LoginFailed):
        return
    if request.method in _READS and not isinstance(error, PermissionDenied):
        return
    log.info(
        "{method} {path} by {by} from {address} was refused with {status}: {reason} (request {request})",
        method=request.method.decode("ascii", "replace"),
        path=request.path.decode("ascii", "replace")[:_LONGEST_PATH],
        by=principal.author,
        address=address,
        status=error.status,
        reason=one_line(str(error)),
        request=getattr(request, "request_id", "-"),
    )


def _submit_reply(failure: Failure, *, wants_json: bool, path: str, request_id: str = "-") -> Reply:
    """Return the same for clients that upload: most show only the status line, others the ``code`` of a JSON body."""
    plain = reply_to(failure, wants_json=False, path=path, request_id=request_id)
    reason = phrase_of(plain.body.decode().rstrip("\n"))
    if not wants_json:
        return Reply(plain.status, plain.headers, plain.body, reason)
    fields = {"message": reason, "code": f"{plain.status} {reason}", "title": reason}
    body = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    kept = tuple(header for header in plain.headers if header[0] not in (b"Content-Type", b"Content-Length"))
    return Reply(plain.status, ((b"Content-Type", JSON), length_of(body), *kept), body, reason)


def error_reply(
    status: int, message: str, *, wants_json: bool, extra: Headers = (), fields: Mapping[str, object] = NOTHING
) -> Reply:
    """Return ``message`` as JSON, with ``fields`` beside it, or as text; no cache may store it."""
    if wants_json:
        kind, body = JSON, orjson.dumps({"message": message, **fields}, option=orjson.OPT_APPEND_NEWLINE)
    else:
        kind, body = TEXT, f"{message}\n".encode("utf-8", "replace")
    if status == 503 and not any(name == b"Retry-After" for name, _value in extra):
        extra = (*extra, (b"Retry-After", _RETRY_AFTER))
    return Reply(status, ((b"Content-Type", kind), length_of(body), NO_STORE, VARY, *extra), body)


def _public_text(error: TwistpiError) -> str:
    """Return the sentence of ``error`` for clients: all of it, without paths of the server's disk."""
    if isinstance(error, WrittenNotShown):
        return (
            f"The change is stored in the changelog as entry {error.serial}, but the server cannot write to its disk now "
            f"({error.reason}). It shows as soon as there is room, so there is no need to send it again."
        )
    if isinstance(error, StorageFull):
        advice = "Nothing was changed. Try again once its administrator has made room (twistpi du, twistpi evict)"
        return f"The server cannot write to its disk now ({error.reason}). {advice}; reading still works."
    if isinstance(error, SyncFailed):
        return f"The server cannot write to its disk now ({error.reason}). Reading still works; try again later."
    return str(error)


def _headers_of(error: TwistpiError) -> Headers:
    """Return the headers that belong to an error."""
    if isinstance(error, LoginNeeded):
        return (_CHALLENGE,)
    if isinstance(error, FileRefused):
        until = "" if error.until is None else f"; until={error.until}"
        return ((b"X-Twistpi-Policy", f"{error.rule}; index={error.index}{until}".encode("ascii", "replace")),)
    if error.retry_after is not None:
        return ((b"Retry-After", b"%d" % error.retry_after),)
    return ()


def _fields_of(error: TwistpiError) -> Mapping[str, object]:
    """Return the fields that programs get with the sentence of an error."""
    if not isinstance(error, FileRefused):
        return NOTHING
    return {name: value for name, value in fields_of(error).items() if name != "sentence"}


def _routing_reply(error: HTTPException, *, wants_json: bool, path: str) -> Reply:
    """Return the response if no route matches, or only one for other methods."""
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        extra = ((b"Allow", allowed.encode("ascii")),) if allowed else ()
        # The devpi protocol has always said that there is no such thing.
        status = 405 if _OF_INSTALLERS.search(path) else 404
        return error_reply(status, f"{path} takes only: {allowed}.", wants_json=wants_json, extra=extra)
    if error.code == 404:
        return error_reply(404, f"There is nothing at {path}", wants_json=wants_json)
    return error_reply(error.code or 500, html.unescape(error.description or error.name), wants_json=wants_json)

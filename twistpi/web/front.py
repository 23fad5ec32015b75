"""The first look at a request's path: what no route may ever see is refused here, before routing decodes it."""

from __future__ import annotations

from urllib.parse import urlsplit

from klein import Klein
from klein.resource import KleinResource
from twisted.web.resource import Resource
from twisted.web.server import Request

from twistpi.web.failures import error_reply
from twistpi.web.replies import put
from twistpi.web.request import DoorRequest
from twistpi.web.services import Services

_LONGEST_PATH = 2048
"""Bytes; the longest honest one has a user, an index, a digest and a file name of 255 bytes, each byte in three."""


class Front(Resource):
    """Strips the prefix of the outside URL and refuses paths that could mean two things."""

    isLeaf = True  # noqa: N815

    def __init__(self, services: Services, app: Klein) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._services = services
        self._routes: KleinResource = app.resource()
        prefix = urlsplit(services.outside_url).path.strip("/")
        self._prefix = [segment.encode() for segment in prefix.split("/")] if prefix else []

    def render(self, request: Request) -> object:
        """Route the request, or refuse it."""
        refusal = _refusal(request) or self._refuse_body(request)
        if refusal is not None:
            reply = error_reply(*refusal, wants_json=False)
            return put(request, reply, self._services.standing.at(self._services.clock.seconds()))
        request.postpath = self._without_prefix(request.postpath or [])
        return self._routes.render(request)

    def _refuse_body(self, request: Request) -> tuple[int, str] | None:
        limit = self._services.max_upload_size
        if isinstance(request, DoorRequest) and request.body_length > limit:
            return 413, f"The body has {request.body_length} bytes; this server takes {limit} (its setting max-upload-size)."
        return None

    def _without_prefix(self, segments: list[bytes]) -> list[bytes]:
        while len(segments) > 1 and not segments[0]:
            segments = segments[1:]
        size = len(self._prefix)
        if size and segments[:size] == self._prefix:
            return segments[size:] or [b""]
        return segments


def _refusal(request: Request) -> tuple[int, str] | None:
    """Status and reason, when the path is none."""
    if len(request.path) > _LONGEST_PATH:
        return 414, f"The path has {len(request.path)} bytes; no more than {_LONGEST_PATH} are looked at."
    for segment in request.postpath or ():
        # An encoded slash must never become a separator (or a file name a path).
        if b"/" in segment or b"\\" in segment or segment in (b".", b".."):
            return 404, "There is nothing at a path with such a part."
        if any(byte < 32 or byte == 127 for byte in segment):
            return 400, "The path contains a control character."
        try:
            segment.decode()
        except UnicodeDecodeError:
            return 400, "The path is not UTF-8."
    return None

"""The first look at a request's path: what no route may ever see is refused here, before routing decodes it."""

from __future__ import annotations

from klein import Klein
from klein.resource import KleinResource
from twisted.web.resource import Resource
from twisted.web.server import Request

from twistpi.web.addresses import outside_prefix
from twistpi.web.failures import error_reply
from twistpi.web.paths import RequestRefused, check_path, without_prefix
from twistpi.web.replies import put
from twistpi.web.request import DoorRequest, speaks_json
from twistpi.web.services import Services


class Front(Resource):
    """Strips the prefix of the outside URL and refuses paths that could mean two things."""

    isLeaf = True  # noqa: N815

    def __init__(self, services: Services, app: Klein) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._services = services
        self._routes: KleinResource = app.resource()

    def render(self, request: Request) -> object:
        """Route the request, or refuse it."""
        segments = request.postpath or []
        try:
            check_path(request.path, segments)
            self._check_body(request)
        except RequestRefused as refusal:
            reply = error_reply(refusal.status, refusal.reason, wants_json=speaks_json(request))
            return put(request, reply, self._services.standing.at(self._services.clock.seconds()))
        request.postpath = without_prefix(segments, outside_prefix(request, self._services))
        return self._routes.render(request)

    def _check_body(self, request: Request) -> None:
        limit = self._services.max_upload_size
        if isinstance(request, DoorRequest) and request.body_length > limit:
            size = request.body_length
            raise RequestRefused(413, f"The body has {size} bytes; this server takes {limit} (its setting max-upload-size).")

"""What a request asks for, read in the same way by the ordinary path and the fast one."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs
import orjson
from twisted.python.failure import Failure
from twisted.web.server import Request

from twistpi.http.conditional import parse_tags, tags_match
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import Json
from twistpi.simple.negotiate import Representation, accepts_gzip, choose
from twistpi.web.forwarding.headers import PassedOn
from twistpi.web.paths import check_head
from twistpi.web.receiving.streamed_body import choose_body
from twistpi.web.traffic import ABANDONED

JsonSource = Callable[[], Json]
"""Returns what a request says, as JSON; raises ``BadRequest`` where it cannot be read.  A form of a page is one, too."""
_INSTALLERS = ("pip/", "uv/", "setuptools/", "distribute/", "pex/")
_LARGEST_BODY = 1024 * 1024
"""Bytes of a request body that are kept."""
_MOST_LEVELS = 100
"""How deep a JSON body may be nested."""
_JSON_ONLY = (b"/+api", b"/+login", b"/+status", b"/+authcheck", b"/+tokens")
"""The ends of paths at which nothing but JSON is spoken."""
_PACKAGE_JSON = re.compile(rb"(?:(?:/[^/]+){2}/(?!\+simple/)[^/]+|/pypi/[^/]+)/json/?\Z")
"""Likewise the ends of those of ``handlers.package_json``; ``/{user}/{index}/+simple/json/`` is a page."""


@attrs.frozen
class Negotiated:
    """The negotiated form of a response."""

    representation: Representation | None
    """Of a simple page; None when nothing acceptable can be served."""
    gzip: bool
    """Whether a gzip-coded answer is understood."""
    installer: bool
    """Whether the client is an installer, by its ``User-Agent``."""
    json: bool
    """Whether ``application/json`` stands in ``Accept``: the devpi client's way to ask for facts."""
    variant: str = attrs.field(init=False)
    """All of it in one word: what an answer to the same path may depend on."""

    @variant.default
    def _variant(self) -> str:
        kind = self.representation.value if self.representation else "-"
        return f"{kind} {self.gzip:d}{self.installer:d}{self.json:d}"


def negotiate(accept: str | None, accept_encoding: str | None, user_agent: str | None, *, lenient: bool) -> Negotiated:
    """Return what these headers ask for; ``lenient`` serves HTML if no acceptable representation is available.

    So does ``application/json``: the devpi client follows redirects to simple pages with it, and needs them to end well.
    """
    wants_json = accept is not None and "application/json" in accept
    fallback = Representation.TEXT_HTML if lenient or wants_json else None
    return Negotiated(choose(accept, fallback=fallback), accepts_gzip(accept_encoding), is_installer(user_agent), wants_json)


def is_installer(user_agent: str | None) -> bool:
    """Return whether ``user_agent`` names an installer and its version."""
    return user_agent is not None and any(word.startswith(_INSTALLERS) for word in user_agent.split(" "))


def header(request: Request, name: str) -> str | None:
    """Return the value of a request header, several lines joined as one list (RFC 9110, 5.3); None without any."""
    values = request.requestHeaders.getRawHeaders(name.encode("ascii"))
    return ", ".join(value.decode("latin-1") for value in values) if values else None


def passed_on_of(request: Request) -> PassedOn | None:
    """Return for whom a trusted server forwards ``request``; None if it was not forwarded."""
    return request.passed_on if isinstance(request, TwistpiRequest) else None


def is_shared(request: Request) -> bool:
    """Return whether pages of other sites may read the answer to ``request``."""
    return isinstance(request, TwistpiRequest) and request.is_shared


def negotiated_of(request: Request, *, lenient: bool) -> Negotiated:
    """Return what ``request`` asks for; ``?format=`` has precedence over ``Accept``."""
    negotiated = negotiate(
        header(request, "accept"), header(request, "accept-encoding"), header(request, "user-agent"), lenient=lenient
    )
    if b"format" not in request.args:
        return negotiated
    chosen = choose(None, ",".join(value.decode("latin-1") for value in request.args[b"format"]))
    return attrs.evolve(negotiated, representation=chosen)


def wants_html(request: Request) -> bool:
    """Return whether ``Accept`` contains ``text/html`` and not ``application/json``, as that of browsers."""
    accept = (header(request, "accept") or "").lower()
    return "text/html" in accept and "application/json" not in accept


def is_form(request: Request) -> bool:
    """Return whether the body of ``request`` is a form, as clients that upload send it.

    Programs also send JSON under the type of forms without files, which is their libraries' default.
    """
    kind = (header(request, "content-type") or "").strip().lower()
    is_json = isinstance(request.content, io.BytesIO) and bytes(request.content.getbuffer()[:1]) == b"{"
    return kind.startswith(("multipart/form-data", "application/x-www-form-urlencoded")) and not is_json


def accepts_json_errors(accept: str | None) -> bool:
    """Return whether errors of pages and files are reported as JSON to a client with this ``Accept``: if it prefers JSON."""
    return accept is not None and ("application/json" in accept.lower() or choose(accept) is Representation.JSON_V1)


def speaks_json(request: Request) -> bool:
    """Return whether errors of ``request`` are reported as JSON: if it is accepted, or the only format of the endpoint."""
    if accepts_json_errors(header(request, "accept")):
        return True
    if request.method in (b"PUT", b"PATCH", b"DELETE", b"PUSH") or (request.method == b"POST" and not is_form(request)):
        return True
    return request.path.rstrip(b"/").endswith(_JSON_ONLY) or _PACKAGE_JSON.search(request.path) is not None


def kept_body(request: Request) -> bytes:
    """Return the body of ``request``; raise ``TwistpiError`` for one that was not kept."""
    if isinstance(request, TwistpiRequest) and request.body_length > _LARGEST_BODY:
        raise TwistpiError(f"The body is larger than the {_LARGEST_BODY} bytes that are taken here.", 413)
    assert request.content is not None
    request.content.seek(0)
    return bytes(request.content.read())


def json_body(request: Request) -> Json:
    """Return the JSON in the body of ``request``, whatever its ``Content-Type``; raise ``BadRequest`` and ``TwistpiError``."""
    return read_json(kept_body(request))


def read_json(body: bytes) -> Json:
    """Return the JSON in ``body``; raise ``BadRequest``."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("Bad request: could not decode json") from None
    if body.count(b"[") + body.count(b"{") > _MOST_LEVELS and _is_deeper(value, _MOST_LEVELS):
        raise BadRequest(f"Bad request: the json is nested more than {_MOST_LEVELS} levels deep")
    return value


def _is_deeper(value: Json, levels: int) -> bool:
    """Return whether ``value`` is nested more than ``levels`` deep."""
    level: list[Json] = [value]
    for _ in range(levels):
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
        if not level:
            return False
    return any(isinstance(part, dict | list) for part in level)


def has_parameter(request: Request, name: bytes) -> bool:
    """Whether the query names ``name``, with a value or without any, not even an ``=``, which Twisted's reading of it demands."""
    parameters = request.uri.partition(b"?")[2].split(b"&")
    return any(unquote_to_bytes(parameter.partition(b"=")[0]) == name for parameter in parameters)


def parameter(request: Request, name: bytes) -> str:
    """Return the first value of ``name`` in the query; empty without any."""
    value: bytes = request.args.get(name, [b""])[0]
    return value.decode("utf-8", "replace")


def wants_csv(request: Request) -> bool:
    """Return whether the answer is to be a table instead of JSON, by ``format`` or else ``Accept``; raise ``BadRequest``."""
    form = parameter(request, b"format")
    if form not in ("", "csv", "json"):
        raise BadRequest(f"Bad request: format must be json or csv, got {form[:20]}")
    return form == "csv" or (not form and "text/csv" in (header(request, "accept") or ""))


def result_version(request: Request) -> int:
    """Return which form of JSON the query asks for with ``v``, 1 (devpi-server 6) or 2 (7); raise ``BadRequest``."""
    asked = (request.args.get(b"v") or [b"1"])[0].decode("latin-1")
    if asked not in ("1", "2"):
        raise BadRequest(f"The requested result version must be 1 to 2, got {asked[:20]}")
    return int(asked)


def query_of(request: Request) -> str:
    """Return the query with its question mark, as sent; empty without one."""
    _path, mark, query = request.uri.partition(b"?")
    return (mark + query).decode("latin-1").encode("ascii", "ignore").decode("ascii")


def ends_with_slash(request: Request) -> bool:
    """Return whether the path as sent ends with a slash: relative links depend on it."""
    return request.path.endswith(b"/")


class _BoundedBody(io.BytesIO):
    """Keeps the beginning of a body and drops the rest, so that no request can fill memory or disk."""

    received = 0
    """Bytes that came, whether they were kept or not."""

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.received += len(data)
        room = _LARGEST_BODY - self.tell()
        if room > 0:
            super().write(data[:room])
        return len(data)


class TwistpiRequest(Request):
    """A request that neither parses nor keeps large bodies by itself; forms with files are read while they come."""

    channel: Any
    request_id = ""
    """What answers and logs call it; empty until its head is complete."""
    passed_on: PassedOn | None = None
    """For whom another server forwards this."""
    is_shared = False
    """Whether pages of other sites may read the answer."""
    refusal: TwistpiError | None = None
    """Why the request is refused by its head or size; ``NodeRefused`` if such a server is not trusted."""

    def __init__(self, channel: object, *arguments: object, **more: object) -> None:
        super().__init__(channel, *arguments, parsePOSTFormSubmission=False, **more)
        self._began: float | None = None

    def lasted(self) -> float:
        """Return the seconds since all headers were here."""
        return 0.0 if self._began is None else max(0.0, self.channel.site.clock.seconds() - self._began)

    def process(self) -> None:
        """Answer the request, which is complete, from the newest view."""
        self.channel.site.before_answer()
        super().process()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone, or its connection was cut."""
        was_answered = self.finished or self.channel is None
        if self.path is not None and not was_answered:  # it is logged nowhere else
            if not self.startedWriting:
                self.code = ABANDONED
            self.channel.site.log(self)
        super().connectionLost(reason)

    def gotLength(self, length: int | None) -> None:
        """Called with the announced length of the body, None when it comes in chunks."""
        channel = self.channel
        site, (method, raw) = channel.site, channel.request_line
        self._began = site.clock.seconds()
        try:
            check_head(channel.version, raw, self.requestHeaders.getRawHeaders(b"host", ()))
            self.passed_on = site.trusted_peers.passed_on(self, method, raw)
            site.trusted_peers.check_sender(self, method, raw)
        except TwistpiError as refusal:
            self.refusal = refusal
        self.request_id = site.request_ids.name(self)
        if self.refusal is not None:
            self._refuse(length)
            return
        forwarder = site.forwarder
        if forwarder is not None:  # now, or when it turns out that only the other server can answer
            self.requestHeaders.setRawHeaders(b"X-Request-Id", [self.request_id.encode("ascii")])
        if forwarder is not None and forwarder.takes(self, method, raw):
            self.content = forwarder.begin(self, method, raw, length)
        else:
            self.content = choose_body(self, site.storage, length, site.admit) or _BoundedBody()
            self._check_size(length or 0)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the body."""
        super().handleContentChunk(data)
        self._check_size(self.body_length)

    def _check_size(self, size: int) -> None:
        """Refuse a body of at least ``size`` bytes if that is too large for a request that is answered here."""
        limit = self.channel.site.storage.max_upload_size
        if size > limit and self.refusal is None and isinstance(self.content, _BoundedBody):
            text = f"The body has {size} bytes or more; this server takes {limit} (its setting max-upload-size)."
            self.refusal = TwistpiError(text, 413)
            self._refuse(size)

    def _refuse(self, length: int | None) -> None:
        """Refuse the request without reading its body."""
        self.content = _BoundedBody()
        self.requestHeaders.removeHeader(b"Expect")
        if length != 0:
            self.channel.answer_soon(self)

    @property
    def body_length(self) -> int:
        """The bytes of the body that came with the request."""
        return self.content.received if isinstance(self.content, _BoundedBody) else 0


def has_already(request: Request, tag: str) -> bool:
    """Return whether the client has the content with the entity tag ``tag``."""
    asked = header(request, "if-none-match")
    return asked is not None and tags_match(parse_tags(asked), tag)

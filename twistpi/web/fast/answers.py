"""Finds the ready response to the bytes of a connection, if they are one plain GET for something that is in memory.

Clients repeat their headers with every request, so the meaning of a block of headers is remembered under its bytes.  Everything
that is not plainly understood here is left to the ordinary path.
"""

from __future__ import annotations

import re

import attrs

from twistpi.gc.access_times import AccessTimes
from twistpi.http.conditional import parse_tags, tags_match
from twistpi.statistics.agents import Agent, parse_agent
from twistpi.statistics.tally import Tally
from twistpi.web.fast.ready import ReadyAnswers, ReadyPage
from twistpi.web.fast.ready_files import ReadyFile
from twistpi.web.paths import is_host
from twistpi.web.replies import Responder
from twistpi.web.request import Negotiated, accepts_json_errors, negotiate
from twistpi.web.serials import COOKIE as SERIAL_COOKIE
from twistpi.web.traffic import Traffic
from twistpi.web.transport.bodies import Body, FileBody

_LONGEST = 8192
"""Bytes of a request that is looked at."""
_REMEMBERED = 2048
"""Header blocks that are remembered, of at most so many bytes each."""
_MOST_HEADERS = 100
_BLOCK = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n\Z")
_UNUSUAL = re.compile(
    r"(?:authorization|expect|upgrade|te|trailer|range|forwarded|transfer-encoding|http2-settings"
    r"|if-(?!none-match\Z).*|content-.*|proxy-.*|x-devpi-.*|x-outside-.*|x-forwarded-.*"
    r"|x-real-ip|x-request-id|x-twistpi-.*)\Z"
)
"""Headers that this module does not interpret.  A cookie is none: what is ready is open to everybody, signed in or not, unless
it says what the node of a cluster has to show at least."""


@attrs.frozen
class RequestHead:
    """What a block of headers asks for."""

    negotiated: Negotiated
    tags: frozenset[str] | None
    """Of ``If-None-Match``; None without one."""
    json_errors: bool
    """Whether errors are sent as JSON."""
    agent: Agent
    """The installer, for the count of downloads."""


@attrs.define(eq=False)
class RequestHeadParser:
    """Parses requests, and remembers blocks of headers."""

    lenient: bool = False
    """Whether HTML is served to clients that accept no available representation."""
    _blocks: dict[bytes, RequestHead | None] = attrs.field(factory=dict)

    def look(self, data: bytes) -> tuple[bytes, RequestHead] | None:
        """Return path and head if ``data`` is exactly one GET without anything unusual; else None."""
        if data[:5] != b"GET /" or data[-4:] != b"\r\n\r\n" or len(data) > _LONGEST:
            return None
        end = data.find(b" HTTP/1.1\r\n", 4)
        if end < 0:
            return None
        block = data[end + 11 :]
        try:
            head = self._blocks[block]
        except KeyError:
            head = self._blocks_read(block)
        return None if head is None else (data[4:end], head)

    def _blocks_read(self, block: bytes) -> RequestHead | None:
        head = read_block(block, lenient=self.lenient)
        if len(block) <= _REMEMBERED:
            if len(self._blocks) >= _REMEMBERED:
                self._blocks.clear()
            self._blocks[block] = head
        return head


def read_block(block: bytes, *, lenient: bool) -> RequestHead | None:
    """Return what the header lines ``block``, with the empty line at their end, ask for; None if that is unusual."""
    if not _BLOCK.match(block):
        return None
    headers: dict[str, list[str]] = {}
    lines = block.decode("latin-1").split("\r\n")[:-2]
    if len(lines) > _MOST_HEADERS:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip(" \t"))
    if any(_UNUSUAL.match(name) for name in headers) or any(SERIAL_COOKIE in value for value in headers.get("cookie", ())):
        return None
    if any(value.lower() != "keep-alive" for value in headers.get("connection", ())):
        return None
    hosts = headers.get("host", ())
    if len(hosts) != 1 or not is_host(hosts[0]):
        return None
    joined = {name: ", ".join(values) for name, values in headers.items()}
    negotiated = negotiate(joined.get("accept"), joined.get("accept-encoding"), joined.get("user-agent"), lenient=lenient)
    tags = joined.get("if-none-match")
    json_errors = accepts_json_errors(joined.get("accept"))
    agent = parse_agent(joined.get("user-agent"))
    return RequestHead(negotiated, None if tags is None else parse_tags(tags), json_errors, agent)


@attrs.define(eq=False)  # not frozen: that would cost a tenth of a hot page
class Answer:
    """A response: its first bytes, and the body that follows them if it is large."""

    status: int
    head: bytes
    """The head, with a small body right behind it."""
    body: Body | None
    length: int
    """Bytes of the body, wherever it is."""


@attrs.define(eq=False)
class Answers:
    """Finds and counts ready responses."""

    _ready: ReadyAnswers
    _responder: Responder
    _traffic: Traffic
    _access_times: AccessTimes
    _tally: Tally | None = None
    """Where downloads are counted."""

    def find(self, path: bytes, head: RequestHead) -> Answer | None:
        """Return the ready response to a request for ``path``; None without one."""
        now = self._responder.clock.seconds()
        key = self._ready.pages.get((path, head.negotiated.variant))
        if key is not None:
            page = self._ready.page_cache.get(key)
            if page is None or not page.is_fresh(now) or page.private or page.outside is not None:
                return None
            return self._page_answer(page, head, now)
        file = self._ready.files.get(path)
        if file is None or head.negotiated.json:
            return None
        return self._file_answer(path, file, head, now)

    def _page_answer(self, page: ReadyPage, head: RequestHead, now: float) -> Answer | None:
        full, unchanged, whole = page.ready(self._responder.default_headers, now)
        if head.tags is not None and tags_match(head.tags, page.etag):
            self._traffic.unchanged_pages += 1
            return Answer(304, unchanged, None, 0)
        self._traffic.ready_pages += 1
        self._traffic.sent += page.size
        return Answer(200, full, None if whole else page.content.body(), page.size)

    def _file_answer(self, path: bytes, file: ReadyFile, head: RequestHead, now: float) -> Answer | None:
        full, unchanged, whole = file.ready(self._responder.default_headers, now)
        self._access_times.note(file.path)
        if head.tags is not None and tags_match(head.tags, file.etag):
            self._traffic.unchanged_files += 1
            return Answer(304, unchanged, None, 0)
        try:
            body = None if whole else FileBody.open(file.path)
        except OSError:
            self._ready.forget_file(path)
            return None
        self._traffic.sent += file.size
        if path.endswith(b".metadata"):
            self._traffic.ready_metadata += 1
        else:
            self._traffic.ready_files += 1
        if file.counted is not None and self._tally is not None:
            self._tally.count(file.counted, head.agent)
        return Answer(200, full, body, file.size)

"""The access log: a line for every response, in the combined format or in JSON; and the ids of requests.

No secret may get here: of a query only the names of its parameters are written, of a referrer neither query nor credentials,
headers with credentials not at all, and each line is searched once more for what looks like a secret.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import count
from typing import Final, Literal, TextIO
from urllib.parse import urlsplit

import attrs
import orjson
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.model.records import Json
from twistpi.model.text import without_secrets
from twistpi.web.addresses import Addresses, is_trusted_peer
from twistpi.web.request import header, passed_on_of

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LONGEST: Final = 2000
"""Characters of anything a client says."""
_HARMLESS: Final = frozenset({"format", "no_projects", "force"})
"""Parameters whose values are written, too."""
_log = Logger()


@attrs.frozen
class Logged:
    """What is logged of a response."""

    client: str
    """The address of the client, or ``unix``."""
    method: str
    target: str
    """Path and query as they came."""
    protocol: str
    status: int
    sent: int
    """Bytes of the body."""
    referrer: str | None
    agent: str | None
    seconds: float | None = None
    """From the last line of the request's head to the end of the answer; None where that took no time worth measuring."""
    request_id: str = ""
    token: str = ""
    """The label of the API token that was sent; empty without one."""


class AccessLog:
    """Writes the log, a line at a time."""

    def __init__(self, path: str, format: Literal["text", "json"], standard_output: TextIO) -> None:
        """``path`` may be ``-``, which is the standard output.  Raises ``OSError``."""
        self._path = path
        self._write_line = _combined if format == "text" else _json
        self._standard_output = standard_output
        self._file = self._open()
        self._failing = False

    def note(self, logged: Logged, now: float) -> None:
        """An answer was given at ``now``, in Unix seconds.  A line that cannot be written is reported once, and then no
        more: answers are worth more than lines about them.
        """
        try:
            self._file.write(without_secrets(self._write_line(logged, now)) + "\n")
            self._failing = False
        except (OSError, ValueError) as error:
            if not self._failing:
                _log.error("The access log cannot be written: {reason}", reason=str(error))
            self._failing = True

    def reopen(self) -> None:
        """Go on in a new file, after the old one was moved; in the old one if that fails."""
        if self._path == "-":
            return
        try:
            opened = self._open()
        except OSError as error:
            _log.error("The access log cannot be opened again, so lines go on to the old one: {reason}", reason=str(error))
            return
        former, self._file = self._file, opened
        former.close()

    def close(self) -> None:
        """Close the file."""
        if self._path != "-":
            self._file.close()

    def _open(self) -> TextIO:
        if self._path == "-":
            return self._standard_output
        return open(self._path, "a", 1, encoding="ascii", newline="\n")


def clean_target(target: str) -> str:
    """``target`` without the values of its query and what is no plain ASCII."""
    path, mark, query = target.partition("?")
    return _plain(f"{path}{mark}{'&'.join(map(_clean_parameter, query.split('&')))}" if mark else path)


def _clean_parameter(text: str) -> str:
    name, equals, _value = text.partition("=")
    return text if name in _HARMLESS else f"{name}{equals}{'***' if equals else ''}"


def _clean_referrer(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return "-"
    host = parts.netloc.rpartition("@")[2]
    return _plain(f"{parts.scheme}://{host}{parts.path}" if host else parts.path)


def _plain(text: str) -> str:
    """Printable ASCII without quotes, not endless."""
    return "".join(
        character if " " <= character <= "~" and character not in '"\\' else f"\\x{ord(character) & 0xFF:02x}"
        for character in text[:_LONGEST]
    )


def _combined(logged: Logged, now: float) -> str:
    at = time.gmtime(now)
    day = f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} +0000"
    request = f"{_plain(logged.method)} {clean_target(logged.target)} {_plain(logged.protocol)}".rstrip()
    referrer = "-" if logged.referrer is None else _clean_referrer(logged.referrer)
    agent = "-" if logged.agent is None else _plain(logged.agent)
    return f'{logged.client} - - [{day}] "{request}" {logged.status} {logged.sent or "-"} "{referrer}" "{agent}"'


def _json(logged: Logged, now: float) -> str:
    fields: dict[str, Json] = {
        "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z",
        "event": "request",
        "client": logged.client,
        "method": _plain(logged.method),
        "target": clean_target(logged.target),
        "protocol": _plain(logged.protocol),
        "status": logged.status,
        "bytes": logged.sent,
        "agent": None if logged.agent is None else _plain(logged.agent),
        "referrer": None if logged.referrer is None else _clean_referrer(logged.referrer),
    }
    if logged.seconds is not None:
        fields["seconds"] = round(logged.seconds, 6)
    if logged.request_id:
        fields["request"] = logged.request_id
    if logged.token:
        fields["token"] = logged.token
    return orjson.dumps(fields).decode("ascii")


def logged_head(peer: object, data: bytes, status: int, sent: int) -> Logged:
    """Return the same for the bytes ``data`` of a request that was answered without a request object."""
    first, *lines = data.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    referrer, agent = fields.get("referer"), fields.get("user-agent")
    return Logged(_host(peer), method, target, protocol, status, sent, referrer, agent)


def logged_refusal(peer: object, status: int, sent: int) -> Logged:
    """Return the same for what is no complete request; as other servers do, it writes ``-`` in its place."""
    return Logged(_host(peer), "-", "", "", status, sent, None, None)


def _host(peer: object) -> str:
    return str(getattr(peer, "host", "unix"))


_SENSIBLE = re.compile(r"[A-Za-z0-9._:=@/+-]{1,128}\Z", re.ASCII)


class RequestIds:
    """Makes request ids, unique in this process and, almost certainly, among processes."""

    def __init__(self, addresses: Addresses, entropy: Callable[[int], bytes]) -> None:
        self._addresses = addresses
        self._prefix = entropy(4).hex()
        self._numbers = count(int.from_bytes(entropy(3), "big"))

    def name(self, request: Request) -> str:
        """Return the id of ``request``: its ``X-Request-Id`` if the sender is trusted, else a new one."""
        sent = header(request, "x-request-id")
        is_trusted = passed_on_of(request) is not None or is_trusted_peer(request, self._addresses)
        if sent is not None and _SENSIBLE.match(sent) and is_trusted:
            return sent
        return self.new()

    def new(self) -> str:
        """Return an id for a request that brings none."""
        return f"{self._prefix}{next(self._numbers):08x}"

"""Upload forms.

``multipart/form-data`` (RFC 7578) as tools send it: fields repeated, empty, unknown and in any order, parts with and without a
type, lines that end with a bare line feed, file names in UTF-8, Latin-1 or RFC 2231. The file called ``content`` goes to a sink
as it arrives; everything else stays in memory, within limits. Nothing here knows of a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

import attrs
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser  # type: ignore[import-untyped]

from twistpi.blobs.received import Received, Receiving
from twistpi.model.errors import BadRequest, TwistpiError

CONTENT: Final = "content"
"""The name of the part that holds the uploaded file."""
_BOUNDARY: Final = re.compile(r';\s*boundary\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]+)', re.IGNORECASE)
_EXTENDED_NAME: Final = re.compile(r""";\s*filename\*\s*=\s*"?([\w-]*)'[\w-]*'([^;\s"]+)""", re.IGNORECASE | re.ASCII)
"""RFC 2231, as older urllib3 sends what is not ASCII."""
_LONGEST_PREAMBLE: Final = 64 * 1024
"""Bytes before the first boundary, which mean nothing."""
_LONGEST_HEAD: Final = 16 * 1024
"""Bytes of the headers of one part, where lines end with a bare line feed."""


@attrs.frozen
class FormLimits:
    """How much of a form is accepted, the uploaded file not counted."""

    parts: int = 5_000
    size: int = 8 * 1024 * 1024
    """Bytes of all names and values together."""
    header: int = 4 * 1024
    """Bytes of one header of one part."""
    headers: int = 8
    """Headers of one part."""
    boundary: int = 200
    """Characters."""


DEFAULT_LIMITS: Final = FormLimits()


@attrs.define(eq=False)
class Form:
    """The content of a form."""

    fields: dict[str, list[str]] = attrs.field(factory=dict)
    """Name -> its values, both in the order they came."""
    attached: dict[str, list[bytes]] = attrs.field(factory=dict)
    """The small files beside the uploaded one, such as a signature, likewise."""
    content: Received | None = None
    """The uploaded file; None when there is none."""
    filename: str = ""
    """The form's name for the uploaded file, unchecked: it may be anything, a path too."""

    def first(self, name: str) -> str | None:
        """Return the first value of the field ``name``, None if there is none. Raise ``BadRequest`` if it came as a file."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """Return all values of the field ``name``. Raise ``BadRequest`` if it came as a file."""
        if name in self.attached:
            raise BadRequest(f"The form's field {name} was sent as a file; send it as text.")
        return self.fields.get(name, [])

    def texts(self, name: str) -> list[bytes]:
        """Return all values of ``name`` as bytes, fields and files alike: tools differ about ``attestations``."""
        return [value.encode() for value in self.fields.get(name, [])] + self.attached.get(name, [])


def is_multipart(content_type: str) -> bool:
    """Return whether a body of this ``Content-Type`` is a form that may hold files."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def as_text(raw: bytes) -> str:
    """Decode ``raw`` as UTF-8, or as Latin-1 if it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read_urlencoded(body: bytes, limits: FormLimits = DEFAULT_LIMITS) -> Form:
    """Read a form without files. Raise ``TwistpiError``.

    A body that is no form becomes a field with a strange name: clients send JSON, too, under this ``Content-Type``.
    """
    if len(body) > limits.size:
        raise _too_large(f"it has more than {limits.size:,} bytes")
    if body.count(b"&") >= limits.parts:
        raise _too_large(f"it has more than {limits.parts:,} fields")
    form = Form()
    for name, value in parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1"):
        form.fields.setdefault(as_text(name.encode("latin-1")), []).append(as_text(value.encode("latin-1")))
    return form


class LineEndings:
    """Passes a multipart body on from its first boundary, with CRLF at the end of boundaries and headers.

    Old setuptools, and its ``register`` and ``upload_docs`` to this day, end lines with a bare line feed. RFC 2046 forbids that,
    but servers have always accepted it. Such a body is rewritten on the fly to what the parser reads. A preamble is dropped.
    """

    def __init__(self, boundary: bytes) -> None:
        self._dashed = b"--" + boundary
        self._delimiter = b"\n" + self._dashed
        # A boundary with the headers of the part behind it, or with the beginning of something else: the end, or an error.
        self._head = re.compile(re.escape(self._delimiter) + rb"(?:\r?\n(?:(?!\r?\n)[^\n]*\n)*\r?\n|[^\r\n]|\r[^\n])")
        self._rest = b""
        """What was not passed on yet."""
        self._begun = False
        self._rewriting = False

    def feed(self, data: bytes) -> bytes:
        """Return what can be passed on after ``data``. Raise ``BadRequest`` for a form without a boundary."""
        if self._begun and not self._rewriting:
            return data
        self._rest += data
        if not self._begun:
            self._begin()
        if not self._begun:
            return b""
        if self._rewriting:
            return self._rewrite()
        data, self._rest = self._rest, b""
        return data

    def _begin(self) -> None:
        """Look for the first boundary, and how its line ends."""
        at = self._rest.find(self._dashed)
        while at > 0 and self._rest[at - 1] != ord("\n"):
            at = self._rest.find(self._dashed, at + 1)
        if at < 0 and len(self._rest) > _LONGEST_PREAMBLE:
            raise BadRequest("The form cannot be read: it does not begin with the boundary that its Content-Type names.")
        after = at + len(self._dashed)
        if at < 0 or len(self._rest) == after:
            return
        self._begun = True
        self._rewriting = self._rest[after] == ord("\n")
        self._rest = (b"\n" if self._rewriting else b"") + self._rest[at:]

    def _rewrite(self) -> bytes:
        done: list[bytes] = []
        start = 0
        while (at := self._rest.find(self._delimiter, start)) >= 0:
            head = self._head.match(self._rest, at)
            if head is None:
                if len(self._rest) - at > _LONGEST_HEAD:
                    raise BadRequest("The form cannot be read: the headers of one of its parts are too long.")
                break
            done += [self._rest[start:at], head[0].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")]
            start = head.end()
        end = at if at >= 0 else self._start_of_delimiter(start)
        done.append(self._rest[start:end])
        self._rest = self._rest[end:]
        return b"".join(done)

    def _start_of_delimiter(self, start: int) -> int:
        """Where, from ``start`` on, a delimiter may begin of which the rest is still to come; the end of the data if nowhere."""
        at = self._rest.rfind(b"\n", max(start, len(self._rest) - len(self._delimiter) + 1))
        return at if at >= 0 and self._delimiter.startswith(self._rest[at:]) else len(self._rest)


class MultipartReader:
    """Reads one ``multipart/form-data`` body (a ``BodyReader``)."""

    def __init__(self, content_type: str, open_content: Callable[[], Receiving], limits: FormLimits = DEFAULT_LIMITS) -> None:
        """``open_content`` makes the sink for the file when it comes. Raise ``BadRequest`` for an unusable type."""
        boundary = _boundary_of(content_type)
        if not 1 <= len(boundary) <= limits.boundary or not boundary.isprintable():
            raise BadRequest("The form cannot be read: its Content-Type names no boundary that can be used.")
        raw = boundary.encode("latin-1", "replace")
        self._line_endings = LineEndings(raw)
        self._parser = PushMultipartParser(
            raw,
            max_header_size=limits.header,
            max_header_count=limits.headers,
            max_segment_count=limits.parts,
            header_charset="latin-1",  # undone by _text_of: headers in other codings than UTF-8 are not refused
        )
        self._open_content = open_content
        self._limits = limits
        self._form = Form()
        self._left = limits.size
        self._receiving: Receiving | None = None
        self._name = ""
        self._filename: str | None = None
        self._part = bytearray()

    def feed(self, data: bytes) -> None:
        """Read more of the body. Raise ``BadRequest``, ``TwistpiError``, and what writing the file raises."""
        data = self._line_endings.feed(data)
        if data and not self._parser.closed:
            self._handle(self._parser.parse(data))

    def finish(self) -> Form:
        """Return the form, of which everything was fed. Raise ``BadRequest`` if its end is missing."""
        try:
            self._parser.close()
        except MultipartError:
            raise BadRequest("The form cannot be read: it ends before its last boundary.") from None
        return self._form

    def close(self) -> None:
        """Delete the file unless it was kept. May be called again."""
        for file in (self._receiving, self._form.content):
            if file is not None:
                file.close()
        self._receiving = None

    def _handle(self, events: Iterator[MultipartSegment | bytes | None]) -> None:
        try:
            for event in events:
                if isinstance(event, MultipartSegment):
                    self._begin_part(event)
                elif event is None:
                    self._end_part()
                elif self._receiving is not None:
                    self._receiving.write(event)
                else:
                    self._count(len(event))
                    self._part += event
        except ParserLimitReached as error:
            raise _too_large(_reason(error)) from None
        except MultipartError as error:
            raise BadRequest(f"The form cannot be read: {_reason(error)}.") from None

    def _begin_part(self, segment: MultipartSegment) -> None:
        self._name = _text_of(segment.name)
        self._filename = _filename_of(segment)
        self._count(len(segment.name))
        if self._name == CONTENT and self._filename:
            if self._form.content is not None:
                raise BadRequest(f"The form cannot be read: it has more than one file called {CONTENT}.")
            self._form.filename = self._filename
            self._receiving = self._open_content()

    def _end_part(self) -> None:
        if self._receiving is not None:
            self._form.content = self._receiving.finish()
            self._receiving = None
            return
        data = bytes(self._part)
        self._part.clear()
        if self._filename is not None and self._name != CONTENT:
            self._form.attached.setdefault(self._name, []).append(data)
        else:
            self._form.fields.setdefault(self._name, []).append(as_text(data))

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _too_large(f"its fields have more than {self._limits.size:,} bytes")


def _too_large(reason: str) -> TwistpiError:
    return TwistpiError(f"The form is larger than is taken here, even without its file: {reason}.", 413)


def _boundary_of(content_type: str) -> str:
    """Return the boundary; empty if there is none. Tools send characters unquoted that only a quoted string may hold."""
    found = _BOUNDARY.search(content_type)
    value = found[1] if found is not None and is_multipart(content_type) else ""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _reason(error: MultipartError) -> str:
    text = str(error.args[0]) if error.args else "it is not as RFC 7578 demands"
    return text[:1].lower() + text[1:]


def _text_of(value: str) -> str:
    """Return the text of a header's value, which was read as Latin-1."""
    return as_text(value.encode("latin-1"))


def _filename_of(segment: MultipartSegment) -> str | None:
    if segment.filename is not None:
        return _text_of(segment.filename)
    found = _EXTENDED_NAME.search(segment.header("Content-Disposition", ""))
    if found is None:
        return None
    raw = unquote_to_bytes(found[2])
    return raw.decode("latin-1") if found[1].lower() in ("iso-8859-1", "latin-1") else as_text(raw)

"""Forms as upload tools send them, read while they come.

``multipart/form-data`` (RFC 7578) with all liberties that tools have taken: fields repeated, empty, unknown and in any order,
parts with and without a type, lines that end with a line feed alone, file names in UTF-8, Latin-1 or RFC 2231.  The file called
``content`` goes to a sink as it comes; everything else stays in memory, within limits.  Nothing here knows of a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

import attrs
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser  # type: ignore[import-untyped]

from twistpi.blobs.received import Received, Receiving
from twistpi.model.upload_errors import FieldNotText, FormTooLarge, MalformedForm
from twistpi.web.receiving.form_lines import FormLines

CONTENT: Final = "content"
"""The part whose file is uploaded."""
_BOUNDARY: Final = re.compile(r';\s*boundary\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]+)', re.IGNORECASE)
_EXTENDED_NAME: Final = re.compile(r""";\s*filename\*\s*=\s*"?([\w-]*)'[\w-]*'([^;\s"]+)""", re.IGNORECASE | re.ASCII)
"""RFC 2231, as older urllib3 sends what is not ASCII."""
_MULTIPART: Final = "multipart/form-data"
_URLENCODED: Final = "application/x-www-form-urlencoded"


@attrs.frozen
class FormLimits:
    """How much of a form is taken, the uploaded file not counted."""

    parts: int = 5_000
    size: int = 8 * 1024 * 1024
    """Bytes of all names and values together."""
    header: int = 4 * 1024
    """Bytes of one header of one part."""
    headers: int = 8
    """Headers of one part."""
    boundary: int = 200
    """Characters."""


@attrs.frozen
class Attached:
    """A small file that came beside the uploaded one, such as a signature."""

    filename: str
    data: bytes


@attrs.define(eq=False)
class Form:
    """What a form says."""

    fields: dict[str, list[str]] = attrs.field(factory=dict)
    """Name -> its values, both in the order they came."""
    attached: dict[str, list[Attached]] = attrs.field(factory=dict)
    """The small files, likewise."""
    content: Received | None = None
    """The uploaded file; None when there is none."""
    filename: str = ""
    """What the form calls the uploaded file, unchecked: it may be anything, a path too."""

    def first(self, name: str) -> str | None:
        """The first value of the field ``name``, None when it is not there; ``FieldNotText`` when it came as a file."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """All values of the field ``name``; ``FieldNotText`` when it came as a file."""
        if name in self.attached:
            raise FieldNotText(name)
        return self.fields.get(name, [])

    def texts(self, name: str) -> list[bytes]:
        """All values of ``name`` as they came, whether as text or as files: tools differ about ``attestations``."""
        return [value.encode() for value in self.fields.get(name, [])] + [file.data for file in self.attached.get(name, [])]


class FormReader(Protocol):
    """Reads one form."""

    @property
    def is_open(self) -> bool:
        """Whether something is to be closed."""

    def feed(self, data: bytes) -> None:
        """More of the body.  Raises ``MalformedForm``, ``FormTooLarge``, and what writing the file raises."""

    def finish(self) -> Form:
        """The whole body was fed: what it says.  Raises as ``feed`` does."""

    def close(self) -> None:
        """Forget the file, unless it was kept.  May be called again."""


def is_multipart(content_type: str | None) -> bool:
    """Whether a body of this ``Content-Type`` is a form that may hold files."""
    return _kind(content_type) == _MULTIPART


def read_urlencoded(body: bytes, limits: FormLimits | None = None) -> Form:
    """What a form without files says that is here already; raises ``FormTooLarge``.

    Whatever is no form becomes a field with a strange name: clients send JSON, too, under this ``Content-Type``.
    """
    reader = UrlencodedReader(FormLimits() if limits is None else limits)
    reader.feed(body)
    return reader.finish()


def form_reader(content_type: str, open_content: Callable[[], Receiving], limits: FormLimits | None = None) -> FormReader:
    """A reader for a body of this ``Content-Type``; ``open_content`` makes the sink for the file, when it comes.

    Raises ``MalformedForm`` for what is no form.
    """
    limits = FormLimits() if limits is None else limits
    kind = _kind(content_type)
    if kind == _URLENCODED:
        return UrlencodedReader(limits)
    if kind != _MULTIPART:
        raise MalformedForm("its Content-Type is none of a form's")
    found = _BOUNDARY.search(content_type)
    boundary = re.sub(r"\\(.)", r"\1", found[1][1:-1]) if found and found[1].startswith('"') else found[1] if found else ""
    if not 1 <= len(boundary) <= limits.boundary or not boundary.isprintable():
        raise MalformedForm("its Content-Type names no boundary that can be used")
    return MultipartReader(boundary.encode("latin-1", "replace"), open_content, limits)


def _kind(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def as_text(raw: bytes) -> str:
    """``raw`` as text: UTF-8, or Latin-1 where it is not."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class UrlencodedReader:
    """Reads ``application/x-www-form-urlencoded``, which has no files."""

    is_open = False

    def __init__(self, limits: FormLimits) -> None:
        self._limits = limits
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """See ``FormReader``."""
        self._body += data
        if len(self._body) > self._limits.size:
            raise FormTooLarge(f"it has more than {self._limits.size:,} bytes")

    def finish(self) -> Form:
        """See ``FormReader``."""
        if self._body.count(b"&") >= self._limits.parts:
            raise FormTooLarge(f"it has more than {self._limits.parts:,} fields")
        form = Form()
        pairs = parse_qsl(self._body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        for name, value in pairs:
            form.fields.setdefault(as_text(name.encode("latin-1")), []).append(as_text(value.encode("latin-1")))
        return form

    def close(self) -> None:
        """See ``FormReader``."""
        self._body.clear()


class MultipartReader:
    """Reads ``multipart/form-data``."""

    def __init__(self, boundary: bytes, open_content: Callable[[], Receiving], limits: FormLimits) -> None:
        self._lines = FormLines(boundary)
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=limits.header,
            max_header_count=limits.headers,
            max_segment_count=limits.parts,
            header_charset="latin-1",  # undone in _text_of: headers in other codings than UTF-8 are not refused
        )
        self._open_content = open_content
        self._limits = limits
        self._form = Form()
        self._left = limits.size
        self._receiving: Receiving | None = None
        self._name = ""
        self._filename: str | None = None
        self._part = bytearray()

    @property
    def is_open(self) -> bool:
        """See ``FormReader``."""
        return self._receiving is not None or self._form.content is not None

    def feed(self, data: bytes) -> None:
        """See ``FormReader``."""
        data = self._lines.feed(data)
        if data and not self._parser.closed:
            self._take(self._parser.parse(data))

    def finish(self) -> Form:
        """See ``FormReader``."""
        try:
            self._parser.close()
        except MultipartError:
            raise MalformedForm("it ends before its last boundary") from None
        return self._form

    def close(self) -> None:
        """See ``FormReader``."""
        if self._receiving is not None:
            self._receiving.close()
            self._receiving = None
        if self._form.content is not None:
            self._form.content.close()

    def _take(self, events: Iterator[MultipartSegment | bytes | None]) -> None:
        try:
            for event in events:
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                elif self._receiving is not None:
                    self._receiving.write(event)
                else:
                    self._spend(len(event))
                    self._part += event
        except ParserLimitReached as error:
            raise FormTooLarge(_reason(error)) from None
        except MultipartError as error:
            raise MalformedForm(_reason(error)) from None

    def _begin(self, segment: MultipartSegment) -> None:
        self._name = _text_of(segment.name)
        self._filename = _filename_of(segment)
        self._spend(len(segment.name))
        if self._name == CONTENT and self._filename:
            if self._form.content is not None:
                raise MalformedForm(f"it has more than one file called {CONTENT}")
            self._form.filename = self._filename
            self._receiving = self._open_content()

    def _end(self) -> None:
        if self._receiving is not None:
            self._form.content = self._receiving.finish()
            self._receiving = None
            return
        data = bytes(self._part)
        self._part.clear()
        if self._filename is not None and self._name != CONTENT:
            self._form.attached.setdefault(self._name, []).append(Attached(self._filename, data))
        else:
            self._form.fields.setdefault(self._name, []).append(as_text(data))

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise FormTooLarge(f"its fields have more than {self._limits.size:,} bytes")


def _reason(error: MultipartError) -> str:
    text = str(error.args[0]) if error.args else "it is not as RFC 7578 demands"
    return text[:1].lower() + text[1:]


def _text_of(value: str) -> str:
    """A header's value, which was read as Latin-1."""
    return as_text(value.encode("latin-1"))


def _filename_of(segment: MultipartSegment) -> str | None:
    if segment.filename is not None:
        return _text_of(segment.filename)
    found = _EXTENDED_NAME.search(segment.header("Content-Disposition", ""))
    if found is None:
        return None
    raw = unquote_to_bytes(found[2])
    return raw.decode("latin-1") if found[1].lower() in ("iso-8859-1", "latin-1") else as_text(raw)

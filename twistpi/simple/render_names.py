"""The names of all projects -> a page, in pieces: it may be 40 MB and is never held as a whole (R68)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import orjson

from twistpi.simple.escape import escape
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import HTML_VERSION, JSON_VERSION

_NAMES_AT_ONCE: Final = 4_000
"""Makes pieces of about 100 to 250 KB."""


def render_names(
    index: str,
    names: Iterable[str],
    representation: Representation,
    *,
    serials: Iterable[int] | None = None,
    last_serial: int | None = None,
) -> Iterator[bytes]:
    """The list of projects of ``index`` in one representation, piece by piece.

    ``names`` are normalised and come out in their order; ``serials`` go with them one by one.  Serials are shown in JSON only,
    for who mirrors this server in turn.
    """
    if not representation.is_json:
        return _html(index, iter(names))
    return _json(({"name": name} for name in names) if serials is None else _with_serials(names, serials), last_serial)


def _with_serials(names: Iterable[str], serials: Iterable[int]) -> Iterator[dict[str, str | int]]:
    return ({"name": name, "_last-serial": serial} for name, serial in zip(names, serials, strict=True))


def _json(projects: Iterator[dict[str, str | int]] | Iterator[dict[str, str]], last_serial: int | None) -> Iterator[bytes]:
    meta: dict[str, str | int] = {"api-version": JSON_VERSION}
    if last_serial is not None:
        meta["_last-serial"] = last_serial
    yield b'{"meta":' + orjson.dumps(meta) + b',"projects":['
    separator = b""
    while some := list(islice(projects, _NAMES_AT_ONCE)):
        yield separator + orjson.dumps(some)[1:-1]
        separator = b","
    yield b"]}"


def _html(index: str, names: Iterator[str]) -> Iterator[bytes]:
    title = escape(f"{index}: simple list")
    version = f'<meta name="pypi:repository-version" content="{HTML_VERSION}">'
    yield (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{version}<title>{title}</title></head>'
        f"<body><h1>{title}</h1>\n"
    ).encode()
    while some := list(islice(names, _NAMES_AT_ONCE)):
        yield _anchors(some)
    yield b"</body></html>\n"


def _anchors(names: Sequence[str]) -> bytes:
    """Normalised names hold nothing to escape."""
    return "".join([f'<a href="{name}/">{name}</a><br>\n' for name in names]).encode()

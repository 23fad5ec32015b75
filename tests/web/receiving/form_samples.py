"""Upload forms as tools encode them, byte for byte."""

from __future__ import annotations

import attrs

WHEEL = "demo_pkg-1.0-py3-none-any.whl"
BYTES = b"PK\x03\x04 \r\n-- not a boundary \r\n--\r\n\r\r\n\n--x\x00\xff" + bytes(range(256)) + b"\r\n"
"""What a wheel may hold: everything that looks like a form."""
ATTESTATIONS = '[{"version": 1}]'
Part = tuple[str, str | None, str | None, bytes]
"""Name, file name, type, bytes."""


@attrs.frozen
class Sample:
    """A form and what it says."""

    tool: str
    content_type: str
    body: bytes
    fields: dict[str, list[str]]
    filename: str = WHEEL
    content: bytes | None = BYTES


def text(name: str, value: str) -> Part:
    return (name, None, None, value.encode())


def encode(
    boundary: str, parts: list[Part], *, newline: str = "\r\n", lead: str = "", semicolon: str = "; ", end: str = "\r\n"
) -> bytes:
    """``parts`` as multipart/form-data; ``lead`` comes first, ``end`` last, ``semicolon`` before a file name."""
    pieces = [lead.encode()]
    for number, (name, filename, kind, data) in enumerate(parts):
        head = f"--{boundary}{newline}" if number == 0 else f"{newline}--{boundary}{newline}"
        head += f'Content-Disposition: form-data; name="{name}"'
        head += "" if filename is None else f'{semicolon}filename="{filename}"'
        head += "" if kind is None else f"{newline}Content-Type: {kind}"
        pieces += [(head + newline * 2).encode(), data]
    pieces.append(f"{newline}--{boundary}--{end}".encode())
    return b"".join(pieces)


def _fields(parts: list[Part]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, filename, _kind, data in parts:
        if filename is None:
            found.setdefault(name, []).append(data.decode())
    return found


def sample(
    tool: str, boundary: str, parts: list[Part], *, content_type: str = "", content: bytes | None = BYTES, **style: str
) -> Sample:
    kind = content_type or f"multipart/form-data; boundary={boundary}"
    return Sample(tool, kind, encode(boundary, parts, **style), _fields(parts), content=content)


OCTETS = "application/octet-stream"
COMMON = [text(":action", "file_upload"), text("protocol_version", "1"), text("name", "demo.pkg"), text("version", "1.0")]
TWINE = [
    text("classifiers", "Private :: Do Not Upload"), *COMMON, text("license_file", "LICENSE"),
    text("classifiers", "Typing :: Typed"),
    text("description", "Ünïcode\r\n\r\nlines — 中文\n"), text("provides_extra", "test"),
    text("requires_dist", "attrs>=1; extra == 'x'"),
    text("sha256_digest", "ab" * 32), text("blake2_256_digest", "cd" * 32),
    ("content", WHEEL, OCTETS, BYTES),
]  # fmt: skip
UV = [
    *COMMON, text("filetype", "bdist_wheel"), text("import_names", "demo"), text("import_names", "demo_more"),
    text("sha256_digest", "ab" * 32),
    ("content", WHEEL, None, BYTES), text("attestations", ATTESTATIONS),
]  # fmt: skip
PDM = [
    *COMMON, text("home_page", ""), text("license", ""), text("download_url", ""), text("comment", ""),
    text("provides_extras", "x"),
    text("md5_digest", "0" * 32), ("content", WHEEL, OCTETS, BYTES),
]  # fmt: skip
FLIT = [*COMMON, text("filetype", "sdist"), text("metadata_version", "2.3"), ("content", WHEEL, None, BYTES)]
DEVPI = [
    text("name", "demo.pkg"), text(":action", "file_upload"), text("platforms", ""), text("version", "1.0"),
    text("pyversion", "source"), ("content", WHEEL, None, BYTES),
]  # fmt: skip
DISTUTILS = "--------------GHSKFJDLGDS7543FJKLFHRE75642756743254"
NO_RETURN_AT_THE_END = BYTES + b"end"
OLD = [*COMMON, text("platform", "UNKNOWN"), text("classifiers", "a"), text("classifiers", "b"), text("description", "a\nb\r\nc")]

SAMPLES = [
    sample("twine", "5c1b7e2f0d4a4f6e9b8a7c6d5e4f3a2b", TWINE),
    sample("uv", "3b1f0c9a7e5d2486-9c8b7a6f5e4d3c2b-1a2b3c4d5e6f7081-f0e1d2c3b4a59687", UV),
    sample("poetry", "9d3f1c5b7a8e4c2db6f0a1e2d3c4b5a6", [*TWINE[:-1], text("md5_digest", "0" * 32), TWINE[-1]]),
    sample("hatch", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", [*COMMON, text("filetype", "sdist"), ("content", WHEEL, OCTETS, BYTES)]),
    sample("pdm", "a0b1c2d3e4f5061728394a5b6c7d8e9f", PDM),
    sample("flit", "d41d8cd98f00b204e9800998ecf8427e", FLIT),
    sample("devpi", "b026324c6904b2a9cb4b88d6d61c81d1", DEVPI),
    sample("setuptools", DISTUTILS, [*OLD, ("content", WHEEL, None, BYTES)], lead="\r\n"),
    sample(
        "setuptools of Python 2.7", DISTUTILS, [*OLD, ("content", WHEEL, None, NO_RETURN_AT_THE_END)],
        newline="\n", lead="\n", semicolon=";", end="\n", content=NO_RETURN_AT_THE_END,
    ),
    sample(
        "register", DISTUTILS, [text(":action", "submit"), *OLD[1:]],
        content_type=f"multipart/form-data; boundary={DISTUTILS}; charset=utf-8", newline="\n", lead="\n", end="\n", content=None,
    ),
    sample(
        "upload_docs", DISTUTILS, [text(":action", "doc_upload"), text("name", "demo"), ("content", WHEEL, None, BYTES + b"PK")],
        newline="\n", lead="\n", end="", content=BYTES + b"PK",
    ),
    sample(
        "an odd boundary", "==odd/(boundary)'=?:,+_.==", UV,
        content_type='Multipart/Form-Data; charset=utf-8; BOUNDARY="==odd/(boundary)\'=?:,+_.=="',
    ),
    sample(
        "an odd boundary without quotes", "==odd/'=?:,+_.==", UV,
        content_type="multipart/form-data;boundary===odd/'=?:,+_.==",
    ),
    Sample(
        "submit", "application/x-www-form-urlencoded; charset=utf-8",
        b":action=submit&name=demo.pkg&version=1.0&classifiers=a&summary=%C3%BC+b&x=&classifiers=b",
        {":action": ["submit"], "name": ["demo.pkg"], "version": ["1.0"], "classifiers": ["a", "b"], "summary": ["ü b"],
         "x": [""]}, content=None,
    ),
]  # fmt: skip

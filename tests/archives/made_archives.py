"""Archives for tests: valid ones, broken ones and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import stat
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fakes.wheels import metadata
from twistpi.archives.inspect import Inspected, inspect
from twistpi.archives.source import DEFAULT_LIMITS, Limits
from twistpi.model.errors import InvalidDistribution

WHEEL = "Some.Name-1.0-py3-none-any.whl"
SDIST = "some_name-1.0.tar.gz"
ZIP_SDIST = "some_name-1.0.zip"
INFO = "some_name-1.0.dist-info"
TOP = "some_name-1.0"
BODY = metadata("Some.Name", "1.0", ["other"]) + b"\nA description.\n"
WHEEL_MEMBERS: Mapping[str, bytes] = {
    "some_name/__init__.py": b"x = 1\n",
    f"{INFO}/METADATA": BODY,
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\n",
    f"{INFO}/RECORD": b"",
}
SDIST_MEMBERS: Mapping[str, bytes] = {f"{TOP}/PKG-INFO": BODY, f"{TOP}/setup.py": b"import setuptools\n"}


def zip_of(
    members: Mapping[str, bytes] | Iterable[tuple[str | zipfile.ZipInfo, bytes]] = WHEEL_MEMBERS,
    compression: int = zipfile.ZIP_DEFLATED,
    comment: bytes = b"",
) -> bytes:
    """A ZIP archive, which is the same whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, body in members.items() if isinstance(members, Mapping) else members:
            if isinstance(name, str):
                info = zipfile.ZipInfo(name)
                info.external_attr, info.compress_type = 0o600 << 16, compression
            else:
                info = name
            archive.writestr(info, body)
        archive.comment = comment
    return buffer.getvalue()


def zip_link(name: str) -> zipfile.ZipInfo:
    """An entry that is a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def tar_of(
    members: Mapping[str, bytes] | Iterable[tuple[str | tarfile.TarInfo, bytes]] = SDIST_MEMBERS, form: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar archive, not compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for member, body in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if info.isreg():
                info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def entry(name: str, kind: bytes, target: str = "", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, b""


def raw_header(name: bytes = b"some_name-1.0/x", kind: bytes = b"0", size: bytes = b"0", **fields: tuple[int, bytes]) -> bytes:
    """A header as it stands, with ``fields`` put over it before its checksum is made."""
    record = bytearray(512)
    for place, content in [(0, name), (100, b"0000644\0"), (124, size), (156, kind), (257, b"ustar\x0000"), *fields.values()]:
        record[place : place + len(content)] = content
    record[148:156] = b" " * 8
    record[148:156] = b"%06o\0 " % sum(record)
    return bytes(record)


def padded(content: bytes) -> bytes:
    """``content`` as it stands behind a header."""
    return content + bytes(-len(content) % 512)


def packed(filename: str, tar: bytes) -> bytes:
    """``tar`` compressed as ``filename`` says."""
    return bz2.compress(tar) if filename.endswith(".bz2") else gzip.compress(tar, mtime=0)


def look_into(data: bytes, filename: str, limits: Limits = DEFAULT_LIMITS, *, is_strict: bool = True) -> Inspected:
    return inspect(io.BytesIO(data), filename, len(data), limits, is_strict=is_strict)


def refused(data: bytes, filename: str, limits: Limits = DEFAULT_LIMITS) -> str:
    """Why ``data`` is refused."""
    with pytest.raises(InvalidDistribution) as caught:
        look_into(data, filename, limits)
    assert caught.value.filename == filename
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)
    assert len(caught.value.reason) < 400
    return caught.value.reason


class Counting(io.BytesIO):
    """A file that counts the bytes it gives."""

    given = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.given += len(found)
        return found


class Made(io.RawIOBase):
    """A huge file that is made while it is read: ``make(start, length)`` gives its bytes."""

    def __init__(self, size: int, make: Callable[[int, int], bytes]) -> None:
        self.size, self.make, self.place, self.given = size, make, 0, 0

    def seek(self, place: int, _whence: int = 0, /) -> int:
        self.place = place
        return place

    def read(self, size: int = -1, /) -> bytes:
        found = self.make(self.place, min(size, self.size - self.place))
        self.place += len(found)
        self.given += len(found)
        return found


def look_into_file(file: Any, filename: str, size: int, limits: Limits = DEFAULT_LIMITS, *, is_strict: bool = True) -> Inspected:
    """``inspect`` for the files above, which are not quite of the standard library's type."""
    binary: BinaryIO = file
    return inspect(binary, filename, size, limits, is_strict=is_strict)


@contextmanager
def bounded(mebibytes: float) -> Iterator[None]:
    """Asserts that what happens within takes not much more memory than there was, and does not compute for ever."""
    begun = time.thread_time()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * 1024 * 1024, f"{peak / 1024 / 1024:.1f} MiB"
    assert time.thread_time() - begun < 20  # seconds, however busy the machine is


def patched(data: bytes, sign: bytes, offset: int, form: str, value: int, *, last: bool = True) -> bytes:
    """``data`` with a number put over the record that begins with ``sign``: the last one, or the first."""
    found = bytearray(data)
    struct.pack_into(form, found, (data.rfind(sign) if last else data.find(sign)) + offset, value)
    return bytes(found)


ENTRY, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
"""The signatures of records of a ZIP archive."""


def with_zip64_end(
    data: bytes, count_told: int | None = None, start_told: int | None = None, place_told: int | None = None
) -> bytes:
    """``data`` with a last record in ZIP64 form, which may tell something wrong."""
    end = data.rfind(END)
    count, length, start = struct.unpack("<H2L", data[end + 10 : end + 20])
    counts, start = [count_told or count] * 2, start if start_told is None else start_told
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *counts, length, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end if place_told is None else place_told, 1)
    return data[:end] + record + locator + struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def zip64_of(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive with ZIP64 fields for sizes that do not need them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(body)
    return buffer.getvalue()


def garbled(draw: Callable[[SearchStrategy[int]], int], data: bytes, *others: int) -> bytes:
    """``data`` with up to four bytes replaced."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        found[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, *others]))
    return bytes(found)

"""The file format of bundles: members, the last one that describes them all, and its signature.  Blocking."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, Final

import attrs
import orjson
from itsdangerous import Signer

from twistpi.blobs.address import BlobAddress
from twistpi.model.errors import InvalidName, TwistpiError
from twistpi.model.records import Json

FORMAT: Final = 1
CHUNK: Final = 1024 * 1024
"""Bytes that are read or written at a time."""
BLOBS: Final = "blobs"
LINES: Final = "lines"
_DESCRIPTION: Final = "bundle.json"
_BLOCK: Final = 512
_ROOM: Final = 1024
"""Bytes of ``bundle.json``, which ends with spaces."""
TRAILER: Final = _BLOCK + _ROOM + 2 * _BLOCK
"""Bytes of the last member and of the end of the archive."""
_PURPOSE: Final = b"twistpi bundle"
"""Distinguishes these signatures from others made with the same secret."""
_CHAIN: Final = re.compile(r"[0-9a-f]{64}")
_ID: Final = re.compile(r"[0-9a-f]{32}")


@attrs.frozen
class LogPoint:
    """The end of a line of a changelog, wherever that lies."""

    serial: int
    """0 before the first line."""
    chain: str
    """64 hexadecimal digits."""


@attrs.frozen
class Description:
    """What a bundle says of itself."""

    log_id: str
    since: LogPoint
    """The line before the first one in the bundle."""
    end: LogPoint
    """The last line in the bundle."""
    at: str
    """When it was made; UTC, ISO 8601."""
    files: int
    """How many blobs are in it."""
    bytes: int
    """Of those."""


def point_of(fields: Json) -> LogPoint:
    """Return a point of JSON; raise ``ValueError``."""
    match fields:
        case {"serial": int(serial), "chain": str(chain)} if serial >= 0 and _CHAIN.fullmatch(chain):
            return LogPoint(serial, chain)
    raise ValueError("a serial or chain cannot be")


def id_of(fields: Json) -> str:
    """Return the id of a log of JSON; raise ``ValueError``."""
    if not isinstance(fields, str) or not _ID.fullmatch(fields):
        raise ValueError("the id of the log cannot be")
    return fields


def _signer(secret: bytes) -> Signer:
    return Signer(secret, salt=_PURPOSE, key_derivation="hmac", digest_method=hashlib.sha256)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member.tobuf(tarfile.PAX_FORMAT)


def _canonical(fields: Json) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


@attrs.define(eq=False)
class BundleFile:
    """A bundle on its way to a file that can be written at any place."""

    _file: BinaryIO
    _digest: hashlib._Hash = attrs.field(factory=hashlib.sha256, init=False)

    def add_lines(self, first: int, lines: bytes) -> None:
        """Add whole lines, of which the first has the serial ``first``."""
        self._write(_header(f"{LINES}/{first:020d}", len(lines)) + lines + _padding(len(lines)))

    def add_blob(self, digits: str, sha256: str, filename: str, size: int, blob: BinaryIO) -> bool:
        """Add a blob; return whether ``blob`` had these bytes.  If not, the bundle is as before."""
        start, before = self._file.tell(), self._digest.copy()
        self._write(_header(f"{BLOBS}/{digits}/{sha256}/{filename}", size))
        found, rest = hashlib.sha256(), size
        while rest and (data := blob.read(min(CHUNK, rest))):
            found.update(data)
            rest -= len(data)
            self._write(data)
        if rest or blob.read(1) or found.hexdigest() != sha256:
            self._file.seek(start)
            self._file.truncate()
            self._digest = before
            return False
        self._write(_padding(size))
        return True

    def finish(self, description: Description, secret: bytes) -> None:
        """Add the description with its signature."""
        fields: dict[str, Json] = {**attrs.asdict(description), "format": FORMAT, "digest": self._digest.hexdigest()}
        fields["signature"] = _signer(secret).get_signature(_canonical(fields)).decode("ascii")
        content = _canonical(fields).ljust(_ROOM)
        self._write(_header(_DESCRIPTION, _ROOM) + content + bytes(2 * _BLOCK))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


@attrs.frozen
class BlobMember:
    """A blob in a bundle; ``content`` can be read until the next member is asked for."""

    address: BlobAddress
    sha256: str
    size: int
    content: IO[bytes]


@attrs.frozen(eq=False)
class Bundle:
    """A bundle that was verified."""

    path: str
    description: Description
    _file: BinaryIO

    def blobs(self) -> Iterator[BlobMember]:
        """Yield the blobs.  Raise ``TwistpiError`` for a name that cannot be."""
        for member, content in self._members(BLOBS):
            try:
                _, digits, sha256, filename = member.name.split("/")
                address = BlobAddress(digits, filename)
            except (ValueError, InvalidName):
                raise _unfit(self.path, f"it has a member {member.name!r}") from None
            yield BlobMember(address, sha256, member.size, content)

    def lines(self) -> Iterator[list[bytes]]:
        """Yield the lines, without line feeds, about a MiB of them at a time."""
        for _member, content in self._members(LINES):
            yield content.read().removesuffix(b"\n").split(b"\n")

    def _members(self, kind: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
        offset, end = 0, os.fstat(self._file.fileno()).st_size - TRAILER
        try:
            while offset < end:
                self._file.seek(offset)
                # One for each member: it would remember all of them.
                with tarfile.open(fileobj=self._file, mode="r:") as archive:
                    member = archive.next()
                    content = None if member is None else archive.extractfile(member)
                    if member is None or content is None:
                        raise _unfit(self.path, f"what is at {offset} is no file")
                    if member.name.startswith(f"{kind}/"):
                        yield member, content
                    offset = member.offset_data + member.size + -member.size % _BLOCK
        except tarfile.TarError as error:
            raise _unfit(self.path, f"it cannot be read ({error})") from None


@contextmanager
def open_bundle(path: str, secret: bytes) -> Iterator[Bundle]:
    """Open the bundle at ``path`` once all of it was verified; raise ``TwistpiError``, and ``OSError`` if it cannot be read."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _unfit(path, "it is not a file")
        if status.st_size < TRAILER:
            raise _unfit(path, "it is no bundle, or was cut off")
        file.seek(status.st_size - TRAILER)
        description, digest = _read_trailer(path, file.read(TRAILER), secret)
        file.seek(0)
        found, rest = hashlib.sha256(), status.st_size - TRAILER
        while rest and (data := file.read(min(CHUNK, rest))):
            found.update(data)
            rest -= len(data)
        if found.hexdigest() != digest:
            raise _unfit(path, "it was damaged after it was made; copy it again")
        yield Bundle(path, description, file)


def _read_trailer(path: str, trailer: bytes, secret: bytes) -> tuple[Description, str]:
    """Return what a bundle says of itself, and the SHA-256 of what is before that."""
    try:
        fields = orjson.loads(trailer[_BLOCK : _BLOCK + _ROOM])
        signature, number = fields.pop("signature"), fields["format"]
        signed = isinstance(signature, str) and _signer(secret).verify_signature(_canonical(fields), signature.encode("utf-8"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _unfit(path, "it is no bundle, or was cut off or damaged; copy it again") from None
    if number != FORMAT:
        raise _unfit(path, f"it has the format {number}, and this version of twistpi knows {FORMAT} only; use a newer one")
    if not signed:
        reason = "it was signed with another secret than this server has, or its end was damaged"
        raise _unfit(path, f"{reason}; both servers need the same secret: --secretfile")
    try:
        points = point_of(fields["since"]), point_of(fields["end"])
        description = Description(id_of(fields["log_id"]), *points, fields["at"], fields["files"], fields["bytes"])
        return description, fields["digest"]
    except (ValueError, KeyError) as error:
        raise _unfit(path, f"its description cannot be understood ({error})") from None


def _unfit(path: str, reason: str) -> TwistpiError:
    return TwistpiError(f"The bundle {path} cannot be applied: {reason}. Nothing was changed.")

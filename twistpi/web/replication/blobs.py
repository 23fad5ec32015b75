"""Blobs for other servers: one at a time, with ranges, or many small ones in one stream.

Followers may read every blob that the view names, whatever index it belongs to.  A blob that is not here yet,
because this server follows another one, is sent as it comes from there.  One that a mirror had and the disk lost is had from the
upstream again, so that a replica which lacks it gets it without further ado; what was uploaded and lost is lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.auth.tokens import NodeClaim
from twistpi.blobs.address import METADATA, BlobAddress, path_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.offload import Offload
from twistpi.mirror.download import Download
from twistpi.model.errors import BadRequest, FileLost, InvalidName, UnknownFile
from twistpi.model.records import Index, Json, KnownFile
from twistpi.replication.blob_batch import BEGINNING, END, begin_line, missing_line
from twistpi.view.read import KeptBlob
from twistpi.web.access import Access
from twistpi.web.components import MirrorServices
from twistpi.web.file_sender import FileFacts, FileSender
from twistpi.web.replication.authentication import NodeAuthenticator, NodeResponder
from twistpi.web.replies import BINARY, NO_STORE, Headers, Reply, put_head
from twistpi.web.request import json_body
from twistpi.web.transport.bodies import FileBody, PiecesBody
from twistpi.web.transport.send import send_body

MOST: Final = 1000
"""Blobs in one stream."""
STREAM: Final = b"application/vnd.twistpi.blobs"
_PIECE: Final = 256 * 1024
"""Bytes that are read at a time; small blobs are put together up to this."""


@attrs.frozen
class NodeFileFacts(FileFacts):
    """What the head of a response to another server says; no cache keeps it."""

    nodes: NodeAuthenticator

    @property
    def validators(self) -> Headers:
        """The headers a 200, a 206 and a 304 share."""
        tag = () if self.etag is None else ((b"ETag", self.etag.encode("ascii")),)
        return (*tag, NO_STORE, *self.nodes.headers())


@attrs.define(eq=False)
class NodeFiles:
    """Sends files to other servers."""

    _sender: FileSender
    _nodes: NodeAuthenticator

    async def stored(self, request: Request, address: BlobAddress, sha256: str | None) -> Reply | None:
        """Send a blob that is here; raise ``FileNotFoundError`` if it is not."""
        return await self._sender.stored(request, ("", ""), address, self.facts_of(sha256))

    async def arriving(self, request: Request, download: Download, sha256: str | None) -> Reply | None:
        """Send a file while it is fetched; raise what keeps it from arriving, while nothing was sent."""
        return await self._sender.arriving(request, download, self.facts_of(sha256))

    async def send(self, request: Request, body: FileBody, sha256: str | None) -> Reply | None:
        """Send an open file, or the requested range, and close it; ``sha256`` is for a file that never changes."""
        try:
            return await self._sender.send(request, body, self.facts_of(sha256), body.end, b"twistpi; hit")
        finally:
            body.close()

    def facts_of(self, sha256: str | None) -> NodeFileFacts:
        """Return the facts about a file with this digest; it counts as private, so that the fast path never serves it."""
        return NodeFileFacts(f'"{sha256}"' if sha256 else None, BINARY, None, private=True, nodes=self._nodes)


@attrs.define(eq=False)
class BlobFeedHandler:
    """Answers ``GET /+blob/{3}/{13}/{filename}`` and ``POST /+blobs``."""

    _respond: NodeResponder
    _files: NodeFiles
    _access: Access
    _mirrors: MirrorServices
    _blobs: IBlobs
    _offload: Offload

    async def blob(self, request: Request, claim: NodeClaim, path: str) -> Reply | None:
        """One blob, or a range of it.

        Raises ``UnknownFile`` when nothing names it, ``FileLost``, and what downloads and metadata raise.
        """
        try:
            address = path_address(path)
        except (ValueError, InvalidName) as error:
            raise UnknownFile("the primary", path) from error
        named = self._access.reader.kept_blob(address.digits, address.filename)
        if named is None:
            raise UnknownFile("the primary", path)
        with suppress(FileNotFoundError):
            return await self._files.stored(request, address, named.sha256)
        if self._mirrors.blobs is not None:
            return await self._files.arriving(request, self._mirrors.blobs.open_blob(named), named.sha256)
        return await self._fetch_again(request, address, named)

    async def _fetch_again(self, request: Request, address: BlobAddress, named: KeptBlob) -> Reply | None:
        """Fetch a blob that the disk lost from a mirror's upstream; raise ``FileLost`` if no mirror had it."""
        distribution = address.filename.removesuffix(METADATA)
        for index, project, known in self._mirrored(distribution):
            if known.sha256 == named.sha256:
                return await self._files.arriving(request, self._mirrors.files.open(index, project, known), named.sha256)
            if known.metadata_sha256 == named.sha256:
                found = await self._mirrors.metadata.metadata(index, project, known)
                if found == address:
                    return await self._files.stored(request, address, named.sha256)
        raise FileLost("the primary", f"+f/{address.relative}")

    def _mirrored(self, filename: str) -> Iterator[tuple[Index, str, KnownFile]]:
        """What mirrors know of files called ``filename``, each with its project."""
        for name in self._access.reader.mirrors_with(filename):
            index = self._access.reader.index(name)
            if index is not None and index.is_mirror:
                for project, known in self._access.reader.files_by_filename(name, filename):
                    yield index, project, known

    async def blobs(self, request: Request, claim: NodeClaim) -> None:
        """Send those of a JSON list of ``[digits, filename]`` that are here, in its order; see ``replication/blob_batch.py``.

        Raises ``BadRequest``.
        """
        wanted = _read_wanted(json_body(request))
        put_head(request, 200, (*self._respond.head(), (b"Content-Type", STREAM)))
        await send_body(request, PiecesBody(_gathered(self._stream(wanted)), self._offload), length=None)

    def _stream(self, wanted: Sequence[tuple[str, str]]) -> Iterator[bytes]:
        """Yield the stream in pieces; blocking."""
        yield BEGINNING
        for digits, filename in wanted:
            named = self._access.reader.kept_blob(digits, filename)
            yield from [missing_line(digits, filename)] if named is None else self._pieces(named)
        yield END

    def _pieces(self, named: KeptBlob) -> Iterator[bytes]:
        try:
            file = self._blobs.open(BlobAddress(named.digits, named.filename))
        except FileNotFoundError:
            yield missing_line(named.digits, named.filename)
            return
        with file:
            if file.seek(0, os.SEEK_END) != named.size:
                yield missing_line(named.digits, named.filename)  # a damaged blob is as good as missing
                return
            file.seek(0)
            yield begin_line(named.digits, named.filename, named.size)
            left = named.size
            while left > 0:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    raise OSError(f"{named.filename} is shorter than it was")
                left -= len(piece)
                yield piece


def _read_wanted(told: Json) -> list[tuple[str, str]]:
    if not isinstance(told, list) or len(told) > MOST:
        raise BadRequest(f"Bad request: a list of at most {MOST} files is needed")
    wanted = []
    for one in told:
        try:
            digits, filename = one
            address = BlobAddress(digits, filename)
        except (TypeError, ValueError, InvalidName) as error:
            raise BadRequest(f"Bad request: {one!r} is no file") from error
        wanted.append((address.digits, address.filename))
    return wanted


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of at least ``_PIECE`` bytes."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)

"""A bucket: stores, reads, lists and removes objects, and makes addresses at which others can read them."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol
from urllib.parse import quote

import attrs
from twisted.internet.interfaces import IReactorTime

from twistpi.http.agent import Agent, make_agent
from twistpi.http.client import HTTPClient, Response
from twistpi.http.errors import RequestFailed
from twistpi.http.offload import Offload
from twistpi.http.routes import NONE, ForbiddenNetworks
from twistpi.s3.address import BucketAddress
from twistpi.s3.credentials import Credentials
from twistpi.s3.errors import NoSuchObject, ObjectExists, unavailable
from twistpi.s3.multipart import PartSizes, upload_file, upload_stream
from twistpi.s3.objects import SHA256_HEADER, ObjectInfo, ObjectPage, parse_head, parse_list
from twistpi.s3.requests import BucketRequests, FilePart
from twistpi.s3.signing import presigned_url, query_string

_TIMEOUT: Final = 15.0
"""Seconds until an answer begins, or without a byte, after which another attempt is made."""
_LONGEST_LIST: Final = 8 * 1024 * 1024
"""Bytes of a page of 1,000 objects, with the longest keys."""
_MOST_IDLE: Final = 5
"""Broken connections in a row that brought no byte."""
_CHECKSUM: Final = "x-amz-checksum-sha256"
"""The digest that every engine compares; not all compare the one that is signed."""
_IF_ABSENT: Final = {"If-None-Match": "*"}
_AT_ONCE: Final = 1000
"""Objects of a page; S3 lists no more."""


@attrs.define(eq=False)
class Bucket:
    """A prefix in a bucket.  Keys are relative to it."""

    requests: BucketRequests
    _agent: Agent
    sizes: PartSizes = attrs.field(factory=PartSizes)

    @property
    def address(self) -> BucketAddress:
        """Where it is."""
        return self.requests.address

    def close(self) -> None:
        """Close the kept connections."""
        self._agent.close()

    async def put(self, key: str, content: bytes, *, if_absent: bool = False) -> None:
        """Store a small object; raise ``BucketRefused`` or ``BucketUnavailable``, as all methods.

        With ``if_absent`` raise ``ObjectExists`` when there is one, also one that an attempt of this call made.
        """
        headers = {_CHECKSUM: b64encode(hashlib.sha256(content).digest()).decode("ascii"), **(_IF_ABSENT if if_absent else {})}
        (await self.requests.send(f"store {key}", "PUT", key, headers=headers, payload=content)).discard()

    async def put_file(self, key: str, file: FileNumber, size: int, sha256: str, *, if_absent: bool = False) -> None:
        """Store the first ``size`` bytes of an open file, whose SHA-256 is ``sha256``; the bucket has them when this returns.

        The bucket checks what arrives: the digest, or those of the parts.  ``file`` stays the caller's, open until this returns.
        ``if_absent`` is as for ``put``.
        """
        descriptor, headers, conditions = file.fileno(), {SHA256_HEADER: sha256}, _IF_ABSENT if if_absent else {}
        if size > self.sizes.in_one:
            await upload_file(self.requests, key, descriptor, size, self.sizes.part, headers, conditions)
            return
        checksum = b64encode(bytes.fromhex(sha256)).decode("ascii")
        headers = {**headers, _CHECKSUM: checksum, **conditions}
        part = FilePart(descriptor, 0, size, sha256) if size else b""
        (await self.requests.send(f"store {key}", "PUT", key, headers=headers, payload=part)).discard()

    async def put_stream(self, key: str, pieces: AsyncIterator[bytes]) -> int:
        """Store what ``pieces`` gives, as it comes; return how many bytes.  Raise what it raises, too; then nothing is stored."""
        return await upload_stream(self.requests, key, pieces, self.sizes.part)

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> Response:
        """Return the response with an object, or with its bytes from ``first`` to ``last`` (206), whose body is yet to come.

        Raise ``NoSuchObject``.  If the body breaks off, the caller has to ask for the rest.
        """
        bounds = f"bytes={first}-{'' if last is None else last}"
        headers = {} if first == 0 and last is None else {"Range": bounds}
        return await self.requests.send(f"read {key}", "GET", key, headers=headers)

    async def read(self, key: str, limit: int) -> bytes:
        """Return a small object of at most ``limit`` bytes; raise ``NoSuchObject``."""
        response = await self.get(key)
        try:
            return await response.read(limit)
        except RequestFailed as failed:
            raise unavailable(self.address, f"read {key}", failed.reason) from failed

    async def download(self, key: str, write: Callable[[bytes], object]) -> int:
        """Pass a whole object to ``write``, piece by piece in other threads; return how many bytes.

        A connection that breaks is replaced by one for the rest of the same object.  Raise ``NoSuchObject``, and what ``write``
        raised.
        """
        size = idle = 0

        def take(pieces: list[bytes]) -> None:
            nonlocal size
            for piece in pieces:
                write(piece)
                size += len(piece)

        headers: dict[str, str] = {}
        while True:
            before = size
            try:
                response = await self.requests.send(f"read {key}", "GET", key, headers=headers)
            except ObjectExists as error:
                raise unavailable(self.address, f"read {key}", "it was replaced meanwhile") from error
            try:
                await response.write_to(take)
                return size
            except RequestFailed as failed:
                idle = 0 if size > before else idle + 1
                if idle > _MOST_IDLE:
                    raise unavailable(self.address, f"read {key}", failed.reason) from failed
            headers = {"Range": f"bytes={size}-"} if size else {}
            if size and (etag := response.header("ETag")) is not None:
                headers["If-Match"] = etag

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object; None when there is none."""
        try:
            response = await self.requests.send(f"look for {key}", "HEAD", key)
        except NoSuchObject:
            return None
        try:
            return parse_head(key, response)
        except ValueError as error:
            raise unavailable(self.address, f"look for {key}", str(error)) from error

    async def delete(self, key: str) -> None:
        """Remove an object; without effect when there is none."""
        try:
            (await self.requests.send(f"remove {key}", "DELETE", key)).discard()
        except NoSuchObject:
            return

    async def list(self, prefix: str = "", *, after: str = "", limit: int = _AT_ONCE) -> ObjectPage:
        """Return the objects whose keys begin with ``prefix`` and come after ``after``, which is a key."""
        own = self.address.prefix
        parameters = {"list-type": "2", "encoding-type": "url", "max-keys": str(limit), "prefix": own + prefix}
        if after:
            parameters["start-after"] = own + after
        operation = f"list {prefix or 'objects'}"
        response = await self.requests.send(operation, "GET", None, parameters)
        try:
            return parse_list(await response.read(_LONGEST_LIST), own)
        except (ValueError, RequestFailed) as error:
            raise unavailable(self.address, operation, str(error)) from error

    async def walk(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield every object whose key begins with ``prefix``, by key."""
        after, is_last = "", False
        while not is_last:
            page = await self.list(prefix, after=after)
            for one in page.objects:
                yield one
            is_last = page.is_last or not page.objects
            after = page.objects[-1].key if page.objects else ""

    async def presign(self, key: str, seconds: int, *, filename: str | None = None, content_type: str | None = None) -> str:
        """Return an address at which anybody can read an object for so many seconds, with a file name and a media type."""
        parameters = {}
        if filename is not None:
            parameters["response-content-disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        if content_type is not None:
            parameters["response-content-type"] = content_type
        keys = await self.requests.credentials.current()
        return presigned_url(self.address.url(key, query_string(parameters)), keys, self.address.region, seconds)


class FileNumber(Protocol):
    """Anything with an open file."""

    def fileno(self) -> int:
        """Return its descriptor."""


def open_bucket(
    address: BucketAddress,
    reactor: IReactorTime,
    offload: Offload,
    call_in_reactor: Callable[[Callable[[], object]], object],
    environ: Mapping[str, str],
    *,
    extra_ca_file: str | None = None,
    credentials: Credentials | None = None,
) -> Bucket:
    """Return the bucket at ``address``, without asking it anything.

    ``call_in_reactor`` is ``IReactorFromThreads.callFromThread``; ``environ`` has the proxies; ``extra_ca_file`` holds PEM
    certificates that are trusted beside the system's.  Without ``credentials`` the usual chain is asked before the first request.
    Raise ``ValueError`` and ``OSError`` as ``make_agent``.
    """
    anywhere = ForbiddenNetworks.parse((NONE,))  # the administrator names the endpoint
    agent = make_agent(reactor, environ, extra_ca_file=extra_ca_file, forbidden=anywhere)
    client = HTTPClient(agent, reactor, offload, call_in_reactor, timeout=_TIMEOUT, silence=_TIMEOUT)
    return Bucket(BucketRequests(address, client, credentials or Credentials(reactor, offload)), agent)

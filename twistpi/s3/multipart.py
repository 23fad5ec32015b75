"""Large objects in parts: a part that fails is sent again by itself, and nothing of an upload that fails stays."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import attrs
from twisted.internet.defer import DeferredSemaphore, FirstError, gatherResults

from twistpi.http.errors import RequestFailed
from twistpi.s3.body import digests_of_part
from twistpi.s3.errors import BucketRefused, BucketUnavailable, NoSuchObject, parse_refusal, refused, unavailable
from twistpi.s3.requests import BucketRequests, FilePart, Payload

_MOST_PARTS: Final = 9_000
"""S3 takes 10,000."""
_AT_ONCE: Final = 3
"""Parts of a file that are sent at the same time."""
_LONGEST_ANSWER: Final = 1024 * 1024


@attrs.frozen
class PartSizes:
    """What goes in one request, and what in parts."""

    in_one: int = 64 * 1024 * 1024
    """Bytes up to which a file is sent in one request."""
    part: int = 16 * 1024 * 1024
    """Bytes of a part, unless there would be too many; AWS takes no less than 5 MiB."""


@attrs.define(eq=False)
class Upload:
    """An object on its way.  ``complete`` or ``abort`` it."""

    _requests: BucketRequests
    _key: str
    _id: str
    _etags: dict[int, str] = attrs.field(factory=dict, init=False)
    """What the bucket calls each part, by number from 1."""

    @classmethod
    async def begin(cls, requests: BucketRequests, key: str, headers: Mapping[str, str]) -> Upload:
        """Begin an object with these headers; raise as ``BucketRequests.send``."""
        operation = f"begin an upload of {key}"
        response = await requests.send(operation, "POST", key, {"uploads": ""}, headers=headers)
        answer = await response.read(_LONGEST_ANSWER)
        try:
            found = {element.tag.rpartition("}")[2]: element.text for element in ElementTree.fromstring(answer)}
        except ElementTree.ParseError:
            found = {}
        identifier = found.get("UploadId")
        if not identifier:
            raise unavailable(requests.address, operation, "its answer names no upload")
        return cls(requests, key, identifier)

    async def send(self, number: int, payload: Payload, md5: bytes) -> None:
        """Send a part, whose digest the bucket checks; raise as ``BucketRequests.send``."""
        operation = f"store part {number} of {self._key}"
        parameters = {"partNumber": str(number), "uploadId": self._id}
        headers = {"Content-MD5": b64encode(md5).decode("ascii")}
        response = await self._requests.send(operation, "PUT", self._key, parameters, headers=headers, payload=payload)
        response.discard()
        self._etags[number] = response.header("ETag") or ""

    async def complete(self, size: int, headers: Mapping[str, str] | None = None) -> None:
        """Make the parts an object of ``size`` bytes, on the conditions in ``headers``; raise as ``BucketRequests.send``."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for number, etag in sorted(self._etags.items())
        )
        xml = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>'
        operation, requests = f"complete the upload of {self._key}", self._requests
        try:
            response = await requests.send(
                operation, "POST", self._key, {"uploadId": self._id}, headers=headers, payload=xml.encode()
            )
            answer = await response.read(_LONGEST_ANSWER)
            # S3 may begin to answer 200 before it knows how it ends.
            refusal = parse_refusal(500, answer)
            if refusal.code:
                raise refused(requests.address, operation, refusal)
        except (BucketRefused, BucketUnavailable, RequestFailed, NoSuchObject):
            # If the first answer was lost, the next attempt is told that there is no such upload.
            if not await self._is_there(size):
                raise

    async def _is_there(self, size: int) -> bool:
        with suppress(BucketRefused, BucketUnavailable, NoSuchObject):
            response = await self._requests.send(f"look for {self._key}", "HEAD", self._key)
            return response.length == size and (response.header("ETag") or "").rstrip('"').endswith(f"-{len(self._etags)}")
        return False

    async def abort(self) -> None:
        """Have the bucket drop the parts; if that fails, a lifecycle rule removes them."""
        with suppress(BucketRefused, BucketUnavailable, NoSuchObject):
            response = await self._requests.send(f"abort the upload of {self._key}", "DELETE", self._key, {"uploadId": self._id})
            response.discard()


async def upload_file(
    requests: BucketRequests,
    key: str,
    descriptor: int,
    size: int,
    shortest: int,
    headers: Mapping[str, str],
    conditions: Mapping[str, str],
) -> None:
    """Store the first ``size`` bytes of an open file in parts of at least ``shortest`` bytes; raise as ``BucketRequests.send``.

    Nothing is left behind then.
    """
    length = max(shortest, -(-size // _MOST_PARTS))
    upload = await Upload.begin(requests, key, headers)

    async def send(number: int) -> None:
        offset = (number - 1) * length
        part = min(length, size - offset)
        sha256, md5 = await requests.http.offload(digests_of_part, descriptor, offset, part)
        await upload.send(number, FilePart(descriptor, offset, part, sha256), md5)

    gate = DeferredSemaphore(_AT_ONCE)
    sending = [gate.run(send, number) for number in range(1, -(-size // length) + 1)]
    try:
        await gatherResults(sending, consumeErrors=True)
        await upload.complete(size, conditions)
    except BaseException as error:
        for one in sending:
            one.cancel()
        await upload.abort()
        if isinstance(error, FirstError):
            error.subFailure.raiseException()
        raise


async def _send_bytes(upload: Upload, requests: BucketRequests, number: int, content: bytes) -> None:
    await upload.send(number, content, await requests.http.offload(_md5, content))


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


async def upload_stream(requests: BucketRequests, key: str, pieces: AsyncIterator[bytes], length: int) -> int:
    """Store bytes of unknown number; return how many.  Holds one part of ``length`` bytes.

    Raise as ``upload_file``, and what ``pieces`` raised.
    """
    upload: Upload | None = None
    part, size, number = bytearray(), 0, 0
    try:
        async for piece in pieces:
            part += piece
            size += len(piece)
            while len(part) >= length:
                number += 1
                if upload is None:
                    upload = await Upload.begin(requests, key, {})
                await _send_bytes(upload, requests, number, bytes(part[:length]))
                del part[:length]
        if upload is None:
            (await requests.send(f"store {key}", "PUT", key, payload=bytes(part))).discard()
            return size
        if part:
            await _send_bytes(upload, requests, number + 1, bytes(part))
        await upload.complete(size)
    except BaseException:
        if upload is not None:
            await upload.abort()
        raise
    return size

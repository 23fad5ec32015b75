"""Sends signed requests to a bucket, repeats them where that helps, and turns refusals into errors."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twistpi.http.backoff import Backoff
from twistpi.http.client import HTTPClient, Response
from twistpi.http.errors import Cause, RequestFailed
from twistpi.s3.address import BucketAddress
from twistpi.s3.body import file_body
from twistpi.s3.credentials import Credentials
from twistpi.s3.errors import (
    BucketRefused,
    BucketUnavailable,
    NoSuchObject,
    ObjectExists,
    Refusal,
    parse_refusal,
    refused,
    unavailable,
)
from twistpi.s3.signing import query_string, signed_headers

_PATIENCE: Final = 45.0
"""Seconds after the first attempt after which no further one begins."""
_MOST_ATTEMPTS: Final = 8
_LONGEST_ANSWER: Final = 64 * 1024
"""Bytes of an error."""
_FINAL: Final = frozenset({Cause.FORBIDDEN, Cause.REDIRECT})
"""Failures that stay whatever is tried again."""
_NEVER: Final = 7 * 86400.0
"""Seconds; longer than any file takes."""
_GOOD: Final = frozenset({200, 204, 206})


@attrs.frozen
class FilePart:
    """A part of an open file that is sent."""

    descriptor: int
    offset: int
    length: int
    """Bytes."""
    sha256: str


Payload = bytes | FilePart


@attrs.define(eq=False)
class BucketRequests:
    """Requests to one bucket."""

    address: BucketAddress
    http: HTTPClient
    """Its ``timeout`` is the longest time without progress until an answer begins."""
    credentials: Credentials
    delays: tuple[float, float] = (0.1, 5.0)
    """Seconds before the second attempt, and at most before a later one."""
    chance: Callable[[], float] = random.random
    """Spreads attempts; returns a number from 0 up to 1."""

    @property
    def clock(self) -> IReactorTime:
        """The reactor's clock."""
        return self.http.clock

    async def send(
        self,
        operation: str,
        method: str,
        key: str | None,
        parameters: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        payload: Payload = b"",
    ) -> Response:
        """Return the response to a request that succeeds; ``operation`` says for people what it does, such as ``read ab/c``.

        Raise ``NoSuchObject``, ``BucketRefused``, ``BucketUnavailable``, and ``ObjectExists`` where ``headers`` have a condition.
        """
        url = self.address.url(key, query_string(parameters or {}))
        backoff = Backoff(*self.delays, self.chance)
        started = self.clock.seconds()
        while True:
            problem: BucketRefused | BucketUnavailable
            try:
                response = await self._once(method, url, headers or {}, payload)
            except RequestFailed as failed:
                problem = unavailable(self.address, operation, failed.reason)
                if failed.cause in _FINAL:
                    raise problem from failed
            else:
                if response.status in _GOOD:
                    return response
                refusal = await _refusal_of(response)
                if key is not None and refusal.is_absence:
                    raise NoSuchObject(key)
                if refusal.is_conflict:
                    raise ObjectExists(key or "")
                problem = refused(self.address, operation, refusal)
                if not refusal.is_temporary:
                    raise problem
                if refusal.code == "ExpiredToken":
                    self.credentials.forget()
            if backoff.failures + 1 >= _MOST_ATTEMPTS or not 0 <= self.clock.seconds() - started < _PATIENCE:
                raise problem
            await backoff.wait(self.clock)

    async def _once(self, method: str, url: str, headers: Mapping[str, str], payload: Payload) -> Response:
        keys = await self.credentials.current()
        digest = payload.sha256 if isinstance(payload, FilePart) else hashlib.sha256(payload).hexdigest()
        signed = signed_headers(method, url, headers, digest, keys, self.address.region)
        if isinstance(payload, bytes):
            body = payload if payload or method in ("PUT", "POST") else None
            return await self.http.request(method, url, headers=signed, body=body, follow=False)
        return await self._send_file(method, url, signed, payload)

    async def _send_file(self, method: str, url: str, signed: Mapping[str, str], part: FilePart) -> Response:
        """Send a request whose body may take any time, as long as bytes move."""
        watch: IDelayedCall | None = None
        patience = self.http.timeout or self.http.silence

        def moved() -> None:
            if watch is not None and watch.active():
                watch.reset(patience)

        body = file_body(part.descriptor, part.offset, part.length, self.http.offload, moved)
        sending = Deferred.fromCoroutine(self.http.request(method, url, headers=signed, body=body, follow=False, timeout=_NEVER))
        watch = self.clock.callLater(patience, sending.cancel)
        try:
            return await sending
        except (CancelledError, RequestFailed) as error:
            if watch.active():
                raise
            raise RequestFailed(f"nothing moved for {patience:g} s", Cause.TIMEOUT) from error
        finally:
            if watch.active():
                watch.cancel()


async def _refusal_of(response: Response) -> Refusal:
    try:
        return parse_refusal(response.status, await response.read(_LONGEST_ANSWER))
    except RequestFailed:
        response.discard()
        return Refusal(response.status, "", "")

"""Redirects to the bucket that has a file; ``rules/delivery.py`` decides who gets one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.rules.delivery import DeliveryMode, decide_redirect
from twistpi.web.replies import Reply, redirect_reply

Presign = Callable[[BlobAddress, int, str], Awaitable[str]]
"""Returns an address under which anybody reads a blob for so many seconds, with a media type."""
_CACHING = b"cache-control"


@attrs.frozen(eq=False)
class Delivery:
    """How files of a bucket get to clients."""

    _mode: DeliveryMode
    _presign: Presign

    async def redirect(
        self, user_agent: str | None, address: BlobAddress, size: int, content_type: bytes, *, is_private: bool
    ) -> Reply | None:
        """Return the answer to a GET request that sends the client to the bucket; None when the file is to be streamed.

        Raise ``BucketRefused`` and ``BucketUnavailable``.
        """
        redirect = decide_redirect(self._mode, user_agent, size, is_private=is_private)
        if redirect is None:
            return None
        reply = redirect_reply(await self._presign(address, redirect.seconds, content_type.decode("ascii")), 302)
        headers = tuple(line for line in reply.headers if line[0].lower() != _CACHING)
        return attrs.evolve(reply, headers=(*headers, (b"Cache-Control", redirect.cache_control)))

"""Where name lists come from: the upstream of each mirror, or the primary of a replica."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import attrs

from twistpi.http.client import HTTPClient
from twistpi.http.errors import Cause, RequestFailed
from twistpi.mirror.file_transfer import FileResponse
from twistpi.mirror.primary import PrimaryClient, names_path, reason_of
from twistpi.mirror.upstream import UpstreamConfig
from twistpi.model.errors import TwistpiError

AGE: Final = "X-Twistpi-Age"
"""A header of a primary's answer: seconds since the upstream confirmed the list."""


class NameSource(Protocol):
    """Where lists come from."""

    async def ask(self, config: UpstreamConfig, headers: Mapping[str, str], timeout: float) -> tuple[FileResponse, float]:
        """Request the list of ``config``; return the response, and how many seconds ago the upstream confirmed it.

        ``timeout`` is in seconds, until the response begins.  Raise ``RequestFailed``.
        """


@attrs.frozen(eq=False)
class UpstreamNames:
    """The upstream of each mirror."""

    _client: HTTPClient

    async def ask(self, config: UpstreamConfig, headers: Mapping[str, str], timeout: float) -> tuple[FileResponse, float]:
        """See ``NameSource``."""
        response = await self._client.request(
            "GET", config.names_url, headers=headers, credentials=config.credentials, timeout=timeout, compressed=True
        )
        return response, 0.0


@attrs.frozen(eq=False)
class PrimaryNames:
    """The primary of a replica, which has fetched the lists or does so now."""

    _client: PrimaryClient

    async def ask(self, config: UpstreamConfig, headers: Mapping[str, str], timeout: float) -> tuple[FileResponse, float]:
        """See ``NameSource``."""
        try:
            fields = {**headers, "Accept-Encoding": "gzip"}
            response = await self._client.get(names_path(config.index), headers=fields, timeout=timeout)
        except TwistpiError as error:
            cause = Cause.CONNECT if error.status == 503 and error.retry_after is None else Cause.UNUSABLE
            raise RequestFailed(reason_of(error), cause, error.retry_after) from error
        try:
            return response, float(response.header(AGE) or 0)
        except ValueError:
            return response, 0.0

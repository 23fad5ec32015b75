"""Reading a bucket where no reactor runs yet, as when a server starts."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Final

import attrs
import botocore.exceptions

from twistpi.http.blocking import BlockingClient
from twistpi.http.errors import RequestFailed
from twistpi.http.routes import ProxyRules
from twistpi.s3.address import BucketAddress
from twistpi.s3.credentials import Keys, find_keys
from twistpi.s3.errors import parse_refusal, refused, unavailable
from twistpi.s3.objects import ObjectPage, parse_list
from twistpi.s3.signing import query_string, signed_headers

_EMPTY: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The SHA-256 of no bytes."""
_PIECE: Final = 1024 * 1024
_LONGEST_LIST: Final = 8 * 1024 * 1024
_LONGEST_REFUSAL: Final = 64 * 1024


@attrs.define(eq=False)
class BucketReader:
    """Lists and reads objects, each with one attempt.  Blocking; raises ``BucketRefused`` and ``BucketUnavailable``."""

    _address: BucketAddress
    _client: BlockingClient
    _find: Callable[[], Keys | None] = find_keys

    def list(self, prefix: str) -> ObjectPage:
        """Return the first objects whose keys begin with ``prefix``, at most 1,000."""
        query = {"list-type": "2", "encoding-type": "url", "prefix": self._address.prefix + prefix}
        content: list[bytes] = []
        self._get(None, query, content.append, f"list {prefix}", _LONGEST_LIST)
        try:
            return parse_list(b"".join(content), self._address.prefix)
        except ValueError as error:
            raise unavailable(self._address, f"list {prefix}", str(error)) from error

    def download(self, key: str, write: Callable[[bytes], object]) -> None:
        """Pass an object to ``write``, piece by piece; raise what that raises, too."""
        self._get(key, {}, write, f"read {key}", None)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(
        self, key: str | None, query: Mapping[str, str], write: Callable[[bytes], object], operation: str, limit: int | None
    ) -> None:
        url = self._address.url(key, query_string(query))
        try:
            keys = self._find()
            if keys is None:
                raise unavailable(self._address, operation, "there are no credentials")
            headers = signed_headers("GET", url, {}, _EMPTY, keys.get_frozen_credentials(), self._address.region)
            with self._client.stream(url, headers) as response:
                if response.status != 200:
                    raise refused(self._address, operation, parse_refusal(response.status, response.read(_LONGEST_REFUSAL)))
                while piece := response.read(_PIECE if limit is None else limit):
                    write(piece)
                if response.length:
                    raise unavailable(self._address, operation, "the answer ended too early")
        except (RequestFailed, HTTPException, OSError, botocore.exceptions.BotoCoreError) as error:
            raise unavailable(self._address, operation, str(error)) from error


def open_reader(address: BucketAddress, environ: Mapping[str, str], extra_ca_file: str | None) -> BucketReader:
    """Return a reader of the bucket at ``address``; raise ``OSError`` for a file of certificates that cannot be read."""
    context = ssl.create_default_context()
    if extra_ca_file is not None:
        context.load_verify_locations(extra_ca_file)
    return BucketReader(address, BlockingClient(15.0, ProxyRules.from_environment(environ), context))

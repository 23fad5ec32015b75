"""Signatures of requests (AWS Signature Version 4), by botocore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

_SERVICE: Final = "s3"


class _DigestSigner(S3SigV4Auth):
    """Signs with the digest of a body that it does not have."""

    def __init__(self, credentials: ReadOnlyCredentials, region: str, sha256: str) -> None:
        super().__init__(credentials, _SERVICE, region)
        self._digest = sha256

    def payload(self, request: AWSRequest) -> str:
        """Return the digest."""
        return self._digest


def query_string(parameters: Mapping[str, str]) -> str:
    """Return parameters as a query, encoded as signatures want it (RFC 3986)."""
    return urlencode(parameters, quote_via=quote, safe="-_.~")


def signed_headers(
    method: str, url: str, headers: Mapping[str, str], sha256: str, credentials: ReadOnlyCredentials, region: str
) -> dict[str, str]:
    """Return ``headers`` and those of a signature made now; ``sha256`` is the digest of the body, which the server checks."""
    request = AWSRequest(method, url, dict(headers))
    _DigestSigner(credentials, region, sha256).add_auth(request)
    return dict(request.headers.items())


def presigned_url(url: str, credentials: ReadOnlyCredentials, region: str, seconds: int) -> str:
    """Return ``url`` with a signature in its query that lets anybody send a GET request for so many seconds from now."""
    request = AWSRequest("GET", url)
    S3SigV4QueryAuth(credentials, _SERVICE, region, expires=seconds).add_auth(request)
    return str(request.url)

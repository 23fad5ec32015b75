"""Where a bucket is: ``s3://bucket/prefix``, the endpoint, and the addresses of objects.  Pure."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import attrs

from twistpi.model.errors import TwistpiError

Style = Literal["auto", "path", "virtual"]
"""Where addresses name the bucket: in the path, in the host name, or where the endpoint usually wants it."""
DEFAULT_REGION: Final = "us-east-1"
"""The name that S3 engines with a single region use."""
SCHEME: Final = "s3://"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]\Z")
_REGION: Final = re.compile(r"[a-z0-9-]{1,63}\Z")
_LONGEST_PREFIX: Final = 512


@attrs.frozen
class BucketAddress:
    """A prefix in a bucket of an endpoint."""

    bucket: str
    prefix: str
    """What all keys begin with; empty, or with a slash at its end."""
    endpoint: str
    """``https://HOST`` or ``http://HOST:PORT``, without a slash at the end."""
    region: str
    has_own_host: bool
    """Whether the bucket is part of the host name."""

    @property
    def shown(self) -> str:
        """For people."""
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/") + f" at {self.endpoint}"

    def url(self, key: str | None, query: str = "") -> str:
        """Return the address of an object, or of the bucket for None; ``key`` is relative to the prefix."""
        path = "" if key is None else quote(self.prefix + key, safe="/~")
        scheme, _, host = self.endpoint.partition("://")
        base = f"{scheme}://{self.bucket}.{host}/" if self.has_own_host else f"{self.endpoint}/{self.bucket}/"
        if not path and not self.has_own_host:
            base = base.rstrip("/")
        return base + path + (f"?{query}" if query else "")


def parse_bucket(url: str, *, endpoint: str | None = None, region: str | None = None, style: Style = "auto") -> BucketAddress:
    """Return the address that settings describe; raise ``TwistpiError`` with a sentence for what cannot be one.

    Without an endpoint the bucket is one of AWS in ``region``.  With one, the bucket is named in the path unless ``style`` says
    else: few installations have a wildcard certificate.
    """
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or not _BUCKET.match(bucket):
        raise TwistpiError(f"{url!r} is no address of a bucket: write s3://BUCKET or s3://BUCKET/PREFIX.", 400)
    prefix = prefix.strip("/")
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") for part in parts) or not prefix.isprintable() or len(prefix) > _LONGEST_PREFIX:
        raise TwistpiError(f"The prefix in {url!r} cannot be used: write names with single slashes between them.", 400)
    region = region or DEFAULT_REGION
    if not _REGION.match(region):
        raise TwistpiError(f"{region!r} is no name of an S3 region, such as eu-central-1.", 400)
    has_own_host = style == "virtual" or (style == "auto" and endpoint is None and "." not in bucket)
    place = _endpoint(endpoint) if endpoint is not None else f"https://s3.{region}.amazonaws.com"
    return BucketAddress(bucket, f"{prefix}/" if prefix else "", place, region, has_own_host)


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_plain = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        if is_plain and parts.path in ("", "/") and "@" not in parts.netloc and parts.port != 0:
            return f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        pass
    reason = "write http://HOST:PORT or https://HOST, and the access key into the environment"
    raise TwistpiError(f"{text!r} is no address of an S3 endpoint: {reason}.", 400)

"""What a bucket says about its objects: heads, and lists in XML (ListObjectsV2)."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol
from urllib.parse import unquote_plus
from xml.etree import ElementTree

import attrs

SHA256_HEADER: Final = "x-amz-meta-sha256"
"""Where an object says the SHA-256 of its bytes; that of S3 itself is another one for objects of several parts."""


@attrs.frozen
class ObjectInfo:
    """An object."""

    key: str
    """Relative to the prefix."""
    size: int
    """Bytes."""
    modified: float
    """When it was stored last, in Unix seconds by the bucket's clock."""
    sha256: str | None = None
    """As it was given with the object; None in lists, and for what others stored."""
    age: float = 0.0
    """Seconds since it was stored last, by the bucket's clock alone; 0 in lists."""


@attrs.frozen
class ObjectPage:
    """A part of a list."""

    objects: tuple[ObjectInfo, ...]
    """By key, in the order of UTF-8."""
    is_last: bool


class _Headed(Protocol):
    @property
    def length(self) -> int | None: ...
    def header(self, name: str) -> str | None: ...


def parse_head(key: str, response: _Headed) -> ObjectInfo:
    """Return what a response to HEAD or GET says; raise ``ValueError`` when it is none of S3."""
    modified, date = response.header("Last-Modified"), response.header("Date")
    if response.length is None or modified is None:
        raise ValueError("the answer has no length or no date")
    at = parsedate_to_datetime(modified).timestamp()
    age = 0.0 if date is None else max(0.0, parsedate_to_datetime(date).timestamp() - at)
    return ObjectInfo(key, response.length, at, response.header(SHA256_HEADER), age)


def parse_list(body: bytes, prefix: str) -> ObjectPage:
    """Return a list, its keys without ``prefix``; raise ``ValueError`` when it is none of S3."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ValueError(f"the answer is not XML: {error}") from error
    if _local(root) != "ListBucketResult":
        raise ValueError(f"the answer is a {_local(root)}")
    fields = {_local(element): element.text or "" for element in root}
    is_encoded = fields.get("EncodingType") == "url"
    found = [
        _object({_local(part): part.text or "" for part in item}, prefix, is_encoded)
        for item in root
        if _local(item) == "Contents"
    ]
    return ObjectPage(tuple(found), fields.get("IsTruncated") != "true")


def _object(fields: dict[str, str], prefix: str, is_encoded: bool) -> ObjectInfo:
    try:
        key, size, modified = fields["Key"], int(fields["Size"]), datetime.fromisoformat(fields["LastModified"])
    except KeyError as error:
        raise ValueError(f"the answer lists an object without {error}") from error
    return ObjectInfo((unquote_plus(key) if is_encoded else key).removeprefix(prefix), size, modified.timestamp())


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]

"""What S3 answers when something is wrong, as errors that say what to do.

The codes are those of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, which other engines share.
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

import attrs

from twistpi.model.errors import TwistpiError
from twistpi.model.text import one_line
from twistpi.s3.address import BucketAddress


class NoSuchObject(LookupError):
    """The bucket has no object under the key, which is the argument."""


class ObjectExists(Exception):
    """The bucket already has an object under a key that had to be new."""


class BucketRefused(TwistpiError):
    """The bucket refuses what twistpi needs, until somebody changes rights, settings or a clock."""

    status = 500


class BucketUnavailable(TwistpiError):
    """The bucket could not be used for some seconds; it may be possible later."""

    status = 503
    retry_after = 5


@attrs.frozen
class Refusal:
    """An answer of S3 that is no success."""

    status: int
    code: str
    """Such as ``NoSuchKey``; empty when the answer has none, as after HEAD."""
    message: str

    @property
    def is_absence(self) -> bool:
        """Whether there is no such object, as opposed to no such bucket."""
        return self.status == 404 and self.code in ("", "NoSuchKey", "NotFound", "NoSuchVersion")

    @property
    def is_conflict(self) -> bool:
        """Whether the condition of the request does not hold."""
        return self.status == 412 or self.code == "PreconditionFailed"

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return (self.status >= 500 and self.status != 501) or self.status == 429 or self.code in _TEMPORARY


_TEMPORARY: Final = frozenset(
    {
        "ConditionalRequestConflict", "ExpiredToken", "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable",
        "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests",
    }
)  # fmt: skip
_KEYS: Final = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or whatever else gives the credentials"
_ADVICE: Final = {
    "AccessDenied": "give the access key the rights that docs/cluster.rst lists for this bucket and prefix",
    "AllAccessDisabled": "the bucket is disabled; ask the owner of the account",
    "AuthorizationHeaderMalformed": "set --s3-region to the region of the bucket",
    "IllegalLocationConstraintException": "set --s3-region to the region of the bucket",
    "InvalidAccessKeyId": _KEYS,
    "InvalidBucketName": "check the name of the bucket",
    "InvalidToken": _KEYS,
    "NoSuchBucket": "make the bucket, or correct its name in the setting; twistpi makes none",
    "PermanentRedirect": "set --s3-region and --s3-endpoint to those of the bucket",
    "RequestTimeTooSkewed": "set this machine's clock: it differs from the bucket's by more than 15 minutes",
    "SignatureDoesNotMatch": f"{_KEYS}, and that no proxy changes requests on their way",
    "XMinioStorageFull": "the storage behind the bucket is full",
}
_LONGEST: Final = 300


def parse_refusal(status: int, body: bytes) -> Refusal:
    """Return what an answer says; any bytes are accepted."""
    try:
        root = ElementTree.fromstring(body)
        fields = {element.tag.rpartition("}")[2]: element.text or "" for element in root}
    except ElementTree.ParseError:
        fields = {}
    return Refusal(status, fields.get("Code", ""), one_line(fields.get("Message", ""))[:_LONGEST])


def refused(address: BucketAddress, operation: str, refusal: Refusal) -> BucketRefused | BucketUnavailable:
    """Return the error for an answer that ends an operation, such as ``read ab/c``."""
    code = refusal.code or {403: "AccessDenied", 404: "NoSuchBucket", 301: "PermanentRedirect"}.get(refusal.status, "")
    said = f"{refusal.status} {code}".strip() + (f" ({refusal.message.rstrip('.')})" if refusal.message else "")
    if refusal.is_temporary:
        return BucketUnavailable(f"The bucket {address.shown} could not {operation}: it answered {said}; try again later.")
    advice = _ADVICE.get(code, "see what the log of the S3 server says")
    return BucketRefused(f"The bucket {address.shown} did not {operation}: it answered {said}. What to do: {advice}.")


def unavailable(address: BucketAddress, operation: str, reason: str) -> BucketUnavailable:
    """Return the error for a bucket that did not answer."""
    return BucketUnavailable(f"The bucket {address.shown} could not {operation}: {reason}; try again later.")

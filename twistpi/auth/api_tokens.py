"""API tokens: passwords for programs, ``twistpi-`` 16 hexadecimal digits ``-`` 43 characters.

The digits are public and name the token; of the rest, 256 bits of chance, only the SHA-256 is kept.  A slow hash would add
nothing: nobody guesses 256 bits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable

_SHAPE = re.compile(r"twistpi-([0-9a-f]{16})-([A-Za-z0-9_-]{43})\Z", re.ASCII)


def make(entropy: Callable[[int], bytes]) -> tuple[str, str, str]:
    """A new token: its text, to be shown once, its public half, and the digest to be kept.

    ``entropy`` returns so many random bytes, as ``os.urandom`` does.
    """
    public = entropy(8).hex()
    secret = base64.urlsafe_b64encode(entropy(32)).decode("ascii").rstrip("=")
    return f"twistpi-{public}-{secret}", public, digest_of(secret)


def split(text: str) -> tuple[str, str] | None:
    """The public and the secret half of a token's text; None for what has another shape."""
    match = _SHAPE.match(text)
    return None if match is None else (match[1], match[2])


def digest_of(secret: str) -> str:
    """What is kept of the secret half: its SHA-256, as hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def matches(secret: str, digest: str) -> bool:
    """Whether ``digest`` is that of ``secret``; takes equally long whatever differs."""
    return hmac.compare_digest(digest_of(secret).encode("ascii"), digest.encode("utf-8", "surrogatepass"))

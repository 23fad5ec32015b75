"""Login tokens, which the server signs, and API tokens, of which it keeps digests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final

import attrs
from itsdangerous import BadData, URLSafeSerializer

from twistpi.model.accounts import User

PREFIX: Final = "login-"
_LOGIN_TOKEN = re.compile(r"login-\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}\Z", re.ASCII)
_PURPOSE: Final = b"twistpi login"
"""Distinguishes these signatures from others made with the same secret."""
_AHEAD: Final = 300
"""Seconds by which the clock of another server with the same secret may be ahead."""
_LONGEST: Final = 16 * 1024
"""Characters; no header is longer."""


@attrs.frozen
class LoginClaim:
    """The content of a login token whose signature and age are valid."""

    user: str
    groups: tuple[str, ...]
    password_digest: str
    """A digest of the user's password hash when the token was made; ``is_valid_for`` compares it."""


class LoginTokens:
    """Makes and reads login tokens."""

    def __init__(self, secret: bytes, lifetime_seconds: int) -> None:
        self.lifetime_seconds = lifetime_seconds
        """From the moment when a token is made."""
        signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeSerializer(secret, salt=_PURPOSE, signer_kwargs=signing)

    def make(self, user: User, now: float, groups: tuple[str, ...] = ()) -> str:
        """Return a token for ``user`` in ASCII; ``now`` is in Unix seconds."""
        return PREFIX + self._serializer.dumps([user.name, list(groups), int(now), _password_digest(user)])

    def read(self, text: str, now: float) -> LoginClaim | None:
        """Return the content of ``text``; None when it is no token, was signed with another secret or is too old."""
        if not looks_like_one(text):
            return None
        try:
            user, groups, made, digest = self._serializer.loads(text.removeprefix(PREFIX))
        except (BadData, ValueError):
            return None
        if not now - self.lifetime_seconds <= made <= now + _AHEAD:
            return None
        return LoginClaim(user, tuple(groups), digest)


def looks_like_one(text: str) -> bool:
    """Whether ``text`` has the shape of a login token, so that it is not taken for a password."""
    return len(text) <= _LONGEST and _LOGIN_TOKEN.match(text) is not None


def is_valid_for(claim: LoginClaim, user: User | None) -> bool:
    """Whether ``claim`` is valid for the present user of its name (None: there is none).

    It is not when the password was changed since, nor for a user who was created later with the same name.
    """
    return user is not None and user.name == claim.user and hmac.compare_digest(claim.password_digest, _password_digest(user))


def _password_digest(user: User) -> str:
    """Return a digest that changes with the user's password, and does not help to guess it."""
    kept = "cannot log in" if user.password_hash is None else f"={user.password_hash}"
    return hashlib.sha256(f"{user.name}\0{user.created}\0{kept}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


_API_TOKEN = re.compile(r"twistpi-([0-9a-f]{16})-([A-Za-z0-9_-]{43})\Z", re.ASCII)


def make(entropy: Callable[[int], bytes]) -> tuple[str, str, str]:
    """Return a new API token: its text, which is shown once, its public half, and the digest to keep.

    ``entropy`` returns random bytes, as ``os.urandom`` does.
    """
    public = entropy(8).hex()
    secret = base64.urlsafe_b64encode(entropy(32)).decode("ascii").rstrip("=")
    return f"twistpi-{public}-{secret}", public, digest_of(secret)


def split(text: str) -> tuple[str, str] | None:
    """Return the public and the secret half of an API token; None for what is none."""
    match = _API_TOKEN.match(text)
    return None if match is None else (match[1], match[2])


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret half, as hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def matches(secret: str, digest: str) -> bool:
    """Whether ``digest`` is that of ``secret``, in constant time."""
    return hmac.compare_digest(digest_of(secret).encode("ascii"), digest.encode("utf-8", "surrogatepass"))

"""Login tokens, which the server signs, and API tokens, which it keeps as digests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any, Final

import attrs
from itsdangerous import BadData, URLSafeSerializer

from twistpi.model.accounts import User

PREFIX: Final = "login-"
_SHAPE = re.compile(r"login-\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}\Z", re.ASCII)
_PURPOSE: Final = b"twistpi login"
"""Keeps these signatures apart from any other made with the same secret."""
_AHEAD: Final = 300
"""Seconds by which the clock of another server with the same secret may be ahead."""
_LONGEST: Final = 16 * 1024
"""Characters; no header is longer."""


@attrs.frozen
class LoginClaim:
    """What a login token says, after its signature and its age were found good."""

    user: str
    groups: tuple[str, ...]
    stand: str
    """Of the user's password when the token was made; ``is_valid_for`` compares it."""


class LoginTokens:
    """Makes and reads login tokens."""

    def __init__(self, secret: bytes, lifetime_seconds: int) -> None:
        self.lifetime_seconds = lifetime_seconds
        """From the moment a token is made."""
        signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeSerializer(secret, salt=_PURPOSE, signer_kwargs=signing)

    def make(self, user: User, now: float, groups: tuple[str, ...] = ()) -> str:
        """A token for ``user`` in plain ASCII; ``now`` in Unix seconds."""
        signed: Any = self._serializer.dumps([user.name, list(groups), int(now), _stand(user)])
        return PREFIX + (signed if isinstance(signed, str) else signed.decode("ascii"))

    def read(self, text: str, now: float) -> LoginClaim | None:
        """What ``text`` says; None when it is no token, was signed with another secret or is too old."""
        if not looks_like_one(text):
            return None
        try:
            content: Any = self._serializer.loads(text.removeprefix(PREFIX))
            user, groups, made, stand = content
        except (BadData, ValueError):
            return None
        if not now - self.lifetime_seconds <= made <= now + _AHEAD:
            return None
        return LoginClaim(user, tuple(groups), stand)


def looks_like_one(text: str) -> bool:
    """Whether ``text`` has the shape of a login token, so that it is not taken for a password."""
    return len(text) <= _LONGEST and _SHAPE.match(text) is not None


def is_valid_for(claim: LoginClaim, user: User | None) -> bool:
    """Whether ``claim`` holds for the user of its name as that is now (None: there is none).

    It does not when the password changed since, nor for another user who was given the same name later.
    """
    return user is not None and user.name == claim.user and hmac.compare_digest(claim.stand, _stand(user))


def _stand(user: User) -> str:
    """Changes with the user's password; tells nothing of it that helps to guess it."""
    kept = "cannot log in" if user.password_hash is None else f"={user.password_hash}"
    return hashlib.sha256(f"{user.name}\0{user.created}\0{kept}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


_SHAPE_api_tokens = re.compile(r"twistpi-([0-9a-f]{16})-([A-Za-z0-9_-]{43})\Z", re.ASCII)


def make(entropy: Callable[[int], bytes]) -> tuple[str, str, str]:
    """A new token: its text, to be shown once, its public half, and the digest to be kept.

    ``entropy`` returns so many random bytes, as ``os.urandom`` does.
    """
    public = entropy(8).hex()
    secret = base64.urlsafe_b64encode(entropy(32)).decode("ascii").rstrip("=")
    return f"twistpi-{public}-{secret}", public, digest_of(secret)


def split(text: str) -> tuple[str, str] | None:
    """The public and the secret half of a token's text; None for what has another shape."""
    match = _SHAPE_api_tokens.match(text)
    return None if match is None else (match[1], match[2])


def digest_of(secret: str) -> str:
    """What is kept of the secret half: its SHA-256, as hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def matches(secret: str, digest: str) -> bool:
    """Whether ``digest`` is that of ``secret``; takes equally long whatever differs."""
    return hmac.compare_digest(digest_of(secret).encode("ascii"), digest.encode("utf-8", "surrogatepass"))

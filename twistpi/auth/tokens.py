"""Login tokens and sessions, which the server signs, API tokens, of which it keeps digests, and tokens by which servers recognise
each other.

A session is a login in a browser, which keeps its text in a cookie.  It is signed for another purpose than a login token, so
neither passes for the other: a stolen cookie is no password for the API.

A node token is valid for one request.  It is a JSON object signed by itsdangerous: the node that sends the request, method and
target, the time, a nonce, and the SHA-256 of the header that names the client of a forwarded request.  It is sent as
``Authorization: Twistpi-Node TOKEN``.  ``web/replication/authentication.py`` refuses a nonce that was used before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final

import attrs
from itsdangerous import BadData, BadSignature, Signer, URLSafeSerializer

from twistpi.model.records import Json, User
from twistpi.model.server_errors import NodeRefused

PREFIX: Final = "login-"
_DOCS_PREFIX: Final = "docs-"
_LOGIN_TOKEN = re.compile(r"login-\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}\Z", re.ASCII)
_PURPOSE: Final = b"twistpi login"
"""Distinguishes these signatures from others made with the same secret."""
_SESSION_PURPOSE: Final = b"twistpi session"
_DOCS_PURPOSE: Final = b"twistpi docs"
_FORM_PURPOSE: Final = b"twistpi form"
_MESSAGE_PURPOSE: Final = b"twistpi message"
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
    """Makes and reads login tokens and sessions."""

    def __init__(self, secret: bytes, lifetime_seconds: int) -> None:
        self.lifetime_seconds = lifetime_seconds
        """From the moment when a token is made."""
        signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeSerializer(secret, salt=_PURPOSE, signer_kwargs=signing)
        self._sessions = URLSafeSerializer(secret, salt=_SESSION_PURPOSE, signer_kwargs=signing)
        self._docs = URLSafeSerializer(secret, salt=_DOCS_PURPOSE, signer_kwargs=signing)
        self._messages = URLSafeSerializer(secret, salt=_MESSAGE_PURPOSE, signer_kwargs=signing)
        self._forms = Signer(secret, salt=_FORM_PURPOSE, key_derivation="hmac", digest_method=hashlib.sha256)

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
        return LoginClaim(user, tuple(groups), digest) if self._is_in_time(made, now) else None

    def make_session(self, user: User, now: float, nonce: str) -> str:
        """Return a session of ``user``, which lasts as long as a login token; ``nonce`` distinguishes it from others."""
        return str(self._sessions.dumps([user.name, nonce, int(now), _password_digest(user)]))

    def read_session(self, text: str, now: float) -> LoginClaim | None:
        """Return who began the session ``text``; None when it is none, was signed with another secret or is over."""
        if len(text) > _LONGEST:
            return None
        try:
            user, _nonce, made, digest = self._sessions.loads(text)
        except (BadData, ValueError):
            return None
        return LoginClaim(user, (), digest) if self._is_in_time(made, now) else None

    def make_docs_token(self, user: User, subject: str, now: float) -> str:
        """Return a token with which the documentation ``subject``, and nothing else, is read in the name of ``user``.

        It lasts as long as a login token, and stands in paths: documentation has no origin, so browsers send no cookies for it.
        """
        return _DOCS_PREFIX + str(self._docs.dumps([user.name, _digest(subject), int(now), _password_digest(user)]))

    def read_docs_token(self, text: str, subject: str, now: float) -> LoginClaim | None:
        """Return in whose name ``text`` lets the documentation ``subject`` be read; None when it does not."""
        try:
            user, digest, made, password = self._docs.loads(text[:_LONGEST].removeprefix(_DOCS_PREFIX))
        except (BadData, ValueError):
            return None
        return LoginClaim(user, (), password) if digest == _digest(subject) and self._is_in_time(made, now) else None

    def form_token(self, session: str, nonce: str) -> str:
        """Return what each form of a session has to send: no page of another site knows it.

        ``nonce``, hexadecimal digits, makes it another one on each page, so that nobody learns it from how well pages compress.
        """
        return f"{nonce}.{self._forms.get_signature(f'{session} {nonce}').decode('ascii')}"

    def is_form_token(self, session: str, text: str) -> bool:
        """Whether ``text`` is a form token of ``session``, in constant time."""
        nonce, _dot, signature = text.partition(".")
        signed, shown = (part.encode("utf-8", "surrogatepass") for part in (f"{session} {nonce}", signature))
        return self._forms.verify_signature(signed, shown)

    def make_message(self, session: str, text: str) -> str:
        """Return ``text``, which the next page of a session shows, in ASCII."""
        return str(self._messages.dumps([_digest(session), text]))

    def read_message(self, session: str, text: str) -> str:
        """Return the message that ``make_message`` wrote for ``session``; empty for anything else."""
        try:
            digest, message = self._messages.loads(text[:_LONGEST])
        except (BadData, ValueError):
            return ""
        return str(message) if digest == _digest(session) else ""

    def _is_in_time(self, made: float, now: float) -> bool:
        return now - self.lifetime_seconds <= made <= now + _AHEAD


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


# Node tokens ---------------------------------------------------------------------------------------------------------


SCHEME: Final = "Twistpi-Node"
"""The scheme of the header ``Authorization``."""
WINDOW: Final = 60.0
"""Seconds for which a token is valid."""
AHEAD: Final = 1.0
"""Seconds by which the sender's clock may be ahead; a sender that is further ahead is told the time here."""
_NODE_PURPOSE: Final = b"twistpi node"
"""Distinguishes these signatures from others made with the same secret."""
_NODE_TOKEN = re.compile(r"\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}\Z", re.ASCII)


@attrs.frozen
class NodeClaim:
    """The content of a token whose signature, age and request are valid."""

    node: str
    """The id of the server that sent the request: 32 hexadecimal digits."""
    at: float
    """When it was made, in Unix seconds."""
    nonce: str
    """Hexadecimal digits, different in each token of this time."""


def target_of(uri: str) -> str:
    """Return the part of a request's path and query that is signed: from the first ``/+``.

    Before that is the prefix under which a proxy serves the primary; it may differ on either side of the proxy.
    """
    start = uri.find("/+")
    return uri if start < 0 else uri[start:]


class NodeTokens:
    """Makes and reads the tokens of servers."""

    def __init__(self, secret: bytes) -> None:
        signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeSerializer(secret, salt=_NODE_PURPOSE, signer_kwargs=signing)

    def make(self, node: str, method: str, target: str, at: float, nonce: str, client: str = "") -> str:
        """Return a token for one request of ``node``.

        ``target`` is path and query exactly as they are sent, ``at`` the time in Unix seconds by the clock of the server that is
        asked, ``client`` the value of ``X-Twistpi-Passed-On``.
        """
        claims = {"node": node, "method": method, "target": target_of(target), "at": at, "nonce": nonce, "told": _digest(client)}
        return self._serializer.dumps(claims)

    def read(self, text: str, method: str, target: str, now: float, client: str = "") -> NodeClaim:
        """Return the content of ``text``, the token of a request to ``target`` on behalf of ``client``.

        Raise ``NodeRefused``: ``malformed``, ``wrong secret``, ``expired`` or ``other request``.
        """
        if len(text) > _LONGEST or _NODE_TOKEN.match(text) is None:
            raise NodeRefused("malformed")
        try:
            claims = self._serializer.loads(text)
        except BadSignature:
            raise NodeRefused("wrong secret") from None
        except BadData:
            raise NodeRefused("malformed") from None
        return self._check(claims, (method, target_of(target), _digest(client)), now)

    def _check(self, claims: Json, request: tuple[str, str, str], now: float) -> NodeClaim:
        match claims:
            case {
                "node": str(node),
                "method": str(method),
                "target": str(target),
                "at": int() | float() as at,
                "nonce": str(nonce),
                "told": str(told),
            }:
                pass
            case _:
                raise NodeRefused("malformed")
        if not now - WINDOW <= at <= now + AHEAD:
            raise NodeRefused("expired")
        if (method, target, told) != request:
            raise NodeRefused("other request")
        return NodeClaim(node, float(at), nonce)


def _digest(client: str) -> str:
    return hashlib.sha256(client.encode("utf-8", "surrogatepass")).hexdigest() if client else ""

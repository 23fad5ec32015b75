"""Authentication of requests: passwords, login tokens and API tokens.

A bcrypt takes a quarter of a second of a processor, so passwords are hashed in threads of their own, in a bounded queue:
otherwise a handful of logins would delay pages, and a flood of them would fill the memory.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.auth import tokens as api_tokens
from twistpi.auth.passwords import BLANK, LONGEST_WAIT, Remembered, Throttle, hash_password, is_argon2_hash, verify_password
from twistpi.auth.tokens import LoginTokens, is_valid_for, looks_like_one
from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.model.errors import AskFirst, LoginFailed, TwistpiError
from twistpi.model.records import NOBODY, Principal, User
from twistpi.rules.token_requests import is_expired
from twistpi.web.addresses import Addresses, client_address, is_local
from twistpi.web.request import header
from twistpi.web.sessions import Sessions

if TYPE_CHECKING:
    from twistpi.view.read import Readers


THREADS = 2
"""How many hash at the same time."""

_Result = TypeVar("_Result")


@attrs.define(eq=False)
class PasswordQueue:
    """Runs what takes long for passwords, in order of arrival."""

    _offload: Offload
    """Runs at least ``threads`` functions at the same time."""
    threads: int = THREADS
    longest: int = 64
    """How many may wait."""
    longest_of_one: int = 32
    """How many of one address may wait, so that a single one never fills the queue."""
    hashed: int = 0
    """How many were hashed so far."""
    _working: int = 0
    _waiting: deque[tuple[str, Deferred[None]]] = attrs.field(factory=deque)

    async def run(self, address: str, work: Callable[..., _Result], *arguments: object) -> _Result:
        """Return ``work(*arguments)``, run in a thread for a client at ``address``; raise ``TwistpiError`` if the queue is full.

        Must not be cancelled: the thread would go on, and others would take its place in the queue.
        """
        if self._working >= self.threads:
            of_one = sum(other == address for other, _turn in self._waiting)
            if len(self._waiting) >= self.longest or of_one >= self.longest_of_one:
                raise TwistpiError(
                    "Too many passwords wait to be looked at; try again in a few seconds, or use a token instead of a password.",
                    503,
                )
            turn: Deferred[None] = Deferred()
            self._waiting.append((address, turn))
            await turn
        else:
            self._working += 1
        self.hashed += 1
        try:
            result: _Result = await self._offload(work, *arguments)
            return result
        finally:
            if self._waiting:
                self._waiting.popleft()[1].callback(None)
            else:
                self._working -= 1

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)


@attrs.frozen
class Credentials:
    """A name and a secret as sent; neither is checked."""

    user: str
    secret: str = attrs.field(repr=False)


def credentials_of(request: Request) -> Credentials | None:
    """Return the credentials of ``request``: those of ``X-Devpi-Auth``, else those of ``Authorization: Basic``.

    None without any, and for such as cannot be read: those count as none, and are never refused.
    """
    devpi = header(request, "x-devpi-auth")
    if devpi is not None:
        return _decoded(devpi)
    scheme, _, encoded = (header(request, "authorization") or "").strip().partition(" ")
    return _decoded(encoded) if scheme.lower() == "basic" else None


def _decoded(encoded: str) -> Credentials | None:
    try:
        content = base64.b64decode(encoded.strip().encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    user, colon, secret = text.partition(":")
    return Credentials(user, secret) if colon else None


_log = Logger()


class PasswordCheck(Protocol):
    """Another process that verifies passwords."""

    async def is_right(self, name: str, password: str, address: str, *, local: bool) -> bool:
        """Return whether ``password``, given by a client at ``address``, is that of the user ``name``. Raise ``AskFirst``."""


ReplaceHash = Callable[[str, str, str], Awaitable[object]]
"""Gives a user another hash of the same password: name, the former hash, the new one."""


class SharedThrottle(Protocol):
    """Another server that counts wrong passwords, its own and those that came here."""

    async def reserve(self, user: str, address: str) -> float | None:
        """Do as ``Throttle.reserve``; return 0 when that server cannot be asked."""

    async def succeeded(self, user: str, address: str) -> None:
        """Do as ``Throttle.succeeded``, if that server can be asked."""


@attrs.define(eq=False)
class Authenticator:
    """Authenticates callers, lets users log in, and makes hashes of passwords and tokens."""

    readers: Readers
    tokens: LoginTokens
    line: PasswordQueue
    clock: IReactorTime
    entropy: Callable[[int], bytes]
    """Random bytes, as ``os.urandom`` makes them."""
    bcrypt_cost: int
    addresses: Addresses = attrs.field(factory=Addresses)
    elsewhere: PasswordCheck | None = None
    """Verifies the passwords that are not remembered here; None if this process does so itself."""
    shared: SharedThrottle | None = None
    """Counts the wrong passwords of several servers; None where this one is alone, or is the one that counts."""
    replace_hash: ReplaceHash | None = None
    """Called where a password was right whose hash is another server's; None where nothing can be written."""
    sessions: Sessions = attrs.field(init=False)
    _remembered: Remembered = attrs.field(init=False)
    _throttle: Throttle = attrs.field(init=False, factory=Throttle)
    _tries: SingleFlight[tuple[bytes, str], bool] = attrs.field(init=False, factory=SingleFlight)
    """By what is shown and from where: one place in the throttle's line each."""
    _checks: SingleFlight[bytes, bool] = attrs.field(init=False, factory=SingleFlight)
    """By what is shown: one bcrypt each."""
    _hashing: SingleFlight[object, str] = attrs.field(init=False, factory=SingleFlight)
    _principals: WeakKeyDictionary[Request, Principal] = attrs.field(init=False, factory=WeakKeyDictionary)
    """The callers of the requests in progress, so that a handler may call ``principal`` twice."""

    @sessions.default
    def _new_sessions(self) -> Sessions:
        return Sessions(self.readers, self.tokens, self.clock, self.entropy, self.addresses)

    @_remembered.default
    def _new_memory(self) -> Remembered:
        return Remembered(self.entropy(32))

    async def principal(self, request: Request) -> Principal:
        """Return the caller of ``request``, by its credentials or, for what only reads, its session; else ``NOBODY``.

        Raises ``TwistpiError`` only: nothing is known then.
        """
        known = self._principals.get(request)
        if known is None:
            credentials = credentials_of(request)
            known = self.sessions.principal(request) if credentials is None else await self._prove(request, credentials)
            self._principals[request] = known
        return known

    def form_principal(self, request: Request, form_token: str) -> Principal:
        """Return who sends a form with ``form_token``; from then on ``principal`` returns the same.  Raise ``TwistpiError``."""
        known = self._principals[request] = self.sessions.form_principal(request, form_token)
        return known

    def known(self, request: Request) -> Principal:
        """Return the caller of ``request`` as far as it was looked at; ``NOBODY`` before."""
        return self._principals.get(request, NOBODY)

    async def login(self, user: str, password: str, address: str, *, local: bool) -> tuple[str, int]:
        """Return a login token for ``user`` and the seconds for which it is valid; raise what ``proved`` raises."""
        return await self.token_for(await self.proved(user, password, address, local=local))

    async def proved(self, user: str, password: str, address: str, *, local: bool) -> User:
        """Return the user of this name, who logs in with ``password``.

        ``address`` is where the login comes from, and ``local`` whether that is this machine, where a blank password is enough.
        Raises ``LoginFailed``, and ``TwistpiError`` if too many passwords wait.
        """
        found = await self.check_password(user, password, address, local=local)
        if found is None:
            raise LoginFailed(f"user {user!r} could not be authenticated")
        _log.info("{user} logged in from {address}.", user=found.name, address=address)
        return found

    async def token_for(self, user: User) -> tuple[str, int]:
        """Return a login token for ``user``, who was authenticated, and the seconds for which it is valid."""
        return self.tokens.make(user, self.clock.seconds()), self.tokens.lifetime_seconds

    async def hash_password(self, password: str) -> str:
        """Return the hash of ``password``; raise ``TwistpiError`` if the queue is full."""
        if not password:
            return BLANK
        # Under a key of its own: a client that leaves meanwhile must not make room in the queue while its thread works.
        return await self._hashing.join(object(), lambda: self.line.run("", hash_password, password, self.bcrypt_cost))

    def count_attempt(self, user: str, address: str) -> float | None:
        """Count a password of ``user`` from ``address`` as wrong until it turns out to be right; see ``Throttle.reserve``."""
        return self._throttle.reserve(user, address, self.clock.seconds())

    def password_was_right(self, user: str, address: str) -> None:
        """Forget the wrong passwords of ``user`` from ``address``."""
        self._throttle.succeeded(user, address)

    def new_api_token(self) -> tuple[str, str, str]:
        """Return the text of a new API token, which is shown once, its public half, and the digest to be stored."""
        return api_tokens.make(self.entropy)

    def stop(self) -> None:
        """Cancel everything that waits, because the server stops."""
        for work in (self._tries, self._checks, self._hashing):
            work.cancel_all()

    # Proofs --------------------------------------------------------------------------------------------------------

    async def _prove(self, request: Request, credentials: Credentials) -> Principal:
        if looks_like_one(credentials.secret):
            return self._with_login_token(credentials)
        halves = api_tokens.split(credentials.secret)
        if halves is not None:
            return self.with_api_token(*halves)
        address, local = client_address(request, self.addresses), is_local(request)
        try:
            found = await self.check_password(credentials.user, credentials.secret, address, local=local)
        except LoginFailed:
            return NOBODY
        return NOBODY if found is None else Principal(found.name)

    def _with_login_token(self, credentials: Credentials) -> Principal:
        claim = self.tokens.read(credentials.secret, self.clock.seconds())
        if claim is None or claim.user != credentials.user or not is_valid_for(claim, self.readers.get().user(claim.user)):
            return NOBODY
        return Principal(claim.user, claim.groups)

    def with_api_token(self, public: str, secret: str) -> Principal:
        """Return the owner of an API token; the user name is ignored, ``__token__`` is customary."""
        reader = self.readers.get()
        token = reader.api_token(public)
        if token is None or not api_tokens.matches(secret, token.digest) or reader.user(token.user) is None:
            return NOBODY
        if is_expired(token, datetime.fromtimestamp(self.clock.seconds(), UTC)):
            _log.info("The API token {token} of {user} was shown, but has expired.", token=public, user=token.user)
            return NOBODY
        return Principal(token.user, token=token)

    async def check_password(self, name: str, password: str, address: str, *, local: bool) -> User | None:
        """Return the user ``name`` when ``password`` is right, else None.

        Raise ``AskFirst`` if only the process ``elsewhere`` can decide, and what ``login`` raises otherwise.
        """
        user = self.readers.get().user(name)
        kept = None if user is None else user.password_hash
        if self.elsewhere is not None and not (kept and password):
            raise AskFirst
        if kept == BLANK and not password:
            if not local:
                _log.info("A login of {user} from {address} failed: the password is blank.", user=name, address=address)
                raise LoginFailed(
                    f"user {name!r} has a blank password and can log in from the server's own machine only, at localhost and "
                    f"without a proxy; set one there: twistpi passwd {name}"
                )
            return user
        digest = self._remembered.digest(name, password, kept or BLANK)
        if self._remembered.knows(digest, self.clock.seconds()):
            return user
        # By address, too: wrong passwords are counted by it.
        verify = partial(self._is_right, user, Credentials(name, password), address, digest, local=local)
        if not await self._tries.join((digest, address), verify):
            return None
        self._remembered.add(digest, self.clock.seconds())
        return user if kept is None or not is_argon2_hash(kept) else self.readers.get().user(name)

    async def _is_right(self, user: User | None, shown: Credentials, address: str, digest: bytes, *, local: bool) -> bool:
        if self.elsewhere is not None:
            return await self.elsewhere.is_right(shown.user, shown.secret, address, local=local)
        # Wrong passwords of users that do not exist are counted under one name for all of them.
        counted_as, kept = ("", None) if user is None else (user.name, user.password_hash)
        wait = self.count_attempt(counted_as, address)
        if wait is not None and self.shared is not None:
            there = await self.shared.reserve(counted_as, address)
            wait = None if there is None else max(wait, there)
        if wait is None:
            seconds = math.ceil(LONGEST_WAIT)
            raise LoginFailed(
                f"Too many wrong passwords came from your address; wait {seconds} seconds and try again.",
                seconds,
            )
        if wait > 0:
            await deferLater(self.clock, wait)
        verify = partial(self.line.run, address, verify_password, shown.secret, kept)
        right = bool(kept and shown.secret) and await self._checks.join(digest, verify)
        if right:
            self.password_was_right(counted_as, address)
            if self.shared is not None:
                Deferred.fromCoroutine(self.shared.succeeded(counted_as, address))
            if self.replace_hash is not None and kept is not None and is_argon2_hash(kept):
                with suppress(TwistpiError):  # the password was right, and the next login tries again
                    await self.replace_hash(counted_as, kept, await self.hash_password(shown.secret))
        else:
            # An unknown name may be a password that slipped into the wrong field.
            _log.info("A login of {user} from {address} failed.", user=counted_as or "a user who does not exist", address=address)
        return right

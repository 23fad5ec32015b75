"""Telling who asks, as a running server does it: with the secret of its directory, and threads for passwords alone."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from twistpi.auth.passwords import BLANK
from twistpi.auth.tokens import LoginTokens
from twistpi.model.records import ROOT
from twistpi.server.secret import read_secret
from twistpi.server.settings import Settings
from twistpi.view.read import Readers
from twistpi.web.addresses import Addresses
from twistpi.web.authentication import THREADS, Authenticator, PasswordQueue

_log = Logger()


def login_tokens(settings: Settings) -> LoginTokens:
    """Return the login tokens of a server with these settings.  Raise ``TwistpiError`` when its secret is not fit."""
    secret = read_secret(settings.serverdir, settings.secretfile)
    return LoginTokens(secret, max(1, round(settings.login_hours * 3600)))


@attrs.define(eq=False)
class Authentication:
    """Who tells who asks, and the threads that look at passwords; ``build`` makes one."""

    authenticator: Authenticator
    _readers: Readers
    _pool: ThreadPool
    _offload: Callable[..., Deferred[Any]]
    _serverdir: str

    @classmethod
    def build(cls, settings: Settings, readers: Readers, reactor: Any, offload: Callable[..., Deferred[Any]]) -> Authentication:
        """For a server with these settings; ``TwistpiError`` when its secret is not fit."""
        pool = ThreadPool(0, THREADS, "twistpi passwords")
        authenticator = Authenticator(
            readers, login_tokens(settings), PasswordQueue(partial(deferToThreadPool, reactor, pool)), reactor, os.urandom,
            settings.bcrypt_cost, addresses=Addresses(settings.trusted_proxy, settings.outside_url or ""),
        )  # fmt: skip
        return cls(authenticator, readers, pool, offload, settings.serverdir)

    def start(self) -> None:
        """Begin, and say so while it is not seen to that root alone is root."""
        self._pool.start()
        reader = self._readers.get()
        root = reader.user(ROOT)
        if reader.serial() == 0:
            return  # a replica that has nothing yet
        remedy = f"Set one: twistpi passwd root --serverdir {shlex.quote(self._serverdir)}"
        if root is None or root.password_hash is None:
            _log.warn("root cannot log in, because it has no password. {remedy}", remedy=remedy)
        elif root.password_hash == BLANK:
            _log.warn(
                "root has a blank password. Until it has another, it can log in from this machine only, where everybody can."
                " {remedy}",
                remedy=remedy,
            )

    async def stop(self) -> None:
        """Drop those who wait, and wait for the threads."""
        self.authenticator.stop()
        await self._offload(self._pool.stop)

"""Authentication in a running server: with the secret of its directory, and threads for passwords alone."""

from __future__ import annotations

import os
import shlex
from functools import partial

import attrs
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from twistpi.auth.passwords import BLANK
from twistpi.auth.tokens import LoginTokens
from twistpi.http.offload import Offload
from twistpi.model.records import ROOT
from twistpi.server.directory import read_secret
from twistpi.server.process import IServerReactor
from twistpi.server.settings import Settings
from twistpi.view.read import Readers
from twistpi.web.addresses import Addresses
from twistpi.web.authentication import THREADS, Authenticator, PasswordQueue, ReplaceHash, SharedThrottle

_log = Logger()


def login_tokens(settings: Settings) -> LoginTokens:
    """Return the login tokens of a server with these settings.  Raise ``TwistpiError`` when its secret is not fit."""
    secret = read_secret(settings.serverdir, settings.secretfile)
    return LoginTokens(secret, max(1, round(settings.login_hours * 3600)))


@attrs.define(eq=False)
class Authentication:
    """The authenticator, and the threads in which it verifies passwords; ``build`` makes one."""

    authenticator: Authenticator
    _readers: Readers
    _pool: ThreadPool
    _offload: Offload
    _serverdir: str

    @classmethod
    def build(
        cls,
        settings: Settings,
        readers: Readers,
        reactor: IServerReactor,
        offload: Offload,
        shared: SharedThrottle | None = None,
        replace_hash: ReplaceHash | None = None,
    ) -> Authentication:
        """Return that of a server with these settings; ``shared`` is its primary, if it has one.

        ``replace_hash`` stores hashes; None where nothing can be written.

        Raise ``TwistpiError`` when its secret is not fit.
        """
        pool = ThreadPool(0, THREADS, "twistpi passwords")
        passwords = PasswordQueue(partial(deferToThreadPool, reactor, pool))
        addresses = Addresses(settings.trusted_proxy, settings.outside_url or "", settings.absolute_urls)
        tokens, cost = login_tokens(settings), settings.bcrypt_cost
        authenticator = Authenticator(readers, tokens, passwords, reactor, os.urandom, cost, addresses=addresses, shared=shared)
        authenticator.replace_hash = replace_hash
        return cls(authenticator, readers, pool, offload, settings.serverdir)

    def start(self) -> None:
        """Begin, and warn while not only root can log in as root, or nobody can."""
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
        """Drop the checks that wait, and wait for the threads."""
        self.authenticator.stop()
        await self._offload(self._pool.stop)

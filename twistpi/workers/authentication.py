"""Authentication in a worker: tokens are verified here, passwords by the first process and remembered here for a minute."""

from __future__ import annotations

from base64 import b64encode
from typing import Protocol

import attrs
import orjson
from twisted.web.client import readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from twistpi.model.records import User
from twistpi.model.replication_errors import AskFirst
from twistpi.web.authentication import Authenticator
from twistpi.web.forwarding.headers import HEADER, PassedOn

_URL = b"http://localhost/+api"
"""Its answer names the user whose login came with the request."""


class PasswordCheck(Protocol):
    """Knows whether a password is right."""

    async def is_right(self, name: str, password: str, address: str, *, local: bool) -> bool:
        """Whether ``password`` is that of the user ``name``, given by a client at ``address``.  Raise ``AskFirst``."""


@attrs.frozen
class FirstProcess:
    """The first process: it verifies passwords, counts the wrong ones, and has clients that send such wait."""

    _agent: IAgent
    """Leads to its socket."""

    async def is_right(self, name: str, password: str, address: str, *, local: bool) -> bool:
        """See ``PasswordCheck``.  ``AskFirst``: there is no plain answer, so the whole request goes to the first process."""
        client = PassedOn("http://localhost", address, local)
        credentials = b64encode(f"{name}:{password}".encode()).decode("ascii")
        fields = {"Authorization": [f"Basic {credentials}"], HEADER: [client.text], "Accept": ["application/json"]}
        try:
            response = await self._agent.request(b"GET", _URL, Headers(fields), None)
            status = orjson.loads(await readBody(response))["result"]["authstatus"]
        except Exception as error:  # of the connection, of HTTP, of a server that has too much to do
            raise AskFirst from error
        return bool(status[:2] == ["ok", name])


@attrs.define(eq=False)
class WorkerAuthenticator(Authenticator):
    """Verifies tokens, which need no secret of the user, and has the first process verify passwords."""

    passwords: PasswordCheck = attrs.field(kw_only=True)

    async def check_password(self, name: str, password: str, address: str, *, local: bool) -> User | None:
        """See ``Authenticator``; raise ``AskFirst`` where only the first process can decide."""
        user = self.readers.get().user(name)
        if user is None or not user.password_hash or not password:
            raise AskFirst
        digest = self._remembered.digest(name, password, user.password_hash)
        if self._remembered.knows(digest, self.clock.seconds()):
            return user
        # By address, too: wrong passwords are counted by it.
        key = (digest, address)
        if not await self._tries.join(key, lambda: self.passwords.is_right(name, password, address, local=local)):
            return None
        self._remembered.add(digest, self.clock.seconds())
        return user

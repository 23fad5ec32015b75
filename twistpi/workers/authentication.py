"""What a worker asks the first process about passwords: whether one is right, which is then known here for a minute, too."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Protocol

import attrs
import orjson
from twisted.web.client import readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from twistpi.model.accounts import User
from twistpi.model.forwarding_errors import AskFirst
from twistpi.web.authentication import Authenticator
from twistpi.web.forwarding.headers import HEADER, PassedOn

_URL = b"http://localhost/+api"
"""What tells whose login came with a request."""


class Knowing(Protocol):
    """Who knows passwords."""

    async def is_right(self, name: str, password: str, address: str, *, local: bool) -> bool:
        """Whether ``password`` is that of the user ``name``, who asks from ``address``.  Raises ``AskFirst``."""


@attrs.frozen
class FirstProcess:
    """The first process, which looks at passwords, counts the wrong ones, and has who shows them wait."""

    _agent: IAgent
    """Leads to its socket."""

    async def is_right(self, name: str, password: str, address: str, *, local: bool) -> bool:
        """See ``Knowing``; ``AskFirst`` when there is no plain answer: then all of the request is for the first process."""
        principal = PassedOn("http://localhost", address, local)
        credentials = b64encode(f"{name}:{password}".encode()).decode("ascii")
        fields = {"Authorization": [f"Basic {credentials}"], HEADER: [principal.text], "Accept": ["application/json"]}
        try:
            answer: Any = await self._agent.request(b"GET", _URL, Headers(fields), None)
            body = await readBody(answer)
            status = orjson.loads(body)["result"]["authstatus"]
        except Exception as error:  # of the connection, of HTTP, of a server that has too much to do
            raise AskFirst from error
        return bool(status[:2] == ["ok", name])


@attrs.define(eq=False)
class WorkerAuthenticator(Authenticator):
    """Reads tokens, which prove themselves, and asks the first process about passwords that were not right a minute ago."""

    first: Knowing = attrs.field(kw_only=True)

    async def _with_password(self, name: str, password: str, address: str, *, local: bool) -> User | None:
        user = self.readers.get().user(name)
        if user is None or not user.password_hash or not password:
            raise AskFirst  # what the first process makes of such is its own business
        digest = self._remembered.digest(name, password, user.password_hash)
        if self._remembered.knows(digest, self.clock.seconds()):
            return user
        # By address, too: wrong passwords are counted by it.
        shown = (digest, address)
        if not await self._tries.join(shown, lambda: self.first.is_right(name, password, address, local=local)):
            return None
        self._remembered.add(digest, self.clock.seconds())
        return user

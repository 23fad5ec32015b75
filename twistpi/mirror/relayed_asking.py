"""A replica's way of asking: its primary stands where the upstream stands otherwise.

The primary is handed in by the wiring (``replication.primary.Primary``).  What it answers instead of what it was asked for is the
error that it met itself, which is raised here as if it had been met here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

import attrs
import orjson
from twisted.internet.interfaces import IProtocol

from twistpi.mirror.addresses import Credentials
from twistpi.mirror.trouble import Trouble
from twistpi.model.carried_errors import carried
from twistpi.model.errors import TwistpiError
from twistpi.model.following_errors import PrimaryUnreachable
from twistpi.model.records import Json

_LARGEST_ANSWER: Final = 1024 * 1024
"""Bytes of an answer in JSON."""
Reach = Callable[[int], Awaitable[object]]
"""Returns once the view of this server has the entry with that serial; raises a ``TwistpiError`` when that takes too long."""


class IPrimaryAnswer(Protocol):
    """What ``replication.primary.PrimaryAnswer`` offers."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when it will end by itself."""

    def header(self, name: str) -> str | None:
        """The first value of a header."""

    async def read(self, limit: int) -> bytes:
        """The whole body."""

    def deliver(self, protocol: IProtocol) -> None:
        """Send the body to ``protocol``."""

    def discard(self) -> None:
        """Be done with the body."""


_Answer = TypeVar("_Answer", bound=IPrimaryAnswer, covariant=True)


class IPrimary(Protocol[_Answer]):
    """What ``replication.primary.Primary`` offers."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        patience: float | None = None,
    ) -> _Answer:
        """The answer to one signed request; raises ``PrimaryUnreachable``."""


@attrs.frozen
class PrimaryResponse:
    """An answer of the primary as ``download_source.Response``."""

    _answer: IPrimaryAnswer

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self._answer.status

    @property
    def length(self) -> int | None:
        """Bytes of the body, None when it will end by itself."""
        return self._answer.length

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return self._answer.header(name)

    def deliver(self, reader: IProtocol) -> None:
        """Send the body to ``reader``."""
        self._answer.deliver(reader)

    def discard(self, clock: Any) -> None:
        """Be done with the body."""
        self._answer.discard()


@attrs.define(eq=False)
class PrimaryAsking:
    """The primary as ``download_source.Asking``: addresses are paths at the primary."""

    _primary: IPrimary[IPrimaryAnswer]
    clock: Any
    request_timeout: float
    """Seconds the primary may be silent: until the head of an answer, and in the middle of a body."""

    async def ask(
        self, url: str, headers: Mapping[str, str], credentials: Credentials | None = None, *, patience: float | None = None
    ) -> PrimaryResponse:
        """GET the path ``url``; ``credentials`` are no business of the primary's.

        Raises ``Trouble`` when it cannot be reached, and the error it met.
        """
        try:
            answer = await self._primary.ask("GET", url, headers=headers, patience=patience or self.request_timeout)
            if answer.status >= 400:
                raise refusal(answer.status, await answer.read(_LARGEST_ANSWER))
        except PrimaryUnreachable as gone:
            raise Trouble(f"the primary cannot be reached: {gone.reason}", unreachable=True) from gone
        return PrimaryResponse(answer)

    async def question(self, path: str, question: Json, *, patience: float | None = None) -> dict[str, Json]:
        """POST ``question`` as JSON; the answer, a JSON object.  Raises as ``ask``."""
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self._primary.ask("POST", path, headers=headers, body=orjson.dumps(question), patience=patience)
            content = await answer.read(_LARGEST_ANSWER)
        except PrimaryUnreachable as gone:
            raise Trouble(f"the primary cannot be reached: {gone.reason}", unreachable=True) from gone
        if answer.status >= 400:
            raise refusal(answer.status, content)
        told = _json(content)
        if not isinstance(told, dict):
            raise Trouble("the primary answered something that is no answer")
        return told


def file_path(index: str, path: str) -> str:
    """Where the primary has the file at ``path`` below the mirror ``index``."""
    return f"/+relay/file/{quote(index)}/{quote(path)}"


def blob_path(relative: str) -> str:
    """Where the primary has the blob with the address ``relative``."""
    return f"/+blob/{quote(relative)}"


def names_path(index: str) -> str:
    """Where the primary has the name list of the mirror ``index``."""
    return f"/+relay/names/{quote(index)}"


def refusal(status: int, content: bytes) -> TwistpiError | Trouble:
    """What an answer of the primary means that is none."""
    told = _json(content)
    error = carried(told)
    if error is not None:
        return error
    message = told.get("message") if isinstance(told, dict) else None
    return Trouble(f"the primary answered {status}" + (f": {message}" if isinstance(message, str) else ""))


def _json(content: bytes) -> Json:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None

"""Access keys, from where all tools for AWS look for them: environment, files, containers, roles, instance metadata.

Looking may ask other servers, and keys of roles expire: both happen in a thread, and for all requests at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs
import botocore.credentials
import botocore.exceptions
import botocore.session
from botocore.credentials import ReadOnlyCredentials
from twisted.internet.interfaces import IReactorTime

from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.s3.errors import BucketRefused, BucketUnavailable

_FRESH: Final = 30.0
"""Seconds for which keys are used without asking again whether they expire."""
_NONE: Final = (
    "There are no credentials for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write ~/.aws/credentials, or give"
    " the machine or container a role."
)


class Keys(Protocol):
    """Credentials as botocore finds them."""

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return keys that are valid now; may block, and raise errors of botocore."""


def find_keys() -> Keys | None:
    """Return what the chain of providers finds first; None without any.  Blocking: a second where no metadata server answers."""
    return botocore.session.Session().get_credentials()


@attrs.define(eq=False)
class Credentials:
    """The keys of this process for a bucket."""

    _clock: IReactorTime
    _offload: Offload
    _find: Callable[[], Keys | None] = find_keys
    _keys: Keys | None = attrs.field(default=None, init=False, repr=False)
    _frozen: ReadOnlyCredentials | None = attrs.field(default=None, init=False, repr=False)
    _asked_at: float = attrs.field(default=float("-inf"), init=False)
    _asking: SingleFlight[None, ReadOnlyCredentials] = attrs.field(factory=SingleFlight, init=False)

    async def current(self) -> ReadOnlyCredentials:
        """Return keys that are valid now; raise ``BucketRefused`` without any, ``BucketUnavailable`` when they cannot be had."""
        if self._frozen is not None and 0 <= self._clock.seconds() - self._asked_at < _FRESH:
            return self._frozen
        return await self._asking.join(None, self._ask)

    def forget(self) -> None:
        """Ask again: a request was refused because its keys expired."""
        self._frozen = None

    async def _ask(self) -> ReadOnlyCredentials:
        try:
            self._frozen = await self._offload(self._freeze)
        except botocore.exceptions.BotoCoreError as error:
            raise BucketUnavailable(f"The credentials for the bucket cannot be had: {error}; try again later.") from error
        self._asked_at = self._clock.seconds()
        return self._frozen

    def _freeze(self) -> ReadOnlyCredentials:
        if self._keys is None:
            self._keys = self._find()
        if self._keys is None:
            raise BucketRefused(_NONE)
        return self._keys.get_frozen_credentials()

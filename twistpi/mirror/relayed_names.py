"""A replica's name lists: the primary's are fetched as if it were the upstream, and made into pages here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from twistpi.mirror.download_source import Response
from twistpi.mirror.names import NameLists
from twistpi.mirror.place import Place
from twistpi.mirror.relayed_asking import names_path
from twistpi.mirror.trouble import Trouble
from twistpi.model.errors import TwistpiError

AGE: Final = "X-Twistpi-Age"
"""The header that says how many seconds ago the upstream confirmed the list."""


@attrs.define(eq=False)
class RelayedNameLists(NameLists):
    """Asks the primary, which its ``upstream`` has to be (``relayed_asking.PrimaryAsking``)."""

    async def _ask(self, place: Place, headers: Mapping[str, str], patience: float) -> Response:
        try:
            return await self._upstream.ask(names_path(place.index), headers, patience=patience)
        except TwistpiError as error:
            raise Trouble(getattr(error, "reason", str(error)), unreachable=error.status == 503) from error

    def _confirmed_at(self, response: Response) -> float:
        try:
            age = float(response.header(AGE) or 0)
        except ValueError:
            age = 0.0
        return float(self._clock.seconds()) - age

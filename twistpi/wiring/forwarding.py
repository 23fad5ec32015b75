"""What a replica hands on to its primary: everything that changes something."""

from __future__ import annotations

from typing import Any, Final

import attrs

from twistpi.model.errors import TwistpiError
from twistpi.replication.following import Following
from twistpi.replication.primary import Primary, PrimaryAddress
from twistpi.settings import Settings
from twistpi.web.forwarding.answered_here import by_a_replica
from twistpi.web.forwarding.forward import Forward
from twistpi.web.forwarding.ways import PrimaryWay
from twistpi.web.services import Services
from twistpi.wiring.reaching import endpoint_for

_MARK: Final = ((b"X-Devpi-Proxy", b"replica"),)
"""The devpi protocol's way of saying who passed an answer on."""


def forward_to(primary: Primary, following: Following, services: Services, settings: Settings, reactor: Any) -> Forward:
    """What hands requests on to ``primary``, and waits until ``following`` has brought here what they changed."""
    address = PrimaryAddress.parse(primary.url)
    way = PrimaryWay(primary.url, address.base, endpoint_for(address, settings, reactor), primary)
    reach = _Reach(following, settings.proxy_timeout)
    return Forward(way, services, reactor, by_a_replica, reach=reach.reach, serial=lambda: following.progress.serial, mark=_MARK)


@attrs.frozen
class _Reach:
    """Waits for serials."""

    _following: Following
    _patience: float

    async def reach(self, serial: int) -> bool:
        """See ``Forward.reach``; also when this server stops or is promoted, since the answer of the primary stands."""
        try:
            await self._following.wait_for(serial, self._patience)
        except TwistpiError:
            return False
        return True

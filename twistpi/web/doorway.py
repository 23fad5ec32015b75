"""What the listening ports lead to: one site after the other, while they stay open."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IProtocolNegotiationFactory
from zope.interface import implementer

from twistpi.web.fast.site import FastSite


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
@attrs.define(eq=False)
class Doorway:
    """The factory of the listening ports, which hands every connection to the site that is in force."""

    noisy: bool = False
    """What Twisted asks factories: whether starting is worth a line."""
    _site: Any = None
    _ports: int = attrs.field(default=0, init=False)
    """That are open."""

    @property
    def site(self) -> Any:
        """The site in force."""
        return self._site

    def lead_to(self, site: Any) -> None:
        """Have ``site`` answer from now on, also on connections that are open to another ``FastSite``."""
        former, self._site = self._site, site
        if self._ports:
            site.doStart()
            if former is not None:
                former.doStop()
        if isinstance(site, FastSite):
            site.take_over()

    def doStart(self) -> None:
        """A port opens."""
        self._ports += 1
        if self._ports == 1 and self._site is not None:
            self._site.doStart()

    def doStop(self) -> None:
        """A port closes."""
        self._ports -= 1
        if self._ports == 0 and self._site is not None:
            self._site.doStop()

    def acceptableProtocols(self) -> list[bytes]:
        """What clients that come over TLS may choose from (``IProtocolNegotiationFactory``)."""
        offered: list[bytes] = [b"http/1.1"] if self._site is None else self._site.acceptableProtocols()
        return offered

    def buildProtocol(self, address: IAddress) -> IProtocol | None:
        """A connection of the site in force."""
        built: IProtocol | None = None if self._site is None else self._site.buildProtocol(address)
        return built

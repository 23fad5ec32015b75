"""Networks to which this server does not connect, because what responds there is not for its users.

Users set up mirrors, so they choose what the server requests.  Addresses are checked as they are connected to: what a name
resolves to may change, and a redirect leads anywhere.  Behind a proxy only addresses that are spelled out can be checked.
"""

from __future__ import annotations

import socket
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import unquote

import attrs
from zope.interface import directlyProvides, providedBy

from twistpi.http.errors import Cause, RequestFailed

SETTING: Final = "forbidden-networks"
"""The setting that a refusal names."""
NONE: Final = "none"
"""In place of networks: everything may be connected to."""
DEFAULT: Final = (
    "169.254.0.0/16",  # link-local; most clouds answer questions about a machine, keys included, at 169.254.169.254
    "fe80::/10",  # link-local
    "fd00:ec2::254/128",  # the metadata service of Amazon's cloud
    "fd20:ce::254/128",  # Google's
    "100.100.100.200/32",  # Alibaba's
    "168.63.129.16/32",  # Microsoft's
    "192.0.0.192/32",  # Oracle's
)
"""What is forbidden unless an administrator says otherwise."""

_NAT64: Final = ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ip_network("::/96")
_LOWEST_32_BITS: Final = 0xFFFFFFFF


@attrs.frozen
class ForbiddenNetworks:
    """Networks to which no connection is made."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def parse(cls, texts: Iterable[str] = ()) -> ForbiddenNetworks:
        """Return those of addresses and networks such as ``10.0.0.0/8``; the default for no text, nothing for ``none`` alone.

        Raise ``ValueError`` for another text.
        """
        given = tuple(texts) or DEFAULT
        return cls(tuple(ip_network(text, strict=False) for text in given if text != NONE))

    def check_address(self, address: str) -> None:
        """Raise ``RequestFailed`` when ``address``, an IP address as a socket takes it, is in one of the networks.

        The text does not name it: a user need not learn what a name resolves to here.
        """
        for meant in _meant_by(ip_address(address.partition("%")[0])):
            if any(meant in network for network in self.networks):
                reason = f"its address lies in a network where this server connects to nobody (setting {SETTING})"
                raise RequestFailed(reason, Cause.FORBIDDEN)

    def check_host(self, host: str) -> None:
        """Do the same for a host that spells out an IP address, in any way; names, which are to be resolved first, pass."""
        if (literal := _literal(host)) is not None:
            self.check_address(literal)


def _meant_by(address: IPv4Address | IPv6Address) -> Iterable[IPv4Address | IPv6Address]:
    """Yield the address, and those at which packets to it arrive in the end."""
    yield address
    if address.is_unspecified:
        # Connections to 0.0.0.0 or :: lead to the machine itself.
        yield from (IPv4Address("127.0.0.1"), IPv6Address("::1"))
    elif isinstance(address, IPv6Address):
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.ipv4_mapped is not None or address in _NAT64 or address in _COMPATIBLE:
            yield from _meant_by(IPv4Address(int(address) & _LOWEST_32_BITS))


def _literal(host: str) -> str | None:
    """Return the IP address that ``host`` spells out, None for a name.

    Some clients and proxies understand ``169.254.43518``, ``0xa9fea9fe``, other scripts' digits and percent-encoding as well.
    """
    text = unicodedata.normalize("NFKC", unquote(host)).replace("。", ".").strip("[]").rstrip(".")
    bare = text.partition("%")[0]
    with suppress(ValueError):
        return str(ip_address(bare))
    try:
        return socket.inet_ntoa(socket.inet_aton(bare))
    except (OSError, UnicodeError, ValueError):
        return None


class GuardedReactor:
    """A reactor that does not connect to forbidden networks; it leaves all else to the real one."""

    def __init__(self, reactor: Any, forbidden: ForbiddenNetworks) -> None:
        self._reactor = reactor
        self._forbidden = forbidden
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(self, host: str, port: int, *arguments: Any, **keywords: Any) -> Any:
        """Connect to the IP address ``host``, as ``IReactorTCP`` has it; raise ``RequestFailed``."""
        self._forbidden.check_address(host)
        return self._reactor.connectTCP(host, port, *arguments, **keywords)

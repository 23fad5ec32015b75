"""Whom a request is passed on for: what another server that is believed tells in one header, beside the request as it came.

A server that hands a request on (``forward``) knows by which address its asker calls it, and where the asker is.  It cannot say
so in the headers proxies use, because proxies on the way write their own into them.
"""

from __future__ import annotations

from typing import Final

import attrs

HEADER: Final = "X-Twistpi-Passed-On"
"""Has ``PassedOn.text`` as its value."""
NODE: Final = "X-Twistpi-Node"
"""Has a node's token for exactly this request, as ``Authorization: Twistpi-Node`` has in its own requests: in a request that is
passed on, ``Authorization`` is the asker's."""
REFUSED: Final = "X-Twistpi-Refused"
"""In an answer: why the token counts for nothing; such a request was not looked at any further."""
TIME: Final = "X-Twistpi-Time"
"""In an answer to another server: what time it is here, in Unix seconds."""
_LOCAL, _ELSEWHERE = "local", "elsewhere"


@attrs.frozen
class PassedOn:
    """The asker of a request, as the server knows him to whom he came."""

    outside: str
    """How he calls the server, without a slash at the end: ``https://pkgs.example/devpi``."""
    address: str
    """His IP address, or ``unix``."""
    is_local: bool
    """Whether he is on the same machine as the server he asked."""

    @property
    def text(self) -> str:
        """The value of the header."""
        return f"{self.outside} {self.address} {_LOCAL if self.is_local else _ELSEWHERE}"

    @classmethod
    def read(cls, text: str) -> PassedOn:
        """What ``text`` says; raises ``ValueError``."""
        outside, address, place = text.split(" ")
        if not outside.startswith(("http://", "https://")) or place not in (_LOCAL, _ELSEWHERE):
            raise ValueError(text)
        return cls(outside, address, place == _LOCAL)

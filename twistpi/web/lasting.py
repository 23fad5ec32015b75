"""What belongs to the process and outlasts every role that its server plays: connections, counters, the access log."""

from __future__ import annotations

import attrs

from twistpi.web.access_log import AccessLog
from twistpi.web.traffic import Traffic
from twistpi.web.transport.connections import Connections


@attrs.define(eq=False)
class ProcessState:
    """All of that."""

    connections: Connections
    access_log: AccessLog | None = None
    """None where requests are not logged."""
    traffic: Traffic = attrs.field(factory=Traffic)

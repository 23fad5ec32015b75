"""What every role of a server is built on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from twistpi.changelog.writer import Writer
from twistpi.http.client import HTTPClient
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.read import Readers


@attrs.frozen(eq=False)
class Foundation:
    """What every role is built on."""

    settings: Settings
    storage: Storage
    reactor: Any
    environment: Mapping[str, str]
    now: Callable[[], datetime]
    fail: Callable[[Exception], object]
    """Told what makes it impossible to go on."""
    offload: Callable[..., Deferred[Any]]
    readers: Readers
    writer: Writer
    upstream: HTTPClient
    """Sends requests to upstreams, also for a replica whose primary is gone."""
    restart: Callable[[], object]
    """Has the process begin anew, in the role that ``node.json`` says then."""

"""What a running server tells its administrators: measures (``/+metrics``, ``/+status``) and health checks (``/+ready``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import attrs

Kind = Literal["counter", "gauge"]
"""A counter only grows while the process lives; a gauge goes up and down."""


@attrs.frozen
class Measure:
    """One figure at this moment."""

    name: str
    """As Prometheus names it, with the unit at its end: ``twistpi_replication_lag_seconds``."""
    kind: Kind
    help: str
    """One sentence without a full stop."""
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    """Names and values that tell it from others of the same name."""


Measured = Callable[[], Iterable[Measure]]
"""Whoever has figures offers them so; called in the reactor, for each reading, and returns at once."""


@attrs.frozen
class Check:
    """What was found out about one thing."""

    name: str
    """One word: ``disk``."""
    fine: bool
    sentence: str
    """How it is, and, where it is not fine, what to do about it.  Everybody may read it, so it tells neither paths nor users."""
    needed: bool = True
    """Whether the server is not ready without it; otherwise it is a warning."""


Checked = Callable[[], Iterable[Check]]
"""Whoever knows such a thing offers it so; called in the reactor, for each question, and returns at once."""

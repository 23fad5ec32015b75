"""A figure that a running server tells its administrators: what ``/+metrics`` and ``+status`` are made of."""

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


Measuring = Callable[[], Iterable[Measure]]
"""Whoever has figures offers them so; called in the reactor, for each reading, and returns at once."""

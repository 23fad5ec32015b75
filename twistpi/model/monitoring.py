"""Records of monitoring: measures (``/+metrics``, ``/+status``) and health checks (``/+ready``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import attrs

Kind = Literal["counter", "gauge"]
"""A counter only grows while the process lives; a gauge goes up and down."""


@attrs.frozen
class Measure:
    """One value at this moment."""

    name: str
    """As in Prometheus, with the unit at its end: ``twistpi_replication_lag_seconds``."""
    kind: Kind
    help: str
    """One sentence without a full stop."""
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    """Names and values of its labels."""


Measured = Callable[[], Iterable[Measure]]
"""Yields measures.  Called in the reactor for each reading; it does not block."""


@attrs.frozen
class Check:
    """The result of one health check."""

    name: str
    """One word: ``disk``."""
    fine: bool
    sentence: str
    """The state and, where it is not fine, what to do.  Everybody may read it, so it names neither paths nor users."""
    needed: bool = True
    """Whether the server is not ready without it; otherwise a failure is a warning."""


@attrs.frozen
class ConfiguredSetting:
    """A setting as a server has it, for administrators."""

    group: str
    """The heading under which the documentation has it."""
    name: str
    value: str
    """As it would be given, or what counts without it; never a secret."""
    source: str
    """Where it comes from: ``default``, ``the command line, --port``, ``the file /etc/twistpi.toml``."""


Checked = Callable[[], Iterable[Check]]
"""Yields results.  Called in the reactor for each reading; it does not block."""

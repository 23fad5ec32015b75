"""Something that must be so for a server to be of use: what ``/+ready`` is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs


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


Checking = Callable[[], Iterable[Check]]
"""Whoever knows such a thing offers it so; called in the reactor, for each question, and returns at once."""

"""What a server remembers of its feed of advisories from one start to the next: a local fact, which may be lost."""

from __future__ import annotations

import os
from contextlib import suppress

import attrs
import orjson

from twistpi.advisories.feeds import Validators


@attrs.define
class FeedState:
    """When a feed was read last, and what it had then."""

    source: str = ""
    """The feed, without credentials."""
    validators: Validators = attrs.field(factory=Validators)
    """Of what was read."""
    modified: str = ""
    """UTC, when the newest record was changed (``feed_files.moment``)."""
    checked_at: float | None = None
    """Unix seconds at which everything was read last, or did not have to be; None for never."""
    probed_at: float | None = None
    """Unix seconds at which the feed last told what is new, or that nothing is."""
    refused: int = 0
    """Records that could not be read then."""
    first_refusal: str = ""
    """Which was the first of them, and why."""
    failure: str | None = None
    """Why the feed could not be read, or was not accepted, the last time; None when it was."""

    @classmethod
    def load(cls, path: str, source: str) -> FeedState:
        """Return what is remembered at ``path`` of the feed ``source``; blocking."""
        with suppress(OSError, ValueError, TypeError):
            with open(path, "rb") as file:
                fields = orjson.loads(file.read())
            state = cls(**{**fields, "validators": Validators(**fields["validators"])})
            if state.source == source:
                return state
        return cls(source)

    def save(self, path: str) -> None:
        """Remember it at ``path``; blocking.  Raise ``OSError``."""
        temporary = f"{path}.new"
        with open(temporary, "wb") as file:
            file.write(orjson.dumps(attrs.asdict(self)))
        os.replace(temporary, path)

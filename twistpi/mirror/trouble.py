"""What goes wrong between this server and an upstream, and between a question and its answer."""

from __future__ import annotations

import attrs


@attrs.define(auto_exc=True, str=False)
class Trouble(Exception):
    """An upstream gave no usable answer; whoever asked knows for which index and what, and says so."""

    reason: str
    """A sentence's end for people, without credentials."""
    unreachable: bool = False
    """True when nobody answered at all, as opposed to an answer that is no good."""

    def __str__(self) -> str:
        return self.reason


class Outdated(Exception):
    """The index was deleted, made anew or aimed elsewhere while its upstream was asked: the answer is not for it any more."""

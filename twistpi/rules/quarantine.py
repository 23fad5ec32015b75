"""Quarantine by hand: what is added to the key ``quarantined`` of an index, and what is taken out of it.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from twistpi.model.errors import BadRequest
from twistpi.model.records import Index
from twistpi.rules.file_policy import QUARANTINED, quarantine_text
from twistpi.rules.requirements import Requirement


def parse_quarantined(text: str) -> Requirement:
    """Read a project, or one with version specifiers; raise ``BadRequest``."""
    try:
        return Requirement.parse("".join(text.split()))
    except ValueError as error:
        raise BadRequest(str(error)) from error


def held(index: Index, requirement: Requirement) -> Sequence[str]:
    """Return the items of ``index`` that are about exactly ``requirement``."""
    return [item for item in index.config.get(QUARANTINED, ()) if item.partition(" ")[0] == str(requirement)]


def to_quarantine(index: Index, requirement: Requirement, reason: str) -> list[str]:
    """Return the modifications of ``index`` that put ``requirement`` into quarantine, or give it another reason."""
    former = [f"{QUARANTINED}-={item}" for item in held(index, requirement)]
    return [*former, f"{QUARANTINED}+={quarantine_text(requirement, reason)}"]


def to_release(index: Index, requirement: Requirement) -> list[str]:
    """Return the modifications that take ``requirement`` out of quarantine; raise ``BadRequest`` where it is not in it."""
    items = held(index, requirement)
    if not items:
        others = ", ".join(item.partition(" ")[0] for item in index.config.get(QUARANTINED, ())) or "nothing"
        raise BadRequest(f"{requirement} is not in quarantine on {index.name}; in it is {others}.")
    return [f"{QUARANTINED}-={item}" for item in items]

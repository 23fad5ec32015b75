"""What is known against versions of projects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import attrs

from twistpi.model.errors import TwistpiError
from twistpi.model.records import AdvisorySet

SEVERITIES: Final = ("low", "medium", "high", "critical")
"""In order, as CVSS names them."""
BLOCK_MALWARE: Final = "block-malware"
REPORT: Final = "report"
"""Nothing is refused, but told; also a ``policy_mode``."""
OFF: Final = "off"
SETTINGS: Final = (BLOCK_MALWARE, REPORT, *(f"block-severity={severity}" for severity in reversed(SEVERITIES)), OFF)
"""The values of the key ``advisories`` of an index."""


@attrs.frozen
class Finding:
    """An advisory that affects a version."""

    advisory: str
    """``MAL-2026-1234``, ``GHSA-…``, ``PYSEC-…`` or ``CVE-…``."""
    summary: str
    """One line."""
    is_malware: bool = False
    severity: str = ""
    """One of ``SEVERITIES``; empty where it is not known."""
    since: str | None = None
    """UTC, when it was published."""
    fixed: str | None = None
    """The first version without it, where one is known."""


_MANY: Final = 100
"""Advisories, from which on most of them do not vanish in a day."""


class Advisory(Protocol):
    """What is known against some versions of a project."""

    @property
    def is_malware(self) -> bool:
        """Whether the package does harm by intent."""

    @property
    def severity(self) -> str:
        """One of ``SEVERITIES``; empty where it is not known."""

    def affects(self, version: str) -> bool:
        """Return whether ``version``, as the name of a file has it, is affected."""

    def finding(self, version: str) -> Finding:
        """Return what is said of the affected ``version``."""


Advise = Callable[[str], Sequence[Advisory]]
"""Returns the advisories about a project, given by its normalised name."""


def no_advisories(_project: str) -> Sequence[Advisory]:
    """Return nothing, where no advisories are here."""
    return ()


def matters(setting: str, advisory: Advisory) -> bool:
    """Return whether versions that ``advisory`` affects are refused, or reported, by a value of the key ``advisories``."""
    if setting in (OFF, REPORT):
        return setting == REPORT
    return advisory.is_malware or is_at_least(advisory.severity, setting.partition("=")[2])


def check_plausible(former: AdvisorySet | None, count: int, source: str) -> None:
    """Raise ``TwistpiError`` if a set of ``count`` advisories from ``source`` lost most of the set before: a feed that is broken.

    Another feed may be a smaller one.
    """
    if former is None or former.source != source or former.count < _MANY or count >= former.count / 2:
        return
    raise TwistpiError(
        f"The feed of advisories {source} has only {count:,} advisories, and had {former.count:,} before: it looks broken, so the"
        " ones before are kept. If it is right, accept it: twistpi advisories refresh --force"
    )


def by_weight(finding: Finding) -> tuple[bool, int]:
    """Return a key to sort findings by, the lightest first."""
    return finding.is_malware, SEVERITIES.index(finding.severity) if finding.severity in SEVERITIES else -1


def is_at_least(severity: str, least: str) -> bool:
    """Return whether ``severity`` is ``least`` or worse; an unknown one never is."""
    return severity in SEVERITIES and least in SEVERITIES and SEVERITIES.index(severity) >= SEVERITIES.index(least)

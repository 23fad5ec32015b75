"""The policies of indexes, applied to pages and files; what they refuse is counted and logged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.model.errors import FileRefused
from twistpi.model.records import KnownFile, KnownProject
from twistpi.model.releases import Release
from twistpi.rules.advisories import Advise, no_advisories
from twistpi.rules.file_policy import NEVER, FilePolicy, Refusal
from twistpi.rules.inheritance import Inheritance
from twistpi.rules.offered_files import Judged, apply_policies, refusal_of, refusal_of_release
from twistpi.web.addresses import Addresses, client_address
from twistpi.web.refused_requests import RefusedRequest, RefusedRequests
from twistpi.web.request import header

_log = Logger()


@attrs.frozen
class Attached:
    """Documentation or a test result of a private release, as it was requested."""

    index: str
    """The requested index."""
    project: str
    """The normalised name."""
    version: str
    filename: str
    """What the refusal names."""


@attrs.define(eq=False)
class Policies:
    """Applies policies at the present time."""

    _clock: IReactorTime
    """Its seconds are Unix time."""
    _addresses: Addresses
    advise: Advise = no_advisories
    """Returns the advisories about a project; may be called in any thread."""
    refused: RefusedRequests = attrs.field(factory=RefusedRequests, init=False)

    def apply(self, known: KnownProject, inheritance: Inheritance) -> Judged:
        """Return what an index offers of what it, or one of its bases, knows of a project; in any thread."""
        policies = inheritance.policies.get(known.index)
        return apply_policies(known, policies, self._clock.seconds(), self.advise) if policies else Judged(known)

    def apply_to_release(self, release: Release, inheritance: Inheritance) -> Release:
        """Return a release of a private index with the files that are offered; in any thread."""
        policies = inheritance.policies.get(release.index, ())
        if not policies:
            return release
        now = self._clock.seconds()
        found = [(file, refusal_of(release.project, file.known, policies, now)) for file in release.files]
        return attrs.evolve(release, files=tuple(file for file, one in found if one is None or not one.is_enforced))

    def check(
        self, request: Request, index: str, project: str, file: KnownFile, policies: Sequence[FilePolicy]
    ) -> Refusal | None:
        """Raise ``FileRefused`` if ``file`` of ``project``, requested from ``index``, is not offered; note that.

        Return what a policy that only reports has against it, to be given to ``note`` once the file was sent.
        """
        refusal = refusal_of(project, file, policies, self._clock.seconds(), self.advise) if policies else None
        if refusal is None or not refusal.is_enforced:
            return refusal
        self.note(request, index, project, file.link.filename, refusal)
        raise _refused(refusal, file.link.filename)

    def check_attachment(self, request: Request, attached: Attached, policies: Sequence[FilePolicy]) -> bool:
        """Raise ``FileRefused`` if the release is not offered whose documentation or test result was requested; note that.

        Return whether that would be refused, were the policy enforced, so that each request is to be noted.
        """
        refusal = refusal_of_release(attached.project, attached.version, policies) if policies else None
        if refusal is None:
            return False
        self.note(request, attached.index, attached.project, attached.filename, refusal)
        if refusal.is_enforced:
            raise _refused(refusal, attached.filename)
        return True

    def note(self, request: Request, index: str, project: str, filename: str, refusal: Refusal) -> None:
        """Count and log that ``request`` was for the file ``filename``, and keep it for administrators."""
        address = client_address(request, self._addresses)
        self.refused.add(
            RefusedRequest(
                self._clock.seconds(),
                address,
                header(request, "user-agent") or "",
                index,
                project,
                filename,
                refusal.rule,
                refusal.index,
                refusal.reason,
                refusal.is_enforced,
            )
        )
        text = (
            "{address} was refused a file of {index}: {reason}"
            if refusal.is_enforced
            else "{address} got a file of {index} that would be refused: {reason}"
        )
        _log.info(text, address=address, index=index, reason=refusal.sentence(filename))


def _refused(refusal: Refusal, filename: str) -> FileRefused:
    until = None if refusal.until == NEVER else _iso(refusal.until)
    sentence = refusal.sentence(filename)
    return FileRefused(sentence, refusal.rule, refusal.index, refusal.reason, refusal.remedy, refusal.since, until)


def _iso(seconds: float) -> str:
    """Return Unix ``seconds`` as RFC 3339 has them, rounded up to whole ones."""
    return datetime.fromtimestamp(-(-seconds // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

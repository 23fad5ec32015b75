"""What happened, in words for the server's log: one sentence for the changes of an entry.  Pure.

Names of settings are logged, not their values: a ``mirror_url`` may hold a token.  ``twistpi log`` shows everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from twistpi.model.changes import (
    AdvisoriesAccepted,
    Change,
    HistoryCompacted,
    IndexCreated,
    IndexDeleted,
    IndexModified,
    TokenCreated,
    TokenRevoked,
    UserCreated,
    UserDeleted,
    UserModified,
)
from twistpi.model.releases import (
    DOCZIP,
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    ProjectMarked,
    ProjectRemoved,
    ReleaseDescribed,
    ReleaseRemoved,
)

_MOST: Final = 5
"""Objects of one kind that are named."""

Description = tuple[str, str, str]
"""What was done, to what, and where: changes that differ in the second only are described together."""


def describe(changes: Sequence[Change]) -> str:
    """Return what an author did: "uploaded demo-1.0.tar.gz to alice/dev"; changes without a description give an empty text."""
    grouped: dict[tuple[str, str], list[str]] = {}
    uploaded = {(change.index, change.project, change.version) for change in changes if isinstance(change, FileUploaded)}
    for change in changes:
        if isinstance(change, ReleaseDescribed) and (change.index, change.project, change.version) in uploaded:
            continue
        described = _of_account(change) or _of_release(change)
        if described is not None:
            verb, what, where = described
            grouped.setdefault((verb, where), []).append(what)
    return ", ".join(f"{verb} {listed(things)}{where}" for (verb, where), things in grouped.items())


def _of_account(change: Change) -> Description | None:
    match change:
        case UserCreated(user=user):
            return "created the user", user, ""
        case UserModified(user=user):
            password = () if change.password_hash is None else ("password",)
            return "changed", ", ".join((*password, *_keys(change.changed, change.removed))), f" of the user {user}"
        case UserDeleted(user=user):
            return "deleted the user", user, ""
        case IndexCreated(index=index):
            return f"created the {change.config.get('type', 'stage')} index", index, ""
        case IndexModified(index=index):
            return "changed", ", ".join(_keys(change.changed, change.removed)), f" of the index {index}"
        case IndexDeleted(index=index):
            return "deleted the index", index, ""
        case TokenCreated(user=user):
            return "created the API token", change.token, f" of {user}"
        case TokenRevoked(token=token):
            return "revoked the API token", token, ""
        case HistoryCompacted(after=after):
            return "compacted the changelog up to serial", str(after), ""
        case AdvisoriesAccepted(count=count, source=source):
            return "accepted", f"{count:,} advisories", f" of {source}"
    return None


def _of_release(change: Change) -> Description | None:
    match change:
        case ReleaseDescribed(index=index):
            return "described", f"{change.project} {change.version}", f" on {index}"
        case FileUploaded(index=index, filename=filename, pushed_from=None):
            return "uploaded", filename, f" to {index}"
        case FileUploaded(index=index, filename=filename, pushed_from=source):
            return "pushed", filename, f" from {source} to {index}"
        case AttachmentAdded(index=index, pushed_from=source):
            kind = "documentation" if change.attachment == DOCZIP else "test results"
            verb, origin = ("uploaded", "") if source is None else ("pushed", f" from {source}")
            return f"{verb} {kind} of", change.for_filename or f"{change.project} {change.version}", f"{origin} to {index}"
        case AttachmentRemoved(index=index):
            return "removed", change.path.rpartition("/")[2], f" from {index}"
        case FileRemoved(index=index, filename=filename):
            return "removed", filename, f" from {index}"
        case ReleaseRemoved(index=index):
            return "removed", f"{change.project} {change.version}", f" from {index}"
        case ProjectRemoved(index=index, project=project):
            return "removed the project", project, f" from {index}"
        case FileYanked(index=index, filename=filename, yanked=yanked):
            return "unyanked" if yanked is False else "yanked", filename, f" on {index}"
        case ProjectMarked(index=index, project=project, status=status):
            return f"gave the status {status} to" if status else "removed the status of", project, f" on {index}"
    return None


def _keys(changed: Mapping[str, object], removed: Sequence[str]) -> Sequence[str]:
    return (*changed, *removed)


def listed(things: Sequence[str]) -> str:
    """Return the names of ``things``, of many only the first and how many more there are."""
    more = len(things) - _MOST
    return ", ".join(things) if more <= 0 else f"{', '.join(things[:_MOST])} and {more} more"

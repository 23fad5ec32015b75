"""Yanked files (PEP 592) and the status of projects (PEP 792)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from twistpi.model.changes import Change
from twistpi.model.errors import UnknownFile, UnknownProject
from twistpi.model.records import Index, Json, PageHeader
from twistpi.model.release_changes import FileYanked, ProjectMarked
from twistpi.model.releases import Release
from twistpi.model.upload_errors import InvalidMark, MarkedUpstream
from twistpi.rules.json_bodies import shown

STATUSES: Final = ("active", "archived", "deprecated", "quarantined")
"""What a project may be marked as."""
_LONGEST_REASON: Final = 1000
"""Characters: every page of the project repeats it for every file."""
_REASON: Final = "reason"
_STATUS: Final = "status"


def read_yank(body: Json) -> bool | str:
    """What ``body``, ``{"reason": "…"}`` or nothing, yanks with: the reason, or True without one.  Raises ``InvalidMark``."""
    return _reason(_object(body, (_REASON,)).get(_REASON)) or True


def read_status(body: Json) -> tuple[str | None, str | None]:
    """The status and the reason in ``body``, ``{"status": "archived", "reason": "…"}``; None for what is not given.

    Raises ``InvalidMark``.
    """
    given = _object(body, (_STATUS, _REASON))
    status = given.get(_STATUS)
    if status is not None and status not in STATUSES:
        raise InvalidMark(f"unknown project status {shown(status)}, it must be one of {', '.join(STATUSES)}")
    reason = _reason(given.get(_REASON)) or None
    if status is None and reason is not None:
        raise InvalidMark("a reason needs a project status")
    return status, reason


def decide_yank(index: Index, release: Release, filenames: Collection[str] | None, yanked: bool | str) -> tuple[Change, ...]:
    """The changes after which the files of ``release`` called ``filenames``, or all (None), are yanked, or not any more.

    ``yanked`` is True, the reason, or False.  Nothing is changed for files that are marked so already.  Raises
    ``MarkedUpstream`` and, for a name that is not the release's, ``UnknownFile``.
    """
    check_markable(index)
    wanted = None if filenames is None else frozenset(filenames)
    files = {file.known.link.filename: file.known.link for file in release.files}
    for filename in sorted(wanted or ()):
        if filename not in files:
            raise UnknownFile(index.name, filename)
    mark = yanked or yanked == ""  # an empty reason is none, not "not yanked"
    return tuple(
        FileYanked(index.name, release.project, filename, mark)
        for filename, link in files.items()
        if (wanted is None or filename in wanted) and link.yanked != mark
    )


def decide_status(
    index: Index, project: str, header: PageHeader | None, status: str | None, reason: str | None = None
) -> tuple[Change, ...]:
    """The change after which ``project`` (the normalised name) has this ``status``, or none (None); none when it has it already.

    ``header`` is what the index says of the project now, None when it has no such project.  Raises ``MarkedUpstream`` and
    ``UnknownProject``.
    """
    check_markable(index)
    if header is None:
        raise UnknownProject(index.name, project)
    if (header.status, header.status_reason) == (status, reason):
        return ()
    return (ProjectMarked(index.name, project, status, reason),)


def check_markable(index: Index) -> None:
    """Refuse to mark what belongs to a mirror: ``MarkedUpstream``."""
    if index.is_mirror:
        raise MarkedUpstream(index.name)


def _object(body: Json, keys: Collection[str]) -> dict[str, Json]:
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise InvalidMark("the body must be a JSON object")
    unknown = sorted(key for key in body if key not in keys)
    if unknown:
        raise InvalidMark(f"unknown keys: {shown(', '.join(unknown), quoted=False)}")
    return body


def _reason(value: Json) -> str:
    """A reason as one line."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidMark("the reason must be text")
    reason = " ".join("".join(character if character.isprintable() else " " for character in value).split())
    if len(reason) > _LONGEST_REASON:
        raise InvalidMark(f"the reason is longer than {_LONGEST_REASON} characters")
    return reason

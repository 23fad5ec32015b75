"""Yanked files (PEP 592) and the status of projects (PEP 792)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest, UnknownFile, UnknownProject
from twistpi.model.records import Index, Json, PageHeader
from twistpi.model.release_changes import FileYanked, ProjectMarked
from twistpi.model.releases import Release
from twistpi.model.text import one_line
from twistpi.rules.json_bodies import shown, unknown_keys

STATUSES: Final = ("active", "archived", "deprecated", "quarantined")
"""The status markers of a project."""
_LONGEST_REASON: Final = 1000
"""Characters: pages repeat it for every file."""
_REASON: Final = "reason"
_STATUS: Final = "status"


def read_yank(body: Json) -> bool | str:
    """Read ``{"reason": "…"}`` or nothing: return the reason, or True without one.  Raise ``BadRequest``."""
    return _reason(_object(body, (_REASON,)).get(_REASON)) or True


def read_status(body: Json) -> tuple[str | None, str | None]:
    """Read ``{"status": "archived", "reason": "…"}``: return status and reason, None for what is not given.

    Raise ``BadRequest``.
    """
    given = _object(body, (_STATUS, _REASON))
    status = given.get(_STATUS)
    if status is not None and status not in STATUSES:
        raise BadRequest(f"unknown project status {shown(status)}, it must be one of {', '.join(STATUSES)}")
    reason = _reason(given.get(_REASON)) or None
    if status is None and reason is not None:
        raise BadRequest("a reason needs a project status")
    return status, reason


def decide_yank(index: Index, release: Release, filenames: Collection[str] | None, yanked: bool | str) -> tuple[Change, ...]:
    """Return the changes that yank the files ``filenames``, or all (None), of ``release``, or undo that.

    ``yanked`` is True, the reason, or False.  Raise ``BadRequest`` or, for a name that is not the release's, ``UnknownFile``.
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
    """Return the change that gives ``project`` (normalised) this ``status``, or none (None).

    ``header`` is the present one, None when the index does not have the project.  Raise ``BadRequest`` or
    ``UnknownProject``.
    """
    check_markable(index)
    if header is None:
        raise UnknownProject(index.name, project)
    if (header.status, header.status_reason) == (status, reason):
        return ()
    return (ProjectMarked(index.name, project, status, reason),)


def check_markable(index: Index) -> None:
    """Raise ``BadRequest`` for a mirror."""
    if index.is_mirror:
        raise BadRequest(f"{index.name} is a mirror: its upstream says which files are yanked and which status projects have")


def _object(body: Json, keys: Collection[str]) -> dict[str, Json]:
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if (unknown := unknown_keys(body, keys)) is not None:
        raise BadRequest(f"unknown keys: {unknown}")
    return body


def _reason(value: Json) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest("the reason must be text")
    reason = one_line(value)
    if len(reason) > _LONGEST_REASON:
        raise BadRequest(f"the reason is longer than {_LONGEST_REASON} characters")
    return reason

"""What changes mean, in words for the page that asks before they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Final

import attrs

from twistpi.model.changes import Change, IndexDeleted, IndexModified, TokenRevoked, UserDeleted
from twistpi.model.records import Principal
from twistpi.model.releases import (
    DOCZIP,
    TOXRESULT,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    ProjectMarked,
    ProjectRemoved,
    Release,
    ReleaseRemoved,
)
from twistpi.model.text import counted, in_words
from twistpi.rules.exposure import enumerated
from twistpi.rules.file_policy import QUARANTINED
from twistpi.rules.permissions import may_read
from twistpi.view.read import Reader

_MOST: Final = 100
"""Lines on a page."""


@attrs.frozen
class Consequences:
    """What will happen."""

    lines: tuple[str, ...] = ()
    more: int = 0
    """How many lines were left out."""

    def __bool__(self) -> bool:
        return bool(self.lines)


def consequences(view: Reader, changes: Sequence[Change], reader: Principal) -> Consequences:
    """Return what ``changes``, which were decided on ``view``, will do; of indexes that ``reader`` may not read nothing."""
    heirs = _heirs(view, {change.index for change in changes if isinstance(change, IndexDeleted)}, reader)
    lines = [line for change in changes for line in _lines(view, change, reader, heirs)]
    return Consequences(tuple(lines[:_MOST]), max(0, len(lines) - _MOST))


def _heirs(view: Reader, deleted: Set[str], reader: Principal) -> Mapping[str, Sequence[str]]:
    """Return the indexes that stay and name one of ``deleted`` as a base, by that, as far as ``reader`` may read them."""
    heirs: dict[str, list[str]] = {}
    for index in view.indexes() if deleted else ():
        if index.name not in deleted and may_read(reader, index):
            for base in deleted & {*index.bases}:
                heirs.setdefault(base, []).append(index.name)
    return heirs


def _lines(view: Reader, change: Change, reader: Principal, heirs: Mapping[str, Sequence[str]]) -> Iterator[str]:
    match change:
        case FileRemoved(index=index, project=project, filename=filename):
            release = view.release_of_file(index, project, filename)
            if release is None:
                yield f"What is stored of {filename} is thrown away; it is fetched again when it is next asked for."
            else:
                yield from _files(release, lambda name: name == filename)
        case AttachmentRemoved(path=path):
            yield f"{path.rpartition('/')[2]} is removed."
        case ReleaseRemoved(index=index, project=project, version=version):
            release = view.release(index, project, version)
            if release is not None:
                yield from _whole(release)
        case ProjectRemoved(index=index, project=project):
            releases = view.releases(index, project)
            if not releases:
                yield f"All that is known and stored of {project} is forgotten, and fetched again when it is next asked for."
            for release in releases:
                yield from _whole(release)
        case FileYanked(filename=filename, yanked=yanked):
            done = "is not yanked any more" if yanked is False else "is yanked: installers take it only where it is pinned"
            yield f"{filename} {done}."
        case ProjectMarked(project=project, status=status):
            yield f"{project} has the status {status}." if status else f"{project} has no status any more."
        case FileUploaded(index=index, filename=filename):
            yield f"{filename} is on {index}."
        case TokenRevoked(token=token):
            yield f"The token {token} is worth nothing."
        case UserDeleted(user=user):
            tokens = view.api_tokens(user)
            yield f"The user {user} is deleted" + (f" with {counted(len(tokens), 'API token')}." if tokens else ".")
        case IndexDeleted(index=index):
            yield from _index_deleted(view, index, heirs.get(index, ()))
        case IndexModified(index=index, changed=changed) if QUARANTINED in changed:
            yield f"No file of it is offered on {index} any more, neither on pages nor by address. What is stored stays."
        case IndexModified(index=index) if _readable(view, index, reader):
            yield f"The name is taken out of {', '.join(change.changed)} of {index}."


def _whole(release: Release) -> Iterator[str]:
    yield from _files(release, lambda _name: True)
    if any(one.kind == DOCZIP for one in release.attachments):
        yield f"The documentation of {release.project} {release.version} is removed."
    if not release.files and not release.attachments:
        yield f"{release.project} {release.version}, which has no files, is removed."


def _files(release: Release, is_meant: Callable[[str], bool]) -> Iterator[str]:
    for file in release.files:
        filename = file.known.link.filename
        if is_meant(filename):
            results = sum(one.kind == TOXRESULT and one.for_filename == filename for one in release.attachments)
            beside = f", and {counted(results, 'test result')} of it" if results else ""
            size = "" if file.known.size is None else f" ({in_words(file.known.size)})"
            yield f"{filename}{size} is removed{beside}."


def _index_deleted(view: Reader, name: str, heirs: Iterable[str]) -> Iterator[str]:
    index = view.index(name)
    if index is None:
        return
    projects = sorted(view.projects(name))
    content = f"{counted(len(projects), 'project')}: {enumerated(projects)}" if projects else "nothing in it"
    yield f"The index {name} is deleted, {'and what is stored of' if index.is_mirror and projects else 'with'} {content}."
    for heir in heirs:
        yield f"{heir} inherits from {name}, and does not find what is there any more."


def _readable(view: Reader, name: str, reader: Principal) -> bool:
    index = view.index(name)
    return index is not None and may_read(reader, index)

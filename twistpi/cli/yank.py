"""``twistpi yank``: the change to a release of a private index, and the requests that have a server make it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

import attrs

from twistpi.model.changes import Change
from twistpi.model.errors import UnknownFile, UnknownIndex, no_project, unknown_version
from twistpi.model.names import normalize_project
from twistpi.model.records import Index, Json
from twistpi.model.releases import Release
from twistpi.rules.releases import check_markable, decide_yank
from twistpi.view.read import Reader


@attrs.frozen
class Yank:
    """Files to yank or to offer again. Methods raise when the index, release or file does not exist or is a mirror's."""

    index: str
    """``user/index``."""
    project: str
    """In any spelling."""
    version: str
    """As it was uploaded."""
    filenames: tuple[str, ...] = ()
    """Empty for every file of the release."""
    yanked: bool | str = True
    """True, the reason, or False to take that back."""

    @property
    def owner(self) -> str:
        """The owner of the index."""
        return self.index.partition("/")[0]

    def decide(self, reader: Reader) -> Sequence[Change]:
        """Return the changes."""
        index, release = self._target(reader)
        return decide_yank(index, release, self.filenames or None, self.yanked)

    def requests(self, reader: Reader) -> Iterator[tuple[str, str, Json]]:
        """Yield method, path and body of requests to a server."""
        _, release = self._target(reader)
        paths = {file.known.link.filename: file.known.path for file in release.files}
        body = {"reason": self.yanked} if isinstance(self.yanked, str) else None
        method = "DELETE" if self.yanked is False else "PUT"
        if not self.filenames:
            yield method, f"/{self.index}/{quote(release.project)}/{quote(release.version, safe='')}/+yank", body
        for filename in self.filenames:
            if filename not in paths:
                raise UnknownFile(self.index, filename)
            yield method, f"/{self.index}/{quote(paths[filename], safe='/+')}/+yank", body

    def _target(self, reader: Reader) -> tuple[Index, Release]:
        index, project = reader.index(self.index), normalize_project(self.project)
        if index is None:
            raise UnknownIndex(self.index)
        check_markable(index)
        release = reader.release(self.index, project, self.version)
        if release is None:
            raise unknown_version(project, self.version) if reader.has_project(self.index, project) else no_project(project)
        return index, release

"""The page of a release: description, metadata, files, dependencies, test results, history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.errors import unknown_version
from twistpi.model.names import kind_of_filename, normalize_project
from twistpi.model.records import KnownFile
from twistpi.model.releases import Release, UploadedFile
from twistpi.rules.actions import Actions, actions_on, push_targets
from twistpi.rules.attachments import docs_of
from twistpi.rules.file_policy import Refusal
from twistpi.rules.permissions import may_read
from twistpi.rules.release_facts import ReleaseFacts, is_safe_link
from twistpi.rules.release_history import history_of
from twistpi.rules.tox_results import ResultTable, result_table
from twistpi.rules.version_list import ListedVersion, chosen_version, newest_version
from twistpi.rules.wheel_tags import tags_in_words
from twistpi.simple.urls import quote_path
from twistpi.web.access import Access
from twistpi.web.browser.descriptions import Descriptions
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.project_views import ProjectView, ProjectViews
from twistpi.web.browser.release_events import Events, ReleaseEvents
from twistpi.web.browser.rendering import Renderer, segment
from twistpi.web.browser.result_pages import ResultReader
from twistpi.web.replies import Reply, redirect_reply
from twistpi.web.request import ends_with_slash, query_of

_MOST_FILES: Final = 100
"""On a page; the simple page has all."""


@attrs.frozen
class FileRow:
    """A file of a release as its page shows it."""

    known: KnownFile
    index: str
    kind: str
    """``wheel``, ``sdist``, ``egg`` or ``other``."""
    runs_on: str
    """What a wheel runs on; empty for other files."""
    address: str
    """Of the file, below the server."""
    sha256: str
    size: int | None
    who: str
    """Who uploaded it; empty when that is not known."""
    has_metadata: bool
    provenance: str
    """The address of the provenance object: whole, or below the server; empty without one."""
    refusal: Refusal | None = None
    """What a policy has against it; where that only reports, it is offered all the same."""


@attrs.define(eq=False)
class ReleasePage:
    """Makes ``/{user}/{index}/{project}/{version}``; ``latest`` and ``stable`` are versions, too."""

    _frames: Frames
    _views: ProjectViews
    _results: ResultReader
    _events: ReleaseEvents
    _access: Access
    _descriptions: Descriptions
    _renderer: Renderer
    _offload: Offload

    async def show(self, request: Request, name: str, project: str, version: str) -> Reply:
        """One release.  Raises what ``ProjectViews.find`` raises, and ``TwistpiError``."""
        normal = normalize_project(project)
        if normal != project:
            up = "../../" if ends_with_slash(request) else "../"
            return redirect_reply(f"{up}{normal}/{segment(version)}{query_of(request)}", 302)
        frame = await self._frames.of(request)
        view = await self._views.find(request, name, normal)
        listed = chosen_version(version, view.versions)
        if listed is None:
            raise unknown_version(normal, version)
        # Of a release in quarantine nothing is offered, neither its files nor what was added to them.
        is_told = not listed.is_mirrored and (bool(listed.files) or not view.is_quarantined)
        release = await self._offload(self._release, listed, normal) if is_told else None
        facts = await self._views.facts(view, listed, release)
        table = None if _is_withheld(listed) else await self._table(release)
        events = Events() if release is None else await self._events.of(normal, self._access.reader.serial())
        return await self._offload(self._build, frame, view, listed, facts, release, table, events)

    def _release(self, listed: ListedVersion, project: str) -> Release | None:
        return self._access.reader.release(listed.index, project, listed.version)

    async def _table(self, release: Release | None) -> ResultTable | None:
        results = [] if release is None else await self._results.of_release(release)
        return result_table(results, [file.known.link.filename for file in release.files]) if release and results else None

    def _build(
        self,
        frame: Frame,
        view: ProjectView,
        listed: ListedVersion,
        facts: ReleaseFacts,
        release: Release | None,
        table: ResultTable | None,
        events: Events,
    ) -> Reply:
        files = sorted(view.files_of(listed), key=_place)
        uploaded = {} if release is None else {file.known.link.filename: file for file in release.files}
        against = {(index, file.link.filename): refusal for index, file, refusal in view.refused_of(listed)}
        hidden = [(index, file) for index, file, refusal in view.refused_of(listed) if refusal.is_enforced]
        files += sorted(hidden, key=_place)
        rows = [
            attrs.evolve(
                _row(index, file, uploaded if index == listed.index else {}), refusal=against.get((index, file.link.filename))
            )
            for index, file in files[:_MOST_FILES]
        ]
        actions = self._actions(view, frame)
        return self._renderer.page(
            frame,
            "release.html",
            view=view,
            listed=listed,
            facts=facts,
            actions=actions if listed.index == view.index.name else Actions(),
            may_quarantine=actions.configure,
            shown=self._descriptions.shown(facts.description, facts.description_type),
            better=_better(listed, view.versions),
            files=rows,
            left_out=len(files) - len(rows),
            has_docs=docs_of(release) is not None and not _is_withheld(listed),
            table=table,
            history=() if release is None else history_of(release, events.entries, self._visible_to(frame)),
            is_history_whole=events.is_whole,
        )

    def _actions(self, view: ProjectView, frame: Frame) -> Actions:
        """Return what the reader may do to a release of the requested index."""
        policy = self._access.policy
        actions = actions_on(view.index, frame.caller, policy)
        if frame.caller.user is None:
            return actions
        targets = push_targets(self._access.reader.indexes(), view.index.name, view.project, frame.caller, policy)
        return attrs.evolve(actions, push=bool(targets))

    def _visible_to(self, frame: Frame) -> Callable[[str], bool]:
        """Return what tells whether the reader of the page may read an index."""
        view = self._access.reader

        def is_visible(name: str) -> bool:
            index = view.index(name)
            return index is not None and may_read(frame.caller, index)

        return is_visible


def _is_withheld(listed: ListedVersion) -> bool:
    """Return whether a policy refuses the release, and with it the documentation and the test results."""
    return listed.refusal is not None and listed.refusal.is_enforced


def _better(listed: ListedVersion, versions: Sequence[ListedVersion]) -> tuple[str, ListedVersion] | None:
    """Return the version that most readers look for instead, and in a word why: it is newer, or stable."""
    newest = newest_version(versions)
    if newest is None or newest.version == listed.version:
        return None
    if newest.age > listed.age:
        return "newer", newest
    return ("stable", newest) if listed.is_prerelease and not newest.is_prerelease else None


def _place(file: tuple[str, KnownFile]) -> tuple[bool, str]:
    """Return what orders files: the source first."""
    filename = file[1].link.filename
    return kind_of_filename(filename) != "sdist", filename


def _row(index: str, known: KnownFile, of_release: Mapping[str, UploadedFile]) -> FileRow:
    """Return the row of a file; ``of_release`` has, by name, what is known of those that were uploaded to the same index."""
    link = known.link
    uploaded = of_release.get(link.filename)
    address = f"/{quote_path(index)}/{quote_path(known.path)}"
    tags = tags_in_words(link.filename)
    return FileRow(
        known,
        index,
        kind_of_filename(link.filename),
        "" if tags is None else str(tags),
        address,
        known.blob_sha256 or "",
        known.size if link.size is None else link.size,
        next((line.who for line in reversed(uploaded.log) if line.who), "") or "" if uploaded else "",
        known.metadata_sha256 is not None or bool(link.core_metadata),
        _provenance(address, known, uploaded),
    )


def _provenance(address: str, known: KnownFile, uploaded: UploadedFile | None) -> str:
    if uploaded is not None and uploaded.provenance_sha256 is not None:
        return f"{address}.provenance"
    told = known.link.provenance or ""
    return told if is_safe_link(told) else ""

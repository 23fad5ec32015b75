"""What the pages of projects and releases show, gathered for one reader: versions, where they come from, facts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from twistpi.archives.core_metadata import parse_core_metadata
from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.offload import Offload
from twistpi.mirror.core_metadata import MetadataNotKept
from twistpi.model.errors import InvalidDistribution, TwistpiError, UnknownProject
from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import Index, KnownFile, KnownProject
from twistpi.model.releases import Release
from twistpi.rules.file_policy import NEVER, Refusal
from twistpi.rules.inheritance import VisibleIndexes
from twistpi.rules.offered_files import refusals_by_name
from twistpi.rules.origins import Origin, explain_visible
from twistpi.rules.release_facts import NO_FACTS, ReleaseFacts, release_facts
from twistpi.rules.version_list import ListedVersion, list_refused, list_versions
from twistpi.web.access import Access
from twistpi.web.components import MirrorServices
from twistpi.web.policies import Policies
from twistpi.web.project_sources import ProjectSources

_PATIENCE: Final = 2.0
"""Seconds that a page waits for core metadata of an upstream; without it, it shows what the list of files tells."""
_MOST_FILES: Final = 5_000
"""Files of all projects that are remembered; of a single project there may be more."""


@attrs.frozen
class ProjectView:
    """A project as one reader sees it on an index."""

    visibility: VisibleIndexes
    project: str
    """The normalised name."""
    known: tuple[KnownProject, ...]
    """What each contributing index offers of it, the nearest first."""
    versions: tuple[ListedVersion, ...]
    """The newest first, those that policies hide included."""
    origins: tuple[Origin, ...]
    refused: tuple[tuple[str, KnownFile, Refusal], ...] = ()
    """The files that policies have something against, each with its index."""
    until: float = NEVER
    """Unix seconds at which a policy lets another file through."""

    @property
    def index(self) -> Index:
        """The requested index."""
        return self.visibility.index

    @property
    def is_own(self) -> bool:
        """Whether the requested index has the project itself."""
        return any(one.index == self.index.name for one in self.known)

    @property
    def status(self) -> KnownProject | None:
        """The nearest of ``known`` with a status marker (PEP 792) that says something."""
        return next((one for one in self.known if one.header.status not in (None, "active")), None)

    @property
    def is_quarantined(self) -> bool:
        """Whether an index of ``known`` has it in quarantine."""
        return any(one.quarantined for one in self.known)

    def refused_of(self, listed: ListedVersion) -> tuple[tuple[str, KnownFile, Refusal], ...]:
        """Return the files of a version that policies have something against, also where they only report."""
        wanted = comparable_version(listed.version)
        found = [(one, version_of_filename(one[1].link.filename, self.project)) for one in self.refused]
        return tuple(one for one, version in found if version is not None and comparable_version(version) == wanted)

    def files_of(self, listed: ListedVersion) -> tuple[tuple[str, KnownFile], ...]:
        """Return the files of a version that installers see, each with its index: of two of one name the nearer one."""
        found: dict[str, tuple[str, KnownFile]] = {}
        for index, files in listed.all_files if listed.refusal is None else ():
            for file in files:
                found.setdefault(file.link.filename, (index, file))
        return tuple(found.values())


@attrs.define(eq=False)
class ProjectViews:
    """Gathers what the pages of projects and releases show."""

    _access: Access
    _sources: ProjectSources
    _mirrors: MirrorServices
    _blobs: IBlobs
    _offload: Offload
    _clock: IReactorTime
    _policies: Policies
    _kept: OrderedDict[object, ProjectView] = attrs.field(factory=OrderedDict, init=False)
    """Those that were used last are last; each is of one state of the view."""

    async def find(self, request: Request, name: str, project: str) -> ProjectView:
        """Return ``project`` (normalised) on the index ``name``, once its upstreams were asked.

        Raise what keeps the caller from reading it, ``UnknownProject``, and what keeps upstreams from answering.
        """
        while True:
            visibility = await self._access.visibility(request, name)
            found = await self._sources.ask(visibility, project)
            if self._access.is_current(visibility):
                break
        failures = self._mirrors.pages.failing()
        serial = self._access.reader.serial()
        key = (name, visibility.audience, project, serial, tuple(failures.items()), tuple(index.name for index in found.indexes))
        kept = self._kept.get(key)
        if kept is None or kept.until <= self._clock.seconds():
            self._keep(key, await self._offload(self._read, visibility, project, found.indexes, failures))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, key: object, view: ProjectView) -> None:
        self._kept[key] = view
        while len(self._kept) > 1 and sum(len(one.files) for kept in self._kept.values() for one in kept.known) > _MOST_FILES:
            self._kept.popitem(last=False)

    async def facts(self, view: ProjectView, listed: ListedVersion, release: Release | None = None) -> ReleaseFacts:
        """Return the facts of one version, of an upstream's as far as they can be had in a moment.

        ``release`` is what the view has of a private one, where that was read already.
        """
        if release is not None:
            return await self._offload(release_facts, release.metadata)
        if listed.is_mirrored and listed.refusal is not None:
            return NO_FACTS  # nothing is fetched of what is not offered
        if not listed.is_mirrored:
            return await self._offload(self._own_facts, listed, view.project)
        index = next(one for one in view.visibility.visible if one.name == listed.index)
        file = _describing(index, listed.files)
        if file is None:
            return NO_FACTS
        search = Deferred.fromCoroutine(self._mirrors.metadata.metadata(index, view.project, file))
        try:
            address = await search.addTimeout(_PATIENCE, self._clock)
        except MetadataNotKept as unkept:
            return await self._offload(_facts_of, unkept.content, file.link.filename)
        except (TwistpiError, TookTooLong):
            return NO_FACTS
        return await self._offload(self._read_facts, address, file.link.filename)

    def _read(
        self, visibility: VisibleIndexes, project: str, indexes: Sequence[Index], failures: Mapping[str, str]
    ) -> ProjectView:
        reader = self._access.reader
        known = [found for index in indexes if (found := reader.project(index.name, project)) is not None]
        if not known:
            raise UnknownProject(visibility.index.name, project)
        mirrors = {index.name for index in indexes if index.is_mirror}
        judged = {one.index: self._policies.apply(one, visibility.inheritance) for one in known}
        refusals = {index: refusals_by_name(one) for index, one in judged.items()}
        contributing = {index.name for index in indexes}
        origins = explain_visible(visibility, project, {one.index: one for one in known}, contributing, failures, refusals)
        refused = tuple((index, file, refusal) for index, one in judged.items() for file, refusal in one.refused)
        offered = tuple(one.known for one in judged.values())
        versions = list_versions(offered, mirrors)
        hidden = list_refused(refused, project, versions, mirrors)
        listed = sorted((*versions, *hidden), key=lambda one: one.age, reverse=True) if hidden else versions
        until = min((one.until for one in judged.values()), default=NEVER)
        return ProjectView(visibility, project, offered, tuple(listed), origins, refused, until)

    def _own_facts(self, listed: ListedVersion, project: str) -> ReleaseFacts:
        metadata = self._access.reader.release_metadata(listed.index, project, listed.version)
        return NO_FACTS if metadata is None else release_facts(metadata)

    def _read_facts(self, address: BlobAddress, filename: str) -> ReleaseFacts:
        try:
            with self._blobs.open(address) as file:
                return _facts_of(file.read(), filename)
        except FileNotFoundError:
            return NO_FACTS


def _facts_of(content: bytes, filename: str) -> ReleaseFacts:
    """Return what core metadata says, which may be nothing."""
    try:
        return release_facts(parse_core_metadata(content, filename, is_strict=False).fields)
    except InvalidDistribution:
        return NO_FACTS


def _describing(index: Index, files: Sequence[KnownFile]) -> KnownFile | None:
    """Return the file of a mirrored release whose core metadata can be had without downloading it; None without any."""
    is_provided = bool(index.config.get("mirror_provides_core_metadata"))
    for file in sorted(files, key=lambda file: (file.metadata_sha256 is None, not file.link.is_wheel)):
        is_here = file.metadata_sha256 is not None or (file.cached and file.link.is_wheel)
        if is_here or file.link.core_metadata or is_provided:
            return file
    return None

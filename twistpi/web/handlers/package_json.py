"""Projects and releases in the shape of the public index's JSON API, which pip-tools, Renovate, Nix and others ask for.

A document is made like a simple page, of the same indexes, and kept with them until something changes.  The core metadata of the
one version that it describes is fetched if it is not here; where that fails now, the document lacks it and is not kept.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import quote

import attrs
import orjson
from twisted.web.server import Request

from twistpi.advisories.store import AdvisoryStore
from twistpi.archives.core_metadata import parse_core_metadata
from twistpi.blobs.address import METADATA, BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.mirror.core_metadata import MetadataNotKept
from twistpi.model.errors import FileLost, InvalidDistribution, NoMetadata, TwistpiError, UnknownProject, unknown_version
from twistpi.model.names import find_version, normalize_project
from twistpi.model.records import Index, Json, KnownFile, KnownProject
from twistpi.rules.attachments import latest_version
from twistpi.rules.file_policy import NEVER
from twistpi.rules.inheritance import VisibleIndexes
from twistpi.rules.package_json import Package, described_version, metadata_files, package_document
from twistpi.rules.permissions import is_open
from twistpi.rules.releases import releases
from twistpi.simple.render import etag, link_prefix, merge
from twistpi.simple.urls import quote_path
from twistpi.view.page_cache import PageKey
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, outside_url
from twistpi.web.components import MirrorServices
from twistpi.web.fast.ready import CacheStatus, Content, ReadyPage
from twistpi.web.pages import Pages
from twistpi.web.policies import Policies
from twistpi.web.project_sources import ContributingIndexes
from twistpi.web.replies import JSON, Reply, Responder
from twistpi.web.request import has_already, negotiated_of


@attrs.frozen
class DocumentRequest:
    """Which document is requested."""

    visibility: VisibleIndexes
    """The index, and what the caller sees of it."""
    project: str
    """The normalised name."""
    version: str | None
    """None for the whole project, described by its newest version."""
    gzip: bool
    outside: str
    """The address of this server as the caller knows it."""
    key: PageKey = attrs.field(init=False)
    """Where the page cache keeps it."""

    @key.default
    def _key(self) -> PageKey:
        base = f"{self.version or ''}/json"
        return PageKey(self.index, self.project, JSON.decode("ascii"), self.gzip, base, self.visibility.audience)

    @property
    def index(self) -> str:
        """``user/name``."""
        return self.visibility.index.name


@attrs.frozen
class _Facts:
    """What the view has for a document."""

    package: Package
    version: str
    """The one that is described, as the index writes it."""
    fields: Mapping[str, Json] | None
    """Its core metadata, if it is a private release."""
    candidates: Sequence[tuple[Index, KnownFile]]
    """Mirrored files whose core metadata is as good."""
    valid_until: float
    """Unix seconds at which a policy lets another file through."""
    valid_from: float
    """When the policies were asked."""


@attrs.define(eq=False)
class PackageJsonHandler:
    """Answers ``/{user}/{index}/{project}/json``, the same for one version, and the other addresses of both."""

    _access: Access
    _pages: Pages
    _policies: Policies
    _mirrors: MirrorServices
    _blobs: IBlobs
    _offload: Offload
    _responder: Responder
    _addresses: Addresses
    _advisories: AdvisoryStore
    _json_index: str = ""
    """The index whose documents are at ``/pypi/`` as well."""
    _making: SingleFlight[tuple[PageKey, str, int], tuple[ReadyPage, CacheStatus]] = attrs.field(factory=SingleFlight, init=False)

    async def document(self, request: Request, name: str, project: str, version: str | None = None) -> Reply:
        """A project with all its releases, or one ``version`` of it; in any spelling."""
        self._access.share(request, name)
        compressed = negotiated_of(request, lenient=True).gzip
        normal, outside = normalize_project(project), outside_url(request, self._addresses)
        found = None
        while found is None:  # until no index is reconfigured while the upstream is asked
            visibility = await self._access.visibility(request, name)
            asked = DocumentRequest(visibility, normal, version, compressed, outside)
            found = await self._pages.kept_or_made(asked.key, visibility, outside, partial(self._make_once, asked))
        page, status = found
        return page.reply(status, self._responder.now(), unchanged=has_already(request, page.etag))

    async def at_root(self, request: Request, project: str, version: str | None = None) -> Reply:
        """The same for the index that a setting names, at ``/pypi/{project}/json``."""
        return await self.document(request, self._json_index, project, version)

    async def _make_once(self, asked: DocumentRequest, found: ContributingIndexes, mark: int) -> tuple[ReadyPage, CacheStatus]:
        return await self._making.join((asked.key, asked.outside, mark), lambda: self._make(asked, found, mark))

    async def _make(self, asked: DocumentRequest, found: ContributingIndexes, mark: int) -> tuple[ReadyPage, CacheStatus]:
        facts = await self._offload(self._read, asked, found.indexes)
        fields, missing = (
            (facts.fields, None) if facts.fields is not None else await self._metadata(asked.project, facts.candidates)
        )
        page = await self._offload(self._render, asked, facts, fields)
        if missing is not None:
            return page, attrs.evolve(found.status, missing=found.status.missing or missing)
        self._pages.keep(asked.key, page, mark)
        return page, found.status

    async def _metadata(self, project: str, files: Sequence[tuple[Index, KnownFile]]) -> tuple[Mapping[str, Json], str | None]:
        """Return the core metadata of a mirrored release, empty without any, and why it cannot be had now."""
        for index, file in files:
            try:
                address = await self._mirrors.metadata.metadata(index, project, file)
                return await self._offload(self._parse, address), None
            except MetadataNotKept as unkept:
                return await self._offload(_fields, unkept.content, file.link.filename), None
            except (NoMetadata, InvalidDistribution, FileNotFoundError):
                continue
            except FileLost:
                raise  # another server may have it
            except TwistpiError as error:
                return {}, f"{index.name}: {getattr(error, 'reason', error)}"
        return {}, None

    def _parse(self, address: BlobAddress) -> Mapping[str, Json]:
        """Read core metadata; called in any thread."""
        with self._blobs.open(address) as file:
            return _fields(file.read(), address.filename.removesuffix(METADATA))

    def _read(self, asked: DocumentRequest, indexes: Sequence[Index]) -> _Facts:
        """Read the view; called in any thread."""
        reader, project, offline = self._access.reader, asked.project, self._mirrors.offline
        now = self._responder.now()
        found_here = [one for index in indexes if (one := reader.project(index.name, project)) is not None]
        judged = [self._policies.apply(one, asked.visibility.inheritance) for one in found_here]
        known = [one.known for one in judged]
        merged = merge(asked.index, project, [one for one in known if one.files or not one.vanished] or known)
        owners = {file.link.filename: owner for owner, file in merged.files}
        files = [file for _owner, file in merged.files if file.cached or not offline]
        found = releases(KnownProject(asked.index, project, tuple(files), merged.versions))
        found = {**dict.fromkeys(merged.versions, ()), **found}
        version = described_version(found) if asked.version is None else find_version(asked.version, found)
        if version is None:
            raise UnknownProject(asked.index, project) if asked.version is None else unknown_version(project, asked.version)
        private = [index for index in indexes if not index.is_mirror]
        described = (reader.release(index.name, project, version) for index in private)
        mirrors = {index.name: index for index in indexes if index.is_mirror}
        of_mirrors = [file for file in found[version] if owners[file.link.filename] in mirrors]
        mirrored = (file for file in of_mirrors if file.cached or not offline)
        advisories = self._advisories.of(project) if of_mirrors else ()
        return _Facts(
            Package(
                project,
                found,
                _urls(asked, indexes, owners),
                f"{asked.outside}/{quote_path(asked.index)}/{project}/",
                self._docs(asked, [one.index for one in known if one.index not in mirrors and not one.quarantined], version),
                merged.header.last_serial,
                tuple(dict.fromkeys(one.index.partition("/")[0] for one in known if one.index not in mirrors)),
                tuple(advisory for advisory in advisories if advisory.affects(version)),
            ),
            version,
            next((release.metadata for release in described if release is not None), None),
            [(mirrors[owners[file.link.filename]], file) for file in metadata_files(mirrored)],
            min((one.until for one in judged), default=NEVER),
            now,
        )

    def _docs(self, asked: DocumentRequest, indexes: Sequence[str], version: str) -> str | None:
        """Return the URL of the documentation of ``version`` on the nearest of ``indexes``, or of its newest; None without."""
        for index in indexes:
            versions = [one for one, _attachment in self._access.reader.docs(index, asked.project)]
            found = find_version(version, versions) or latest_version(versions)
            if found is not None:
                return f"{asked.outside}/{quote_path(index)}/{asked.project}/{quote(found, safe='+!')}/+d/index.html"
        return None

    def _render(self, asked: DocumentRequest, facts: _Facts, fields: Mapping[str, Json]) -> ReadyPage:
        """Called in any thread."""
        document = package_document(facts.package, facts.version, fields, whole=asked.version is None)
        body = bytes(memoryview(orjson.dumps(document)))
        tag = etag(body, JSON.decode("ascii"))
        if asked.gzip:
            body, tag = gzip.compress(body, 6, mtime=0), tag[:-1] + '-gzip"'
        return ReadyPage(
            content=Content(body),
            etag=tag,
            content_type=JSON,
            gzip=asked.gzip,
            alias=False,
            sources=asked.visibility.inheritance.names,
            private=not asked.visibility.is_open,
            last_serial=facts.package.serial,
            outside=asked.outside,
            valid_until=facts.valid_until,
            valid_from=facts.valid_from,
        )


def _fields(content: bytes, filename: str) -> Mapping[str, Json]:
    """Return the fields of the core metadata of the file ``filename``; raise ``InvalidDistribution``."""
    return parse_core_metadata(content, filename, is_strict=False).fields


def _urls(asked: DocumentRequest, indexes: Sequence[Index], owners: Mapping[str, str]) -> Callable[[KnownFile], str]:
    """Return what makes the URL of a file, of which ``owners`` names the index.

    It is absolute, and spelled as pip spells those on simple pages: pip-tools takes only the digests of URLs that are the same.
    """
    base = f"{asked.outside}/{quote_path(asked.index)}/"
    prefixes = {index.name: link_prefix(base, asked.index, index.name) if is_open(index) else base for index in indexes}
    return lambda file: prefixes[owners[file.link.filename]] + quote(file.path, safe="/@")

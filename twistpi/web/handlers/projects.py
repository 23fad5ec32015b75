"""Projects and releases as JSON, in the form that the devpi client reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.changes import Change
from twistpi.model.errors import UnknownProject, no_project, unknown_version
from twistpi.model.names import comparable_version, find_version, normalize_project
from twistpi.model.records import NOTHING, Index, Json, KnownFile, KnownProject
from twistpi.model.releases import Attachment, LogLine, Release
from twistpi.rules.devpi7 import decide_project_modified, inheritance_info, project_settings, version_of_devpi7
from twistpi.rules.inheritance import Inheritance, VisibleIndexes, rule_on_mirrors
from twistpi.rules.permissions import Action
from twistpi.rules.releases import find_release, releases
from twistpi.rules.upload_checks import shown_metadata
from twistpi.simple.urls import quote_path
from twistpi.view.read import Reader
from twistpi.web.access import Access, existing_index, project_status
from twistpi.web.addresses import Addresses, outside_url
from twistpi.web.commits import Commits
from twistpi.web.fast.ready import CacheStatus
from twistpi.web.handlers.files import hash_spec
from twistpi.web.handlers.own_metadata import OwnMetadata
from twistpi.web.handlers.simple import SimpleHandler
from twistpi.web.pages import FEW_LINKS
from twistpi.web.policies import Policies
from twistpi.web.project_sources import ProjectSources
from twistpi.web.replies import Reply, Responder, redirect_reply, result_reply
from twistpi.web.request import ends_with_slash, has_parameter, kept_body, query_of, read_json, result_version

Data = dict[str, Json]


def mirrored_data(known: KnownProject, version: str | None, outside: str) -> Mapping[str, Data]:
    """Return version -> data of each release of a mirrored project, or of the one that ``version`` names.

    ``outside`` is the address of this server, without a slash at the end.
    """
    found = releases(known)
    if version is not None:
        one = find_release(version, known)
        found = {} if one is None else dict([one])
    return {spelled: _mirrored(known, spelled, files, outside) for spelled, files in found.items()}


def private_data(
    found: Sequence[Release], version: str | None, outside: str, own: OwnMetadata, *, is_quarantined: bool
) -> Mapping[str, Data]:
    """Return the same for a private project, whose releases are ``found``; in quarantine its files are not offered.

    If one ``version`` is asked for, what is a file's ``own`` is read from the disk: blocking.
    """
    if version is None:
        return {release.version: _private(release, outside, is_quarantined, NOTHING) for release in found}
    spelled = find_version(version, [release.version for release in found])
    release = next((release for release in found if release.version == spelled), None)
    return {} if release is None else {release.version: _private(release, outside, is_quarantined, own.of(release))}


def _mirrored(known: KnownProject, version: str, files: Sequence[KnownFile], outside: str) -> Data:
    """Return what the files of a mirrored release tell."""
    data: Data = {"name": known.project, "version": version}
    requires = next((file.link.requires_python for file in files if file.link.requires_python is not None), None)
    if requires is not None:
        data["requires_python"] = requires
    data.update(_yanked(files))
    base = _base(known.index, outside)
    data["+links"] = [_distribution(file, base + quote_path(file.path), _hashes(file), requires) for file in files]
    return data


def _private(release: Release, outside: str, is_quarantined: bool, own: Mapping[str, Mapping[str, Json]]) -> Data:
    data: Data = shown_metadata(release.metadata)
    data.update(_yanked([file.known for file in release.files]))
    base = _base(release.index, outside)
    hrefs = {file.known.link.filename: base + quote_path(file.known.path) for file in release.files}
    links = []
    for file in release.files:
        href, hashes = hrefs[file.known.link.filename], {"sha256": str(file.known.sha256)}
        facts = _distribution(file.known, href, hashes, release.metadata.get("requires_python"))
        links.append({**facts, **own.get(file.known.link.filename, NOTHING), "log": _log(file.log)})
    links += [_attached(attachment, base, hrefs) for attachment in release.attachments]
    if links and not is_quarantined:
        data["+links"] = links
    return data


def _attached(attachment: Attachment, base: str, hrefs: Mapping[str, str]) -> Data:
    facts = _link(attachment.kind, base + quote_path(attachment.path), {"sha256": attachment.sha256})
    if attachment.for_filename is not None:
        facts["for_href"] = hrefs[attachment.for_filename]
    return {**facts, "log": _log(attachment.log)}


def _base(index: str, outside: str) -> str:
    return f"{outside}/{quote_path(index)}/"


def _yanked(files: Sequence[KnownFile]) -> Data:
    yanked = next((file.link.yanked for file in files if file.link.yanked is not False), False)
    return {} if yanked is False else {"yanked": yanked}


def _hashes(file: KnownFile) -> Mapping[str, str]:
    return file.link.hashes if file.sha256 is None else {**file.link.hashes, "sha256": file.sha256}


def _link(kind: str, href: str, hashes: Mapping[str, str]) -> Data:
    facts = {"hashes": dict(hashes)} if hashes else {}
    return {"rel": kind, "hash_spec": hash_spec(hashes), **facts, "href": href}


def _distribution(file: KnownFile, href: str, hashes: Mapping[str, str], common: str | None) -> Data:
    """Return the link of a distribution, which tells its ``Requires-Python`` if that is not the ``common`` one of its release."""
    own = file.link.requires_python
    return {**_link("releasefile", href, hashes), **({} if (own or "") == (common or "") else {"requires_python": own or ""})}


def _log(lines: Sequence[LogLine]) -> list[Data]:
    return [
        {
            "what": line.what,
            "who": line.who,
            "when": list(datetime.fromisoformat(line.when).timetuple()[:6]),
            **({} if line.src is None else {"src": line.src}),
            **({} if line.count is None else {"count": line.count}),
            "dst": line.dst,
        }
        for line in lines
    ]


@attrs.define(eq=False)
class ProjectsHandler:
    """Answers ``/{user}/{index}/{project}`` and ``/{user}/{index}/{project}/{version}``."""

    _access: Access
    _sources: ProjectSources
    _simple: SimpleHandler
    _responder: Responder
    _addresses: Addresses
    _offload: Offload
    _commits: Commits
    _own: OwnMetadata
    _policies: Policies

    async def project(self, request: Request, name: str, project: str) -> Reply | None:
        """Every release of a project; requests that do not ask for JSON are answered by ``SimpleHandler.alias``.

        With ``?ignore_bases`` only what the index has by itself; with ``?v=2`` in the form of devpi-server 7.
        """
        negotiated = self._simple.negotiated(request)
        if negotiated.installer or not negotiated.json:
            return await self._simple.alias(request, name, project)
        normal = normalize_project(project)
        if normal != project and request.method == b"GET":
            up = "../" if ends_with_slash(request) else ""
            return redirect_reply(f"{up}{normal}{query_of(request)}", 302)
        own = has_parameter(request, b"ignore_bases")
        version = result_version(request)
        data, status = await self._data(request, name, normal, None, own=own)
        reply = result_reply("projectconfig", data)
        if version == 2:
            visibility = await self._access.visibility(request, name)
            config = self._of_devpi7(visibility, normal, data, outside_url(request, self._addresses))
            reply = result_reply("projectconfig_v2", config)
        return _with_status(reply, status, self._responder.now())

    def _of_devpi7(self, visibility: VisibleIndexes, project: str, data: Mapping[str, Data], outside: str) -> Data:
        def has_project(index: str) -> bool:
            return self._access.reader.has_project(index, project)

        spelled = next((told["name"] for told in data.values()), project)
        ruling = rule_on_mirrors(project, visibility.inheritance.order, has_project)
        return {
            "config": project_settings(visibility.index, project, spelled),
            "inheritance_info": inheritance_info(project, visibility.visible, ruling, has_project),
            "versions": {version: version_of_devpi7(told, outside) for version, told in data.items()},
        }

    async def modify(self, request: Request, name: str, project: str) -> Reply:
        """Change whether mirrors may add to a project, in the words of devpi-server 7."""
        principal, body, normal = await self._access.principal(request), kept_body(request), normalize_project(project)

        def decide(view: Reader) -> Sequence[Change]:
            found = self._access.allowed(Action.MODIFY_INDEX, principal, view, name)
            return decide_project_modified(found, normal, read_json(body))

        await self._commits.commit(decide, principal)
        found = existing_index(self._access.reader, name)
        return result_reply("projectconfig", project_settings(found, normal, normal))

    async def version(self, request: Request, name: str, project: str, version: str) -> Reply:
        """One release."""
        normal = normalize_project(project)
        if normal != project and request.method == b"GET":
            up = "../../" if ends_with_slash(request) else "../"
            here = f"{up}{normal}/{quote(version, safe='+')}"
            return redirect_reply(f"{here}{query_of(request)}", 302)

        data, status = await self._data(request, name, normal, version, own=False)
        if version not in data:
            raise unknown_version(normal, version)
        facts = data[version]
        if result_version(request) == 2:
            facts = version_of_devpi7(facts, outside_url(request, self._addresses))
        reply = result_reply("versiondata", facts)
        return _with_status(reply, status, self._responder.now())

    async def _data(
        self, request: Request, name: str, project: str, version: str | None, *, own: bool
    ) -> tuple[Data, CacheStatus]:
        """Return version -> version data of every visible release, or of ``version`` alone."""
        visibility = await self._access.visibility(request, name)
        indexes, status = await self._indexes(visibility, project, own=own)
        while not self._access.is_current(visibility):
            visibility = await self._access.visibility(request, name)
            indexes, status = await self._indexes(visibility, project, own=own)
        inheritance, outside = visibility.inheritance, outside_url(request, self._addresses)
        reader = self._access.reader
        if version is not None or sum(reader.link_count(index.name, project) for index in indexes) > FEW_LINKS:
            data: Data = await self._offload(self._build, inheritance, indexes, project, version, outside)
            return data, status
        return self._build(inheritance, indexes, project, version, outside), status

    async def _indexes(self, visibility: VisibleIndexes, project: str, *, own: bool) -> tuple[Sequence[Index], CacheStatus]:
        """Return the indexes whose releases are shown; with ``own`` only the index itself."""
        reader = self._access.reader
        if own and not visibility.index.is_mirror and reader.has_project(visibility.index.name, project):
            return (visibility.index,), CacheStatus()
        try:
            found = await self._sources.ask(visibility, project)
        except UnknownProject as error:
            raise no_project(project) from error
        return [index for index in found.indexes if not own or index.name == visibility.index.name], found.status

    def _build(self, inheritance: Inheritance, indexes: Sequence[Index], project: str, version: str | None, outside: str) -> Data:
        """Read and merge; called in any thread.  A release is called as the nearest index writes its version."""
        data: Data = {}
        spellings: dict[str, str] = {}
        for index in indexes:
            found = self._versions_of(inheritance, index, project, version, outside)
            for spelled, facts in found.items():
                known = spelled if spelled in data else spellings.get(comparable_version(spelled), spelled)
                nearest = data.setdefault(version or known, facts)
                if nearest is not facts:
                    nearest.setdefault("+shadowing", []).append(facts)
            spellings = {**{comparable_version(spelled): spelled for spelled in found}, **spellings}
        return data

    def _versions_of(
        self, inheritance: Inheritance, index: Index, project: str, version: str | None, outside: str
    ) -> Mapping[str, Data]:
        reader = self._access.reader
        if index.is_mirror:
            known = reader.project(index.name, project)
            return {} if known is None else mirrored_data(self._policies.apply(known, inheritance).known, version, outside)
        is_quarantined = project_status(reader, index.name, project) == "quarantined"
        own = [self._policies.apply_to_release(release, inheritance) for release in reader.releases(index.name, project)]
        return private_data(own, version, outside, self._own, is_quarantined=is_quarantined)


def _with_status(reply: Reply, status: CacheStatus, now: float) -> Reply:
    """``reply``, which also says how fresh it is."""
    return attrs.evolve(reply, headers=(*reply.headers, *status.headers(now)))

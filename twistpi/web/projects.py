"""Projects and releases as JSON, the way the devpi client asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import attrs
from twisted.web.server import Request

from twistpi.model.errors import NoProject, UnknownProject, UnknownVersion
from twistpi.model.names import normalize_project
from twistpi.model.records import Index, Json, KnownFile, KnownProject
from twistpi.rules.releases import find_release, releases
from twistpi.rules.seeing import Sight
from twistpi.simple.escape import quote_path
from twistpi.web.addresses import outside_url
from twistpi.web.pages import FEW_LINKS, Pages
from twistpi.web.ready import Account
from twistpi.web.replies import Reply, put, redirect_reply, result_reply
from twistpi.web.request import ends_with_slash, has_parameter, query_of, wants_html, wish_of
from twistpi.web.services import Services
from twistpi.web.simple import SimpleDoor

_Data = dict[str, Json]


@attrs.define(eq=False)
class ProjectsDoor:
    """Answers ``/{user}/{index}/{project}`` and ``/{user}/{index}/{project}/{version}``."""

    _services: Services
    _pages: Pages
    _simple: SimpleDoor

    async def project(self, request: Request, user: str, index: str, project: str) -> bytes | None:
        """Every release of a project; what is no question for JSON is answered as ``SimpleDoor.alias`` does.

        With ``?ignore_bases`` only what the index has by itself.
        """
        wish = wish_of(request, lenient=self._services.lenient_accept)
        if wish.installer or not wish.json:
            return await self._simple.alias(request, user, index, project)
        normal = normalize_project(project)
        if normal != project and request.method == b"GET":
            up = "../" if ends_with_slash(request) else ""
            return self._put(request, redirect_reply(f"{up}{normal}{query_of(request)}", 302))
        name = f"{user}/{index}"
        own = has_parameter(request, b"ignore_bases")
        data, account = await self._data(request, name, normal, None, own=own)
        return self._put(request, _with_account(result_reply("projectconfig", data), account, self._services.clock.seconds()))

    async def version(self, request: Request, user: str, index: str, project: str, version: str) -> bytes | None:
        """One release; people are led to the page of the project."""
        normal = normalize_project(project)
        up = "../../" if ends_with_slash(request) else "../"
        if wants_html(request):
            return self._put(request, redirect_reply(f"{up}+simple/{normal}/", 302))
        if normal != project and request.method == b"GET":
            here = f"{up}{normal}/{quote(version, safe='+')}"
            return self._put(request, redirect_reply(f"{here}{query_of(request)}", 302))

        data, account = await self._data(request, f"{user}/{index}", normal, version, own=False)
        if version not in data:
            raise UnknownVersion(normal, version)
        reply = result_reply("versiondata", data[version])
        return self._put(request, _with_account(reply, account, self._services.clock.seconds()))

    async def _data(self, request: Request, name: str, project: str, version: str | None, *, own: bool) -> tuple[_Data, Account]:
        """Version -> version data of every release, or of ``version`` alone, as far as the asker may see it.

        Raises ``NoProject`` and whatever the page of the project would.
        """
        sight = await self._pages.reading.sight(request, name)
        indexes, account = await self._indexes(sight, project, own=own)
        while not self._pages.reading.is_current(sight):
            sight = await self._pages.reading.sight(request, name)
            indexes, account = await self._indexes(sight, project, own=own)
        outside = outside_url(request, self._services)
        reader = self._services.readers.get()
        if sum(reader.link_count(index.name, project) for index in indexes) > FEW_LINKS:
            data: _Data = await self._services.offload(self._build, indexes, project, version, outside)
            return data, account
        return self._build(indexes, project, version, outside), account

    async def _indexes(self, sight: Sight, project: str, *, own: bool) -> tuple[Sequence[Index], Account]:
        """The indexes whose releases are told; with ``own`` nobody but the index itself, though others make the project exist."""
        sources, reader = self._pages.sources, self._services.readers.get()
        if own and not sight.index.is_mirror and reader.has_project(sight.index.name, project):
            return (sight.index,), Account()
        try:
            found = await sources.ask(sight, project)
        except UnknownProject as error:
            raise NoProject(project) from error
        return [index for index in found.indexes if not own or index.name == sight.index.name], found.account

    def _build(self, indexes: Sequence[Index], project: str, version: str | None, outside: str) -> _Data:
        """Read and put together; runs in whatever thread."""
        reader = self._services.readers.get()
        data: _Data = {}
        for index in indexes:
            known = reader.project(index.name, project)
            for spelled, files in () if known is None else _pick(known, version).items():
                told = _version_data(index.name, project, spelled, files, outside)
                nearest = data.setdefault(version or spelled, told)
                if nearest is not told:
                    nearest.setdefault("+shadowing", []).append(told)
        return data

    def _put(self, request: Request, reply: Reply) -> bytes:
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))


def _pick(known: KnownProject, version: str | None) -> Mapping[str, Sequence[KnownFile]]:
    """The releases that are asked for."""
    if version is None:
        return releases(known)
    found = find_release(version, known)
    return {} if found is None else dict([found])


def _version_data(index: str, project: str, version: str, files: Sequence[KnownFile], outside: str) -> _Data:
    """What the devpi protocol tells of a release that nobody uploaded here: no more than its files do."""
    data: _Data = {"name": project, "version": version}
    requires = next((file.link.requires_python for file in files if file.link.requires_python is not None), None)
    if requires is not None:
        data["requires_python"] = requires
    yanked = next((file.link.yanked for file in files if file.link.yanked is not False), False)
    if yanked is not False:
        data["yanked"] = yanked
    data["+links"] = [_link(f"{outside}/{quote_path(index)}/", file) for file in files]
    return data


def _link(base: str, file: KnownFile) -> _Data:
    hashes = dict(file.link.hashes)
    if file.sha256 is not None:
        hashes["sha256"] = file.sha256
    algorithm = "sha256" if "sha256" in hashes else next(iter(hashes), None)
    spec = "" if algorithm is None else f"{algorithm}={hashes[algorithm]}"
    told = {"hashes": hashes} if hashes else {}
    return {"rel": "releasefile", "hash_spec": spec, **told, "href": base + quote_path(file.path)}


def _with_account(reply: Reply, account: Account, now: float) -> Reply:
    """``reply``, which also says how fresh it is."""
    return attrs.evolve(reply, headers=(*reply.headers, *account.headers(now)))

"""Projects and releases as JSON, the way the devpi client asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import attrs
from twisted.web.server import Request

from twistpi.model.errors import NoProject, UnknownProject, UnknownVersion
from twistpi.model.names import normalize_project
from twistpi.model.records import Index
from twistpi.rules.seeing import Sight
from twistpi.web.addresses import outside_url
from twistpi.web.pages import FEW_LINKS, Pages
from twistpi.web.ready import Account
from twistpi.web.replies import Reply, put, redirect_reply, result_reply
from twistpi.web.request import ends_with_slash, has_parameter, query_of, wants_html, wish_of
from twistpi.web.services import Services
from twistpi.web.simple import SimpleDoor
from twistpi.web.version_data import Data, mirrored_data, private_data


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

    async def _data(self, request: Request, name: str, project: str, version: str | None, *, own: bool) -> tuple[Data, Account]:
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
            data: Data = await self._services.offload(self._build, indexes, project, version, outside)
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

    def _build(self, indexes: Sequence[Index], project: str, version: str | None, outside: str) -> Data:
        """Read and put together; runs in whatever thread."""
        data: Data = {}
        for index in indexes:
            for spelled, told in self._told(index, project, version, outside).items():
                nearest = data.setdefault(version or spelled, told)
                if nearest is not told:
                    nearest.setdefault("+shadowing", []).append(told)
        return data

    def _told(self, index: Index, project: str, version: str | None, outside: str) -> Mapping[str, Data]:
        reader = self._services.readers.get()
        if index.is_mirror:
            known = reader.project(index.name, project)
            return {} if known is None else mirrored_data(known, version, outside)
        header = reader.header(index.name, project)
        is_quarantined = header is not None and header[0] == "quarantined"
        return private_data(reader.releases(index.name, project), version, outside, is_quarantined=is_quarantined)

    def _put(self, request: Request, reply: Reply) -> bytes:
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))


def _with_account(reply: Reply, account: Account, now: float) -> Reply:
    """``reply``, which also says how fresh it is."""
    return attrs.evolve(reply, headers=(*reply.headers, *account.headers(now)))

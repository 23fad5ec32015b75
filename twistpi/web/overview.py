"""What is here: the server, a user, an index — a plain page for people, the contract's JSON for the devpi client."""

from __future__ import annotations

import html
import re

import attrs
from twisted.web.server import Request

from twistpi.model.accounts import User
from twistpi.model.errors import UnknownIndex, UnknownUser
from twistpi.model.records import Index, Json
from twistpi.simple.addresses import without_credentials
from twistpi.simple.negotiate import Representation
from twistpi.web.replies import Reply, html_reply, put, redirect_reply, result_reply
from twistpi.web.request import ends_with_slash, header, query_of, wish_of
from twistpi.web.services import Services
from twistpi.web.simple import SimpleDoor

_HOST = re.compile(r"[A-Za-z0-9._\-]+(?::\d{1,5})?\Z|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?\Z", re.ASCII)
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>
{content}
</body></html>
"""


@attrs.define(eq=False)
class OverviewDoor:
    """Answers ``/``, ``/{user}`` and ``/{user}/{index}``."""

    _services: Services
    _simple: SimpleDoor

    async def root(self, request: Request) -> bytes:
        """Every user with every index."""
        reader = self._services.readers.get()
        indexes = reader.indexes()
        if self._wants_json(request):
            users = {user.name: _user_facts(user, indexes) for user in reader.users()}
            return self._put(request, result_reply("list:userconfig", users))
        return self._put(request, html_reply(self._listing("Python package indexes", indexes, request, "")))

    async def user(self, request: Request, user: str) -> bytes:
        """One user with every index."""
        reader = self._services.readers.get()
        found = reader.user(user)
        if found is None:
            raise UnknownUser(user)
        indexes = reader.indexes_of(user)
        if self._wants_json(request):
            return self._put(request, result_reply("userconfig", _user_facts(found, indexes)))
        up = "../" if ends_with_slash(request) else ""
        return self._put(request, html_reply(self._listing(f"Indexes of {user}", indexes, request, up)))

    async def index(self, request: Request, user: str, index: str) -> bytes | None:
        """One index; to installers, and to who asks for the simple API's JSON, its name list."""
        wish = wish_of(request, lenient=self._services.lenient_accept)
        name = f"{user}/{index}"
        if wish.installer or (wish.representation is Representation.JSON_V1 and not wish.json):
            # Names link to what stands beside them, so HTML is shown where that is right.
            if wish.representation is not Representation.JSON_V1 and not ends_with_slash(request):
                return self._put(request, redirect_reply(f"{index}/{query_of(request)}", 302))
            return await self._simple.name_list(request, name, wish, alias=True)
        reader = self._services.readers.get()
        found = reader.index(name)
        if found is None:
            raise UnknownIndex(name)
        if wish.json:
            facts = _index_facts(found)
            if b"no_projects" not in request.args:
                facts["projects"] = sorted(reader.projects(name))
            return self._put(request, result_reply("indexconfig", facts))
        up = "../../" if ends_with_slash(request) else "../"
        return self._put(request, html_reply(self._listing(name, [found], request, up)))

    def _listing(self, title: str, indexes: list[Index], request: Request, up: str) -> str:
        base = self._address(request)
        items = []
        for index in indexes:
            name = html.escape(index.name)
            upstream = html.escape(without_credentials(str(index.config.get("mirror_url", ""))))
            about = f" — a mirror of {upstream}" if index.is_mirror else ""
            items.append(
                f'<li><a href="{up}{name}">{name}</a>{about} (<a href="{up}{name}/+simple/">every project</a>)'
                f"<pre>pip install --index-url {html.escape(base)}/{name}/+simple/ PROJECT</pre></li>"
            )
        return _PAGE.format(title=html.escape(title), content=f"<ul>{''.join(items)}</ul>" if items else "<p>Nothing yet.</p>")

    def _address(self, request: Request) -> str:
        """What people call this server: as it was set up, else as it was just called."""
        if self._services.outside_url:
            return self._services.outside_url
        host = header(request, "host") or ""
        scheme = "https" if request.isSecure() else "http"  # type: ignore[no-untyped-call]
        return f"{scheme}://{host if _HOST.match(host) else 'localhost'}"

    def _wants_json(self, request: Request) -> bool:
        return wish_of(request, lenient=True).json

    def _put(self, request: Request, reply: Reply) -> bytes:
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))


def _user_facts(user: User, indexes: list[Index]) -> dict[str, Json]:
    own = {index.name.partition("/")[2]: _index_facts(index) for index in indexes if index.name.startswith(f"{user.name}/")}
    modified = {} if user.modified is None else {"modified": user.modified}
    return {**user.config, "username": user.name, "created": user.created, **modified, "indexes": own}


def _index_facts(index: Index) -> dict[str, Json]:
    """The configuration without the password of the upstream."""
    facts = dict(index.config)
    if "mirror_url" in facts:
        facts["mirror_url"] = without_credentials(str(facts["mirror_url"]))
    return facts

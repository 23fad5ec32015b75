"""Search for programs: ``/+search.json``, and the XML-RPC call of ``pip search`` at ``/{user}/{index}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, ParamSpec

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.records import Json
from twistpi.rules.inheritance import Inheritance
from twistpi.search.finding import Offers
from twistpi.search.query import PART, And, Expression, Maybe, Not, Or, Term
from twistpi.search.results import Hit, Pieces, SearchPage
from twistpi.search.service import SearchService
from twistpi.web.access import Access, readable_indexes
from twistpi.web.addresses import Addresses, outside_url
from twistpi.web.handlers.uploads import UploadHandler
from twistpi.web.paths import is_search_call
from twistpi.web.receiving.xml_rpc import Unreadable, read_call, write_answer, write_fault
from twistpi.web.replies import NO_STORE, Reply, length_of, result_reply
from twistpi.web.request import header, kept_body

_XML: Final = b"text/xml"
_MOST_CALLED: Final = 500
"""Projects in the answer to a call."""
_AT_ONCE: Final = 2
"""Searches."""
_Arguments = ParamSpec("_Arguments")
Withholds = Callable[[str, str, str], bool]
"""See ``Access.withholds``."""
_OPERATORS: Final = ("or", "and", "andnot", "andmaybe", "not")
_SEARCHED: Final = frozenset({"name", "summary"})


class Unsearchable(Exception):
    """A call asks for what is not searched.  The message says what."""


def parameter(request: Request, name: str) -> str:
    """Return the first value of ``name`` in the query of ``request``; empty without any."""
    value: bytes = (request.args.get(name.encode("ascii")) or [b""])[0]
    return value.decode("utf-8", "replace")


def number(text: str, default: int) -> int:
    """Return the number in ``text``, ``default`` for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else default


@attrs.define(eq=False)
class SearchQueue:
    """Runs searches in threads, few at a time: more of them would only pass Python's lock around."""

    _offload: Offload
    _turns: DeferredSemaphore = attrs.field(factory=lambda: DeferredSemaphore(_AT_ONCE), init=False)

    def __call__(
        self, search: Callable[_Arguments, Reply], *arguments: _Arguments.args, **more: _Arguments.kwargs
    ) -> Deferred[Reply]:
        """Return what ``search`` returns."""
        return self._turns.run(self._offload, search, *arguments, **more)


@attrs.define(eq=False)
class SearchHandler:
    """Answers searches of programs."""

    _access: Access
    _addresses: Addresses
    _search: SearchService
    _offload: SearchQueue
    _uploads: UploadHandler

    async def json(self, request: Request) -> Reply:
        """``/+search.json``, with ``query``, ``page`` and ``limit``."""
        caller = await self._access.principal(request)
        root = outside_url(request, self._addresses)
        page, limit = number(parameter(request, "page"), 1), number(parameter(request, "limit"), 10)
        offers, withholds = self._access.offers(), self._access.withholds()

        def find() -> Reply:
            """Blocking."""
            readable = readable_indexes(self._access.reader, caller)
            found = self._search.search(parameter(request, "query"), readable.__contains__, page, limit, offers)
            return result_reply("searchresult", page_json(without_withheld(found, withholds), root))

        return await self._offload(find)

    async def submit(self, request: Request, name: str) -> Reply:
        """``POST`` to an index: a call if it is XML, else an upload or a push."""
        content_type = (header(request, "content-type") or "").encode("latin-1")
        if not is_search_call(request.method, f"/{name}".encode(), content_type):
            return await self._uploads.submit(request, name)
        visibility = await self._access.visibility(request, name)
        order = [index.name for index in visibility.visible]
        return await self._offload(self._answer, kept_body(request), order, _offers(visibility.inheritance))

    def _answer(self, body: bytes, order: Sequence[str], offers: Offers) -> Reply:
        """Blocking."""
        try:
            call = read_call(body)
            if call.method != "search":
                raise Unsearchable(f"Unknown method '{call.method}'.")
            answer = write_answer(self._hits(expression_of(*call.parameters[:2]), order, offers))
        except (Unreadable, Unsearchable) as refusal:
            answer = write_fault(str(refusal))
        except TypeError:
            answer = write_fault("The parameters are a dictionary of what is searched, and an operator.")
        return Reply(200, ((b"Content-Type", _XML), length_of(answer), NO_STORE), answer)

    def _hits(self, expression: Expression, order: Sequence[str], offers: Offers) -> Json:
        hits = self._search.find(expression, order, _MOST_CALLED, offers)
        return [
            {
                "name": hit.name,
                "summary": f"[{hit.index}] {hit.summary}".strip(),
                "version": hit.version,
                "_pypi_ordering": float(len(hits) - place),
            }
            for place, hit in enumerate(hits)
        ]


def _offers(inheritance: Inheritance) -> Offers:
    """Return which projects of its mirrors are let in at an index."""
    mirrors = {index.name: index for index in inheritance.order if index.is_mirror and inheritance.allow_lists(index.name)}
    return lambda name, project: name not in mirrors or inheritance.lets_in(mirrors[name], project)


def expression_of(searched: Json, operator: Json = "and") -> Expression:
    """Return what the parameters of a call ask for; raise ``Unsearchable`` with the messages of devpi-web."""
    if not isinstance(searched, Mapping):
        raise TypeError
    if not set(searched) <= _SEARCHED:
        raise Unsearchable("Only 'name' and 'summary' allowed in query.")
    values = {key: [value] if isinstance(value, str) else value for key, value in searched.items()}
    if any(not isinstance(value, list | tuple) or len(value) != 1 for value in values.values()):
        raise Unsearchable("Only one value allowed for query.")
    if operator not in _OPERATORS:
        raise Unsearchable(f"Unknown operator '{operator}'.")
    found = tuple(Term(str(value[0]), PART if key == "name" else key) for key, value in values.items())
    first, rest = found[:1] or (Or(),), found[1:]
    match operator:
        case "and":
            return And(found) if found else Or()
        case "andnot":
            return And((*first, *map(Not, rest)))
        case "andmaybe":
            return Maybe(first[0], Or(rest)) if rest else first[0]
        case "not":
            return Not(Or(found))
    return Or(found)


def without_withheld(found: SearchPage, withholds: Withholds) -> SearchPage:
    """Return ``found`` without what documentation says that is not offered; ``withholds`` takes index, project and version."""

    def shown(hit: Hit) -> Hit:
        excerpts = (one for one in hit.excerpts if not (one.path and withholds(hit.index, hit.project, one.version)))
        return attrs.evolve(hit, excerpts=tuple(excerpts))

    return attrs.evolve(found, hits=tuple(map(shown, found.hits)))


def page_json(found: SearchPage, root: str) -> Json:
    """Return ``found`` for programs; ``root`` is the address of the server."""
    return {
        "query": found.query,
        "page": found.page,
        "pages": found.pages,
        "total": found.total,
        "complete": found.is_complete,
        "building": found.is_building,
        "items": [_hit_json(hit, root) for hit in found.hits],
    }


def _hit_json(hit: Hit, root: str) -> Json:
    return {
        "name": hit.name,
        "project": hit.project,
        "index": hit.index,
        "version": hit.version,
        "kind": hit.kind,
        "summary": hit.summary,
        "url": f"{root}/{hit.index}/{hit.project}",
        "indexes": [{"index": place.index, "version": place.version, "kind": place.kind} for place in hit.locations],
        "matches": [
            {"field": "name", "pieces": _pieces_json(hit.name_pieces)},
            {"field": "summary", "pieces": _pieces_json(hit.summary_pieces)},
            *(
                {"field": one.field, "pieces": _pieces_json(one.pieces), **({"path": one.path} if one.path else {})}
                for one in hit.excerpts
            ),
        ],
    }


def _pieces_json(pieces: Pieces) -> Json:
    return [{"text": piece.text, "match": piece.is_match} for piece in pieces]

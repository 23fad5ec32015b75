"""Requests to a server, the answers to them, and the record that rules judge."""

from __future__ import annotations

import enum
import string
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import SplitResult, urljoin, urlsplit

import attrs
import orjson

from twistpi.model.records import NOTHING, Json

Tell = Callable[[str, int, int], object]
"""Called with what is counted, how much of it is done, and the total."""


@attrs.frozen
class Question:
    """One request."""

    url: str
    """Absolute, without credentials."""
    method: str = "GET"
    headers: Mapping[str, str] = NOTHING
    most: int = 1 << 16
    """Bytes of the answer's body to read; the rest of a longer one is not fetched."""
    as_nobody: bool = False
    """Whether to leave out the credentials."""
    announced: int = 0
    """``Content-Length`` in bytes of a body of which only the beginning is sent; 0: there is no body."""


@attrs.frozen
class Exchange:
    """A request and its answer. ``exchange["ETag"]`` is a header: several are joined by commas, a missing one is empty."""

    question: Question
    status: int = 0
    """0 when no answer came."""
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    """As they came; a name may be repeated."""
    body: bytes = b""
    is_whole: bool = True
    """Whether ``body`` is complete."""
    kept_open: bool = True
    """Whether the server keeps the connection open."""
    failure: str = ""
    """Why no answer came."""

    def __getitem__(self, name: str) -> str:
        """Return the value of a header."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    @property
    def url(self) -> str:
        """The requested URL."""
        return self.question.url

    @property
    def asked(self) -> str:
        """Method, URL and headers of the request, for a sentence."""
        headers = ", ".join(f"{name}: {value}" for name, value in self.question.headers.items() if name != "Authorization")
        return f"{self.question.method} {self.url}{' with ' if headers else ''}{headers}"

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self["Content-Type"].partition(";")[0].strip().lower()

    @property
    def location(self) -> str:
        """The absolute URL of the ``Location`` header; the request's own without one."""
        return join(self.url, self["Location"])

    @property
    def json(self) -> Mapping[str, Json]:
        """The body as a JSON object; empty when it is none."""
        try:
            return as_object(orjson.loads(self.body))
        except orjson.JSONDecodeError:
            return {}

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def told(self) -> str:
        """The status with its reason, or why there is no answer, for a sentence."""
        return f"{self.status} {self.reason}".strip() if self.status else f"no answer ({self.failure})"


class Query(enum.Enum):
    """A template for one request: URL, method, ``Accept``, other headers, bytes of the body to read.

    ``{names}`` in the URL and in headers stand for facts that the survey learns; a query is asked as soon as all its facts are
    known. The header ``Authorization``, also an empty one, replaces the credentials.
    """

    def __init__(
        self, url: str, method: str = "GET", accept: str | None = None, others: Mapping[str, str] = NOTHING, most: int = 1 << 10
    ) -> None:
        self.url, self.method, self.most = url, method, most
        self.fields = dict(others) if accept is None else {"Accept": accept, **others}
        texts = (url, *self.fields.values())
        self.facts = frozenset(name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name)

    def question(self, facts: Mapping[str, str]) -> Question:
        """Return the request, with ``facts`` filled in."""
        headers = {name: filled for name, value in self.fields.items() if (filled := value.format_map(facts))}
        return Question(self.url.format_map(facts), self.method, headers, self.most, "Authorization" in self.fields)

    @property
    def missing(self) -> str:
        """The sentence to say when this could not be asked."""
        return "It could not be asked."


@attrs.define(eq=False)
class Survey:
    """Asks the queries of an enumeration and records the answers."""

    queries: type[Query]
    ask: Callable[[Question], Exchange]
    tell: Tell
    facts: dict[str, str] = attrs.field(factory=dict)
    got: dict[Query, Exchange] = attrs.field(factory=dict)

    def learn(self, **facts: str | None) -> None:
        """Note facts, None for an unknown one, and ask every query that has become possible."""
        self.facts.update({name: value for name, value in facts.items() if value is not None})
        for query in self.queries:
            if query not in self.got and query.facts <= self.facts.keys():
                self.put(query)

    def put(self, query: Query, **facts: str) -> Exchange:
        """Ask one query, again if need be, and record the answer."""
        self.facts.update(facts)
        self.got[query] = exchange = self.ask(query.question(self.facts))
        self.tell("questions", len(self.got), len(self.queries))
        return exchange


@attrs.frozen(auto_exc=True)
class NotAsked(Exception):
    """A query was not asked, because a fact that it needs did not become known."""

    query: Query


@attrs.frozen
class Record:
    """The answers of a survey."""

    got: Mapping[Query, Exchange]

    def __getitem__(self, query: Query) -> Exchange:
        """Return the answer to a query; raise ``NotAsked``."""
        if query not in self.got:
            raise NotAsked(query)
        return self.got[query]

    def of(self, queries: Iterable[Query]) -> list[Exchange]:
        """Return the answers to those of ``queries`` that were asked."""
        return [self.got[query] for query in queries if query in self.got]


def as_object(value: Json) -> Mapping[str, Json]:
    """Return a JSON object; an empty one for everything else."""
    return value if isinstance(value, dict) else {}


def split(url: str) -> SplitResult:
    """Return the parts of a URL; all are empty when it is malformed."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def join(base: str, url: str) -> str:
    """Resolve ``url`` against ``base``; empty when it is malformed."""
    try:
        return urljoin(base, url)
    except ValueError:
        return ""

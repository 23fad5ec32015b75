"""Asking a server through the address that its users have, as somebody without a login."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import attrs

from twistpi.cli.checking_index.recording import JSON, join, names_in
from twistpi.cli.doctoring.facts import Machine, Outside, Visit
from twistpi.cli.exchanges import Exchange, Question
from twistpi.model.records import NOTHING

STRANGER = "twistpi-doctor.invalid"
"""A host that must not appear in any answer."""
_PROJECTS = ("six", "packaging", "requests", "pip")
_LARGE = 1 << 30
_PAGE = 32 << 20
_MOST_INDEXES = 6
_NOWHERE = "twistpi-doctor"
_SPOOFED: Mapping[str, str] = {
    "X-Outside-Url": f"http://{STRANGER}",
    "X-Forwarded-Host": STRANGER,
    "X-Forwarded-Proto": "gopher",
    "Forwarded": f"host={STRANGER}",
}


class Asking(Protocol):
    """What a visitor asks with."""

    def ask(self, question: Question) -> Exchange:
        """One question."""

    def announce(self, question: Question, length: int) -> Exchange:
        """The head of a request whose body of so many bytes never comes; silence is an answer too."""

    def certificate_ends(self, url: str) -> float | None:
        """When the certificate of ``url`` ends; None where there is none that is accepted."""


@attrs.define(eq=False)
class Visitor:
    """Visits a server; ``visit`` is all there is to it."""

    _asking: Asking
    _now: Callable[[], float]
    _tell: Callable[[str, int, int], object]
    _got: dict[Visit, Exchange] = attrs.field(factory=dict)

    def visit(self, url: str, machine: Machine | None) -> Outside:
        """Everything that can be seen at ``url``; with ``machine``, knowing what is kept there."""
        url = url.rstrip("/")
        api = self._put(Visit.API, f"{url}/+api", Accept="application/json")
        asked_at = self._now()
        length = machine.max_upload_size if machine is not None else _LARGE
        if api.status:
            self._put(Visit.READY, f"{url}/+ready", Accept="application/json")
            self._put(Visit.STATUS, f"{url}/+status", Accept="application/json")
            self._put(Visit.SPOOFED, f"{url}/+api", more=_SPOOFED, Accept="application/json")
            self._put(Visit.PUSH, f"{url}/root/{_NOWHERE}", method="PUSH", Accept="application/json")
            self._note(Visit.UPLOAD, self._asking.announce(_upload(f"{url}/root/pypi"), length))
            self._look_at_files(url, machine)
            self._look_at_secrets(url, machine)
        self._tell("questions", len(Visit), len(Visit))
        return Outside(url, self._got, asked_at, length, self._asking.certificate_ends(f"{url}/"))

    def _look_at_files(self, url: str, machine: Machine | None) -> None:
        """A page, and the first file it links to."""
        for index, project in self._candidates(url, machine):
            page = self._asking.ask(Question(f"{url}/{index}/+simple/{project}/", headers={"Accept": JSON}, most=_PAGE))
            files = page.json.get("files")
            if page.status != 200 or not isinstance(files, list) or not files:
                continue
            self._note(Visit.PAGE, page)
            self._put(Visit.PAGE_GZIPPED, page.question.url, method="HEAD", Accept=JSON, Accept_Encoding="gzip")
            address = join(page.question.url, str(files[0].get("url", "")) if isinstance(files[0], dict) else "").partition("#")[
                0
            ]
            if address.startswith(("http://", "https://")):
                self._put(Visit.FILE_HEAD, address, method="HEAD")
                self._put(Visit.FILE_RANGE, address, Range="bytes=0-9")
            return

    def _candidates(self, url: str, machine: Machine | None) -> Iterator[tuple[str, str]]:
        """Indexes and projects that are worth a look; what is kept here already, first."""
        if machine is not None and machine.cached is not None:
            yield machine.cached
        indexes = list(_indexes(self._asking.ask(Question(f"{url}/", headers={"Accept": "application/json"}, most=_PAGE))))
        for name, kind in indexes[:_MOST_INDEXES]:
            if kind == "stage":
                listing = self._asking.ask(Question(f"{url}/{name}/+simple/", headers={"Accept": JSON}))
                yield from ((name, project) for project in list(names_in(listing.body.decode("utf-8", "replace")))[:2])
        for name, kind in indexes[:_MOST_INDEXES]:
            if kind == "mirror":
                yield from ((name, project) for project in _PROJECTS)

    def _look_at_secrets(self, url: str, machine: Machine | None) -> None:
        if machine is not None and machine.secluded is not None:
            self._put(Visit.PROTECTED, f"{url}/{machine.secluded.index}/{machine.secluded.path}")
            self._put(Visit.TREE, f"{url}/{machine.secluded.blob}")

    def _put(self, visit: Visit, url: str, method: str = "GET", more: Mapping[str, str] = NOTHING, **headers: str) -> Exchange:
        """Ask, and note it; headers have names with underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        body = b"{}" if method == "PUSH" else None
        return self._note(visit, self._asking.ask(Question(url, method, {**fields, **more}, body)))

    def _note(self, visit: Visit, exchange: Exchange) -> Exchange:
        self._got[visit] = exchange
        self._tell("questions", len(self._got), len(Visit))
        return exchange


def _upload(url: str) -> Question:
    headers = {"Content-Type": "multipart/form-data; boundary=twistpi-doctor", "Accept": "application/json"}
    return Question(url, "POST", headers)


def _indexes(users: Exchange) -> Iterator[tuple[str, str]]:
    """Name and type of each index that everybody may know of."""
    result = users.json.get("result")
    for user, facts in result.items() if isinstance(result, dict) else ():
        indexes: Any = facts.get("indexes") if isinstance(facts, dict) else None
        for name, config in indexes.items() if isinstance(indexes, dict) else ():
            if isinstance(config, dict):
                yield f"{user}/{name}", str(config.get("type"))

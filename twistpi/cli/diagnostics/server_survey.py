"""What doctor asks a server through the address that its users have: some dozen requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs

from twistpi.auth.tokens import SCHEME
from twistpi.cli.diagnostics.index_survey import JSON, KNOWN_PROJECTS, LARGE, names_in
from twistpi.cli.diagnostics.machine import Machine
from twistpi.cli.diagnostics.survey import Exchange, Query, Survey, as_object, join
from twistpi.model.records import Json

STRANGER = "twistpi-doctor.invalid"
"""A host that no answer may contain."""
OURS = "X-Devpi-Api-Version"
"""A header of every answer that the server itself gave."""
_ANY = {"Accept": "application/json"}
_SPOOFED = {
    **_ANY,
    "X-Outside-Url": f"http://{STRANGER}",
    "X-Forwarded-Host": STRANGER,
    "X-Forwarded-Proto": "gopher",
    "Forwarded": f"host={STRANGER}",
}
_MOST_INDEXES = 6
API, SPOOFED = Query("{url}/+api", headers=_ANY, most=1 << 16), Query("{url}/+api", headers=_SPOOFED)
READY, STATUS = Query("{url}/+ready", headers=_ANY, most=1 << 16), Query("{url}/+status", headers=_ANY, most=1 << 20)
PEER = Query("{url}/+peer", headers={**_ANY, "Authorization": f"{SCHEME} doctor"})
"""The server says whether this login, which is none, is malformed or missing."""
PUSH = Query("{url}/root/twistpi-doctor", "PUSH", _ANY)
PAGE = Query("{page}", headers={"Accept": JSON}, most=LARGE)
PAGE_GZIPPED = Query("{page}", "HEAD", {"Accept": JSON, "Accept-Encoding": "gzip"})
FILE_HEAD, FILE_RANGE = Query("{file}", "HEAD"), Query("{file}", headers={"Range": "bytes=0-9"})
PROTECTED, BLOB = (Query(f"{{{one}}}", headers={"Authorization": ""}) for one in ("protected", "blob"))
_NO_FILES = "There is no page with files yet. Install something through the server, then ask again."
_REASONS = dict.fromkeys(("page", "file", "protected", "blob"), _NO_FILES)


@attrs.define(eq=False)
class Site(Survey):
    """A server at its public address."""

    url: str
    """Without a slash at the end."""
    machine: Machine | None = None
    """What was seen on this machine, if the server's directory is here."""
    asked_at: float = 0.0
    """Unix time in seconds by this machine's clock, when ``API`` was answered."""
    certificate_days: float | None = None
    """How long the certificate is still good; None without one that is accepted."""
    has_login: bool = False
    """Whether the address has a login."""

    @property
    def status(self) -> Mapping[str, Json]:
        """What the server says of itself; empty when it says nothing."""
        return as_object(self[STATUS].json.get("result"))

    @property
    def version(self) -> str | None:
        """The version of twistpi that answers; None when it is not known."""
        return as_object(self.status.get("versioninfo")).get("twistpi")

    @property
    def upload(self) -> Query:
        """An upload as large as the server accepts."""
        length = self.machine.settings.max_upload_size if self.machine is not None else 1 << 30
        headers = {**_ANY, "Content-Type": "multipart/form-data; boundary=twistpi-doctor"}
        return Query("{url}/root/pypi", "POST", headers, announced=length)


def survey_server(ask: Callable[[Query], Exchange], now: Callable[[], float], url: str, machine: Machine | None = None) -> Site:
    """Ask the server at ``url`` for a page, and for the first file it links to."""
    site = Site(ask, _REASONS, url.rstrip("/"), machine)
    site.put(API, url=site.url)
    site.asked_at = now()
    if machine is not None and (file := machine.protected) is not None:
        site.facts.update(protected=f"{site.url}/{file.index}/{file.path}", blob=f"{site.url}/{file.blob}")
    for index, project in _candidates(site) if site[API].status else ():
        page = site.put(PAGE, page=f"{site.url}/{index}/+simple/{project}/")
        files = page.json.get("files")
        if page.status == 200 and isinstance(files, list) and files:
            address = join(page.url, str(as_object(files[0]).get("url", ""))).partition("#")[0]
            site.facts.update({"file": address} if address.startswith(("http://", "https://")) else {})
            return site
    site.facts.pop("page", None)
    site.got.pop(PAGE, None)
    return site


def _candidates(site: Site) -> Iterator[tuple[str, str]]:
    """Yield indexes and projects that are worth a look, first what is stored here."""
    if site.machine is not None and site.machine.cached is not None:
        yield site.machine.cached
    users = as_object(site.ask(Query(f"{site.url}/", headers=_ANY, most=LARGE)).json.get("result"))
    indexes = {f"{user}/{name}": one for user in users for name, one in as_object(as_object(users[user]).get("indexes")).items()}
    kinds = [(name, as_object(config).get("type")) for name, config in indexes.items()][:_MOST_INDEXES]
    for index in (name for name, kind in kinds if kind == "stage"):
        listing = site.ask(Query(f"{site.url}/{index}/+simple/", headers={"Accept": JSON}))
        yield from ((index, project) for project in list(names_in(listing.text))[:2])
    yield from ((name, project) for name, kind in kinds if kind == "mirror" for project in KNOWN_PROJECTS)

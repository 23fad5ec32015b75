"""Ask a server through the address that its users have, as somebody without a login."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs

from twistpi.cli.diagnostics.index_survey import GET, HEAD, JSON, KNOWN_PROJECTS, LARGE, names_in
from twistpi.cli.diagnostics.machine import Machine
from twistpi.cli.diagnostics.survey import Exchange, Query, Question, Record, Survey, Tell, as_object, join
from twistpi.model.records import NOTHING, Json

STRANGER = "twistpi-doctor.invalid"
"""A host that no answer may contain."""
_ANY = "application/json"
_API = "{url}/+api"
_SPOOFED = {
    "X-Outside-Url": f"http://{STRANGER}",
    "X-Forwarded-Host": STRANGER,
    "X-Forwarded-Proto": "gopher",
    "Forwarded": f"host={STRANGER}",
}
_UPLOAD = {"Content-Type": "multipart/form-data; boundary=twistpi-doctor", "Accept": _ANY}
_MOST_INDEXES = 6


class Visit(Query):
    """Every query of ``doctor``: URL, method, ``Accept``, other headers, bytes to read."""

    API = _API, GET, _ANY, NOTHING, 1 << 16
    UPLOAD = "{url}/root/pypi", "POST"
    READY = "{url}/+ready", GET, _ANY, NOTHING, 1 << 16
    STATUS = "{url}/+status", GET, _ANY, NOTHING, 1 << 20
    SPOOFED = _API, GET, _ANY, _SPOOFED
    OTHER_LOGIN = _API, GET, _ANY, {"Authorization": "", "X-Devpi-Auth": "{login}"}
    PUSH = "{url}/root/twistpi-doctor", "PUSH", _ANY
    PAGE = "{page}", GET, JSON, NOTHING, LARGE
    PAGE_GZIPPED = "{page}", HEAD, JSON, {"Accept-Encoding": "gzip"}
    FILE_HEAD = "{file}", HEAD
    FILE_RANGE = "{file}", GET, None, {"Range": "bytes=0-9"}
    PROTECTED = "{protected}", GET, None, {"Authorization": ""}
    BLOB = "{blob}", GET, None, {"Authorization": ""}

    @property
    def missing(self) -> str:
        """The sentence to say when this could not be asked."""
        return "There is no page with files yet. Install something through the server, then ask again."


@attrs.frozen
class Site(Record):
    """What was seen through the public address."""

    url: str
    """Without a slash at the end."""
    asked_at: float = 0.0
    """Unix time in seconds by this machine's clock, when ``Visit.API`` was answered."""
    upload_length: int = 0
    """Bytes that the large upload announced."""
    certificate_days: float | None = None
    """How long the certificate is still good; None without one that is accepted."""
    machine: Machine | None = None
    """What was seen on this machine, if the server's directory is here."""

    @property
    def status(self) -> Mapping[str, Json]:
        """What the server says of itself; empty when it says nothing."""
        return as_object(self[Visit.STATUS].json.get("result"))

    @property
    def version(self) -> str | None:
        """The version of twistpi that answers; None when it is not known."""
        return as_object(self.status.get("versioninfo")).get("twistpi")


def survey_server(
    ask: Callable[[Question], Exchange],
    now: Callable[[], float],
    tell: Tell,
    url: str,
    machine: Machine | None = None,
    login: str | None = None,
) -> Site:
    """Ask the server at ``url``; ``login`` is the ``Authorization`` that ``ask`` sends, if any."""
    url, survey = url.rstrip("/"), Survey(Visit, ask, tell)
    length = machine.settings.max_upload_size if machine is not None else 1 << 30
    survey.put(Visit.API, url=url)
    asked_at = now()
    if survey.got[Visit.API].status:
        survey.got[Visit.UPLOAD] = ask(Question(f"{url}/root/pypi", "POST", _UPLOAD, announced=length))
        survey.learn(login=login.removeprefix("Basic ") if login else None)
        _look_at_files(survey, url, machine)
        if machine is not None and (file := machine.protected) is not None:
            survey.learn(protected=f"{url}/{file.index}/{file.path}", blob=f"{url}/{file.blob}")
    tell("questions", len(Visit), len(Visit))
    return Site(survey.got, url, asked_at, length, None, machine)


def _look_at_files(survey: Survey, url: str, machine: Machine | None) -> None:
    """Ask for a page, and for the first file it links to."""
    for index, project in _candidates(survey.ask, url, machine):
        page = survey.put(Visit.PAGE, page=f"{url}/{index}/+simple/{project}/")
        files = page.json.get("files")
        if page.status == 200 and isinstance(files, list) and files:
            address = join(page.url, str(as_object(files[0]).get("url", ""))).partition("#")[0]
            survey.learn(file=address if address.startswith(("http://", "https://")) else None)
            return
        del survey.got[Visit.PAGE], survey.facts["page"]


def _candidates(ask: Callable[[Question], Exchange], url: str, machine: Machine | None) -> Iterator[tuple[str, str]]:
    """Yield indexes and projects that are worth a look, first what is stored here."""
    if machine is not None and machine.cached is not None:
        yield machine.cached
    users = as_object(ask(Question(f"{url}/", headers={"Accept": _ANY}, most=LARGE)).json.get("result"))
    indexes = {f"{user}/{name}": one for user in users for name, one in as_object(as_object(users[user]).get("indexes")).items()}
    kinds = [(name, as_object(config).get("type")) for name, config in indexes.items()][:_MOST_INDEXES]
    for index in (name for name, kind in kinds if kind == "stage"):
        listing = ask(Question(f"{url}/{index}/+simple/", headers={"Accept": JSON}))
        yield from ((index, project) for project in list(names_in(listing.text))[:2])
    yield from ((name, project) for name, kind in kinds if kind == "mirror" for project in KNOWN_PROJECTS)

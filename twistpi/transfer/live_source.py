"""A running devpi-server 6 or 7 as a source, over HTTP with an administrator's login: ``twistpi import --live URL``.

What devpi-server does not tell over HTTP is not taken: password hashes, and what its mirrors have cached.  Memory holds users,
indexes, the releases of twenty projects, and sixteen bytes of each file.

Nothing but the serial of the whole server tells cheaply that something changed, so each look asks once for every project.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import attrs
import orjson

from twistpi.blobs.address import path_address
from twistpi.http.blocking import BlockingClient
from twistpi.http.errors import RequestFailed
from twistpi.model.errors import BadRequest
from twistpi.model.names import check_filename
from twistpi.model.records import Json
from twistpi.model.releases import DOCZIP, TOXRESULT
from twistpi.transfer.devpi_records import own_rule_allows, read_hashes, read_index, read_log, read_release, read_user
from twistpi.transfer.records import FILE, FileRecord, IndexRecord, Item, ReleaseRecord, Remark
from twistpi.transfer.source_memory import SourceMemory
from twistpi.transfer.web_reader import WebReader

_KINDS: Final = {"releasefile": FILE, TOXRESULT: TOXRESULT, DOCZIP: DOCZIP}
_LARGEST: Final = 512 * 1024 * 1024
"""Bytes of an answer."""
_AT_ONCE: Final = 20
"""Projects whose releases, and then whose files, are taken together: each group costs entries of its own."""


_LOGIN_LASTS: Final = 3600.0
"""Seconds after which a new login is made: those of devpi-server last ten hours."""


@attrs.define(eq=False)
class LiveSource:
    """Yields what a running devpi-server tells, from the second time on what changed since; see ``Source``.

    Raise ``BadRequest`` for what is no devpi-server.
    """

    _log_in: Callable[[], WebReader]
    """Logs an administrator in, who may read every index."""
    _url: str
    """Without a slash at the end."""
    _seconds: Callable[[], float]
    """A steady clock."""
    memory: SourceMemory = attrs.field(factory=SourceMemory, init=False)
    _login: tuple[WebReader, float] | None = attrs.field(default=None, init=False)
    """With the time at which it was made."""

    def serial(self) -> str:
        """Return what is another text after every change; raise ``BadRequest`` when none is told."""
        with self._web().open(f"{self._url}/+api", "application/json") as answer:
            if answer.status != 200 or not answer.serial:
                raise BadRequest(f"{self._url}/+api answered {answer.status}, and no X-Devpi-Serial")
            return answer.serial

    def _web(self) -> WebReader:
        if self._login is None or self._seconds() > self._login[1] + _LOGIN_LASTS:
            self._login = self._log_in(), self._seconds()
        return self._login[0]

    def totals(self) -> Mapping[str, int]:
        """See ``Source``: nothing is known before it is read."""
        return {}

    def items(self) -> Iterator[Item]:
        """See ``Source``."""
        users = self._ask("/")
        if not all(isinstance(user, dict) for user in users.values()):
            raise BadRequest(f"{self._url} is no devpi-server: its list of users is none")
        for name, user in users.items():
            yield from self._user(name, user)
        subjects = {f"user {name}" for name in users}
        for name, user in users.items():
            for index, config in (user.get("indexes") or {}).items():
                subjects.add(f"index {name}/{index}")
                remarks: list[Remark] = []
                try:
                    record = read_index(f"{name}/{index}", config, self._allowed(f"{name}/{index}", config), remarks)
                except BadRequest as refusal:
                    yield Remark(f"index {name}/{index}", str(refusal), kind="indexes")
                    continue
                if (told := self.memory.settings(record)) is not None:
                    yield told
                    yield from remarks
                if record.config["type"] == "stage":
                    yield from self._stage(record)
        for subject in self.memory.all_told(subjects):
            text = "is no more there, and stays here: delete it when the old server is gone"
            yield Remark(subject, text, is_loss=False)

    def _user(self, name: str, user: Mapping[str, Json]) -> Iterator[Item]:
        remarks: list[Remark] = []
        try:
            told = self.memory.settings(read_user(name, {**user, "indexes": None}, remarks))
        except BadRequest as refusal:
            yield Remark(f"user {name}", str(refusal), kind="users")
            return
        if told is None:
            return
        yield told
        yield from remarks
        if told.former is not None:
            return
        text = f"the password is not told over HTTP: set one with twistpi passwd {name}, unless that was done"
        yield Remark(f"user {name}", text, is_loss=False)

    def _allowed(self, index: str, config: Json) -> list[str]:
        """Return the projects of an index of 7 that mirrors may add to, by their own rule."""
        if config.get("type") != "local":
            return []
        projects = self._ask(f"/{index}").get("projects") or []
        settings = ((name, self._ask(f"/{index}/{quote(name)}?v=2").get("config")) for name in projects)
        return [name for name, one in settings if own_rule_allows(one)]

    def _stage(self, index: IndexRecord) -> Iterator[Item]:
        projects = [str(project) for project in self._ask(f"/{index.name}").get("projects") or []]
        yield from self.memory.vanished(index.name, projects)
        for start in range(0, len(projects), _AT_ONCE):
            files: dict[str, list[FileRecord]] = {FILE: [], TOXRESULT: [], DOCZIP: []}
            for project in projects[start : start + _AT_ONCE]:
                yield from self._project(index.name, project, files)
            for kind in (FILE, TOXRESULT, DOCZIP):
                yield from files[kind]

    def _project(self, index: str, project: str, files: Mapping[str, list[FileRecord]]) -> Iterator[Item]:
        """Yield what of a project is gone, and its releases, and gather its ``files``; nothing where it is as it was."""
        subject, path = f"{index} {project}", f"/{index}/{quote(project)}?ignore_bases="
        try:
            body = self._read(path)
            if self.memory.knows_answer(index, project, body):
                return
            versions = self._result(path, body)
        except BadRequest as refusal:
            yield Remark(subject, str(refusal))
            return
        releases: list[ReleaseRecord] = []
        found: list[FileRecord] = []
        for version, value in versions.items():
            try:
                release = read_release(index, project, version, value)
            except BadRequest as refusal:
                yield Remark(f"{subject} {version}", str(refusal), kind="releases")
                continue
            releases.append(release)
            for link in value.get("+links") or ():
                try:
                    found.append(self._file(release, link))
                except BadRequest as refusal:
                    yield Remark(f"{subject} {version}", str(refusal), kind="files")
        yield from self.memory.removals(index, project, releases, found)
        yield from releases
        for file in found:
            files[file.kind].append(file)

    def _file(self, release: ReleaseRecord, link: Json) -> FileRecord:
        rel, href = link.get("rel"), link.get("href")
        if rel not in _KINDS or not isinstance(href, str):
            raise BadRequest(f"a link of the unknown kind {rel!r}")
        path = unquote(urlsplit(href).path).partition(f"/{release.index}/")[2]
        try:
            path_address(path)
        except ValueError:
            raise BadRequest(f"the address of a file is {href!r}") from None
        about = link.get("for_href")
        log = read_log(link.get("log") or [], release.index)
        return FileRecord(
            _KINDS[rel],
            release.index,
            release.project,
            release.version,
            check_filename(path.rpartition("/")[2]),
            partial(self._web().open_file, href),
            read_hashes(link),
            uploaded_at=log[-1].when if log else None,
            log=log,
            for_filename=None if rel != TOXRESULT else unquote(str(about)).rpartition("/")[2],
            path=path,
        )

    def _ask(self, path: str) -> Mapping[str, Json]:
        """Return the ``result`` of an answer."""
        return self._result(path, self._read(path))

    def _read(self, path: str) -> bytes:
        return self._web().read(self._url + path, "application/json", _LARGEST)[0]

    def _result(self, path: str, body: bytes) -> Mapping[str, Json]:
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"{self._url}{path} answered something that is no JSON") from error
        result = content.get("result") if isinstance(content, dict) else None
        if not isinstance(result, dict):
            raise BadRequest(f"{self._url}{path} answered something else than devpi-server does")
        return result


def login(client: BlockingClient, url: str, user: str, password: str) -> Mapping[str, str]:
    """Return the headers that prove a login at ``url``; raise ``BadRequest`` when it is refused."""
    body, kind = orjson.dumps({"user": user, "password": password}), {"Content-Type": "application/json"}
    try:
        response = client.request("POST", f"{url}/+login", headers={**kind, "Accept": "application/json"}, body=body)
    except RequestFailed as failed:
        raise BadRequest(f"{url} cannot be reached: {failed.reason}") from failed
    match response.json:
        case {"result": {"password": str(token)}} if response.status == 200:
            return {"X-Devpi-Auth": b64encode(f"{user}:{token}".encode()).decode("ascii")}
    raise BadRequest(f"{url} refuses the login of {user}: {response.message}")

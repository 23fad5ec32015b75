"""An export of devpi-server as a source: the folder with ``dataindex.json``, in the versions 1, 2 and 3.

The document is read once for users and indexes, and once each for releases, distributions and attachments, so that each is there
before what belongs to it, whatever their order.  Memory holds users, indexes, and of the releases of mirrors that are yanked or
need a certain Python a few bytes each.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Final

import attrs
import orjson

from twistpi.auth.passwords import BLANK, is_argon2_hash, is_password_hash
from twistpi.model.errors import BadRequest
from twistpi.model.names import check_filename, normalize_project
from twistpi.model.records import Json
from twistpi.model.releases import DOCZIP, TOXRESULT
from twistpi.simple.fields import clean_upload_time
from twistpi.transfer.devpi_records import (
    own_rule_allows,
    read_hashes,
    read_index,
    read_log,
    read_release,
    read_time,
    read_user,
    read_yanked,
)
from twistpi.transfer.json_stream import ITEM, Path, stream_json
from twistpi.transfer.records import FILE, FileRecord, IndexRecord, Item, Remark

DATA: Final = "dataindex.json"
OWN: Final = "twistpi.json"
"""What an export of twistpi has beside it: password hashes and settings that devpi-server does not know."""
OWN_KEY: Final = "twistpi"
"""The same in the entry of a file."""
KNOWN: Final = ("1", "2", "3")
_TYPES: Final = {"releasefile": FILE, TOXRESULT: TOXRESULT, DOCZIP: DOCZIP}
_COUNTED: Final = {FILE: "files", "": "files", TOXRESULT: "test results", DOCZIP: "documentation"}
_LARGEST_OWN: Final = 64 * 1024 * 1024
"""Bytes of ``twistpi.json``."""


@attrs.define(eq=False)
class DumpSource:
    """Yields what is in an export; see ``Source``.  Raise ``BadRequest`` for a folder that is none."""

    _folder: str
    _version: str = attrs.field(default="", init=False)
    _users: dict[str, Json] = attrs.field(factory=dict, init=False)
    _configs: dict[str, Json] = attrs.field(factory=dict, init=False)
    _allowed: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    """Projects of an index that mirrors may add to, by their own rule."""
    _totals: Counter[str] = attrs.field(factory=Counter, init=False)
    _indexes: dict[str, IndexRecord] = attrs.field(factory=dict, init=False)
    _of_mirrors: dict[tuple[str, str, str], tuple[str | None, bool | str]] = attrs.field(factory=dict, init=False)
    """``Requires-Python`` and yank of the releases of mirrors."""
    _own: Mapping[str, Mapping[str, Json]] = attrs.field(factory=dict, init=False)

    def totals(self) -> Mapping[str, int]:
        """See ``Source``."""
        self._survey()
        return self._totals

    def items(self) -> Iterator[Item]:
        """See ``Source``."""
        self._survey()
        yield from self._user_items()
        yield from self._index_items()
        yield from self._releases()
        yield from self._files((FILE, ""))
        if self._totals["test results"] or self._totals["documentation"]:
            yield from self._files((TOXRESULT, DOCZIP))

    def _survey(self) -> None:
        """Read users and indexes, and count the rest."""
        if self._version:
            return

        def is_wanted(path: Path) -> bool:
            match path:
                case ("indexes", index):
                    self._configs.setdefault(index, None)
                case ("indexes", _, "projects", _, part) if part not in ("config", "versions"):
                    self._totals["releases"] += 1
                case ("indexes", _, "projects", _, "versions", _):
                    self._totals["releases"] += 1
            match path:
                case ("dumpversion",) | ("users", _) | ("indexes", _, "indexconfig") | ("indexes", _, "projects", _, "config"):
                    return True
                case ("indexes", _, "files", _, "type"):
                    return True
            return False

        version = None
        for path, value in self._stream(is_wanted):
            match path:
                case ("dumpversion",):
                    version = str(value)
                case ("users", name):
                    self._users[name] = value
                case ("indexes", index, "indexconfig"):
                    self._configs[index] = value
                case ("indexes", _, "files", _, "type"):
                    self._totals[_COUNTED[_kind(value)]] += 1
                case ("indexes", index, "projects", project, "config") if own_rule_allows(value):
                    self._allowed.setdefault(index, []).append(project)
        if version not in KNOWN:
            says = (
                "it has no dumpversion"
                if version is None
                else f"its dump version is {version}, and {KNOWN[-1]} is the newest known"
            )
            raise BadRequest(f"{self._folder} is no export of devpi-server that can be imported: {says}")
        self._own = self._read_own()
        self._version = version

    def _user_items(self) -> Iterator[Item]:
        for name, value in self._users.items():
            remarks: list[Remark] = []
            try:
                user = read_user(name, value, remarks)
            except BadRequest as refusal:
                yield Remark(f"user {name}", str(refusal), kind="users")
                continue
            own = self._own.get("users", {}).get(name)
            if isinstance(own, str) and (own == BLANK or is_password_hash(own) or is_argon2_hash(own)):
                user = attrs.evolve(user, password_hash=own)
            yield user
            yield from remarks

    def _index_items(self) -> Iterator[Item]:
        for name, value in self._configs.items():
            remarks: list[Remark] = []
            own = self._own.get("indexes", {}).get(name)
            try:
                if name.partition("/")[0] not in self._users:
                    raise BadRequest("its user is not in the export")
                self._indexes[name] = read_index(name, value if own is None else own, self._allowed.get(name, ()), remarks)
            except BadRequest as refusal:
                remarks.append(Remark(f"index {name}", str(refusal), kind="indexes"))
            yield from remarks
        yield from _bases_first(self._indexes)

    def _releases(self) -> Iterator[Item]:
        """Yield the releases of private indexes; note what is said of those of mirrors."""
        length, between = (6, "versions") if self._version == "3" else (5, None)

        def is_wanted(path: Path) -> bool:
            return len(path) == length and path[0] == "indexes" and path[2] == "projects" and between in (None, path[4])

        for path, value in self._stream(is_wanted):
            index, project, version = path[1], path[3], path[-1]
            try:
                release = read_release(index, project, version, value)
                known = self._indexes.get(index)
                if known is None:
                    raise BadRequest("its index is not taken")
                yanked = read_yanked(release.metadata.get("yanked", False))
            except BadRequest as refusal:
                yield Remark(f"{index} {project} {version}", str(refusal), kind="releases")
                continue
            if known.config["type"] != "mirror":
                yield release
                continue
            requires = release.metadata.get("requires_python")
            if requires or yanked is not False:
                self._of_mirrors[index, release.project, version] = requires, yanked

    def _files(self, kinds: Sequence[str]) -> Iterator[Item]:
        def is_wanted(path: Path) -> bool:
            return len(path) == 4 and path[0] == "indexes" and path[2:] == ("files", ITEM)

        for path, value in self._stream(is_wanted):
            index = path[1]
            entry = value if isinstance(value, dict) else {}
            kind = _kind(entry.get("type"))
            if kind not in kinds:
                continue
            try:
                yield self._file(index, kind, entry)
            except BadRequest as refusal:
                subject = f"{index} {entry.get('relpath') or 'a file'}"
                yield Remark(subject, str(refusal), kind=_COUNTED[kind])

    def _file(self, index: str, kind: str, entry: Mapping[str, Json]) -> FileRecord:
        if not kind:
            raise BadRequest(f"it is of the unknown type {entry.get('type')!r}")
        known = self._indexes.get(index)
        if known is None:
            raise BadRequest("its index is not taken")
        given = [entry.get(key) for key in ("projectname", "version", "relpath")]
        mapping, own = entry.get("entrymapping") or {}, entry.get(OWN_KEY) or {}
        if (
            not all(isinstance(text, str) and text for text in given)
            or not isinstance(mapping, dict)
            or not isinstance(own, dict)
        ):
            raise BadRequest("its entry does not name a project, a version and a path")
        project, version, relpath = normalize_project(str(given[0])), str(given[1]), str(given[2])
        about, size, url = entry.get("for_entrypath"), mapping.get("size"), mapping.get("url")
        if kind == TOXRESULT and not isinstance(about, str):
            raise BadRequest("it does not name the tested file")
        if known.config["type"] == "mirror" and not isinstance(url, str):
            raise BadRequest("it is a mirror's, but has no address upstream")
        when = mapping.get("last_modified")
        requires, yanked = self._of_mirrors.get((index, project, version), (None, read_yanked(own.get("yanked", False))))
        told = {key: own[key] for key in ("upload_time", "requires_python") if isinstance(own.get(key), str)}
        return FileRecord(
            kind,
            index,
            project,
            version,
            check_filename(relpath.replace("\\", "/").rpartition("/")[2]),
            partial(self._open, relpath),
            read_hashes(mapping),
            size if isinstance(size, int) else None,
            clean_upload_time(told.get("upload_time")) or (read_time(when) if when else None),
            read_log(entry.get("log") or [], index),
            None if about is None else check_filename(about.rpartition("/")[2]),
            url if known.config["type"] == "mirror" else None,
            told.get("requires_python", requires),
            yanked,
        )

    @contextmanager
    def _open(self, relpath: str) -> Iterator[BinaryIO]:
        """Open a file of the folder; raise ``BadRequest`` when it is not there, or changes while it is read."""
        root = os.path.realpath(self._folder)
        path = os.path.realpath(os.path.join(root, relpath))
        if os.path.isabs(relpath) or "\0" in relpath or os.path.commonpath([root, path]) != root:
            raise BadRequest(f"its path {relpath!r} leads out of the folder")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise BadRequest(f"{relpath} cannot be read: {error.strerror}") from error
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            os.close(descriptor)
            raise BadRequest(f"{relpath} is no file")
        with os.fdopen(descriptor, "rb") as file:
            yield file
            after = os.fstat(descriptor)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise BadRequest(f"{relpath} changed while it was read")

    def _stream(self, is_wanted: Callable[[Path], bool]) -> Iterator[tuple[Path, Json]]:
        path = os.path.join(self._folder, DATA)
        try:
            with open(path, "rb") as file:
                yield from stream_json(file, is_wanted)
        except FileNotFoundError:
            text = f"{self._folder} is no export of devpi-server: it has no {DATA}, which devpi-export writes last"
            raise BadRequest(text) from None
        except BadRequest as refusal:
            raise BadRequest(f"{path}: {refusal}") from refusal

    def _read_own(self) -> Mapping[str, Mapping[str, Json]]:
        path = os.path.join(self._folder, OWN)
        try:
            with open(path, "rb") as file:
                content = orjson.loads(file.read(_LARGEST_OWN))
        except FileNotFoundError:
            return {}
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"{path}: it is no JSON: {error}") from error
        if not isinstance(content, dict) or not all(isinstance(part, dict) for part in content.values()):
            raise BadRequest(f"{path}: it holds no JSON objects")
        return content


def _kind(given: Json) -> str:
    """Return the kind of a record, empty for an unknown one."""
    return _TYPES.get(given, "") if isinstance(given, str) else ""


def _bases_first(indexes: Mapping[str, IndexRecord]) -> Iterator[Item]:
    """Yield indexes behind their bases, as far as these do not form a circle; note bases that are not there."""
    done: set[str] = set()
    for start in indexes:
        waiting = [start]
        while waiting:
            name = waiting[-1]
            bases = [base for base in indexes[name].config.get("bases", ()) if base in indexes]
            missing = [base for base in bases if base not in done and base not in waiting]
            if missing:
                waiting += missing[:1]
                continue
            waiting.pop()
            if name not in done:
                done.add(name)
                yield indexes[name]
        lost = [base for base in indexes[start].config.get("bases", ()) if base not in indexes]
        if lost:
            yield Remark(f"index {start}", f"it inherits from {', '.join(lost)}, which the export does not have", is_loss=False)

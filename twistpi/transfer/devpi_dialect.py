"""How an export is written for devpi-server 6 (version 2 of the format) and 7 (version 3).  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Final

import attrs
import orjson

from twistpi.auth.passwords import BLANK, is_argon2_hash
from twistpi.model.records import Index, Json, KnownFile, User
from twistpi.model.releases import Attachment, LogLine, Release, UploadedFile
from twistpi.rules.devpi7 import project_settings, settings_of_devpi7

_FOREIGN: Final = frozenset(
    {"acl_read", "reserved", "reuse_filenames", "upload_checks", "mirror_url_kind", "mirror_unknown_status"}
)
"""Settings of an index that devpi-server does not have."""
_OLD: Final = frozenset({"mirror_ignore_serial_header", "mirror_provides_core_metadata"})
"""Those that 7 does not have."""
_WHITELIST: Final = "mirror_whitelist"


@attrs.frozen
class Dialect:
    """One version of the format."""

    name: str
    dump_version: str
    is_new: bool
    """Whether it is that of 7."""

    def user(self, user: User) -> dict[str, Json]:
        """Return what is written of a user; a password hash only where devpi-server can verify it."""
        facts: dict[str, Json] = {**user.config, "username": user.name, "created": user.created}
        if user.modified is not None:
            facts["modified"] = user.modified
        if user.password_hash and is_argon2_hash(user.password_hash):
            facts["pwhash"] = user.password_hash
        return facts

    def index_config(self, index: Index) -> dict[str, Json]:
        """Return the settings of an index that devpi-server knows."""
        known = {key: value for key, value in index.config.items() if key not in _FOREIGN}
        return settings_of_devpi7(known) if self.is_new else known

    def around_versions(self, index: Index, project: str) -> tuple[bytes, bytes]:
        """Return what is written of a project before and after its versions."""
        if not self.is_new:
            return b"{", b"}"
        return b'{"config": %s, "versions": {' % orjson.dumps(project_settings(index, project, project)), b"}}"

    def time(self, when: str) -> str:
        """Return a time, which is in ISO 8601, as ``last_modified`` has it."""
        text = f"{when[:19]}Z"
        return text if self.is_new else format_datetime(datetime.fromisoformat(text), usegmt=True)

    def log(self, lines: Sequence[LogLine]) -> list[Json]:
        """Return the log of a file."""
        return [self._log_line(line) for line in lines]

    def _log_line(self, line: LogLine) -> Json:
        moment = datetime.fromisoformat(f"{line.when[:19]}Z")
        fields: dict[str, Json] = {
            "what": line.what,
            "who": line.who,
            "when": line.when if self.is_new else list(moment.timetuple()[:6]),
        }
        if line.what != "overwrite":
            fields["dst"] = line.dst
        more = {"src": line.src, "count": line.count}
        return fields | {key: value for key, value in more.items() if value is not None}

    def mapping(self, project: str, version: str, hashes: Mapping[str, str], size: int | None, when: str) -> dict[str, Json]:
        """Return the ``entrymapping`` of a file."""
        fields: dict[str, Json] = {"project": project, "version": version, "hashes": dict(hashes)}
        if when:
            fields["last_modified"] = self.time(when)
        if not self.is_new:
            return {**fields, "hash_spec": f"sha256={hashes['sha256']}"}
        return fields if size is None else {**fields, "size": size}


DIALECTS: Final[Mapping[str, Dialect]] = {
    "devpi6": Dialect("devpi6", "2", is_new=False),
    "devpi7": Dialect("devpi7", "3", is_new=True),
}


def foreign_settings(index: Index, dialect: Dialect, has_project: Callable[[str], bool]) -> list[str]:
    """Return the keys of settings that devpi-server does not have, or cannot say: 7 lists no project that is not there."""
    foreign = _FOREIGN | _OLD if dialect.is_new else _FOREIGN
    names = [name for name in index.config.get(_WHITELIST, ()) if name != "*"] if dialect.is_new else []
    unsaid = {_WHITELIST} if not all(map(has_project, names)) else set()
    return sorted((foreign & index.config.keys()) | unsaid)


def own_password(user: User) -> str | None:
    """Return the password hash of ``user`` if devpi-server cannot verify it; that of a blank password, too."""
    kept = user.password_hash
    return kept if kept is not None and (kept == BLANK or not is_argon2_hash(kept)) else None


def own_facts(file: UploadedFile, release: Release) -> dict[str, Json]:
    """Return what devpi-server does not know of a file."""
    link = file.known.link
    facts: dict[str, Json] = {}
    if link.yanked is not False:
        facts["yanked"] = link.yanked
    if link.upload_time and len(link.upload_time) > len("2026-11-29T02:59:32Z"):
        facts["upload_time"] = link.upload_time
    if (link.requires_python or None) != (release.metadata.get("requires_python") or None):
        facts["requires_python"] = link.requires_python
    return facts


def hashes_of(file: KnownFile) -> dict[str, str]:
    """Return the digests of a file that is here."""
    return {**file.link.hashes, "sha256": str(file.sha256)}


def attached_at(attachment: Attachment) -> str:
    """Return when a test result or documentation was added."""
    return attachment.log[-1].when if attachment.log else ""

"""What files of requirements and locks want.

They are ``requirements.txt``, ``uv.lock``, ``poetry.lock``, ``pdm.lock``, ``pylock.toml``, and lists of names.

Sources: "pylock.toml Specification" (PEP 751), "Dependency specifiers" (PEP 508), and the lock files that uv 0.13, poetry 2.2 and
pdm 2.26 write.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs
from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from twistpi.model.errors import BadRequest, InvalidName
from twistpi.model.names import normalize_project
from twistpi.model.records import Json

_OPTION: Final = re.compile(r"\s--?[a-z]")
_DIGEST: Final = re.compile(r"--hash[= ]sha256:([0-9a-f]{64})\b")


@attrs.frozen
class Wanted:
    """A project, in the versions and files that are wanted of it."""

    project: str
    """The normalised name."""
    versions: SpecifierSet = attrs.field(factory=SpecifierSet)
    """Of these the newest; a lock names one."""
    filenames: frozenset[str] = frozenset()
    """The files that a lock names; empty where it names none."""
    sha256: frozenset[str] = frozenset()
    """The digests of the files that may be taken; empty where any may."""
    marker: Marker | None = None
    """Where it is wanted; None for everywhere."""


def read_wanted(name: str, text: str) -> list[Wanted]:
    """Return what the file ``name`` with the content ``text`` wants; the name tells the form, and else the content.

    What is not from an index (a path, a repository) is left out.  Raise ``BadRequest``.
    """
    try:
        if name.endswith((".lock", ".toml")):
            return list(_of_lock(name, tomllib.loads(text)))
        return list(_of_requirements(name, text))
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"{name} is no TOML: {error}.") from error


def _of_lock(name: str, document: Mapping[str, Json]) -> Iterator[Wanted]:
    packages = document.get("packages", document.get("package"))
    if not isinstance(packages, list) or not all(isinstance(package, dict) for package in packages):
        raise BadRequest(f"{name} is no lock file of uv, poetry, pdm, or pylock.toml: it has no list of packages.")
    hashes = document.get("metadata", {}).get("files", {}) if isinstance(document.get("metadata"), dict) else {}
    for package in packages:
        source = package.get("source")
        is_elsewhere = isinstance(source, dict) and "registry" not in source and source.get("type") != "legacy"
        if is_elsewhere or any(package.get(kind) for kind in ("directory", "vcs", "archive", "path", "git", "url")):
            continue
        files = [*_files(package), *(hashes.get(package.get("name"), []) if isinstance(hashes, dict) else [])]
        yield _locked(name, package, [file for file in files if isinstance(file, dict)])


def _files(package: Mapping[str, Json]) -> Iterator[Json]:
    """Yield the files of a package: uv and PEP 751 have ``sdist`` and ``wheels``, poetry and pdm ``files``."""
    yield from (package["sdist"],) if package.get("sdist") else ()
    for key in ("wheels", "files"):
        yield from package[key] if isinstance(package.get(key), list) else ()


def _locked(name: str, package: Mapping[str, Json], files: list[Mapping[str, Json]]) -> Wanted:
    version = package.get("version")
    names = {_filename(file) for file in files} - {""}
    return Wanted(
        _project(name, package.get("name")),
        _versions(name, f"=={version}") if isinstance(version, str) else SpecifierSet(),
        frozenset(names),
        frozenset(digest for file in files if (digest := _digest(file))),
    )


def _filename(file: Mapping[str, Json]) -> str:
    """Return the name of a file, which stands by itself or at the end of its address."""
    for key in ("name", "file", "url", "path"):
        if isinstance(file.get(key), str):
            return str(file[key]).partition("#")[0].partition("?")[0].rpartition("/")[2]
    return ""


def _digest(file: Mapping[str, Json]) -> str:
    hashes = file.get("hashes")
    if isinstance(hashes, dict):
        return str(hashes.get("sha256") or "")
    found = file.get("hash")
    return found.removeprefix("sha256:") if isinstance(found, str) and found.startswith("sha256:") else ""


def _of_requirements(name: str, text: str) -> Iterator[Wanted]:
    for line in _joined(text.splitlines()):
        if line.startswith(("-", ".", "/")) or "://" in line.partition(";")[0].partition(" --")[0]:
            if line.startswith(("-r", "--requirement", "-c", "--constraint")):
                raise BadRequest(f"{name} includes another file ({line}); give that one with -r as well, and leave the line out.")
            continue
        found = _OPTION.search(line)
        plain = line[: found.start()] if found else line
        try:
            requirement = Requirement(plain)
        except InvalidRequirement as error:
            raise BadRequest(f"{name} has a line that is no requirement, {plain!r}: {error}.") from error
        yield Wanted(
            _project(name, requirement.name),
            requirement.specifier,
            frozenset(),
            frozenset(_DIGEST.findall(line)),
            requirement.marker,
        )


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that say something, those that end with a backslash together with the next, without comments."""
    waiting = ""
    for line in lines:
        without = re.sub(r"(^|\s)#.*$", "", line)
        waiting += without.removesuffix("\\") if without.endswith("\\") else without
        if not without.endswith("\\"):
            if waiting.strip():
                yield waiting.strip()
            waiting = ""
    if waiting.strip():
        yield waiting.strip()


def _project(name: str, value: Json) -> str:
    try:
        return normalize_project(value if isinstance(value, str) else "")
    except InvalidName as error:
        raise BadRequest(f"{name} has a package whose name is none: {error}") from error


def _versions(name: str, text: str) -> SpecifierSet:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        raise BadRequest(f"{name} has a version that is none: {error}.") from error

"""The environments that files are wanted for, and which files of a release an installer takes there.

Source: "Platform compatibility tags" (PEP 425, 600, 656) and "Dependency specifiers" (PEP 508).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Final

import attrs
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from twistpi.model.errors import BadRequest
from twistpi.model.names import SDIST, kind_of_filename
from twistpi.model.records import Link

_PYTHON: Final = re.compile(r"3\.(\d{1,2})\Z")
_NEWEST_GLIBC: Final = 42
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_MAC: Final = (15, 0)
_WINDOWS: Final = {"x86_64": "win_amd64", "x86": "win32", "arm64": "win_arm64"}
_SYSTEMS: Final = {
    "linux": ("linux", "Linux", "posix"),
    "musl": ("linux", "Linux", "posix"),
    "macos": ("darwin", "Darwin", "posix"),
    "windows": ("win32", "Windows", "nt"),
}
"""``sys_platform``, ``platform_system`` and ``os_name``."""
_UV_SYSTEMS: Final = {
    "linux": "unknown-linux-gnu",
    "musl": "unknown-linux-musl",
    "macos": "apple-darwin",
    "windows": "pc-windows-msvc",
}
_UV_MACHINES: Final = {"arm64": "aarch64", "x86": "i686"}
KNOWN: Final = "linux-x86_64, linux-aarch64, musl-x86_64, musl-aarch64, macos-arm64, macos-x86_64, windows-x86_64, windows-arm64"
"""Platforms, for messages."""


@attrs.define(eq=False)
class Target:
    """One Python on one platform."""

    python: str
    """``3.12``."""
    platform: str
    """As ``KNOWN`` has it."""

    def __attrs_post_init__(self) -> None:
        system, dash, _machine = self.platform.partition("-")
        if not _PYTHON.match(self.python):
            raise BadRequest(f"{self.python!r} is no version of Python; write 3.12.")
        if system not in _SYSTEMS or not dash or (system == "windows" and self.platform.partition("-")[2] not in _WINDOWS):
            raise BadRequest(f"{self.platform!r} is no platform that is known here; known are {KNOWN}.")

    @property
    def minor(self) -> int:
        """The 12 of Python 3.12."""
        return int(self.python.partition(".")[2])

    @property
    def uv_name(self) -> str:
        """The platform as uv calls it."""
        system, _, machine = self.platform.partition("-")
        return f"{_UV_MACHINES.get(machine, machine)}-{_UV_SYSTEMS[system]}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What markers are evaluated with."""
        system, _, machine = self.platform.partition("-")
        sys_platform, platform_system, os_name = _SYSTEMS[system]
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "sys_platform": sys_platform,
            "platform_system": platform_system,
            "os_name": os_name,
            "platform_machine": "AMD64" if (system, machine) == ("windows", "x86_64") else machine,
            "extra": "",
        }

    @cached_property
    def ranks(self) -> Mapping[Tag, int]:
        """The tags of wheels that can be installed, the smaller the number the better."""
        version, platforms = (3, self.minor), list(_platform_tags(self.platform))
        tags = chain(
            cpython_tags(version, platforms=platforms), compatible_tags(version, f"cp3{self.minor}", platforms=platforms)
        )
        return {tag: number for number, tag in enumerate(dict.fromkeys(tags))}

    def accepts(self, link: Link) -> bool:
        """Return whether a file is for this version of Python."""
        try:
            return not link.requires_python or SpecifierSet(link.requires_python).contains(f"{self.python}.0", prereleases=True)
        except InvalidSpecifier:
            return True

    def rank(self, filename: str) -> int | None:
        """Return how well the wheel ``filename`` fits; None for one that does not."""
        try:
            tags = parse_wheel_filename(filename)[3]
        except InvalidWheelFilename:
            return None
        return min((self.ranks[tag] for tag in tags if tag in self.ranks), default=None)


def targets_of(pythons: Sequence[str], platforms: Sequence[str]) -> list[Target]:
    """Return each Python on each platform; raise ``BadRequest``."""
    return [Target(python, platform) for python in pythons for platform in platforms]


def _platform_tags(platform: str) -> Iterator[str]:
    system, _, machine = platform.partition("-")
    if system == "linux":
        for minor in range(_NEWEST_GLIBC, 4, -1):
            yield f"manylinux_2_{minor}_{machine}"
            if minor in _LEGACY:
                yield f"{_LEGACY[minor]}_{machine}"
        yield f"linux_{machine}"
    elif system == "musl":
        yield from (f"musllinux_1_{minor}_{machine}" for minor in (2, 1, 0))
    elif system == "macos":
        yield from mac_platforms(_MAC, machine)
    else:
        yield _WINDOWS[machine]


def files_to_install(links: Sequence[Link], targets: Iterable[Target]) -> list[Link]:
    """Return those ``links``, all of one release, that installers take on ``targets``: the best wheel, or else the sdist."""
    taken: dict[str, Link] = {}
    for target in targets:
        fitting = [link for link in links if target.accepts(link)]
        wheels = [(rank, link) for link in fitting if link.is_wheel and (rank := target.rank(link.filename)) is not None]
        if wheels:
            best = min(wheels, key=lambda ranked: ranked[0])[1]
            taken[best.filename] = best
        else:
            taken |= {link.filename: link for link in fitting if kind_of_filename(link.filename) == SDIST}
    return list(taken.values())

"""What the tags in a wheel's name mean, in words: "CPython 3.12, glibc 2.17+ on x86-64".

Source: "Platform compatibility tags" (PEP 425, 513, 571, 599, 600, 656, 703, 730, 738, 783, 803).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.names import has_build_number, is_wheel

_INTERPRETER: Final = re.compile(r"(cp|pp|py|graalpy|jy|ip)(\d)(?:_?(\d+))?\Z")
_INTERPRETERS: Final = {
    "cp": "CPython",
    "pp": "PyPy",
    "py": "Python",
    "graalpy": "GraalPy",
    "jy": "Jython",
    "ip": "IronPython",
}
_CPYTHON_ABI: Final = re.compile(r"cp\d+([a-z]*)\Z")
_ABI_FLAGS: Final = {"t": "free-threaded", "d": "debug build", "u": "wide Unicode"}
_STABLE_ABI: Final = {"abi3": "stable ABI", "abi3t": "stable ABI, free-threaded"}
_GLIBC: Final = {"manylinux1_": "manylinux_2_5_", "manylinux2010_": "manylinux_2_12_", "manylinux2014_": "manylinux_2_17_"}
"""What the names of before PEP 600 stand for."""
_GLIBC_NAME: Final = re.compile("manylinux(?:1|2010|2014)_")
_VERSIONED: Final = re.compile(
    r"(manylinux|musllinux|macosx|ios|android|pyodide|pyemscripten|emscripten)_(\d+)(?:_(\d+))?(?:_(\d+))?_(.+)\Z"
)
_SYSTEMS: Final = {
    "manylinux": "glibc",
    "musllinux": "musl",
    "macosx": "macOS",
    "ios": "iOS",
    "android": "Android API",
    "pyodide": "Pyodide",
    "pyemscripten": "Pyodide",
    "emscripten": "Emscripten",
}
_WINDOWS: Final = {"win32": "x86 (32-bit)", "win_amd64": "x86-64", "win_arm64": "ARM64", "win_arm32": "ARM (32-bit)"}
_MACHINES: Final[Mapping[str, str]] = {
    "x86_64": "x86-64",
    "i686": "x86 (32-bit)",
    "i386": "x86 (32-bit)",
    "aarch64": "ARM64",
    "arm64": "ARM64",
    "arm64_v8a": "ARM64",
    "armv7l": "ARMv7",
    "armv6l": "ARMv6",
    "armeabi_v7a": "ARMv7",
    "x86": "x86 (32-bit)",
    "ppc64le": "POWER (little-endian)",
    "ppc64": "POWER (big-endian)",
    "s390x": "IBM Z",
    "riscv64": "RISC-V",
    "loongarch64": "LoongArch",
    "wasm32": "WebAssembly",
    "arm64_iphoneos": "iPhone and iPad",
    "arm64_iphonesimulator": "the simulator on Apple silicon",
    "x86_64_iphonesimulator": "the simulator on Intel",
}
_MACS: Final[Mapping[str, str]] = {
    "arm64": "Apple silicon",
    "x86_64": "Intel",
    "intel": "Intel",
    "universal2": "Apple silicon and Intel",
    "universal": "PowerPC and Intel",
    "fat64": "PowerPC and Intel",
    "fat32": "PowerPC and Intel",
    "fat": "PowerPC and Intel",
    "i386": "Intel (32-bit)",
    "ppc": "PowerPC",
}


@attrs.frozen
class WheelTags:
    """What a wheel runs on."""

    python: str
    """``CPython 3.12``; ``any Python 3``."""
    platform: str
    """``glibc 2.17+ on x86-64``; ``any platform``."""

    def __str__(self) -> str:
        return f"{self.python}, {self.platform}"


def tags_in_words(filename: str) -> WheelTags | None:
    """Return what the wheel ``filename`` runs on; None for what is not named as a wheel.  Unknown tags are given as they are."""
    parts = filename[:-4].split("-")
    first = 3 if has_build_number(parts) else 2
    if not is_wheel(filename) or len(parts) < first + 3:
        return None
    interpreters, abis, platforms = (part.split(".") for part in parts[first : first + 3])
    return WheelTags(_python(interpreters, abis), _listed(_platforms(platforms)))


_Version = tuple[int, int | None]
"""Major and minor version; None where the tag has no minor version."""


def _python(interpreters: Sequence[str], abis: Sequence[str]) -> str:
    versions: dict[str, list[_Version]] = {}
    unknown = []
    for tag in interpreters:
        match = _INTERPRETER.match(tag)
        if match is None:
            unknown.append(tag)
        else:
            versions.setdefault(match[1], []).append((int(match[2]), None if match[3] is None else int(match[3])))
    told = [_pure(of_it) if family == "py" else _one_family(family, of_it, abis) for family, of_it in versions.items()]
    return _listed([*told, *unknown])


def _one_family(family: str, versions: Sequence[_Version], abis: Sequence[str]) -> str:
    ordered = [_version(one) for one in sorted(versions, key=lambda version: (version[0], version[1] or 0))]
    stable = next((words for abi, words in _STABLE_ABI.items() if abi in abis and family == "cp"), None)
    if stable is not None:
        return f"{_INTERPRETERS[family]} {ordered[0]}+ ({stable})"
    return f"{_INTERPRETERS[family]} {', '.join(ordered)}{_flags(abis)}"


def _pure(versions: Sequence[_Version]) -> str:
    """Return what the tags ``py…`` say: one with a minor version is good for all later ones, too."""
    whole = {major for major, minor in versions if minor is None}
    if whole >= {2, 3}:
        return "any Python"
    since: dict[int, int] = {}
    for major, minor in versions:
        if minor is not None and major not in whole:
            since[major] = min(minor, since.get(major, minor))
    told = [f"any Python {major}" for major in sorted(whole)]
    return _listed([*told, *(f"Python {major}.{minor}+" for major, minor in sorted(since.items()))])


def _version(version: _Version) -> str:
    major, minor = version
    return str(major) if minor is None else f"{major}.{minor}"


def _flags(abis: Sequence[str]) -> str:
    found = {flag for abi in abis if (match := _CPYTHON_ABI.match(abi)) for flag in match[1]}
    words = [word for flag, word in _ABI_FLAGS.items() if flag in found]
    return f" ({', '.join(words)})" if words else ""


def _platforms(tags: Sequence[str]) -> list[str]:
    """Return what ``tags`` stand for, each once; of one system on one machine the oldest version, which is enough."""
    oldest: dict[tuple[str, str], tuple[int, ...]] = {}
    others: dict[str, None] = {}
    for tag in tags:
        match = _VERSIONED.match(_GLIBC_NAME.sub(lambda found: _GLIBC[found[0]], tag))
        if match is None:
            others[_unversioned(tag)] = None
            continue
        system, machine = match[1], match[5]
        version = tuple(int(number) for number in match.groups()[1:4] if number is not None)
        known = oldest.setdefault((system, machine), version)
        oldest[system, machine] = min(known, version)
    machines: dict[str, list[str]] = {}
    for (system, machine), version in oldest.items():
        words = f"{_SYSTEMS[system]} {'.'.join(map(str, version))}+"
        machines.setdefault(words, []).append(_machine(machine, is_mac=system == "macosx"))
    return [*(f"{words} on {' and '.join(dict.fromkeys(on))}" for words, on in machines.items()), *others]


def _machine(machine: str, *, is_mac: bool) -> str:
    return (_MACS if is_mac else _MACHINES).get(machine, machine)


def _unversioned(tag: str) -> str:
    if tag == "any":
        return "any platform"
    if tag in _WINDOWS:
        return f"Windows on {_WINDOWS[tag]}"
    if tag.startswith("linux_"):
        return f"Linux on {_machine(tag.removeprefix('linux_'), is_mac=False)}"
    return tag


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last

"""What the server of the browser tests has: packages of a small company, and of the upstream that it mirrors.

The company surveys coasts.  Names, texts and versions are such as people really have, so that the pages show what they are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from tests.archives.made_archives import packed, tar_of, zip_of
from tests.fakes.wheels import make_wheel, metadata

TEXTS: Final = Path(__file__).parent / "texts"
PASSWORD: Final = "low water springs"
USERS: Final = {
    "ada": {"title": "Ada, who makes notebooks"},
    "harbour": {"title": "The platform team", "description": "Libraries that every survey uses."},
}
INDEXES: Final[dict[str, dict[str, Any]]] = {
    "harbour/stable": {"bases": "root/pypi", "title": "What runs on the boats", "volatile": False},
    "harbour/dev": {"bases": "harbour/stable", "title": "What the platform team works on", "acl_upload": "harbour,ada"},
    "harbour/vault": {"acl_read": "harbour", "title": "Keys and licences"},
    "ada/notebooks": {"bases": "harbour/dev", "title": "Experiments, kept for a week"},
}


@attrs.frozen
class Package:
    """A project and its releases."""

    name: str
    summary: str
    versions: Sequence[str]
    description: str = ""
    """The name of a file in ``texts``: its ending says the markup."""
    requires: Sequence[str] = ()
    headers: Sequence[str] = ()
    tags: Sequence[str] = ("py3-none-any",)
    has_sdist: bool = True

    def files(self, version: str) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of the files of a release."""
        stem = f"{self.name.replace('-', '_')}-{version}"
        text, more = self._described()
        wheel = make_wheel(self.name, version, self.requires, more=more, description=text)
        for number, tag in enumerate(self.tags):
            # Of different sizes, as wheels for different machines are.
            padded = make_wheel(self.name, version, self.requires, bytes(701 * number), more, text) if number else wheel
            yield f"{stem}-{tag}.whl", padded
        if self.has_sdist:
            members = {f"{stem}/PKG-INFO": self.metadata(version), f"{stem}/setup.py": b""}
            yield f"{stem}.tar.gz", packed(f"{stem}.tar.gz", tar_of(members))

    def metadata(self, version: str) -> bytes:
        """The core metadata of a release."""
        text, more = self._described()
        return metadata(self.name, version, self.requires, more, text)

    def _described(self) -> tuple[str, list[str]]:
        headers = [f"Summary: {self.summary}", *self.headers]
        if not self.description:
            return "", headers
        kind = {".rst": "text/x-rst", ".md": "text/markdown"}[Path(self.description).suffix]
        return (TEXTS / self.description).read_text(encoding="utf-8"), [*headers, f"Description-Content-Type: {kind}"]


COMPILED: Final = tuple(
    f"cp{python}-cp{python}-{platform}"
    for python in (311, 312, 313, 314)
    for platform in (
        "manylinux_2_17_x86_64.manylinux2014_x86_64",
        "manylinux_2_17_aarch64.manylinux2014_aarch64",
        "musllinux_1_2_x86_64",
        "macosx_11_0_arm64",
        "win_amd64",
    )
)
_COASTAL: Final = (
    "Author: The platform team",
    "Author-email: The platform team <platform@harbour.example>",
    "License: MIT",
    "Keywords: tides,water levels,forecast,hydrography",
    "Classifier: Development Status :: 5 - Production/Stable",
    "Classifier: Intended Audience :: Science/Research",
    "Classifier: License :: OSI Approved :: MIT License",
    "Classifier: Programming Language :: Python :: 3.11",
    "Classifier: Programming Language :: Python :: 3.12",
    "Classifier: Programming Language :: Python :: 3.13",
    "Classifier: Topic :: Scientific/Engineering :: Hydrology",
    "Project-URL: Documentation, https://tidepool.harbour.example/",
    "Project-URL: Source, https://git.harbour.example/platform/tidepool",
    "Project-URL: Changelog, https://tidepool.harbour.example/changes.html",
    "Provides-Extra: plot",
)
TIDEPOOL: Final = Package(
    "tidepool", "Tide tables and water levels from gauges, forecasts and old almanacs", ("1.0.0", "1.1.0", "1.2.0", "1.2.1"),
    "tidepool.rst", ("numpy>=2.0", "httpx~=0.28", "attrs>=23.2", "saltmarsh>=3", 'matplotlib>=3.9; extra == "plot"'), _COASTAL,
)  # fmt: skip
QUILLMARK: Final = Package(
    "quillmark", "Fast reading of scanned sea charts", ("0.9.0", "1.0.0"), "quillmark.md", ("numpy>=2.0",),
    ("License: Apache-2.0", "Keywords: charts,scans,raster"), COMPILED,
)  # fmt: skip
_SMALL: Final = (
    ("saltmarsh", "Units, datums and coordinates of the coast", ("3.0.0", "3.1.0")),
    ("harbour-client", "Talk to the harbour master's service", ("2.4.0", "2.4.1", "2.5.0")),
    ("harbour-schemas", "Messages that our services exchange", ("11.0.0",)),
    ("cartographer", "Draw nautical charts", ("0.4.2",)),
    ("brine", "A queue that survives salt water", ("1.0.0",)),
    ("lighthouse-status", "Collects what lights, buoys and gauges report about themselves", ("5.2.0",)),
    ("sextant", "Positions from sun and stars, for when the satellites are gone", ("0.1.0",)),
)
STABLE: Final = (TIDEPOOL, QUILLMARK, *(Package(name, summary, versions) for name, summary, versions in _SMALL))
DEV: Final = (
    attrs.evolve(TIDEPOOL, versions=("2.0.0a1", "2.0.0rc1")),
    Package("lantern", "Logs that people can read at night", ("0.6.0", "0.6.1.dev4"), "lantern.md", ("attrs",)),
    Package("brine", "A queue that survives salt water", ("1.1.0.dev1",)),
)
NOTEBOOKS: Final = (
    Package("mischief", "<script>window.mischief = 1</script>", ("1.0",), "mischief.md",
            headers=('Project-URL: Home, javascript:window.mischief=1', 'Keywords: "><img src=x onerror=window.mischief=1>')),
    *(Package(f"survey-{number:03}", f"Notebook of survey {number}", ("1.0",), has_sdist=False) for number in range(1, 131)),
)  # fmt: skip
VAULT: Final = (Package("chart-keys", "Keys of licensed charts", ("2026.11",)),)
OWN: Final = {"ada/notebooks": NOTEBOOKS, "harbour/vault": VAULT, "harbour/stable": STABLE, "harbour/dev": DEV}
"""In the order in which it was uploaded."""

UPSTREAM: Final = (
    Package("numpy", "Fundamental package for array computing", ("2.2.0", "2.3.0", "2.3.4", "2.4.0rc1"), "numpy.md",
            headers=("License: BSD-3-Clause", "Project-URL: Homepage, https://arrays.example/"), tags=COMPILED),
    Package("httpx", "The next generation HTTP client", ("0.27.2", "0.28.0", "0.28.1"), requires=("certifi", "anyio")),
    Package("attrs", "Classes without boilerplate", ("23.2.0", "25.3.0", "26.1.0")),
    Package("matplotlib", "Plots", ("3.9.0", "3.10.1"), requires=("numpy>=1.23",), tags=COMPILED[:5]),
    Package("saltmarsh", "Somebody else's package of the same name", ("99.0",)),
    Package("anyio", "Asynchronous networking and concurrency", ("4.9.0",)),
    Package("certifi", "Root certificates", ("2026.10.5",)),
)  # fmt: skip
NAMES: Final = ("numba", "numexpr", "numpy-stl", "tidy", "tides-of-time", "quill", "httpx-sse", "attr", "matplotlib-inline")
"""Projects of the upstream that nobody used."""


def documentation() -> bytes:
    """An archive of documentation."""
    page = (TEXTS / "docs.html").read_bytes()
    return zip_of({"index.html": page, "gauges.html": page.replace(b"Tidepool", b"Gauges")})


def tox_report(python: str, *, is_good: bool) -> dict[str, Any]:
    """What tox tells of a run."""
    output = "214 passed in 8.02s\n" if is_good else "FAILED test_leap_seconds - AssertionError\n1 failed, 213 passed in 8.14s\n"
    command = {"command": ["pytest", "-q"], "retcode": 0 if is_good else 1, "output": output}
    interpreter = {
        "version": f"{python}.2 (main)",
        "version_info": [*map(int, python.split(".")), 2, "final", 0],
        "name": "python",
    }
    environment = {"setup": [], "test": [command], "python": interpreter, "installed_packages": ["numpy==2.3.4"]}
    return {
        "reportversion": "1",
        "toxversion": "4.30.0",
        "platform": "linux",
        "host": "builder-2",
        "testenvs": {f"py{python.replace('.', '')}": environment},
    }

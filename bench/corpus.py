"""What the upstream of the measurements offers: made-up projects in the shape of a large public index.

Everything is a plain file below one folder, so that nginx can be the upstream: ``simple/NAME/index`` for pages,
``files/NAME/FILENAME`` for distributions.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import attrs
import orjson

SMALL_PAGE_FILES = 20
LARGE_PAGE_FILES = 4000
COLD_PROJECTS = 300
NAMES = 730_000
MEGABYTE = 1 << 20
"""What the measurements call MB for sizes of files and of memory."""

HTML_PREFIX = "html-"
"""Projects the upstream knows only as HTML."""
FAR_PREFIX = "far-"
"""Projects the upstream answers only after its stated latency."""

_WHEEL_TAGS = ("cp311-cp311-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_28_x86_64", "cp313-cp313-win_amd64")


@attrs.frozen
class Corpus:
    """The folder of the upstream and the address under which it is served."""

    root: Path
    url: str
    """Without a slash at the end."""

    @property
    def simple_url(self) -> str:
        """What a mirror is told to mirror."""
        return f"{self.url}/simple/"

    def page_url(self, project: str) -> str:
        """The upstream's own page of ``project``."""
        return f"{self.url}/simple/{project}/"

    def add_project(self, project: str, files: int) -> str:
        """A project of ``files`` files that exist only on its page."""
        names = _filenames(project, files)
        digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
        self._write_page(project, [self._link(project, *each, 100_000) for each in zip(names, digests, strict=True)])
        return project

    def add_cold_projects(self, prefix: str, count: int = COLD_PROJECTS) -> list[str]:
        """Add ``count`` small projects that nobody asked for yet; return their names."""
        return [self.add_project(f"{prefix}-{number:03}", SMALL_PAGE_FILES) for number in range(count)]

    def add_file(self, project: str, size: int) -> str:
        """A project of one wheel-named file of ``size`` bytes, unlike every other; the address of the file at the upstream."""
        filename = f"{project.replace('-', '_')}-1.0-py3-none-any.whl"
        path = self.root / "files" / project / filename
        path.parent.mkdir(parents=True)
        block = hashlib.sha256(project.encode()).digest() + os.urandom(MEGABYTE - 32)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for start in range(0, size, MEGABYTE):
                piece = block[: size - start]
                digest.update(piece)
                file.write(piece)
        self._write_page(project, [self._link(project, filename, digest.hexdigest(), size)])
        return f"{self.url}/files/{project}/{filename}"

    def remove_file(self, project: str) -> str:
        """Remove the file of a project that ``add_file`` made; its name.  The page goes on listing it."""
        (path,) = (self.root / "files" / project).iterdir()
        path.unlink()
        return path.name

    def add_small_wheel(self, project: str) -> None:
        """A project of one real wheel of about 4 KB, with its metadata beside it."""
        filename = f"{project}-1.0-py3-none-any.whl"
        metadata = _metadata(project)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(f"{project}/__init__.py", os.urandom(3000))
            wheel.writestr(f"{project}-1.0.dist-info/METADATA", metadata)
            wheel.writestr(f"{project}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{project}-1.0.dist-info/RECORD", f"{project}/__init__.py,,\n{project}-1.0.dist-info/METADATA,,\n")
        folder = self.root / "files" / project
        folder.mkdir(parents=True)
        (folder / filename).write_bytes(packed.getvalue())
        (folder / f"{filename}.metadata").write_bytes(metadata)
        link = self._link(project, filename, hashlib.sha256(packed.getvalue()).hexdigest(), len(packed.getvalue()))
        link["core-metadata"] = {"sha256": hashlib.sha256(metadata).hexdigest()}
        self._write_page(project, [link])

    def add_names(self) -> None:
        """The list of all project names, as JSON; most of them have no page here."""
        path = self.root / "simple" / "index"
        path.parent.mkdir(parents=True, exist_ok=True)
        projects = [{"_last-serial": serial, "name": name} for serial, name in enumerate(_names(NAMES), 1)]
        path.write_bytes(orjson.dumps({"meta": {"_last-serial": NAMES, "api-version": "1.4"}, "projects": projects}))

    def _link(self, project: str, filename: str, sha256: str, size: int) -> dict[str, Any]:
        return {
            "core-metadata": {"sha256": hashlib.sha256(sha256.encode()).hexdigest()} if filename.endswith(".whl") else False,
            "filename": filename,
            "hashes": {"sha256": sha256},
            "provenance": None,
            "requires-python": ">=3.9",
            "size": size,
            "upload-time": "2026-03-14T09:26:53.589793Z",
            "url": f"{self.url}/files/{project}/{filename}",
            "yanked": False,
        }

    def _write_page(self, project: str, links: Sequence[dict[str, Any]]) -> None:
        path = self.root / "simple" / project / "index"
        path.parent.mkdir(parents=True)
        path.write_bytes(_html_page(project, links) if project.startswith(HTML_PREFIX) else _json_page(project, links))


def _filenames(project: str, count: int) -> list[str]:
    """Four files a release: a source distribution and three wheels."""
    stem = project.replace("-", "_")
    names = []
    for number in range(count):
        version = f"{number // 4 // 20}.{number // 4 % 20}"
        kind = number % 4
        names.append(f"{stem}-{version}.tar.gz" if kind == 3 else f"{stem}-{version}-{_WHEEL_TAGS[kind]}.whl")
    return names


def _json_page(project: str, links: Sequence[dict[str, Any]]) -> bytes:
    versions = sorted({link["filename"].removesuffix(".tar.gz").split("-")[1] for link in links})
    return orjson.dumps(
        {
            "alternate-locations": [],
            "files": links,
            "meta": {"_last-serial": 31415926, "api-version": "1.4"},
            "name": project,
            "project-status": {"status": "active"},
            "versions": versions,
        }
    )


def _html_page(project: str, links: Sequence[dict[str, Any]]) -> bytes:
    title = f"Links for {project}"
    lines = [
        "<!DOCTYPE html>",
        f'<html>\n  <head>\n    <meta name="pypi:repository-version" content="1.4">\n    <title>{title}</title>\n  </head>',
        f"  <body>\n    <h1>{title}</h1>",
    ]
    for link in links:
        metadata = link["core-metadata"]
        claim = f' data-core-metadata="sha256={metadata["sha256"]}"' if metadata else ""
        lines.append(
            f'<a href="{link["url"]}#sha256={link["hashes"]["sha256"]}" data-requires-python="{escape(link["requires-python"])}"'
            f"{claim}>{link['filename']}</a><br />"
        )
    return "\n".join([*lines, "  </body>\n</html>\n"]).encode()


def _metadata(project: str) -> bytes:
    requirements = "".join(f"Requires-Dist: made-up-{number} (>=1.0,<2.0)\n" for number in range(40))
    return f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n{requirements}\nA wheel to measure with.\n".encode()


def _names(count: int) -> Iterator[str]:
    """Names as long as those of a large public index are: 14 characters on average."""
    for number in range(count):
        yield f"made-{number * 2654435761 % 2**32:08x}-{number % 10}"

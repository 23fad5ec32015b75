"""Brings files into the cache of a mirror before anybody asks for them: ``twistpi sync``.

It asks the server for pages and files as an installer does, so policies, credentials, verification and the changelog are those of
every other request; what the server has already is not sent.  It can be interrupted and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final
from urllib.parse import quote

import attrs

from twistpi.blobs.address import METADATA
from twistpi.http.errors import RequestFailed
from twistpi.model.errors import BadRequest, BadUpstreamPage
from twistpi.model.names import comparable_version, parsed_version, version_of_filename
from twistpi.model.records import Json, Link
from twistpi.model.text import counted
from twistpi.model.urls import without_credentials
from twistpi.rules.install_targets import Target, files_to_install
from twistpi.rules.lock_files import Wanted
from twistpi.simple.parse import parse_project_page
from twistpi.transfer.web_reader import WebReader

_ACCEPT: Final = "application/vnd.pypi.simple.v1+json"
_LARGEST_PAGE: Final = 256 * 1024 * 1024
"""Bytes."""
_PIECE: Final = 256 * 1024
_LONGEST_REASON: Final = 2000
_AT_ONCE: Final = 6
"""Requests."""


@attrs.define
class SyncReport:
    """What became of the files that are wanted."""

    fetched: int = 0
    there: int = 0
    """Files that the server had already."""
    bytes: int = 0
    """Of the files that were fetched."""
    differences: list[str] = attrs.field(factory=list)
    """What could not be had, and why."""

    def fields(self) -> dict[str, Json]:
        """Return the report for programs."""
        return attrs.asdict(self)

    def lines(self) -> Iterator[str]:
        """Return the report for people."""
        yield from self.differences
        missing = len(self.differences)
        fetched = counted(self.fetched, "file")
        yield f"{fetched} fetched ({self.bytes:,} bytes), {self.there:,} were there, {missing:,} not to be had."


@attrs.frozen(eq=False)
class Sync:
    """Fetches through one index of a server."""

    _web: WebReader
    _index: str
    """The address of the index, with a slash at the end."""
    _targets: Sequence[Target]
    _whole: bool = False
    """Whether all files of a release are wanted, whatever they are for."""

    def run(self, wanted: Iterable[Wanted], report: SyncReport, progress: Callable[[int, int], object]) -> None:
        """Fetch what is ``wanted``; ``progress`` is called with the numbers of files that are done and of all."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            chosen: dict[str, Link] = {}
            for found in pool.map(self._chosen_or_reason, (one for one in wanted if self._targets_of(one))):
                if isinstance(found, str):
                    report.differences.append(found)
                else:
                    chosen |= {link.url: link for link in found}
            fetching = {pool.submit(self._fetch, link): link for link in chosen.values()}
            for done, future in enumerate(as_completed(fetching), 1):
                try:
                    size = future.result()
                except (BadRequest, RequestFailed) as refusal:
                    report.differences.append(f"{fetching[future].filename}: {refusal}")
                else:
                    report.there += size is None
                    report.fetched += size is not None
                    report.bytes += size or 0
                progress(done, len(fetching))

    def _targets_of(self, wanted: Wanted) -> Sequence[Target]:
        """Return the targets on which something is wanted."""
        marker = wanted.marker
        return [target for target in self._targets if marker is None or marker.evaluate(dict(target.environment))]

    def _chosen_or_reason(self, wanted: Wanted) -> list[Link] | str:
        try:
            return self._chosen(wanted)
        except (BadRequest, BadUpstreamPage) as refusal:
            return f"{wanted.project}: {refusal}"

    def _chosen(self, wanted: Wanted) -> list[Link]:
        """Return the files to fetch; raise ``BadRequest`` when there is none."""
        url = f"{self._index}+simple/{quote(wanted.project)}/"
        body, content_type, at = self._web.read(url, _ACCEPT, _LARGEST_PAGE)
        page = parse_project_page(body, content_type, at, wanted.project)
        allowed = [link for link in page.links if _is_allowed(link, wanted)]
        of_version = _newest(allowed, wanted)
        files = list(of_version) if self._whole else files_to_install(of_version, self._targets_of(wanted))
        if not files:
            raise BadRequest(f"the page of the index has no file of {wanted.project}{wanted.versions} that fits")
        return files

    def _fetch(self, link: Link) -> int | None:
        """Let the server fetch a file and its core metadata; return the number of bytes, None if it had them."""
        if link.core_metadata:
            self._read(f"{link.url}{METADATA}")
        return self._read(link.url)

    def _read(self, url: str) -> int | None:
        """Read what is at ``url`` to its end; return the bytes, None when the server has it on its disk."""
        with self._web.open(url) as answer:
            if answer.status != 200:
                reason = answer.read(_LONGEST_REASON).decode("utf-8", "replace").strip().partition("\n")[0]
                raise BadRequest(f"{without_credentials(url)} answered {answer.status}: {reason}")
            if "hit" in answer.header("Cache-Status"):
                return None
            size = 0
            while piece := answer.read(_PIECE):
                size += len(piece)
            return size


def _is_allowed(link: Link, wanted: Wanted) -> bool:
    if wanted.filenames and link.filename not in wanted.filenames:
        return False
    return not wanted.sha256 or link.sha256 is None or link.sha256 in wanted.sha256


def _newest(links: Sequence[Link], wanted: Wanted) -> Sequence[Link]:
    """Return the files of the newest version that is wanted; yanked ones, and pre-releases, only if nothing else is."""
    named = [(link, version_of_filename(link.filename, wanted.project)) for link in links]
    versions = {version: parsed for _link, version in named if version and (parsed := parsed_version(version)) is not None}
    yanked = {version for link, version in named if link.yanked}
    fitting = [version for version, parsed in versions.items() if wanted.versions.contains(parsed, prereleases=True)]
    if not fitting:
        return ()
    best = max(fitting, key=lambda version: (version not in yanked, not versions[version].is_prerelease, versions[version]))
    return [link for link, version in named if version is not None and comparable_version(version) == comparable_version(best)]

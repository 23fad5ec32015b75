"""Documentation on the web, straight out of the archives in which it was uploaded.

Uploaders decide what is in there, so it is sent with headers that keep a hostile page away from this server: no script in
it has the server's origin, and nothing is taken for what it does not say it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import BinaryIO, Final

import attrs
from packaging.version import InvalidVersion, Version
from twisted.internet.defer import Deferred
from twisted.web.http import datetimeToString
from twisted.web.server import Request
from werkzeug.exceptions import NotFound as NoRoute

from twistpi.blobs.interfaces import IBlobs
from twistpi.http.body import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.mirror.files import FileService
from twistpi.model.errors import InvalidDistribution, NotFound
from twistpi.model.names import normalize_project
from twistpi.model.releases import Attachment
from twistpi.rules.attachments import latest_version
from twistpi.simple.urls import escape, quote_path
from twistpi.view.read import KeptBlob
from twistpi.web.access import Access
from twistpi.web.fast.ready import made_private
from twistpi.web.file_sender import FileFacts, FileSender, is_unchanged
from twistpi.web.handlers.docs_archive import Contents, Member, MemberBody, read_contents, type_of, unpack
from twistpi.web.handlers.files import address_of, check_offered, stored_at
from twistpi.web.replies import Headers, Reply, Responder, html_reply, redirect_reply
from twistpi.web.request import ends_with_slash, query_of

SANDBOX: Final = (
    "allow-scripts allow-forms allow-modals allow-downloads allow-popups allow-popups-to-escape-sandbox"
    " allow-top-navigation-by-user-activation"
)
"""What documentation may do.  Not to have the origin of this server, above all: its scripts see no more of the server than those
of any other site do."""
_POLICY: Final[Headers] = (
    (
        b"Content-Security-Policy",
        b"default-src 'none'; frame-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
        b" frame-ancestors 'none'",
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
)
_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{margin:0;display:flex;flex-direction:column;height:100vh;font-family:sans-serif}}
header{{padding:.5em 1em}} iframe{{flex:1;border:0;border-top:1px solid}}</style></head>
<body><header><strong>{title}</strong> {links}{note}</header>
<iframe src="{source}" title="{title}" sandbox="{sandbox}"></iframe>
</body></html>
"""
_NOTE: Final = "<p>The latest available documentation (version {version}) isn't for the latest available package version.</p>"


@attrs.frozen
class Frame:
    """What the page around documentation says."""

    index: str
    project: str
    """The normalised name."""
    version: str
    """Whose documentation is shown."""
    asked: str
    """The version as the address has it: perhaps ``latest`` or ``stable``."""
    path: str
    """Of the file in the documentation."""
    query: str
    """With its question mark; empty without one."""
    is_outdated: bool
    """Whether there is a newer release without documentation."""
    latest: str | None
    """The newest version with documentation."""
    stable: str | None
    """The same without pre-releases."""


def frame_reply(frame: Frame) -> Reply:
    """Return the page as a response."""
    up = "../" * (frame.path.count("/") + 1)
    links = [f'<a href="{up}../../../../{quote_path(frame.index)}/{frame.project}">{escape(frame.project)}</a>']
    for word, version in (("latest", frame.latest), ("stable", frame.stable)):
        if version is not None and version != frame.version:
            links.append(f'<a href="{up}../{word}/+d/index.html">{word} documentation ({escape(version)})</a>')
    markup = _PAGE.format(
        title=escape(f"{frame.project} {frame.version}"),
        links=" ".join(links),
        note=_NOTE.format(version=escape(frame.version)) if frame.is_outdated else "",
        source=f"{up}+doc/{quote_path(frame.path)}{escape(frame.query)}",
        sandbox=SANDBOX,
    )
    reply = html_reply(markup)
    return attrs.evolve(reply, headers=(*reply.headers, *_POLICY))


_DOC, _FRAME = "+doc", "+d"
_LATEST, _STABLE = "latest", "stable"
_FRESH: Final = 60
"""Seconds for which documentation may be kept without asking."""
_MOST_MEMBERS: Final = 50_000
"""Files of archives whose places are remembered."""
_GUARD: Final[Headers] = (
    (b"Content-Security-Policy", f"sandbox {SANDBOX}; frame-ancestors 'self'".encode("ascii")),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
)
_EVERYBODY: Final = (b"Access-Control-Allow-Origin", b"*")
"""Pages without an origin get fonts and search indexes only so, even from where they come themselves."""


@attrs.frozen
class _DocsFile:
    """A file in the documentation of a release."""

    project: str
    version: str
    """Whose documentation it is."""
    attachment: Attachment
    path: str
    """In the archive."""
    member: Member
    others: Sequence[str]
    """All versions that have documentation."""


@attrs.frozen
class _DocsFacts(FileFacts):
    """What the head of a response with a file of documentation says."""

    expires: bytes
    """An HTTP date."""

    @property
    def validators(self) -> Headers:
        """The headers a 200, a 206 and a 304 share."""
        told = (*((name, value) for name, value in super().validators if name in (b"ETag", b"Last-Modified")), *_GUARD)
        if self.private:
            return made_private(Reply(200, told)).headers
        return (*told, (b"Cache-Control", b"max-age=%d" % _FRESH), (b"Expires", self.expires), _EVERYBODY)


@attrs.define(eq=False)
class _ContentsCache:
    """The tables of contents of archives that were used lately."""

    _kept: OrderedDict[str, Contents] = attrs.field(factory=OrderedDict)
    """By the archive's SHA-256."""
    _members: int = 0
    _loading: SingleFlight[str, Contents] = attrs.field(factory=SingleFlight)

    async def get(self, sha256: str, read: Callable[[], Deferred[Contents]]) -> Contents:
        """Return the table of contents of an archive, ``read`` once; raise what ``read`` raises."""
        found = self._kept.get(sha256)
        if found is None:
            return await self._loading.join(sha256, lambda: self._put(sha256, read))
        self._kept.move_to_end(sha256)
        return found

    async def _put(self, sha256: str, read: Callable[[], Deferred[Contents]]) -> Contents:
        contents = self._kept[sha256] = await read()
        self._members += len(contents)
        while self._members > _MOST_MEMBERS:
            _, dropped = self._kept.popitem(last=False)
            self._members -= len(dropped)
        return contents


@attrs.define(eq=False)
class DocsHandler:
    """Answers ``/{user}/{index}/{project}/{version}/+doc/…`` and ``…/+d/…``; what an index inherits does not count."""

    _access: Access
    _sender: FileSender
    _responder: Responder
    _blobs: IBlobs
    _remote_blobs: FileService | None
    """Fetches archives that another server has; None on a primary."""
    _offload: Offload
    _contents: _ContentsCache = attrs.field(init=False, factory=_ContentsCache)

    async def first(self, request: Request, user: str, index: str, project: str, version: str) -> bytes | None:
        """``+doc/`` and ``+d/``: to the first page; without a slash at the end there is nothing."""
        if not ends_with_slash(request):
            raise NoRoute
        await self._place(request, f"{user}/{index}", normalize_project(project), version, "index.html")
        return self._responder.put(request, redirect_reply(f"index.html{query_of(request)}", 302))

    async def file(self, request: Request, user: str, index: str, project: str, version: str, path: str) -> bytes | None:
        """``+doc/{path}``: a file as it is in the archive."""
        elsewhere = self._elsewhere(request, project, version, _DOC, path)
        if elsewhere is not None:
            return elsewhere
        place = await self._place(request, f"{user}/{index}", normalize_project(project), version, _asked(request, path))
        facts = self._docs_facts(f"{user}/{index}", place)
        if is_unchanged(request, facts):
            return self._responder.put(request, Reply(304, facts.validators))
        member, open_file = place.member, partial(self._open, place.attachment)
        body = MemberBody(-1, 0, member.unpacked, partial(unpack, open_file, member), self._offload)
        try:
            return await self._sender.send(request, body, facts, member.unpacked, b"twistpi; hit")
        finally:
            body.close()

    async def frame(self, request: Request, user: str, index: str, project: str, version: str, path: str) -> bytes | None:
        """``+d/{path}``: the same in a frame."""
        elsewhere = self._elsewhere(request, project, version, _FRAME, path)
        if elsewhere is not None:
            return elsewhere
        name, normal = f"{user}/{index}", normalize_project(project)
        place = await self._place(request, name, normal, version, _asked(request, path))
        spelled = await self._offload(self._versions, name, normal)
        newest = latest_version(_stable(spelled) if version == _STABLE else spelled)
        frame = Frame(
            name, normal, place.version, version, place.path, query_of(request),
            is_outdated=version in (_LATEST, _STABLE) and newest != place.version,
            latest=latest_version(place.others), stable=latest_version(_stable(place.others)),
        )  # fmt: skip
        return self._responder.put(request, frame_reply(frame))

    def _elsewhere(self, request: Request, project: str, version: str, kind: str, path: str) -> bytes | None:
        """Redirect to the normalised name; return None if the name is normalised."""
        normal = normalize_project(project)
        if normal == project or request.method != b"GET":
            return None
        tail = f"{version}/{kind}/{_asked(request, path)}"
        up = "../" * (tail.count("/") + 1)
        return self._responder.put(request, redirect_reply(f"{up}{normal}/{quote_path(tail)}{query_of(request)}", 302))

    async def _place(self, request: Request, name: str, project: str, version: str, path: str) -> _DocsFile:
        """Return the file ``path``; raise ``NotFound``, and what reading the index may."""
        await self._access.index(request, name)
        view = self._access.reader
        docs = dict(view.docs(name, project))
        found = _choose(list(docs), version)
        if found is None:
            raise NotFound("No stable documentation available." if version == _STABLE else "No documentation available.")
        check_offered(view, name, project, f"{_DOC}/{path}")
        attachment = docs[found]
        try:
            await self._bring(attachment)
            contents = await self._contents.get(attachment.sha256, lambda: self._offload(self._read, attachment))
        except InvalidDistribution as error:
            raise NotFound(f"The documentation of {project} {found} cannot be shown: {error.reason}.") from error
        except FileNotFoundError as error:
            raise NotFound(
                f"The documentation of {project} {found} cannot be shown: they are not on the disk any more."
            ) from error
        member = contents.get(path)
        if member is None:
            raise NotFound(f"File {path} not found in documentation.")
        return _DocsFile(project, found, attachment, path, member, list(docs))

    async def _bring(self, attachment: Attachment) -> None:
        """Fetch the archive if another server has it."""
        address = address_of(attachment)
        if self._remote_blobs is not None and await self._offload(self._blobs.find, address) is None:
            await self._remote_blobs.bring(KeptBlob(address.digits, address.filename, attachment.sha256, attachment.size))

    def _read(self, attachment: Attachment) -> Contents:
        with self._open(attachment) as file:
            return read_contents(file, attachment.filename)

    def _open(self, attachment: Attachment) -> BinaryIO:
        return self._blobs.open(address_of(attachment))

    def _versions(self, index: str, project: str) -> list[str]:
        return [release.version for release in self._access.reader.releases(index, project)]

    def _docs_facts(self, index: str, place: _DocsFile) -> FileFacts:
        expires = datetimeToString(self._responder.now() + _FRESH)
        private = not self._access.is_open(index)
        etag, modified = f'"{place.attachment.sha256}"', stored_at(place.attachment)
        return _DocsFacts(etag, type_of(place.path), modified, private, expires)


def _asked(request: Request, path: str) -> str:
    """``path`` as it was asked for: the router takes the slash at the end for its own, but no file has one there."""
    return f"{path}/" if ends_with_slash(request) and not path.endswith("/") else path


def _choose(versions: Sequence[str], asked: str) -> str | None:
    """Return which of ``versions`` is ``asked``, which may be ``latest`` or ``stable``."""
    if asked == _LATEST:
        return latest_version(versions)
    if asked == _STABLE:
        return latest_version(_stable(versions))
    return asked if asked in versions else None


def _stable(versions: Sequence[str]) -> list[str]:
    """Return those that are no pre-releases; invalid versions (PEP 440) count as none."""
    return [version for version in versions if not _is_prerelease(version)]


def _is_prerelease(version: str) -> bool:
    try:
        return Version(version).is_prerelease
    except InvalidVersion:
        return False

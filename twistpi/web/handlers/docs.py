"""Documentation on the web, straight out of the archives in which it was uploaded.

Uploaders decide what is in there, so it is sent with headers that keep a hostile page away from this server: no script in
it has the server's origin, and nothing is taken for what it does not say it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Final

import attrs
from twisted.web.http import datetimeToString
from twisted.web.server import Request
from werkzeug.exceptions import NotFound as NoRoute

from twistpi.archives.zip_directory import Member
from twistpi.auth.tokens import is_valid_for
from twistpi.blobs.address import path_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.mirror.files import FileService
from twistpi.model.errors import InvalidDistribution, PermissionDenied, TwistpiError
from twistpi.model.names import find_version, normalize_project
from twistpi.model.records import Principal
from twistpi.model.releases import Attachment
from twistpi.rules.attachments import is_prerelease, latest_version
from twistpi.rules.offered_files import is_withheld
from twistpi.rules.permissions import Action
from twistpi.simple.urls import quote_path
from twistpi.view.read import KeptBlob
from twistpi.web.access import Access
from twistpi.web.fast.ready import made_private
from twistpi.web.file_sender import FileFacts, FileSender, is_unchanged
from twistpi.web.handlers.docs_archive import Contents, MemberBody, read_contents, type_of, unpack
from twistpi.web.handlers.files import check_offered, stored_at
from twistpi.web.policies import Attached, Policies
from twistpi.web.replies import Headers, Reply, Responder, redirect_reply
from twistpi.web.request import ends_with_slash, query_of

SANDBOX: Final = (
    "allow-scripts allow-forms allow-modals allow-downloads allow-popups allow-popups-to-escape-sandbox"
    " allow-top-navigation-by-user-activation"
)
"""What documentation may do.  Not to have the origin of this server, above all: its scripts see no more of the server than those
of any other site do."""
_DOC = "+doc"
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
class DocsFile:
    """A file in the documentation of a release."""

    version: str
    """Whose documentation it is."""
    attachment: Attachment
    path: str
    """In the archive."""
    member: Member
    versions: Sequence[str]
    """All that have documentation."""


@attrs.frozen
class _DocsFacts(FileFacts):
    """What the head of a response with a file of documentation says."""

    expires: bytes
    """An HTTP date."""
    has_token: bool = False
    """Whether a token in the path was enough, so that no page gets at it that does not know the token."""

    @property
    def validators(self) -> Headers:
        """The headers a 200, a 206 and a 304 share."""
        told = (*((name, value) for name, value in super().validators if name in (b"ETag", b"Last-Modified")), *_GUARD)
        if self.private:
            return (*made_private(Reply(200, told)).headers, *([_EVERYBODY] if self.has_token else []))
        return (*told, (b"Cache-Control", b"max-age=%d" % _FRESH), (b"Expires", self.expires), _EVERYBODY)


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
    _policies: Policies
    _contents: OrderedDict[str, Contents] = attrs.field(factory=OrderedDict, init=False)
    """The tables of contents of archives that were used lately, by the archive's SHA-256."""
    _loading: SingleFlight[str, Contents] = attrs.field(factory=SingleFlight, init=False)

    async def first(self, request: Request, name: str, project: str, version: str) -> Reply:
        """``+doc/`` and ``+d/``: to the first page; without a slash at the end there is nothing."""
        if not ends_with_slash(request):
            raise NoRoute
        await self.find(request, name, normalize_project(project), version, "index.html")
        return redirect_reply(f"index.html{query_of(request)}", 302)

    async def file(self, request: Request, name: str, project: str, version: str, path: str) -> Reply | None:
        """``+doc/{path}``: a file as it is in the archive."""
        elsewhere = to_normalized(request, project, version, _DOC, path)
        if elsewhere is not None:
            return elsewhere
        found = await self.find(request, name, normalize_project(project), version, asked_path(request, path))
        return await self._send(request, name, normalize_project(project), found)

    async def file_with_token(
        self, request: Request, name: str, project: str, version: str, token: str, path: str
    ) -> Reply | None:
        """``+doc-for/{token}/{path}``: the same for whom ``token_for`` made the token."""
        index, tokens = self._access.inheritance(name).index, self._access.authenticator.tokens
        claim = tokens.read_docs_token(token, f"{name}/{project}/{version}", self._responder.now())
        user = None if claim is None else self._access.reader.user(claim.user)
        if claim is None or not is_valid_for(claim, user):
            raise PermissionDenied(
                "read this documentation: the address is too old, so open it from the page of its release again"
            )
        self._access.check(Action.READ, Principal(claim.user), index=index)
        found = await self._located(request, name, project, version, asked_path(request, path))
        return await self._send(request, name, project, found, has_token=True)

    def token_for(self, principal: Principal, name: str, project: str, version: str) -> str | None:
        """Return the token with which a browser reads documentation that it shows to ``principal`` in a frame.

        None where the index is open, or ``principal`` did not log in.
        """
        user = None if principal.user is None or principal.token else self._access.reader.user(principal.user)
        if user is None or self._access.is_open(name):
            return None
        subject = f"{name}/{project}/{version}"
        return self._access.authenticator.tokens.make_docs_token(user, subject, self._responder.now())

    async def _send(self, request: Request, name: str, project: str, found: DocsFile, *, has_token: bool = False) -> Reply | None:
        member, archive = found.member, found.attachment
        expires = datetimeToString(self._responder.now() + _FRESH)
        private = not self._access.is_open(name)
        facts = _DocsFacts(f'"{archive.sha256}"', type_of(found.path), stored_at(archive), private, expires, has_token)
        if is_unchanged(request, facts):
            return Reply(304, facts.validators)
        pieces = partial(unpack, partial(self._open, archive), archive.filename, member)
        body = MemberBody(-1, 0, member.unpacked, pieces, self._offload)
        try:
            with _damage_logged(project, found.version):
                return await self._sender.send(request, body, facts, member.unpacked, b"twistpi; hit")
        finally:
            body.close()

    async def find(self, request: Request, name: str, project: str, version: str, path: str) -> DocsFile:
        """Return the file at ``path``; raise ``TwistpiError``, and what reading the index may."""
        await self._access.index(request, name)
        return await self._located(request, name, project, version, path)

    async def _located(self, request: Request, name: str, project: str, version: str, path: str) -> DocsFile:
        view = self._access.reader
        docs = dict(view.docs(name, project))
        policies = self._access.inheritance(name).policies.get(name, ())
        if version in (_LATEST, _STABLE):
            docs = {one: archive for one, archive in docs.items() if not is_withheld(project, one, policies)}
        found = choose_version(list(docs), version)
        if found is None:
            raise TwistpiError("No stable documentation available." if version == _STABLE else "No documentation available.", 404)
        check_offered(view, name, project, f"{_DOC}/{path}")
        archive = docs[found]
        self._policies.check_attachment(request, Attached(name, project, found, archive.filename), policies)
        with _damage_logged(project, found):
            await self._bring(archive)
            contents = await self._contents_of(archive)
        member = contents.get(path)
        if member is None:
            raise TwistpiError(f"File {path} not found in documentation.", 404)
        return DocsFile(found, archive, path, member, list(docs))

    async def _bring(self, archive: Attachment) -> None:
        """Fetch the archive if another server has it."""
        address = path_address(archive.path)
        if self._remote_blobs is not None and await self._offload(self._blobs.find, address) is None:
            await self._remote_blobs.bring(KeptBlob(address.digits, address.filename, archive.sha256, archive.size))

    async def _contents_of(self, archive: Attachment) -> Contents:
        """Return the table of contents of an archive; raise ``InvalidDistribution`` and ``FileNotFoundError``."""
        if archive.sha256 not in self._contents:
            return await self._loading.join(archive.sha256, lambda: self._load(archive))
        self._contents.move_to_end(archive.sha256)
        return self._contents[archive.sha256]

    async def _load(self, archive: Attachment) -> Contents:
        contents = self._contents[archive.sha256] = await self._offload(self._read, archive)
        while sum(map(len, self._contents.values())) > _MOST_MEMBERS:
            self._contents.popitem(last=False)
        return contents

    def _read(self, archive: Attachment) -> Contents:
        with self._open(archive) as file:
            return read_contents(file, archive.filename)

    def _open(self, archive: Attachment) -> BinaryIO:
        return self._blobs.open(path_address(archive.path))


@contextmanager
def _damage_logged(project: str, version: str) -> Iterator[None]:
    """Turn what keeps an archive from being read into a 404 that says so."""
    try:
        yield
    except (InvalidDistribution, FileNotFoundError) as error:
        reason = error.reason if isinstance(error, InvalidDistribution) else "they are not on the disk any more"
        raise TwistpiError(f"The documentation of {project} {version} cannot be shown: {reason}.", 404) from error


def to_normalized(request: Request, project: str, version: str, kind: str, path: str) -> Reply | None:
    """Return a redirect to the normalised name; None if the name is normalised."""
    normal = normalize_project(project)
    if normal == project or request.method != b"GET":
        return None
    tail = f"{version}/{kind}/{asked_path(request, path)}"
    up = "../" * (tail.count("/") + 1)
    return redirect_reply(f"{up}{normal}/{quote_path(tail)}{query_of(request)}", 302)


def asked_path(request: Request, path: str) -> str:
    """Return ``path`` as it was asked for: the router takes the slash at the end for its own, but no file has one there."""
    return f"{path}/" if ends_with_slash(request) and not path.endswith("/") else path


def choose_version(versions: Sequence[str], asked: str) -> str | None:
    """Return which of ``versions`` is ``asked``, which may be ``latest`` or ``stable``."""
    if asked == _LATEST:
        return latest_version(versions)
    if asked == _STABLE:
        return latest_version([version for version in versions if not is_prerelease(version)])
    return find_version(asked, versions)

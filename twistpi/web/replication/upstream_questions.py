"""What a server that follows this one asks about mirrors: here the upstreams are asked, once for all of them.

What is learned comes to the follower with the log; the answer says with which serial.
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.auth.tokens import NodeClaim
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.conditional import parse_tags, tags_match
from twistpi.http.offload import Offload
from twistpi.mirror.core_metadata import MetadataNotKept
from twistpi.mirror.name_source import AGE
from twistpi.mirror.primary import written_project
from twistpi.model.errors import BadRequest, UnknownFile, UnknownIndex, UnknownProject
from twistpi.model.names import normalize_project
from twistpi.model.peers import read_fence_note
from twistpi.model.records import Index, Json, KnownFile
from twistpi.model.server_errors import StorageFull
from twistpi.replication.fencing import Fencing
from twistpi.web.access import Access
from twistpi.web.authentication import Authenticator
from twistpi.web.components import MirrorServices
from twistpi.web.replication.authentication import NodeResponder, node_json
from twistpi.web.replication.blobs import NodeFiles
from twistpi.web.replies import JSON, Reply, put_head
from twistpi.web.request import header, json_body
from twistpi.web.transport.bodies import FileBody
from twistpi.web.transport.send import send_body

_PAGE: Final = "page.json.gz"


@attrs.define(eq=False)
class UpstreamQuestionHandler:
    """Answers below ``/+relay/``."""

    _respond: NodeResponder
    _files: NodeFiles
    _access: Access
    _mirrors: MirrorServices
    _blobs: IBlobs
    _offload: Offload

    async def page(self, request: Request, claim: NodeClaim) -> bytes:
        """Bring all that can be known of a project into the log; ``{"index", "project", "force", "unrecorded", "whole"}``.

        The answer is a ``PageState`` with the serial of the log.  Where the log has no room for the project, or with ``whole``,
        the project is in the answer, too; a follower that does not say that it takes ``unrecorded`` ones is told ``StorageFull``.
        Raises what ``PageService.ensure`` raises.
        """
        asked = _read(request, "index", "project")
        project = normalize_project(asked["project"])
        index = self._mirror(asked["index"], project)
        state = await self._mirrors.pages.ensure(index, project, force=bool(asked.get("force")))
        facts: dict[str, Json] = {**attrs.asdict(state), "serial": self._respond.serial}
        unrecorded = self._access.reader.unrecorded.get(index.name, project)
        if unrecorded is not None and unrecorded.known is not None and not asked.get("unrecorded"):
            raise StorageFull("the changelog", unrecorded.reason)
        if asked.get("whole") or (unrecorded is not None and unrecorded.known is not None):
            facts["page"] = await self._offload(self._write_page, index.name, project)
        return self._respond.put(request, node_json(facts))

    def _write_page(self, index: str, project: str) -> str | None:
        """Return a project for another server; called in any thread."""
        known = self._access.reader.project(index, project)
        return None if known is None else written_project(known)

    async def metadata(self, request: Request, claim: NodeClaim) -> bytes:
        """Bring the core metadata of a mirrored file here; ``{"index", "project", "path", "unkept"}``.

        The answer says which blob it is, or has it as ``content`` in Base64 where the disk has no room for it; a follower that
        does not say that it takes ``unkept`` ones is told ``StorageFull``.  Raises what ``MetadataService.metadata`` raises.
        """
        asked = _read(request, "index", "path")
        index, known, project = await self._find(asked["index"], asked["path"])
        try:
            address: BlobAddress = await self._mirrors.metadata.metadata(index, project, known)
        except MetadataNotKept as unkept:
            if not asked.get("unkept"):
                raise StorageFull(unkept.path, unkept.reason) from unkept
            return self._respond.put(request, node_json({"content": b64encode(unkept.content).decode("ascii")}))
        facts: dict[str, Json] = await self._offload(self._describe, address)
        return self._respond.put(request, node_json({**facts, "serial": self._respond.serial}))

    async def file(self, request: Request, claim: NodeClaim, name: str, path: str) -> Reply | None:
        """A file of a mirror, sent while the one fetch from its upstream goes on, or from the disk.

        Raises what ``PageService.find_file`` and downloads raise.
        """
        mirror, known, project = await self._find(name, path)
        if known.sha256 is not None:
            try:
                address = blob_address(known.sha256, known.link.filename)
                return await self._files.stored(request, address, known.sha256)
            except FileNotFoundError:
                pass  # it was removed from the disk; it is fetched again
        download = self._mirrors.files.open(mirror, project, known)
        return await self._files.arriving(request, download, known.blob_sha256)

    async def names(self, request: Request, claim: NodeClaim, name: str) -> bytes | None:
        """The name list of a mirror, as JSON; raises what ``NameLists.ensure`` raises."""
        names = await self._mirrors.names.ensure(self._mirror(name, "the list of projects"))
        tag = names.etags[_PAGE]
        headers = ((b"ETag", tag.encode("ascii")), (AGE.encode("ascii"), b"%.3f" % names.age))
        tags = header(request, "if-none-match")
        if tags is not None and tags_match(parse_tags(tags), tag):
            return self._respond.put(request, Reply(304, headers))
        body = FileBody.open(os.path.join(names.folder, _PAGE))
        try:
            length = (b"Content-Length", b"%d" % body.end)
            put_head(
                request, 200, (*self._respond.head(), (b"Content-Type", JSON), (b"Content-Encoding", b"gzip"), length, *headers)
            )
            await send_body(request, body, length=body.end)
        finally:
            body.close()
        return None

    def _mirror(self, name: str, project: str) -> Index:
        index = self._access.reader.index(name)
        if index is None:
            raise UnknownIndex(name)
        if not index.is_mirror:
            raise UnknownProject(name, project)
        return index

    async def _find(self, name: str, path: str) -> tuple[Index, KnownFile, str]:
        index = self._access.reader.index(name)
        if index is None or not index.is_mirror:
            raise UnknownFile(name, path)
        project, known = await self._mirrors.pages.find_file(index, path)
        return index, known, project

    def _describe(self, address: BlobAddress) -> dict[str, Json]:
        """Return which blob is at ``address``; blocking."""
        blobs = self._blobs
        named = self._access.reader.kept_blob(address.digits, address.filename)
        sha256 = blobs.digest(address) if named is None else named.sha256
        size = blobs.find(address) if named is None else named.size
        return {"digits": address.digits, "filename": address.filename, "sha256": sha256, "size": size}


def _read(request: Request, *needed: str) -> dict[str, Json]:
    """Return the JSON object in the body of ``request``, with strings under ``needed``; raise ``BadRequest``."""
    question = json_body(request)
    if not isinstance(question, dict) or not all(isinstance(question.get(name), str) for name in needed):
        raise BadRequest(f"Bad request: a JSON object with {' and '.join(needed)} is needed")
    return question


@attrs.define(eq=False)
class AttemptsHandler:
    """Answers ``/+attempts``: a replica counts the passwords that it verifies where its primary counts its own."""

    _respond: NodeResponder
    _authenticator: Authenticator

    async def count(self, request: Request, claim: NodeClaim) -> bytes:
        """Count one as wrong, and return the seconds to wait before it is verified, null to refuse it; or take back one that was
        ``right``.
        """
        attempt = _read(request, "user", "address")
        user, address = str(attempt["user"]), str(attempt["address"])
        if attempt.get("right") is True:
            self._authenticator.password_was_right(user, address)
            return self._respond.put(request, node_json({}))
        return self._respond.put(request, node_json({"wait": self._authenticator.count_attempt(user, address)}))


@attrs.define(eq=False)
class PeerHandler:
    """Answers ``/+peer`` and ``/+fence``."""

    _respond: NodeResponder
    _fencing: Fencing

    async def peer(self, request: Request, claim: NodeClaim) -> bytes:
        """What this server is: its log, its role, its newest serial and epoch, and whether it takes writes."""
        return self._respond.put(request, node_json((await self._fencing.peer()).to_json()))

    async def fence(self, request: Request, claim: NodeClaim) -> bytes:
        """Note that another server was or is to be promoted; the response says what this one is then.

        Raises ``NotFenced`` when it knows a later epoch, ``BadRequest``.
        """
        try:
            note = read_fence_note(json_body(request))
        except ValueError as error:
            raise BadRequest(f"Bad request: this tells of no promotion: {error}") from None
        return self._respond.put(request, node_json((await self._fencing.note(note)).to_json()))

"""Trusted publishing: a job of a build service exchanges the token that proves what it is for one that may upload.

``uv publish``, twine and other tools ask at the addresses of the public index: ``/_/oidc/audience`` and ``/_/oidc/mint-token``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.model.changes import Change
from twistpi.model.errors import AskFirst, BadRequest, TwistpiError
from twistpi.model.names import normalize_project
from twistpi.model.records import Json
from twistpi.model.text import one_line
from twistpi.oidc.identity import Identities
from twistpi.rules.trusted_publishers import BY, KEY, LIFETIME, decide_grant, decide_issued, publishers_of
from twistpi.view.read import Reader
from twistpi.web.access import Access
from twistpi.web.commits import Commits
from twistpi.web.replies import NO_STORE, Reply, json_reply
from twistpi.web.request import json_body

_FAILED: Final = "Token request failed"
_log = Logger()


@attrs.define(eq=False)
class TrustedPublishingHandler:
    """Answers ``/_/oidc/audience``, ``/_/oidc/mint-token`` and ``/+oidc``."""

    _access: Access
    _commits: Commits
    _identities: Identities | None
    """None in a worker, which leaves this to the first process."""
    _audience: str
    """What tokens for this server are made out to; the same at all servers of one log."""
    _now: Callable[[], datetime]

    async def audience(self, request: Request) -> Reply:
        """Say what a token has to be made out to."""
        return json_reply({"audience": self._audience}, caching=NO_STORE)

    async def mint(self, request: Request) -> Reply:
        """Exchange a token of an issuer for an API token of this server; refuse in the form that publishers show."""
        try:
            return await self._mint(json_body(request))
        except TwistpiError as refusal:
            _log.info("A publisher was refused: {reason}", reason=one_line(str(refusal)))
            error = {"code": "invalid-publisher", "description": str(refusal)}
            status = refusal.status if refusal.status >= 500 else 422
            return json_reply({"message": _FAILED, "errors": [error]}, status, caching=NO_STORE)

    async def _mint(self, body: Json) -> Reply:
        if not isinstance(body, dict) or not isinstance(body.get("token"), str):
            raise BadRequest('The body must be a JSON object with the token: {"token": "…"}.')
        index, project = _text(body, "index"), _text(body, "project")
        normal = None if project is None else normalize_project(project)
        if self._identities is None:
            raise AskFirst
        claims = await self._identities.claims(body["token"], self._audience, self._is_trusted)
        text, public, digest = self._access.authenticator.new_api_token()

        def decide(view: Reader) -> Sequence[Change]:
            grant = decide_grant(view.indexes_with_setting(KEY), claims, index, normal)
            return decide_issued(grant, claims, public, digest, self._now().astimezone(UTC))

        await self._commits.writer.commit(decide, BY)
        token = self._access.reader.api_token(public)
        text_of_claims = f"publisher {claims.get('sub')} of {claims['iss']}"
        if token is not None:
            message = "{publisher} may upload {project} to {index} until {expires}, by the token {token}."
            _log.info(
                message,
                publisher=one_line(text_of_claims),
                project=token.project,
                index=token.index,
                expires=token.expires,
                token=public,
            )
        expires = int(self._now().timestamp() + LIFETIME.total_seconds())
        return json_reply({"success": True, "token": text, "expires": expires}, caching=NO_STORE)

    def _is_trusted(self, issuer: str) -> bool:
        indexes = self._access.reader.indexes_with_setting(KEY)
        return any(publisher.issuer == issuer for index in indexes for publisher in publishers_of(index))


def _text(body: Mapping[str, Json], key: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{key!r} must be text.")
    return value

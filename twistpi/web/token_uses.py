"""What API tokens are used for: the label of a request's token, and downloads and uploads counted by it.

A label is a token's title, which says what the token is for: ``ci``, or of a trusted publisher the identity of the job.
"""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.auth.tokens import split
from twistpi.rules.token_requests import label_of
from twistpi.statistics.tally import CountedFile, Tally
from twistpi.web.authentication import Authenticator, credentials_of
from twistpi.web.request import header
from twistpi.web.traffic import Traffic


@attrs.define(eq=False)
class TokenUses:
    """Counts what is done with tokens."""

    _authenticator: Authenticator
    _traffic: Traffic
    _tally: Tally | None = None
    """Where downloads are counted; None where they are not."""

    def label(self, request: Request) -> str:
        """Return the label of the API token with which ``request`` came; empty without one that is valid."""
        token = self._authenticator.known(request).token
        credentials = credentials_of(request) if token is None else None
        halves = None if credentials is None else split(credentials.secret)
        if halves is not None:  # what is open is sent without a look at credentials
            token = self._authenticator.with_api_token(*halves).token
        return "" if token is None else label_of(token)

    def downloaded(self, request: Request, file: CountedFile) -> None:
        """Count a download of ``file``."""
        if self._tally is not None:
            self._tally.count_request(file, header(request, "user-agent"))
            self._count("download", request)

    def uploaded(self, request: Request) -> None:
        """Count an upload."""
        self._count("upload", request)

    def _count(self, use: str, request: Request) -> None:
        if label := self.label(request):
            self._traffic.count_token(use, label)

"""The addresses of the public index, beside its simple pages, that tools know: its JSON, and trusted publishing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twistpi.web.browser.routing import Route
from twistpi.web.commits import Commits
from twistpi.web.components import Components
from twistpi.web.handlers.package_json import PackageJsonHandler
from twistpi.web.handlers.trusted_publishing import TrustedPublishingHandler
from twistpi.web.pages import Pages

_INDEX: Final = "/<name:user>/<name:index>"


def publisher_routes(parts: Components, commits: Commits) -> Iterator[Route]:
    """Return the routes of trusted publishing."""
    audience = f"twistpi-{parts.node.log_id}"
    handler = TrustedPublishingHandler(parts.access, commits, parts.identities, audience, parts.now)
    yield "/_/oidc/audience", ["GET"], handler.audience
    yield "/_/oidc/mint-token", ["POST"], handler.mint
    yield "/+oidc", ["POST"], handler.mint


def package_json_routes(parts: Components, pages: Pages) -> Iterator[Route]:
    """Return the routes of the JSON API, at the addresses that its clients derive from that of an index."""
    documents = PackageJsonHandler(
        parts.access,
        pages,
        parts.policies,
        parts.mirrors,
        parts.storage.blobs,
        parts.offload,
        parts.responder,
        parts.addresses,
        parts.advisories.store,
        parts.json_index,
    )
    # pip-tools puts "pypi" behind, or in place of, the last part of an index's address.
    for base in (_INDEX, f"{_INDEX}/pypi", f"{_INDEX}/+simple", f"{_INDEX}/+simple/pypi"):
        yield f"{base}/<name:project>/json", ["GET"], documents.document
        yield f"{base}/<name:project>/<version>/json", ["GET"], documents.document
    if parts.json_index:
        yield "/pypi/<name:project>/json", ["GET"], documents.at_root
        yield "/pypi/<name:project>/<version>/json", ["GET"], documents.at_root

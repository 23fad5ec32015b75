"""What a request shows to prove who asks: a name and a secret, which is a password or a token."""

from __future__ import annotations

import base64
import binascii

import attrs
from twisted.web.server import Request

from twistpi.web.request import header


@attrs.frozen
class Credentials:
    """A name and a secret as they came; neither is checked."""

    user: str
    secret: str = attrs.field(repr=False)


def credentials_of(request: Request) -> Credentials | None:
    """The credentials of ``request``: those of ``X-Devpi-Auth``, else those of ``Authorization: Basic``.

    None without any, and for such as cannot be read: whoever shows those is nobody, and never refused for it.
    """
    devpi = header(request, "x-devpi-auth")
    if devpi is not None:
        return _decoded(devpi)
    scheme, _, encoded = (header(request, "authorization") or "").strip().partition(" ")
    return _decoded(encoded) if scheme.lower() == "basic" else None


def _decoded(encoded: str) -> Credentials | None:
    try:
        content = base64.b64decode(encoded.strip().encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    user, colon, secret = text.partition(":")
    return Credentials(user, secret) if colon else None

"""Style, script and pictures of the pages: ``/+static/DIGEST/NAME``, which browsers may keep for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.model.errors import TwistpiError
from twistpi.web.replies import Reply, length_of

_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".ico": b"image/x-icon",
    ".woff2": b"font/woff2",
}
_FOR_EVER: Final = (b"Cache-Control", b"public, max-age=31536000, immutable")
_SHORTLY: Final = (b"Cache-Control", b"public, max-age=60")
_DIGITS: Final = 12
"""Hexadecimal digits of a digest in a path."""


@attrs.frozen
class _Asset:
    body: bytes
    digest: str


@attrs.define(eq=False)
class Assets:
    """The files of ``static``, read once; those of a theme's folder ``static`` come before them."""

    theme: str | None = None
    _assets: Mapping[str, _Asset] = attrs.field(init=False)

    @_assets.default
    def _read(self) -> Mapping[str, _Asset]:
        folders = [Path(str(files("twistpi").joinpath("web", "browser", "static")))]
        if self.theme is not None:
            folders.append(Path(self.theme, "static"))
        found = {}
        for folder in folders:
            for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                if file.suffix in _TYPES:
                    body = file.read_bytes()
                    found[file.name] = _Asset(body, hashlib.sha256(body).hexdigest()[:_DIGITS])
        return found

    def path_of(self, name: str) -> str:
        """Return the path of an asset, without the prefix of the server."""
        return f"/+static/{self._assets[name].digest}/{name}"

    async def show(self, _request: Request, digest: str, name: str) -> Reply:
        """Send an asset.  With another digest, of a server of another version, it is sent all the same, but not kept."""
        asset = self._assets.get(name)
        if asset is None:
            raise TwistpiError(f"There is no {name[:100]!r} among the files of the pages.", 404)
        caching = _FOR_EVER if digest == asset.digest else _SHORTLY
        headers = (
            (b"Content-Type", _TYPES[Path(name).suffix]),
            length_of(asset.body),
            caching,
            (b"X-Content-Type-Options", b"nosniff"),
        )
        return Reply(200, headers, asset.body)

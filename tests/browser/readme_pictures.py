"""Makes the pictures of the README anew: ``make screenshots``.  They show the server of the browser tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import attrs
from playwright.sync_api import sync_playwright

from tests.browser.browsing import FLAGS, Visitor
from tests.browser.filling import fill
from tests.browser.upstream_process import running
from tests.fakes.live_server import ROOT, LiveServer

FOLDER: Final = ROOT / "docs" / "images"
_WIDTH: Final = 1280


@attrs.frozen
class Picture:
    """The upper part of a page."""

    name: str
    path: str
    height: int
    scheme: Literal["light", "dark"] = "light"


PICTURES: Final[Sequence[Picture]] = (
    Picture("home", "/", 780),
    Picture("project", "/harbour/dev/tidepool", 880),
    Picture("release", "/harbour/stable/tidepool/1.2.1", 880, "dark"),
)


def make_pictures(url: str, folder: Path) -> None:
    """Write all pictures, of the server at ``url``, into ``folder``."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for picture in PICTURES:
            context = browser.new_context(
                viewport={"width": _WIDTH, "height": picture.height}, color_scheme=picture.scheme, locale="en-GB"
            )
            visitor = Visitor(context, url)
            assert visitor.open(picture.path) == 200, picture.path
            visitor.page.screenshot(path=folder / f"{picture.name}.png")
            context.close()
        browser.close()


def main() -> None:
    """Start a server, fill it, and make the pictures."""
    with tempfile.TemporaryDirectory() as folder, running() as upstream:
        server = LiveServer(Path(folder) / "data", Path(folder) / "twistd.log")
        try:
            server.start("--upstream", upstream, "--outside-url", "http://localhost:3141")
            fill(server.url)
            make_pictures(server.url, FOLDER)
        finally:
            server.end()


if __name__ == "__main__":
    main()

"""A visitor with a browser: what they do, what they see, and what the browser reports as an error."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import attrs
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Route

from tests.browser.company import PASSWORD

FLAGS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SCREENSHOTS: Final = Path(os.environ.get("TWISTPI_SCREENSHOTS") or Path(__file__).parent / "screenshots")
"""Where a picture of each page goes that was looked at."""
_BADGE: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="20"><rect width="90" height="20" rx="3" fill="#2b7a4b"/>'
    '<text x="9" y="14" fill="#fff" font-family="sans-serif" font-size="11">tests passing</text></svg>'
)
_AXE: Final = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
_INSPECT: Final = (Path(__file__).parent / "inspect_page.js").read_text(encoding="utf-8")


@attrs.frozen
class Look:
    """How somebody looks at pages."""

    width: int
    scheme: Literal["light", "dark"]

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}"


_THOROUGH: Final = (Look(390, "dark"), Look(1280, "light"))
"""Looks in which all is inspected, which takes a while: each width and each scheme once."""
LOOKS: Final = (*_THOROUGH, Look(390, "light"), Look(1280, "dark"))


@attrs.define(eq=False, slots=False)  # playwright notes things on the objects whose methods it calls
class Visitor:
    """Somebody who looks at the pages of the server at ``url``."""

    context: BrowserContext
    url: str
    has_scripts: bool = True
    page: Page = attrs.field(init=False)
    complaints: list[str] = attrs.field(init=False, factory=list)
    """What the browser wrote into its console, and requests for things that are not on the server."""

    def __attrs_post_init__(self) -> None:
        self.context.set_default_timeout(30_000)
        # A picture that an author's text asks for; its host is everybody's, not the server's.
        self.context.route("https://badges.example/**", _send_badge)
        self.page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._see)

    def open(self, path: str) -> int:
        """Go to a page; the status of the answer."""
        answer = self.page.goto(self.url + path)
        assert answer is not None
        return answer.status

    def sign_in(self, user: str, password: str = PASSWORD) -> None:
        """Fill in the form."""
        self.open("/+login")
        self.page.get_by_label("User").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Account").get_by_role("link", name=user).wait_for()

    def faults(self, name: str) -> list[str]:
        """All that is wrong with the page that is shown, in any look; pictures of it are kept under ``name``."""
        if self.has_scripts:
            self.page.evaluate(_AXE)
        found: list[str] = []
        for look in LOOKS if self.has_scripts else _THOROUGH:
            self.page.set_viewport_size({"width": look.width, "height": 844})
            self.page.emulate_media(color_scheme=look.scheme)
            found += [f"{look}: {fault}" for fault in self.page.evaluate(_INSPECT, look in _THOROUGH)]
            if self.has_scripts:  # without them the page looks the same
                self.photograph(f"{name}-{look}")
        return [*self.complaints, *found]

    def photograph(self, name: str) -> None:
        """Keep a picture of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def _hear(self, message: ConsoleMessage) -> None:
        where: Any = message.location
        # An error page is shown with the status of an error, of which the browser tells, too.
        if not (message.text.startswith("Failed to load resource") and where["url"] == self.page.url):
            self.complaints.append(f"{message.type}: {message.text}")

    def _see(self, request: Request) -> None:
        if not request.url.startswith((self.url, "https://badges.example/", "data:")):
            self.complaints.append(f"request: {request.url}")


def _send_badge(route: Route) -> None:
    route.fulfill(body=_BADGE, content_type="image/svg+xml")

"""Somebody with a browser and no scripts: keeps cookies, follows redirects, and sends the forms that pages have."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

import attrs

from tests.web.web_asking import NEAR, ask_raw
from tests.web.web_wire import Answer
from tests.web.web_world import World

ACCEPT: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@attrs.define(eq=False)
class Form:
    """A form on a page, with what stands in its fields."""

    action: str
    method: str
    fields: dict[str, str] = attrs.field(factory=dict)


class _Forms(HTMLParser):
    """Finds the forms of a page, the one of the search left out."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.inside = False
        self.choosing = ""
        self.writing = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.inside = given.get("role") != "search"
            if self.inside:
                self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        elif self.inside and tag == "input" and (given.get("type") not in ("checkbox", "radio") or "checked" in given):
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif self.inside and tag == "select":
            self.choosing = given["name"]
        elif self.inside and tag == "option" and self.choosing and ("selected" in given or self.choosing not in self._fields):
            self._fields[self.choosing] = given.get("value", "")
        elif self.inside and tag == "textarea":
            self.writing = given["name"]
            self._fields[self.writing] = ""

    def handle_data(self, data: str) -> None:
        if self.writing:
            self._fields[self.writing] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False
        elif tag == "select":
            self.choosing = ""
        elif tag == "textarea":
            self.writing = ""

    @property
    def _fields(self) -> dict[str, str]:
        return self.forms[-1].fields


@attrs.define(eq=False)
class Browser:
    """One browser.  ``path`` and ``answer`` are those of the page that it shows."""

    world: World
    address: str = NEAR
    cookies: dict[str, str] = attrs.field(factory=dict)
    path: str = "/"
    answer: Answer = attrs.field(init=False)

    def open(self, path: str) -> Answer:
        """Go to a page, and where it leads."""
        return self._go("GET", path)

    def send(self, action: str = "", **entered: str) -> Answer:
        """Fill in the form whose action ends with ``action``, and send it."""
        form = self.form(action)
        target, fields = urljoin(self.path, form.action), urlencode({**form.fields, **entered})
        if form.method == "get":
            return self._go("GET", f"{urlsplit(target).path}?{fields}")
        return self._go("POST", target, fields.encode())

    def post(self, path: str, /, _headers: dict[str, str] | None = None, **fields: str) -> Answer:
        """Send a form that is on no page."""
        return self._go("POST", path, urlencode(fields).encode(), _headers)

    def form(self, action: str = "") -> Form:
        """The form whose action ends with ``action``."""
        found = _Forms()
        found.feed(self.text)
        return next(form for form in found.forms if form.action.endswith(action))

    @property
    def text(self) -> str:
        """The page."""
        return self.answer.content.decode()

    def sign_in(self, user: str, password: str) -> None:
        """Sign in, which has to succeed."""
        self.open("/+login")
        self.send("/+login", user=user, password=password)
        assert "twistpi_session" in self.cookies, self.text

    def _go(self, method: str, path: str, body: bytes = b"", more: dict[str, str] | None = None) -> Answer:
        host = "localhost" if self.address == NEAR else "devpi.example"
        headers = {"accept": ACCEPT, "sec_fetch_site": "same-origin"}
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            headers |= {"content_type": "application/x-www-form-urlencoded", "origin": f"http://{host}"}
        self.answer = ask_raw(self.world, method, path, body, {**headers, **(more or {})}, self.address)
        self.path = path
        self._keep(self.answer.headers.get("set-cookie", ""))
        if self.answer.status in (302, 303):
            return self._go("GET", urljoin(path, self.answer.headers["location"]))
        return self.answer

    def _keep(self, cookies: str) -> None:
        for cookie in filter(None, cookies.split("\n")):
            name, _, value = cookie.partition(";")[0].partition("=")
            if "Max-Age=0" in cookie:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

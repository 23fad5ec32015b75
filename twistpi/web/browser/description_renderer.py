"""The program that makes HTML of descriptions; ``descriptions`` starts it as ``python -m`` with the name of this module.

Descriptions come from anybody, and a few kilobytes of reStructuredText or nested quotes keep the libraries busy for minutes.  So
they are rendered in a process of its own, which can be killed, and whose libraries take no memory of the server.

``readme_renderer`` reads them as other indexes do: no raw HTML and no other files in reStructuredText.  What it makes is cleaned
once more, because the page around it is ours: nothing in it has a class or an id of the page, sends a form, or loads anything but
pictures over https.
"""

from __future__ import annotations

import os
import re
import resource
from email.message import Message
from multiprocessing.connection import Connection
from typing import Final

import nh3
import orjson
from readme_renderer import markdown, rst

MARKDOWN: Final = "markdown"
RST: Final = "rst"
TEXT: Final = "text"

_LONGEST: Final = {MARKDOWN: 100_000, RST: 50_000}
"""Characters of a description that are rendered."""
_LARGEST: Final = 120_000
"""Characters of the HTML; of a description that becomes more, only the beginning is rendered."""
_PREFIX: Final = "user-content-"
"""What all ids begin with, so that none is one of the page."""
_MEMORY: Final = 1024 * 1024 * 1024
"""Bytes of addresses that the process may use."""
_IDLE: Final = 60.0
"""Seconds without work after which the process ends."""

_TAGS: Final = {
    "a", "abbr", "acronym", "aside", "b", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd", "del",
    "details", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd",
    "li", "nav", "ol", "p", "picture", "pre", "s", "section", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td",
    "th", "thead", "tr", "tt", "ul", "var",
}  # fmt: skip
_ATTRIBUTES: Final[dict[str, set[str]]] = {
    "*": {"id", "align", "class"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "img": {"src", "alt", "width", "height", "title"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
_TOKEN: Final = re.compile(r"[a-z]{1,3}\d?\Z")
"""A class that the highlighter gives to a piece of code."""
_NOTES: Final = frozenset(
    {"note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "error", "admonition"}
)
_NOTE: Final = re.compile(r"(?:markdown-alert-)?(\w+)\Z")
_SIZE: Final = re.compile(r"\d{1,4}(?:px|%)?\Z")
_ALIGN: Final = frozenset({"left", "right", "center"})
_HEADING: Final = re.compile(r"<(/?)h([1-6])\b")
_EMPTY_LINK: Final = re.compile(r"<a\b[^<>]*></a>")
"""Beside each heading; a screen reader would read out nothing."""
_IMAGE_WITHOUT_TEXT: Final = re.compile(r"<img\b(?![^<>]*\salt=)")
_CHECKBOX: Final = re.compile(r'<input type="checkbox"([^<>]*)>')


def kind_of(content_type: str) -> tuple[str, str]:
    """Return the kind of a description with this ``Description-Content-Type``, and the variant of its Markdown.

    Without one it is reStructuredText ("Core metadata specifications"), or text if it cannot be read as that.
    """
    message = Message()
    message["Content-Type"] = content_type.replace("\n", " ").replace("\r", " ") or "text/x-rst"
    kind = {"text/markdown": MARKDOWN, "text/x-rst": RST}.get(message.get_content_type(), TEXT)
    variant = message.get_param("variant")
    return kind, "CommonMark" if isinstance(variant, str) and variant.lower() == "commonmark" else "GFM"


def render(text: str, content_type: str) -> tuple[str | None, bool]:
    """Return the HTML of a description, None when it can be shown as text only, and whether its end was cut off."""
    kind, variant = kind_of(content_type)
    if kind == TEXT:
        return None, False
    longest = _LONGEST[kind]
    while True:
        part = text if len(text) <= longest else text[:longest].rpartition("\n")[0] or text[:longest]
        html = _rendered(part, kind, variant)
        if html is None or len(html) <= _LARGEST:
            return html, len(part) < len(text)
        longest = len(part) // 2


def _rendered(text: str, kind: str, variant: str) -> str | None:
    try:
        html = markdown.render(text, variant=variant) if kind == MARKDOWN else rst.render(text)
    except Exception:  # the libraries have many ways to fail on what people write, RecursionError among them
        return None
    return clean(html) if html else None


def clean(html: str) -> str:
    """Return ``html`` with nothing but what a description may have; headings move below those of the page."""
    html = _CHECKBOX.sub(lambda found: "☑ " if "checked" in found[1] else "☐ ", html)
    html = _IMAGE_WITHOUT_TEXT.sub('<img alt=""', _EMPTY_LINK.sub("", html))
    html = _HEADING.sub(lambda found: f"<{found[1]}h{min(6, int(found[2]) + 2)}", html)
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        link_rel="nofollow noopener",
        url_schemes={"http", "https", "mailto"},
        # A block that is too wide is scrolled, also by keys.
        set_tag_attribute_values={"img": {"loading": "lazy", "referrerpolicy": "no-referrer"}, "pre": {"tabindex": "0"}},
    )


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Return the value that an attribute may have; None for none."""
    if name == "class":
        return _class(tag, value)
    if name == "id":
        return value if value.startswith(_PREFIX) else f"{_PREFIX}{value}"
    if name == "href":
        return _address(value)
    if name == "src":
        return value if value.startswith("https://") else None
    if name == "align":
        return value if value in _ALIGN else None
    if name in ("width", "height"):
        return value if _SIZE.match(value) else None
    return value


def _address(value: str) -> str | None:
    """Return an address in a description; one relative to its source is not known, and one without a scheme would lead here."""
    if value.startswith("#"):
        return value if value.startswith(f"#{_PREFIX}") else f"#{_PREFIX}{value[1:]}"
    return value if value.lower().startswith(("https://", "http://", "mailto:")) else None


def _class(tag: str, value: str) -> str | None:
    """Return the classes for code and for notes, as the page's style knows them; no other one survives."""
    words = value.split()
    if tag == "span":
        if "literal" in words:  # code within a line of reStructuredText
            return "literal"
        return " ".join(f"hl-{word}" for word in words if _TOKEN.match(word)) or None
    if tag in ("aside", "div"):
        kinds = [match[1] for word in words if (match := _NOTE.match(word)) and match[1] in _NOTES]
        return f"note-{kinds[-1]}" if kinds else None
    return None


def _serve(connection: Connection) -> None:
    """Answer until the other end is closed, or nothing was asked for a while."""
    connection.send_bytes(b"ready")
    while connection.poll(_IDLE):
        try:
            text, content_type = orjson.loads(connection.recv_bytes())
        except EOFError:
            return
        connection.send_bytes(orjson.dumps(render(text, content_type)))


if __name__ == "__main__":
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _serve(Connection(os.dup(0)))

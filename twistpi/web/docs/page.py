"""The page for people around documentation: where they are, and the documentation in a frame that cannot reach out of it."""

from __future__ import annotations

from typing import Final

import attrs

from twistpi.simple.urls import escape, quote_path
from twistpi.web.replies import Headers, Reply, html_reply

SANDBOX: Final = (
    "allow-scripts allow-forms allow-modals allow-downloads allow-popups allow-popups-to-escape-sandbox"
    " allow-top-navigation-by-user-activation"
)
"""What documentation may do.  Not to have the origin of this server, above all: its scripts see no more of the server than those
of any other site do."""
_POLICY: Final[Headers] = (
    (
        b"Content-Security-Policy",
        b"default-src 'none'; frame-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
        b" frame-ancestors 'none'",
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
)
_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{margin:0;display:flex;flex-direction:column;height:100vh;font-family:sans-serif}}
header{{padding:.5em 1em}} iframe{{flex:1;border:0;border-top:1px solid}}</style></head>
<body><header><strong>{title}</strong> {links}{note}</header>
<iframe src="{source}" title="{title}" sandbox="{sandbox}"></iframe>
</body></html>
"""
_NOTE: Final = "<p>The latest available documentation (version {version}) isn't for the latest available package version.</p>"


@attrs.frozen
class Frame:
    """What a page around documentation tells."""

    index: str
    project: str
    """The normalised name."""
    version: str
    """Whose documentation is shown."""
    asked: str
    """The version as the address has it: perhaps ``latest`` or ``stable``."""
    path: str
    """Of the file in the documentation."""
    query: str
    """With its question mark; empty without one."""
    is_outdated: bool
    """Whether there is a newer release without documentation."""
    latest: str | None
    """The newest version with documentation."""
    stable: str | None
    """The same without pre-releases."""


def frame_reply(frame: Frame) -> Reply:
    """The page as an answer."""
    up = "../" * (frame.path.count("/") + 1)
    links = [f'<a href="{up}../../../../{quote_path(frame.index)}/{frame.project}">{escape(frame.project)}</a>']
    for word, version in (("latest", frame.latest), ("stable", frame.stable)):
        if version is not None and version != frame.version:
            links.append(f'<a href="{up}../{word}/+d/index.html">{word} documentation ({escape(version)})</a>')
    markup = _PAGE.format(
        title=escape(f"{frame.project} {frame.version}"),
        links=" ".join(links),
        note=_NOTE.format(version=escape(frame.version)) if frame.is_outdated else "",
        source=f"{up}+doc/{quote_path(frame.path)}{escape(frame.query)}",
        sandbox=SANDBOX,
    )
    reply = html_reply(markup)
    return attrs.evolve(reply, headers=(*reply.headers, *_POLICY))

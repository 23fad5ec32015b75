"""What is here, as a plain page for people."""

from __future__ import annotations

import html
from collections.abc import Sequence

from twistpi.model.records import Index
from twistpi.simple.urls import without_credentials

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>
{content}
</body></html>
"""


def listing(title: str, indexes: Sequence[Index], root: str, up: str) -> str:
    """A page about ``indexes``; ``root`` is the server's address, and ``up`` how a link on the page reaches it."""
    content = "".join(_item(index, root, up) for index in indexes)
    return _PAGE.format(title=html.escape(title), content=f"<ul>{content}</ul>" if content else "<p>Nothing yet.</p>")


def _item(index: Index, root: str, up: str) -> str:
    name = html.escape(index.name)
    upstream = html.escape(without_credentials(str(index.config.get("mirror_url", ""))))
    about = f" — a mirror of {upstream}" if index.is_mirror else ""
    bases = ", ".join(index.bases)
    about = f" — inherits from {html.escape(bases)}" if bases else about
    return (
        f'<li><a href="{up}{name}">{name}</a>{about} (<a href="{up}{name}/+simple/">every project</a>)'
        f"<pre>pip install --index-url {html.escape(root)}/{name}/+simple/ PROJECT</pre></li>"
    )

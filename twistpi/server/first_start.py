"""What a new server directory holds, and what ``--upstream`` means for one that exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from twistpi.auth.passwords import BLANK
from twistpi.model.changes import Change, IndexCreated, IndexModified, LogStarted, UserCreated
from twistpi.model.errors import invalid_setting
from twistpi.model.records import ROOT, Index, Json

ROOT_MIRROR = "root/pypi"
"""The index that a new server directory has, unless it is left out."""

BY_BEGINNING = "+init"
"""The author of the first entry."""
BY_SETTINGS = "+settings"
"""The author of what a setting changed."""

_PUBLIC_TITLE = "PyPI"


def default_upstream() -> str:
    """Return the address of the public index, which is the one that pip uses unless it is configured otherwise.

    Raises ``TwistpiError`` when pip does not tell.
    """
    try:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 needed once in a server's life
    except ImportError:
        allowed = "it must be given (--upstream URL), because pip, whose index is the default, is not installed"
        raise invalid_setting("upstream", "", "its default", allowed) from None
    return f"{PyPI.simple_url}/"


def _public_pages(upstream: str) -> str | None:
    """Where the public index has its pages for people, which always have been beside the simple ones."""
    root, simple, rest = upstream.partition("/simple/")
    return f"{root}/project/{{name}}/" if simple and not rest else None


def mirror_config(upstream: str | None) -> Mapping[str, Json]:
    """The configuration of a new mirror index, of the public index when no ``upstream`` is given."""
    if upstream is not None:
        return {"type": "mirror", "volatile": False, "title": urlsplit(upstream).hostname, "mirror_url": upstream}
    public = default_upstream()
    config = {"type": "mirror", "volatile": False, "title": _PUBLIC_TITLE, "mirror_url": public}
    pages = _public_pages(public)
    return config if pages is None else {**config, "mirror_web_url_fmt": pages}


def first_changes(log_id: str, *, upstream: str | None, with_mirror: bool, root_password_hash: str = BLANK) -> Sequence[Change]:
    """The first entry of a changelog; without ``upstream`` the mirror is of the public index."""
    changes: list[Change] = [LogStarted(log_id), UserCreated(ROOT, password_hash=root_password_hash)]
    if with_mirror:
        changes.append(IndexCreated(ROOT_MIRROR, mirror_config(upstream)))
    return changes


def decide_upstream(index: Index, upstream: str) -> Sequence[Change]:
    """What makes ``index`` mirror ``upstream`` from now on; nothing when it does.

    Title and web address go along while they are those that ``mirror_config`` gave the former upstream.
    """
    former = index.config.get("mirror_url")
    if former == upstream:
        return ()
    changed: dict[str, Json] = {"mirror_url": upstream}
    removed = []
    if isinstance(former, str):
        if index.config.get("title") in (_PUBLIC_TITLE, urlsplit(former).hostname):
            changed["title"] = urlsplit(upstream).hostname
        if "mirror_web_url_fmt" in index.config and index.config["mirror_web_url_fmt"] == _public_pages(former):
            removed.append("mirror_web_url_fmt")
    return (IndexModified(index.name, changed, tuple(removed)),)

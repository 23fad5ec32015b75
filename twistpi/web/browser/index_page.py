"""The page of an index: how to use it, what is in it, what it inherits, who may do what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.mirror.pages import PageService
from twistpi.model.records import Index
from twistpi.model.urls import public_address
from twistpi.rules.actions import actions_on
from twistpi.rules.indexes import index_facts
from twistpi.rules.inheritance import VisibleIndexes, bases_of
from twistpi.rules.permissions import Action, is_allowed, is_open
from twistpi.view.read_overview import Order
from twistpi.web.access import Access
from twistpi.web.browser.drawing import Box, draw_inheritance
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.replies import Reply
from twistpi.web.request import parameter

_PER_PAGE: Final = 30
"""Projects on one page."""
_MOST_DRAWN: Final = 50
"""Indexes in the drawing of the inheritance: between them may be as many arrows as there are pairs."""
_LAST_PAGE: Final = 100_000
_LONGEST_FILTER: Final = 100
"""Characters."""
_SEPARATORS: Final = re.compile(r"[-_.\s]+")
"""What is one dash in a normalised name (PEP 503)."""
_ORDERS: Final[tuple[Order, ...]] = ("name", "newest")
_LISTS: Final[Mapping[str, str]] = {
    "acl_read": "read it",
    "acl_upload": "upload to it",
    "acl_toxresult_upload": "add test results",
}


@attrs.frozen
class Asked:
    """Which part of the projects is asked for."""

    containing: str
    """Part of the names; normalised."""
    order: Order
    page: int
    """From 1."""


@attrs.define(eq=False)
class IndexPage:
    """Makes ``/{user}/{index}``."""

    _access: Access
    _frames: Frames
    _renderer: Renderer
    _offload: Offload
    _pages: PageService

    async def show(self, request: Request, name: str) -> Reply:
        """One index.  Raises what keeps the caller from reading it."""
        visibility = await self._access.visibility(request, name)
        frame = await self._frames.of(request)
        failure = self._pages.failing().get(name)
        return await self._offload(self._build, frame, visibility, _asked(request), failure)

    def _build(self, frame: Frame, visibility: VisibleIndexes, asked: Asked, failure: str | None) -> Reply:
        index, reader = visibility.index, self._access.reader
        stored = index.is_mirror
        count = reader.count_projects(index.name, asked.containing, stored=stored)
        last = max(1, -(-count // _PER_PAGE))
        asked = attrs.evolve(asked, page=min(asked.page, last))
        rows = reader.list_projects(
            index.name, asked.containing, asked.order, _PER_PAGE, (asked.page - 1) * _PER_PAGE, stored=stored
        )
        policy = self._access.policy
        boxes = self._boxes(frame, visibility) if bases_of(index) else []
        return self._renderer.page(
            frame,
            "index.html",
            index=index,
            is_open=is_open(index),
            all_open=visibility.is_open,
            may_upload=is_allowed(Action.UPLOAD, frame.caller, policy, index=index),
            actions=actions_on(index, frame.caller, policy),
            upstream=public_address(str(index.config.get("mirror_url", ""))),
            failure=failure,
            rows=rows,
            count=count,
            asked=asked,
            last=last,
            drawing=draw_inheritance(boxes[:_MOST_DRAWN]) if boxes else None,
            not_drawn=max(0, len(boxes) - _MOST_DRAWN),
            lists=access_lists(index),
            settings=_settings(index),
        )

    def _boxes(self, frame: Frame, visibility: VisibleIndexes) -> list[Box]:
        """Return what the drawing shows; of indexes that the reader may not read only the name, which their heirs tell."""
        order = {index.name: index for index in visibility.inheritance.order}
        visible = {index.name for index in visibility.visible}
        return [
            Box(
                name,
                bases_of(order[name]) if name in visible else (),
                link=f"{frame.root}/{name}" if name in visible else None,
                note=_note(order.get(name), is_visible=name in visible),
            )
            for name in dict.fromkeys([*order, *(base for one in visibility.visible for base in bases_of(one))])
            if name in visible or any(name in bases_of(one) for one in visibility.visible)
        ]


def _note(index: Index | None, *, is_visible: bool) -> str:
    if index is None:
        return "does not exist"
    if not is_visible:
        return "closed"
    return "mirror" if index.is_mirror else "private"


def _asked(request: Request) -> Asked:
    order = parameter(request, b"sort")
    page = parameter(request, b"page")
    return Asked(
        _SEPARATORS.sub("-", parameter(request, b"filter")[:_LONGEST_FILTER].lower()),
        order if order in _ORDERS else "name",
        max(1, min(int(page), _LAST_PAGE)) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
    )


def access_lists(index: Index) -> list[tuple[str, list[str]]]:
    """Return who may do what, in words."""
    rows = []
    for key, words in _LISTS.items():
        if index.is_mirror and key != "acl_read":
            continue
        default = [":ANONYMOUS:"] if key != "acl_upload" else []
        rows.append((words, [_SPECIAL.get(name, name) for name in index.config.get(key, default)]))
    return rows


_SPECIAL: Final = {":ANONYMOUS:": "everybody", ":AUTHENTICATED:": "everybody who is signed in"}
_SHOWN_ELSEWHERE: Final = frozenset({"bases", "title", "description", "mirror_url", "type", *_LISTS})


def _settings(index: Index) -> list[tuple[str, str]]:
    """Return the other settings of ``index``, without passwords."""
    facts = sorted(index_facts(index, with_credentials=False).items())
    return [(key, _in_words(value)) for key, value in facts if key not in _SHOWN_ELSEWHERE and value not in ("", [], None)]


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)

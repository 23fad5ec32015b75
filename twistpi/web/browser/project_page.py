"""The page of a project: its versions, where they come from, and the description of the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
from markupsafe import Markup
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.names import normalize_project
from twistpi.rules.actions import Actions, actions_on
from twistpi.rules.permissions import Policy
from twistpi.rules.release_facts import NO_FACTS, ReleaseFacts
from twistpi.rules.version_list import ListedVersion, newest_version
from twistpi.statistics.downloads import Downloads, ProjectDownloads
from twistpi.web.browser.charts import day_bars
from twistpi.web.browser.descriptions import Descriptions
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.project_views import ProjectView, ProjectViews
from twistpi.web.browser.rendering import Renderer
from twistpi.web.replies import Reply, redirect_reply
from twistpi.web.request import ends_with_slash, parameter, query_of

_FIRST: Final = 10
"""Versions on the page that has the description, too."""
_MOST_PRERELEASES: Final = 3
_PER_PAGE: Final = 100
"""Versions on each page of the whole list."""
_LONGEST_FILTER: Final = 100
"""Characters."""


@attrs.frozen
class Asked:
    """Which part of the versions is asked for."""

    is_list: bool
    """Whether it is the list alone, without description and facts."""
    containing: str
    kind: str
    """``releases``, ``prereleases``, ``yanked``, or empty for all."""
    page: int
    """From 1."""


@attrs.define(eq=False)
class ProjectPage:
    """Makes ``/{user}/{index}/{project}``."""

    _frames: Frames
    _views: ProjectViews
    _policy: Policy
    _downloads: Downloads
    _descriptions: Descriptions
    _renderer: Renderer
    _offload: Offload

    async def show(self, request: Request, name: str, project: str) -> Reply:
        """One project.  Raises what ``ProjectViews.find`` raises."""
        normal = normalize_project(project)
        if normal != project:
            return redirect_reply(f"{'../' if ends_with_slash(request) else ''}{normal}{query_of(request)}", 302)
        frame = await self._frames.of(request)
        view = await self._views.find(request, name, normal)
        asked = _asked(request)
        newest = newest_version(view.versions)
        facts = NO_FACTS if newest is None or asked.is_list else await self._views.facts(view, newest)
        return await self._offload(self._build, frame, view, newest, facts, asked)

    def _build(self, frame: Frame, view: ProjectView, newest: ListedVersion | None, facts: ReleaseFacts, asked: Asked) -> Reply:
        chosen = _chosen(view.versions, asked)
        actions = actions_on(view.index, frame.caller, self._policy)
        per_page = _PER_PAGE if asked.is_list else _FIRST
        last = max(1, -(-len(chosen) // per_page))
        page = min(asked.page, last)
        return self._renderer.page(
            frame,
            "project.html",
            view=view,
            newest=newest,
            facts=facts,
            actions=actions if view.is_own else Actions(),
            may_quarantine=actions.configure,
            downloads=None if newest is None or asked.is_list else self._downloaded(newest.index, view.project),
            shown=self._descriptions.shown(facts.description, facts.description_type),
            asked=asked,
            kinds=_kinds(view.versions),
            versions=chosen[(page - 1) * per_page : page * per_page],
            newer_prereleases=_newer_prereleases(view.versions, newest),
            count=len(chosen),
            is_mixed=any(one.index != view.index.name for one in view.versions),
            page=page,
            last=last,
        )

    def _downloaded(self, index: str, project: str) -> tuple[ProjectDownloads, Markup] | None:
        """Return the downloads of the project from ``index``, with bars of the last days; None when there are none."""
        found = self._downloads.of_project(index, project)
        return (found, day_bars(found.days)) if found.total else None


def _asked(request: Request) -> Asked:
    page, kind, containing = (parameter(request, name) for name in (b"page", b"kind", b"filter"))
    return Asked(
        bool(page or kind or containing),
        containing[:_LONGEST_FILTER].strip(),
        kind if kind in _KINDS else "",
        max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
    )


_KINDS: Final = {
    "": lambda one: True,
    "releases": lambda one: not one.is_prerelease and one.yanked is False,
    "prereleases": lambda one: one.is_prerelease,
    "yanked": lambda one: one.yanked is not False,
}


def _kinds(versions: Sequence[ListedVersion]) -> list[tuple[str, int]]:
    """Return the kinds of which there are versions, with how many of them."""
    counts = [(kind, sum(map(belongs, versions))) for kind, belongs in _KINDS.items()]
    return [(kind, count) for kind, count in counts if count]


def _newer_prereleases(versions: Sequence[ListedVersion], newest: ListedVersion | None) -> list[ListedVersion]:
    """Return the latest pre-releases after ``newest``; none where that is one itself."""
    if newest is None or newest.is_prerelease:
        return []
    newer = [one for one in versions if one.is_prerelease and one.age > newest.age]
    return newer[:_MOST_PRERELEASES]


def _chosen(versions: Sequence[ListedVersion], asked: Asked) -> list[ListedVersion]:
    """Return the versions that are asked for; where the description is shown, too, pre-releases only if there is nothing else."""
    if asked.is_list:
        return [one for one in versions if asked.containing in one.version and _KINDS[asked.kind](one)]
    return [one for one in versions if not one.is_prerelease] or list(versions)

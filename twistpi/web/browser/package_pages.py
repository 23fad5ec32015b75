"""Makes the pages of projects and releases, which share what they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from twistpi.web.browser.descriptions import Descriptions, RendererProcess
from twistpi.web.browser.docs_page import DocsPage
from twistpi.web.browser.frame import Frames
from twistpi.web.browser.project_page import ProjectPage
from twistpi.web.browser.project_views import ProjectViews
from twistpi.web.browser.release_events import ReleaseEvents
from twistpi.web.browser.release_page import ReleasePage
from twistpi.web.browser.rendering import Renderer
from twistpi.web.browser.result_pages import ResultPages, ResultReader
from twistpi.web.browser.routing import Route, page_only
from twistpi.web.components import Components
from twistpi.web.handlers.docs import DocsHandler
from twistpi.web.project_sources import ProjectSources

_RELEASE = "/<name:user>/<name:index>/<name:project>/<version>"


@attrs.frozen
class PackagePages:
    """The pages of projects, releases, test results and documentation."""

    project: ProjectPage
    release: ReleasePage
    results: ResultPages
    docs: DocsPage

    def routes(self) -> Sequence[Route]:
        """Return the routes at which there is nothing for programs."""
        return (
            (f"{_RELEASE}/+d/<path:path>", ["GET"], self.docs.show),
            (f"{_RELEASE}/+toxresults/<filename>", ["GET"], page_only(self.results.of_file)),
            (f"{_RELEASE}/+toxresults/<filename>/<result>", ["GET"], page_only(self.results.single)),
        )


def make_package_pages(
    parts: Components, sources: ProjectSources, docs: DocsHandler, frames: Frames, renderer: Renderer
) -> PackagePages:
    """Return the pages of a site that is built from ``parts``."""
    access, offload, blobs = parts.access, parts.offload, parts.storage.blobs
    views = ProjectViews(access, sources, parts.mirrors, blobs, offload, parts.clock, parts.policies)
    descriptions = Descriptions(parts.render_description or RendererProcess())
    events = ReleaseEvents(parts.changelog_folder, offload, parts.clock)
    results = ResultReader(blobs, parts.mirrors.blobs, offload)
    return PackagePages(
        ProjectPage(frames, views, access.policy, parts.downloads, descriptions, renderer, offload),
        ReleasePage(frames, views, results, events, access, descriptions, renderer, offload),
        ResultPages(access, frames, results, renderer, offload, parts.policies),
        DocsPage(access, docs, frames, renderer, offload),
    )

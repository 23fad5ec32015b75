"""Fixtures of the browser tests: Debian's chromium, a server that a company uses, and people who look at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Protocol

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.browsing import FLAGS, Visitor
from tests.browser.filling import fill
from tests.browser.upstream_process import running
from tests.fakes.live_server import LiveServer
from tests.live.test_live_commands import CHEAP


class NewVisitor(Protocol):
    """Makes people who look at the server, each with cookies and settings of their own."""

    def __call__(self, *, has_scripts: bool = True) -> Visitor: ...


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with all that is in ``company``; tests add to it, and change nothing that other tests look at."""
    folder = tmp_path_factory.mktemp("company")
    with running() as upstream:
        live = LiveServer(folder / "data", folder / "twistd.log")
        try:
            live.start("--upstream", upstream, environment=CHEAP)
            fill(live.url)
            yield live
        finally:
            live.end()
    assert "Traceback" not in live.told()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser, with a profile of its own."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: make programs, or as root: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Browser, server: LiveServer) -> Iterator[NewVisitor]:
    contexts = []

    def arrive(*, has_scripts: bool = True) -> Visitor:
        context = chromium.new_context(java_script_enabled=has_scripts)
        contexts.append(context)
        return Visitor(context, server.url, has_scripts)

    yield arrive
    for context in contexts:
        context.close()

"""Pages of projects and releases show what policies hide, why, and when it appears."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.browser.browser_asking import page, texts
from tests.web.web_asking import nobody
from tests.web.web_world import MIRROR, World, link
from twistpi.model.changes import IndexModified

DAY = 86400
OLD, YOUNG = "2026-11-01T00:00:00.000000Z", "2026-11-17T00:00:00.000000Z"


@pytest.fixture
def world(world: World) -> World:
    """A mirror with an old release, and a young one of two files."""
    young = [link(name, name.encode(), upload_time=YOUNG) for name in ("demo-2.0.tar.gz", "demo-2.0-py3-none-any.whl")]
    world.list_links("demo", [link("demo-1.0.tar.gz", upload_time=OLD), *young])
    return world


def configure(world: World, **config: Any) -> None:
    world.commit(IndexModified(MIRROR, config))


def test_a_hidden_version_is_struck_out_with_the_rule_and_the_moment_it_appears(world: World) -> None:
    configure(world, min_release_age=7 * DAY)
    shown = page(nobody(world), f"/{MIRROR}/demo")
    assert texts(shown, "h1") == ["demo 1.0"]
    assert texts(shown, ".versions .struck") == ["2.0"]
    (reason,) = texts(shown, ".versions .reason")
    assert reason == (
        "Not offered, by the rule min_release_age of root/pypi: it was uploaded less than 7 days ago. "
        "It appears 2026-11-24 00:00:00 UTC."
    )
    (origin,) = texts(shown, ".origins p")
    assert origin == (
        "1 file shown. 2 files not offered, by min_release_age of root/pypi. The next one appears 2026-11-24 00:00:00 UTC."
    )
    world.clock.advance(7 * DAY)
    assert texts(page(nobody(world), f"/{MIRROR}/demo"), "h1") == ["demo 2.0"]


def test_what_is_hidden_has_no_command_that_installs_it(world: World) -> None:
    configure(world, deny=["demo>=2"])
    assert texts(page(nobody(world), f"/{MIRROR}/demo"), ".tabs") != []
    assert texts(page(nobody(world), f"/{MIRROR}/demo/2.0"), ".tabs") == []
    configure(world, deny=["demo"])
    shown = page(nobody(world), f"/{MIRROR}/demo")
    assert texts(shown, ".tabs") == []
    assert "no description" not in shown.text()


def test_a_shell_takes_a_version_with_an_epoch_for_what_it_is(world: World) -> None:
    world.list_links("era", [link("era-1!2.0.tar.gz", upload_time=OLD)])
    (command, *_) = texts(page(nobody(world), f"/{MIRROR}/era/1!2.0"), ".tabs code")
    assert command.endswith(" 'era==1!2.0'")


def test_the_page_of_a_hidden_version_says_so_and_what_to_do_and_has_no_links_to_files(world: World) -> None:
    configure(world, deny=["demo>=2"])
    shown = page(nobody(world), f"/{MIRROR}/demo/2.0")
    (notice,) = texts(shown, ".notice")
    assert notice.startswith("Not offered, by the rule deny of root/pypi: demo>=2 is denied.")
    assert "Take another version" in notice
    assert len(texts(shown, ".files .struck")) == 2
    assert shown.css(".files a") == []
    assert world.metadata.asked == []


def test_of_a_version_that_is_hidden_in_part_the_hidden_files_are_struck_out(world: World) -> None:
    configure(world, deny_sdists=True)
    shown = page(nobody(world), f"/{MIRROR}/demo/2.0")
    assert texts(shown, ".files .struck") == ["demo-2.0.tar.gz"]
    assert shown.css(".notice") == []


def test_what_a_policy_only_reports_is_offered_and_marked(world: World) -> None:
    configure(world, deny_sdists=True, policy_mode="report")
    shown = page(nobody(world), f"/{MIRROR}/demo/1.0")
    assert shown.css(".files .struck") == []
    assert texts(shown, ".files .reason")[0].startswith("Would not be offered, by the rule deny_sdists of root/pypi")

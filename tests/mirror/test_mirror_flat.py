"""Flat pages as upstreams: one HTML page or listing of a folder, with the files of many projects."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes.upstream import HTML, Document, Fault, Status, WrongBody
from tests.fakes.wheels import make_wheel
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_setup import Setup
from tests.mirror.test_mirror_names import json_names
from twistpi.mirror.pages import GONE
from twistpi.model.errors import UnknownProject, UpstreamFailed

WHEEL = "hello-1.0-py3-none-any.whl"
OTHER_WHEEL = "hello-9.0-py3-none-any.whl"
CONTENT = make_wheel("hello", "1.0")
FLAT = "/wheels/"


def set_flat(setup: Setup, *filenames: str) -> None:
    """Let the flat page link these files."""
    links = "".join(f'<a href="{name}">{name}</a>' for name in filenames)
    for name in filenames:
        setup.fake.add_file(FLAT + name, CONTENT)
    setup.fake.documents[FLAT] = Document(f"<html><h1>Our wheels</h1>{links}</html>".encode(), HTML)


def names_of(setup: Setup, project: str) -> set[str]:
    """The files that the mirror lists of a project."""
    return {file.link.filename for file in setup.project(project).offered}


@in_reactor
async def test_a_flat_page_is_a_mirror_of_many_projects(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(mirror_url_kind="flat")
    set_flat(setup, WHEEL, "other_one-1.0.tar.gz", "third-1.0.tar.gz")
    await setup.set_up(mirror_url=setup.fake.url + FLAT)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"
    assert (await setup.mirror.ensure(setup.index, "other-one")).kind == "miss"
    with pytest.raises(UnknownProject):
        await setup.mirror.ensure(setup.index, "nothing")
    assert setup.fake.count(FLAT) == 1, "who installs asks for one project after the other"
    assert names_of(setup, "hello") == {WHEEL}
    assert await setup.download("hello", WHEEL) == CONTENT
    await until(lambda: setup.file("hello", WHEEL).cached)
    assert json_names(await setup.names.ensure(setup.index)) == {"hello", "other-one", "third"}
    set_flat(setup, "third-1.0.tar.gz", "third-2.0.tar.gz")
    setup.clock.shift += 1801
    assert (await setup.mirror.ensure(setup.index, "hello")).reason == GONE
    assert setup.file("hello", WHEEL).vanished or setup.project("hello").vanished
    assert (await setup.mirror.ensure(setup.index, "third")).kind == "miss"
    assert names_of(setup, "third") == {"third-1.0.tar.gz", "third-2.0.tar.gz"}


@pytest.mark.parametrize("fault", [Status(404), Status(403), WrongBody(b"<title>Maintenance</title><p>Back soon")])
@in_reactor
async def test_a_flat_page_that_is_not_there_says_nothing_of_projects(make_setup: Callable[..., Setup], fault: Fault) -> None:
    setup = make_setup(mirror_url_kind="flat")
    set_flat(setup, WHEEL)
    await setup.set_up(mirror_url=setup.fake.url + FLAT)
    await setup.mirror.ensure(setup.index, "hello")
    setup.fake.misbehave(FLAT, fault)
    setup.clock.shift += 1801
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "stale"
    with pytest.raises(UpstreamFailed):
        await setup.mirror.ensure(setup.index, "other")
    assert not setup.project("hello").vanished


@in_reactor
async def test_another_kind_of_upstream_takes_effect_with_the_next_request(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    setup.fake.documents["/simple/"] = Document(f"<a href=/f/{OTHER_WHEEL}>x</a>".encode(), HTML)
    await setup.set_up(mirror_url_kind="flat")
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "revalidated"
    assert names_of(setup, "hello") == {OTHER_WHEEL}

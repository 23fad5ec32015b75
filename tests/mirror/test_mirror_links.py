"""Links that vary, and links that died while the page they stand on is fresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from tests.fakes.upstream import CutOff, Status
from tests.in_reactor import in_reactor
from tests.mirror.mirror_setup import Setup, start
from tests.mirror.test_mirror_core_metadata import METADATA, ask, make_wheel
from twistpi.model.changes import LinksChanged
from twistpi.model.errors import UnknownFile, UpstreamFailed

NAMES = [f"hello-{number}.0-py3-none-any.whl" for number in range(1, 5)]
WHEEL = NAMES[0]
CONTENT = make_wheel()
PAGE = "/simple/hello/"


def sign(setup: Setup, signature: str, content: bytes = CONTENT, folder: str = "/files/hello", **options: Any) -> None:
    """Have the page's links carry ``signature``, and the upstream refuse those with an earlier one."""
    fake = setup.fake
    extra = {name: {"url": f"{folder}/{name}?Signature={signature}"} for name in NAMES}
    fake.add_project("hello", dict.fromkeys(NAMES, content), extra=extra, **options)
    for name in NAMES:
        fake.add_file(f"{folder}/{name}", content)


def refuse(setup: Setup, signature: str, status: int, *, beside: str = "") -> None:
    """Have the upstream refuse links with ``signature``."""
    for name in NAMES:
        setup.fake.misbehave(f"/files/hello/{name}{beside}?Signature={signature}", Status(status))


@pytest.mark.parametrize("hashes", [("sha256",), ()])
@pytest.mark.parametrize("status", [401, 403, 404, 410])
@in_reactor
async def test_a_link_that_died_is_looked_up_on_the_page_again(setup: Setup, status: int, hashes: tuple[str, ...]) -> None:
    sign(setup, "one", hashes=hashes)
    await setup.mirror.ensure(setup.index, "hello")
    refuse(setup, "one", status)
    sign(setup, "two", hashes=hashes)
    assert await setup.download("hello", WHEEL) == CONTENT
    assert await setup.download("hello", NAMES[1]) == CONTENT
    assert setup.fake.count(PAGE) == 2


@in_reactor
async def test_files_that_moved_are_found_where_the_page_says_now(setup: Setup) -> None:
    sign(setup, "one")
    await setup.mirror.ensure(setup.index, "hello")
    sign(setup, "two", folder="/moved")
    refuse(setup, "one", 404)
    found = await gatherResults([start(setup.download("hello", name)) for name in NAMES])
    assert (found, setup.fake.count(PAGE)) == ([CONTENT] * len(NAMES), 2)


@in_reactor
async def test_a_download_that_broke_goes_on_from_the_new_link(setup: Setup) -> None:
    sign(setup, "one")
    await setup.mirror.ensure(setup.index, "hello")
    setup.fake.misbehave(f"/files/hello/{WHEEL}?Signature=one", CutOff(150_000), times=1)
    refuse(setup, "one", 403)
    sign(setup, "two")
    assert await setup.download("hello", WHEEL) == CONTENT
    assert setup.fake.seen[-1].path.endswith("=two")
    assert setup.fake.seen[-1].header("Range") == "bytes=150000-"


@pytest.mark.parametrize("announced", [True, False])
@in_reactor
async def test_core_metadata_is_found_by_the_new_link(setup: Setup, announced: bool) -> None:
    wheel = make_wheel()
    options: dict[str, Any] = {"metadata": {WHEEL: METADATA}} if announced else {}
    sign(setup, "one", wheel, **options)
    await setup.mirror.ensure(setup.index, "hello")
    refuse(setup, "one", 403)
    refuse(setup, "one", 403, beside=".metadata")
    sign(setup, "two", wheel, **options)
    assert await ask(setup, WHEEL) == METADATA
    asked = f"/files/hello/{WHEEL}.metadata?Signature=two" if announced else f"/files/hello/{WHEEL}?Signature=two"
    assert setup.fake.count(asked) > 0


@in_reactor
async def test_metadata_that_no_page_lists_and_that_is_not_there_costs_no_page(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(mirror_provides_core_metadata=True)
    sign(setup, "one", make_wheel())
    await setup.mirror.ensure(setup.index, "hello")
    assert await ask(setup, WHEEL) == METADATA
    assert setup.fake.count(f"/files/hello/{WHEEL}.metadata?Signature=one") == 1
    assert setup.fake.count(PAGE) == 1


@pytest.mark.parametrize(("status", "error"), [(404, UnknownFile), (403, UpstreamFailed)])
@in_reactor
async def test_a_file_that_is_gone_for_good_does_not_cost_a_page_each_time(
    setup: Setup, status: int, error: type[Exception]
) -> None:
    sign(setup, "one")
    await setup.mirror.ensure(setup.index, "hello")
    refuse(setup, "one", status)
    for _ in range(5):
        with pytest.raises(error):
            await setup.download("hello", WHEEL)
    assert setup.fake.count(PAGE) == 2
    setup.clock.shift += 60.0
    with pytest.raises(error):
        await setup.download("hello", WHEEL)
    assert setup.fake.count(PAGE) == 3


@in_reactor
async def test_an_upstream_whose_page_fails_meanwhile_leaves_the_first_error(setup: Setup) -> None:
    sign(setup, "one")
    await setup.mirror.ensure(setup.index, "hello")
    refuse(setup, "one", 403)
    setup.fake.misbehave(PAGE, Status(500))
    with pytest.raises(UpstreamFailed, match="it answered 403"):
        await setup.download("hello", WHEEL)


@in_reactor
async def test_links_that_are_signed_anew_are_no_news_and_the_newest_is_used(setup: Setup) -> None:
    for number in range(10):
        sign(setup, str(number))
        await setup.mirror.ensure(setup.index, "hello", force=True)
    assert len(setup.changes(LinksChanged)) == 1
    assert await setup.download("hello", WHEEL) == CONTENT
    assert [seen.path for seen in setup.fake.seen if WHEEL in seen.path] == [f"/files/hello/{WHEEL}?Signature=9"]


@in_reactor
async def test_a_mirror_that_is_aimed_elsewhere_uses_no_address_of_the_former_upstream(setup: Setup) -> None:
    for signature in ("one", "two"):
        sign(setup, signature)
        await setup.mirror.ensure(setup.index, "hello", force=True)
    await setup.set_up(mirror_url=f"{setup.fake.url}/other/")
    assert await setup.download("hello", WHEEL) == CONTENT
    assert setup.fake.seen[-1].path.endswith("=one")

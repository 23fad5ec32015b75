"""Test results of releases: the table, and pages of files and of single results."""

from __future__ import annotations

import orjson
import pytest

from tests.web.browser.browser_asking import BROWSER, links, page, texts
from tests.web.web_asking import Person, add_stage, logged_in, nobody
from tests.web.web_uploads import path_of
from tests.web.web_world import World, link

DEV = "alice/dev"
WHEEL = "demo-1.0-py3-none-any.whl"
RESULTS = f"/{DEV}/demo/1.0/+toxresults/{WHEEL}"
PROBE = '"><b data-probe>x</b>'


@pytest.fixture
def alice(world: World) -> Person:
    world.add_user("alice", "secret")
    add_stage(world, DEV)
    world.list_links("demo", [link(WHEEL), link("demo-1.0.tar.gz")], index=DEV)
    return logged_in(world, "alice")


def post(alice: Person, *, python: str = "py312", status: int = 0, output: str = "it ran\n", host: str = "ci") -> None:
    run = {"command": ["pytest", output[:9]], "output": output, "retcode": status}
    told = {"host": host, "platform": "linux", "testenvs": {python: {"test": [run], "python": {"version": "3.12.1"}}}}
    assert alice.ask("POST", path_of(alice.world, DEV, WHEEL, "demo"), orjson.dumps(told)).status == 200


def test_a_release_shows_which_file_passed_where(world: World, alice: Person) -> None:
    assert page(nobody(world), f"/{DEV}/demo/1.0").css("table.results") == []
    post(alice)
    post(alice, python="py313", status=1)
    shown = page(nobody(world), f"/{DEV}/demo/1.0")
    assert texts(shown, "table.results thead th") == ["Environment", WHEEL]
    assert texts(shown, "table.results tbody tr") == ["py312, linux, ci passed", "py313, linux, ci failed"]
    for href in links(shown, "table.results a"):
        assert href.startswith(RESULTS)
        page(nobody(world), href)


def test_results_of_a_file_are_listed_the_newest_first(world: World, alice: Person) -> None:
    for number in range(23):
        post(alice, python=f"py{number}")
    shown = page(nobody(world), RESULTS)
    assert [row.rpartition("linux ")[2] for row in texts(shown, "tbody tr")][::19] == ["py22 passed", "py3 passed"]
    assert "3 older results not shown" in shown.text()
    assert "Nobody has tested this file yet" in page(nobody(world), RESULTS.replace(WHEEL, "demo-1.0.tar.gz")).text()


def test_a_result_shows_commands_with_their_output_as_text(world: World, alice: Person) -> None:
    post(alice, status=3, output=PROBE, host=PROBE, python=PROBE)
    (row,) = links(page(nobody(world), RESULTS), "tbody a")
    shown = page(nobody(world), row)
    assert shown.css("[data-probe]") == []
    assert texts(shown, ".command pre") == [PROBE]
    assert texts(shown, ".command summary")[0].startswith("exit status 3 pytest")
    whole = [href for href in links(shown) if "/%2Bf/" in href]
    assert nobody(world).get(whole[0], accept=BROWSER).json()["host"] == PROBE


def test_a_result_that_cannot_be_read_is_told(world: World, alice: Person) -> None:
    assert alice.ask("POST", path_of(world, DEV, WHEEL, "demo"), b'{"testenvs": 1}').status == 200
    assert texts(page(nobody(world), RESULTS), "td") == ["cannot be read"]
    (row,) = links(page(nobody(world), RESULTS), "tbody a")
    assert "cannot be read" in texts(page(nobody(world), row), ".notice")[0]


@pytest.mark.parametrize(
    "path", [RESULTS.replace("1.0/", "2.0/"), RESULTS + "x", f"{RESULTS}/nothing", RESULTS.replace("demo/", "other/")]
)
def test_what_is_not_there_is_told(world: World, alice: Person, path: str) -> None:
    page(nobody(world), path, 404)


def test_there_is_nothing_for_programs_at_the_pages_of_results(world: World, alice: Person) -> None:
    assert nobody(world).get(RESULTS, accept="*/*").status == 404


def test_results_of_a_closed_index_are_for_its_readers(world: World, alice: Person) -> None:
    add_stage(world, "alice/closed", acl_read=["alice"])
    world.list_links("demo", [link(WHEEL)], index="alice/closed")
    path = RESULTS.replace(DEV, "alice/closed")
    page(nobody(world), path, 403)
    page(alice, path)

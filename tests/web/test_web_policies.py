"""Policies of indexes on pages and at the addresses of files."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from tests.web.web_asking import logged_in
from tests.web.web_wire import Answer, Wire
from tests.web.web_world import MIRROR, NOW, World, link
from twistpi.model.changes import IndexCreated, IndexModified
from twistpi.model.records import Link
from twistpi.rules.index_config import normalised
from twistpi.rules.mirrors import file_path

DAY = 86400
OLD = link("hello-1.0.tar.gz", b"old", upload_time="2026-11-01T00:00:00.000000Z")
YOUNG = link("hello-2.0.tar.gz", b"young", upload_time="2026-11-17T00:00:00.000000Z")
JSON = "application/vnd.pypi.simple.v1+json"
DEV = "ann/dev"


@pytest.fixture
def world(world: World) -> World:
    """A mirror with an old and a young file, and a private index above it."""
    world.list_links("hello", [OLD, YOUNG])
    world.add_user("ann")
    world.commit(IndexCreated(DEV, {"type": "stage", "bases": [MIRROR]}))
    return world


def configure(world: World, index: str = MIRROR, **config: Any) -> None:
    world.commit(IndexModified(index, config))


def names(world: World, index: str = MIRROR) -> list[str]:
    page = json.loads(page_of(world, index).body)
    return [file["filename"] for file in page["files"]]


def page_of(world: World, index: str = MIRROR) -> Answer:
    return Wire(world).ask(f"/{index}/+simple/hello/", accept=JSON)


def get(world: World, one: Link, index: str = MIRROR, method: str = "GET") -> Answer:
    return Wire(world).ask(f"/{index}/{file_path(one)}", method)


def test_what_is_too_young_is_neither_on_the_page_nor_at_its_address(world: World) -> None:
    world.cache_file("hello", YOUNG, b"young")
    assert get(world, YOUNG).status == 200  # and ready from now on
    configure(world, min_release_age=7 * DAY)
    assert names(world) == names(world, DEV) == ["hello-1.0.tar.gz"]
    for _ in range(2):
        refused = get(world, YOUNG)
        assert (refused.status, refused.headers["x-twistpi-policy"]) == (
            403,
            "min_release_age; index=root/pypi; until=2026-11-24T00:00:00Z",
        )
        assert b"uploaded less than 7 days ago" in refused.body
    assert get(world, YOUNG, DEV).status == 403


def test_a_page_changes_at_the_second_a_file_is_old_enough(world: World) -> None:
    configure(world, min_release_age=7 * DAY)
    before = page_of(world)
    visible_at = int(before.headers["x-twistpi-policy"].removeprefix("next="))
    world.clock.advance(visible_at - NOW - 1)
    assert names(world) == ["hello-1.0.tar.gz"]
    world.clock.advance(1)
    after = page_of(world)
    assert [file["filename"] for file in json.loads(after.body)["files"]] == ["hello-1.0.tar.gz", "hello-2.0.tar.gz"]
    assert after.headers["etag"] != before.headers["etag"]
    assert "x-twistpi-policy" not in after.headers


@pytest.mark.parametrize("uploaded", ["2026-12-31T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", None])
def test_what_was_uploaded_in_the_future_or_nobody_knows_when_is_held_back(world: World, uploaded: str | None) -> None:
    odd = link("hello-3.0.tar.gz", b"odd", upload_time=uploaded)
    world.list_links("hello", [odd])
    configure(world, min_release_age=7 * DAY)
    assert names(world) == ["hello-1.0.tar.gz"]
    assert get(world, odd).status == 403


def test_a_clock_that_is_set_back_hides_by_address_what_is_young_again(world: World) -> None:
    world.cache_file("hello", YOUNG, b"young")
    configure(world, min_release_age=7 * DAY)
    world.clock.rightNow += 7 * DAY
    assert get(world, YOUNG, method="HEAD").status == 200
    world.clock.rightNow -= 7 * DAY
    assert get(world, YOUNG).status == 403


def test_a_clock_that_is_set_back_takes_off_pages_what_is_young_again_so_that_installers_fall_back(world: World) -> None:
    document = f"/{MIRROR}/hello/json"
    configure(world, min_release_age=7 * DAY)
    world.clock.rightNow += 7 * DAY
    for _ in range(2):  # and ready from now on
        assert names(world) == ["hello-1.0.tar.gz", "hello-2.0.tar.gz"]
        assert list(json.loads(Wire(world).ask(document).body)["releases"]) == ["1.0", "2.0"]
    world.clock.rightNow -= 7 * DAY
    for _ in range(2):
        assert names(world) == ["hello-1.0.tar.gz"]
        assert list(json.loads(Wire(world).ask(document).body)["releases"]) == ["1.0"]


def test_a_rule_counts_in_the_very_next_answer_also_where_everything_was_ready(world: World) -> None:
    world.cache_file("hello", YOUNG, b"young")
    world.list_links("hello", [link("hello-2.0-py3-none-any.whl", b"wheel", upload_time=OLD.upload_time)])
    metadata = world.cache_metadata("hello", link("hello-2.0-py3-none-any.whl", b"wheel"), b"Name: hello")
    ready = world.components.traffic

    def asked() -> tuple[int, int, int]:
        return len(names(world)), get(world, YOUNG).status, Wire(world).ask(metadata).status

    for _ in range(3):
        assert asked() == (3, 200, 200)
    assert min(ready.ready_pages, ready.ready_files, ready.ready_metadata) > 0
    configure(world, deny=["hello>=2"])
    assert asked() == (1, 403, 403)
    configure(world, deny=[])
    assert asked() == (3, 200, 200)


def test_a_rule_of_a_base_counts_on_all_that_inherits_from_it(world: World) -> None:
    world.cache_file("hello", YOUNG, b"young")
    world.commit(IndexCreated("ann/top", {"type": "stage", "bases": [DEV]}))
    configure(world, DEV, deny=["hello>=2"])
    page = json.loads(page_of(world, "ann/top").body)
    assert [file["filename"] for file in page["files"]] == ["hello-1.0.tar.gz"]
    assert get(world, YOUNG, "ann/top").status == 403
    configure(world, "ann/top", policy_mode="report")
    assert get(world, YOUNG, "ann/top").status == 403, "the mode is that of the index that has the rule"


@pytest.mark.parametrize("spelled", ["Hello", "HELLO", "hel_lo", "hel.lo"])
def test_another_spelling_of_a_name_is_the_same_name(world: World, spelled: str) -> None:
    project = "hello" if "." not in spelled and "_" not in spelled else "hel-lo"
    filename = f"{spelled.replace('.', '_')}-1.0.tar.gz"
    one = link(filename, b"spelled")
    world.list_links(project, [one])
    world.commit(IndexModified(MIRROR, normalised("mirror", {"deny": [spelled]}, lambda _base: True)))
    assert get(world, one).status == 403


def test_of_what_is_left_a_yanked_version_is_still_yanked(world: World) -> None:
    world.list_links("hello", [attrs.evolve(OLD, filename="hello-1.5.tar.gz", yanked="it breaks")])
    configure(world, min_release_age=7 * DAY)
    files = json.loads(page_of(world).body)["files"]
    assert [(file["filename"], file.get("yanked")) for file in files] == [
        ("hello-1.0.tar.gz", None),
        ("hello-1.5.tar.gz", "it breaks"),
    ]


def test_the_policy_of_a_private_index_counts_on_its_pages_and_below_it(world: World) -> None:
    world.cache_file("hello", YOUNG, b"young")
    configure(world, DEV, deny=["hello>=2"])
    assert names(world) == ["hello-1.0.tar.gz", "hello-2.0.tar.gz"]
    page = json.loads(page_of(world, DEV).body)
    assert [file["url"] for file in page["files"]] == [f"../../{file_path(OLD)}"]
    assert get(world, YOUNG).status == 200
    assert get(world, YOUNG, DEV).status == 403


def test_own_uploads_are_not_held_back(world: World) -> None:
    configure(world, DEV, min_release_age=7 * DAY, deny=["mine"], deny_sdists=True)
    world.list_links("mine", [link("mine-1.0.tar.gz", b"mine")], index=DEV)
    page = json.loads(Wire(world).ask(f"/{DEV}/+simple/mine/", accept=JSON).body)
    assert [file["filename"] for file in page["files"]] == ["mine-1.0.tar.gz"]


def test_quarantine_holds_for_uploads_too_on_the_index_and_on_what_inherits_from_it(world: World) -> None:
    top = "ann/top"
    world.commit(IndexCreated(top, {"type": "stage", "bases": [DEV]}))
    for version in ("1.0", "2.0"):
        world.list_links("mine", [link(f"mine-{version}.tar.gz", version.encode())], index=DEV)
    bad = file_path(link("mine-2.0.tar.gz", b"2.0"))
    world.cache_file("mine", link("mine-2.0.tar.gz", b"2.0"), b"2.0", DEV)
    assert Wire(world).ask(f"/{DEV}/{bad}").status == 200
    configure(world, DEV, quarantined=["mine==2.0 it steals"])
    for index in (DEV, top):
        page = json.loads(Wire(world).ask(f"/{index}/+simple/mine/", accept=JSON).body)
        assert [file["filename"] for file in page["files"]] == ["mine-1.0.tar.gz"]
        refused = Wire(world).ask(f"/{index}/{bad}")
        assert (refused.status, b"mine==2.0 is in quarantine, it steals" in refused.body) == (403, True)
    told = json.loads(Wire(world).ask(f"/{DEV}/mine", accept="application/json").body)["result"]
    assert ["+links" in told[version] for version in ("1.0", "2.0")] == [True, False]


def test_what_an_allow_list_does_not_name_does_not_exist_and_is_not_asked_for(world: World) -> None:
    configure(world, allow=["other"])
    world.mirror.asked.clear()
    for index in (MIRROR, DEV):
        assert page_of(world, index).status == 404
    assert world.mirror.asked == []
    configure(world, allow=["hello<2"])
    assert names(world) == ["hello-1.0.tar.gz"]


def test_a_policy_that_only_reports_counts_what_it_would_refuse(world: World) -> None:
    world.cache_file("hello", YOUNG, b"young")
    configure(world, min_release_age=7 * DAY, policy_mode="report")
    assert names(world) == ["hello-1.0.tar.gz", "hello-2.0.tar.gz"]
    for _ in range(3):  # the fast path must not answer any of them
        assert get(world, YOUNG).status == 200
    measures = {(measure.name, measure.labels): measure.value for measure in world.components.policies.refused.measures()}
    labels = (("index", MIRROR), ("rule", "min_release_age"), ("mode", "report"))
    assert measures == {("twistpi_policy_refusals_total", labels): 3}


def test_the_refusal_is_json_for_those_who_ask_for_it(world: World) -> None:
    configure(world, deny=["hello==2.0"])
    answer = Wire(world).ask(f"/{MIRROR}/{file_path(YOUNG)}", accept="application/json")
    assert answer.status == 403
    told = json.loads(answer.body)
    assert told.pop("message").startswith("hello-2.0.tar.gz is not offered, by the rule deny of root/pypi: ")
    assert told == {
        "rule": "deny",
        "index": MIRROR,
        "reason": "hello==2.0 is denied",
        "since": None,
        "until": None,
        "remedy": "Take another version, or ask who administers root/pypi.",
    }


def test_a_browser_is_shown_the_rule_the_reason_until_when_and_what_to_do(world: World) -> None:
    configure(world, min_release_age=7 * DAY)
    answer = Wire(world).ask(f"/{MIRROR}/{file_path(YOUNG)}", accept="text/html")
    assert (answer.status, answer.headers["x-twistpi-policy"].partition(";")[0]) == (403, "min_release_age")
    page = answer.body.decode()
    assert "<h1>hello-2.0.tar.gz is not offered</h1>" in page
    assert "it was uploaded less than 7 days ago" in page
    assert "<dt>Until</dt><dd>2026-11-24T00:00:00Z</dd>" in page
    assert "<dt>What to do</dt><dd>Take an older version until then" in page


def test_administrators_see_who_asks_for_what_is_refused_malware_and_quarantine_first(world: World) -> None:
    configure(world, deny_sdists=True)
    get(world, YOUNG)
    configure(world, quarantined=["hello==2.0 it steals passwords"])
    for _ in range(2):
        Wire(world).ask(f"/{MIRROR}/{file_path(YOUNG)}", user_agent="uv/0.9")
    get(world, OLD)
    root = logged_in(world, "root")
    first, second = root.get("/+policy").json()["result"]["refused"]
    assert (first["rule"], first["count"], first["agent"], first["filenames"]) == ("quarantined", 2, "uv/0.9", [YOUNG.filename])
    assert (second["rule"], second["count"], second["filenames"]) == ("deny_sdists", 2, [OLD.filename, YOUNG.filename])
    page = root.get("/+policy", accept="text/html").body.decode()
    assert page.index("it steals passwords") < page.index("it is a source distribution")
    assert Wire(world).ask("/+policy").status == 403


def test_core_metadata_of_a_refused_file_is_refused_as_well(world: World) -> None:
    configure(world, deny=["hello"])
    assert Wire(world).ask(f"/{MIRROR}/{file_path(OLD)}.metadata").status == 403


def test_json_about_a_project_and_pushes_know_only_what_is_offered(world: World) -> None:
    world.cache_file("hello", YOUNG, b"young")
    configure(world, deny=["hello>=2"])
    legacy = json.loads(Wire(world).ask(f"/{MIRROR}/hello/json").body)
    assert list(legacy["releases"]) == ["1.0"]
    told = json.loads(Wire(world).ask(f"/{DEV}/hello", accept="application/json").body)
    assert list(told["result"]) == ["1.0"]
    ann = logged_in(world, "ann")
    answer = ann.ask("PUSH", f"/{MIRROR}", {"name": "hello", "version": "2.0", "targetindex": DEV})
    assert (answer.status, b"there are no files for hello 2.0" in answer.body) == (400, True)


def test_name_lists_have_only_what_allow_lists_name(world: World) -> None:
    world.names.put("names.txt", b"acme-a\nacme-b\nhello\nnumpy\n")
    world.names.put("page.json", b"{}")
    world.list_links("mine", [link("mine-1.0.tar.gz")], index=DEV)

    def listed(index: str) -> tuple[list[str], str]:
        answer = Wire(world).ask(f"/{index}/+simple/", accept=JSON)
        return [one["name"] for one in json.loads(answer.body)["projects"]], answer.headers["etag"]

    configure(world, DEV, allow=["acme-*", "hello<2"])
    assert listed(DEV)[0] == ["acme-a", "acme-b", "hello", "mine"]
    configure(world, allow=["acme-b", "numpy"])
    first, tag = listed(MIRROR)
    assert first == ["acme-b", "numpy"]
    assert listed(DEV)[0] == ["acme-b", "mine"]
    configure(world, allow=["numpy"])
    assert listed(MIRROR)[0] == ["numpy"]
    assert listed(MIRROR)[1] != tag
    told = json.loads(Wire(world).ask(f"/{MIRROR}", accept="application/json").body)
    assert told["result"]["projects"] == ["numpy"]

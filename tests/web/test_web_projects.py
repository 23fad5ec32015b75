"""Projects and releases as JSON."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import pytest

from tests.web.web_asking import add_stage, nobody, serial_of
from tests.web.web_uploads import DEV, NAME, upload, wheel, with_stages
from tests.web.web_wire import JSON_PAGE, Wire
from tests.web.web_world import MIRROR, MakeWorld, World, link, sha256
from twistpi.model.changes import FileCached, IndexModified
from twistpi.model.errors import UpstreamFailed

WHEEL = link("My_Pkg-1.0-py3-none-any.whl", b"wheel", requires_python=">=3.9")
SDIST = link("my-pkg-1.0.tar.gz", b"sdist")
YANKED = link("my-pkg-0.9.tar.gz", b"yanked", yanked="too old")
HASHLESS = link("my-pkg-0.1.zip", hashes={})
ROOT = "http://devpi.example"


@pytest.fixture
def mirrored(world: World) -> World:
    world.list_links("my-pkg", [WHEEL, SDIST, YANKED, HASHLESS])
    return world


def get(world: World, path: str, **headers: str) -> Any:
    return nobody(world).get(path, **headers)


def test_a_project_is_every_release_with_its_files(mirrored: World) -> None:
    answer = get(mirrored, f"/{MIRROR}/my-pkg")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    told = answer.json()
    assert told["type"] == "projectconfig"
    assert set(told["result"]) == {"1.0", "0.9", "0.1"}
    digest = sha256(b"wheel")
    assert told["result"]["1.0"] == {
        "name": "my-pkg",
        "version": "1.0",
        "requires_python": ">=3.9",
        "+links": [
            {
                "rel": "releasefile",
                "hash_spec": f"sha256={digest}",
                "hashes": {"sha256": digest},
                "href": f"{ROOT}/{MIRROR}/+f/{digest[:3]}/{digest[3:16]}/{WHEEL.filename}",
            },
            {
                "rel": "releasefile",
                "hash_spec": f"sha256={sha256(b'sdist')}",
                "hashes": {"sha256": sha256(b"sdist")},
                "href": f"{ROOT}/{MIRROR}/+f/{sha256(b'sdist')[:3]}/{sha256(b'sdist')[3:16]}/{SDIST.filename}",
                "requires_python": "",
            },
        ],
    }
    assert told["result"]["0.9"]["yanked"] == "too old"


def test_every_file_is_where_it_is_said_to_be(mirrored: World) -> None:
    for release in get(mirrored, f"/{MIRROR}/my-pkg").json()["result"].values():
        for told in release["+links"]:
            path = told["href"].removeprefix(ROOT)
            facts = get(mirrored, path)
            assert facts.json()["result"]["hash_spec"] == told["hash_spec"]


def test_a_file_without_a_digest_says_so_until_its_bytes_are_here(mirrored: World) -> None:
    def told() -> Any:
        return get(mirrored, f"/{MIRROR}/my-pkg/0.1").json()["result"]["+links"][0]

    assert told()["hash_spec"] == ""
    assert "hashes" not in told()
    before = told()["href"]
    path = before.removeprefix(f"{ROOT}/{MIRROR}/")
    mirrored.commit(FileCached(MIRROR, "my-pkg", HASHLESS.filename, sha256(b"zip"), 3, path=path))
    assert told()["hash_spec"] == f"sha256={sha256(b'zip')}"
    assert told()["href"] == before


def test_a_release_is_the_same_object_as_in_its_project(mirrored: World) -> None:
    project = get(mirrored, f"/{MIRROR}/my-pkg").json()["result"]
    for version, release in project.items():
        answer = get(mirrored, f"/{MIRROR}/my-pkg/{version}")
        assert answer.json() == {"type": "versiondata", "result": release}


@pytest.mark.parametrize("version", ["1.0+local.1", "1%2E0%2Blocal.1", "1.0%2Blocal.1"])
def test_versions_may_hold_a_plus(world: World, version: str) -> None:
    world.list_links("demo", [link("demo-1.0+local.1-py3-none-any.whl")])
    assert get(world, f"/{MIRROR}/demo/{version}").json()["result"]["version"] == "1.0+local.1"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"/{MIRROR}/nope", "no project 'nope'"),
        (f"/{MIRROR}/nope/1.0", "no project 'nope'"),
        (f"/{MIRROR}/my-pkg/9.9", "The version 9.9 of project my-pkg does not exist."),
        ("/alice/none/my-pkg", "The stage alice/none could not be found."),
        ("/alice/none/my-pkg/1.0", "The stage alice/none could not be found."),
    ],
)
def test_what_is_unknown_is_a_404_with_the_words_clients_know(mirrored: World, path: str, message: str) -> None:
    answer = get(mirrored, path)
    assert (answer.status, answer.json()) == (404, {"message": message})


@pytest.mark.parametrize("path", ["my-pkg", "my-pkg/1.0"])
def test_a_failing_upstream_is_a_502(world: World, path: str) -> None:
    world.mirror.failure = UpstreamFailed(MIRROR, "my-pkg", "it answered 500")
    assert get(world, f"/{MIRROR}/{path}").status == 502


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("query", ["", "?ignore_bases", "?ignore_bases="])
def test_both_forms_of_the_path_are_answered(mirrored: World, slash: str, query: str) -> None:
    assert get(mirrored, f"/{MIRROR}/my-pkg{slash}{query}").json()["type"] == "projectconfig"
    assert get(mirrored, f"/{MIRROR}/my-pkg/1.0{slash}").json()["type"] == "versiondata"


@pytest.mark.parametrize("path", ["My.Pkg", "My.Pkg/", "my__pkg?ignore_bases=", "MY_PKG/1.0", "My.Pkg/1.0/", "My.Pkg/1.0+x?a=b"])
def test_other_spellings_lead_to_the_normal_name_with_the_query(mirrored: World, path: str) -> None:
    asked = f"/{MIRROR}/{path}"
    answer = get(mirrored, asked)
    assert answer.status == 302
    target = urljoin(asked, answer.headers["location"])
    plain, mark, query = path.partition("?")
    rest = plain.partition("/")[2]
    assert target.startswith(f"/{MIRROR}/my-pkg")
    assert target.endswith(mark + query)
    assert rest.rstrip("/") in target
    assert get(mirrored, target).status == (404 if "+x" in path else 200)


def test_head_answers_any_spelling(mirrored: World) -> None:
    for path in ("My.Pkg", "my-pkg", "My.Pkg/1.0"):
        assert nobody(mirrored).ask("HEAD", f"/{MIRROR}/{path}").status == 200


def test_a_name_that_is_none_is_refused(world: World) -> None:
    assert get(world, f"/{MIRROR}/-x").status == 400
    assert get(world, f"/{MIRROR}/-x/1.0").status == 400


@pytest.mark.parametrize(("agent", "accept"), [("pip/26.3", "application/json"), ("pip/26.3", "*/*"), ("uv/0.13", JSON_PAGE)])
def test_installers_get_the_page_whatever_they_accept(mirrored: World, agent: str, accept: str) -> None:
    answer = Wire(mirrored).ask(f"/{MIRROR}/my-pkg", user_agent=agent, accept=accept)
    assert answer.status == 200
    assert b"projectconfig" not in answer.body


def test_tools_that_accept_anything_are_led_to_the_simple_page(mirrored: World) -> None:
    path = f"/{MIRROR}/my-pkg"
    answer = Wire(mirrored).ask(path, accept="*/*")
    assert (answer.status, urljoin(path, answer.headers["location"])) == (302, f"/{MIRROR}/+simple/my-pkg/")
    assert Wire(mirrored).ask(f"{path}/1.0", accept="*/*").json()["type"] == "versiondata"


def test_addresses_begin_with_what_the_client_calls_the_server(make_world: MakeWorld) -> None:
    world = make_world(outside_url="https://pkgs.example/devpi")
    world.list_links("my-pkg", [WHEEL])
    told = get(world, f"/devpi/{MIRROR}/my-pkg/1.0").json()["result"]["+links"][0]["href"]
    assert told.startswith(f"https://pkgs.example/devpi/{MIRROR}/+f/")


# Private indexes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def dev(mirrored: World) -> World:
    """``alice/dev`` has 1.0 and 2.0 itself and lets the mirror add to it; ``alice/base`` has 2.0 too."""
    add_stage(mirrored, "alice/base")
    add_stage(mirrored, "alice/dev", bases=["alice/base", MIRROR], mirror_whitelist=["my-pkg"])
    mirrored.list_links("my-pkg", [link("my-pkg-1.0.tar.gz", b"own"), link("my-pkg-2.0.tar.gz", b"own 2")], index="alice/dev")
    mirrored.list_links("my-pkg", [link("my-pkg-2.0.zip", b"base")], index="alice/base")
    return mirrored


def hrefs(release: Any) -> list[str]:
    return [link["href"].removeprefix(f"{ROOT}/").partition("/+f/")[0] for link in release["+links"]]


def test_the_nearest_index_tells_a_release_and_the_others_stand_in_its_shadow(dev: World) -> None:
    result = get(dev, "/alice/dev/my-pkg").json()["result"]
    assert set(result) == {"1.0", "2.0", "0.9", "0.1"}
    assert hrefs(result["1.0"]) == ["alice/dev"]
    assert [hrefs(shadowed) for shadowed in result["1.0"]["+shadowing"]] == [[MIRROR, MIRROR]]
    assert [hrefs(shadowed) for shadowed in result["2.0"]["+shadowing"]] == [["alice/base"]]
    assert "+shadowing" not in result["0.9"]
    assert get(dev, "/alice/dev/my-pkg/1.0").json()["result"] == result["1.0"]


def test_ignoring_bases_tells_what_the_index_has_itself(dev: World) -> None:
    result = get(dev, "/alice/dev/my-pkg/?ignore_bases=").json()["result"]
    assert set(result) == {"1.0", "2.0"}
    assert "+shadowing" not in result["1.0"]
    assert dev.mirror.asked == [], "nobody else needs to be asked"
    dev.list_links("other", [link("other-1.0.tar.gz")])
    assert get(dev, "/alice/dev/other?ignore_bases").json()["result"] == {}
    assert get(dev, "/alice/dev/nope?ignore_bases").status == 404


def test_spellings_of_one_version_shadow_each_other_when_one_is_asked_for(dev: World) -> None:
    dev.list_links("my-pkg", [link("my-pkg-1.0.0.zip", b"spelled")], index="alice/base")
    told = get(dev, "/alice/dev/my-pkg/1.0").json()["result"]
    assert [shadowed["version"] for shadowed in told["+shadowing"]] == ["1.0.0", "1.0"]


def test_a_large_project_is_told_beside_the_reactor(world: World) -> None:
    world.list_links("demo", [link(f"demo-1.{number}.tar.gz") for number in range(150)])
    works: list[str] = []
    real = world.offload

    def offload(work: Any, *arguments: Any) -> Any:
        works.append(work.__name__)
        return real(work, *arguments)

    world.offload = offload
    assert len(get(world, f"/{MIRROR}/demo").json()["result"]) == 150
    assert works


# The form of devpi-server 7 ------------------------------------------------------------------------------------------


def test_a_project_is_shown_in_the_form_of_7_to_clients_that_ask_for_it(world: World) -> None:
    alice = with_stages(world)
    world.commit(IndexModified(DEV, {"bases": [MIRROR]}))
    upload(alice, DEV, "demo_pkg-1.0-py3-none-any.whl", wheel())
    answer = alice.get(f"/{DEV}/{NAME}?v=2").json()
    assert answer["type"] == "projectconfig_v2"
    told = answer["result"]
    assert told["config"] == {"name": NAME}
    assert [(step["name"], step["action"]) for step in told["inheritance_info"]["traversal_infos"]] == [
        (DEV, "traversed"),
        (MIRROR, "blocked"),
    ]
    (link_told,) = told["versions"]["1.0"]["+links"]
    assert link_told["relpath"].startswith("+f/")
    assert link_told["href"].endswith(f"/{DEV}/{link_told['relpath']}")
    assert alice.get(f"/{DEV}/{NAME}/1.0?v=2").json()["result"] == told["versions"]["1.0"]
    plain = alice.get(f"/{DEV}/{NAME}").json()
    assert (plain["type"], list(plain["result"])) == ("projectconfig", ["1.0"])
    assert alice.get(f"/{DEV}/{NAME}?v=3").status == 400


def test_mirrors_may_add_to_a_project_in_words_of_7(world: World) -> None:
    alice = with_stages(world)
    answer = alice.ask("PATCH", f"/{DEV}/Demo.Pkg?v=2", {"inheritance_rules": ["allow all"]})
    told = {"name": NAME, "inheritance_rules": ["allow all"]}
    assert (answer.status, answer.json()) == (200, {"type": "projectconfig", "result": told})
    assert alice.get(f"/{DEV}").json()["result"]["mirror_whitelist"] == [NAME]
    assert alice.ask("PATCH", f"/{DEV}/{NAME}?v=2", ["inheritance_rules-="]).json()["result"] == {"name": NAME}
    before = serial_of(world)
    assert alice.ask("PATCH", f"/{DEV}/{NAME}?v=2", {"inheritance_rules": "x"}).status == 400
    assert nobody(world).ask("PATCH", f"/{DEV}/{NAME}?v=2", {"inheritance_rules": "allow all"}).status == 403
    assert alice.ask("PATCH", f"/alice/none/{NAME}?v=2", {"inheritance_rules": "allow all"}).status in (403, 404)
    assert serial_of(world) == before

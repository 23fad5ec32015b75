"""The JSON API of the public index: projects and releases for pip-tools, Renovate and others."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.fakes.wheels import metadata
from tests.web.web_asking import Person, add_stage, logged_in, nobody
from tests.web.web_uploads import DEV, SDIST, WHEEL, sdist, upload, wheel, with_stages
from tests.web.web_wire import JSON_PAGE
from tests.web.web_world import MIRROR, MakeWorld, World, at_once, link, sha256
from twistpi.model.changes import FileCached, IndexModified, MetadataCached
from twistpi.model.errors import UpstreamFailed, UpstreamUnreachable
from twistpi.model.records import PageHeader
from twistpi.model.releases import DOCZIP, AttachmentAdded, ProjectMarked

ROOT = "http://devpi.example"
MIRRORED = link(WHEEL, b"wheel", requires_python=">=3.9")
OLD = link("demo_pkg-0.9-py3-none-any.whl", b"old", hashes={"sha256": sha256(b"old"), "md5": "5" * 32})
LINKS = [MIRRORED, link(SDIST, b"sdist"), OLD, link("demo_pkg-2.0b1.tar.gz", b"beta")]
METADATA = metadata("demo-pkg", "1.0", ["six>=1.0"])


@pytest.fixture
def mirrored(world: World) -> World:
    world.list_links("demo-pkg", LINKS, header=PageHeader(last_serial=77))
    world.cache_metadata("demo-pkg", MIRRORED, METADATA)
    return world


def get(world: World, path: str, **headers: str) -> Any:
    return nobody(world).get(path, **headers)


def test_a_project_is_told_as_the_public_index_tells_it(mirrored: World) -> None:
    answer = get(mirrored, f"/{MIRROR}/demo-pkg/json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    told = answer.json()
    assert set(told) == {"info", "last_serial", "ownership", "releases", "urls", "vulnerabilities"}
    assert (told["last_serial"], answer.headers["x-pypi-last-serial"], told["vulnerabilities"]) == (77, "77", [])
    assert list(told["releases"]) == ["0.9", "1.0", "2.0b1"]
    info = told["info"]
    assert (info["name"], info["version"], info["requires_dist"]) == ("demo-pkg", "1.0", ["six>=1.0"])
    assert info["package_url"] == f"{ROOT}/{MIRROR}/demo-pkg/"
    assert told["urls"] == told["releases"]["1.0"]
    digest = sha256(b"wheel")
    assert told["urls"][0] == {
        "comment_text": None,
        "digests": {"sha256": digest},
        "downloads": -1,
        "filename": WHEEL,
        "has_sig": False,
        "md5_digest": None,
        "packagetype": "bdist_wheel",
        "python_version": "py3",
        "requires_python": ">=3.9",
        "size": 5,
        "upload_time": "2026-11-22T17:24:48",
        "upload_time_iso_8601": "2026-11-22T17:24:48.123456Z",
        "url": f"{ROOT}/{MIRROR}/%2Bf/{digest[:3]}/{digest[3:16]}/{WHEEL}",
        "yanked": False,
        "yanked_reason": None,
    }
    assert told["releases"]["0.9"][0]["md5_digest"] == "5" * 32


def test_a_release_is_told_without_the_others(mirrored: World) -> None:
    told = get(mirrored, f"/{MIRROR}/demo-pkg/2.0-beta.1/json").json()
    assert set(told) == {"info", "last_serial", "ownership", "urls", "vulnerabilities"}
    assert (told["info"]["version"], [file["packagetype"] for file in told["urls"]]) == ("2.0b1", ["sdist"])


@pytest.mark.parametrize("start", ["root/pypi/pypi", "root/pypi/+simple", "root/pypi/+simple/pypi", "pypi"])
@pytest.mark.parametrize("rest", ["demo-pkg/json", "Demo_Pkg/json/", "demo-pkg/1.0/json"])
def test_every_address_that_programs_derive_has_the_same(make_world: MakeWorld, start: str, rest: str) -> None:
    world = make_world(json_index=MIRROR)
    world.list_links("demo-pkg", LINKS)
    assert get(world, f"/{start}/{rest}").body == get(world, f"/{MIRROR}/{rest}").body


def test_without_the_setting_the_root_has_no_such_address(mirrored: World) -> None:
    answer = get(mirrored, "/pypi/demo-pkg/json")
    assert (answer.status, answer.json()["message"]) == (404, "The stage pypi/demo-pkg could not be found.")


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{MIRROR}/nope/json", "The project nope does not exist on root/pypi."),
        (f"{MIRROR}/demo-pkg/7/json", "The version 7 of project demo-pkg does not exist."),
        (f"{MIRROR}/+simple/demo-pkg/7/json", "The version 7 of project demo-pkg does not exist."),
        ("alice/none/demo-pkg/json", "The stage alice/none could not be found."),
    ],
)
def test_what_is_unknown_is_a_404_in_json(mirrored: World, path: str, message: str, accept: str) -> None:
    answer = get(mirrored, f"/{path}", accept=accept)
    assert (answer.status, answer.json()) == (404, {"message": message})


@pytest.mark.parametrize("project", ["json", "pypi"])
def test_projects_with_the_names_of_addresses_are_where_all_are(world: World, project: str) -> None:
    world.list_links(project, [link(f"{project}-1.0.tar.gz", b"1")])
    world.list_links("demo-pkg", LINKS)
    assert get(world, f"/{MIRROR}/{project}").json()["type"] == "projectconfig"
    assert get(world, f"/{MIRROR}/{project}/1.0").json()["type"] == "versiondata"
    assert get(world, f"/{MIRROR}/+simple/{project}/", accept=JSON_PAGE).json()["name"] == project
    assert get(world, f"/{MIRROR}/{project}/json").json()["info"]["name"] == project
    assert get(world, f"/{MIRROR}/pypi/{project}/1.0/json").json()["info"]["name"] == project
    assert get(world, f"/{MIRROR}/pypi/demo-pkg/json").json()["info"]["name"] == "demo-pkg"


def test_own_releases_and_inherited_ones_are_told_together(mirrored: World) -> None:
    alice = with_stages(mirrored)
    mirrored.commit(IndexModified(DEV, {"bases": [MIRROR], "mirror_whitelist": ["demo-pkg"]}))
    upload(alice, DEV, WHEEL, wheel(), summary="Ours")
    upload(alice, DEV, "demo_pkg-1.1-py3-none-any.whl", wheel("1.1"), version="1.1")
    told = get(mirrored, f"/{DEV}/demo-pkg/json").json()
    assert list(told["releases"]) == ["0.9", "1.0", "1.1", "2.0b1"]
    assert (told["info"]["version"], told["info"]["requires_dist"]) == ("1.1", ["six"])
    assert told["ownership"]["roles"] == [{"role": "Owner", "user": "alice"}]
    assert mirrored.metadata.asked == []
    owners = [file["url"].removeprefix(f"{ROOT}/").partition("/%2B")[0] for file in told["releases"]["1.0"]]
    assert owners == [DEV, MIRROR]
    for file in told["releases"]["1.0"] + told["releases"]["1.1"]:
        facts = get(mirrored, file["url"].removeprefix(ROOT)).json()["result"]
        assert facts["hashes"] == file["digests"]


def test_what_changes_shows_at_once(world: World) -> None:
    alice = with_stages(world)
    upload(alice, DEV, WHEEL, wheel())
    path = f"/{DEV}/demo-pkg/json"
    first = get(world, path)
    assert get(world, path, if_none_match=first.headers["etag"]).status == 304
    upload(alice, DEV, SDIST, sdist())
    second = get(world, path, if_none_match=first.headers["etag"])
    assert len(second.json()["urls"]) == 2
    assert alice.ask("PUT", f"/{DEV}/demo-pkg/1.0/+yank", {"reason": "broken"}).status == 200
    third = get(world, path).json()["info"]
    assert (third["yanked"], third["yanked_reason"]) == (True, "broken")


def test_it_is_compressed_for_those_who_want_it(mirrored: World) -> None:
    path = f"/{MIRROR}/demo-pkg/json"
    plain, packed = get(mirrored, path), get(mirrored, path, accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept, Accept-Encoding"
    head = nobody(mirrored).ask("HEAD", path)
    assert (head.status, head.headers["content-length"]) == (200, str(len(plain.body)))


def test_addresses_are_those_at_which_the_caller_knows_the_server(mirrored: World) -> None:
    for host in ("one.example", "two.example:81", "one.example"):
        told = get(mirrored, f"/{MIRROR}/demo-pkg/json", host=host).json()
        assert told["urls"][0]["url"].startswith(f"http://{host}/{MIRROR}/%2Bf/")
        assert told["info"]["release_url"] == f"http://{host}/{MIRROR}/demo-pkg/1.0/"


# Core metadata -------------------------------------------------------------------------------------------------------


def test_core_metadata_is_fetched_for_the_described_version_alone(mirrored: World) -> None:
    get(mirrored, f"/{MIRROR}/demo-pkg/json")
    assert mirrored.metadata.asked == [WHEEL]
    told = get(mirrored, f"/{MIRROR}/demo-pkg/0.9/json").json()
    assert mirrored.metadata.asked == [WHEEL, OLD.filename]
    assert (told["info"]["name"], told["info"]["summary"]) == ("demo-pkg", None)
    get(mirrored, f"/{MIRROR}/demo-pkg/json")
    get(mirrored, f"/{MIRROR}/demo-pkg/0.9/json")
    assert mirrored.metadata.asked == [WHEEL, OLD.filename]


def test_a_document_without_metadata_that_cannot_be_had_now_says_so_and_is_not_kept(mirrored: World) -> None:
    mirrored.metadata.failure = UpstreamUnreachable(MIRROR, WHEEL, "it is silent")
    answer = get(mirrored, f"/{MIRROR}/demo-pkg/json")
    assert (answer.status, answer.headers["x-twistpi-incomplete"]) == (200, f"{MIRROR}: it is silent")
    assert (answer.json()["info"]["requires_dist"], answer.json()["info"]["requires_python"]) == (None, ">=3.9")
    mirrored.metadata.failure = None
    answer = get(mirrored, f"/{MIRROR}/demo-pkg/json")
    assert "x-twistpi-incomplete" not in answer.headers
    assert answer.json()["info"]["requires_dist"] == ["six>=1.0"]


def test_metadata_that_no_reader_understands_is_none(world: World) -> None:
    world.list_links("demo-pkg", LINKS)
    world.cache_metadata("demo-pkg", MIRRORED, b"\0")
    assert get(world, f"/{MIRROR}/demo-pkg/json").json()["info"]["summary"] is None


def test_offline_only_what_is_here_is_told(make_world: MakeWorld) -> None:
    world = make_world(offline=True)
    world.list_links("demo-pkg", LINKS)
    world.commit(FileCached(MIRROR, "demo-pkg", OLD.filename, sha256(b"old"), 3))
    world.commit(MetadataCached(MIRROR, "demo-pkg", OLD.filename, sha256(b""), 0))
    told = get(world, f"/{MIRROR}/demo-pkg/json").json()
    assert [version for version, files in told["releases"].items() if files] == ["0.9"]
    assert world.metadata.asked == [OLD.filename]


def test_a_failing_upstream_is_a_502(world: World) -> None:
    world.mirror.failure = UpstreamFailed(MIRROR, "demo-pkg", "it answered 500")
    assert get(world, f"/{MIRROR}/demo-pkg/json").status == 502


def test_thousands_of_files_are_read_and_written_in_threads(mirrored: World) -> None:
    files = [link(f"large-{number}.0.tar.gz", str(number).encode()) for number in range(3000)]
    mirrored.list_links("large", files)
    worked: list[str] = []

    def offload(work: Any, *arguments: Any) -> Any:
        worked.append(work.__name__)
        return at_once(work, *arguments)

    mirrored.offload = offload
    told = get(mirrored, f"/{MIRROR}/large/json").json()
    assert (len(told["releases"]), told["info"]["version"]) == (3000, "2999.0")
    assert worked == ["_read", "_render"]
    get(mirrored, f"/{MIRROR}/large/json")
    assert len(worked) == 2


# Who may read it -----------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(world: World) -> Person:
    """Alice, with a closed index and one of bob's that inherits it."""
    world.add_user("alice", None)
    world.add_user("bob", None)
    add_stage(world, "alice/dev", acl_read=["alice"])
    add_stage(world, "bob/dev", bases=["alice/dev"])
    alice = logged_in(world, "alice")
    upload(alice, "alice/dev", WHEEL, wheel())
    return alice


@pytest.mark.parametrize("index", ["alice/dev", "bob/dev"])
def test_a_closed_index_is_told_to_those_who_may_read_it(closed: Person, index: str) -> None:
    path = f"/{index}/demo-pkg/json"
    answer = closed.get(path)
    assert (answer.status, answer.headers["cache-control"]) == (200, "private, no-cache")
    assert answer.headers["vary"] == "Accept, Accept-Encoding, Authorization, X-Devpi-Auth, Cookie"
    assert answer.json()["urls"][0]["url"].startswith(f"{ROOT}/{index}/%2Bf/")
    assert nobody(closed.world).get(path).status == 401
    assert logged_in(closed.world, "bob").get(path).status == 403


def test_documentation_that_is_here_is_told_with_the_project(world: World) -> None:
    alice = with_stages(world)
    upload(alice, DEV, WHEEL, wheel())
    assert get(world, f"/{DEV}/demo-pkg/json").json()["info"]["docs_url"] is None
    docs = AttachmentAdded(DEV, "demo-pkg", "1.0", DOCZIP, "demo-pkg-1.0.doc.zip", "0" * 64, 1, "+f/x/demo-pkg-1.0.doc.zip")
    world.commit(docs)
    told = f"{ROOT}/{DEV}/demo-pkg/1.0/+d/index.html"
    assert get(world, f"/{DEV}/demo-pkg/json").json()["info"]["docs_url"] == told
    world.commit(ProjectMarked(DEV, "demo-pkg", "quarantined"))
    assert get(world, f"/{DEV}/demo-pkg/json").json()["info"]["docs_url"] is None

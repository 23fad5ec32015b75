"""Private releases as JSON: what was said of them, what belongs to them, and who did what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.archives.made_archives import packed, tar_of, zip_of
from tests.fakes.wheels import make_wheel
from tests.web.web_asking import Person, add_stage, nobody
from tests.web.web_uploads import DEV, NAME, PROD, SDIST, WHEEL, files, page, path_of, release, sdist, upload, wheel, with_stages
from tests.web.web_wire import Wire
from tests.web.web_world import MIRROR, World, link, sha256
from twistpi.blobs.address import blob_address, metadata_address
from twistpi.model.releases import AttachmentAdded, FileUploaded, LogLine, ReleaseDescribed

ROOT = "http://devpi.example"
WHEN = [2026, 11, 22, 17, 0, 0]
TEXTS = (
    "name version metadata_version summary home_page author author_email maintainer maintainer_email license description"
    " keywords download_url comment requires_python description_content_type license_expression"
)
LISTS = (
    "platform classifiers supported_platform provides requires obsoletes project_urls provides_dist obsoletes_dist requires_dist"
    " requires_external provides_extras dynamic license_file"
)


@pytest.fixture
def alice(world: World) -> Person:
    return with_stages(world)


def upload_log(**more: Any) -> dict[str, Any]:
    return {"what": "upload", "who": "alice", "when": WHEN, "dst": DEV, **more}


def test_a_release_is_told_with_every_field_and_link_of_the_protocol(world: World, alice: Person) -> None:
    upload(alice, DEV, WHEEL, wheel(), name="Demo.Pkg", classifiers=["A :: B", "C"], summary="ü")
    upload(alice, DEV, "docs.zip", zip_of(), action="doc_upload", name="Demo.Pkg")
    tested = path_of(world, DEV, WHEEL).removeprefix(f"/{DEV}/")
    result = f"{tested}.toxresult-20261122170000-0"
    world.commit(
        AttachmentAdded(DEV, NAME, "1.0", "toxresult", result.rpartition("/")[2], "f" * 64, 5, result, WHEEL), by="+anonymous"
    )
    told = release(alice, DEV)
    links = told.pop("+links")
    empty = {**dict.fromkeys(TEXTS.split(), ""), **{key: [] for key in LISTS.split()}}
    assert told == {
        **empty, "name": "Demo.Pkg", "version": "1.0", "metadata_version": "2.1", "summary": "ü", "classifiers": ["A :: B", "C"],
        "requires_python": ">=3.8", "requires_dist": ["six"],
    }  # fmt: skip
    docs, here = sha256(zip_of()), f"{ROOT}/{DEV}"
    assert links == [
        {
            "rel": "releasefile", "hash_spec": f"sha256={sha256(wheel())}", "hashes": {"sha256": sha256(wheel())},
            "href": f"{here}/{tested}", "log": [upload_log()],
        },
        {
            "rel": "doczip", "hash_spec": f"sha256={docs}", "hashes": {"sha256": docs},
            "href": f"{here}/+f/{docs[:3]}/{docs[3:16]}/{NAME}-1.0.doc.zip", "log": [upload_log()],
        },
        {
            "rel": "toxresult", "hash_spec": f"sha256={'f' * 64}", "hashes": {"sha256": "f" * 64}, "href": f"{here}/{result}",
            "for_href": f"{here}/{tested}", "log": [upload_log(who=None)],
        },
    ]  # fmt: skip


def test_the_metadata_of_a_release_is_that_of_its_last_file_and_no_mixture(world: World, alice: Person) -> None:
    upload(alice, DEV, WHEEL, make_wheel(NAME, "1.0", more=["License: MIT"]), license="MIT")
    old = tar_of({"demo_pkg-1.0/PKG-INFO": b"Metadata-Version: 2.4\nName: demo-pkg\nVersion: 1.0\nLicense-Expression: MIT\n"})
    upload(alice, DEV, SDIST, packed("a.tar.gz", old), license_expression="MIT")
    told = release(alice, DEV)
    assert (told["license"], told["license_expression"], told["requires_python"]) == ("", "MIT", "")
    assert [link.get("requires_python") for link in told["+links"]] == [">=3.8", None], "a link says what is its own"


@pytest.mark.directory("removes a file from the directory")
def test_version_data_say_what_is_common_and_what_is_a_files_own(world: World, alice: Person) -> None:
    other = "demo_pkg-1.0-py3-none-linux_x86_64.whl"
    first = make_wheel(NAME, "1.0", ["six"], more=["Summary: Fast", "Classifier: A"])
    upload(alice, DEV, other, first)
    upload(alice, DEV, WHEEL, make_wheel(NAME, "1.0", ["six", "numpy"]))
    upload(alice, DEV, SDIST, sdist())
    last = make_wheel(NAME, "1.0", ["six", "numpy"], more=["Keywords: a"])
    upload(alice, DEV, "demo_pkg-1.0-py3-none-win32.whl", last, summary="of the form", license="of the form")
    told = release(alice, DEV)
    assert (told["requires_dist"], told["keywords"]) == (["six", "numpy"], "a")
    plain = {"rel", "href", "hash_spec", "hashes", "log"}
    own = {link["href"].rpartition("/")[2]: {key: link[key] for key in link.keys() - plain} for link in told["+links"]}
    assert own == {
        other: {"requires_dist": ["six"], "summary": "Fast", "classifiers": ["A"], "keywords": ""},
        WHEEL: {"summary": "", "keywords": ""},
        SDIST: {},
        "demo_pkg-1.0-py3-none-win32.whl": {"summary": ""},
    }
    versions = alice.get(f"/{DEV}/{NAME}").json()["result"]
    assert all(link.keys() <= plain for link in versions["1.0"]["+links"]), "that would read a file for each wheel of a project"
    world.blobs.remove(metadata_address(blob_address(sha256(first), other)))
    assert all("classifiers" not in link for link in release(alice, DEV)["+links"]), "what is not on this disk counts as equal"


def test_a_release_is_the_same_object_as_in_its_project(world: World, alice: Person) -> None:
    for version in ("1.0", "2.0"):
        upload(alice, DEV, f"demo_pkg-{version}.tar.gz", sdist(version), version=version)
    project = alice.get(f"/{DEV}/{NAME}").json()
    assert (project["type"], set(project["result"])) == ("projectconfig", {"1.0", "2.0"})
    for version, data in project["result"].items():
        assert alice.get(f"/{DEV}/{NAME}/{version}").json() == {"type": "versiondata", "result": data}


def test_a_pushed_file_tells_where_it_came_from(world: World, alice: Person) -> None:
    log = (LogLine("upload", "bob", "2025-01-02T03:04:05Z", "bob/dev"),)
    world.commit(
        ReleaseDescribed(DEV, NAME, "1.0", {"name": NAME, "version": "1.0"}),
        FileUploaded(DEV, NAME, "1.0", WHEEL, sha256(b"x"), 1, pushed_from="bob/dev", log=log),
        by="alice",
    )
    assert release(alice, DEV)["+links"][0]["log"] == [
        {"what": "upload", "who": "bob", "when": [2025, 1, 2, 3, 4, 5], "dst": "bob/dev"},
        {"what": "push", "who": "alice", "when": WHEN, "src": "bob/dev", "dst": DEV},
    ]


def test_the_nearest_index_tells_a_release_and_bases_stand_in_its_shadow(world: World, alice: Person) -> None:
    add_stage(world, "alice/heir", bases=[DEV, MIRROR], mirror_whitelist=[NAME])
    upload(alice, DEV, WHEEL, wheel())
    upload(alice, "alice/heir", SDIST, sdist())
    world.list_links(NAME, [link("demo-pkg-1.0.zip"), link("demo-pkg-0.9.zip")])
    result = alice.get(f"/alice/heir/{NAME}").json()["result"]
    assert set(result) == {"1.0", "0.9"}
    nearest = result["1.0"]
    assert [told["href"].rpartition("/")[2] for told in nearest["+links"]] == [SDIST]
    assert [shadowed["+links"][0]["href"].split("/+f/")[0] for shadowed in nearest["+shadowing"]] == [
        f"{ROOT}/{DEV}", f"{ROOT}/{MIRROR}",
    ]  # fmt: skip
    assert nearest["+shadowing"][0]["requires_dist"] == ["six"]
    own = alice.get(f"/alice/heir/{NAME}?ignore_bases").json()["result"]
    assert (set(own), "+shadowing" in own["1.0"]) == ({"1.0"}, False)
    add_stage(world, "alice/empty", bases=[DEV])
    assert alice.get(f"/alice/empty/{NAME}/?ignore_bases=").json()["result"] == {}
    assert set(files(world, "alice/heir")) == {WHEEL, SDIST, "demo-pkg-1.0.zip", "demo-pkg-0.9.zip"}


def test_a_version_is_told_as_it_was_first_uploaded_and_found_in_every_spelling(world: World, alice: Person) -> None:
    upload(alice, DEV, "demo_pkg-1.0.tar.gz", sdist("1.0"), version="1.0")
    upload(alice, DEV, "demo_pkg-1.00.tar.gz", sdist("1.00"), version="1.00")
    upload(alice, DEV, "docs.zip", zip_of({"index.html": b"x"}), action="doc_upload", version="v1")
    add_stage(world, "alice/heir", bases=[DEV])
    upload(alice, "alice/heir", "demo_pkg-1.tar.gz", sdist("1"), version="1")
    assert set(alice.get(f"/{DEV}/{NAME}").json()["result"]) == {"1.0"}
    assert (page(world, DEV)["versions"], page(world, "alice/heir")["versions"]) == (["1.0"], ["1"])
    heirs = alice.get(f"/alice/heir/{NAME}").json()["result"]
    assert {version: [one["version"] for one in told["+shadowing"]] for version, told in heirs.items()} == {"1": ["1.0"]}
    for spelled in ("1", "1.00", "v1.0"):
        assert release(alice, DEV, spelled) == release(alice, DEV, "1.0")
        assert nobody(world).get(f"/{DEV}/{NAME}/{spelled}/+doc/").status == 302
        assert alice.ask("PUT", f"/{DEV}/{NAME}/{spelled}/+yank").status == 200
        assert all(file["yanked"] for file in files(world, DEV).values())
        assert alice.ask("DELETE", f"/{DEV}/{NAME}/{spelled}/+yank").status == 200


def test_versions_may_hold_a_plus(world: World, alice: Person) -> None:
    filename = "demo_pkg-1.0+local.1-py3-none-any.whl"
    upload(alice, DEV, filename, wheel("1.0+local.1"), version="1.0+local.1")
    for spelled in ("1.0+local.1", "1.0%2Blocal.1"):
        assert release(alice, DEV, spelled)["version"] == "1.0+local.1"
        assert alice.ask("PUT", f"/{DEV}/{NAME}/{spelled}/+yank").status == 200
    assert files(world, DEV)[filename]["yanked"] is True
    assert alice.ask("DELETE", f"/{DEV}/{NAME}/1.0+local.1").status == 200


# Files -------------------------------------------------------------------------------------------------------------


def test_a_file_tells_whose_it_is(world: World, alice: Person) -> None:
    upload(alice, DEV, "demo-pkg-1.0.exe", b"anything")
    digest = sha256(b"anything")
    assert nobody(world).get(path_of(world, DEV, "demo-pkg-1.0.exe")).json() == {
        "type": "releasefilemeta",
        "result": {
            "last_modified": "Sun, 22 Nov 2026 17:00:00 GMT",
            "hash_spec": f"sha256={digest}",
            "hashes": {"sha256": digest},
            "project": NAME,
            "version": "1.0",
        },
    }
    assert nobody(world).get(f"{path_of(world, DEV, 'demo-pkg-1.0.exe')}?v=2").json()["result"] == {
        "last_modified": "2026-11-22T17:00:00Z", "hashes": {"sha256": digest}, "project": NAME, "version": "1.0", "size": 8,
    }  # fmt: skip


def test_a_file_is_sent_as_a_mirrors_is(world: World, alice: Person) -> None:
    upload(alice, DEV, SDIST, sdist())
    path = path_of(world, DEV, SDIST)
    whole = Wire(world).ask(path)
    assert whole.headers["content-type"] == "application/x-tar"
    assert whole.headers["etag"] == f'"{sha256(sdist())}"'
    assert whole.headers["last-modified"] == "Sun, 22 Nov 2026 17:00:00 GMT"
    part = Wire(world).ask(path, range="bytes=2-5")
    assert (part.status, part.body) == (206, sdist()[2:6])
    assert Wire(world).ask(path, if_none_match=whole.headers["etag"]).status == 304
    head = Wire(world).ask(path, "HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(sdist())))


def test_a_file_of_an_index_that_is_not_open_is_for_its_readers(world: World, alice: Person) -> None:
    upload(alice, DEV, WHEEL, wheel())
    path = path_of(world, DEV, WHEEL)
    assert Wire(world).ask(path).status == 200
    alice.ask("PATCH", f"/{DEV}", ["acl_read=alice"])
    for suffix in ("", ".metadata"):
        assert Wire(world).ask(path + suffix).status == 401
        answer = alice.get(path + suffix, accept="*/*")
        assert (answer.status, "private" in answer.headers["cache-control"]) == (200, True)


@pytest.mark.parametrize("tail", ["nope.whl", "nope.whl.metadata", f"{WHEEL}.asc", f"{WHEEL}.provenance", ".metadata"])
def test_what_was_never_uploaded_is_unknown(world: World, alice: Person, tail: str) -> None:
    upload(alice, DEV, WHEEL, wheel())
    folder = path_of(world, DEV, WHEEL).rpartition("/")[0]
    assert Wire(world).ask(f"{folder}/{tail}").status == 404
    assert world.downloads.opened == 0


@pytest.mark.directory("removes a file from the directory")
def test_a_file_whose_bytes_are_lost_is_an_error_and_nobody_else_is_asked(world: World, alice: Person) -> None:
    upload(alice, PROD, WHEEL, wheel())
    for one in Path(world.folder, "+files").rglob("*.whl"):
        one.unlink()
    answer = Wire(world).ask(path_of(world, PROD, WHEEL))
    assert (answer.status, b"twistpi check --repair has them" in answer.body) == (500, True)
    assert world.downloads.opened == 0

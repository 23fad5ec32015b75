"""How much is asked of an uploaded file: ``upload_checks`` of its index, or the server's."""

from __future__ import annotations

import pytest

from tests.archives.made_archives import packed, tar_of, zip_of
from tests.fakes.wheels import metadata
from tests.web.web_asking import Person
from tests.web.web_uploads import DEV, NAME, SDIST, WHEEL, files, is_accepted, release, sdist, upload, wheel, with_stages
from tests.web.web_wire import Wire
from tests.web.web_world import World
from twistpi.model.changes import IndexModified

INFO = "demo_pkg-1.0.dist-info"
OLD = b"Metadata-Version: 3.0\nName: demo-pkg\nVersion: 1.0\nAuthor: J\xfcrgen\nRequires-Python: >=3.8\n\n"
ODD_WHEEL = zip_of({f"{INFO}/METADATA": OLD, "demo_pkg.py": b""})
FLAT = packed(SDIST, tar_of({"PKG-INFO": OLD, "setup.py": b""}))
LABELLED = WHEEL.replace(".whl", "-cu128.whl")
VARIANTS = "demo_pkg-1.0-variants.json"
OTHER = packed(SDIST, tar_of({"other-1.0/PKG-INFO": metadata("other", "1.0")}))


@pytest.fixture
def alice(world: World) -> Person:
    return with_stages(world)


def check(world: World, checks: str) -> None:
    world.commit(IndexModified(DEV, {"upload_checks": checks}))


UPLOADS = {
    "a good wheel": (WHEEL, wheel(), ("strict", "lenient", "none")),
    "a good sdist": (SDIST, sdist(), ("strict", "lenient", "none")),
    "an odd wheel": (WHEEL, ODD_WHEEL, ("lenient", "none")),
    "an sdist without a folder": (SDIST, FLAT, ("lenient", "none")),
    "a wheel with a label": (LABELLED, wheel(), ("lenient", "none")),
    "variants": (VARIANTS, b"{}", ("lenient", "none")),
    "another project's": (SDIST, OTHER, ("none",)),
    "some bytes as an sdist": (SDIST, b"123", ("none",)),
    "some bytes as a wheel": (WHEEL, b"123", ("none",)),
    "some bytes as an egg": ("demo_pkg-1.0-py3.11.egg", b"", ("none",)),
    "a wheel without tags": ("demo_pkg-1.0.whl", b"123", ("none",)),
    "more behind the version": ("demo_pkg-1.0.foo.tar.gz", b"123", ("none",)),
    "the name of another project": ("other-1.0.tar.gz", b"123", ()),
    "the name of another version": ("demo_pkg-2.0.tar.gz", b"123", ()),
    "no archive's name": ("demo_pkg-1.0.txt", b"123", ()),
}


@pytest.mark.parametrize("checks", ["strict", "lenient", "none"])
@pytest.mark.parametrize("kind", UPLOADS)
def test_an_index_says_which_files_it_takes(world: World, alice: Person, kind: str, checks: str) -> None:
    filename, content, takers = UPLOADS[kind]
    check(world, checks)
    answer = upload(alice, DEV, filename, content)
    assert answer.status == (200 if checks in takers else 400)
    if checks in takers:
        assert is_accepted(answer)
        told = files(world, DEV)[filename]
        assert told["size"] == len(content)
        assert Wire(world).ask(f"/{DEV}/{told['url'].removeprefix('../../')}").body == content


def test_what_an_index_does_not_say_the_server_says(world: World, alice: Person) -> None:
    world.components.storage.upload_checks = "none"
    assert is_accepted(upload(alice, DEV, SDIST, b"123"))
    check(world, "strict")
    assert upload(alice, DEV, SDIST, b"456").status == 400


def test_what_can_be_read_is_used_however_little_is_asked(world: World, alice: Person) -> None:
    check(world, "none")
    upload(alice, DEV, WHEEL, ODD_WHEEL)
    told = files(world, DEV)[WHEEL]
    assert told["requires-python"] == ">=3.8"
    url = f"/{DEV}/{told['url'].removeprefix('../../')}.metadata"
    assert Wire(world).ask(url).body == OLD
    assert release(alice, DEV)["author"] == "J\u00fcrgen"


def test_a_wheel_that_cannot_be_read_promises_no_metadata(world: World, alice: Person) -> None:
    check(world, "none")
    upload(alice, DEV, WHEEL, b"123")
    told = files(world, DEV)[WHEEL]
    assert "core-metadata" not in told
    assert b"data-core-metadata" not in Wire(world).ask(f"/{DEV}/+simple/{NAME}/").content
    assert Wire(world).ask(f"/{DEV}/{told['url'].removeprefix('../../')}.metadata").status == 404


def test_what_is_of_another_project_says_nothing_of_this_one(world: World, alice: Person) -> None:
    check(world, "none")
    upload(alice, DEV, SDIST, OTHER, requires_python=">=3.9")
    assert files(world, DEV)[SDIST]["requires-python"] == ">=3.9"
    assert release(alice, DEV)["name"] == NAME


def test_a_digest_in_the_form_counts_however_little_is_asked(world: World, alice: Person) -> None:
    check(world, "none")
    assert upload(alice, DEV, SDIST, b"123", sha256_digest="0" * 64).status == 400

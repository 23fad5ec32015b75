"""Uploads over HTTP: what is taken, what becomes of it, and how refusals are told."""

from __future__ import annotations

import base64
import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from tests.archives.made_archives import zip_of
from tests.fakes.wheels import metadata
from tests.web.receiving.form_samples import text
from tests.web.web_asking import Person, ask_raw, basic, logged_in, nobody, serial_of, with_api_token
from tests.web.web_uploads import (
    DEV,
    NAME,
    PROD,
    SDIST,
    TYPE,
    WHEEL,
    files,
    form,
    is_accepted,
    page,
    path_of,
    post,
    reason,
    release,
    sdist,
    upload,
    wheel,
    with_stages,
)
from tests.web.web_wire import Wire
from tests.web.web_world import MIRROR, MakeWorld, World, sha256
from twistpi.model.changes import IndexModified
from twistpi.model.releases import ProjectMarked

BOTH = pytest.mark.parametrize("index", [DEV, PROD])


@pytest.fixture
def alice(world: World) -> Person:
    return with_stages(world)


def leftovers(world: World) -> list[str]:
    """The names in ``incoming/`` and of all blobs."""
    blobs = [address.filename for address, _size in world.blobs.walk()]
    return [*os.listdir(Path(world.folder) / "incoming"), *blobs]


@attrs.define(eq=False)
class Observed:
    """A writer, with what was on disk whenever it was called."""

    world: World
    writer: Any
    present: list[set[str]] = attrs.field(factory=list)

    def commit(self, decide: Any, by: str) -> Any:
        self.present.append(set(leftovers(self.world)))
        return self.writer.commit(decide, by)


# What is taken -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_wheel_and_an_sdist_are_there_at_once(world: World, alice: Person, index: str) -> None:
    assert Wire(world).ask(f"/{index}/+simple/{NAME}/").status == 404
    assert is_accepted(upload(alice, index, WHEEL, wheel()))
    assert list(files(world, index)) == [WHEEL]
    assert is_accepted(upload(alice, index, SDIST, sdist()))
    told = page(world, index)
    assert (told["meta"]["api-version"], told["versions"]) == ("1.4", ["1.0"])
    for file, content in zip(told["files"], (wheel(), sdist()), strict=True):
        assert file["hashes"] == {"sha256": sha256(content)}
        assert (file["size"], file["requires-python"]) == (len(content), ">=3.8")
        assert file["upload-time"].endswith("Z")
        assert Wire(world).ask(path_of(world, index, file["filename"])).body == content
    assert world.entries[-1][0] == "alice"


def test_R39_R92_a_wheel_is_listed_with_its_metadata_beside_it(world: World, alice: Person) -> None:
    upload(alice, DEV, WHEEL, wheel())
    told = files(world, DEV)[WHEEL]["core-metadata"]
    beside = metadata(NAME, "1.0", ["six"])
    assert told == {"sha256": sha256(beside)}
    for _again in range(2):
        answer = Wire(world).ask(path_of(world, DEV, WHEEL) + ".metadata")
        assert (answer.status, answer.body) == (200, beside)
        assert "immutable" in answer.headers["cache-control"]


def test_an_sdist_has_no_metadata_beside_it_since_it_may_change_when_it_is_built(world: World, alice: Person) -> None:
    upload(alice, DEV, SDIST, sdist())
    assert "core-metadata" not in files(world, DEV)[SDIST]
    assert Wire(world).ask(path_of(world, DEV, SDIST) + ".metadata").status == 404
    assert world.downloads.opened == 0


def test_an_entry_is_not_written_before_its_blobs_are_kept(world: World, alice: Person) -> None:
    writer = Observed(world, world.components.writer)
    world.rebuild(writer=writer)
    upload(alice, DEV, WHEEL, wheel())
    assert writer.present == [{WHEEL, f"{WHEEL}.metadata"}]


def test_R75_R84_each_path_of_an_index_takes_uploads_and_basic_credentials(world: World, alice: Person) -> None:
    for version, path in (("1.0", f"/{DEV}/"), ("1.1", f"/{DEV}"), ("1.2", f"//{DEV}/"), ("1.3", "/alice/%64ev/?a=b")):
        body = form(f"demo_pkg-{version}-py3-none-any.whl", wheel(version), version=version)
        assert alice.credentials is not None
        given = {"authorization": f"Basic {basic(alice.credentials)}", "content_type": TYPE}
        assert is_accepted(ask_raw(world, "POST", path, body, given)), path
    assert page(world, DEV)["versions"] == ["1.0", "1.1", "1.2", "1.3"]


@pytest.mark.parametrize("prefix", ["/devpi", ""])
def test_uploads_work_below_a_prefix_with_and_without_it(make_world: MakeWorld, prefix: str) -> None:
    world = make_world(outside_url="https://pkgs.example/devpi")
    alice = with_stages(world)
    assert is_accepted(alice.ask("POST", f"{prefix}/{DEV}/", form(WHEEL, wheel()), accept="*/*", content_type=TYPE))


def test_R76_what_is_missing_empty_unknown_or_late_does_no_harm(world: World, alice: Person) -> None:
    body = form(
        SDIST, sdist(), home_page="", license="", comment="", unknown="x", provides_extras="x", import_name="demo",
        import_names="demo", platforms=["", "any"], filetype="sdist", more=[text("attestations", "[]"), text("summary", "late")],
        without=["metadata_version"],
    )  # fmt: skip
    assert is_accepted(post(alice, DEV, body))
    told = release(alice, DEV)
    assert (told["summary"], told["platform"], told["home_page"]) == ("late", ["any"], "")


def test_R77_metadata_is_that_of_the_file_and_the_form_fills_its_gaps(world: World, alice: Person) -> None:
    upload(alice, DEV, WHEEL, wheel(), name="Demo.Pkg", requires_dist="lies", requires_python=">=2", summary="from the form")
    told = release(alice, DEV)
    assert (told["name"], told["requires_dist"], told["requires_python"]) == ("Demo.Pkg", ["six"], ">=3.8")
    assert told["summary"] == "from the form"
    assert files(world, DEV)[WHEEL]["requires-python"] == ">=3.8"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "demo-pkgs"}, "name"),
        ({"version": "1.1"}, "version"),
        ({"sha256_digest": "0" * 64}, "sha256_digest"),
        ({"md5_digest": "0" * 32}, "md5_digest"),
        ({"blake2_256_digest": "0" * 64}, "blake2_256_digest"),
        ({"sha256_digest": sha256(wheel()), "md5_digest": "x"}, "md5_digest"),
    ],
)
def test_R77_R78_a_form_that_says_something_else_is_refused_by_the_name_of_the_field(
    world: World, alice: Person, fields: Any, field: str
) -> None:
    before = serial_of(world)
    answer = upload(alice, DEV, WHEEL, wheel(), **fields)
    assert answer.status == 400
    assert field in reason(answer) or field in ("name", "version")
    assert str(fields.get(field)) in reason(answer)
    assert (serial_of(world), leftovers(world)) == (before, [])


def test_R78_right_digests_are_taken_and_none_have_to_be_given(world: World, alice: Person) -> None:
    assert is_accepted(upload(alice, DEV, WHEEL, wheel(), sha256_digest=sha256(wheel()).upper()))
    assert is_accepted(upload(alice, DEV, SDIST, sdist()))


def test_names_and_versions_in_other_spellings_are_the_same(world: World, alice: Person) -> None:
    assert is_accepted(upload(alice, DEV, WHEEL, wheel(), name="Demo_Pkg"))
    assert is_accepted(upload(alice, DEV, SDIST, sdist(), name="demo.PKG", version="1.0"))
    assert sorted(files(world, DEV)) == [WHEEL, SDIST]
    assert release(alice, DEV)["name"] == "demo.PKG"
    assert alice.get(f"/{DEV}?x").json()["result"]["projects"] == [NAME]


@pytest.mark.parametrize("filename", ["demo_pkg-1.0-py3.9.egg", "demo-pkg-1.0.exe", "demo-pkg-1.0.msi"])
def test_other_kinds_of_files_are_taken_too(world: World, alice: Person, filename: str) -> None:
    content = zip_of({"EGG-INFO/PKG-INFO": metadata(NAME, "1.0")}) if filename.endswith(".egg") else b"anything"
    assert is_accepted(upload(alice, DEV, filename, content))
    assert list(files(world, DEV)) == [filename]


def test_one_file_serves_two_indexes(world: World, alice: Person) -> None:
    for index in (DEV, PROD):
        assert is_accepted(upload(alice, index, WHEEL, wheel()))
    assert sorted(leftovers(world)) == [WHEEL, f"{WHEEL}.metadata"]
    assert path_of(world, DEV, WHEEL).removeprefix(f"/{DEV}") == path_of(world, PROD, WHEEL).removeprefix(f"/{PROD}")


def test_two_projects_of_an_index_may_hold_the_same_bytes(world: World, alice: Person) -> None:
    for name in ("demo-a", "demo-b"):
        assert is_accepted(upload(alice, DEV, f"{name}-1.0.exe", b"same", name=name))
    assert [list(files(world, DEV, name)) for name in ("demo-a", "demo-b")] == [["demo-a-1.0.exe"], ["demo-b-1.0.exe"]]


# Again, and other bytes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "said"), [(DEV, "OK"), (PROD, "Upload of identical file to non volatile index.")])
def test_R80_the_same_bytes_again_are_a_success_and_no_entry(world: World, alice: Person, index: str, said: str) -> None:
    upload(alice, index, WHEEL, wheel())
    before = serial_of(world)
    answer = upload(alice, index, WHEEL, wheel(), summary="another")
    assert is_accepted(answer)
    assert reason(answer) == said
    assert serial_of(world) == before


@pytest.mark.parametrize("accept", ["*/*", "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7"])
def test_R81_R83_other_bytes_under_the_same_name_are_refused_in_status_line_and_body(
    world: World, alice: Person, accept: str
) -> None:
    upload(alice, PROD, WHEEL, wheel(), summary="first")
    before, blobs = serial_of(world), leftovers(world)
    answer = post(alice, PROD, form(WHEEL, wheel(payload=b"other"), summary="second"), accept=accept)
    said = f"{WHEEL} already exists in non-volatile index"
    assert (answer.status, reason(answer)) == (409, said)
    if "json" in accept:
        assert answer.json() == {"message": said, "code": f"409 {said}", "title": said}
    else:
        assert answer.body.decode() == f"{said}\n"
    assert (serial_of(world), leftovers(world), release(alice, PROD)["summary"]) == (before, blobs, "first")


def test_other_bytes_replace_what_a_volatile_index_has_and_the_old_url_is_gone(world: World, alice: Person) -> None:
    upload(alice, DEV, WHEEL, wheel())
    old = path_of(world, DEV, WHEEL)
    for suffix in ("", ".metadata"):
        for _again in range(2):
            assert Wire(world).ask(old + suffix).status == 200
    assert is_accepted(upload(alice, DEV, WHEEL, wheel(payload=b"other")))
    new = path_of(world, DEV, WHEEL)
    assert Wire(world).ask(new).body == wheel(payload=b"other")
    for suffix in ("", ".metadata"):
        assert Wire(world).ask(old + suffix).status == 410
    assert is_accepted(upload(alice, DEV, WHEEL, wheel()))
    assert (Wire(world).ask(old).status, Wire(world).ask(new).status) == (200, 410)
    log = release(alice, DEV)["+links"][0]["log"]
    assert [(line["what"], line["who"], line.get("count")) for line in log] == [("overwrite", None, 2), ("upload", "alice", None)]


def test_a_page_that_was_made_before_an_upload_is_not_served_after_it(world: World, alice: Person) -> None:
    upload(alice, DEV, SDIST, sdist())
    before = Wire(world).ask(f"/{DEV}/+simple/{NAME}/")
    assert Wire(world).ask(f"/{DEV}/+simple/{NAME}/").raw == before.raw
    upload(alice, DEV, WHEEL, wheel())
    after = Wire(world).ask(f"/{DEV}/+simple/{NAME}/", if_none_match=before.headers["etag"])
    assert after.status == 200
    assert WHEEL.encode() in after.content


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "content", "fields", "said"),
    [
        (None, b"", {}, "content file field not found"),
        (None, b"", {"action": "doc_upload"}, "content file field not found"),
        (SDIST, sdist(), {"version": "0.9"}, f"filename '{SDIST}' does not contain version '0.9'"),
        ("demo_pkg-1.0.tar.xz", b"x", {}, "'demo_pkg-1.0.tar.xz' is not a valid archive name"),
        (SDIST, sdist(), {"name": "other"}, f"filename '{SDIST}' does not match project name 'other'"),
        (SDIST, sdist(), {"without": ["name"]}, 'invalid metadata: Missing required field "name"'),
        (SDIST, sdist(), {"version": ""}, 'invalid metadata: Missing required field "version"'),
        (
            SDIST,
            sdist(),
            {"name": "-demo"},
            "invalid metadata: Invalid package name. Names must start with an ASCII letter or digit",
        ),
    ],
)
def test_what_cannot_be_a_release_is_refused_in_the_words_of_the_protocol(
    world: World, alice: Person, filename: str | None, content: bytes, fields: Any, said: str
) -> None:
    before = serial_of(world)
    answer = upload(alice, DEV, filename, content, **fields)
    assert (answer.status, reason(answer), answer.body.decode()) == (400, said, f"{said}\n")
    assert (serial_of(world), leftovers(world)) == (before, [])


@pytest.mark.parametrize("filename", ["../demo_pkg-1.0.tar.gz", "a/demo_pkg-1.0.tar.gz", "demo_pkg-1.0.tar.gz\\x.zip", ".tar.gz"])
def test_R87_a_name_that_leads_elsewhere_is_refused(world: World, alice: Person, filename: str) -> None:
    answer = upload(alice, DEV, filename, sdist())
    assert answer.status == 400
    assert leftovers(world) == []


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        (WHEEL, b"no zip"),
        (WHEEL, zip_of({"demo_pkg/__init__.py": b""})),
        (WHEEL, wheel()[:-30]),
        (SDIST, b"no tar"),
        (WHEEL, wheel(name="demo-other")),
    ],
    ids=["garbage", "no metadata", "cut off", "no tar", "another project"],
)
def test_R88_what_is_no_archive_is_refused_and_nothing_is_left(
    world: World, alice: Person, filename: str, content: bytes
) -> None:
    answer = upload(alice, DEV, filename, content)
    assert answer.status == 400
    assert filename in reason(answer)
    assert leftovers(world) == []


def test_a_field_that_was_sent_as_a_file_is_refused(world: World, alice: Person) -> None:
    answer = upload(alice, DEV, WHEEL, wheel(), more=[("summary", "summary.txt", None, b"text")])
    assert (answer.status, reason(answer)) == (400, "The form's field summary was sent as a file; send it as text.")
    signed = upload(alice, DEV, WHEEL, wheel(), more=[("gpg_signature", f"{WHEEL}.asc", None, b"text")])
    assert is_accepted(signed)


def test_R83_no_name_can_break_the_status_line(world: World, alice: Person) -> None:
    odd = "\u2603\u00e4\u0085\u000b"
    for name, action in ((f"{odd}-1.0.zip", "file_upload"), ("x" * 500 + "-1.0.zip", "file_upload"), ("a", odd + "c" * 1000)):
        answer = upload(alice, DEV, name, b"x", action=action)
        line = answer.raw.partition(b"\r\n")[0]
        assert answer.status == 400
        assert len(line) < 300
        assert all(32 <= byte < 127 or byte >= 160 for byte in line)


@pytest.mark.parametrize("status", ["archived", "quarantined"])
def test_R90_nothing_is_uploaded_to_a_closed_project(world: World, alice: Person, status: str) -> None:
    upload(alice, DEV, WHEEL, wheel())
    world.commit(ProjectMarked(DEV, NAME, status))
    for answer in (
        upload(alice, DEV, SDIST, sdist()),
        upload(alice, DEV, None, action="submit"),
        upload(alice, DEV, "docs.zip", zip_of(), action="doc_upload"),
    ):
        assert (answer.status, reason(answer)) == (403, f"project {NAME} is {status} on {DEV}, nothing can be uploaded to it")


def test_R89_the_name_of_a_removed_file_is_not_used_for_other_bytes(world: World, alice: Person) -> None:
    upload(alice, PROD, WHEEL, wheel())
    path = path_of(world, PROD, WHEEL)
    assert alice.ask("DELETE", f"{path}?force").status == 200
    answer = upload(alice, PROD, WHEEL, wheel(payload=b"other"))
    assert answer.status == 409
    assert is_accepted(upload(alice, PROD, WHEEL, wheel()))
    assert Wire(world).ask(path).status == 200


@pytest.mark.parametrize("action", ["foo", "submit_pkg_info", "file_upload\n"])
def test_R91_other_actions_are_refused(world: World, alice: Person, action: str) -> None:
    answer = upload(alice, DEV, WHEEL, wheel(), action=action)
    assert (answer.status, leftovers(world)) == (400, [])
    assert reason(answer).endswith("not supported")


def test_R85_uploads_go_to_an_index_and_nowhere_else(world: World, alice: Person) -> None:
    for path, status in ((f"{DEV}/+simple/", 405), (f"{DEV}/+simple/{NAME}", 405), (f"{DEV}/{NAME}", 404), ("alice", 404)):
        answer = post(alice, path.rstrip("/"), form(WHEEL, wheel()))
        assert answer.status == status, path
    assert (leftovers(world), page_exists(world)) == ([], False)
    assert alice.get(f"/{DEV}/").status == 200


def page_exists(world: World) -> bool:
    return Wire(world).ask(f"/{DEV}/+simple/{NAME}/").status == 200


def test_R94_the_page_below_the_upload_address_is_html(world: World, alice: Person) -> None:
    upload(alice, DEV, WHEEL, wheel())
    for simple in ("+simple", "%2Bsimple"):
        answer = Wire(world).ask(f"/{DEV}/{simple}/{NAME}/", cache_control="no-cache")
        assert answer.headers["content-type"].startswith("text/html")
        assert WHEEL.encode() in answer.body


# Who may -----------------------------------------------------------------------------------------------------------


def test_R85_what_may_not_be_uploaded_never_reaches_the_disk(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    large = form(WHEEL, wheel(payload=os.urandom(300_000)))
    for person, index, status in (
        (nobody(world), DEV, 401), (logged_in(world, "bob"), DEV, 403), (alice, MIRROR, 404), (alice, "alice/none", 404),
    ):  # fmt: skip
        assert post(person, index, large).status == status
        assert leftovers(world) == []


def test_an_api_token_uploads_what_it_is_for(world: World, alice: Person) -> None:
    ci = with_api_token(world, "alice", "upload", index=DEV)
    assert is_accepted(upload(ci, DEV, WHEEL, wheel()))
    assert upload(ci, PROD, WHEEL, wheel()).status == 403
    reader = with_api_token(world, "alice", "read")
    assert upload(reader, DEV, SDIST, sdist()).status == 403


def test_an_api_token_for_one_project_uploads_no_other(world: World, alice: Person) -> None:
    world_token = with_api_token(world, "alice", "upload")
    assert is_accepted(upload(world_token, DEV, WHEEL, wheel()))
    ci = project_token(world, NAME)
    assert is_accepted(upload(ci, DEV, SDIST, sdist()))
    for answer in (
        upload(ci, DEV, "other-1.0.zip", b"x", name="other"),
        upload(ci, DEV, None, action="submit", name="other"),
        upload(ci, DEV, "other.zip", zip_of(), action="doc_upload", name="other"),
    ):
        assert (answer.status, reason(answer)) == (403, "no permission to submit")


def project_token(world: World, project: str) -> Person:
    """Somebody with an API token of alice's that is good for ``project`` alone."""
    from_alice = logged_in(world, "alice")
    made = from_alice.ask("POST", "/alice/+tokens", {"may": ["upload"], "index": DEV, "project": project})
    return Person(world, f"__token__:{made.json()['result']['password']}")


def test_who_loses_the_right_while_the_body_comes_has_lost_it(world: World, alice: Person) -> None:
    body = form(WHEEL, wheel())
    wire = Wire(world)
    assert alice.credentials is not None
    head = (
        f"POST /{DEV}/ HTTP/1.1\r\nHost: devpi.example\r\nContent-Type: {TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"X-Devpi-Auth: {basic(alice.credentials)}\r\n\r\n"
    )
    assert wire.send(head.encode() + body[:100]) == b""
    world.commit(IndexModified(DEV, changed={"acl_upload": []}))
    assert wire.send(body[100:]).startswith(b"HTTP/1.1 403 no permission to submit\r\n")
    assert leftovers(world) == []


# Registering, documentation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["multipart", "urlencoded"])
def test_registering_makes_a_release_and_replaces_its_metadata(world: World, alice: Person, kind: str) -> None:
    def submit(**fields: Any) -> Any:
        if kind == "multipart":
            return post(alice, DEV, form(None, action="submit", **fields))
        told = {":action": "submit", "name": NAME, "version": "1.0", **fields}
        body = "&".join(f"{name}={value}" for name, value in told.items()).encode()
        return post(alice, DEV, body, content_type="application/x-www-form-urlencoded")

    assert is_accepted(submit(summary="one", author="me"))
    told = release(alice, DEV)
    assert (told["summary"], told["author"], "+links" in told) == ("one", "me", False)
    assert page(world, DEV)["files"] == []
    upload(alice, DEV, WHEEL, wheel())
    assert is_accepted(submit(summary="two"))
    told = release(alice, DEV)
    assert (told["summary"], told["author"], len(told["+links"])) == ("two", "", 1)
    before = serial_of(world)
    assert is_accepted(submit(summary="two"))
    assert serial_of(world) == before


def test_documentation_belongs_to_a_release(world: World, alice: Person) -> None:
    assert is_accepted(upload(alice, DEV, "whatever.zip", zip_of(), action="doc_upload"))
    (link,) = release(alice, DEV)["+links"]
    assert (link["rel"], link["hash_spec"]) == ("doczip", f"sha256={sha256(zip_of())}")
    assert link["href"].endswith(f"/{NAME}-1.0.doc.zip")
    assert [(line["what"], line["who"]) for line in link["log"]] == [("upload", "alice")]


def test_documentation_without_a_version_is_the_latest_release_s(world: World, alice: Person) -> None:
    answer = upload(alice, DEV, "docs.zip", zip_of(), action="doc_upload", without=["version"])
    said = f"doczip has no version and '{NAME}' has no releases to derive one from"
    assert (answer.status, reason(answer)) == (400, said)
    for version in ("1.10", "1.9"):
        upload(alice, DEV, None, action="submit", version=version)
    assert is_accepted(upload(alice, DEV, "docs.zip", zip_of(), action="doc_upload", without=["version"]))
    assert "+links" in release(alice, DEV, "1.10")
    answer = upload(alice, DEV, "docs.zip", zip_of(), action="doc_upload", version="")
    assert (answer.status, reason(answer)) == (400, 'invalid metadata: Missing required field "version"')


def test_documentation_is_replaced_where_the_index_is_volatile(world: World, alice: Person) -> None:
    other = zip_of({"index.html": b"other"})
    for index in (DEV, PROD):
        assert is_accepted(upload(alice, index, "docs.zip", zip_of(), action="doc_upload"))
        assert is_accepted(upload(alice, index, "docs.zip", zip_of(), action="doc_upload"))
    assert is_accepted(upload(alice, DEV, "docs.zip", other, action="doc_upload"))
    answer = upload(alice, PROD, "docs.zip", other, action="doc_upload")
    assert (answer.status, reason(answer)) == (409, "docs.zip already exists in non-volatile index")


# Provenance --------------------------------------------------------------------------------------------------------


def attestations(filename: str, content: bytes) -> str:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": filename, "digest": {"sha256": sha256(content)}}],
        "predicateType": "https://docs.pypi.example/attestations/publish/v1",
        "predicate": None,
    }
    coded = base64.b64encode(orjson.dumps(statement)).decode()
    material = {"certificate": base64.b64encode(b"\x30\x03\x02\x01\x01").decode(), "transparency_entries": [{"logIndex": "1"}]}
    envelope = {"statement": coded, "signature": base64.b64encode(b"signed").decode()}
    return orjson.dumps([{"version": 1, "verification_material": material, "envelope": envelope}]).decode()


def test_R97_attestations_are_kept_and_served_as_provenance(make_world: MakeWorld) -> None:
    world = make_world(outside_url="https://pkgs.example/devpi")
    alice = with_stages(world)
    sent = attestations(WHEEL, wheel())
    assert is_accepted(upload(alice, DEV, WHEEL, wheel(), more=[text("attestations", sent)]))
    upload(alice, DEV, SDIST, sdist())
    file, plain = (files(world, DEV)[name] for name in (WHEEL, SDIST))
    assert "provenance" not in plain
    assert file["provenance"] == f"https://pkgs.example/devpi{path_of(world, DEV, WHEEL)}.provenance"
    html = Wire(world).ask(f"/{DEV}/+simple/{NAME}/").body.decode()
    assert html.count(f'data-provenance="{file["provenance"]}"') == 1
    for _again in range(2):
        answer = Wire(world).ask(file["provenance"].removeprefix("https://pkgs.example"))
        assert answer.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
        (bundle,) = answer.json()["attestation_bundles"]
        assert bundle["attestations"] == orjson.loads(sent)
    assert Wire(world).ask(path_of(world, DEV, SDIST) + ".provenance").status == 404


def test_R33_provenance_has_no_address_that_is_not_safe(world: World, alice: Person) -> None:
    upload(alice, DEV, WHEEL, wheel(), more=[text("attestations", attestations(WHEEL, wheel()))])
    assert "provenance" not in files(world, DEV)[WHEEL]
    assert Wire(world).ask(path_of(world, DEV, WHEEL) + ".provenance").status == 200


def test_pages_with_provenance_name_the_server_as_each_asker_knows_it(make_world: MakeWorld) -> None:
    world = make_world(trusted_proxies=(ip_network("192.168.1.0/24"),))
    alice = with_stages(world)
    upload(alice, DEV, WHEEL, wheel(), more=[text("attestations", attestations(WHEEL, wheel()))])

    def provenance(**headers: str) -> str | None:
        accept = "application/vnd.pypi.simple.v1+json"
        told = Wire(world).ask(f"/{DEV}/+simple/{NAME}/", accept=accept, **headers).json()["files"][0].get("provenance")
        return told if told is None else told.partition("/alice")[0]

    for outside in ("https://a.example", "https://b.example/x", "https://a.example"):
        for _again in range(2):
            assert provenance(x_outside_url=outside) == outside
        assert provenance() is None


@pytest.mark.parametrize("sent", ["[", "{}", '[{"version": 1}]', attestations("other.whl", b""), attestations(WHEEL, b"")])
def test_R97_attestations_of_another_file_are_refused(world: World, alice: Person, sent: str) -> None:
    answer = upload(alice, DEV, WHEEL, wheel(), more=[text("attestations", sent)])
    assert answer.status == 400
    assert "attestations" in reason(answer)
    assert leftovers(world) == []

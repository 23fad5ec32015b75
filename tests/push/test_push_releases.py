"""Pushing releases to other servers: what is sent, what is reported, and how each kind of failure ends."""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet import ssl
from twisted.internet.defer import Deferred

from tests.archives.made_archives import packed, tar_of
from tests.fakes.certificates import write_certificate
from tests.fakes.wheels import make_wheel
from tests.in_reactor import PATIENCE, in_reactor, until
from tests.mirror.mirror_setup import ShiftableClock
from tests.push.fake_repository import FakeRepository, Saying
from tests.push.pushed_release import SDIST, WHEEL, Source, make_source, uploaded
from twistpi.blobs.address import blob_address
from twistpi.http.routes import ForbiddenNetworks
from twistpi.push.repository import read_repository

Start = Callable[..., FakeRepository]
LARGE = 64 * 1024 * 1024
PAGE = b"<html><head><title>400</title><style>a{}</style></head><body><h1>400 &lt;b&gt;</h1> no</body></html>"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return make_source(tmp_path)


# What is sent ------------------------------------------------------------------------------------------------------


@in_reactor
async def test_each_file_is_sent_in_a_form_of_its_own_and_documentation_last(source: Source, repository: Start) -> None:
    target = repository()
    lines = await source.push(target, docs=True, register=True)
    assert lines == [
        [200, "register", "Demo.Pkg", "1.0"],
        [200, "upload", source.paths[0], ""],
        [200, "upload", source.paths[1], ""],
        [200, "docfile", "Demo.Pkg"],
    ]
    register, sdist, wheel, docs = target.asked
    for asked, action in ((register, "submit"), (sdist, "file_upload"), (wheel, "file_upload"), (docs, "doc_upload")):
        fields = asked.form
        assert asked.line == "POST /legacy/ HTTP/1.1"
        assert [value for name, value in fields if name == ":action"] == [action]
        assert [value for name, value in fields if name == "classifiers"] == ["A :: B", "C"]
        for field in (("name", "Demo.Pkg"), ("version", "1.0"), ("summary", "Ein Käse"), ("license", "")):
            assert field in fields
        assert "protocol_version" not in dict(fields)
        assert "requires_dist" not in dict(fields)
    assert not register.has_file
    assert (sdist.file, wheel.file, docs.file) == ((SDIST, b"sdist"), (WHEEL, b"wheel\r\n--"), ("Demo.Pkg.zip", b"zip"))
    told = dict(wheel.form)
    assert (told["filetype"], told["pyversion"]) == ("bdist_wheel", "py3")
    assert told["sha256_digest"] == hashlib.sha256(b"wheel\r\n--").hexdigest()
    assert (dict(sdist.form)["filetype"], dict(sdist.form)["pyversion"]) == ("sdist", "source")


@in_reactor
async def test_each_file_is_sent_with_its_own_metadata(source: Source, repository: Start) -> None:
    target = repository()
    old = make_wheel("demo-pkg", "1.0", ["importlib-metadata"], more=["License: MIT"])
    new = make_wheel("demo-pkg", "1.0", more=["License-Expression: MIT", "License-File: LICENSE"])
    names = "demo_pkg-1.0-cp37-cp37m-linux_x86_64.whl", "demo_pkg-1.0-cp313-cp313-linux_x86_64.whl"
    files = [uploaded(source.storage, name, body) for name, body in zip(names, (old, new), strict=True)]
    await source.pusher.push(source.release, files, None, read_repository(target.url, "", ""))
    common = {":action", "filetype", "pyversion", "sha256_digest", "metadata_version", "name", "version", "requires_python"}
    first, second = (dict(asked.form) for asked in target.asked)
    assert first.keys() - common == {"license", "requires_dist"}
    assert second.keys() - common == {"license_expression", "license_file"}
    assert (first["name"], first["requires_dist"], second["license_expression"]) == ("demo-pkg", "importlib-metadata", "MIT")


@in_reactor
async def test_metadata_that_only_lenient_checks_accept_is_sent_as_well(source: Source, repository: Start) -> None:
    target = repository()
    info = b"Metadata-Version: 3.0\nName: demo-pkg\nVersion: 1.0\nAuthor: J\xfcrgen\n"
    odd = packed("demo_pkg-1.0.tar.gz", tar_of({"PKG-INFO": info, "setup.py": b""}))
    files = [uploaded(source.storage, "demo_pkg-1.0.tar.gz", odd)]
    await source.pusher.push(source.release, files, None, read_repository(target.url, "", ""))
    (asked,) = target.asked
    assert (dict(asked.form)["author"], dict(asked.form)["metadata_version"]) == ("J\u00fcrgen", "3.0")


@in_reactor
async def test_the_login_is_sent_with_every_form(source: Source, repository: Start) -> None:
    target = repository()
    await source.push(target)
    login = "Basic " + base64.b64encode(b"jane:secret").decode()
    assert [asked.headers["authorization"] for asked in target.asked] == [login, login]
    assert target.asked[0].headers["user-agent"].startswith("twistpi/")


@in_reactor
async def test_without_a_login_none_is_sent(source: Source, repository: Start) -> None:
    target = repository()
    release = source.release
    await source.pusher.push(release, release.files[:1], None, read_repository(target.url, "", ""))
    assert "authorization" not in target.asked[0].headers


@in_reactor
async def test_no_connection_is_kept_for_later(source: Source, repository: Start) -> None:
    target = repository()
    await source.push(target)
    await target.all_closed()
    assert target.connected == 2


# What is told ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saying", "told"),
    [
        (Saying("403 Forbidden", b"You may not.\nReally.\n"), "You may not. Really."),
        (Saying("400 File already exists", b""), "File already exists"),
        (Saying("400 Bad Request", b"File exists", ("Content-Type: text/plain",)), "File exists"),
        (Saying("409 it is there", b"Details."), "it is there Details."),
        (Saying("409 it is there", b"409 it is there"), "409 it is there"),
        (Saying("400 Bad Request", PAGE, ("Content-Type: text/html",)), "400 <b> no"),
        (Saying("500 Internal Server Error", b""), "Internal Server Error"),
        (Saying("599 ", b""), ""),
        (Saying("400 Bad Request", b"\x1b[31m\xff\x00x\xe2\x80\xaey"), "[31m\ufffd x y"),
        (Saying("400 Bad Request", b"x" * 100_000), "x" * 1000 + "…"),
        (Saying("400 Bad Request", b"x" * 1000, endless=True), "x" * 1000 + "…"),
        (Saying("201 Created", b"thanks"), ""),
        (Saying("202 Accepted", b"later"), ""),
        (Saying("204 No Content"), ""),
    ],
)
@in_reactor
async def test_the_answer_of_the_other_server_is_shown(source: Source, repository: Start, saying: Saying, told: str) -> None:
    lines = await source.push(repository(saying, Saying()))
    status = int(saying.status.split(" ")[0])
    status = 200 if status in (202, 204) else status  # the devpi client takes all but 200 and 201 for failures
    assert lines == [[status, "upload", source.paths[0], told], [200, "upload", source.paths[1], ""]]


@in_reactor
async def test_documentation_that_is_refused_is_told_with_the_reason(source: Source, repository: Start) -> None:
    lines = await source.push(repository(Saying(), Saying(), Saying("410 Gone", b"no docs here")), docs=True)
    assert lines[-1] == [410, "docfile", "Demo.Pkg", "no docs here"]


@in_reactor
async def test_where_a_release_may_not_be_registered_nothing_is_uploaded(source: Source, repository: Start) -> None:
    target = repository(Saying("403 Forbidden", b"not yours"))
    assert await source.push(target, register=True) == [[403, "register", "Demo.Pkg", "1.0", "not yours"]]
    assert len(target.asked) == 1


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "410 Gone", "204 No Content"])
@in_reactor
async def test_servers_that_know_no_registration_get_the_files(source: Source, repository: Start, status: str) -> None:
    target = repository(Saying(status), Saying())
    lines = await source.push(target, register=True)
    told = 200 if status.startswith("204") else int(status[:3])
    assert [line[:2] for line in lines] == [[told, "register"], [200, "upload"], [200, "upload"]]


@in_reactor
async def test_a_redirect_is_told_and_not_followed(source: Source, repository: Start) -> None:
    elsewhere = repository()
    target = repository(Saying("307 Temporary Redirect", b"", (f"Location: {elsewhere.url}",)))
    lines = await source.push(target)
    assert lines[0][0] == 307
    assert lines[0][3] == f"it redirects to {elsewhere.url}, push to that address instead"
    assert not elsewhere.asked


# Failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saying", [Saying(breaks=True), Saying("teapot")], ids=["a connection that breaks", "no HTTP"])
@in_reactor
async def test_what_is_no_answer_fails_one_file(source: Source, repository: Start, saying: Saying) -> None:
    lines = await source.push(repository(saying, Saying()))
    assert [line[0] for line in lines] == [-1, 200]
    assert lines[0][3]


@in_reactor
async def test_where_nobody_answers_it_is_tried_once(source: Source, repository: Start) -> None:
    target = repository()
    url = target.url
    await target.stop()
    lines = await source.push(url, docs=True)
    assert [line[:2] for line in lines] == [[-1, "upload"], [-1, "upload"], [-1, "docfile"]]
    assert "refused" in lines[0][3]
    host = url.split("/")[2]
    assert {lines[1][3], lines[2][3]} == {f"not tried, because nobody answers at {host}"}


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/", "http://2852039166/", "http://[::ffff:169.254.169.254]/", "https://0xa9fea9fe/"]
)
@in_reactor
async def test_forbidden_networks_are_not_reached(source: Source, url: str) -> None:
    lines = await source.push(url)
    assert [line[0] for line in lines] == [-1, -1]
    assert "connects to nobody (setting forbidden-networks)" in lines[0][3]


@in_reactor
async def test_a_name_is_checked_as_it_is_resolved(tmp_path: Path, repository: Start) -> None:
    source = make_source(tmp_path, forbidden=ForbiddenNetworks.parse(["127.0.0.0/8", "::1"]))
    target = repository()
    lines = await source.push(target.url.replace("127.0.0.1", "localhost"), register=True)
    assert [line[:2] for line in lines] == [[-1, "register"]]
    assert "setting forbidden-networks" in lines[0][-1]
    assert target.connected == 0


@in_reactor
async def test_a_server_that_never_answers_is_given_up(tmp_path: Path, repository: Start) -> None:
    clock = ShiftableClock()
    source = make_source(tmp_path, clock=clock)
    target = repository(Saying(silent=True), Saying())
    pushing = Deferred.fromCoroutine(source.push(target))
    await until(lambda: target.asked and target.asked[0].size == int(target.asked[0].headers["content-length"]))
    clock.elapse(PATIENCE)
    lines = await pushing
    assert [line[0] for line in lines] == [-1, 200]
    assert lines[0][3] == f"no answer within {PATIENCE:g} s"
    await target.all_closed()


@in_reactor
async def test_a_server_that_takes_nothing_is_given_up(tmp_path: Path, repository: Start) -> None:
    source = make_source(tmp_path, size=LARGE, patience=5.0)
    target = repository(Saying(stuck=True), Saying())
    lines = await source.push(target)
    assert lines[0][0] == -1
    assert lines[0][3] == "no answer within 5 s"
    assert lines[1][0] == 200


@pytest.mark.directory("removes a file from the directory, which a node brings from the bucket")
@in_reactor
async def test_a_file_that_is_not_on_disk_is_told(source: Source, repository: Start) -> None:
    (tmp,) = [file.known for file in source.release.files if file.known.link.filename == SDIST]
    source.storage.blobs.remove(blob_address(tmp.sha256 or "", SDIST))
    lines = await source.push(repository())
    assert lines[0] == [-1, "upload", source.paths[0], "the file is not on this server's disk any more"]
    assert lines[1][0] == 200


# Large files -------------------------------------------------------------------------------------------------------


@in_reactor
async def test_a_large_file_never_lies_in_memory(tmp_path: Path, repository: Start) -> None:
    source = make_source(tmp_path, size=LARGE)
    target = repository(Saying(keeps=False))
    tracemalloc.start()
    try:
        lines = await source.push(target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [line[0] for line in lines] == [200, 200]
    assert target.asked[0].size == int(target.asked[0].headers["content-length"]) > LARGE
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize("secure", [False, True])
@in_reactor
async def test_a_refusal_before_all_of_a_large_file_is_sent_is_shown(tmp_path: Path, repository: Start, secure: bool) -> None:
    key, certificate = write_certificate(tmp_path)
    context = ssl.DefaultOpenSSLContextFactory(str(key), str(certificate)) if secure else None
    source = make_source(tmp_path, size=LARGE, extra_ca_file=str(certificate))
    target = repository(Saying("413 Too much", b"at most 1 MB", early=True, keeps=False), Saying(), context=context)
    lines = await source.push(target)
    assert lines[0] == [413, "upload", source.paths[0], "Too much at most 1 MB"]
    assert lines[1][0] == 200
    assert target.asked[0].size < LARGE // 2
    await target.all_closed()

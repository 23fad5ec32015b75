"""Project pages, name lists, redirects and aliases as installers see them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest
from twisted.internet.defer import Deferred

from tests.web.web_wire import HTML_PAGE, JSON_PAGE, Wire, read_answer, request_bytes
from tests.web.web_world import MIRROR, UPSTREAM, MakeWorld, World, link
from twistpi.mirror.pages import PageState
from twistpi.model.changes import FileCached, IndexCreated, LinksChanged
from twistpi.model.errors import UpstreamFailed, UpstreamUnreachable
from twistpi.model.records import PageHeader

PAGE = f"/{MIRROR}/+simple/hello/"
WHEEL = link("hello-1.0-py3-none-any.whl", requires_python=">=3.9")


@pytest.fixture
def wire(world: World) -> Wire:
    world.list_links("hello", [WHEEL])
    return Wire(world)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_R01_project_pages_answer_get_and_head(wire: Wire, method: str) -> None:
    answer = wire.ask(PAGE, method)
    assert answer.status == 200
    assert int(answer.headers["content-length"]) > 0


def test_R01_the_name_list_answers_get_and_head(world: World, wire: Wire) -> None:
    world.names.put("page.html", b"<!DOCTYPE html><a href='hello/'>hello</a>")
    assert wire.ask(f"/{MIRROR}/+simple/").body.endswith(b"</a>")
    head = wire.ask(f"/{MIRROR}/+simple/", "HEAD")
    assert (head.status, head.headers["content-length"]) == (200, "41")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("+simple/hello", PAGE),
        ("+simple/hello?a=b&c", PAGE + "?a=b&c"),
        ("+simple", f"/{MIRROR}/+simple/"),
        ("+simple?x", f"/{MIRROR}/+simple/?x"),
    ],
)
def test_R02_without_the_slash_it_redirects_and_keeps_the_query(wire: Wire, path: str, target: str) -> None:
    answer = wire.ask(f"/{MIRROR}/{path}")
    assert answer.status == 301
    assert urljoin(f"/{MIRROR}/{path}", answer.headers["location"]) == target


@pytest.mark.parametrize(
    ("name", "normal"), [("Hello", "hello"), ("HELLO", "hello"), ("he__l.lo", "he-l-lo"), ("he-.lo", "he-lo")]
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_R03_other_spellings_redirect_to_the_normal_name(world: World, name: str, normal: str, slash: str) -> None:
    path = f"/{MIRROR}/+simple/{name}{slash}"
    answer = Wire(world).ask(path + "?q=1")
    assert answer.status == 301
    assert urljoin(path, answer.headers["location"]) == f"/{MIRROR}/+simple/{normal}/?q=1"


@pytest.mark.parametrize(
    "name", ["-a", "a%0a", "..", "%2e%2e", "a%2fb", "a%5cb", "%00", "a%0d%0aX-Evil:%201", "%ff", "a b", "é", "a" * 5000, "."]
)
def test_R04_invalid_names_never_reach_the_upstream(world: World, name: str) -> None:
    raw = Wire(world).send(request_bytes(f"/{MIRROR}/+simple/{name}/"))
    answer = read_answer(raw)
    assert answer.status in (400, 404, 414)
    assert b"X-Evil" not in raw.partition(b"\r\n\r\n")[0]
    assert world.mirror.asked == []


@pytest.mark.parametrize("prefix", ["", "/devpi", "/packages"])
def test_R06_R50_links_and_redirects_hold_under_a_prefix(make_world: MakeWorld, prefix: str) -> None:
    world = make_world(outside_url=f"https://pkgs.example{prefix or '/devpi'}")
    world.list_links("hello", [WHEEL])
    wire = Wire(world)
    path = f"{prefix}{PAGE}"
    answer = wire.ask(path, accept=JSON_PAGE)
    target = urljoin(path, answer.json()["files"][0]["url"])
    assert target.startswith(f"{prefix}/{MIRROR}/+f/")
    assert urljoin(path, wire.ask(f"{prefix}/{MIRROR}/+simple/Hello").headers["location"]).endswith("hello/")
    assert wire.ask(path, accept=JSON_PAGE).body == answer.body
    page = wire.ask(f"{prefix}/root/pypi", accept="text/html").body
    assert f"https://pkgs.example{prefix or '/devpi'}/root/pypi/+simple/".encode() in page


def test_R07_links_are_right_wherever_a_redirect_ends(wire: Wire) -> None:
    target = urljoin(f"/{MIRROR}/+simple/Hello", wire.ask(f"/{MIRROR}/+simple/Hello").headers["location"])
    href = wire.ask(target, accept=JSON_PAGE).json()["files"][0]["url"]
    assert urljoin(target, href).startswith(f"/{MIRROR}/+f/")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (JSON_PAGE, JSON_PAGE),
        (HTML_PAGE, HTML_PAGE),
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
    ],
)
def test_R08_the_content_type_is_exactly_what_was_chosen(wire: Wire, accept: str, kind: str) -> None:
    assert wire.ask(PAGE, accept=accept).headers["content-type"] == kind


@pytest.mark.parametrize("path", [PAGE, f"/{MIRROR}/+simple/"])
def test_R14_what_nobody_can_serve_is_refused(wire: Wire, path: str) -> None:
    answer = wire.ask(path, accept="image/png")
    assert answer.status == 406
    assert b"image/png" in answer.body


def test_R14_or_served_as_html_when_so_set(world: World) -> None:
    world.list_links("hello", [WHEEL])
    world.rebuild(lenient_accept=True)
    assert Wire(world, fast=False).ask(PAGE, accept="image/png").headers["content-type"].startswith("text/html")


def links_of(answer: Any) -> list[str]:
    return [file["url"] for file in answer.json()["files"]]


@pytest.mark.parametrize("value", ["", "1"])
def test_links_are_absolute_for_whoever_asks_so(world: World, value: str) -> None:
    world.list_links("hello", [WHEEL])
    path = f"+f/{WHEEL.hashes['sha256'][:3]}/{WHEEL.hashes['sha256'][3:16]}/{WHEEL.filename}"
    relative, absolute = [f"../../{path}"], [f"http://localhost:3141/{MIRROR}/{path}"]
    for _ in range(2):  # neither of them may be remembered for the other
        assert links_of(Wire(world).ask(PAGE, accept=JSON_PAGE)) == relative
        assert links_of(Wire(world).ask(PAGE, accept=JSON_PAGE, x_devpi_absolute_urls=value)) == absolute
    html = Wire(world).ask(PAGE, x_devpi_absolute_urls=value)
    assert f'href="{absolute[0]}#sha256='.encode() in html.content
    alias = Wire(world).ask(f"/{MIRROR}/hello", accept=JSON_PAGE, x_devpi_absolute_urls=value, user_agent="pip/26.0")
    assert links_of(alias) == absolute


@pytest.mark.parametrize("outside", ["", "https://pkgs.example/devpi"])
def test_links_are_absolute_for_all_where_so_set(make_world: MakeWorld, outside: str) -> None:
    world = make_world(absolute_urls=True, outside_url=outside)
    world.list_links("hello", [WHEEL])
    for host in ("one.example", "two.example", "one.example"):
        asked = request_bytes(PAGE, accept=JSON_PAGE).replace(b"localhost:3141", host.encode())
        (url,) = links_of(read_answer(Wire(world).send(asked)))
        assert url.startswith(f"{outside or 'http://' + host}/{MIRROR}/+f/")
    assert bool(world.components.ready.pages) is bool(outside), "the fast path does not know hosts"


def test_R15_a_format_parameter_beats_accept(wire: Wire) -> None:
    assert (
        wire.ask(PAGE + "?format=application/vnd.pypi.simple.v1%2Bjson", accept="text/html").headers["content-type"] == JSON_PAGE
    )
    refused = wire.ask(PAGE + "?format=application/*", accept="text/html")
    assert refused.status == 406
    assert b"application/*" in refused.content
    assert wire.ask(PAGE, accept="text/html").headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("accept", [JSON_PAGE, "text/html", "image/png"])
def test_R16_every_negotiated_answer_varies_by_accept(wire: Wire, accept: str) -> None:
    answer = wire.ask(PAGE, accept=accept)
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    if answer.status == 200:
        again = wire.ask(PAGE, accept=accept, if_none_match=answer.headers["etag"])
        assert (again.status, again.headers["vary"]) == (304, "Accept, Accept-Encoding")


@pytest.mark.parametrize(
    "path",
    [PAGE, "/", "/root", f"/{MIRROR}", "/nope/nope/nope/nope", f"/{MIRROR}/+simple/nope/", "/%ff", f"/{MIRROR}/+simple/Hello/"],
)
def test_R17_every_answer_with_a_body_says_what_it_is(wire: Wire, path: str) -> None:
    answer = wire.ask(path)
    assert answer.body
    assert answer.headers["content-type"]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_R52_each_representation_has_its_own_strong_tag_and_304(world: World, fast: bool, coding: str) -> None:
    world.list_links("hello", [WHEEL])
    wire = Wire(world, fast=fast)
    tags = set()
    for accept in (JSON_PAGE, HTML_PAGE, "text/html"):
        for _ in range(2):
            answer = wire.ask(PAGE, accept=accept, accept_encoding=coding)
        tag = answer.headers["etag"]
        tags.add(tag)
        assert tag.startswith('"')
        for asked in (tag, f"W/{tag}", f'"other", W/{tag}', "*"):
            unchanged = wire.ask(PAGE, accept=accept, accept_encoding=coding, if_none_match=asked)
            assert (unchanged.status, unchanged.body) == (304, b"")
            assert unchanged.headers["etag"] == tag
            assert unchanged.headers["cache-control"] == answer.headers["cache-control"]
        assert wire.ask(PAGE, accept=accept, accept_encoding=coding, if_none_match='"other"').status == 200
    assert len(tags) == 3


def test_R53_pages_must_be_asked_again_and_have_no_date_of_their_own(wire: Wire) -> None:
    answer = wire.ask(PAGE)
    assert answer.headers["cache-control"] == "no-cache"
    assert "last-modified" not in answer.headers


def test_R55_a_change_shows_at_once_with_another_tag(world: World, wire: Wire) -> None:
    before = wire.ask(PAGE)
    assert wire.ask(PAGE).raw == before.raw
    world.commit(LinksChanged(MIRROR, "hello", changed=(link(WHEEL.filename, yanked="broken"),)))
    after = wire.ask(PAGE, if_none_match=before.headers["etag"])
    assert after.status == 200
    assert b"broken" in after.body
    assert wire.ask(PAGE).body == after.body


def test_R58_gzip_is_made_once_and_has_its_own_tag(wire: Wire) -> None:
    plain, packed = wire.ask(PAGE), wire.ask(PAGE, accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.body
    assert packed.headers["etag"] != plain.headers["etag"]
    assert wire.ask(PAGE, accept_encoding="gzip;q=0").headers.get("content-encoding") is None


def test_R59_errors_are_not_for_keeping(wire: Wire) -> None:
    answer = wire.ask(f"/{MIRROR}/+simple/nope/")
    assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (PageState("hit", 100.0, UPSTREAM, None, 1700.0), "twistpi; hit; ttl=1700"),
        (PageState("miss", 0.0, UPSTREAM, None, 1800.0), "twistpi; fwd=miss; stored; ttl=1800"),
        (PageState("revalidated", 0.0, UPSTREAM, None, 1800.0), "twistpi; fwd=stale; stored; ttl=1800"),
        (PageState("stale", 4000.0, UPSTREAM, 'it said "no"', 5.0), 'twistpi; hit; ttl=-2200; detail="it said \\"no\\""'),
    ],
)
def test_R60_an_answer_tells_hit_miss_or_stale_its_age_and_its_source(
    world: World, wire: Wire, state: PageState, status: str
) -> None:
    world.mirror.state = state
    answer = wire.ask(PAGE)
    assert answer.headers["cache-status"] == status
    assert answer.headers["age"] == str(int(state.age))
    assert answer.headers["x-twistpi-source"] == UPSTREAM
    kept = wire.ask(PAGE)
    assert kept.headers["cache-status"].startswith("twistpi; hit; ttl=")


def test_R60_a_page_is_served_from_memory_exactly_while_it_is_fresh(world: World, wire: Wire) -> None:
    world.mirror.state = PageState("miss", 0.0, UPSTREAM, None, 60.0)
    wire.ask(PAGE)
    world.clock.advance(59)
    assert wire.ask(PAGE).headers["age"] == "59"
    assert len(world.mirror.asked) == 1
    world.clock.advance(1)
    wire.ask(PAGE)
    assert len(world.mirror.asked) == 2


@pytest.mark.parametrize(
    ("failure", "status"),
    [(UpstreamFailed(MIRROR, "hello", "it answered 500"), 502), (UpstreamUnreachable(MIRROR, "hello", "no route"), 503)],
)
def test_R67_an_upstream_that_fails_is_never_a_404(world: World, failure: Exception, status: int) -> None:
    world.mirror.failure = failure
    wire = Wire(world)
    answer = wire.ask(PAGE)
    assert answer.status == status
    assert str(failure).encode() in answer.body
    assert answer.headers["cache-control"] == "no-store"
    assert ("retry-after" in answer.headers) == (status == 503)
    told = Wire(world).ask(PAGE, accept="application/json")
    assert told.headers["content-type"] == "application/json"
    assert told.json() == {"message": str(failure)}


def test_R67_what_the_upstream_does_not_have_is_a_404(wire: Wire) -> None:
    assert wire.ask(f"/{MIRROR}/+simple/nope/").status == 404
    assert wire.ask("/root/nope/+simple/x/").status == 404


def test_R68_the_name_list_is_sent_from_disk_with_tags(world: World, wire: Wire) -> None:
    for file in ("page.html", "page.html.gz", "page.json", "page.json.gz"):
        world.names.put(file, file.encode() * 100_000)
    path = f"/{MIRROR}/+simple/"
    seen = set()
    for accept, coding, file in (
        ("text/html", "", "page.html"),
        (HTML_PAGE, "gzip", "page.html.gz"),
        (JSON_PAGE, "", "page.json"),
        (JSON_PAGE, "gzip", "page.json.gz"),
    ):
        answer = wire.ask(path, accept=accept, accept_encoding=coding)
        assert answer.body == file.encode() * 100_000
        assert ("content-encoding" in answer.headers) == bool(coding)
        seen.add(answer.headers["etag"])
        assert wire.ask(path, accept=accept, accept_encoding=coding, if_none_match=answer.headers["etag"]).status == 304
    assert len(seen) == 4


def test_R68_offline_only_what_is_here_is_named(world: World) -> None:
    world.components.mirrors.offline = True
    world.rebuild()
    here = link("here-1.0.tar.gz")
    world.list_links("gone", [link("gone-1.0.tar.gz")])
    world.list_links("here", [here])
    world.cache_file("here", here, b"bytes")
    answer = Wire(world).ask(f"/{MIRROR}/+simple/", accept=JSON_PAGE)
    assert [project["name"] for project in answer.json()["projects"]] == ["here"]
    assert world.names.asked == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_R85_pages_take_no_writes(wire: Wire, method: str) -> None:
    answer = wire.ask(PAGE, method, content_length="0")
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


def test_R108_every_answer_has_a_date(wire: Wire) -> None:
    for path in (PAGE, "/", "/nothing/at/all/here", f"/{MIRROR}/+simple/nope/", "/%00"):
        assert wire.ask(path).headers["date"].endswith("GMT")


@pytest.mark.parametrize("slash", ["", "/"])
def test_installers_get_the_page_at_the_index_itself(wire: Wire, slash: str) -> None:
    path = f"/{MIRROR}/hello{slash}"
    answer = wire.ask(path, user_agent="pip/26.3 {}", accept=JSON_PAGE)
    assert answer.status == 200
    assert urljoin(path, answer.json()["files"][0]["url"]).startswith(f"/{MIRROR}/+f/")
    assert "User-Agent" in answer.headers["vary"]
    assert wire.ask(path, user_agent="Mozilla/5.0").status == 302
    assert wire.ask(path, user_agent="pip/26.3 {}", accept=JSON_PAGE).body == answer.body
    spelled = wire.ask(f"/{MIRROR}/Hello{slash}", user_agent="uv/0.13.9")
    assert urljoin(f"/{MIRROR}/Hello{slash}", spelled.headers["location"]) == path


def test_installers_get_the_page_without_the_slash(wire: Wire) -> None:
    path = f"/{MIRROR}/+simple/hello"
    answer = wire.ask(path, user_agent="setuptools/40.6.2 Python-urllib/3.6")
    assert answer.status == 200
    assert b'"../+f/' in answer.body


@pytest.mark.parametrize("headers", [{"user_agent": "uv/0.13"}, {"accept": JSON_PAGE}])
def test_an_index_lists_its_names_to_installers_and_to_who_wants_them_as_json(world: World, headers: dict[str, str]) -> None:
    world.names.put("page.json", b"{}")
    answer = Wire(world).ask(f"/{MIRROR}", **{"accept": JSON_PAGE, **headers})
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"{}", JSON_PAGE)


@pytest.mark.parametrize("user_agent", ["pip/26.3", "uv/0.13", "pex/2.1", "setuptools/70"])
@pytest.mark.parametrize("index", [MIRROR, "alice/dev"])
def test_installers_get_names_without_a_slash_whose_links_lead_to_pages(world: World, user_agent: str, index: str) -> None:
    world.list_links("hello", [WHEEL])
    for file in ("names.txt", "page.json", "page.html"):
        world.names.put(file, b"hello\n")
    world.commit(IndexCreated("alice/dev", {"type": "stage", "bases": [MIRROR], "mirror_whitelist": ["*"]}))
    answer = Wire(world).ask(f"/{index}", user_agent=user_agent, accept="text/html")
    (link,) = re.findall(r'<a href="([^"]+)"', answer.content.decode())
    page = urljoin(f"/{index}", link)
    assert (answer.status, page) == (200, f"/{index}/hello/")
    assert Wire(world).ask(page, user_agent=user_agent).status == 200
    beside = Wire(world).ask(f"/{index}/", user_agent=user_agent, accept="text/html")
    assert beside.headers["etag"] != answer.headers["etag"]


def test_refresh_asks_the_upstream_now_and_leads_to_the_page(world: World, wire: Wire) -> None:
    path = f"/{MIRROR}/+simple/Hello/refresh"
    answer = wire.ask(path, "POST", content_length="0")
    assert answer.status == 302
    assert urljoin(path, answer.headers["location"]) == PAGE
    assert world.mirror.asked == [(MIRROR, "hello", True)]
    world.mirror.failure = UpstreamFailed(MIRROR, "hello", "it answered 500")
    assert wire.ask(path, "POST", content_length="0").status == 502


def test_many_askers_share_one_rendering_and_one_that_leaves_stops_nobody(world: World) -> None:
    world.list_links("hello", [link(f"hello-1.{number}.tar.gz") for number in range(150)])
    threads: list[Deferred[Any]] = []

    def offload(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        begun: Deferred[Any] = Deferred()
        begun.addCallback(lambda _: work(*arguments))
        threads.append(begun)
        return begun

    world.offload = offload
    wires = [Wire(world) for _ in range(5)]
    for wire in wires:
        assert wire.send(request_bytes(PAGE)) == b""
    assert len(threads) == 1
    wires[0].lose()
    threads[0].callback(None)
    for wire in wires[1:]:
        assert read_answer(bytes(wire.transport.value())).status == 200


def test_a_page_rendered_before_a_change_is_not_kept_and_not_joined_after_it(world: World) -> None:
    world.list_links("hello", [link(f"hello-1.{number}.tar.gz") for number in range(150)])
    threads: list[tuple[Any, Deferred[Any]]] = []

    def offload(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        begun: Deferred[Any] = Deferred()
        threads.append((work(*arguments), begun))
        return begun

    world.offload = offload
    early, late = Wire(world), Wire(world)
    early.send(request_bytes(PAGE))
    world.commit(LinksChanged(MIRROR, "hello", added=(link("hello-2.0.tar.gz"),)))
    late.send(request_bytes(PAGE))
    assert len(threads) == 2
    for result, begun in reversed(threads):
        begun.callback(result)
    assert b"hello-2.0" in late.transport.value()
    assert b"hello-2.0" in Wire(world).send(request_bytes(PAGE))


def test_caching_a_file_changes_only_pages_that_tell_it(world: World, wire: Wire) -> None:
    sdist, unsized = link("hello-1.0.tar.gz"), link("other-1.0.tar.gz", size=None)
    world.list_links("settled", [sdist])
    world.list_links("other", [unsized])
    wire.ask(f"/{MIRROR}/+simple/settled/")
    before = wire.ask(f"/{MIRROR}/+simple/other/", accept=JSON_PAGE)
    kept = len(world.components.ready.page_cache)
    world.commit(FileCached(MIRROR, "settled", sdist.filename, sdist.sha256 or "", 5))
    assert len(world.components.ready.page_cache) == kept
    world.commit(FileCached(MIRROR, "other", unsized.filename, unsized.sha256 or "", 5))
    after = wire.ask(f"/{MIRROR}/+simple/other/", accept=JSON_PAGE)
    assert b'"size":5' in after.body
    assert after.headers["etag"] != before.headers["etag"]


def test_an_upstreams_serial_passes_through(world: World) -> None:
    world.list_links("hello", [WHEEL], header=PageHeader(last_serial=77))
    assert Wire(world).ask(PAGE).headers["x-pypi-last-serial"] == "77"


def test_an_index_with_bases_shows_what_a_mirror_has_and_lives_without_it(world: World) -> None:
    world.commit(IndexCreated("root/dev", {"type": "stage", "bases": [MIRROR]}))
    world.list_links("hello", [WHEEL])
    wire = Wire(world)
    path = "/root/dev/+simple/hello/"
    answer = wire.ask(path, accept=JSON_PAGE)
    assert urljoin(path, answer.json()["files"][0]["url"]).startswith(f"/{MIRROR}/+f/")
    world.commit(LinksChanged(MIRROR, "hello", added=(link("hello-2.0.tar.gz"),)))
    assert b"hello-2.0" in wire.ask(path).body
    world.mirror.failure = UpstreamFailed(MIRROR, "hello", "gone")
    world.clock.advance(1e6)
    wire = Wire(world)
    assert wire.ask(path).status == 200
    assert wire.ask("/root/dev/+simple/unheard/").status == 502


def test_the_standing_headers_tell_the_serial(world: World, wire: Wire) -> None:
    assert wire.ask(PAGE).headers["x-devpi-serial"] == str(world.view.position.serial)
    world.list_links("other", [])
    assert wire.ask(PAGE).headers["x-devpi-serial"] == str(world.view.position.serial)
    assert wire.ask(PAGE).headers["x-devpi-api-version"] == "2"


def test_a_body_nobody_wants_is_neither_kept_nor_written_to_disk(world: World) -> None:
    wire = Wire(world)
    wire.send(request_bytes(PAGE + "refresh", "POST", content_length="10000000")[:-2])
    wire.send(b"\r\n" + b"x" * 5_000_000)
    content = wire.channel.requests[0].content
    assert len(content.getvalue()) <= 1024 * 1024
    answer = read_answer(wire.send(b"x" * 5_000_000))
    assert answer.status in (302, 404)
    assert wire.ask("/").status == 200


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("path", ["+simple/hello/", "+simple/", "+simple/Hello/", ""])
def test_R57_what_a_mirror_shows_depends_on_no_credentials(world: World, path: str, *, fast: bool) -> None:
    world.list_links("hello", [WHEEL])
    world.names.put("page.html", b"<!DOCTYPE html><a href='hello/'>hello</a>")
    wire = Wire(world, fast=fast)
    first = wire.ask(f"/{MIRROR}/{path}")
    for credentials in ({}, {"authorization": "Basic cm9vdDp3cm9uZw=="}, {"x_devpi_auth": "cm9vdDp3cm9uZw=="}):
        answer = wire.ask(f"/{MIRROR}/{path}", **credentials)
        assert answer.raw == first.raw
        assert answer.headers["cache-control"].endswith("no-cache"), "caches have to ask again"
        assert "www-authenticate" not in answer.headers

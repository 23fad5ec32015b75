from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import any_text
from twistpi.model.errors import BadUpstreamPage
from twistpi.model.records import Link, PageHeader, ProjectPage
from twistpi.simple.parse import parse_project_page

URL = "https://upstream.example/simple/demo/"
SHA256 = "ab" * 32
MD5 = "0f" * 16


def parse(body: str | bytes, url: str = URL, project: str = "demo", content_type: str = "text/html") -> ProjectPage:
    return parse_project_page(body if isinstance(body, bytes) else body.encode(), content_type, url, project)


def link_of(anchor: str, project: str = "demo") -> Link:
    (link,) = parse(f"<!DOCTYPE html><html><body>{anchor}<br></body></html>", project=project).links
    return link


def names_of(*filenames: str, project: str = "demo") -> list[str]:
    page = parse("<html>" + "".join(f'<a href="/f/{name}">{name}</a>\n' for name in filenames), project=project)
    return [link.filename for link in page.links]


def test_R65_a_page_as_registries_write_it() -> None:
    page = parse(
        f"""<!DOCTYPE html>
        <html><head><meta name="pypi:repository-version" content="1.4"><title>Links for demo</title></head>
        <body><h1>Links for demo</h1>
        <a href="https://files.upstream.example/demo-1.0.tar.gz#sha256={SHA256}" data-requires-python="&gt;=3.8,&lt;4"
           data-dist-info-metadata="sha256={MD5 * 2}" data-core-metadata="sha256={SHA256}"
           data-provenance="https://upstream.example/p">demo-1.0.tar.gz</a><br/>
        <a href="https://files.upstream.example/demo-2.0.tar.gz#sha256={SHA256}" data-yanked="it&#39;s &lt;bad&gt;"
        >demo-2.0.tar.gz</a></body></html>
        <!--SERIAL 123-->
        """
    )
    first, second = page.links
    assert first == Link(
        "demo-1.0.tar.gz",
        "https://files.upstream.example/demo-1.0.tar.gz",
        {"sha256": SHA256},
        requires_python=">=3.8,<4",
        core_metadata={"sha256": SHA256},
        provenance="https://upstream.example/p",
    )
    assert second.yanked == "it's <bad>"
    assert page.header == PageHeader(last_serial=123)
    assert page.versions == ()


@pytest.mark.parametrize(
    "anchor",
    [
        "<a href='/f/demo-1.0.zip'>demo-1.0.zip</a>",
        "<a href=/f/demo-1.0.zip>demo-1.0.zip</a>",
        '<A HREF="/f/demo-1.0.zip"\n  >demo-1.0.zip</A>',
        '<a rel="internal" class="x y" href=" /f/demo-1.0.zip " data-odd="&amp;" onclick=1>\n demo-1.0.zip\n</a>',
        '<a href="../../f/demo-1.0.zip">Download</a>',
        '<a href="&#47;f/demo-1.0.zip"><b>demo-1.0</b>.zip</a>',
        '<p>text<div><a href="/f/x/../demo-1.0.zip">demo-1.0.zip',
    ],
)
def test_R65_quotes_case_entities_and_odd_attributes(anchor: str) -> None:
    assert link_of(anchor) == Link("demo-1.0.zip", "https://upstream.example/f/demo-1.0.zip")


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("https://cdn.upstream.example/files/", "https://cdn.upstream.example/files/demo-1.0.zip"),
        ("../../files/", "https://upstream.example/files/demo-1.0.zip"),
        ("javascript:x", "https://upstream.example/simple/demo/demo-1.0.zip"),
        ("", "https://upstream.example/simple/demo/demo-1.0.zip"),
    ],
)
def test_R65_base_is_honoured_when_it_is_one(base: str, expected: str) -> None:
    page = parse(f'<HTML><HEAD><BASE HREF="{base}"></HEAD><a href="demo-1.0.zip">demo-1.0.zip</a>')
    assert [link.url for link in page.links] == [expected]


@pytest.mark.parametrize(
    ("fragment", "hashes"),
    [
        ("", {}),
        (f"#md5={MD5}", {"md5": MD5}),
        (f"#SHA256={SHA256.upper()}", {"sha256": SHA256}),
        (f"#egg=demo&amp;sha256={SHA256}", {"sha256": SHA256}),
        (f"#sha256%3D{SHA256}", {"sha256": SHA256}),
        (f"#sha256%3d{SHA256}%26egg=demo", {"sha256": SHA256}),
        (f"# sha256 = {SHA256}\n", {"sha256": SHA256}),
        (f"#sha256={SHA256}#egg=demo", {"sha256": SHA256}),
        (f"#sha256={SHA256};egg=demo", {"sha256": SHA256}),
        (f"#{SHA256}", {}),
        (f"#sha256={SHA256[1:]}x", {}),
        (f"#sha256={MD5}", {}),
        (f"#sha256={MD5}&md5={MD5}", {"md5": MD5}),
        ("#sha256=", {}),
        ("#sha256=short", {}),
        (f"#crc32={MD5}", {}),
        ("#egg=demo-1.0", {}),
    ],
)
def test_R65_digests_in_fragments(fragment: str, hashes: dict[str, str]) -> None:
    link = link_of(f'<a href="/f/demo-1.0.zip{fragment}">demo-1.0.zip</a>')
    assert (link.url, link.hashes) == ("https://upstream.example/f/demo-1.0.zip", hashes)


def test_R62_yanked_with_and_without_reason() -> None:
    assert link_of("<a href=demo-1.0.zip>demo-1.0.zip</a>").yanked is False
    assert link_of("<a href=demo-1.0.zip data-yanked>demo-1.0.zip</a>").yanked is True
    assert link_of('<a href=demo-1.0.zip data-yanked="">demo-1.0.zip</a>').yanked is True
    assert link_of('<a href=demo-1.0.zip DATA-YANKED="why">demo-1.0.zip</a>').yanked == "why"


@pytest.mark.parametrize(
    ("attributes", "kept"),
    [
        ("", None),
        ('data-core-metadata="true"', True),
        ("data-core-metadata", True),
        ('data-core-metadata="false"', False),
        (f'data-core-metadata=" sha256 = {SHA256.upper()} "', {"sha256": SHA256}),
        (f'data-core-metadata="sha256%3D{SHA256}"', {"sha256": SHA256}),
        (f'data-core-metadata="sha256={SHA256}"', {"sha256": SHA256}),
        ('data-core-metadata="sha256=bad"', True),
        (f'data-dist-info-metadata="sha256={SHA256}"', {"sha256": SHA256}),
        (f'data-dist-info-metadata="true" data-core-metadata="sha256={SHA256}"', {"sha256": SHA256}),
    ],
)
def test_core_metadata_under_both_names(attributes: str, kept: object) -> None:
    assert link_of(f"<a href=demo-1.0-py3-none-any.whl {attributes}>x</a>").core_metadata == kept


def test_attributes_beyond_the_specification_are_read_when_sane() -> None:
    link = link_of('<a href=demo-1.0.zip data-upload-time="2026-11-22T17:00:00.5Z" data-size="17">x</a>')
    assert (link.upload_time, link.size) == ("2026-11-22T17:00:00.5Z", 17)
    link = link_of("<a href='\n /f/demo-1.0.zip\t' data-upload-time='2026-11-22T17:00:00+02:00' data-size=' 17 '>x</a>")
    assert (link.url, link.upload_time, link.size) == ("https://upstream.example/f/demo-1.0.zip", "2026-11-22T15:00:00Z", 17)
    link = link_of('<a href=demo-1.0.zip data-upload-time="yesterday" data-size="-1">x</a>')
    assert (link.upload_time, link.size) == (None, None)
    assert link_of(f"<a href=demo-1.0.zip data-size={'9' * 5000}>x</a>").size is None


def test_project_status_in_meta_tags() -> None:
    page = parse(
        '<META NAME="pypi:project-status" content="Quarantined"><meta name="pypi:project-status-reason" content="mal &amp; ware">'
        "<meta name='pypi:project-status' content='active'>"
    )
    assert page.header == PageHeader("quarantined", "mal & ware")
    assert parse('<meta name="pypi:project-status" content="odd"><meta name="x"><meta content="y">').header == PageHeader()


@pytest.mark.parametrize("version", ["2.0", "10", "x.1"])
def test_pages_of_a_newer_api_are_refused(version: str) -> None:
    with pytest.raises(BadUpstreamPage, match="API version"):
        parse(f'<meta name="pypi:repository-version" content="{version}">')


def test_the_file_name_is_the_last_component_of_the_address() -> None:
    assert link_of('<a href="/f/demo-1.0%2Bcpu.zip">demo-1.0+cpu.zip</a>').filename == "demo-1.0+cpu.zip"
    assert link_of('<a href="/f/demo-1.0.zip?token=a/b">demo 1.0</a>') == Link(
        "demo-1.0.zip", "https://upstream.example/f/demo-1.0.zip?token=a/b"
    )
    assert names_of("demo-1.0-variants.json") == ["demo-1.0-variants.json"], "kinds of files that will be"


@pytest.mark.parametrize(
    "anchor",
    [
        '<a href="javascript:demo-1.0.zip">demo-1.0.zip</a>',
        '<a href="file:///f/demo-1.0.zip">demo-1.0.zip</a>',
        '<a href="data:,demo-1.0.zip">demo-1.0.zip</a>',
        '<a href="/f/..%2f..%2fdemo-1.0.zip">x</a>',
        '<a href="/f/demo-1.0%5cx.zip">demo-1.0.zip</a>',
        '<a href="/f/demo-1.0%0d%0aX-Evil:1.zip">demo-1.0.zip</a>',
        '<a href="/f/demo-1.0.zip&#13;&#10;X-Evil:1">demo-1.0.zip</a>',
        '<a href="/f/%2e%2e">..</a>',
        '<a href="/f/demo-1.0-py3-none-any.whl.metadata">demo-1.0-py3-none-any.whl.metadata</a>',
        '<a name="demo-1.0.zip">demo-1.0.zip</a>',
        "<a href>demo-1.0.zip</a>",
        '<a href="../">Parent Directory</a>',
        '<a href="?C=M;O=A">Last modified</a>',
        '<a href="https://demo.example/demo-guide.html">guide</a>',
        '<!-- <a href="/f/demo-1.0.zip">demo-1.0.zip</a> -->',
    ],
)
def test_links_that_are_hostile_or_no_files_are_dropped(anchor: str) -> None:
    assert parse(f"<html><title>Links for demo</title>{anchor}</html>").links == ()


def test_flat_pages_give_only_the_files_of_the_project() -> None:
    names = ["demo-1.0.zip", "demo_extra-1.0.zip", "demo-extra-1.0.zip", "other-1.0-py3-none-any.whl", "demonstration-1.0.zip",
             "demo_extra-1.0-py3-none-any.whl", "Demo-1.0-py3-none-any.whl"]  # fmt: skip
    assert names_of(*names) == ["demo-1.0.zip", "Demo-1.0-py3-none-any.whl"]
    assert names_of(*names, project="demo-extra") == [
        "demo_extra-1.0.zip",
        "demo-extra-1.0.zip",
        "demo_extra-1.0-py3-none-any.whl",
    ]


@pytest.mark.parametrize("form", ["html", "json"])
def test_of_a_flat_page_only_links_count(form: str) -> None:
    names = ["demo-1.0.zip", "demo_extra-1.0.zip", "demo-1.0-py3-none-any.whl"]
    links = "".join(f"<a href=/f/{name}>{name}</a>" for name in names)
    body = f'<meta name="pypi:project-status" content="quarantined"><p>{"x" * 100_000}</p>{links}<!--SERIAL 5-->'
    if form == "json":
        files = [{"filename": name, "url": f"/f/{name}", "hashes": {}} for name in names]
        body = json.dumps({"meta": {"_last-serial": 5}, "versions": ["1.0"], "project-status": "archived", "files": files})
    for project, count in (("demo", 2), ("demo-extra", 1), ("other", 0)):
        page = parse_project_page(body.encode(), "", URL, project, is_flat=True)
        assert (len(page.links), page.versions, page.header) == (count, (), PageHeader())


def test_odd_but_legal_names_stay() -> None:
    names = ["Demo.Extra-1.0.tar.bz2", "demo__extra-v1.0.zip", "demo-extra-1!2.0.tar.gz", "demo_extra-1.0-rc-2.tar.gz",
             "demo.extra-1.0.win-amd64-py2.7.exe", "demo_extra-latest.zip", "demo_extra-1.0+a.b-1-cp311-abi3-linux_x86_64.whl",
             "demo_extra-1.0-py2.7.egg"]  # fmt: skip
    assert names_of(*names, project="demo-extra") == names


def test_of_links_with_one_name_the_first_with_a_digest_wins() -> None:
    page = parse(f"<a href=/a/demo-1.0.zip>x</a><a href=/b/demo-1.0.zip#md5={MD5}>x</a><a href=/c/demo-1.0.zip#md5={MD5}>x</a>")
    assert [link.url for link in page.links] == ["https://upstream.example/b/demo-1.0.zip"]


@pytest.mark.parametrize(
    "body",
    [
        "<html><head><title>Links for demo</title></head><body><h1>Links for demo</h1></body></html>",
        "<title>root/pypi: links for\n demo</title><form><input type=submit></form>",
        "<h1 class=x>Index of /simple/demo/</h1><hr><pre><a href='../'>../</a></pre>",
        "<title>Directory listing for /simple/demo/</title>",
        "<title>/simple/demo/</title><script></script>",
        "<title>Demo</title><p>Nothing was released yet.",
        '<meta name="pypi:repository-version" content="1.0"><p>Nothing.',
        "<!DOCTYPE html>\n<html>\n  <head></head><body>\n</body></html>",
        "<html><!-- none --><a href=../>Parent directory</a><br/></html>",
        "<p>All of them: <a href=other-1.0.zip>other</a>",
    ],
)
def test_a_page_that_says_it_is_an_index_page_or_is_empty_is_a_project_without_files(body: str) -> None:
    assert parse(body) == ProjectPage("demo", ())


@pytest.mark.parametrize(
    "body",
    [
        "<html><body>503 Sorry</body></html>",
        "<html><title>Maintenance</title></html>",
        "<title>Sign in to demo</title><form></form><a href='/forgot'>Forgot?</a>",
        "<html><head><script src=app.js></script></head><body><div id=root></div></body></html>",
        "<h1>Welcome</h1><a href='../'>Home</a>",
    ],
)
def test_a_web_page_that_is_no_index_page_is_refused(body: str) -> None:
    with pytest.raises(BadUpstreamPage, match="index page"):
        parse(body)
    assert parse(body, content_type="application/vnd.pypi.simple.v1+html") == ProjectPage("demo", ())


@pytest.mark.parametrize(
    ("body", "is_whole"),
    [
        ("<html><body><a href=demo-1.0.zip>x</a></body></html>\n<!--SERIAL 1-->", True),
        ("<HTML><a href=demo-1.0.zip>x</a></HTML>", True),
        ("<a href=demo-1.0.zip>x</a><br>\n", True),
        ("<html><body><a href=demo-1.0.zip>x</a><a hre", False),
        ("<html><body><a href=demo-1.0.zip>x</a>", False),
        ("<a href=demo-1.0.zip>x</a><a hre", False),
    ],
)
def test_a_page_that_breaks_off_is_refused_where_nobody_said_how_long_it_is(body: str, is_whole: bool) -> None:
    refused = contextlib.nullcontext() if is_whole else pytest.raises(BadUpstreamPage, match="breaks off")
    with refused:
        parse_project_page(body.encode(), "text/html", URL, "demo", False)
    assert len(parse(body).links) == 1


def test_charsets() -> None:
    anchor = '<a href="demo-1.0-ü.zip">demo-1.0-ü.zip</a>'
    for charset in ("utf-8", "iso-8859-1"):
        assert parse(anchor.encode(charset), content_type=f"text/html; charset={charset}").links[0].filename == "demo-1.0-ü.zip"
    for charset in ("zip", "idna", "no-such", "unicode_escape", ""):
        assert parse(anchor, content_type=f"text/html; charset={charset}").links[0].filename == "demo-1.0-ü.zip"


@pytest.mark.parametrize("content_type", ["text/html", "", "application/octet-stream", "application/vnd.pypi.simple.v1+html"])
def test_html_is_recognised_under_any_type(content_type: str) -> None:
    assert len(parse("\n <html><a href=demo-1.0.zip>x</a>", content_type=content_type).links) == 1


@pytest.mark.parametrize("part", ["<ul><li>", "<div>", '<div title="<">', "<a ", "<p><b id=1>", "<a href='", "</a>", "<!--"])
def test_hostile_nesting_takes_no_time(part: str) -> None:
    started = time.thread_time()
    parse("<title>Links for demo</title>" + part * (1_000_000 // len(part)))
    for start in ("<title ", "<h1>", "<meta ", "<meta pypi:", "<!--"):
        with contextlib.suppress(BadUpstreamPage):
            parse("<html>" + start * (100_000 // len(start)) + part)
    assert time.thread_time() - started < 5


def test_tables_of_links_are_read_whatever_surrounds_them() -> None:
    rows = "".join(f'<tr><td><a data-yanked="a &lt; b" href=demo-1.{n}.zip>x</a><td>1 MB' for n in range(300))
    links = parse(f"<html><table>{rows}</table>").links
    assert [link.filename for link in links] == [f"demo-1.{number}.zip" for number in range(300)]
    assert {link.yanked for link in links} == {"a < b"}


PARTS = ["<a ", "href=", '"', "'", ">", "demo-1.0.zip", "</a>", "<base ", "data-yanked", "#", "<!--", "&#0;"]


@given(st.lists(st.sampled_from(PARTS) | any_text()).map("".join))
def test_any_html_is_a_page_or_refused(text: str) -> None:
    with contextlib.suppress(BadUpstreamPage):
        for link in parse("<html>" + text).links:
            assert link.url.startswith("https://")
            assert not set(link.filename) & set("/\\\r\n\0")

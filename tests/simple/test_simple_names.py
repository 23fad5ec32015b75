from __future__ import annotations

import contextlib
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import json_values, project_names
from twistpi.model.errors import BadUpstreamPage
from twistpi.simple.names import Name, NameListParser, render_names
from twistpi.simple.negotiate import Representation

JSON = "application/vnd.pypi.simple.v1+json"
URL = "https://upstream.example/simple/"


def parse_names(body: bytes, content_type: str, piece: int = 64 * 1024) -> tuple[list[Name], int | None]:
    """The names, with their serials, and the serial of the list, which comes in pieces of that many bytes."""
    parser = NameListParser(iter([body[place : place + piece] for place in range(0, len(body), piece)]), content_type, URL)
    return list(parser.names()), parser.last_serial


def html_names(body: str) -> list[str]:
    return [name for name, _serial in parse_names(body.encode(), "text/html")[0]]


def test_names_come_normalised() -> None:
    projects = [{"name": "Django"}, {"name": "zope.interface"}, {"name": "-bad"}, {"name": 5}, {}, None, "x", 1, [[]]]
    body = orjson.dumps({"projects": projects, "other": [1.5, "\N{SNAKE}"], "meta": {"api-version": "1.0"}})
    assert parse_names(body, JSON) == ([("django", None), ("zope-interface", None)], None)


def test_serials_come_with_the_names_that_have_one() -> None:
    projects = [{"name": "a", "_last-serial": 3}, {"name": "B", "_last-serial": 2}, {"name": "c"}]
    body = orjson.dumps({"meta": {"_last-serial": 5}, "projects": projects})
    assert parse_names(body, JSON) == ([("a", 3), ("b", 2), ("c", None)], 5)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_R68_it_does_not_matter_where_a_list_is_divided(piece: int) -> None:
    projects = [{"name": "Zope.Interface", "_last-serial": 23, "x": {"\N{SNAKE}": [1, -2.5e3, "}],\\", True]}}, {"name": "b"}]
    page = {"meta": {"_last-serial": 5, "api-version": "1.1"}, "n": 123, "projects": projects, "m": 12}
    for option in (None, orjson.OPT_INDENT_2):
        body = b"\xef\xbb\xbf" + orjson.dumps(page, option=option) + b"\n"
        assert parse_names(body, JSON, piece) == ([("zope-interface", 23), ("b", None)], 5)
        for end in range(4, len(body) - 1):
            with pytest.raises(BadUpstreamPage):
                parse_names(body[:end], JSON, piece)
    html = f"<html><title>\N{SNAKE}</title><a href='a/'>a</a> <a\nhref='{'x' * 1000}/b/'>B</a><a href='c/'>c</a>"
    assert parse_names(html.encode(), "text/html", piece) == ([("a", None), ("b", None), ("c", None)], None)


def test_a_piece_that_is_no_json_is_refused_before_the_rest_is_read() -> None:
    pieces = iter([b'{"projects": [{"name": "a"} ', *[b"x" * 100_000] * 30])
    with pytest.raises(BadUpstreamPage):
        list(NameListParser(pieces, JSON, URL).names())
    assert len(list(pieces)) > 15


@pytest.mark.parametrize(
    "anchor",
    [
        '<a href="/simple/zope-interface/">zope.interface</a>',
        "<A HREF='Zope.Interface/'> Zope_Interface\n</A>",
        "<a href=' /simple/zope-interface/\n'>zope.interface</a>",
        "<a class=x href=zope-interface>zope-interface</a>",
        '<a href="zope-interface/index.html">zope.interface</a>',
        '<a href="https://cdn.upstream.example/simple/zope-interface/" rel="x">zope-interface/</a>',
    ],
)
def test_html_names_are_those_of_links_that_lead_to_them(anchor: str) -> None:
    assert html_names(f"<!DOCTYPE html><html><body>{anchor}<br></body></html>") == ["zope-interface"]


@pytest.mark.parametrize(
    "anchor",
    ['<a href="../">Parent Directory</a>', '<a href="?C=N;O=D">Name</a>', '<a href="/about/">help</a>', "<a>x</a>",
     '<a name="x">x</a>', '<abbr href="x">x</abbr>', '<a href="x/">x y</a>', f'<a href="{"x" * 300}/">{"x" * 300}</a>'],
)  # fmt: skip
def test_html_links_to_other_places_are_no_names(anchor: str) -> None:
    assert html_names(f"<html><title>Simple index</title>{anchor}</html>") == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "text/html"), (b"{", JSON), (b"[]", JSON), (b"{}", JSON), (b'{"projects": 1}', JSON), (b"x", "a/b"),
        (b'{"projects": []} x', JSON), (b'{"projects": [] "a": 1}', JSON), (b'{"projects": [1 2]}', JSON), (b"{1: 2}", JSON),
        (b'{"projects": [{"name": "\xff"}]}', JSON), (b'{"meta": {"api-version": "2.0"}, "projects": []}', JSON),
        (b'{"projects": [' + b"[" * 100_000, JSON), (b"<title>Maintenance</title><p>Back soon", "text/html"),
        (b"<form></form><a href='/help/'>help</a>", "text/html"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(BadUpstreamPage):
        parse_names(body, content_type)


def test_a_flat_page_names_the_projects_of_its_files() -> None:
    body = b"""<h2>Assets</h2><ul><li><a href="/o/r/releases/download/v1/Demo_Extra-1.0-py3-none-any.whl" rel="nofollow"
        data-turbo="false" class="Truncate"><span class="text-bold">Demo_Extra-1.0-py3-none-any.whl</span></a>
        <li><a href='demo-1.0%2Bcpu.tar.gz?x=1&amp;y=2#sha256=abc'>source</a><a href="demo-2.0.zip">x</a>
        <a href="../">../</a><a href="/login">login</a><a>x</a><a href="notes.txt">notes</a></ul>"""
    for piece in (7, 100_000):
        pieces = (body[place : place + piece] for place in range(0, len(body), piece))
        names = NameListParser(pieces, "text/html", URL, is_flat=True).names()
        assert [name for name, _serial in names] == ["demo-extra", "demo", "demo"]


@pytest.mark.parametrize("body", ["<html></html>", "<title>root/pypi: simple list</title><form></form>"])
def test_html_lists_without_names_are_empty_lists(body: str) -> None:
    assert html_names(body) == []


def test_a_list_that_breaks_off_is_refused_where_nobody_said_how_long_it_is() -> None:
    whole = b"<html><body>" + b"".join(b"<a href=n%d/>n%d</a>" % (number, number) for number in range(5_000)) + b"</body></html>"
    for end, is_whole in ((len(whole), True), (len(whole) // 2, False)):
        pieces = (whole[place : min(place + 1000, end)] for place in range(0, end, 1000))
        with contextlib.nullcontext() if is_whole else pytest.raises(BadUpstreamPage, match="breaks off"):
            list(NameListParser(pieces, "text/html", URL, False).names())


@given(json_values(), json_values())
def test_any_json_is_a_list_or_refused(project: object, meta: object) -> None:
    with contextlib.suppress(BadUpstreamPage):
        parse_names(orjson.dumps({"meta": meta, "projects": [project, {"name": project, "_last-serial": meta}]}), JSON)


@pytest.mark.parametrize("part", ["<a ", "<a href=x>x", "<a href=", "<a href=a ", "<a x='"])
def test_hostile_html_takes_no_time(part: str) -> None:
    started = time.thread_time()
    html_names("<title>Simple index</title>" + part * (2_000_000 // len(part)) + ">")
    assert time.thread_time() - started < 5


@given(st.lists(project_names(), unique=True), st.sampled_from(list(Representation)))
def test_R68_a_rendered_list_reads_as_what_it_was(names: list[str], form: Representation) -> None:
    body = b"".join(render_names("root/pypi", iter(names), form))
    assert parse_names(body, form.value) == ([(name, None) for name in names], None)


def test_R36_serials_are_shown_to_who_mirrors_this_server() -> None:
    body = b"".join(render_names("root/pypi", ["a", "b"], Representation.JSON_V1, serials=[3, 2], last_serial=5))
    assert orjson.loads(body) == {
        "meta": {"api-version": "1.4", "_last-serial": 5},
        "projects": [{"name": "a", "_last-serial": 3}, {"name": "b", "_last-serial": 2}],
    }


@pytest.mark.parametrize("form", list(Representation))
def test_R68_a_long_list_comes_in_pieces(form: Representation) -> None:
    names = (f"project-{number}" for number in range(20_000))
    pieces = list(render_names("root/pypi", names, form))
    assert len(pieces) > 5
    assert max(map(len, pieces)) < 500_000
    assert len(parse_names(b"".join(pieces), form.value)[0]) == 20_000

from __future__ import annotations

import contextlib
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import json_values, project_names
from twistpi.model.errors import BadUpstreamPage
from twistpi.simple.negotiate import Representation
from twistpi.simple.parse_names import NameList, parse_names
from twistpi.simple.render_names import render_names

JSON = "application/vnd.pypi.simple.v1+json"
URL = "https://upstream.example/simple/"


def html_names(body: str) -> list[str]:
    return parse_names(body.encode(), "text/html", URL).names


def test_names_come_normalised_and_once() -> None:
    projects = [{"name": "Django"}, {"name": "zope.interface"}, {"name": "django"}, {"name": "-bad"}, {"name": 5}, {}, None, "x"]
    assert parse_names(orjson.dumps({"meta": {"api-version": "1.0"}, "projects": projects}), JSON) == NameList(
        ["django", "zope-interface"], None, None
    )


def test_serials_come_when_every_project_has_one() -> None:
    projects = [{"name": "a", "_last-serial": 3}, {"name": "B", "_last-serial": 2}]
    body = {"meta": {"_last-serial": 5}, "projects": projects}
    assert parse_names(orjson.dumps(body), JSON) == NameList(["a", "b"], [3, 2], 5)
    body["projects"] = [*projects, {"name": "c"}]
    assert parse_names(orjson.dumps(body), JSON) == NameList(["a", "b", "c"], None, 5)


@pytest.mark.parametrize(
    "anchor",
    [
        '<a href="/simple/zope-interface/">zope.interface</a>',
        "<A HREF='Zope.Interface/'> Zope_Interface\n</A>",
        "<a class=x href=zope-interface>zope-interface</a>",
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
    assert html_names(f"<html>{anchor}</html>") == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"", "text/html"), (b"{", JSON), (b"[]", JSON), (b"{}", JSON), (b'{"projects": 1}', JSON), (b"x", "a/b")],
)
def test_what_is_no_list_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(BadUpstreamPage):
        parse_names(body, content_type, URL)


@given(json_values(), json_values())
def test_any_json_is_a_list_or_refused(project: object, meta: object) -> None:
    with contextlib.suppress(BadUpstreamPage):
        parse_names(orjson.dumps({"meta": meta, "projects": [project, {"name": project, "_last-serial": meta}]}), JSON)


@pytest.mark.parametrize("part", ["<a ", "<a href=x>x", "<a href=", "<a href=a ", "<a x='"])
def test_hostile_html_takes_no_time(part: str) -> None:
    started = time.thread_time()
    html_names("<html>" + part * (2_000_000 // len(part)) + ">")
    assert time.thread_time() - started < 5


@given(st.lists(project_names(), unique=True), st.sampled_from(list(Representation)))
def test_R68_a_rendered_list_reads_as_what_it_was(names: list[str], form: Representation) -> None:
    body = b"".join(render_names("root/pypi", iter(names), form))
    assert parse_names(body, form.value, URL) == NameList(names, None, None)


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
    assert len(parse_names(b"".join(pieces), form.value, URL).names) == 20_000

"""Search for programs: JSON, and the XML-RPC call of pip search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, dumps, loads

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.search.search_setup import SearchWorld
from tests.search.test_search_index import add_docs
from tests.web.web_asking import logged_in, nobody
from tests.web.web_world import MIRROR
from twistpi.model.changes import IndexModified
from twistpi.web.receiving.xml_rpc import Unreadable, read_call, write_answer

DEV, CLOSED = "alice/dev", "alice/closed"
XML = {"content_type": "text/xml"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SearchWorld]:
    with closing(SearchWorld(str(tmp_path))) as made:
        made.add_user("alice", "secret")
        made.add_stage("alice/base")
        made.add_stage(CLOSED, acl_read=["alice"])
        made.add_stage(DEV, bases=["alice/base", CLOSED, MIRROR])
        made.upload(DEV, "Hello.World", "1.0", {"summary": "Greets <everybody>"})
        made.upload("alice/base", "hello-world", "2.0", {"summary": "Of the base"})
        made.upload("alice/base", "greeter", "0.1", {"summary": "hello"})
        made.upload(CLOSED, "hello-secret", "3.0")
        made.set_names(MIRROR, "hello", "hello-world", "requests")
        made.settle()
        yield made


def call(world: SearchWorld, *parameters: Any, method: str = "search", who: Any = None, path: str = f"/{DEV}") -> Any:
    """The result of a call; ``Fault`` is raised."""
    answer = (who or nobody(world)).ask("POST", path, dumps(parameters, method).encode(), **XML)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml")
    return loads(answer.body)[0][0]


def test_json_has_what_is_found_and_what_matched(world: SearchWorld) -> None:
    answer = nobody(world).get("/+search.json?query=hello+greets&limit=1&page=1")
    result = answer.json()
    assert result["type"] == "searchresult"
    (item,) = result["result"].pop("items")
    assert result["result"] == {
        "query": "hello greets", "page": 1, "pages": 1, "total": 1, "complete": True, "building": False,
    }  # fmt: skip
    assert item["url"].endswith("/alice/dev/hello-world")
    assert {key: item[key] for key in ("name", "project", "index", "version", "kind", "summary")} == {
        "name": "Hello.World", "project": "hello-world", "index": DEV, "version": "1.0", "kind": "own",
        "summary": "Greets <everybody>",
    }  # fmt: skip
    assert [place["index"] for place in item["indexes"]] == [DEV, "alice/base", MIRROR]
    assert item["matches"][1] == {
        "field": "summary",
        "pieces": [{"text": "Greets", "match": True}, {"text": " <everybody>", "match": False}],
    }
    assert "Authorization" in answer.headers["vary"]
    assert "private" in answer.headers["cache-control"]


def test_json_has_only_what_the_caller_may_read(world: SearchWorld) -> None:
    def names(who: Any) -> list[str]:
        return [item["project"] for item in who.get("/+search.json?query=hello").json()["result"]["items"]]

    assert names(nobody(world)) == ["hello", "hello-world", "greeter"]
    assert sorted(names(logged_in(world, "alice"))) == ["greeter", "hello", "hello-secret", "hello-world"]


def test_what_the_documentation_of_a_release_in_quarantine_says_is_not_told(world: SearchWorld) -> None:
    add_docs(world, index="<title>Waving</title><p>flags and hands</p>")
    world.settle()

    def fields() -> list[str]:
        (item,) = nobody(world).get("/+search.json?query=waving").json()["result"]["items"]
        return [one["field"] for one in item["matches"] if "path" in one]

    assert fields() == ["title"]
    world.commit(IndexModified(DEV, {"quarantined": ["hello-world==1.0 it steals"]}))
    assert fields() == []
    shown = nobody(world).get("/+search?query=waving", accept="text/html").content
    assert (b"/alice/dev/hello-world" in shown, b"flags and hands" in shown, b"+d/index.html" in shown) == (True, False, False)
    world.commit(IndexModified(DEV, {"quarantined": ["hello-world==1.1 it steals"]}))
    assert fields() == ["title"]


@pytest.mark.parametrize("query", ["", "?query=", "?query=(&page=abc", "?query=%ff%00&page=-1&limit=99999999999", "?page=999999"])
def test_every_query_is_answered(world: SearchWorld, query: str) -> None:
    answer = nobody(world).get(f"/+search.json{query}")
    assert (answer.status, answer.json()["result"]["items"]) == (200, [])


def test_pip_search_has_the_nearest_index_of_each_project(world: SearchWorld) -> None:
    found = call(world, {"name": ["hello"], "summary": ["hello"]}, "or")
    by_name = {hit["name"]: (hit["summary"], hit["version"]) for hit in found}
    assert by_name == {
        "Hello.World": (f"[{DEV}] Greets <everybody>", "1.0"),
        "greeter": ("[alice/base] hello", "0.1"),
        "hello": (f"[{MIRROR}]", ""),
    }
    assert all(isinstance(hit["_pypi_ordering"], float) for hit in found)
    assert "hello-secret" in {hit["name"] for hit in call(world, {"name": "hello"}, who=logged_in(world, "alice"))}


@pytest.mark.parametrize(
    ("operator", "names"),
    [
        ("or", {"Hello.World", "hello", "greeter"}),
        ("and", set()),
        ("andnot", {"Hello.World", "hello"}),
        ("andmaybe", {"Hello.World", "hello"}),
        ("not", {"requests"}),
    ],
)
def test_the_operators_combine_name_and_summary(world: SearchWorld, operator: str, names: set[str]) -> None:
    found = call(world, {"name": ["hello"], "summary": ["hello"]}, operator)
    assert {hit["name"] for hit in found} == names


@pytest.mark.parametrize(
    ("parameters", "method", "fault"),
    [
        (({"name": "x"}, "or"), "foo", "Unknown method 'foo'."),
        (({"author": "x"}, "or"), "search", "Only 'name' and 'summary' allowed in query."),
        (({"name": ["x", "y"]}, "or"), "search", "Only one value allowed for query."),
        (({"name": "x"}, "XX"), "search", "Unknown operator 'XX'."),
        ((1,), "search", "The parameters are a dictionary of what is searched, and an operator."),
        ((), "search", "The parameters are a dictionary of what is searched, and an operator."),
        (({"name": "x"}, ["or"]), "search", "Unknown operator '['or']'."),
    ],
)
def test_a_call_for_something_else_gets_a_fault(world: SearchWorld, parameters: Any, method: str, fault: str) -> None:
    with pytest.raises(Fault) as caught:
        call(world, *parameters, method=method)
    assert (caught.value.faultCode, caught.value.faultString) == (1, fault)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<methodCall/>",
        b"<methodCall><methodName>search</methodName><params><param><value><int>x</int></value></param></params></methodCall>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><methodCall><methodName>&a;</methodName></methodCall>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x><methodCall/>'.encode("utf-16"),
        b"<methodCall>" + b"<x>" * 30_000,
    ],
)
def test_what_is_no_call_gets_a_fault(world: SearchWorld, body: bytes) -> None:
    answer = nobody(world).ask("POST", f"/{DEV}/", body, **XML)
    assert answer.status == 200
    with pytest.raises(Fault):
        loads(answer.body)


@given(st.binary(max_size=300))
def test_any_body_is_a_call_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        read_call(body)


def test_answers_hold_what_xml_cannot(world: SearchWorld) -> None:
    world.upload(DEV, "odd", "1", {"summary": "odd \x01 ]]> &"})
    world.settle()
    assert [hit["version"] for hit in call(world, {"name": "odd"})] == ["1"]
    assert loads(write_answer("a\x0bb"))[0] == ("ab",)


def test_a_closed_or_unknown_index_is_not_searched(world: SearchWorld) -> None:
    body = dumps(({"name": "x"},), "search").encode()
    assert nobody(world).ask("POST", f"/{CLOSED}", body, **XML).status == 401
    assert nobody(world).ask("POST", "/alice/none", body, **XML).status == 404


def test_what_an_allow_list_does_not_name_is_not_found(world: SearchWorld) -> None:
    world.commit(IndexModified(MIRROR, {"allow": ["requests"]}))
    found = nobody(world).get("/+search.json?query=hello").json()["result"]["items"]
    assert [(item["project"], [place["index"] for place in item["indexes"]]) for item in found] == [
        ("hello-world", [DEV, "alice/base"]),
        ("greeter", ["alice/base"]),
    ]
    assert [item["project"] for item in nobody(world).get("/+search.json?query=requests").json()["result"]["items"]] == [
        "requests"
    ]
    assert "hello" not in [hit["name"] for hit in call(world, {"name": ["hello"]})]
    world.commit(IndexModified(DEV, {"allow": ["hello"]}))
    assert call(world, {"name": ["requests"]}) == []

"""Each requirement is judged right where an index does right, and wrong where it does wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import attrs
import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.good_index import BASE, PASSWORD, SDIST, WHEEL, Answer, GoodIndex
from twistpi.cli.diagnostics.findings import Finding, Verdict, count, index_fields, index_lines
from twistpi.cli.diagnostics.index_rules import RULES, judge_index
from twistpi.cli.diagnostics.index_survey import NO_PAGE, names_in, survey_index
from twistpi.cli.diagnostics.survey import Exchange, Query

Spoil = Callable[[Query, Answer], Answer]
ONLY_WITH_LOGIN = {57, 69, 70, 71, 73}
ONLY_WHEN_BUSY = {107}
BY_NUMBER = sorted(RULES, key=lambda subject: int(subject[1:]))


@attrs.define
class Spoilt(GoodIndex):
    """An index with something wrong in its answers."""

    how: Spoil = lambda question, answer: answer

    def spoil(self, question: Query, answer: Answer) -> Answer:
        return self.how(question, answer)


def judged(index: GoodIndex, project: str = "") -> dict[int, Finding]:
    return {int(finding.subject[1:]): finding for finding in judge_index(index.survey(project))}


def outcomes(index: GoodIndex) -> dict[Verdict, set[int]]:
    found: dict[Verdict, set[int]] = {outcome: set() for outcome in Verdict}
    for number, judgement in judged(index).items():
        found[judgement.verdict].add(number)
    return found


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    found = outcomes(GoodIndex())
    assert found[Verdict.WRONG] == set()
    assert found[Verdict.UNKNOWN] == ONLY_WITH_LOGIN | ONLY_WHEN_BUSY


def test_nothing_is_found_at_an_index_that_needs_a_login_and_does_right() -> None:
    found = outcomes(GoodIndex(is_protected=True))
    assert found[Verdict.WRONG] == set()
    assert found[Verdict.UNKNOWN] == ONLY_WHEN_BUSY


def header(name: str, value: str | None, where: str = "") -> Spoil:
    """Another value of a header, or none, in the answers to addresses that hold ``where``."""

    def spoil(question: Query, answer: Answer) -> Answer:
        if where not in question.url or (value is not None and name not in answer.headers):
            return answer
        headers = {key: old for key, old in answer.headers.items() if key != name}
        return attrs.evolve(answer, headers=headers if value is None else {**headers, name: value})

    return spoil


def status(
    code: int, where: str = "", method: str = "", asked: str = "", old: int = 0, more: dict[str, str] | None = None
) -> Spoil:
    """Another status, where the address, the method, a request header's value and the right status are these."""

    def spoil(question: Query, answer: Answer) -> Answer:
        fits = where in question.url and method in question.method and (not old or answer.status == old)
        fits = fits and (not asked or any(asked in value for value in dict(question.headers).values()))
        return attrs.evolve(answer, status=code, headers={**answer.headers, **(more or {})}) if fits else answer

    return spoil


def when(condition: Callable[[Query, Answer], bool], **changes: Any) -> Spoil:
    return lambda question, answer: attrs.evolve(answer, **changes) if condition(question, answer) else answer


ENCODED = "%73ix"
TYPED_WRONG = header("Content-Type", "application/json", "/simple/six/")
SPOILT: dict[str, tuple[int, Spoil]] = {
    "HEAD is not answered": (1, status(405, "/simple/", "HEAD", old=200)),
    "a redirect loses the query": (2, header("Location", "/simple/six/", "/simple/six?")),
    "a redirect is temporary": (2, status(302, "?via", old=301)),
    "another spelling is unknown": (3, status(404, "/SIX/")),
    "another spelling is a page of its own": (3, status(200, "/SIX/")),
    "a name that cannot be is an error": (4, status(500, "/-a/")),
    "percent-encoding leads nowhere": (5, status(404, ENCODED)),
    "a redirect goes to a host inside": (6, header("Location", "http://10.0.0.1:3141/simple/six/", "/SIX/")),
    "relative links lead nowhere": (7, status(404, "/files/")),
    "JSON is called something else": (8, TYPED_WRONG),
    "who asks for anything gets JSON": (9, status(406, "/simple/six/", asked="*/*")),
    "pip gets HTML": (10, lambda q, a: header("Content-Type", "text/html")(q, a) if "q=0.01" in str(q.headers) else a),
    "old pip gets another type": (11, header("Content-Type", "text/xhtml", "/simple/six/")),
    "preferences do not count": (12, lambda q, a: TYPED_WRONG(q, a) if ";q=0.1, text" in str(q.headers) else a),
    "latest is told as latest": (
        13, lambda q, a: header("Content-Type", "application/vnd.pypi.simple.latest+json")(q, a)
        if "latest" in dict(q.headers).get("Accept", "") else a,
    ),
    "what is not supported is a choice": (14, status(300, "", asked="no-such-thing")),
    "what is not supported differs": (14, status(200, "six", asked="no-such-thing", more={"Content-Type": "text/html"})),
    "a query is too much": (15, status(500, "format=")),
    "nothing varies": (16, header("Vary", None)),
    "304 does not say that it varies": (16, lambda q, a: header("Vary", None)(q, a) if a.status == 304 else a),
    "a file has no type": (17, header("Content-Type", None, "/files/")),
    "metadata has another digest": (37, when(lambda q, a: q.url.endswith(".metadata"), body=b"Name: seven\n")),
    "metadata is promised and missing": (38, status(404, ".metadata")),
    "a file has no length": (40, header("Content-Length", None, "/files/")),
    "a file has another length": (40, header("Content-Length", "7", "/files/")),
    "files have no ranges": (40, header("Accept-Ranges", None, "/files/")),
    "ranges get everything": (41, status(200, "/files/", old=206)),
    "a range is another one": (41, header("Content-Range", "bytes 0-1/100", "/files/")),
    "beyond the end is a bad request": (41, status(400, "/files/", old=416)),
    "two ranges are too much": (42, status(501, "/files/", asked=",5-6")),
    "a malformed range is a bad request": (42, status(400, "/files/", asked="9-1")),
    "another file's part is given": (43, status(206, "/files/", asked="another-file")),
    "its own part is not given": (43, status(200, "/files/", asked="bytes=0-9")),
    "files are packed": (45, lambda q, a: attrs.evolve(a, headers={**a.headers, "Content-Encoding": "gzip"})
                         if "gzip, deflate" in dict(q.headers).get("Accept-Encoding", "") else a),
    "a signature is the file": (51, status(200, ".asc", more={"Content-Length": "100"})),
    "pages have no ETag": (52, header("ETag", None, "/simple/")),
    "one weak ETag is for both forms": (52, header("ETag", 'W/"1"', "/simple/")),
    "one ETag is for both forms": (52, header("ETag", '"1"', "/simple/")),
    "ETags are not looked at": (52, status(200, "/simple/", old=304)),
    "weak comparison is not known": (52, status(200, "/simple/", asked='W/"')),
    "pages say nothing to caches": (53, header("Cache-Control", None, "/simple/")),
    "files are asked for again": (56, header("Cache-Control", "no-cache", "/files/")),
    "files have no ETag": (56, header("ETag", None, "/files/")),
    "pages are not packed": (58, header("Content-Encoding", None, "/simple/")),
    "404 is kept for a day": (59, header("Cache-Control", "max-age=86400", "looks-for-nothing")),
    "an unknown project is an error": (59, status(502, "looks-for-nothing")),
    "POST is taken": (85, status(200, "/six/", "POST")),
    "connections are closed": (105, when(lambda q, a: True, kept_open=False)),
    "busy for how long": (107, status(503, "looks-for-nothing")),
    "no date": (108, header("Date", None)),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_an_answer_that_is_wrong_is_judged_wrong(what: str) -> None:
    number, how = SPOILT[what]
    found = judged(Spoilt(how=how))[number]
    assert found.verdict is Verdict.WRONG, found


SPOILT_WITH_LOGIN: dict[str, tuple[int, Spoil]] = {
    "caches are not told": (57, header("Cache-Control", "no-cache", "/simple/six/")),
    "forbidden instead of asked": (69, status(403, old=401)),
    "no challenge": (69, header("WWW-Authenticate", None)),
    "files do not know the login": (70, status(401, "/files/")),
    "the password is shown": (73, header("Location", f"https://alice:{PASSWORD}@pkgs.example/simple/six/")),
}


@pytest.mark.parametrize("what", SPOILT_WITH_LOGIN)
def test_an_answer_that_is_wrong_where_a_login_is_needed_is_judged_wrong(what: str) -> None:
    number, how = SPOILT_WITH_LOGIN[what]
    found = judged(Spoilt(how=how, is_protected=True))[number]
    assert found.verdict is Verdict.WRONG, found


def test_files_elsewhere_are_wrong_where_a_login_is_needed() -> None:
    index = GoodIndex(is_protected=True)
    index.page["files"][0]["url"] = f"https://files.example/files/{WHEEL}"
    assert judged(index)[71].verdict is Verdict.WRONG


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Set, or with None remove, what is at a path in the page."""
    *way, last, value = path

    def change(page: Any) -> None:
        for step in way:
            page = page[step]
        if value is None:
            page.pop(last)
        else:
            page[last] = value

    return change


SPOILT_PAGES: dict[str, tuple[int, Callable[[dict[str, Any]], None]]] = {
    "no version of the API": (26, _set("meta", "api-version", None)),
    "the name is not normalised": (26, _set("name", "Six")),
    "no versions": (26, _set("versions", None)),
    "no hashes": (27, _set("files", 0, "hashes", None)),
    "no size": (27, _set("files", 0, "size", None)),
    "a version is missing": (28, _set("versions", ["0.9"])),
    "a version is there twice": (28, _set("versions", ["0.9", "1.0", "1.0"])),
    "a time of another form": (29, _set("files", 0, "upload-time", "2026-11-01 10:00:00")),
    "too fine a time": (29, _set("files", 0, "upload-time", "2026-11-01T10:00:00.1234567Z")),
    "an empty reason": (30, _set("files", 1, "yanked", "")),
    "dist-info-metadata": (31, _set("files", 0, "dist-info-metadata", {"sha256": "ab"})),
    "metadata of another form": (31, _set("files", 0, "core-metadata", "sha256=ab")),
    "provenance of another form": (33, _set("files", 0, "provenance", "/provenance")),
    "the status in meta": (34, _set("meta", "project-status", "active")),
    "the status as text": (34, _set("project-status", "active")),
    "tracks": (35, _set("meta", "tracks", [])),
    "a key of one's own": (35, _set("files", 0, "downloads", 7)),
    "a version of the future": (98, _set("meta", "api-version", "1.9")),
}


@pytest.mark.parametrize("what", SPOILT_PAGES)
def test_a_page_in_json_that_is_wrong_is_judged_wrong(what: str) -> None:
    number, change = SPOILT_PAGES[what]
    index = GoodIndex()
    change(index.page)
    found = judged(index)[number]
    assert found.verdict is Verdict.WRONG, found


@pytest.mark.parametrize(
    ("number", "old", "new"),
    [
        (18, "<!DOCTYPE html>", ""),
        (18, f">{WHEEL}</a>", ">a wheel</a>"),
        (18, f">{SDIST}</a>", f">{WHEEL}</a>"),
        (19, ' content="1.4"', ' content="1.9"'),
        (19, "pypi:repository-version", "version"),
        (20, "#sha256=", "#md5="),
        (21, "&gt;=3.8", ">=3.8"),
        (21, "&gt;=3.8", "&gt;=3.9"),
        (22, "data-yanked", "data-broken"),
        (23, "data-dist-info-metadata", "data-nothing"),
        (24, 'content="active"', 'content="asleep"'),
        (25, "&gt;=3.8", ">=3.8"),
    ],
)
def test_a_page_in_html_that_is_wrong_is_judged_wrong(number: int, old: str, new: str) -> None:
    index = GoodIndex()
    assert old in index.html
    index.html = index.html.replace(old, new)
    found = judged(index)[number]
    assert found.verdict is Verdict.WRONG, found


def test_weak_etags_that_are_compared_are_right() -> None:
    def weaken(question: Query, answer: Answer) -> Answer:
        tag = answer.headers.get("ETag", "")
        return header("ETag", f"W/{tag}", "/simple/")(question, answer)

    assert judged(Spoilt(how=weaken))[52].verdict is Verdict.OK
    never = Spoilt(how=lambda q, a: weaken(q, a) if a.status != 304 else attrs.evolve(a, status=200))
    assert judged(never)[52].verdict is Verdict.WRONG


def test_a_page_in_one_form_need_not_vary() -> None:
    index = Spoilt(
        how=lambda q, a: attrs.evolve(header("Vary", None)(q, a), headers={"Date": "now", "Content-Type": "text/html"})
    )
    assert judged(index)[16].verdict is Verdict.OK


def test_a_list_without_projects_is_judged_wrong() -> None:
    index = Spoilt(how=when(lambda q, a: q.url == BASE and q.method == "GET", body=b'{"projects": [{}]}'))
    assert judged(index, "six")[36].verdict is Verdict.WRONG


def test_each_requirement_is_judged_wrong_by_some_test() -> None:
    spoilt = {number for number, _ in [*SPOILT.values(), *SPOILT_WITH_LOGIN.values(), *SPOILT_PAGES.values()]}
    assert {f"R{number}" for number in spoilt | {71, 36} | set(range(18, 26))} == set(RULES)


def test_it_costs_a_handful_of_questions_and_no_list_is_read_to_its_end() -> None:
    long = b'{"projects": [' + b", ".join(b'{"name": "p%d"}' % number for number in range(100_000)) + b"]}"
    index = Spoilt(how=when(lambda q, a: q.url == BASE and q.method == "GET", body=long))
    record = index.survey()
    assert record.project == "six"
    assert judge_index(record)[BY_NUMBER.index("R36")].verdict is Verdict.OK
    assert index.asked <= 50


def test_a_project_is_found_in_the_list_of_a_small_index_and_where_the_list_is_hidden() -> None:
    assert GoodIndex().survey().project == "six"
    assert Spoilt(how=when(lambda q, a: q.url == BASE, status=404, body=b"")).survey().project == "six"
    assert list(names_in('{"projects": [{"name": "a"}, {"name":"b"}, {"na')) == ["a", "b"]
    assert list(names_in('<a href="c/">c</a><a href')) == ["c"]


def test_an_index_is_followed_to_where_it_is() -> None:
    def moved(question: Query) -> Exchange:
        if question.url == "http://old.example/simple/":
            return Exchange(301, "Moved", (("Location", BASE),), query=question)
        return GoodIndex().ask(question)

    assert survey_index(moved, "http://old.example/simple").base == BASE

    def circling(question: Query) -> Exchange:
        return Exchange(301, "Moved", (("Location", question.url),), query=question)

    with pytest.raises(click.ClickException, match="redirects for ever"):
        survey_index(circling, BASE)
    with pytest.raises(click.ClickException, match="cannot be checked: nobody is there"):
        survey_index(lambda question: Exchange(0, "", (), query=question, failure="nobody is there"), BASE)


@pytest.mark.parametrize(
    ("code", "login", "advice"),
    [
        (404, None, "is answered 404 Reason; is it what installers are given as index-url?"),
        (502, None, "is answered 502 Reason; is it what installers are given as index-url?"),
        (401, None, "is answered 401 Reason; it needs a login, which --user gives"),
        (403, "wrong", "is answered 403 Reason; does it take this login?"),
    ],
)
def test_what_is_no_index_or_closed_is_told_and_not_judged(code: int, login: str | None, advice: str) -> None:
    def refuse(question: Query) -> Exchange:
        return Exchange(code, "Reason", (), query=question)

    with pytest.raises(click.ClickException, match=re.escape(f"{BASE} cannot be checked: it {advice}")):
        survey_index(refuse, BASE, password=login)


def test_an_index_whose_list_alone_is_closed_is_judged() -> None:
    assert judged(Spoilt(how=when(lambda q, a: q.url == BASE, status=401, body=b"")))[52].verdict is Verdict.OK


def test_where_no_project_is_found_nothing_is_said_of_logins() -> None:
    empty = Spoilt(how=when(lambda q, a: q.url == BASE and q.method == "GET", body=b'{"projects": []}'))
    nothing = Spoilt(how=lambda q, a: status(404, "/six/")(q, empty.how(q, a)))
    assert {judged(nothing)[number].sentence for number in (3, 8, 52, 57, 69, 70, 71)} == {NO_PAGE}
    assert judged(nothing)[1].verdict is Verdict.OK, "a page that is not there is not expected to answer"


def test_a_range_that_is_none_may_be_refused() -> None:
    assert judged(Spoilt(how=status(416, "/files/", asked="9-1")))[42].verdict is Verdict.OK


def test_the_report_has_a_sentence_for_each_requirement() -> None:
    record = Spoilt(how=SPOILT["no date"][1]).survey()
    findings = judge_index(record)
    lines = list(index_lines(record.base, record.project, findings))
    assert lines[0] == f"{BASE}, looking at six"
    assert [line for line in lines if " FAILS " in line] == [f"R108  FAILS        {BASE} (200 Reason) has no Date."]
    assert lines[-1] == f"{count(findings, Verdict.OK)} ok, 1 failed, 6 cannot be told"
    assert all(line.endswith(".") for line in lines[2:-2]), lines
    fields = json.loads(json.dumps(index_fields(record.base, record.project, len(record.got), findings)))
    assert [f"R{one['number']}" for one in fields["requirements"]] == BY_NUMBER
    assert fields["counts"]["fails"] == 1


_HEADERS = st.sampled_from(["Content-Type", "ETag", "Vary", "Location", "Cache-Control", "Content-Range", "Content-Length"])
_VALUES = st.sampled_from(["text/html", "application/vnd.pypi.simple.v1+json", "//[", "/simple/six/", '"x"', "7", ""])
_KEYS = st.sampled_from(["meta", "name", "files", "versions", "url", "hashes", "filename", "projects", "yanked", "core-metadata"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner),
    max_leaves=8,
)
_ODD = st.sampled_from(
    [b"<a href='//['>x</a>", b"<a href>", b"<!doctype html><meta name><a href='x#sha256=1' data-core-metadata>", b"\xff\x00"]
)
_BODIES = _JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40) | _ODD
_STATUSES = st.sampled_from([0, 200, 200, 206, 301, 304, 401, 404, 500])
_ANSWERS = st.lists(st.tuples(_STATUSES, st.dictionaries(_HEADERS, _VALUES | st.text(max_size=5)), _BODIES), min_size=1)


@settings(deadline=None)
@given(_ANSWERS)
def test_whatever_a_server_answers_there_is_a_judgement_on_everything(answers: list[tuple[int, dict[str, str], bytes]]) -> None:
    asked = 0

    def ask(question: Query) -> Exchange:
        nonlocal asked
        code, headers, body = answers[asked % len(answers)]
        asked += 1
        return Exchange(code, "", tuple(headers.items()), body, query=question, failure="" if code else "gone")

    try:
        record = survey_index(ask, BASE, password="secret")
    except click.ClickException:
        return
    assert [finding.subject for finding in judge_index(record)] == BY_NUMBER

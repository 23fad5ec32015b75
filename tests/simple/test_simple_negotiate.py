from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.simple.negotiate import Representation, accepts_gzip, choose

JSON, HTML, TEXT = Representation.JSON_V1, Representation.HTML_V1, Representation.TEXT_HTML
PIP = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
UV = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize("representation", list(Representation))
def test_R08_each_type_is_had_by_its_name(representation: Representation) -> None:
    assert choose(representation.value) is representation
    assert representation.content_type.partition(";")[0] == representation.value


def test_R08_json_and_v1_html_are_named_exactly() -> None:
    assert JSON.content_type == "application/vnd.pypi.simple.v1+json"
    assert HTML.content_type == "application/vnd.pypi.simple.v1+html"


@pytest.mark.parametrize("accept", [None, "", "  ", "*/*", "text/*", "*/*;q=0.1", "text/html, */*", BROWSER])
def test_R09_no_preference_means_plain_html(accept: str | None) -> None:
    assert choose(accept) is TEXT


@pytest.mark.parametrize(
    "accept",
    [
        PIP,
        UV,
        "application/vnd.pypi.simple.v1+json, */*;q=0.1",
        "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html, text/html;q=0.01",
        "application/vnd.pypi.simple.v1+json",
        "application/vnd.pypi.simple.v1+html, text/html, application/vnd.pypi.simple.v1+json",
    ],
)
def test_R10_todays_installers_get_json(accept: str) -> None:
    assert choose(accept) is JSON


def test_R11_old_pip_gets_plain_html() -> None:
    assert choose("text/html") is TEXT
    assert TEXT.content_type.startswith("text/html")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("application/vnd.pypi.simple.v1+json;q=0.1, text/html", TEXT),
        ("application/vnd.pypi.simple.v1+json;q=0.1, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1", HTML),
        ("application/vnd.pypi.simple.v1+json;q=0, */*", TEXT),
        ("text/html;q=0, */*", HTML),
        ("text/html;q=0, application/vnd.pypi.simple.v1+html;q=0, */*;q=0.3", JSON),
        ("application/vnd.pypi.simple.v1+json;q=0.5, text/html;q=0.500", JSON),
        ("application/vnd.pypi.simple.v1+html, text/html", HTML),
        ("application/*", HTML),
        ("APPLICATION/Vnd.PyPI.simple.V1+JSON ; Q=0.9 , text/html;q=0.8", JSON),
        ("text/html;level=1;q=0.4, text/*;q=0.9", TEXT),
    ],
)
def test_R12_qualities_decide(accept: str, chosen: Representation) -> None:
    assert choose(accept) is chosen


def test_R13_latest_is_answered_as_the_version_it_is() -> None:
    assert choose("application/vnd.pypi.simple.latest+json") is JSON
    assert choose("application/vnd.pypi.simple.latest+html") is HTML
    assert choose(None, "application/vnd.pypi.simple.latest+json") is JSON


@pytest.mark.parametrize("accept", ["application/json", "image/png", "garbage", "text/html;q=0", "text/html;q=2", ",;=,"])
def test_R14_what_is_not_served_is_refused_or_answered_with_the_fallback(accept: str) -> None:
    assert choose(accept) is None
    assert choose(accept, fallback=TEXT) is TEXT


@pytest.mark.parametrize("representation", list(Representation))
def test_R15_format_wins_over_accept(representation: Representation) -> None:
    assert choose("text/html, image/png", representation.value) is representation
    assert choose("image/png", representation.value.replace("+", " ")) is representation, "an undecoded plus sign"


@pytest.mark.parametrize(
    "parameter", ["*/*", "text/*", "text/html,application/vnd.pypi.simple.v1+json", "text/html;q=1", "json", ""]
)
def test_R15_format_rejects_lists_and_wildcards(parameter: str) -> None:
    assert choose(PIP, parameter, fallback=TEXT) is None


@given(st.text() | st.lists(st.sampled_from([PIP, ";", ",", "q=", "*/*", "text/html", ";q=0.5", ";q=é", "="])).map("".join))
def test_any_header_is_answered_or_refused(header: str) -> None:
    assert isinstance(choose(header), Representation | None)
    assert isinstance(choose(None, header), Representation | None)
    assert accepts_gzip(header) in (True, False)


@given(st.permutations(PIP.split(",")))
def test_the_order_of_a_header_means_nothing(parts: list[str]) -> None:
    assert choose(",".join(parts)) is JSON


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("gzip, deflate, zstd", True),
        ("GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.5, identity;q=0.8", False),
        ("deflate, br", False),
    ],
)
def test_gzip_is_sent_to_who_takes_it(header: str | None, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted

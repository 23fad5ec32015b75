"""The header ``Forwarded``: what is written by the rules is read as it was meant, and nothing else is guessed at."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.web.forwarded import outermost, parse_forwarded

TOKEN_LETTERS = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
TOKENS = st.text(TOKEN_LETTERS, min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]) | st.just("\t"), max_size=12)
ELEMENTS = st.lists(
    st.dictionaries(st.sampled_from(["for", "by", "proto", "host"]) | TOKENS.map(str.lower), VALUES, min_size=1, max_size=4),
    max_size=4,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("for=192.0.2.43", ({"for": "192.0.2.43"},)),
        ('For="[2001:db8:cafe::17]:4711"', ({"for": "[2001:db8:cafe::17]:4711"},)),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", ({"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"},)),
        ("for=192.0.2.43, for=198.51.100.17", ({"for": "192.0.2.43"}, {"for": "198.51.100.17"})),
        ("for=_hidden, for=_SEVKISEK", ({"for": "_hidden"}, {"for": "_SEVKISEK"})),
        ('for="a,b;c=d" , host="x\\"y\\\\"', ({"for": "a,b;c=d"}, {"host": 'x"y\\'})),
        ("for=a;;proto=http;, ,, host=b", ({"for": "a", "proto": "http"}, {"host": "b"})),
        ("  for=a ; host=b\t", ({"for": "a", "host": "b"},)),
        ("secret=token", ({"secret": "token"},)),
    ],
)
def test_what_is_written_by_the_rules_is_read(text: str, expected: tuple[dict[str, str], ...]) -> None:
    assert parse_forwarded(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        'for="open, for=192.0.2.43',
        'for="a" "b"',
        "for=a b",
        "for = a",
        "for",
        "=a",
        "for=",
        "for=a;for=b",
        "for=a;FOR=a",
        "for=[::1]",
        "for=192.0.2.43:80",
        'for="a\\',
        'for="a\x00"',
        "for=a\nhost=b",
        "for=a; host=b; <script>",
        "för=a",
    ],
)
def test_what_breaks_the_rules_is_not_guessed_at(text: str) -> None:
    assert parse_forwarded(text) is None


@given(elements=ELEMENTS, data=st.data())
def test_whatever_is_written_is_read_as_it_was_meant(elements: list[dict[str, str]], data: st.DataObject) -> None:
    def written(value: str) -> str:
        if value and set(value) <= set(TOKEN_LETTERS) and data.draw(st.booleans()):
            return value
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    def name(text: str) -> str:
        return data.draw(st.sampled_from([text, text.upper()]))

    space = st.sampled_from(["", " ", "\t "])
    texts = [
        f"{data.draw(space)};{data.draw(space)}".join(f"{name(key)}={written(value)}" for key, value in element.items())
        for element in elements
    ]
    text = f"{data.draw(space)},{data.draw(space)}".join(texts)
    assert parse_forwarded(text) == tuple(elements)


@given(st.text(st.characters(max_codepoint=255)))
def test_nonsense_is_refused_or_read_but_never_breaks_anything(text: str) -> None:
    elements = parse_forwarded(text)
    assert elements is None or all(element and all(key == key.lower() for key in element) for element in elements)


@given(mine=ELEMENTS.filter(bool), theirs=st.text(st.sampled_from('",;=\\ ab') | st.characters(max_codepoint=255), max_size=30))
def test_what_a_client_writes_before_never_changes_what_the_proxy_said(mine: list[dict[str, str]], theirs: str) -> None:
    """A proxy adds its word behind a comma: it is read as it is, or not at all."""

    def written(element: dict[str, str]) -> str:
        pairs = ((key, value.replace("\\", "\\\\").replace('"', '\\"')) for key, value in element.items())
        return ";".join(f'{key}="{value}"' for key, value in pairs)

    read = parse_forwarded(f"{theirs}, {', '.join(map(written, mine))}")
    assert read is None or list(read[-len(mine) :]) == mine


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([], []),
        (["client"], ["client"]),
        (["liar", "client"], ["client"]),
        (["client", "trusted"], ["client", "trusted"]),
        (["liar", "client", "trusted", "trusted"], ["client", "trusted", "trusted"]),
        (["trusted", "client"], ["client"]),
        (["trusted", "trusted"], ["trusted", "trusted"]),
    ],
)
def test_the_word_of_a_proxy_counts_as_far_as_trusted_ones_passed_it_on(chain: list[str], expected: list[str]) -> None:
    elements = [{"for": who} for who in chain]
    assert [element["for"] for element in outermost(elements, lambda text: text == "trusted")] == expected


def test_a_proxy_that_does_not_say_for_whom_ends_the_chain() -> None:
    elements = [{"host": "evil.example"}, {"host": "pkgs.example"}]
    assert outermost(elements, lambda text: text == "trusted") == ({"host": "pkgs.example"},)

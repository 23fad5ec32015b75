"""Descriptions are shown as their authors meant them, and nothing in them can do anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.web.browser.description_renderer import clean, kind_of, render
from twistpi.web.browser.descriptions import Descriptions, RendererProcess

PATIENCE = 60.0
MARKDOWN = "text/markdown"
RST = "text/x-rst"


class Elements(HTMLParser):
    """The elements of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def html_of(text: str, content_type: str = MARKDOWN) -> str:
    html, _is_cut = render(text, content_type)
    assert html is not None
    return html


ACTIVE = re.compile("script|style|iframe|object|embed|svg|math|base|meta|link|form|input|button|h[12]")
EFFECTIVE = re.compile("on.*|style|name|target|srcdoc|srcset|formaction|contenteditable|data-.*")


def assert_harmless(html: str) -> None:
    for tag, attributes in Elements(html).found:
        assert not ACTIVE.fullmatch(tag), tag
        for name, value in attributes.items():
            assert value is not None
            assert not EFFECTIVE.fullmatch(name), name
            assert name != "tabindex" or (tag, value) == ("pre", "0")
            if name == "href":
                assert re.match(r"https?://|mailto:|#user-content-", value, re.IGNORECASE), value
                assert attributes["rel"] == "nofollow noopener"
            if name == "src":
                assert value.startswith("https://")
                assert attributes["loading"] == "lazy"
            if name == "id":
                assert value.startswith("user-content-")
            if name == "class":
                assert re.fullmatch(r"hl-[a-z]{1,3}\d?( hl-[a-z]{1,3}\d?)*|note-[a-z]+|literal", value), value


_TRICKS = (
    "<script>the probe</script>",
    "<style>body {color: red}</style>",
    '<b onclick="probe" style="color: red" class="badge own" id="content" name="x" data-x="1">the probe</b>',
    "[the probe](javascript:probe)",
    '<a href="JaVaScRiPt:probe">the probe</a>',
    '<a href="java&#9;script:probe">the probe</a>',
    '<a href="  javascript:probe">the probe</a>',
    '<a href="data:text/html,probe">the probe</a>',
    '<a href="vbscript:probe">the probe</a>',
    '<a href="//elsewhere.example/">the probe</a>',
    '<a href="/root/pypi" target="_top">the probe</a>',
    '<img src="data:image/svg+xml,probe" alt="the probe">',
    '<img src="x" onerror="probe" srcset="https://a.example/x 2x" alt="the probe">',
    '<iframe src="https://a.example/" srcdoc="probe">the probe</iframe>',
    '<object data="https://a.example/">the probe</object><embed src="https://a.example/">',
    "<svg><a xlink:href='javascript:probe'><text>the probe</text></a></svg>",
    "<math><mi xlink:href='javascript:probe'>the probe</mi></math>",
    '<base href="https://a.example/">the probe',
    '<meta http-equiv="refresh" content="0;url=https://a.example/">the probe',
    '<link rel="stylesheet" href="https://a.example/x.css">the probe',
    '<form action="https://a.example/"><input name="password" type="password">the probe</form>',
    '<button formaction="https://a.example/">the probe</button>',
    '<input type="checkbox" onfocus="probe" autofocus>the probe',
    "<!-- <b>the --> probe",
    "<b><!-- --><script>the probe</script></b>",
    "<scr<script>ipt>the probe</scr</script>ipt>",
    '<div class="top"><p class="bar">the probe</p></div>',
    '<aside class="note top">the probe</aside>',
    '<h1 id="use">the probe</h1>',
    "<plaintext>the probe",
    "<template><b onclick=probe>the probe</b></template>",
    "</section></main><footer>the probe",
)


@pytest.mark.parametrize("trick", _TRICKS)
def test_html_in_markdown_is_harmless(trick: str) -> None:
    for variant in ("", "; variant=CommonMark", "; variant=GFM"):
        html, _is_cut = render(f"Before.\n\n{trick}\n\nAfter.", f"{MARKDOWN}{variant}")
        if html is not None:
            assert_harmless(html)


@pytest.mark.parametrize("trick", _TRICKS)
def test_html_in_restructuredtext_is_shown_as_text(trick: str) -> None:
    html, _is_cut = render(f"Before.\n\n.. parsed-literal::\n\n   {trick}\n\n:author: {trick}\n\nAfter.", RST)
    if html is not None:
        assert_harmless(html)


@given(
    st.lists(st.sampled_from([*_TRICKS, "<", ">", '"', "'", "<a ", "<img ", "</a>", "href=", "`", "\n\n", "x"]), max_size=8).map(
        "".join
    )
)
def test_whatever_is_cleaned_is_harmless(html: str) -> None:
    assert_harmless(clean(html))


@pytest.mark.parametrize(
    "text",
    [
        "`the probe <javascript:probe>`__",
        ".. image:: javascript:probe\n   :target: javascript:probe",
        ".. |x| image:: data:image/svg+xml,probe\n\n|x| the probe",
        ".. class:: badge\n\nthe probe",
        ".. _content:\n\nContent\n=======\n\nthe probe content_",
        ".. role:: badge\n\n:badge:`the probe`",
    ],
)
def test_restructuredtext_is_harmless(text: str) -> None:
    assert_harmless(html_of(text, RST))


@pytest.mark.parametrize(
    "text",
    [".. include:: {path}", ".. raw:: html\n   :file: {path}", ".. csv-table::\n   :file: {path}", ".. literalinclude:: {path}"],
)
def test_no_file_of_the_server_is_read(text: str, tmp_path: object) -> None:
    path = f"{tmp_path}/private"
    with open(path, "w") as file:
        file.write("private words")
    html, _is_cut = render(f"Before.\n\n{text.format(path=path)}\n", RST)
    assert html is None or "private words" not in html


def test_raw_html_in_restructuredtext_makes_it_plain_text() -> None:
    assert render(".. raw:: html\n\n   <b>the probe</b>\n", RST) == (None, False)


def test_markdown_is_shown_with_tables_tasks_notes_and_highlighted_code() -> None:
    html = html_of(
        "# Demo\n\n|a|b|\n|-|-|\n|1|2|\n\n- [x] done\n\n> [!WARNING]\n> Careful\n\n```python\nimport x\n```\n[see](#demo)"
    )
    assert '<h3 id="user-content-demo">Demo</h3>' in html
    assert "<table>" in html
    assert "☑" in html
    assert '<aside class="note-warning">' in html
    assert '<span class="hl-kn">import</span>' in html
    assert '<a href="#user-content-demo" rel="nofollow noopener">see</a>' in html


def test_code_within_a_line_of_restructuredtext_is_marked() -> None:
    assert '<span class="literal">plot</span>' in html_of("The extra ``plot``.", RST)


def test_pictures_come_over_https_when_they_are_seen() -> None:
    html = html_of(
        "![words](https://a.example/x.png) ![plain](http://a.example/x.png) <img src=https://a.example/y.png width=20>"
    )
    assert Elements(html).found[1:] == [
        ("img", {"src": "https://a.example/x.png", "alt": "words", "referrerpolicy": "no-referrer", "loading": "lazy"}),
        ("img", {"alt": "plain", "referrerpolicy": "no-referrer", "loading": "lazy"}),
        ("img", {"alt": "", "src": "https://a.example/y.png", "width": "20", "referrerpolicy": "no-referrer", "loading": "lazy"}),
    ]


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("", ("rst", "GFM")),
        ("text/x-rst; charset=UTF-8", ("rst", "GFM")),
        ("text/markdown", ("markdown", "GFM")),
        ("Text/Markdown; charset=UTF-8; variant=CommonMark", ("markdown", "CommonMark")),
        ("text/markdown; variant=else", ("markdown", "GFM")),
        ("text/plain", ("text", "GFM")),
        ("text/html", ("text", "GFM")),
        ("text/markdown\r\nX: y", ("text", "GFM")),
    ],
)
def test_the_content_type_tells_the_kind(content_type: str, kind: tuple[str, str]) -> None:
    assert kind_of(content_type) == kind


def test_what_is_nested_too_deeply_is_plain_text() -> None:
    assert render("".join(f"{' ' * depth}a\n\n" for depth in range(300)), RST) == (None, False)


def test_the_end_of_a_long_description_is_cut_off() -> None:
    html, is_cut = render("word word word word\n\n" * 20_000, MARKDOWN)
    assert html is not None
    assert is_cut
    assert len(html) <= 120_000


# What is kept, and the process that renders -------------------------------------------------------------------------


def test_the_same_description_is_rendered_once_until_others_take_its_room() -> None:
    asked = []

    def big(text: str, content_type: str) -> tuple[str | None, bool]:
        asked.append(text)
        return "x" * 1_500_000, False

    descriptions = Descriptions(big)
    for text in ("a", "a", "b", "c", "d", "e", "a", "f", "b"):
        descriptions.shown(text, "")
    assert asked == ["a", "b", "c", "d", "e", "f", "b"]


@pytest.mark.parametrize("text", ["", " \n", "UNKNOWN\n\n"])
def test_no_description_is_none(text: str) -> None:
    assert Descriptions(render).shown(text, "") is None


def test_what_cannot_be_rendered_is_shown_as_text_up_to_a_bound() -> None:
    def fail(text: str, content_type: str) -> tuple[str | None, bool]:
        raise TimeoutError

    found = Descriptions(fail).shown("<b>" + "x" * 50_000, "")
    assert found is not None
    assert (found.html, found.text[:5], len(found.text), found.is_cut) == (None, "<b>xx", 40_000, True)


@pytest.fixture
def process() -> Iterator[RendererProcess]:
    process = RendererProcess(PATIENCE)
    yield process
    process.close()


def test_another_process_renders(process: RendererProcess) -> None:
    assert process("*a*", MARKDOWN) == (render("*a*", MARKDOWN))
    assert process("**b** \ufffd", MARKDOWN) == (render("**b** \ufffd", MARKDOWN))


def test_what_takes_too_long_is_given_up_and_the_next_description_is_rendered(process: RendererProcess) -> None:
    process("*a*", MARKDOWN)
    process._patience = 0.01
    with pytest.raises(TimeoutError):
        process(">" * 60_000, MARKDOWN)
    process._patience = PATIENCE
    assert process("*a*", MARKDOWN)[0] == "<p><em>a</em></p>\n"


def test_a_description_is_text_while_the_process_starts_and_formatted_later(process: RendererProcess) -> None:
    descriptions = Descriptions(process)
    process._patience = 0.0
    first = descriptions.shown("*a*", MARKDOWN)
    process._patience = PATIENCE
    second = descriptions.shown("*a*", MARKDOWN)
    assert first is not None
    assert second is not None
    assert (first.html, second.html) == (None, "<p><em>a</em></p>\n")


def test_a_process_that_ended_is_started_again(process: RendererProcess) -> None:
    process("*a*", MARKDOWN)
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    assert process("*a*", MARKDOWN)[0] == "<p><em>a</em></p>\n"

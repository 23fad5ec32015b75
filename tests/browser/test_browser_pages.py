"""Every kind of page in a real browser: on phones and desks, by day and by night, with and without scripts."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewVisitor

PAGES = {
    "home": ("/", 200),
    "user": ("/harbour", 200),
    "stage": ("/harbour/dev", 200),
    "many-projects": ("/ada/notebooks", 200),
    "mirror": ("/root/pypi", 200),
    "search": ("/+search?query=num+OR+tid", 200),
    "search-text": ("/+search?query=gauges", 200),
    "search-nothing": ("/+search?query=%3Cscript%3Ewindow.mischief%3D2%3C%2Fscript%3E", 200),
    "search-help": ("/+searchhelp", 200),
    "project": ("/harbour/dev/tidepool", 200),
    "mirrored-project": ("/root/pypi/numpy", 200),
    "versions": ("/harbour/dev/tidepool?page=1", 200),
    "release": ("/harbour/stable/tidepool/1.2.1", 200),
    "yanked-release": ("/harbour/stable/tidepool/1.1.0", 200),
    "mirrored-release": ("/root/pypi/numpy/2.3.4", 200),
    "release-of-long-lines": ("/harbour/dev/lantern/0.6.0", 200),
    "release-with-markup-in-it": ("/ada/notebooks/mischief/1.0", 200),
    "test-results": ("/harbour/stable/tidepool/1.2.1/+toxresults/tidepool-1.2.1-py3-none-any.whl", 200),
    "documentation": ("/harbour/stable/tidepool/1.2.1/+d/index.html", 200),
    "audit": ("/+audit", 200),
    "uses": ("/+uses?project=tidepool", 200),
    "status": ("/+status", 200),
    "not-found": ("/harbour/stable/tidepol", 404),
    "closed": ("/harbour/vault", 403),
}

TOUCHED = ["/", "/ada/notebooks", "/ada/notebooks/mischief", "/ada/notebooks/mischief/1.0", "/+search?query=mischief"]
"""Pages that show what a hostile package says."""


@pytest.mark.parametrize("has_scripts", [True, False], ids=["", "without-scripts"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_in_order(visitor: NewVisitor, name: str, has_scripts: bool) -> None:
    somebody = visitor(has_scripts=has_scripts)
    path, status = PAGES[name]
    assert somebody.open(path) == status
    assert somebody.faults(name) == []


@pytest.mark.parametrize("path", TOUCHED)
def test_nothing_that_a_package_says_is_run(visitor: NewVisitor, path: str) -> None:
    somebody = visitor()
    assert somebody.open(path) == 200
    for link in somebody.page.get_by_text("harmless").all():
        link.click()
    assert somebody.page.url == somebody.url + path
    assert somebody.page.evaluate("window.mischief") is None
    assert somebody.complaints == []


def test_what_administrators_see_of_the_server_is_in_order(visitor: NewVisitor) -> None:
    root = visitor()
    root.sign_in("root", "")
    assert root.open("/+status?span=month") == 200
    root.page.get_by_text("All settings").click()
    root.page.get_by_role("rowheader", name="serverdir").wait_for()
    assert root.faults("status-for-administrators") == []
    root.page.get_by_role("link", name="Collect garbage").click()
    root.page.get_by_role("heading", name="What will happen").wait_for()
    assert root.faults("garbage") == []


FOCUSED = """() => {
    const one = document.activeElement, box = one.getBoundingClientRect();
    return {
        tag: one.tagName, text: (one.innerText || one.ariaLabel || one.name || "").trim(), isInside: !!one.closest("main"),
        isSeen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    };
}"""


@pytest.mark.parametrize("path", ["/", "/harbour/dev", "/harbour/stable/tidepool/1.2.1", "/+search?query=gauges"])
def test_keys_reach_everything_in_the_order_in_which_it_is_read(visitor: NewVisitor, path: str) -> None:
    somebody = visitor()
    somebody.open(path)
    first = None
    places = []
    for _ in range(150):
        somebody.page.keyboard.press("Tab")
        focused = somebody.page.evaluate(FOCUSED)
        if focused["tag"] == "BODY":
            break
        first = first or focused["text"]
        assert focused["isSeen"], focused
        places.append(somebody.page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert first == "Skip to the content"
    assert len(places) > 5
    assert places == sorted(places), "no element is before one that is read earlier"


def test_the_first_link_leads_keys_to_the_content(visitor: NewVisitor) -> None:
    somebody = visitor()
    somebody.open("/harbour/stable/tidepool/1.2.1")
    for key in ("Tab", "Enter", "Tab"):
        somebody.page.keyboard.press(key)
    assert somebody.page.evaluate(FOCUSED)["isInside"]


def test_documentation_is_read_in_its_frame_and_stays_there(visitor: NewVisitor) -> None:
    somebody = visitor()
    somebody.open("/harbour/stable/tidepool/1.2.1/+d/index.html")
    frame = somebody.page.frame_locator("iframe")
    frame.get_by_role("link", name="gauges").click()
    expect(frame.get_by_role("heading", name="Gauges")).to_be_visible()
    assert somebody.page.title() != "taken over"

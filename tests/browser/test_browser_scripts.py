"""What scripts add to pages that work without them."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import NewVisitor


def background(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_the_switch_between_light_and_dark_is_remembered(visitor: NewVisitor) -> None:
    somebody = visitor()
    page = somebody.page
    page.emulate_media(color_scheme="light")
    somebody.open("/harbour")
    light = background(page)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = background(page)
    assert dark != light
    somebody.open("/harbour/dev")
    assert background(page) == dark
    page.get_by_role("button", name="Switch between light and dark").click()
    page.emulate_media(color_scheme="dark")
    assert background(page) == light
    assert somebody.complaints == []


def test_without_scripts_nothing_is_shown_that_needs_them(visitor: NewVisitor) -> None:
    somebody = visitor(has_scripts=False)
    somebody.open("/harbour/dev")
    expect(somebody.page.get_by_role("button", name="Show")).to_be_visible()
    for name in ("Copy", "Switch between light and dark"):
        expect(somebody.page.get_by_role("button", name=name)).to_have_count(0)


def test_a_command_is_copied(visitor: NewVisitor) -> None:
    somebody = visitor()
    somebody.context.grant_permissions(["clipboard-read", "clipboard-write"])
    somebody.open("/harbour/dev")
    page = somebody.page
    page.get_by_text("uv", exact=True).click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"uv pip install --default-index {somebody.url}/harbour/dev/+simple/ PROJECT\n")


def test_tabs_are_chosen_with_the_keyboard_and_without_scripts(visitor: NewVisitor) -> None:
    somebody = visitor(has_scripts=False)
    somebody.open("/harbour/dev")
    page = somebody.page
    page.get_by_role("radio", name="pip").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".panel:visible")).to_contain_text("uv pip install")


def test_a_long_list_is_filtered_and_turned_over(visitor: NewVisitor) -> None:
    somebody = visitor(has_scripts=False)
    somebody.open("/ada/notebooks")
    page = somebody.page
    page.get_by_label("Filter").fill("survey")
    page.get_by_role("button", name="Show").click()
    first = page.locator("tbody th").first
    expect(first).to_have_text("survey-001")
    page.get_by_role("link", name="Next").click()
    expect(first).not_to_have_text("survey-001")
    assert "filter=survey" in page.url


def test_a_slash_leads_to_the_search_field(visitor: NewVisitor) -> None:
    somebody = visitor()
    somebody.open("/harbour/dev")
    page = somebody.page
    field = page.get_by_role("combobox", name="Search projects")
    page.keyboard.press("/")
    expect(field).to_be_focused()
    page.keyboard.type("a/b")
    expect(field).to_have_value("a/b")


def test_projects_are_suggested_while_one_types_and_chosen_with_the_keyboard(visitor: NewVisitor) -> None:
    somebody = visitor()
    somebody.open("/harbour")
    page = somebody.page
    field = page.locator("#search")
    field.press_sequentially("tid")
    options = page.get_by_role("option")
    expect(options.first).to_contain_text("tidepool")
    expect(field).to_have_attribute("aria-expanded", "true")
    somebody.photograph("suggestions")
    field.press_sequentially("epo")
    expect(options).to_have_count(1)
    field.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    field.press("Enter")
    page.wait_for_url(re.compile("/harbour/dev/.*tidepool"))
    page.go_back()
    field.fill("tidepo")
    expect(options.first).to_be_visible()
    field.press("Escape")
    expect(options).to_have_count(0)
    field.press("Enter")
    page.wait_for_url("**/+search?query=tidepo")
    expect(page.locator(".hits mark").first).to_have_text("tidepo")
    assert somebody.complaints == []

"""What users do by clicking: sign in, make a token, yank, push."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.browsing import Visitor
from tests.browser.company import PASSWORD
from tests.browser.conftest import NewVisitor
from tests.fakes.live_server import LiveServer
from tests.live.stages import JSON, fetch
from tests.live.test_live_commands import ask

FORMS = {
    "account": "/+account",
    "new-index": "/harbour/+new-index",
    "settings": "/harbour/dev/+settings",
    "yank": "/harbour/dev/lantern/0.6.0/+yank",
    "push": "/harbour/dev/lantern/0.6.0/+push",
    "remove": "/harbour/stable/sextant/0.1.0/+delete",
    "status-of-project": "/harbour/stable/sextant/+status",
    "delete-index": "/harbour/dev/+delete",
    "stage-of-mine": "/harbour/stable",
    "project-of-mine": "/harbour/stable/tidepool",
    "release-of-mine": "/harbour/dev/lantern/0.6.0",
}


def files(server: LiveServer, index: str, project: str) -> dict[str, Any]:
    """By name, as installers see them."""
    page = json.loads(fetch(f"{server.url}/{index}/+simple/{project}/", JSON))
    return {file["filename"]: file for file in page["files"]}


def press(page: Page, name: str) -> None:
    page.get_by_role("main").get_by_role("button", name=name, exact=True).click()


@pytest.fixture
def harbour(visitor: NewVisitor) -> Visitor:
    somebody = visitor()
    somebody.sign_in("harbour")
    return somebody


@pytest.mark.parametrize("name", FORMS)
def test_a_page_with_a_form_is_in_order(harbour: Visitor, name: str) -> None:
    assert harbour.open(FORMS[name]) == 200
    assert harbour.faults(name) == []


@pytest.mark.parametrize("has_scripts", [True, False], ids=["", "without-scripts"])
def test_signing_in_opens_a_closed_index_until_signing_out(visitor: NewVisitor, has_scripts: bool) -> None:
    somebody = visitor(has_scripts=has_scripts)
    page = somebody.page
    assert somebody.open("/harbour/vault") == 403
    page.get_by_role("main").get_by_role("link", name="Sign in").click()
    page.get_by_label("User").fill("harbour")
    page.get_by_label("Password").fill("wrong")
    press(page, "Sign in")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Sign in")
    expect(page.get_by_role("heading", level=1)).to_contain_text("harbour/vault")
    expect(page.get_by_role("rowheader", name="chart-keys")).to_be_visible()
    page.get_by_role("navigation", name="Account").get_by_role("link", name="harbour").click()
    press(page, "Sign out")
    assert somebody.open("/harbour/vault") == 403
    somebody.open("/")
    expect(page.get_by_text("harbour/vault")).to_have_count(0)


def test_a_token_works_from_when_it_is_made_until_it_is_revoked(harbour: Visitor, server: LiveServer) -> None:
    page = harbour.page
    harbour.open("/+account")
    page.get_by_label("What it is for").fill("the builder")
    page.get_by_role("checkbox", name="upload").check()
    press(page, "Create the token")
    secret = page.get_by_role("status").locator("code").inner_text()
    assert ask(server, "GET", "/+api", credentials=f"__token__:{secret}")[1]["result"]["authstatus"][:2] == ["ok", "harbour"]
    row = page.get_by_role("row", name="the builder")
    expect(row).to_contain_text("read and upload")
    row.get_by_role("link", name="Revoke").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("the builder")
    page.get_by_role("main").get_by_role("button").first.click()
    expect(page.get_by_role("row", name="the builder")).to_have_count(0)
    assert ask(server, "GET", "/+api", credentials=f"__token__:{secret}")[1]["result"]["authstatus"][0] == "noauth"
    assert harbour.complaints == []


def test_a_release_is_yanked_with_a_reason_and_taken_back(harbour: Visitor, server: LiveServer) -> None:
    page = harbour.page
    wheel = "harbour_client-2.4.0-py3-none-any.whl"
    harbour.open("/harbour/stable/harbour-client/2.4.0")
    page.get_by_role("link", name="Yank", exact=True).click()
    expect(page.get_by_role("listitem").filter(has_text=wheel)).to_contain_text("is yanked")
    page.get_by_label("Reason").fill("Forgets the pilot & the <tug>")
    press(page, "Yank")
    expect(page.get_by_role("note")).to_contain_text("Forgets the pilot & the <tug>")
    assert files(server, "harbour/stable", "harbour-client")[wheel]["yanked"] == "Forgets the pilot & the <tug>"
    page.get_by_role("link", name="Change or undo the yank").first.click()
    page.get_by_role("main").get_by_role("button").last.click()
    expect(page.get_by_role("link", name="Yank", exact=True)).to_be_visible()
    expect(page.get_by_role("note")).to_have_count(0)
    assert not files(server, "harbour/stable", "harbour-client")[wheel].get("yanked")
    assert harbour.complaints == []


def test_a_release_is_pushed_to_another_index(harbour: Visitor, server: LiveServer) -> None:
    page = harbour.page
    harbour.open("/harbour/dev/lantern/0.6.0")
    page.get_by_role("link", name="Push to another index").click()
    page.get_by_label("To the index").select_option("harbour/stable")
    press(page, "Go on")
    expect(page.get_by_role("heading", level=1)).to_have_text("Push lantern 0.6.0 to harbour/stable?")
    expect(page.get_by_role("listitem").filter(has_text="lantern-0.6.0-py3-none-any.whl")).to_be_visible()
    press(page, "Push")
    expect(page.get_by_role("heading", level=1)).to_contain_text("lantern 0.6.0")
    expect(page.get_by_role("status").first).to_be_visible()
    assert set(files(server, "harbour/stable", "lantern")) == {"lantern-0.6.0-py3-none-any.whl", "lantern-0.6.0.tar.gz"}
    assert harbour.complaints == []

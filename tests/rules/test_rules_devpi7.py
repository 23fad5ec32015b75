"""The words of devpi-server 7 beside those of 6."""

from __future__ import annotations

from typing import Any

import pytest

from twistpi.model.changes import IndexCreated, IndexModified
from twistpi.model.errors import BadRequest
from twistpi.model.records import Index
from twistpi.rules.devpi7 import settings_of_devpi7, speaks_devpi7
from twistpi.rules.index_config import defaults
from twistpi.rules.indexes import decide_index_created, decide_index_modified

BLOCK = ["block type:remote if local_exists"]
STAGE = Index("ann/dev", {**defaults("stage", "ann"), "mirror_whitelist": ["six"]})
MIRROR = Index("ann/m", {"type": "mirror", "volatile": True, "mirror_url": "https://upstream.example/simple/"})


def everywhere(base: str) -> bool:
    return True


def created(body: Any) -> dict[str, Any]:
    (change,) = decide_index_created(None, "ann/new", body, everywhere)
    assert isinstance(change, IndexCreated)
    return dict(change.config)


def changed(index: Index, body: Any) -> dict[str, Any]:
    changes = decide_index_modified(index, body, everywhere)
    if not changes:
        return {}
    (change,) = changes
    assert isinstance(change, IndexModified)
    return dict(change.changed)


def test_an_index_is_made_in_either_dialect() -> None:
    assert created({"type": "local"}) == created({"type": "stage"}) == created({})
    body = {"type": "remote", "remote_url": "https://upstream.example/", "remote_refresh_delay": "60", "remote_web_url_fmt": ""}
    assert created({**body, "remote_use_external_urls": "yes", "remote_no_project_list": True}) == {
        "type": "mirror",
        "volatile": True,
        "mirror_url": "https://upstream.example/",
        "mirror_cache_expiry": 60,
        "mirror_web_url_fmt": "",
        "mirror_use_external_urls": True,
        "mirror_no_project_list": True,
    }


@pytest.mark.parametrize(("rules", "whitelist"), [(["allow all"], ["*"]), ("allow all", ["*"]), (BLOCK, []), (BLOCK[0], [])])
def test_rules_are_a_whitelist(rules: Any, whitelist: list[str]) -> None:
    assert created({"project_inheritance_rules": rules})["mirror_whitelist"] == whitelist


@pytest.mark.parametrize(
    ("trusted", "combined"),
    [("type:not remote", "union"), ("Type:Not Remote", "union"), ("none", "intersection"), ("", "intersection")],
)
def test_trust_in_rules_of_bases_is_the_way_whitelists_are_combined(trusted: Any, combined: str) -> None:
    assert created({"trust_inheritance_rules_from": trusted})["mirror_whitelist_inheritance"] == combined


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"project_inheritance_rules": ["allow all"]}, {"mirror_whitelist": ["*", "six"]}),
        (["project_inheritance_rules=allow all"], {"mirror_whitelist": ["*", "six"]}),
        (["trust_inheritance_rules_from=type:not remote"], {"mirror_whitelist_inheritance": "union"}),
        (["trust_inheritance_rules_from-="], {}),
        ({"type": "local", "project_inheritance_rules": BLOCK}, {}),
        (["type=local", "volatile=no"], {"volatile": False}),
    ],
)
def test_a_stage_is_changed_in_words_of_7(body: Any, told: dict[str, Any]) -> None:
    assert changed(STAGE, body) == told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"remote_refresh_delay": 60}, {"mirror_cache_expiry": 60}),
        (["remote_url=https://other.example/?a=b"], {"mirror_url": "https://other.example/?a=b"}),
        ({"type": "remote", "title": "x"}, {"title": "x"}),
    ],
)
def test_a_mirror_is_changed_in_words_of_7(body: Any, told: dict[str, Any]) -> None:
    assert changed(MIRROR, body) == told


@pytest.mark.parametrize(
    ("index", "body", "message"),
    [
        (STAGE, {"type": "remote"}, "the 'type' of an index can't be changed"),
        (STAGE, {"project_inheritance_rules": ["block all"]}, "Unknown value .* for project_inheritance_rules"),
        (STAGE, ["project_inheritance_rules="], "Unknown value '' for project_inheritance_rules"),
        (STAGE, {"project_inheritance_rules": None}, "Unknown value None"),
        (STAGE, {"trust_inheritance_rules_from": ["x"]}, "for trust_inheritance_rules_from"),
        (STAGE, {"remote_url": "https://upstream.example/"}, "unexpected keyword arguments: mirror_url="),
        (MIRROR, {"project_inheritance_rules": BLOCK, "remote_url": "x"}, "must be a URL"),
    ],
)
def test_what_7_refuses_is_refused(index: Index, body: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        decide_index_modified(index, body, everywhere)


def test_settings_are_shown_in_words_of_7() -> None:
    assert settings_of_devpi7(STAGE.config) == {
        "type": "local",
        "volatile": True,
        "bases": [],
        "acl_upload": ["ann"],
        "acl_toxresult_upload": [":ANONYMOUS:"],
        "project_inheritance_rules": BLOCK,
    }
    union = {"type": "stage", "mirror_whitelist": ["*"], "mirror_whitelist_inheritance": "union", "acl_read": ["ann"]}
    assert settings_of_devpi7(union) == {
        "type": "local",
        "project_inheritance_rules": ["allow all"],
        "trust_inheritance_rules_from": "type:not remote",
        "acl_read": ["ann"],
    }
    assert settings_of_devpi7({**MIRROR.config, "mirror_ignore_serial_header": True, "mirror_cache_expiry": 60}) == {
        "type": "remote",
        "volatile": True,
        "remote_url": "https://upstream.example/simple/",
        "remote_refresh_delay": 60,
    }


@pytest.mark.parametrize("index", [STAGE, MIRROR])
def test_what_is_shown_can_be_sent_back(index: Index) -> None:
    shown = settings_of_devpi7(index.config)
    assert changed(index, shown) == {}
    assert changed(index, {"type": "indexconfig", "result": {**shown, "projects": []}}) == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "local"}, True),
        ({"type": "stage"}, False),
        ({"result": {"remote_url": "x"}}, True),
        (["trust_inheritance_rules_from-="], True),
        (["mirror_whitelist+=six", 1], False),
        ({"type": ["x"]}, False),
        (None, False),
    ],
)
def test_it_is_seen_which_dialect_a_body_has(body: Any, expected: bool) -> None:
    assert speaks_devpi7(body) is expected

"""The words of devpi-server 7 beside those of 6."""

from __future__ import annotations

from typing import Any

import pytest

from twistpi.model.changes import IndexCreated, IndexModified
from twistpi.model.errors import BadRequest
from twistpi.model.records import Index
from twistpi.rules.devpi7 import (
    decide_project_modified,
    inheritance_info,
    project_settings,
    settings_of_devpi7,
    speaks_devpi7,
    version_of_devpi7,
)
from twistpi.rules.index_config import defaults
from twistpi.rules.indexes import decide_index_created, decide_index_modified
from twistpi.rules.inheritance import rule_on_mirrors

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


# Projects ------------------------------------------------------------------------------------------------------------


def whitelist_after(project: str, body: Any) -> list[str] | None:
    changes = decide_project_modified(STAGE, project, body)
    if not changes:
        return None
    (change,) = changes
    assert isinstance(change, IndexModified)
    return list(change.changed["mirror_whitelist"])


@pytest.mark.parametrize(
    ("project", "body", "whitelist"),
    [
        ("demo", {"inheritance_rules": ["allow all"]}, ["six", "demo"]),
        ("demo", {"inheritance_rules": "allow all", "name": "Demo"}, ["six", "demo"]),
        ("demo", ["inheritance_rules=allow all"], ["six", "demo"]),
        ("six", ["inheritance_rules-="], []),
        ("six", {"inheritance_rules": ["allow all"]}, None),
        ("demo", ["inheritance_rules-="], None),
        ("demo", {}, None),
    ],
)
def test_rules_of_a_project_are_its_place_in_the_whitelist(project: str, body: Any, whitelist: list[str] | None) -> None:
    assert whitelist_after(project, body) == whitelist


@pytest.mark.parametrize("rules", [["block all"], None, []])
def test_other_rules_of_a_project_are_refused(rules: Any) -> None:
    with pytest.raises(BadRequest, match="must be"):
        decide_project_modified(STAGE, "demo", {"inheritance_rules": rules})


@pytest.mark.parametrize("body", [{"name": "other"}, {"foo": 1}, 1, [1]])
def test_a_project_has_no_other_settings(body: Any) -> None:
    with pytest.raises(BadRequest):
        decide_project_modified(STAGE, "demo", body)


def test_a_project_of_a_mirror_has_no_rules() -> None:
    with pytest.raises(BadRequest, match="is a mirror"):
        decide_project_modified(MIRROR, "demo", {"inheritance_rules": ["allow all"]})


def test_settings_of_a_project() -> None:
    assert project_settings(STAGE, "six", "Six") == {"name": "Six", "inheritance_rules": ["allow all"]}
    assert project_settings(STAGE, "demo", "demo") == {"name": "demo"}


@pytest.mark.parametrize(
    ("project", "has", "action", "of_mirrors"),
    [
        ("six", {"ann/dev", "ann/m"}, "allowed", "true"),
        ("demo", {"ann/dev", "ann/m"}, "blocked", "unknown"),
        ("demo", {"ann/m"}, "untrusted", "true"),
        ("demo", set(), "untrusted", "false"),
    ],
)
def test_it_is_told_how_each_index_contributes(project: str, has: set[str], action: str, of_mirrors: str) -> None:
    order = [Index("ann/dev", {**STAGE.config, "bases": ["ann/m", "ann/gone"]}), MIRROR]
    info = inheritance_info(project, order, rule_on_mirrors(project, order, has.__contains__), has.__contains__)
    first, second = info["traversal_infos"]
    assert first == {"action": "traversed", "name": "ann/dev", "has_project": str("ann/dev" in has).lower()}
    assert (second["action"], second["name"]) == (action, "ann/m")
    assert info["has_project_from_remote"] == of_mirrors
    assert info["index_bases"] == {"ann/dev": ["ann/m"], "ann/m": []}


def test_links_are_told_in_the_form_of_7() -> None:
    root = "https://pkgs.example/a"
    file = f"{root}/ann/dev/+f/12/34/x-1%2B2.zip"
    log = [{"what": "upload", "who": None, "when": [2026, 1, 2, 3, 4, 5], "dst": "ann/dev"}]
    links = [
        {"rel": "releasefile", "href": file, "hash_spec": "sha256=1", "hashes": {"sha256": "1"}, "log": log},
        {"rel": "toxresult", "href": f"{file}.t", "for_href": file, "hash_spec": "", "log": []},
    ]
    told = version_of_devpi7({"name": "x", "+links": links, "+shadowing": [{"+links": links[:1]}]}, root)
    first, second = told["+links"]
    assert first == {
        "rel": "releasefile",
        "href": file,
        "relpath": "+f/12/34/x-1+2.zip",
        "hashes": {"sha256": "1"},
        "log": [{**log[0], "when": "2026-01-02T03:04:05Z"}],
    }
    assert (second["relpath"], second["for_relpath"]) == ("+f/12/34/x-1+2.zip.t", "+f/12/34/x-1+2.zip")
    assert told["+shadowing"] == [{"+links": [first]}]

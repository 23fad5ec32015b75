from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.rules.test_rules_accounts import JSON_VALUES, result_or_refusal
from twistpi.model.changes import IndexCreated, IndexDeleted, IndexModified
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import Index
from twistpi.rules.file_policy import POLICY_KEYS
from twistpi.rules.index_config import IGNORED, KEYS, normalised
from twistpi.rules.indexes import (
    decide_index_created,
    decide_index_deleted,
    decide_index_modified,
    index_facts,
)
from twistpi.rules.upload_checks import upload_checks_of

EXISTING = frozenset({"root/pypi", "alice/dev", "alice/base", "bob/dev"})
STAGE: dict[str, Any] = {
    "type": "stage",
    "volatile": True,
    "bases": [],
    "acl_upload": ["alice"],
    "acl_toxresult_upload": [":ANONYMOUS:"],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "intersection",
}
MIRROR: dict[str, Any] = {"type": "mirror", "volatile": True}
URL = "https://upstream.example/simple/"
SECRET_URL = "https://alice:geheim@upstream.example/simple/"


def exists(name: str) -> bool:
    return name in EXISTING


def created(body: Any) -> dict[str, Any]:
    (change,) = decide_index_created(None, "alice/dev", body, exists)
    assert isinstance(change, IndexCreated)
    assert change.index == "alice/dev"
    return dict(change.config)


def modified(config: dict[str, Any], body: Any, **keywords: Any) -> dict[str, Any]:
    """``config`` after ``body``."""
    result = dict(config)
    for change in decide_index_modified(Index("alice/dev", config), body, exists, **keywords):
        assert isinstance(change, IndexModified)
        assert change.index == "alice/dev"
        result = {key: value for key, value in {**result, **change.changed}.items() if key not in change.removed}
    return result


def refused(config: dict[str, Any], body: Any, **keywords: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        modified(config, body, **keywords)
    assert caught.value.status == 400
    return str(caught.value)


def creation_refused(body: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        created(body)
    assert caught.value.status == 400
    return str(caught.value)


# Creating ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [{}, {"type": "stage"}, {"projects": ["x"]}, {"type": "indexconfig", "result": {"type": "stage"}}]
)
def test_a_new_private_index_has_all_defaults(body: Any) -> None:
    assert created(body) == STAGE


def test_the_defaults_are_shown_in_their_usual_order() -> None:
    assert list(created({"title": "T", "bases": ""})) == [*STAGE, "title"]


def test_a_new_private_index_is_what_text_says() -> None:
    body = {
        "volatile": "False",
        "bases": "root/pypi, alice/base",
        "acl_upload": ":anonymous:,bob",
        "acl_toxresult_upload": "",
        "acl_read": ":authenticated:",
        "mirror_whitelist": "Foo_Bar,*",
        "mirror_whitelist_inheritance": "UNION",
        "title": "T",
        "description": "D",
        "custom_data": "C",
    }
    assert created(body) == {
        "type": "stage",
        "volatile": False,
        "bases": ["root/pypi", "alice/base"],
        "acl_upload": [":ANONYMOUS:", "bob"],
        "acl_toxresult_upload": [],
        "acl_read": [":AUTHENTICATED:"],
        "mirror_whitelist": ["foo-bar", "*"],
        "mirror_whitelist_inheritance": "union",
        "title": "T",
        "description": "D",
        "custom_data": "C",
    }


def test_a_new_mirror_has_a_volatility_and_what_it_is_told() -> None:
    assert created({"type": "mirror"}) == MIRROR
    body = {
        "type": "mirror",
        "volatile": False,
        "mirror_url": SECRET_URL,
        "mirror_url_kind": "flat",
        "mirror_cache_expiry": "600",
        "mirror_use_external_urls": "yes",
        "mirror_no_project_list": "no",
        "mirror_ignore_serial_header": True,
        "mirror_unknown_status": "403",
        "mirror_provides_core_metadata": "TRUE",
        "mirror_web_url_fmt": "https://upstream.example/project/{name}/",
        "acl_read": ["bob"],
        "title": "T",
        "custom_data": {"a": [1, None]},
    }
    assert created(body) == {
        **body,
        "mirror_cache_expiry": 600,
        "mirror_use_external_urls": True,
        "mirror_no_project_list": False,
        "mirror_unknown_status": 403,
        "mirror_provides_core_metadata": True,
    }


def test_what_mirrors_and_private_indexes_once_knew_is_passed_over() -> None:
    old = {"bases": "root/none", "acl_upload": 5, "mirror_whitelist": "*", "pypi_whitelist": "*"}
    assert created({"type": "mirror", **old}) == MIRROR
    assert created({"pypi_whitelist": ["x"]}) == STAGE


def test_an_index_is_created_once() -> None:
    with pytest.raises(TwistpiError, match=r"^index 'alice/dev' exists$") as caught:
        decide_index_created(Index("alice/dev", STAGE), "alice/dev", {}, exists)
    assert caught.value.status == 409


@pytest.mark.parametrize("name", ["a b", "", "..", "a/b"])
def test_an_index_is_not_created_under_a_bad_name(name: str) -> None:
    with pytest.raises(BadRequest, match=f"^indexname '{name}' contains"):
        decide_index_created(None, f"alice/{name}", {}, exists)


@pytest.mark.parametrize("body", [None, [], ["bases=root/pypi"], "bases", 5, {"type": "indexconfig", "result": []}])
def test_a_new_index_is_described_by_an_object(body: Any) -> None:
    with pytest.raises(BadRequest, match="Bad request: an index is described by a JSON object"):
        created(body)


# Values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"volatile": "maybe"}, "Unknown boolean value 'maybe'."),
        ({"volatile": 5}, "Unknown boolean value 5."),
        ({"volatile": "0"}, "Unknown boolean value '0'."),
        ({"volatile": "1"}, "Unknown boolean value '1'."),
        ({"volatile": 1}, "Unknown boolean value 1."),
        ({"volatile": None}, "Unknown boolean value None."),
        ({"bases": 5}, "Unknown list value 5."),
        ({"bases": None}, "Unknown list value None."),
        ({"bases": {"root/pypi": 1}}, "Unknown list value {'root/pypi': 1}."),
        ({"bases": ["root/pypi", 5]}, "Unknown list value ['root/pypi', 5]."),
        ({"acl_upload": 5}, "Unknown list value 5."),
        ({"acl_toxresult_upload": True}, "Unknown list value True."),
        ({"mirror_whitelist": 5}, "Unknown list value 5."),
        ({"acl_read": 5}, "Unknown list value 5."),
        ({"bases": ["alice/none"]}, "base index 'alice/none' does not exist"),
        ({"bases": "alice/none,alice/nil"}, "base index 'alice/none' does not exist, base index 'alice/nil' does not exist"),
        ({"bases": "foo"}, "invalid base index spec: 'foo'"),
        ({"bases": ["a/b/c", "/"]}, "invalid base index spec: 'a/b/c', invalid base index spec: '/'"),
        ({"bases": "x//y"}, "invalid base index spec: 'x//y'"),
        (
            {"mirror_whitelist_inheritance": "foo"},
            "Unknown value 'foo' for mirror_whitelist_inheritance, must be 'intersection' or 'union'.",
        ),
        (
            {"mirror_whitelist_inheritance": 5},
            "Unknown value 5 for mirror_whitelist_inheritance, must be 'intersection' or 'union'.",
        ),
        ({"title": None}, "'title' option must be a string"),
        ({"description": ["x"]}, "'description' option must be a string"),
        ({"foo": "bar", "x": "y"}, "indexconfig got unexpected keyword arguments: foo=bar, x=y"),
        ({"foo": 5}, "indexconfig got unexpected keyword arguments: foo=5"),
        ({"mirror_url": URL}, f"indexconfig got unexpected keyword arguments: mirror_url={URL}"),
        (
            {"foo": "bar", "volatile": "maybe", "bases": "alice/none"},
            "Unknown boolean value 'maybe'., base index 'alice/none' does not exist,"
            " indexconfig got unexpected keyword arguments: foo=bar",
        ),
    ],
)  # fmt: skip
def test_a_value_that_a_private_index_does_not_take_is_refused(given: dict[str, Any], message: str) -> None:
    assert creation_refused(given) == message
    assert refused(STAGE, given) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        *(({"mirror_url": url}, "'mirror_url' option must be a URL.") for url in [
            "upstream.example", "ftp://upstream.example/", "", 5, None, ["https://upstream.example/"],
            "https://", "https:///simple/", "https://upstream.example:port/", "https://[::1/", "https://a b/", "https://a\nb/",
            "HTTPS//upstream.example", "https://upstream.example/\x00", "javascript:alert(1)",
        ]),
        *(({"mirror_cache_expiry": seconds}, "'mirror_cache_expiry' option must be an integer") for seconds in [
            "soon", "", None, True, 1.5, "1.5", "1_000", "0x10", [5], "٣", "9" * 30,
        ]),
        *(({"mirror_cache_expiry": seconds}, "'mirror_cache_expiry' option must be an integer between 0 and 2147483647")
          for seconds in [-1, "-1", 2**31, "9" * 20, 2**63]),
        ({"mirror_use_external_urls": "maybe"}, "Unknown boolean value 'maybe'."),
        ({"mirror_no_project_list": 1}, "Unknown boolean value 1."),
        ({"mirror_ignore_serial_header": "0"}, "Unknown boolean value '0'."),
        *(({"mirror_url_kind": kind}, f"Unknown value {kind!r} for mirror_url_kind, must be 'simple' or 'flat'.")
          for kind in ["Flat", "", True, 5]),
        *(({"mirror_unknown_status": status}, "'mirror_unknown_status' option must be 401, 403 or 404")
          for status in ["500", 200, True, None, [403]]),
        ({"mirror_provides_core_metadata": []}, "Unknown boolean value []."),
        ({"mirror_web_url_fmt": "javascript:alert(1)"}, "'mirror_web_url_fmt' option must be a URL."),
        ({"acl_toxresult_upload": "bob"}, "indexconfig got unexpected keyword arguments: acl_toxresult_upload=bob"),
        (
            {"mirror_whitelist_inheritance": "union"},
            "indexconfig got unexpected keyword arguments: mirror_whitelist_inheritance=union",
        ),
        ({"mirror_title": "x"}, "indexconfig got unexpected keyword arguments: mirror_title=x"),
    ],
)  # fmt: skip
def test_a_value_that_a_mirror_does_not_take_is_refused(given: dict[str, Any], message: str) -> None:
    assert creation_refused({"type": "mirror", **given}) == message
    assert refused({**MIRROR, "mirror_url": URL}, given) == message


@pytest.mark.parametrize("kind", ["foo", "", "STAGE", "indexconfig", 5, None, [], {}])
def test_an_unknown_type_is_refused(kind: Any) -> None:
    assert creation_refused({"type": kind}) == f"unknown index type {kind!r}"


@pytest.mark.parametrize("url", ["http://localhost:3141/root/pypi/+simple/", "https://[::1]:8443/x/", SECRET_URL, "https://a.b"])
def test_addresses_of_upstreams_stay_as_they_are(url: str) -> None:
    assert created({"type": "mirror", "mirror_url": f" {url} "})["mirror_url"] == url


@pytest.mark.parametrize("key", ["custom_data", "foo", "title", "bases", "volatile"])
def test_a_value_nested_as_deeply_as_can_be_sent_is_refused(key: str) -> None:
    value: Any = []
    for _ in range(1000):
        value = [value]
    assert len(creation_refused({key: value})) < 400
    assert len(refused(STAGE, {key: value})) < 400


def test_long_values_are_cut_in_messages() -> None:
    assert len(creation_refused({"foo": "x" * 100_000, "volatile": "y" * 100_000})) < 600
    assert len(creation_refused({"bases": ["alice/none"] * 1000})) < 2100


@pytest.mark.parametrize("value", [["root/pypi"] * 1001, "root/pypi," * 1001])
def test_a_list_does_not_grow_without_end(value: Any) -> None:
    assert creation_refused({"bases": value}) == "'bases' option holds more than 1000 values"
    full = {**STAGE, "bases": ["root/pypi"] * 1000}
    assert refused(full, ["bases+=bob/dev"]) == "'bases' option holds more than 1000 values"


def test_a_base_may_come_twice_and_with_slashes_around_it() -> None:
    assert modified(STAGE, {"bases": ["/root/pypi/", "root/pypi", "alice/dev"]})["bases"] == [
        "root/pypi",
        "root/pypi",
        "alice/dev",
    ]


# Modifying with an object ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"title": "T"}, {"type": "indexconfig", "result": {**STAGE, "title": "T", "projects": ["x"]}}])
def test_an_object_sets_its_keys_and_leaves_the_others(body: Any) -> None:
    assert modified(STAGE, body) == {**STAGE, "title": "T"}


def test_only_what_differs_is_said() -> None:
    changes = decide_index_modified(Index("alice/dev", STAGE), {**STAGE, "volatile": "no", "bases": "root/pypi"}, exists)
    assert changes == (IndexModified("alice/dev", {"volatile": False, "bases": ["root/pypi"]}),)


@pytest.mark.parametrize("body", [{}, [], STAGE, {"projects": []}, ["volatile=true"], ["bases="], {"volatile": "yes"}])
def test_nothing_is_said_when_nothing_differs(body: Any) -> None:
    assert decide_index_modified(Index("alice/dev", STAGE), body, exists) == ()


@pytest.mark.parametrize("body", [{"type": "mirror"}, {"type": None}, ["type=mirror"], ["type=foo", "title=x"]])
def test_the_type_stays(body: Any) -> None:
    assert refused(STAGE, body) == "the 'type' of an index can't be changed"
    assert modified(STAGE, {"type": "stage"}) == STAGE
    assert modified(STAGE, ["type=stage"]) == STAGE


@pytest.mark.parametrize("body", [None, "title=x", 5, True, {"type": "indexconfig", "result": ["title=x"]}])
def test_a_modification_is_an_object_or_a_list(body: Any) -> None:
    with pytest.raises(BadRequest):
        modified(STAGE, body)


def test_a_base_that_is_gone_does_not_hinder_an_object_with_other_keys() -> None:
    dangling = {**STAGE, "bases": ["alice/gone"]}
    assert modified(dangling, {"title": "T"}) == {**dangling, "title": "T"}


def test_a_base_that_is_gone_hinders_every_list() -> None:
    dangling = {**STAGE, "bases": ["alice/gone", "root/pypi"]}
    assert refused(dangling, ["title=T"]) == "base index 'alice/gone' does not exist"
    assert modified(dangling, ["bases-=alice/gone"])["bases"] == ["root/pypi"]


# Modifying with a list ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "changed"),
    [
        (["title=foo", "acl_upload+=bob"], {"title": "foo", "acl_upload": ["alice", "bob"]}),
        (["volatile=False"], {"volatile": False}),
        (["title=a=b==c"], {"title": "a=b==c"}),
        (["title"], {"title": ""}),
        (["title="], {"title": ""}),
        (["title=x", "title=y"], {"title": "y"}),
        (["bases=root/pypi", "bases+=bob/dev"], {"bases": ["root/pypi", "bob/dev"]}),
        (["bases=root/pypi,bob/dev", "bases-=root/pypi"], {"bases": ["bob/dev"]}),
        (["acl_upload+=alice"], {}),
        (["acl_upload+=a,b"], {"acl_upload": ["alice", "a,b"]}),
        (["acl_upload+="], {}),
        (["acl_upload-=alice"], {"acl_upload": []}),
        (["acl_toxresult_upload+=:anonymous:"], {}),
        (["mirror_whitelist+=Foo_Bar"], {"mirror_whitelist": ["foo-bar"]}),
        (["mirror_whitelist+=Foo_Bar", "mirror_whitelist+=foo.bar"], {"mirror_whitelist": ["foo-bar"]}),
        (["title-="], {}),
        (["foo-="], {}),
        (["custom_data=x"], {"custom_data": "x"}),
        (["acl_read+=bob"], {"acl_read": [":ANONYMOUS:", "bob"]}),
        (["acl_read+=bob", "acl_read-=:ANONYMOUS:"], {"acl_read": ["bob"]}),
        (["acl_read-=:ANONYMOUS:"], {"acl_read": []}),
        (["acl_read="], {"acl_read": []}),
        (["acl_read=bob,:staff"], {"acl_read": ["bob", ":staff"]}),
        (["pypi_whitelist=x", "pypi_whitelist+=y", "pypi_whitelist-=z", "pypi_whitelist-="], {}),
    ],
)  # fmt: skip
def test_a_list_is_applied_from_left_to_right(items: list[str], changed: dict[str, Any]) -> None:
    assert modified(STAGE, items) == {**STAGE, **changed}


def test_a_key_without_a_default_can_be_removed() -> None:
    config = {**STAGE, "title": "T", "acl_read": ["bob"], "custom_data": 1}
    assert modified(config, ["title-=", "acl_read-=", "custom_data-="]) == STAGE
    mirror = {**MIRROR, "mirror_url": URL, "mirror_cache_expiry": 5}
    assert modified(mirror, ["mirror_url-=", "mirror_cache_expiry-="]) == MIRROR


@pytest.mark.parametrize("key", [*STAGE])
def test_a_key_with_a_default_cannot_be_removed_from_a_private_index(key: str) -> None:
    assert refused(STAGE, [f"{key}-="]) == "Default values can't be removed."


@pytest.mark.parametrize("key", [*MIRROR])
def test_a_key_with_a_default_cannot_be_removed_from_a_mirror(key: str) -> None:
    assert refused(MIRROR, [f"{key}-="]) == "Default values can't be removed."


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["acl_upload-=nobody"], "The 'acl_upload' setting doesn't have value 'nobody'"),
        (["acl_upload-=alice", "acl_upload-=alice"], "The 'acl_upload' setting doesn't have value 'alice'"),
        (["acl_read-=bob"], "The 'acl_read' setting doesn't have value 'bob'"),
        (["title+=x"], "The 'title' setting is not a list; set it with title="),
        (["volatile-=x"], "The 'volatile' setting is not a list; set it with volatile="),
        (["type+=x"], "The 'type' setting is not a list; set it with type="),
        (["foo+=x"], "indexconfig got unexpected keyword arguments: foo+=x"),
        (["foo-=x"], "indexconfig got unexpected keyword arguments: foo-=x"),
        (["+=x"], "indexconfig got unexpected keyword arguments: +=x"),
        (["foo=bar", "x"], "indexconfig got unexpected keyword arguments: foo=bar, x="),
        (["=x"], "indexconfig got unexpected keyword arguments: =x"),
        (["bases+=alice/none"], "base index 'alice/none' does not exist"),
        (["bases+=foo"], "invalid base index spec: 'foo'"),
        (["volatile=maybe"], "Unknown boolean value 'maybe'."),
    ],
)
def test_an_item_that_cannot_be_applied_is_refused(items: list[str], message: str) -> None:
    assert refused(STAGE, items) == message


def test_what_is_kept_under_its_normal_name_is_removed_under_that_name_only() -> None:
    kept = modified(STAGE, ["mirror_whitelist+=Foo_Bar"])
    assert refused(kept, ["mirror_whitelist-=Foo_Bar"]) == "The 'mirror_whitelist' setting doesn't have value 'Foo_Bar'"
    assert modified(kept, ["mirror_whitelist+=Foo_Bar"]) == kept
    assert modified(kept, ["mirror_whitelist-=foo-bar"]) == STAGE


@pytest.mark.parametrize("item", [None, 5, ["title=x"], {"title": "x"}, True])
def test_an_item_is_a_text(item: Any) -> None:
    with pytest.raises(BadRequest, match="Bad request: a modification is a text"):
        modified(STAGE, [item])


def test_a_key_that_nobody_knows_any_more_stays_and_is_not_blamed_on_anybody() -> None:
    config = {**STAGE, "plugin": 5}
    assert modified(config, ["acl_upload+=bob"]) == {**config, "acl_upload": ["alice", "bob"]}
    assert modified(config, ["title=x"]) == {**config, "title": "x"}
    assert modified(config, {"title": "x"}) == {**config, "title": "x"}
    assert modified(config, ["plugin-="]) == STAGE
    assert refused(config, ["plugin=6"]) == "indexconfig got unexpected keyword arguments: plugin=6"


def test_a_missing_default_of_an_old_index_counts_as_its_default_when_something_is_added() -> None:
    old = {key: value for key, value in STAGE.items() if key != "acl_toxresult_upload"}
    assert modified(old, ["acl_toxresult_upload+=bob"])["acl_toxresult_upload"] == [":ANONYMOUS:", "bob"]


@pytest.mark.parametrize(
    "body", [{}, [], STAGE, {"projects": ["x"]}, ["acl_upload+=alice"], ["mirror_whitelist_inheritance=intersection"]]
)
def test_no_change_is_an_error_for_who_says_so(body: Any) -> None:
    assert refused(STAGE, body, error_on_noop=True) == "The requested modifications resulted in no changes"


def test_a_change_is_no_error_for_who_expects_one() -> None:
    assert modified(STAGE, ["title=x"], error_on_noop=True) == {**STAGE, "title": "x"}


def test_another_error_comes_before_that_of_no_change() -> None:
    assert refused(STAGE, {"volatile": 1}, error_on_noop=True) == "Unknown boolean value 1."


# Credentials within mirror_url -------------------------------------------------------------------------------------


def test_of_an_upstream_only_its_host_is_shown_but_to_who_may_modify_the_index() -> None:
    index = Index("alice/dev", {**MIRROR, "mirror_url": SECRET_URL})
    assert index_facts(index, with_credentials=False) == {**MIRROR, "mirror_url": "https://upstream.example/"}
    assert index_facts(index, with_credentials=True) == {**MIRROR, "mirror_url": SECRET_URL}
    assert index.config["mirror_url"] == SECRET_URL


@pytest.mark.parametrize("url", ["https://[a:geheim@b/", 5, "https://a:geheim@b@upstream.example/"])
def test_no_address_shows_its_credentials_whatever_is_wrong_with_it(url: Any) -> None:
    assert "geheim" not in str(index_facts(Index("alice/dev", {"mirror_url": url}), with_credentials=False))


def test_a_private_index_is_shown_as_it_is() -> None:
    assert index_facts(Index("alice/dev", STAGE), with_credentials=False) == STAGE


@pytest.mark.parametrize("body", [{"mirror_url": URL, "title": "T"}, [f"mirror_url={URL}", "title=T"]])
def test_an_address_that_comes_back_as_it_was_shown_keeps_its_credentials(body: Any) -> None:
    config = {**MIRROR, "mirror_url": SECRET_URL}
    assert modified(config, body) == {**config, "title": "T"}


@pytest.mark.parametrize(
    "url", ["https://other.example/simple/", "http://upstream.example/simple/", "https://bob:x@upstream.example/simple/"]
)
def test_another_address_has_no_credentials_but_its_own(url: str) -> None:
    assert modified({**MIRROR, "mirror_url": SECRET_URL}, {"mirror_url": url})["mirror_url"] == url


@pytest.mark.parametrize("url", ["https://@upstream.example/simple/", "https://:@upstream.example/simple/"])
def test_an_empty_user_takes_credentials_away(url: str) -> None:
    assert modified({**MIRROR, "mirror_url": SECRET_URL}, {"mirror_url": url})["mirror_url"] == URL


# Deleting ----------------------------------------------------------------------------------------------------------


def test_reserved_names_are_normalised_and_may_end_in_an_asterisk() -> None:
    assert created({"reserved": "Acme_Utils, acme.*,x*,*"})["reserved"] == ["acme-utils", "acme-*", "x*", "*"]
    assert modified({**STAGE, "reserved": ["a"]}, ["reserved+=b*"])["reserved"] == ["a", "b*"]
    assert "reserved" not in created({})
    for wrong in ("*-utils", "a*b", "-"):
        assert creation_refused({"reserved": [wrong]}) == (
            f"'reserved' option holds '{wrong}', which is neither a name nor the beginning of names: prefix*"
        )


@pytest.mark.parametrize("config", [STAGE, MIRROR, {"type": "mirror"}])
def test_a_volatile_index_can_be_deleted(config: dict[str, Any]) -> None:
    assert decide_index_deleted(Index("alice/dev", config)) == (IndexDeleted("alice/dev"),)


def test_an_index_that_is_not_volatile_stays() -> None:
    with pytest.raises(TwistpiError, match=r"^index alice/prod non-volatile, cannot delete$") as caught:
        decide_index_deleted(Index("alice/prod", {**STAGE, "volatile": False}))
    assert caught.value.status == 403


@pytest.mark.parametrize(("given", "stored"), [("strict", "strict"), ("Lenient", "lenient"), ("NONE", "none")])
def test_an_index_says_how_uploads_are_checked(given: str, stored: str) -> None:
    config = normalised("stage", {"upload_checks": given}, exists=lambda base: True)
    assert config == {"upload_checks": stored}
    assert upload_checks_of(Index("alice/dev", {**STAGE, **config}), "strict") == stored
    assert upload_checks_of(Index("alice/dev", STAGE), "lenient") == "lenient"


@pytest.mark.parametrize("value", ["", "some", None, True, ["none"]])
def test_other_ways_to_check_uploads_are_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match="must be one of strict, lenient, none"):
        normalised("stage", {"upload_checks": value}, exists=lambda base: True)


def test_private_indexes_and_mirrors_know_these_keys() -> None:
    common = ["acl_read", "title", "description", "custom_data", *POLICY_KEYS]
    assert list(KEYS["stage"]) == [
        *list(STAGE)[1:],
        "reserved",
        "reuse_filenames",
        "upload_checks",
        "trusted_publishers",
        *common,
    ]
    of_cache = ["cache_max_bytes", "cache_max_age", "cache_min_age", "pins"]
    assert [key for key in KEYS["mirror"] if not key.startswith("mirror_")] == ["volatile", *of_cache, *common]


# Any body ------------------------------------------------------------------------------------------------------------


REFUSALS = (BadRequest, BadRequest)
NAMES = sorted({*KEYS["stage"], *KEYS["mirror"], *IGNORED["mirror"], "type", "projects", "foo", ""})
LISTS = sorted(key.name for key in KEYS["stage"].values() if key.is_list)

WORDS = ["true", "No", "union", "600", "-1", URL, ":anonymous:", "*", "Foo_Bar", "a,b", "root/none", ",", *sorted(EXISTING)]
texts = st.sampled_from(WORDS) | st.text(max_size=12)
values = texts | JSON_VALUES
objects = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), values, max_size=5)
items = st.builds("{}{}{}".format, st.sampled_from(NAMES), st.sampled_from(["=", "+=", "-=", ""]), texts) | texts
bodies = objects | st.lists(items | JSON_VALUES, max_size=6) | JSON_VALUES
configs = st.sampled_from(
    [STAGE, {**STAGE, "acl_read": ["bob"], "title": "T", "bases": ["root/pypi"]}, {**MIRROR, "mirror_url": URL}, MIRROR]
)


def becomes(config: dict[str, Any], body: Any) -> object:
    """What becomes of ``config``, or the words of the refusal."""
    try:
        return modified(config, body)
    except REFUSALS as refusal:
        return str(refusal)


@given(body=bodies, config=configs, error_on_noop=st.booleans())
@example(body={"type": "indexconfig", "result": None}, config=STAGE, error_on_noop=False)
def test_whatever_is_sent_an_index_is_modified_or_the_sender_refused(
    body: Any, config: dict[str, Any], error_on_noop: bool
) -> None:
    outcome = result_or_refusal(decide_index_modified, Index("alice/dev", config), body, exists, error_on_noop=error_on_noop)
    if isinstance(outcome, tuple):
        assert len(outcome) <= 1
    else:
        assert isinstance(outcome, BadRequest | BadRequest)
        assert len(str(outcome)) < 2100


@given(body=bodies)
def test_whatever_is_sent_an_index_is_created_or_the_sender_refused(body: Any) -> None:
    outcome = result_or_refusal(decide_index_created, None, "alice/new", body, exists)
    if isinstance(outcome, TwistpiError):
        assert isinstance(outcome, BadRequest | BadRequest)
    else:
        # What was created can be sent back, and is as it was.
        config = dict(outcome[0].config)
        assert decide_index_modified(Index("alice/new", config), config, exists) == ()
        assert decide_index_modified(Index("alice/new", config), [], exists) == ()


@given(given_texts=st.dictionaries(st.sampled_from(NAMES), texts, max_size=4), config=configs)
def test_a_list_that_sets_keys_does_what_an_object_does(given_texts: dict[str, str], config: dict[str, Any]) -> None:
    # An object may hold the projects, as they are shown with an index; a list cannot name them.
    assume("projects" not in given_texts)
    assert becomes(config, [f"{key}={value}" for key, value in given_texts.items()]) == becomes(config, given_texts)


@given(key=st.sampled_from(LISTS), value=texts, held=st.lists(texts, max_size=3))
def test_adding_and_taking_away_again_changes_nothing(key: str, value: str, held: list[str]) -> None:
    try:
        config = modified(STAGE, {key: held})
        added = modified(config, [f"{key}+={value}"])
    except REFUSALS:
        return
    assume(added != config)
    assert added[key][:-1] == config[key]
    assert modified(config, [f"{key}+={value}", f"{key}-={value}"]) == config
    assert modified(added, [f"{key}-={added[key][-1]}"]) == config


@given(key=st.sampled_from(LISTS), value=texts, held=st.lists(texts, max_size=3))
def test_adding_twice_is_adding_once(key: str, value: str, held: list[str]) -> None:
    try:
        added = modified(modified(STAGE, {key: held}), [f"{key}+={value}"])
    except REFUSALS:
        return
    assert modified(added, [f"{key}+={value}"]) == added


@given(body=bodies, config=configs)
def test_what_was_changed_once_is_not_changed_again_by_the_same_object(body: Any, config: dict[str, Any]) -> None:
    assume(isinstance(body, dict))
    try:
        changed = modified(config, body)
    except REFUSALS:
        return
    assert modified(changed, body) == changed


@pytest.mark.parametrize("key", ["title", "description"])
def test_a_text_about_an_index_has_a_limit_unless_it_is_there_already(key: str) -> None:
    assert created({key: "t" * 10_000})[key] == "t" * 10_000
    for change in (lambda body: created(body), lambda body: modified({}, body)):
        with pytest.raises(BadRequest, match=f"the {key} has 10,001 characters; up to 10,000 are allowed"):
            change({key: "t" * 10_001})
    assert modified({key: "t" * 300_000}, {key: "t" * 300_000, "volatile": False})["volatile"] is False

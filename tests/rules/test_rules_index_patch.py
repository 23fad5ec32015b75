"""Whatever somebody sends to create or modify an index, it is applied or refused by name."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.rules.test_rules_accounts import JSON_VALUES, result_or_refusal
from tests.rules.test_rules_indexes import EXISTING, MIRROR, STAGE, URL, exists, modified
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import Index
from twistpi.rules.index_config import IGNORED, KEYS
from twistpi.rules.indexes import decide_index_created, decide_index_modified

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

"""Which cached files go: the longest not asked for first, no more than needed, and never one that has to stay."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.errors import BadRequest
from twistpi.model.records import Index
from twistpi.rules.eviction import DAY, HOUR, Budget, CachedFile, Limits, Pin, Selection
from twistpi.rules.index_config import normalised

NOW = 1_000_000 * HOUR
MIRRORS = ("root/pypi", "root/other")


@attrs.frozen
class Known:
    """A cached file with its times, in Unix seconds."""

    file: CachedFile
    kept: float
    accessed: float


@st.composite
def known_files(draw: st.DrawFn) -> list[Known]:
    found = []
    for number in range(draw(st.integers(0, 25))):
        age = draw(st.integers(0, 40 * 24))
        file = CachedFile(
            number,
            draw(st.sampled_from((*MIRRORS, "alice/dev"))),
            draw(st.sampled_from(("demo", "numpy"))),
            f"demo-{number % 3}.0.tar.gz",
            "0" * 64,
            draw(st.integers(0, 1000)),
            draw(st.integers(0, 4)) > 0,
        )
        found.append(Known(file, NOW - age * HOUR, NOW - draw(st.integers(0, age)) * HOUR))
    return found


budgets = st.builds(
    Budget,
    st.none() | st.integers(0, 8000),
    st.none() | st.integers(0, 40).map(lambda days: days * DAY),
    st.sampled_from((0, DAY)),
)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    pins = {name: {"numpy": (Pin("numpy"),), "demo": (Pin("demo", "1.0"),)} for name in MIRRORS if draw(st.booleans())}
    unavailable = [name for name in MIRRORS if draw(st.integers(0, 5)) == 0]
    return Limits(draw(budgets), {name: draw(budgets) for name in MIRRORS}, pins, unavailable)


def chosen(known: Sequence[Known], limits: Limits, missing: int = 0) -> list[Known]:
    selection = Selection(limits, NOW)
    for one in known:
        selection.weigh(one.file, one.kept, one.accessed)
    is_any = selection.choose(missing)
    gone = [one for one in known if selection.takes(one.file, one.kept, one.accessed)]
    assert is_any or not any(one.file.size for one in gone)
    return gone


def movable(one: Known, limits: Limits) -> bool:
    return limits.may_go(one.file, one.kept, NOW)


@given(known_files(), limits(), st.integers(0, 5000))
def test_what_goes_may_go_and_makes_enough_room_where_that_is_possible(known: list[Known], limits: Limits, missing: int) -> None:
    gone = chosen(known, limits, missing)
    for one in gone:
        assert one.file.is_replaceable
        assert one.file.index in MIRRORS
        assert one.file.index not in limits.unavailable
        assert one.kept < NOW - max(HOUR, limits.indexes[one.file.index].min_age)
        if limits.pins.get(one.file.index):
            assert one.file.project != "numpy"
            assert "demo-1.0" not in one.file.filename or one.file.project != "demo"
    left = [one for one in known if one not in gone]
    for index, budget in limits.indexes.items():
        stay = [one for one in left if one.file.index == index]
        if budget.max_bytes is not None and sum(one.file.size for one in stay) > budget.max_bytes:
            assert not any(movable(one, limits) and one.file.size for one in stay)
    freed, used = sum(one.file.size for one in gone), sum(one.file.size for one in left)
    too_much = limits.server.max_bytes is not None and used > limits.server.max_bytes
    if freed < missing or too_much:
        assert not any(movable(one, limits) and one.file.size for one in left)


@given(known_files(), st.integers(0, 8000))
def test_the_longest_not_asked_for_go_first_and_no_more_than_needed(known: list[Known], most: int) -> None:
    only = Limits(Budget(most, min_age=0), {name: Budget(min_age=0) for name in MIRRORS})
    gone = chosen(known, only)
    stay = [one for one in known if one not in gone and movable(one, only) and one.file.size]
    assert all(first.accessed <= second.accessed for first in gone for second in stay if first.file.size)
    excess, freed = sum(one.file.size for one in known) - most, sum(one.file.size for one in gone)
    assert freed == 0 if excess <= 0 else freed < excess + max((one.file.size for one in gone), default=1)


@given(known_files(), st.integers(1, 30))
def test_what_nobody_asked_for_in_so_many_days_goes_whatever_its_size(known: list[Known], days: int) -> None:
    only = Limits(Budget(), {name: Budget(max_age=days * DAY, min_age=0) for name in MIRRORS})
    assert chosen(known, only) == [one for one in known if movable(one, only) and one.accessed < NOW - days * DAY]


def test_an_index_says_its_budget_in_the_words_of_devpi() -> None:
    given = {"cache_max_bytes": "500G", "cache_max_age": "90", "cache_min_age": 0, "pins": "NumPy, Flask_X == 2.0"}
    config = normalised("mirror", given, lambda name: True)
    assert config == {"cache_max_bytes": 500 << 30, "cache_max_age": 90, "cache_min_age": 0, "pins": ["numpy", "flask-x==2.0"]}
    found = Limits.of(Budget(min_age=5), [Index("root/pypi", {"type": "mirror", **config}), Index("a/dev", {"type": "stage"})])
    assert found.indexes == {"root/pypi": Budget(500 << 30, 90 * DAY, 0)}
    assert found.is_pinned(CachedFile(1, "root/pypi", "flask-x", "Flask.X-2.tar.gz", "", 1, is_replaceable=True))
    assert not found.is_pinned(CachedFile(1, "root/pypi", "flask-x", "Flask.X-2.1.tar.gz", "", 1, is_replaceable=True))


@pytest.mark.parametrize(
    "wrong",
    [{"cache_max_bytes": value} for value in (-1, True, "1X", "", 2**63, None)]
    + [{"pins": value} for value in ("demo==", "==1.0", "demo>=1", "a b", "demo==1.0, ../x")]
    + [{"cache_max_age": value} for value in ("soon", -1, 36501)],
)
def test_nonsense_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(BadRequest, match=next(iter(wrong))):
        normalised("mirror", wrong, lambda name: True)

"""Pages in memory."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from twistpi.view.page_cache import PageCache, PageKey


@attrs.frozen
class CachedPage:
    size: int
    etag: str
    sources: frozenset[str]


Cache = PageCache[CachedPage]


def key(project: str = "demo", index: str = "root/pypi", gzip: bool = False) -> PageKey:
    return PageKey(index, project, "text/html", gzip, "../../")


def page(size: int = 10, *sources: str) -> CachedPage:
    return CachedPage(size, '"etag"', frozenset(sources))


def test_what_was_put_is_found_until_something_else_is_put_there() -> None:
    cache = Cache(100_000)
    for kept in (page(5000), page()):
        assert cache.put(key(), kept)
        assert cache.get(key()) is kept
        assert cache.get(key(gzip=True)) is None
    assert (len(cache), 10 < cache.size < 5000) == (1, True)


def test_a_page_for_some_is_not_found_by_others() -> None:
    cache = Cache(100_000)
    cache.put(attrs.evolve(key(), audience="+alice/dev"), page())
    assert cache.get(key()) is None
    assert cache.get(attrs.evolve(key(), audience="+")) is None
    cache.forget("root/pypi", "demo")
    assert len(cache) == 0, "but a change is a change for all"


def test_the_least_recently_used_go_first() -> None:
    cache = Cache(40_000)
    for name in "abc":
        cache.put(key(name), page(10_000))
    cache.get(key("a"))
    cache.put(key("d"), page(10_000))
    assert [cache.get(key(name)) is not None for name in "abcd"] == [True, False, True, True]


def test_a_page_larger_than_the_cache_is_not_kept_and_costs_no_other() -> None:
    cache = Cache(10_000)
    cache.put(key("a"), page(1000))
    assert not cache.put(key("b"), page(10_000))
    assert cache.get(key("a")) is not None


def test_a_page_goes_when_its_project_changes_in_any_index_it_was_made_of() -> None:
    cache = Cache(100_000)
    cache.put(key("demo", "alice/dev"), page(10, "alice/dev", "root/pypi"))
    cache.put(key("demo", "alice/dev", gzip=True), page(10, "alice/dev", "root/pypi"))
    cache.put(key("other", "alice/dev"), page(10, "alice/dev", "root/pypi"))
    cache.put(key("demo", "bob/dev"), page(10, "bob/dev"))
    for _ in range(2):
        cache.forget("root/pypi", "demo")
        assert len(cache) == 2
    assert cache.get(key("other", "alice/dev")) is not None


def test_an_index_takes_everything_of_it_along_and_a_page_depends_on_the_index_that_was_asked() -> None:
    cache = Cache(100_000)
    cache.put(key("a", "alice/dev"), page(10, "root/pypi"))
    cache.put(key("b"), page())
    cache.put(key("c", "bob/dev"), page())
    cache.put(key("d"), page())
    cache.forget("root/pypi", "d")
    assert len(cache) == 3
    cache.forget("root/pypi")
    assert len(cache) == 1


def test_clearing_leaves_nothing_and_a_mark_from_before_it_or_too_old_to_tell_counts_as_outdated() -> None:
    cache = Cache(100_000)
    mark = cache.mark()
    cache.put(key(), page())
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)
    assert not cache.put(key(), page(), since=mark)
    mark = cache.mark()
    for number in range(5000):
        cache.forget("root/pypi", f"project-{number}")
    assert not cache.put(key(), page(), since=mark)


def test_a_page_made_of_what_changed_meanwhile_is_not_kept() -> None:
    cache = Cache(100_000)
    mark = cache.mark()
    cache.forget("root/pypi", "demo")
    assert not cache.put(key(), page(), since=mark)
    assert not cache.put(key("demo", "alice/dev"), page(10, "root/pypi"), since=mark)
    assert cache.put(key("other"), page(), since=mark)
    assert cache.put(key("demo", "bob/dev"), page(), since=mark)
    assert cache.put(key(), page(), since=cache.mark())
    mark = cache.mark()
    cache.forget("bob/dev")
    assert not cache.put(key("demo", "bob/dev"), page(), since=mark)
    assert cache.put(key(), page(), since=mark)


@attrs.frozen
class Put:
    key: PageKey
    page: CachedPage


def names() -> st.SearchStrategy[str]:
    return st.sampled_from("abc")


@given(
    st.lists(
        st.builds(Put, st.builds(key, names(), names()), st.builds(page, st.integers(0, 5000), names()))
        | st.builds(key, names(), names())
        | st.tuples(names(), names())
        | names(),
        max_size=30,
    )
)
def test_the_books_are_right_whatever_happens(steps: list[Put | PageKey | tuple[str, str] | str]) -> None:
    cache = Cache(20_000)
    for step in steps:
        if isinstance(step, Put):
            cache.put(step.key, step.page)
        elif isinstance(step, PageKey):
            cache.get(step)
        elif isinstance(step, tuple):
            cache.forget(*step)
        else:
            cache.forget(step)
        pages = [cache.get(key(project, index)) for project in "abc" for index in "abc"]
        assert len(cache) == sum(page is not None for page in pages)
        assert cache.size <= 20_000
    for index in "abc":
        cache.forget(index)
    assert (len(cache), cache.size, cache._groups) == (0, 0, {})

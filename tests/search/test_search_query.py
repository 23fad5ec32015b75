"""The query language: every text is a query, and what it means."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twistpi.search.expressions import COLUMNS, accepts, documents_matching, names_matching, squash, within
from twistpi.search.query import NEVER, And, Expression, Maybe, Not, Or, Term, parse

FOO, BAR, BAZ = Term("foo"), Term("bar"), Term("baz")
PIECES = [
    "foo",
    "b",
    "AND",
    "OR",
    "NOT",
    "ANDNOT",
    "ANDMAYBE",
    "(",
    ")",
    "'",
    '"',
    "*",
    "^2",
    "name:",
    "path:/a/b/*",
    "type:summary",
]
queries = st.one_of(st.text(max_size=60), st.lists(st.sampled_from([*PIECES, " ", "-", "größe"]), max_size=20).map(" ".join))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("foo bar", And((FOO, BAR))),
        ("foo AND bar OR baz", Or((And((FOO, BAR)), BAZ))),
        ("foo AND (bar OR baz)", And((FOO, Or((BAR, BAZ))))),
        ("foo NOT bar", And((FOO, Not(BAR)))),
        ("foo ANDNOT bar", And((FOO, Not(BAR)))),
        ("foo ANDMAYBE bar", Maybe(FOO, BAR)),
        ("'foo bar' baz", And((Term("foo bar"), BAZ))),
        ('"foo bar"*', Term("foo bar", is_prefix=True)),
        ("foo* bar^2", And((Term("foo", is_prefix=True), BAR))),
        ("path:/alice/dev/*", Term("/alice/dev/", "path", is_prefix=True)),
        ("summary:(foo bar)", And((Term("foo", "summary"), Term("bar", "summary")))),
        ("name:Foo.Bar", Term("Foo.Bar", "name")),
        ("c++", Term("c++")),
    ],
)
def test_the_language_is_that_of_devpi_web(text: str, meaning: Expression) -> None:
    assert parse(text) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", NEVER),
        ("( ) * ^", NEVER),
        ("foo AND", And((FOO, Term("AND")))),
        ("OR foo", And((Term("OR"), FOO))),
        ("(foo", FOO),
        ("foo) bar", And((FOO, BAR))),
        ('"foo', Term('"foo')),
        ("and foo or", And((Term("and"), FOO, Term("or")))),
        ("unknown:foo", Term("unknown:foo")),
        ("(" * 400 + "foo" + ")" * 400, FOO),
        ("don't", Term("don't")),
    ],
)
def test_what_is_not_understood_counts_as_words(text: str, meaning: Expression) -> None:
    assert parse(text) == meaning


@given(queries)
@example("(((((((((((((((((((((a b) OR c) d) e) f) g) h) i) j) k) l) m) n) o) p) q) r) s) t) u) v)")
@example("NOT " * 100 + "x")
@example("x OR NOT " * 30 + "x")
def test_every_text_is_a_query_that_sqlite_runs(text: str) -> None:
    expression = parse(text)
    names = within(expression, "root/pypi")
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE words USING fts5 ({', '.join(COLUMNS)}, prefix = '2 3')")
    connection.execute("CREATE VIRTUAL TABLE listed USING fts5 (name, tokenize = 'trigram')")
    for table, matching in (("words", documents_matching(expression)), ("listed", names_matching(names))):
        if matching:
            connection.execute(f"SELECT * FROM {table} WHERE {table} MATCH ?", (matching,)).fetchall()
    accepts(names, "foo")
    connection.close()


words = st.sampled_from(["foo", "bar", "oba", "rba", "foobar", "baz"]).map(Term)
expressions = st.recursive(
    words,
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3).map(lambda some: And(tuple(some))),
        st.lists(parts, min_size=1, max_size=3).map(lambda some: Or(tuple(some))),
        parts.map(Not),
        st.builds(Maybe, parts, parts),
    ),
    max_leaves=6,
)


@given(expressions)
def test_documents_and_names_agree_on_what_matches(expression: Expression) -> None:
    names = ["foo", "foo-bar", "bar", "foo-bar-baz", "baz", "quux"]
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE words USING fts5 ({', '.join(COLUMNS)})")
    for name in names:
        endings = " ".join(squash(name)[place:] for place in range(len(squash(name)) - 1))
        connection.execute("INSERT INTO words (exact, parts, type) VALUES (?, ?, 'any project')", (squash(name), endings))
    matching = documents_matching(expression)
    found = {name for (name,) in connection.execute("SELECT exact FROM words WHERE words MATCH ?", (matching,))}
    connection.close()
    left = within(expression, "root/pypi")
    assert found == {squash(name) for name in names if accepts(left, squash(name))}


@given(st.lists(st.one_of(words, words.map(Not)), min_size=1, max_size=4).map(lambda some: And(tuple(some))))
def test_the_full_text_table_of_names_finds_at_least_what_matches(expression: Expression) -> None:
    names = [squash(name) for name in ("foo", "foo-bar", "bar", "foo-bar-baz", "baz", "quux")]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE listed USING fts5 (name, tokenize = 'trigram')")
    connection.executemany("INSERT INTO listed VALUES (?)", [(name,) for name in names])
    matching = names_matching(expression)
    rows = (
        connection.execute("SELECT name FROM listed WHERE listed MATCH ?", (matching,)) if matching else [(one,) for one in names]
    )
    assert {name for name in names if accepts(expression, name)} <= {name for (name,) in rows}
    connection.close()

"""The tables of the benchmark say what was measured, and a missed target is called so."""

import pytest

from bench.figures import Figure, Target, as_restructured_text, as_table, compared, interleaved


@pytest.mark.parametrize(
    ("target", "value", "ratio", "verdict"),
    [
        (Target("at least", 0.9), 1.0, 0.9, "ok"),
        (Target("at least", 0.9), 1.0, 0.89, "MISS"),
        (Target("at most", 2.5), 1.0, 2.5, "ok"),
        (Target("at most", 2.5), 1.0, 2.51, "MISS"),
        (Target("below", 150, of="value"), 149.9, None, "ok"),
        (Target("below", 150, of="value"), 150.0, None, "MISS"),
        (Target("exactly", 1, of="value"), 1, None, "ok"),
        (Target("exactly", 1, of="value"), 2, None, "MISS"),
        (Target("at least", 0.9), 1.0, None, "MISS"),
        (None, 1.0, 0.1, ""),
    ],
)
def test_a_verdict_follows_from_the_limit(target: Target | None, value: float, ratio: float | None, verdict: str) -> None:
    assert Figure("name", value, "ms", ratio=ratio, target=target).verdict == verdict


def test_measures_take_turns() -> None:
    turns: list[str] = []

    def measure(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    assert interleaved(2, lambda: measure("a"), lambda: measure("b")) == [[1.0, 3.0], [2.0, 4.0]]
    assert turns == ["a", "b", "a", "b"]


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_sides() -> None:
    figure = compared("name", "ms", [10.0, 200.0, 30.0], [10.0, 100.0, 60.0], "nginx")
    assert (figure.value, figure.reference, figure.ratio) == (30.0, 60.0, 1.0)


def test_tables_have_a_row_for_each_figure() -> None:
    figures = [
        Figure("pages", 31000.4, "answers/s", 30000.0, "nginx", 1.033, Target("at least", 0.85), "8 KB"),
        Figure("size", 12.34, "MB"),
    ]
    assert as_table(figures).splitlines()[2:] == [
        "pages   31,000 answers/s  30,000 answers/s (nginx)  1.03   ≥ 0.85 ×  ok",
        "size    12.3 MB",
    ]
    text = as_restructured_text(figures)
    assert '   "pages", "31,000 answers/s", "30,000 answers/s (nginx)", "1.03", "≥ 0.85 ×", "ok"\n' in text
    assert text.endswith("\n* pages: 8 KB\n")

# SPDX-License-Identifier: Apache-2.0
"""What `make bench BENCH=quality` calls reached and missed; its rows themselves are tested beside their modules."""

import pytest

from benchmarks import __main__ as command
from benchmarks import quality, quality_drift, quality_rates


@pytest.mark.parametrize(
    ("row", "held"),
    [
        ({"coverage": 0.93, "at_least": {"coverage": 0.93}}, [True]),
        (
            {"coverage": 0.92, "median_width": 1.0, "at_least": {"coverage": 0.93}, "at_most": {"median_width": 2}},
            [False, True],
        ),
        ({"p90": None, "at_most": {"p90": 200}}, [False]),
        ({"coverage": 0.1}, []),
    ],
)
def test_a_figure_is_held_against_what_is_demanded(row: dict[str, object], held: list[bool]) -> None:
    assert [holds for *_, holds in quality.judged(row)] == held


def test_the_table_names_what_was_missed() -> None:
    rows = [
        {"row": "light", "repetitions": 48, "median": 57.0, "p90": None, "at_most": {"median": 120, "p90": 200}},
        {"row": "cost", "us": 2.0, "at_most": {"us": 5}},
    ]
    _, reached, missed, cost = quality.table(rows).splitlines()
    assert reached.split() == ["light", "48", "median", "<=", "120", "57"]
    assert missed.split() == ["light", "48", "p90", "<=", "200", "not", "found", "MISSED"]
    assert cost.split() == ["cost", "1", "us", "<=", "5", "2"]


def test_every_demanded_row_of_intervals_says_what_is_demanded() -> None:
    rows = list(quality_rates.demanded_rows(2))
    assert len(rows) == 17
    assert all([*quality.judged(row)] for row in rows)
    assert {row["runs"] for row in rows if "coverage" in row} == {2}


def test_all_runs_each_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def remembering(name: str, _sizes: object) -> list[dict[str, object]]:
        asked.append(name)
        return []

    monkeypatch.setattr(command, "run_one", remembering)
    assert command.main(["all"]) == 0
    assert "quality" in asked
    assert not {"quality_rates", "quality_drift"} & set(asked)
    assert len(quality_drift.ROWS) == 13

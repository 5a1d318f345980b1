# SPDX-License-Identifier: Apache-2.0
"""Minutes added up to samples give the same figures, charts and marks as the minutes themselves."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from central.api.quality_computing import ChartPlan, by_sample, charts_of, figures_of, key_of, marks_of
from central.api.quality_group_schemas import GroupedBy
from central.store.repositories.quality_cells import Cell, Place
from contracts.vocabulary import Verdict
from tests.central.conftest import START

_SINCE = START.replace(second=0)
_MINUTES = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from(["p/l/a", "p/l/b"]), st.sampled_from(["", "x" * 64, "y" * 64])),
    unique=True,
)


def _cell(minute: int, station: str, package: str) -> Cell:
    at: datetime = _SINCE + timedelta(minutes=minute)
    counts = {Verdict.OK: 7 + minute % 3, Verdict.NG: minute % 2, Verdict.REVIEW: 0, Verdict.NO_DECISION: not package}
    return Cell(Place(at, station, "ring", package, is_simulated=True), {v: int(n) for v, n in counts.items()})


@given(_MINUTES)
def test_nothing_is_lost_or_moved(minutes: list[tuple[int, str, str]]) -> None:
    plain = [_cell(*each) for each in sorted(minutes)]
    length = timedelta(minutes=10)
    added = by_sample(plain, _SINCE, length)
    assert len(added) <= len(plain)
    for by in (GroupedBy.STATION, GroupedBy.PACKAGE):
        assert figures_of(added, (), key_of(by, "06:00", "UTC")) == figures_of(plain, (), key_of(by, "06:00", "UTC"))
    plan = ChartPlan("p", length, 2)
    station = key_of(GroupedBy.STATION, "06:00", "UTC")
    assert charts_of(added, station, [], _SINCE, plan) == charts_of(plain, station, [], _SINCE, plan)
    assert marks_of(added, []) == marks_of(plain, [])


def test_a_quiet_hour_is_six_cells() -> None:
    assert len(by_sample([_cell(n, "p/l/a", "x" * 64) for n in range(60)], _SINCE, timedelta(minutes=10))) == 6

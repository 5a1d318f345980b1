# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.domain.rollout_plan import LADDER, RolloutPlan, TargetFilter, WavePlan, WaveScope, choose_waves
from contracts.vocabulary import RiskClass

FLEET = ("p/l1/a", "p/l1/b", "p/l2/a", "p/l2/b", "q/l1/a", "q/l1/b")


def names(*waves: WavePlan, stations: tuple[str, ...] = FLEET) -> list[tuple[str, ...]]:
    return [chosen for _, chosen in choose_waves(stations, waves)]


def test_a_rollout_climbs_from_a_station_to_its_line_its_site_and_everybody() -> None:
    assert names(*LADDER) == [("p/l1/a",), ("p/l1/b",), ("p/l2/a", "p/l2/b"), ("q/l1/a", "q/l1/b")]


def test_waves_of_nobody_are_left_out() -> None:
    assert names(*LADDER, stations=("p/l1/a", "q/l1/a")) == [("p/l1/a",), ("q/l1/a",)]


def test_a_share_is_of_all_stations_counts_what_went_before_and_is_rounded_up() -> None:
    shares = [WavePlan(WaveScope.SHARE, share) for share in (0.1, 0.5, 1.0)]
    assert [len(wave) for wave in names(*shares)] == [1, 2, 3]


def test_stations_that_no_wave_takes_are_not_touched() -> None:
    assert names(WavePlan(WaveScope.COUNT, 2)) == [("p/l1/a", "p/l1/b")]


@pytest.mark.parametrize(
    ("risk", "approvals"),
    [
        (RiskClass.STANDARD, [False, False, False, True]),
        (RiskClass.ELEVATED, [False, True, False, True]),
        (RiskClass.CRITICAL, [True, True, True, True]),
    ],
)
def test_the_risk_class_adds_approvals_to_those_of_the_plan(risk: RiskClass, approvals: list[bool]) -> None:
    plan = (*LADDER[:3], WavePlan(needs_approval=True))
    assert [wave.needs_approval for wave, _ in choose_waves(FLEET, plan, risk)] == approvals


def test_the_approval_after_the_canary_is_asked_for_though_its_line_has_nobody_else() -> None:
    chosen = choose_waves(("p/l1/a", "q/l1/a"), LADDER, RiskClass.ELEVATED)
    assert [wave.needs_approval for wave, _ in chosen] == [False, True]


@given(
    waves=st.lists(
        st.one_of(
            st.builds(WavePlan, st.just(WaveScope.COUNT), st.integers(1, 9)),
            st.builds(WavePlan, st.just(WaveScope.SHARE), st.floats(0.01, 1)),
            st.builds(WavePlan, st.sampled_from([WaveScope.LINE, WaveScope.SITE, WaveScope.ALL])),
        ),
        min_size=1,
        max_size=6,
    ),
    stations=st.lists(st.sampled_from(FLEET)),
)
def test_each_station_is_in_one_wave_at_most_and_no_wave_is_empty(waves: list[WavePlan], stations: list[str]) -> None:
    chosen = [name for wave in names(*waves, stations=tuple(stations)) for name in wave]
    assert len(chosen) == len(set(chosen))
    assert set(chosen) <= set(stations)
    assert all(names(*waves, stations=tuple(stations)))
    if any(wave.scope is WaveScope.ALL for wave in waves):
        assert set(chosen) == set(stations)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (TargetFilter(), 6),
        (TargetFilter(sites=("p",)), 4),
        (TargetFilter(lines=("p/l2", "q/l1")), 4),
        (TargetFilter(stations=("q/l1/b", "q/l1/c")), 1),
        (TargetFilter(sites=("p",), lines=("q/l1",)), 0),
        (TargetFilter(labels={"camera": ("5mp", "12mp")}), 2),
        (TargetFilter(sites=("q",), labels={"camera": ("5mp",)}), 1),
        (TargetFilter(labels={"camera": ("5mp",), "hall": ("3",)}), 0),
        (TargetFilter(labels={"camera": ()}), 6),
    ],
)
def test_a_filter_joins_kinds_by_and_and_names_of_a_kind_by_or(target: TargetFilter, wanted: int) -> None:
    labels = {"p/l1/a": {"camera": "12mp"}, "q/l1/b": {"camera": "5mp"}}
    assert sum(target.takes(name, labels.get(name, {})) for name in FLEET) == wanted


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"scope": WaveScope.COUNT, "amount": 0}, "amount: expected a whole number of stations, at least 1, got 0"),
        ({"scope": WaveScope.COUNT, "amount": 1.5}, "amount: expected a whole number"),
        ({"scope": WaveScope.SHARE, "amount": 1.2}, "amount: expected a share above 0 and at most 1, got 1.2"),
        ({"bake_parts": 0}, "bake_parts: expected at least 1"),
        ({"bake_s": -1}, "bake_s: expected"),
        ({"max_away_share": 1}, "max_away_share: expected"),
    ],
)
def test_a_wave_that_cannot_be_is_refused(fields: dict[str, float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        WavePlan(**fields)  # type: ignore[arg-type]


def test_a_plan_without_a_wave_is_refused() -> None:
    with pytest.raises(ValueError, match="waves: expected at least one"):
        RolloutPlan(waves=())

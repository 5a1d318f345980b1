# SPDX-License-Identifier: Apache-2.0
"""A plan whose target names stations in vain: said when it is asked for, noted when people set it long before."""

from pathlib import Path

import pytest

from central.domain.rollout_plan import RolloutPlan, TargetFilter
from central.errors import ConflictError
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from contracts.vocabulary import RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line
from tests.central.services.test_rollout_plans import set_policy

OK = Verdict.OK


def of_another_product(bench: Bench, name: str, product: str = "cap") -> FakeStation:
    station = bench.add_station(name)
    bench.heartbeat(station)
    bench.report(station, [OK] * 5, product=product)
    return station


@pytest.fixture(name="candidate")
def _candidate(bench: Bench, tmp_path: Path) -> str:
    _, champion = line(bench, tmp_path, "st-1", "st-2")
    bench.build(rollout=RolloutSettings(is_automatic=False))
    return bench.register(2, tmp_path, champion=champion)


def named(*stations: str) -> TargetFilter:
    return TargetFilter(stations=tuple(f"plant/line-1/{each}" for each in stations))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (named("st-1", "st-9"), "station plant/line-1/st-9 judges cap"),
        (named("st-1", "st-8"), "station plant/line-1/st-8 was never heard of"),
        (TargetFilter(sites=("plant", "plnt")), "site plnt was never heard of"),
        (TargetFilter(lines=("plant/line-1", "plant/line-7")), "line plant/line-7 was never heard of"),
    ],
    ids=["other product", "station", "site", "line"],
)
def test_target_that_names_something_in_vain_is_refused_and_nothing_begins(
    bench: Bench, candidate: str, target: TargetFilter, said: str
) -> None:
    of_another_product(bench, "st-9")
    before = bench.rollout().id
    with pytest.raises(ConflictError, match=f"{said}; leave that out, or name stations in `stations`"):
        bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now(), plan=RolloutPlan(target=target))
    assert bench.rollout().id == before


def test_station_that_is_only_silent_or_has_judged_nothing_yet_may_be_named(bench: Bench, candidate: str) -> None:
    bench.add_station("st-7")
    of_another_product(bench, "st-8", product=PRODUCT)
    plan = RolloutPlan(target=named("st-1", "st-7", "st-8"))
    assert bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now(), plan=plan).is_new


def test_station_named_one_by_one_is_reached_whatever_it_judges(bench: Bench, candidate: str) -> None:
    other = of_another_product(bench, "st-9")
    bench.rollouts.start(candidate, [str(other.address)], None, "it will make both", bench.clock.now())
    bench.tick(2)
    assert other.running[PRODUCT] == candidate


def test_policy_that_names_something_in_vain_reaches_the_rest_and_says_so(bench: Bench, candidate: str) -> None:
    of_another_product(bench, "st-9")
    set_policy(bench, RolloutPlan(target=named("st-1", "st-9")))
    bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now())
    bench.tick(2)
    history = state_of(bench.rollout()).history
    assert [line for line in history if line.endswith("not reached: station plant/line-1/st-9 judges cap")] != []
    assert bench.rollout().state is RolloutState.RUNNING


def test_package_for_real_parts_never_reaches_a_simulated_station(bench: Bench, tmp_path: Path) -> None:
    bench.add_station("st-1")
    bench.tick()
    real = bench.register(3, tmp_path, champion=None, is_simulated=False)
    with pytest.raises(ConflictError, match="makes simulated parts, the package is for real ones"):
        bench.rollouts.start(real, [], None, "by hand", bench.clock.now(), plan=RolloutPlan(target=named("st-1")))

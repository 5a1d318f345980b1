# SPDX-License-Identifier: Apache-2.0
"""Stations whose wave did not wait for them, and parts of an order that was called back."""

from pathlib import Path

import pytest

from central.domain.rollout_plan import RolloutPlan, ShadowPlan, WavePlan, WaveScope
from central.domain.rollout_shapes import Progress
from central.services.rollouts.evidence import exposure_of, quarantine_of
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from contracts.vocabulary import RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line
from tests.central.services.test_called_back import come_back, leave, lift
from tests.central.services.test_rollout_plans import freeze
from tests.central.services.test_rollout_shadow import Line

OK, NG = Verdict.OK, Verdict.NG


def exposed(bench: Bench) -> tuple[int, int]:
    """Parts that the newest rollout's package judged, and how many of them are on its quarantine list."""
    with bench.database.read() as session:
        row = bench.rollout()
        judged = sum(sum(each.verdicts.values()) for each in exposure_of(session, row))
        return judged, len(list(quarantine_of(session, row)))


def test_parts_of_an_order_that_was_called_back_stay_on_the_quarantine_list(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    first.installs = False
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(1)
    leave(bench, first)
    number = freeze(bench, 24)
    bench.tick(2)
    # It had taken the order before it was cut off.
    first.running = {PRODUCT: candidate}
    bench.report(first, [OK] * 30)
    come_back(bench, first)
    assert (first.running, exposed(bench)) == ({PRODUCT: champion}, (30, 30))
    lift(bench, number)
    bench.tick(3)
    assert (first.running, exposed(bench)) == ({PRODUCT: candidate}, (30, 30))
    bench.report(first, [OK] * 5)
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    bench.tick(2)
    assert exposed(bench) == (35, 35)


def progress(bench: Bench) -> dict[str, Progress]:
    return {item.station: item.progress for wave in state_of(bench.rollout()).waves for item in wave.stations}


@pytest.fixture(name="three")
def _three(bench: Bench, tmp_path: Path) -> tuple[list[FakeStation], str, str]:
    """Of four stations the three that take part in a trial, the champion and the package that is tried."""
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    third = bench.add_station("st-3")
    bench.add_station("st-4")
    bench.tick(2)
    bench.report(third, ([OK] * 19 + [NG]) * 5)
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    return [first, second, third], champion, bench.register(2, tmp_path, champion=champion)


def begin(bench: Bench, three: list[FakeStation], package_id: str, *, shadow: ShadowPlan | None) -> None:
    waves = (
        WavePlan(WaveScope.COUNT, 2, max_away_share=0.5, shadow=shadow, control=None),
        WavePlan(WaveScope.ALL, control=None),
    )
    named = [str(station.address) for station in three]
    bench.rollouts.start(package_id, named, None, "a trial", bench.clock.now(), plan=RolloutPlan(waves=waves))


def finish_the_first_wave_without_the_second(bench: Bench, three: tuple[list[FakeStation], str, str]) -> None:
    """It was in shadow as it left; the third station is under way by then."""
    (first, second, _), champion, package = three
    begin(bench, three[0], package, shadow=ShadowPlan(margin=0.05))
    bench.tick(2)
    plant = object.__new__(Line)
    plant.bench, plant.first, plant.champion, plant.challenger = bench, first, champion, package
    leave(bench, second)
    plant.judge([(OK, OK)] * 900)
    bench.tick(3)
    bench.report(first, [OK] * 20)
    bench.tick(4)


def test_station_that_was_in_shadow_as_its_wave_finished_is_given_the_package_when_it_is_back(
    bench: Bench, three: tuple[list[FakeStation], str, str]
) -> None:
    (_, second, third), _, package = three
    finish_the_first_wave_without_the_second(bench, three)
    assert progress(bench)[str(second.address)] is Progress.AWAY
    come_back(bench, second)
    bench.tick(2)
    # In the second wave's time, and not only after the end.
    assert bench.rollout().state is RolloutState.RUNNING
    assert second.running == {PRODUCT: package}
    bench.report(third, [OK] * 20)
    bench.report(second, [OK] * 20)
    bench.tick(4)
    assert bench.rollout().state is RolloutState.FINISHED
    assert progress(bench)[str(second.address)] is Progress.DONE


def test_station_that_was_called_back_as_its_wave_finished_is_given_the_package_when_it_is_back(
    bench: Bench, three: tuple[list[FakeStation], str, str]
) -> None:
    (first, second, third), _, package = three
    second.installs = False
    begin(bench, three[0], package, shadow=None)
    bench.tick(1)
    leave(bench, second)
    number = freeze(bench, 1)
    bench.tick(2)
    bench.report(first, [OK] * 20)
    bench.tick(3)
    lift(bench, number)
    bench.tick(3)
    come_back(bench, second)
    bench.tick(2)
    assert second.running == {PRODUCT: package}
    bench.report(third, [OK] * 20)
    bench.tick(4)
    assert bench.rollout().state is RolloutState.FINISHED


def test_station_that_the_end_left_in_shadow_is_given_the_package_after_it(
    bench: Bench, three: tuple[list[FakeStation], str, str]
) -> None:
    (_, second, third), champion, package = three
    finish_the_first_wave_without_the_second(bench, three)
    assert progress(bench)[str(third.address)] is Progress.BAKING
    freeze(bench, 1)
    come_back(bench, second)
    bench.report(third, [OK] * 20)
    bench.tick(4)
    assert bench.rollout().state is RolloutState.FINISHED
    assert progress(bench)[str(second.address)] is Progress.SHADOW
    assert second.running == {PRODUCT: champion}
    bench.tick(30, seconds=150)
    assert second.running == {PRODUCT: package}

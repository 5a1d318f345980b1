# SPDX-License-Identifier: Apache-2.0
"""Limits from the stations' own past while a wave bakes, fed from real rows: what aborts, waits, and is stored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import col, select

from central.domain.rollout_plan import ControlPlan, RolloutPlan, WavePlan, WaveScope
from central.services.rollouts import limits
from central.settings import RolloutSettings
from central.store.repositories import rollout_policies
from central.store.rollout_tables import RolloutLimit, RolloutLook
from contracts.vocabulary import AlarmKind, RolloutState, Verdict, VerdictCause
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line

OK, NG, NONE = Verdict.OK, Verdict.NG, Verdict.NO_DECISION
CONTROL = ControlPlan(tolerated_factor=1.0)
# So many that the limits decide before the wave has baked.
PLAN = RolloutPlan(
    waves=(WavePlan(WaveScope.COUNT, 1, bake_parts=200, control=CONTROL), WavePlan(WaveScope.ALL, control=CONTROL))
)


class Line:
    """Two stations whose champion rejects one part in four, in no order."""

    def __init__(self, bench: Bench, folder: Path, past: int = 1_500) -> None:
        self.bench, self.folder, self.rng, self.packages = bench, folder, np.random.default_rng(5), 1
        (self.first, self.second), self.champion = line(bench, folder, "st-1", "st-2")
        for station in (self.first, self.second):
            bench.report(station, self.verdicts(past))
        self.build()

    def build(self) -> None:
        """Also what a restart of central is."""
        self.bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))

    def verdicts(self, parts: int, share: float = 0.25) -> Sequence[Verdict]:
        return [NG if is_bad else OK for is_bad in self.rng.random(parts) < share]

    def begin(self, plan: RolloutPlan = PLAN) -> str:
        self.packages += 1
        package = self.bench.register(self.packages, self.folder, champion=self.champion)
        self.bench.rollouts.start(package, [], None, "a trial", self.bench.clock.now(), plan=plan)
        self.bench.tick(3)
        assert self.first.running[PRODUCT] == package
        return package

    def state(self) -> RolloutState:
        return self.bench.rollout().state

    def looks(self) -> list[RolloutLook]:
        with self.bench.database.read() as session:
            return list(session.exec(select(RolloutLook).order_by(col(RolloutLook.id))).all())


@pytest.fixture(name="plant")
def _plant(bench: Bench, tmp_path: Path) -> Line:
    return Line(bench, tmp_path)


def test_package_that_stops_rejecting_is_taken_back_from_the_canary_without_a_person(plant: Line) -> None:
    package = plant.begin()
    for _ in range(12):
        plant.bench.report(plant.first, [OK] * 20)
        plant.bench.tick()
    plant.bench.tick(2)
    assert plant.state() is RolloutState.ERROR
    assert "limits of canary: missing rejects: 0 of " in plant.bench.rollout().machine
    assert plant.first.running[PRODUCT] == plant.champion
    assert [each.packages for each in plant.second.assignments if package in str(each.packages)] == []
    with plant.bench.database.read() as session:
        last = rollout_policies.events(session, plant.bench.rollout().id or 0)[-1]
    told = last.evidence["limits"]["0"]["quantities"]["missing rejects"]
    assert told["decision"] == "ABORT"
    assert told["log_e_abort"] >= told["log_e_needed"]
    assert told["stations"][str(plant.first.address)]["hits"] == 0
    (alarm,) = [each for each in plant.bench.alarms() if each.kind is AlarmKind.ROLLOUT_FAILED]
    assert alarm.evidence["stations"] == [str(plant.first.address)]
    assert f"ordered back at {plant.first.address}. " in alarm.remedy
    assert "quarantine list" in alarm.remedy


def test_each_look_at_something_new_is_stored_with_numbers_limits_and_denominators(plant: Line) -> None:
    plant.begin()
    for _ in range(3):
        plant.bench.report(plant.first, plant.verdicts(50))
        plant.bench.tick(2)
    looks = plant.looks()
    assert len(looks) == 3
    rows = [look.evidence["quantities"]["rejects"]["stations"][str(plant.first.address)] for look in looks]
    # Chunks of 20, a tenth of what is baked: parts that fill none wait for the next look.
    assert [row["parts"] for row in rows] == [40, 100, 140]
    assert {row["past_parts"] for row in rows} == {1_600}
    assert [len(look.taken) for look in looks] == [2, 3, 2]
    assert looks[-1].evidence["outcome"] == "PASSED"


def test_a_restart_takes_up_the_limits_where_they_were_and_counts_no_part_twice(plant: Line) -> None:
    plant.begin()
    for parts in (30, 25, 7, 58, 30):
        plant.bench.report(plant.first, plant.verdicts(parts))
        plant.build()
        plant.bench.tick(2)
    whole = [chunk for look in plant.looks() for chunk in look.taken]
    assert [chunk[0] for chunk in whole] == [str(plant.first.address)] * 7
    assert len({chunk[1] for chunk in whole}) == 7
    # Never restarted, the gates would stand where they stand now, to the last bit.
    evidence = plant.looks()[-1].evidence
    plant.bench.report(plant.first, plant.verdicts(20))
    plant.bench.tick()
    after = plant.looks()[-1].evidence
    assert after["quantities"]["rejects"]["stations"][str(plant.first.address)]["parts"] == 160
    assert after["quantities"]["rejects"]["log_e_abort"] != evidence["quantities"]["rejects"]["log_e_abort"]
    with plant.bench.database.read() as session:
        assert len(session.exec(select(RolloutLimit)).all()) == 1


def test_a_restart_counts_nothing_twice_of_a_station_that_is_ahead_of_another(plant: Line) -> None:
    """What the one that lags has judged is read again; the other's chunks in between are known."""
    plant.begin(RolloutPlan(waves=(WavePlan(bake_parts=200, control=CONTROL),)))
    for ahead in (40, 30, 30):
        plant.bench.report(plant.first, plant.verdicts(ahead))
        plant.bench.report(plant.second, plant.verdicts(8))
        plant.build()
        plant.bench.tick(2)
    whole = [(chunk[0], chunk[1]) for look in plant.looks() for chunk in look.taken]
    assert len(whole) == len(set(whole))
    assert sorted(name.rsplit("/")[-1] for name, _ in whole) == ["st-1"] * 5 + ["st-2"]


def test_image_faults_and_parts_without_a_decision_are_limits_of_their_own(plant: Line) -> None:
    plant.begin()
    for _ in range(10):
        plant.bench.report(plant.first, plant.verdicts(17))
        plant.bench.report(plant.first, [NONE] * 3, cause=VerdictCause.IMAGE_FAULT)
        plant.bench.tick()
    plant.bench.tick()
    assert plant.state() is RolloutState.ERROR
    assert "limits of canary: image faults: " in plant.bench.rollout().machine


def test_parts_of_other_packages_and_products_are_not_the_packages(plant: Line) -> None:
    plant.begin()
    first = plant.first
    for _ in range(10):
        plant.bench.report(first, [NONE] * 20, product="gear", cause=VerdictCause.IMAGE_FAULT)
        plant.bench.report(first, [NG] * 20, package_id=plant.champion)
        plant.bench.tick()
    assert plant.looks() == []
    assert plant.state() is RolloutState.RUNNING


@pytest.mark.parametrize("needs", [True, False])
def test_past_that_is_too_short_holds_the_wave_where_the_plan_says_so(
    bench: Bench, tmp_path: Path, needs: bool
) -> None:
    plant = Line(bench, tmp_path, past=0)
    control = ControlPlan(chunk_parts=10, needs_limits=needs)
    plant.begin(RolloutPlan(waves=(WavePlan(WaveScope.COUNT, 1, bake_parts=100, control=control), WavePlan())))
    bench.report(plant.first, ([OK] * 19 + [NG]) * 6)
    bench.tick(4)
    second = plant.second.running[PRODUCT]
    assert (second == plant.champion) is needs
    assert ("no limits for plant/line-1/st-1: expected a past of at least 20" in bench.rollout().machine) is needs


@pytest.mark.slow
def test_unchanged_processes_roll_out_again_and_again(bench: Bench, tmp_path: Path) -> None:
    """Whole rollouts through the store, one after another; each is a chance to err, of 5 % at most for a wave."""
    plant, ended, watched = Line(bench, tmp_path, past=0), list[RolloutState](), 0
    for _ in range(20):
        for station in (plant.first, plant.second):
            bench.report(station, plant.verdicts(400))
        package, rounds = plant.begin(RolloutPlan(waves=(WavePlan(bake_parts=60, control=CONTROL),))), 0
        while plant.state() is RolloutState.RUNNING and rounds < 12:
            for station in (plant.first, plant.second):
                bench.report(station, plant.verdicts(60))
            bench.tick(2)
            rounds += 1
        ended.append(plant.state())
        watched += "parts_per_chunk" in plant.looks()[-1].evidence["quantities"]["rejects"]
        plant.champion = package if ended[-1] is RolloutState.FINISHED else plant.champion
    assert set(ended) <= {RolloutState.FINISHED, RolloutState.ERROR}
    assert ended.count(RolloutState.ERROR) <= 3
    # Nothing would be shown by rollouts whose past gave no limits.
    assert watched >= 15


def test_a_chain_of_waves_is_watched_until_the_rollout_ends(plant: Line) -> None:
    station: FakeStation = plant.first
    plant.begin()
    plant.bench.report(station, plant.verdicts(220))
    plant.bench.tick(3)
    assert plant.second.running[PRODUCT] != plant.champion
    for _ in range(30):
        plant.bench.report(station, [OK] * 20)
        plant.bench.tick()
    assert plant.state() is RolloutState.ERROR
    assert "limits of canary: missing rejects" in plant.bench.rollout().machine
    assert plant.second.running[PRODUCT] == plant.champion


@pytest.mark.parametrize("turned", [NONE, NG])
def test_a_rollout_left_open_still_goes_back_after_thousands_of_parts(
    bench: Bench, tmp_path: Path, turned: Verdict
) -> None:
    """A wave waits for a person over a weekend; the canary goes bad after more parts than anybody counts."""
    plant = Line(bench, tmp_path, past=0)
    waves = (WavePlan(WaveScope.COUNT, 1, control=None), WavePlan(needs_approval=True))
    plant.begin(RolloutPlan(waves=waves))
    for _ in range(11):
        bench.report(plant.first, ([OK] * 19 + [NG]) * 25)
        bench.tick()
    assert plant.state() is RolloutState.WAITING_FOR_APPROVAL
    for _ in range(8):
        bench.report(plant.first, [turned] * 500)
        bench.tick()
    assert plant.state() is RolloutState.ERROR
    assert plant.first.running[PRODUCT] == plant.champion


def test_limits_go_on_after_thousands_of_parts_and_look_the_same_after_a_restart(
    plant: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of older looks what they said goes, as no page shows it; what they took in stays."""
    monkeypatch.setattr(limits, "_TOLD_LOOKS", 4)
    waves = (WavePlan(WaveScope.COUNT, 1, bake_parts=200, control=CONTROL), WavePlan(needs_approval=True))
    plant.begin(RolloutPlan(waves=waves))
    for index in range(12):
        plant.bench.report(plant.first, plant.verdicts(500))
        if index == 11:
            plant.build()
        plant.bench.tick()
    assert plant.state() is RolloutState.WAITING_FOR_APPROVAL
    looks = plant.looks()
    assert [bool(look.evidence) for look in looks] == [False] * (len(looks) - 4) + [True] * 4
    row = looks[-1].evidence["quantities"]["rejects"]["stations"][str(plant.first.address)]
    assert (row["parts"], sum(len(look.taken) for look in looks)) == (6_000, 300)


def test_a_wave_that_asks_for_many_parts_ends_when_they_are_judged(bench: Bench, tmp_path: Path) -> None:
    plant = Line(bench, tmp_path, past=0)
    plant.begin(RolloutPlan(waves=(WavePlan(bake_parts=5_600, control=None),)))
    for parts in (2_800, 2_780, 20):
        assert plant.state() is RolloutState.RUNNING
        for station in (plant.first, plant.second):
            bench.report(station, ([OK] * 19 + [NG]) * (parts // 20))
        bench.tick(2)
    assert plant.state() is RolloutState.FINISHED

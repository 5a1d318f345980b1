# SPDX-License-Identifier: Apache-2.0
"""What people set for rollouts, on real rows: plans, approvals, calendars, stations set aside; and what is left."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from central.domain.calendar import MaintenanceWindow
from central.domain.rollout_plan import LADDER, RolloutPlan, ShadowPlan, TargetFilter, WavePlan, WaveScope
from central.errors import ConflictError
from central.services.rollouts.beginning import Begun
from central.services.rollouts.evidence import exposure_of, quarantine_of
from central.services.rollouts.planning import plan_of
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from central.store.learning_tables import RolloutRow
from central.store.repositories import rollout_policies
from central.store.repositories import stations as station_rows
from central.store.rollout_tables import FreezeRow, RolloutEvent, RolloutPolicyRow
from contracts.vocabulary import PackageState, RiskClass, RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line

OK, NG, NO_DECISION = Verdict.OK, Verdict.NG, Verdict.NO_DECISION


def set_policy(
    bench: Bench, plan: RolloutPlan, risk: RiskClass = RiskClass.STANDARD, *, is_automatic: bool = True
) -> None:
    with bench.database.begin() as session:
        session.merge(
            RolloutPolicyRow(
                product=PRODUCT,
                risk=risk,
                is_automatic=is_automatic,
                plan=rollout_policies.plan_text(plan),
                changed_at=bench.clock.now(),
                changed_by="anna",
                note="for the test",
            )
        )


def freeze(bench: Bench, hours: float, site: str | None = None) -> int:
    now = bench.clock.now()
    row = FreezeRow(
        site=site, begins=now, ends=now + timedelta(hours=hours), reason="stock-taking", made_at=now, made_by="anna"
    )
    with bench.database.begin() as session:
        session.add(row)
        session.flush()
        return row.id or 0


def bake(bench: Bench, *stations: FakeStation) -> None:
    bench.tick(2)
    for station in stations:
        bench.report(station, [OK] * 20)
    bench.tick(2)


def events(bench: Bench) -> list[RolloutEvent]:
    with bench.database.read() as session:
        return rollout_policies.events(session, bench.rollout().id or 0)


def test_a_product_of_elevated_risk_waits_for_a_person_after_its_canary(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    set_policy(bench, RolloutPlan(), RiskClass.ELEVATED)
    candidate = bench.register(2, tmp_path, champion=champion)
    bake(bench, first)
    assert (bench.rollout().state, bench.rollout().risk) == (RolloutState.WAITING_FOR_APPROVAL, RiskClass.ELEVATED)
    bench.tick(5, seconds=3_600)
    assert second.running[PRODUCT] == champion
    rollout_id = bench.rollout().id or 0
    for wave in (1, 3):
        said = f"expected the approval of wave 2, which waits, got one of wave {wave}"
        with pytest.raises(ConflictError, match=said):
            bench.rollouts.approve(rollout_id, "anna", bench.clock.now(), wave=wave)
    bench.rollouts.approve(rollout_id, "anna", bench.clock.now(), wave=2)
    with pytest.raises(ConflictError, match="expected WAITING_FOR_APPROVAL, it is RUNNING; it goes on by itself"):
        bench.rollouts.approve(rollout_id, "anna", bench.clock.now(), wave=2)
    bake(bench, second)
    bench.tick(2)
    assert (bench.rollout().state, bench.champion()) == (RolloutState.FINISHED, candidate)


def test_a_rollout_that_waits_for_approval_still_goes_back_on_an_error(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    set_policy(bench, RolloutPlan(), RiskClass.ELEVATED)
    bench.register(2, tmp_path, champion=champion)
    bake(bench, first)
    bench.report(first, [NG] * 40)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.ERROR
    assert first.running[PRODUCT] == champion


def test_what_people_keep_to_themselves_does_not_begin_by_itself(bench: Bench, tmp_path: Path) -> None:
    _, champion = line(bench, tmp_path, "st-1")
    set_policy(bench, RolloutPlan(), is_automatic=False)
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(5)
    assert bench.rollout().package_id == champion
    bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now())
    bench.tick(2)
    assert bench.rollout().package_id == candidate


def test_a_freeze_holds_rollout_and_catching_up_but_no_station_without_a_package(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    freeze_id = freeze(bench, hours=48, site="plant")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(5)
    assert first.running[PRODUCT] == champion
    assert "frozen until" in bench.rollout().machine
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    late = bench.add_station("st-9")
    bench.tick(2)
    assert late.running == {PRODUCT: champion}
    with bench.database.begin() as session:
        session.get_one(FreezeRow, freeze_id).lifted_at = bench.clock.now()
    bench.rollouts.start(candidate, [], 2, "again", bench.clock.now())
    bench.tick(2)
    assert first.running[PRODUCT] == candidate


def test_a_freeze_of_another_site_holds_nobody(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    freeze(bench, hours=48, site="elsewhere")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    assert first.running[PRODUCT] == candidate


def test_an_abort_goes_back_in_the_middle_of_a_freeze(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    assert first.running[PRODUCT] == candidate
    freeze(bench, hours=48)
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    bench.tick()
    assert first.running[PRODUCT] == champion


def test_stations_are_touched_in_their_window_alone(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    opens = bench.clock.now() + timedelta(hours=2)
    window = MaintenanceWindow(opens=f"{opens:%H:%M}", closes=f"{opens + timedelta(hours=1):%H:%M}")
    set_policy(bench, RolloutPlan(windows=(window,)))
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(3)
    assert first.running[PRODUCT] == champion
    assert f"the next opens at {opens:%Y-%m-%d %H:%M} UTC" in bench.rollout().machine
    bench.tick(5, seconds=1_800)
    assert first.running[PRODUCT] == candidate


def test_a_plan_that_leaves_stations_out_leaves_the_champion_alone(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    with bench.database.begin() as session:
        row = station_rows.find(session, str(second.address))
        assert row is not None
        rollout_policies.set_labels(session, row.id or 0, {"camera": "12mp"})
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    candidate = bench.register(2, tmp_path, champion=champion)
    plan = RolloutPlan(target=TargetFilter(labels={"camera": ("5mp", "12mp")}))
    bench.rollouts.start(candidate, [], None, "a trial", bench.clock.now(), plan=plan)
    bake(bench, second)
    bench.tick(5)
    assert bench.rollout().state is RolloutState.FINISHED
    assert (first.running[PRODUCT], second.running[PRODUCT]) == (champion, candidate)
    assert bench.champion() == champion


def test_stations_named_one_by_one_are_reached_whatever_the_policy_means(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    set_policy(bench, RolloutPlan(target=TargetFilter(sites=("elsewhere",))), is_automatic=False)
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(candidate, [str(first.address)], None, "by hand", bench.clock.now())
    bench.tick(2)
    assert first.running[PRODUCT] == candidate


def test_a_station_cut_off_in_mid_rollout_is_waited_for_and_finishes_it_when_it_is_back(
    bench: Bench, tmp_path: Path
) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    bake(bench, first)
    # The link goes just after the second one was told.
    bench.stations.pop(str(second.address))
    bench.tick(6, seconds=60)
    assert bench.rollout().state is RolloutState.RUNNING
    assert "AWAY" in bench.rollout().machine
    assert "nothing heard of the station" in bench.rollout().machine
    bench.tick(20, seconds=3_600)
    assert (bench.rollout().state, bench.champion()) == (RolloutState.RUNNING, champion)
    bench.stations[str(second.address)] = second
    bench.heartbeat(second)
    bench.tick(2)
    bench.say(second, PackageState.ACTIVE)
    bake(bench, second)
    bench.tick(2)
    assert (bench.rollout().state, bench.champion()) == (RolloutState.FINISHED, candidate)


def test_a_station_set_aside_goes_back_and_the_last_of_its_wave_is_not(bench: Bench, tmp_path: Path) -> None:
    (first, second, third), champion = line(bench, tmp_path, "st-1", "st-2", "st-3")
    candidate = bench.register(2, tmp_path, champion=champion)
    bake(bench, first)
    assert second.running[PRODUCT] == candidate
    rollout_id = bench.rollout().id or 0
    with pytest.raises(ConflictError, match="expected station plant/line-1/st-7 to be under way"):
        bench.rollouts.set_aside(rollout_id, "plant/line-1/st-7", "anna", bench.clock.now())
    bench.rollouts.set_aside(rollout_id, str(second.address), "anna", bench.clock.now())
    bench.answer()
    assert second.running[PRODUCT] == champion
    with pytest.raises(ConflictError, match="under way"):
        bench.rollouts.set_aside(rollout_id, str(second.address), "anna", bench.clock.now())
    # Nobody but stations that were set aside is no success, and what to do about it is a person's to say.
    with pytest.raises(ConflictError, match="it is the last one; a wave that nobody shows"):
        bench.rollouts.set_aside(rollout_id, str(third.address), "anna", bench.clock.now())
    bench.tick(3)
    assert (bench.rollout().state, third.running[PRODUCT]) == (RolloutState.RUNNING, candidate)


def test_a_wave_goes_on_without_a_station_that_was_set_aside(bench: Bench, tmp_path: Path) -> None:
    (first, second, third), champion = line(bench, tmp_path, "st-1", "st-2", "st-3")
    candidate = bench.register(2, tmp_path, champion=champion)
    bake(bench, first)
    bench.rollouts.set_aside(bench.rollout().id or 0, str(second.address), "anna", bench.clock.now())
    bake(bench, third)
    bench.tick(3)
    assert (bench.rollout().state, bench.champion()) == (RolloutState.FINISHED, candidate)
    assert second.running[PRODUCT] == candidate, "it caught up"


def test_each_step_leaves_what_it_rested_on(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bake(bench, first)
    bench.report(second, [OK, *[NO_DECISION] * 12])
    bench.tick(2)
    steps = events(bench)
    assert [line for step in steps for line in step.lines] == _history(bench)
    canary, wave = str(first.address), str(second.address)
    done = next(step for step in steps if step.evidence["stations"].get(canary, {}).get("after") == "DONE")
    assert (done.evidence["stations"][canary]["before"], done.evidence["stations"][canary]["seen"]["judged"]) == (
        "BAKING",
        20,
    )
    erred = steps[-1].evidence
    assert erred["state"] == ["RUNNING", "ERROR"]
    assert erred["stations"][wave]["after"] == "ERRED"
    assert erred["stations"][wave]["seen"]["no_decision"] == 12
    assert erred["stations"][canary]["after"] == "ROLLED_BACK"


def test_exposure_counts_what_the_bad_package_judged_and_where_those_parts_are(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.report(first, [OK] * 7 + [NG] * 30)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.ERROR
    # Back on the champion: these parts are none of the rollout's.
    bench.report(first, [OK] * 5)
    with bench.database.read() as session:
        row = session.get_one(RolloutRow, bench.rollout().id)
        (exposed,) = exposure_of(session, row)
        parts = list(quarantine_of(session, row))
    assert (exposed.station, exposed.verdicts) == (str(first.address), {OK: 7, NG: 30})
    assert [part.part_id for part in parts] == [f"st-1-{number}" for number in range(101, 108)]
    assert {part.station for part in parts} == {str(first.address)}


def test_a_second_rollout_of_the_same_package_counts_its_own_parts_alone(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    candidate = bench.register(2, tmp_path, champion=champion)
    for count in (6, 9):
        bench.rollouts.start(candidate, [], None, "a trial", bench.clock.now())
        bench.tick(2)
        bench.report(first, [OK] * count)
        bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
        bench.tick(2)
        with bench.database.read() as session:
            (exposed,) = exposure_of(session, bench.rollout())
        assert exposed.verdicts == {OK: count}


def test_a_wave_bakes_by_its_own_plan(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    canary = replace(LADDER[0], bake_parts=50)
    set_policy(bench, RolloutPlan(waves=(canary, WavePlan(WaveScope.ALL))))
    candidate = bench.register(2, tmp_path, champion=champion)
    bake(bench, first)
    assert second.running[PRODUCT] == champion
    bake(bench, first)
    assert second.running[PRODUCT] == champion
    bake(bench, first)
    assert second.running[PRODUCT] == candidate


def _history(bench: Bench) -> list[str]:
    return list(state_of(bench.rollout()).history)


@pytest.mark.parametrize(
    "plan",
    [
        RolloutPlan(target=TargetFilter(sites=("atlantis",))),
        RolloutPlan(waves=(WavePlan(WaveScope.LINE),)),
        RolloutPlan(target=TargetFilter(labels={"camera": ("5mp",)})),
    ],
    ids=["site", "wave", "label"],
)
def test_plan_that_takes_no_station_that_there_is_is_refused_and_holds_nothing(
    bench: Bench, tmp_path: Path, plan: RolloutPlan
) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    before = bench.rollout().id
    with pytest.raises(ConflictError, match=f"takes none of {first.address}; a wave of ALL takes the rest"):
        bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now(), plan=plan)
    assert bench.rollout().id == before
    assert bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now()).rollout_id != before


def test_rollout_whose_plan_takes_nobody_says_so_and_not_that_there_is_nobody(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now())
    with bench.database.begin() as session:
        row = session.get_one(RolloutRow, bench.rollout().id)
        row.plan = rollout_policies.plan_text(RolloutPlan(target=TargetFilter(lines=("plant/line-7",))))
        session.add(row)
    bench.tick(2)
    assert f"takes none of {first.address}" in bench.rollout().machine
    assert "has been heard of (real" not in bench.rollout().machine


def test_same_wish_again_is_the_rollout_under_way_and_another_one_is_refused(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    under_way = bench.rollout().id
    now = bench.clock.now()
    assert bench.rollouts.start(candidate, [], None, "again", now) == Begun(under_way or 0, is_new=False)
    for wish, said in (
        ({"stations": [str(first.address)], "canary": None}, "stations"),
        ({"stations": [], "canary": 2}, "canary"),
        ({"stations": [], "canary": None, "plan": RolloutPlan(waves=(WavePlan(WaveScope.ALL),))}, "plan"),
    ):
        with pytest.raises(ConflictError, match=f"is under way, begun with other {said} "):
            bench.rollouts.start(candidate, reason="again", now=now, **wish)


def test_champion_never_stands_beside_itself(bench: Bench, tmp_path: Path) -> None:
    _, champion = line(bench, tmp_path, "st-1", "st-2")
    waves = (WavePlan(WaveScope.COUNT, 1, shadow=ShadowPlan()), WavePlan(WaveScope.ALL))
    bench.rollouts.start(champion, [], None, "to those that lack it", bench.clock.now(), plan=RolloutPlan(waves=waves))
    assert [wave.shadow for wave in plan_of(bench.rollout()).waves] == [None, None]
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(candidate, [], None, "new", bench.clock.now(), plan=RolloutPlan(waves=waves))
    assert [wave.shadow for wave in plan_of(bench.rollout()).waves] == [ShadowPlan(), None]

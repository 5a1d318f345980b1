# SPDX-License-Identifier: Apache-2.0
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from central.errors import ConflictError, NotFoundError
from central.services.alarms.rows import Signal, raise_alarm
from central.services.rollouts.assigning import Assigner
from central.services.rollouts.beginning import Begun
from central.settings import RolloutSettings
from central.store.learning_tables import RolloutRow
from central.store.repositories import stations as station_rows
from central.store.tables import Station
from contracts.vocabulary import AlarmKind, AlarmState, PackageState, RefusalReason, RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line

OK, NG, NO_DECISION = Verdict.OK, Verdict.NG, Verdict.NO_DECISION


def row_of(bench: Bench, station: FakeStation) -> Station:
    with bench.database.read() as session:
        found = station_rows.find(session, str(station.address))
    assert found is not None
    return found


def test_first_rollout_waits_for_a_station_and_says_so(bench: Bench, tmp_path: Path) -> None:
    bench.register(1, tmp_path, champion=None)
    bench.tick(3)
    assert bench.rollout().state is RolloutState.READY
    assert "no station that it is for has been heard of" in bench.rollout().machine
    station = bench.add_station("st-1")
    bench.tick(4)
    assert bench.rollout().state is RolloutState.FINISHED
    assert station.running == {PRODUCT: bench.champion()}


def test_canary_that_bakes_opens_the_next_wave(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    assert (first.running[PRODUCT], second.running[PRODUCT]) == (candidate, champion)
    bench.report(first, [OK] * 19)
    bench.tick(3)
    assert second.running[PRODUCT] == champion
    bench.report(first, [OK])
    bench.tick(2)
    assert second.running[PRODUCT] == candidate
    bench.report(second, [OK] * 20)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.FINISHED
    assert bench.champion() == candidate


@pytest.mark.parametrize(
    ("verdicts", "why"),
    [
        ([NO_DECISION] * 12, "without a decision"),
        ([NG] * 30, "diverted"),
        ([Verdict.REVIEW] * 30, "diverted"),
    ],
)
def test_canary_that_errs_goes_back_by_a_higher_assignment_and_the_rest_is_never_touched(
    bench: Bench, tmp_path: Path, verdicts: list[Verdict], why: str
) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    assert first.running[PRODUCT] == candidate
    bench.report(first, [OK, *verdicts])
    bench.tick(3)
    rollout = bench.rollout()
    assert rollout.state is RolloutState.ERROR
    assert why in rollout.machine
    assert first.running[PRODUCT] == champion
    assert [item.number for item in first.assignments] == [1, 2, 3]
    assert len(second.assignments) == 1
    assert bench.champion() == champion
    bench.tick(5)
    assert bench.rollout().id == rollout.id


def test_canary_that_refuses_the_package_ends_the_rollout(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    first.installs = False
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.say(first, PackageState.REFUSED, RefusalReason.SELF_TEST)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.ERROR
    assert "SELF_TEST" in bench.rollout().machine


def test_a_package_out_of_reach_is_retried_by_the_station_and_no_refusal(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    first.installs = False
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.say(first, PackageState.REFUSED, RefusalReason.UNREACHABLE)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.RUNNING


@pytest.mark.parametrize("reason", [RefusalReason.EXPIRED, RefusalReason.DISK, RefusalReason.UNREADABLE])
def test_a_refused_assignment_ends_the_rollout(bench: Bench, tmp_path: Path, reason: RefusalReason) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    first.installs = False
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.say(first, PackageState.VERIFIED, refused=reason)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.ERROR
    assert reason in bench.rollout().machine


@pytest.mark.parametrize(
    "reason",
    [RefusalReason.SIGNATURE, RefusalReason.ROLLBACK, RefusalReason.TOO_LARGE, RefusalReason.WRONG_STATION],
)
def test_a_stray_message_to_a_station_ends_no_rollout(bench: Bench, tmp_path: Path, reason: RefusalReason) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.say(first, PackageState.ACTIVE, refused=reason)
    bench.report(first, [OK] * 20)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.RUNNING
    assert bench.stations[str(first.address)].running[PRODUCT] == candidate


def test_an_answer_to_an_earlier_assignment_is_no_answer(bench: Bench, tmp_path: Path) -> None:
    """The retained status of yesterday says ACTIVE of a package that has the same id today."""
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    first.installs = False
    bench.register(2, tmp_path, champion=champion)
    bench.tick(3)
    assert bench.rollout().state is RolloutState.RUNNING
    bench.tick(1, seconds=RolloutSettings().install_timeout_s + 5)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.ERROR
    assert len(second.assignments) == 1


def test_a_rollout_goes_on_through_a_restart_at_every_step(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    for _ in range(3):
        bench.build()
        bench.tick()
    bench.report(first, [OK] * 20)
    for _ in range(3):
        bench.build()
        bench.tick()
    bench.report(second, [OK] * 20)
    for _ in range(3):
        bench.build()
        bench.tick()
    assert bench.rollout().state is RolloutState.FINISHED
    assert (first.running[PRODUCT], second.running[PRODUCT]) == (candidate, candidate)
    assert [len(station.assignments) for station in (first, second)] == [2, 2]


@pytest.mark.parametrize("why", ["restart of central", "broker away"])
def test_no_good_package_goes_back_because_central_could_not_hear(bench: Bench, tmp_path: Path, why: str) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(3)
    assert bench.rollout().state is RolloutState.RUNNING
    if why == "broker away":
        bench.is_broker_there = False
        bench.later(seconds=200)
        bench.rollouts.tick(bench.clock.now())
        bench.is_broker_there = True
    else:
        bench.later(seconds=200)
        bench.build()
    bench.rollouts.tick(bench.clock.now())
    assert bench.rollout().state is RolloutState.RUNNING
    bench.report(first, [OK] * 20)
    bench.tick(3)
    assert bench.rollout().state is RolloutState.FINISHED
    assert first.running[PRODUCT] == candidate


def test_a_station_that_falls_silent_while_central_hears_holds_the_rollout_up(bench: Bench, tmp_path: Path) -> None:
    _stations, champion = line(bench, tmp_path, "st-1")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(3)
    for _ in range(2):
        bench.later(seconds=130)
        bench.rollouts.tick(bench.clock.now())
    assert bench.rollout().state is RolloutState.RUNNING
    assert "nothing heard of the station" in bench.rollout().machine
    assert bench.champion() == champion


def test_an_assignment_that_was_not_sent_before_a_kill_is_sent_after_it(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.publisher.is_full = True
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    assert first.running[PRODUCT] == champion
    bench.publisher.is_full = False
    bench.build()
    bench.tick()
    assert first.running[PRODUCT] == candidate


def test_everything_in_force_is_published_again_after_a_reconnect(bench: Bench, tmp_path: Path) -> None:
    line(bench, tmp_path, "st-1", "st-2")
    before = len(bench.publisher.sent)
    bench.tick()
    assert len(bench.publisher.sent) == before
    bench.rollouts.publish_all_again()
    bench.tick()
    assert len(bench.publisher.sent) == before + 2


def test_pause_resume_and_abort_by_a_person(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    rollout_id = bench.rollout().id or 0
    bench.rollouts.pause(rollout_id, "anna", bench.clock.now())
    with pytest.raises(ConflictError):
        bench.rollouts.pause(rollout_id, "anna", bench.clock.now())
    bench.report(first, [OK] * 30)
    bench.tick(3)
    assert len(second.assignments) == 1
    bench.rollouts.resume(rollout_id, "anna", bench.clock.now())
    bench.rollouts.abort(rollout_id, "anna", bench.clock.now())
    bench.tick(2)
    assert bench.rollout().state is RolloutState.STOPPED
    assert first.running[PRODUCT] == champion
    with pytest.raises(ConflictError):
        bench.rollouts.abort(rollout_id, "anna", bench.clock.now())
    with pytest.raises(NotFoundError):
        bench.rollouts.abort(99, "anna", bench.clock.now())


def test_a_first_package_that_is_taken_back_leaves_the_station_without_one(bench: Bench, tmp_path: Path) -> None:
    station = bench.add_station("st-1", installs=False)
    bench.register(1, tmp_path, champion=None)
    bench.tick(2)
    station.installs = True
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    bench.tick()
    assert station.running == {}
    assert bench.champion() is None


def test_a_rollout_to_some_stations_leaves_champion_and_others_alone(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(candidate, [str(second.address)], 1, "a trial", bench.clock.now())
    bench.tick(2)
    bench.report(second, [OK] * 20)
    bench.tick(5)
    assert bench.rollout().state is RolloutState.FINISHED
    assert (first.running[PRODUCT], second.running[PRODUCT]) == (champion, candidate)
    assert bench.champion() == champion


def test_a_rollout_to_some_stations_leaves_the_alarm_behind_it_open(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    candidate = bench.register(2, tmp_path, champion=champion)
    with bench.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "made up", "none", is_simulated=True, product=PRODUCT)
        alarm_id = raise_alarm(session, signal, bench.clock.now()).id

    def roll_out(stations: list[str], *baking: FakeStation) -> None:
        rollout_id = bench.rollouts.start(candidate, stations, 2, "a mend", bench.clock.now()).rollout_id
        with bench.database.begin() as session:
            session.get_one(RolloutRow, rollout_id).alarm_id = alarm_id
        bench.tick(2)
        for station in baking:
            bench.report(station, [OK] * 20)
        bench.tick(3)
        assert bench.rollout().state is RolloutState.FINISHED

    roll_out([str(second.address)], second)
    assert [alarm.state for alarm in bench.alarms()] == [AlarmState.RAISED]
    roll_out([], first, second)
    assert bench.champion() == candidate
    assert [alarm.state for alarm in bench.alarms()] == [AlarmState.CLOSED]


def test_going_back_to_an_older_package_is_a_new_rollout_with_higher_numbers(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.report(first, [OK] * 20)
    bench.tick(3)
    assert bench.champion() != champion
    bench.rollouts.start(champion, [], 1, "back to the old one", bench.clock.now())
    bench.tick(2)
    bench.report(first, [OK] * 20)
    bench.tick(3)
    assert bench.champion() == champion
    assert [item.number for item in first.assignments] == [1, 2, 3]


def test_what_the_gate_did_not_promote_cannot_be_rolled_out(bench: Bench, tmp_path: Path) -> None:
    line(bench, tmp_path, "st-1")
    with pytest.raises(NotFoundError, match="no such package"):
        bench.rollouts.start("c" * 64, [], 1, "by hand", bench.clock.now())
    with pytest.raises(NotFoundError, match="never heard of"):
        bench.rollouts.start(bench.champion() or "", ["plant/line-1/st-7"], 1, "by hand", bench.clock.now())


def test_two_rollouts_of_a_product_are_never_open_together(bench: Bench, tmp_path: Path) -> None:
    _, champion = line(bench, tmp_path, "st-1")
    bench.register(2, tmp_path, champion=champion)
    bench.tick()
    with pytest.raises(ConflictError, match="is under way"):
        bench.rollouts.start(champion, [], 1, "by hand", bench.clock.now())


def test_a_package_on_its_way_is_not_started_a_second_time(bench: Bench, tmp_path: Path) -> None:
    _, champion = line(bench, tmp_path, "st-1")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick()
    under_way = bench.rollout().id
    assert bench.rollouts.start(candidate, [], 1, "by hand", bench.clock.now()) == Begun(under_way or 0, is_new=False)


def test_a_package_compared_with_a_champion_of_yesterday_is_not_rolled_out_by_itself(
    bench: Bench, tmp_path: Path
) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.register(2, tmp_path, champion="e" * 64)
    bench.tick(3)
    assert first.running[PRODUCT] == champion


def test_assignments_are_renewed_before_they_expire(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.later(days=19)
    bench.tick()
    assert len(first.assignments) == 1
    bench.later(days=2)
    bench.tick(2)
    assert [item.number for item in first.assignments] == [1, 2]
    assert first.assignments[-1].packages == first.assignments[0].packages
    assert first.assignments[-1].expires_at - bench.clock.now() > timedelta(days=29)
    assert first.running[PRODUCT] == champion


def test_assignments_in_force_are_signed_anew_once_when_the_key_was_exchanged(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.assignment_key = CryptoSigner.generate_ed25519()
    bench.build()
    bench.tick(4)
    assert [item.number for item in first.assignments] == [1, 2]
    assert first.assignments[-1].packages == first.assignments[0].packages
    assert first.running[PRODUCT] == champion


def test_numbers_rise_above_what_a_station_has_seen_even_after_a_restored_backup(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    first.assignments.append(first.assignments[0].model_copy(update={"number": 40}))
    bench.say(first, PackageState.ACTIVE)
    assigner = Assigner(bench.database, bench.publisher, bench.assignment_key, 30.0)
    with bench.database.begin() as session:
        station = station_rows.find(session, str(first.address))
        assert station is not None
        # On from the clock, which is above all that was given since the backup.
        above = int(bench.clock.now().timestamp())
        assert assigner.assign(session, station, {PRODUCT: champion}, "test", bench.clock.now()) == above
    assert row_of(bench, first).assignment_number == above


def test_a_real_package_never_goes_to_a_simulated_station(bench: Bench, tmp_path: Path) -> None:
    station = bench.add_station("st-1")
    package_id = bench.register(1, tmp_path, champion=None, is_simulated=False)
    bench.tick(3)
    assert bench.rollout().package_id == package_id
    assert bench.rollout().state is RolloutState.READY
    assert station.assignments == []

# SPDX-License-Identifier: Apache-2.0
from datetime import timedelta

import numpy as np
import pytest
from sqlmodel import col, select

from central.api.chart_views import draw_charts
from central.quality.confidence_sequence import ConfidenceSequence
from central.services.alarms.rows import close, find_alarm
from central.services.watches.blocks import digits_apart
from central.store.learning_tables import ChartBlock
from central.store.tables import Audit
from contracts.reports import ImageMeasures
from contracts.vocabulary import AlarmKind, AlarmState, Judgement, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation

OK, NG = Verdict.OK, Verdict.NG


def champion_station(bench: Bench, folder_number: int = 1) -> FakeStation:
    """A station running a champion that no training made; quick."""
    station = bench.add_station("st-1")
    bench.register(folder_number, bench.trainings_dir.parent, champion=None)
    bench.tick(4)
    assert bench.champion() is not None
    return station


def kinds(bench: Bench, state: AlarmState = AlarmState.RAISED) -> list[AlarmKind]:
    return [alarm.kind for alarm in bench.alarms() if alarm.state is state]


def test_escapes_alarm_says_figures_interval_and_remedy(bench: Bench) -> None:
    station = champion_station(bench)
    bench.audit(bench.report(station, [OK] * 30), Judgement.GOOD)
    bench.audit(bench.report(station, [OK] * 4), Judgement.DEFECTIVE)
    bench.report(station, [OK] * 11)
    bench.tick()
    (alarm,) = bench.alarms()
    assert alarm.kind is AlarmKind.ESCAPES
    assert "4 of 34 audited accepted parts were defective" in alarm.message
    assert alarm.raised_at_inspection_id == 45
    assert alarm.evidence["signal_at_inspection_id"] <= 34
    assert 0 < alarm.evidence["escape_share_low"] < alarm.evidence["escape_share"] < alarm.evidence["escape_share_high"]
    assert alarm.remedy


def test_audits_drawn_for_their_risk_raise_no_alarm(bench: Bench) -> None:
    """They are defective more often than accepted parts are: counted alike, every draw would look like escapes."""
    station = champion_station(bench)
    bench.audit(bench.report(station, [OK] * 20), Judgement.GOOD)
    risky = bench.report(station, [OK] * 6)
    bench.audit(risky, Judgement.DEFECTIVE, probability=0.9)
    with bench.database.begin() as session:
        for audit in session.exec(select(Audit).where(col(Audit.inspection_id).in_(risky))).all():
            audit.is_floor = False
            session.add(audit)
    bench.tick(2)
    assert bench.alarms() == []


def test_what_one_inspector_alone_called_defective_raises_no_alarm_until_it_is_settled(bench: Bench) -> None:
    station = champion_station(bench)
    bench.audit(bench.report(station, [OK] * 20), Judgement.GOOD)
    doubtful = bench.report(station, [OK] * 6)
    bench.audit(doubtful, Judgement.DEFECTIVE)
    for outcome, raised in ((None, []), (Judgement.DEFECTIVE, [AlarmKind.ESCAPES])):
        with bench.database.begin() as session:
            for audit in session.exec(select(Audit).where(col(Audit.inspection_id).in_(doubtful))).all():
                audit.outcome = outcome
                session.add(audit)
        bench.tick(2)
        assert [alarm.kind for alarm in bench.alarms()] == raised


def test_escapes_that_nobody_confirms_for_hours_raise_the_alarm_all_the_same(bench: Bench) -> None:
    """A plant with one inspector, or whose second one is away, must not overlook what the first saw."""
    station = champion_station(bench)
    bench.audit(bench.report(station, [OK] * 20), Judgement.GOOD)
    doubtful = bench.report(station, [OK] * 6)
    bench.audit(doubtful, Judgement.DEFECTIVE)
    for hours, raised in ((3.9, 0), (4.1, 1)):
        with bench.database.begin() as session:
            for audit in session.exec(select(Audit).where(col(Audit.inspection_id).in_(doubtful))).all():
                audit.outcome, audit.settled_at = None, None
                audit.judged_at = bench.clock.now() - timedelta(hours=hours)
                session.add(audit)
        bench.tick(2)
        assert [each.kind for each in bench.alarms()] == [AlarmKind.ESCAPES] * raised
    (alarm,) = bench.alarms()
    assert (alarm.evidence["audits_unconfirmed"], alarm.evidence["audits_unsettled"]) == (6, 0)
    assert "6 of them were called defective by one inspector" in alarm.message


def test_what_an_alarm_says_of_the_share_holds_at_every_look(bench: Bench) -> None:
    station = champion_station(bench)
    bench.audit(bench.report(station, [OK] * 30), Judgement.GOOD)
    bench.audit(bench.report(station, [OK] * 4), Judgement.DEFECTIVE)
    bench.tick()
    (alarm,) = bench.alarms()
    said = ConfidenceSequence().update_many(np.arange(34) >= 30)
    assert f"({said.low:.1%} to {said.high:.1%} of all accepted" in alarm.message
    assert alarm.evidence["audits_of_equal_chance"] == 34
    # Wider than what one look would say.
    assert alarm.evidence["escape_share_watched_low"] < alarm.evidence["escape_share_low"]


def test_the_same_signal_folds_into_the_open_alarm(bench: Bench) -> None:
    station = champion_station(bench)
    bench.audit(bench.report(station, [OK] * 5), Judgement.DEFECTIVE)
    bench.tick(3)
    (alarm,) = bench.alarms()
    assert alarm.repeats == 2


def test_outcomes_before_an_alarm_was_closed_do_not_raise_it_again(bench: Bench) -> None:
    station = champion_station(bench)
    bench.audit(bench.report(station, [OK] * 5), Judgement.DEFECTIVE)
    bench.tick()
    with bench.database.begin() as session:
        close(find_alarm(session, 1), "anna", bench.clock.now())
    bench.tick(2)
    assert kinds(bench) == []
    bench.later(seconds=5)
    bench.audit(bench.report(station, [OK] * 5), Judgement.DEFECTIVE)
    bench.tick()
    assert kinds(bench) == [AlarmKind.ESCAPES]


def test_outcomes_of_an_earlier_package_are_not_pooled(bench: Bench) -> None:
    station = champion_station(bench)
    old = bench.report(station, [OK] * 5, package_id="b" * 64)
    bench.audit(old, Judgement.DEFECTIVE)
    bench.tick(2)
    assert bench.alarms() == []


def test_rejected_parts_found_defective_are_no_escapes(bench: Bench) -> None:
    station = champion_station(bench)
    bench.audit(bench.report(station, [NG] * 6), Judgement.DEFECTIVE)
    bench.tick(2)
    assert bench.alarms() == []


def test_a_few_defects_among_many_audits_raise_nothing(bench: Bench) -> None:
    station = champion_station(bench)
    numbers = bench.report(station, [OK] * 120)
    bench.audit(numbers[::2], Judgement.GOOD)
    bench.audit(numbers[1:2], Judgement.DEFECTIVE)
    bench.tick(2)
    assert bench.alarms() == []


def test_a_reject_rate_outside_its_limits_alarms_and_a_usual_one_does_not(bench: Bench) -> None:
    station = champion_station(bench)
    bench.report(station, ([OK] * 9 + [NG]) * 5)
    bench.report(station, ([OK] * 8 + [NG] * 2) * 2)
    bench.tick()
    assert bench.alarms() == []
    bench.report(station, [NG] * 8 + [OK] * 2)
    bench.tick()
    assert AlarmKind.REJECT_RATE in kinds(bench)
    alarm = next(alarm for alarm in bench.alarms() if alarm.kind is AlarmKind.REJECT_RATE)
    assert "8 of 10" in alarm.message
    assert "usual is 5 of 50" in alarm.message


def test_an_alarm_that_could_not_be_stored_is_raised_by_the_next_tick(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = champion_station(bench)
    bench.report(station, ([OK] * 9 + [NG]) * 5)
    bench.watching.tick(bench.clock.now())
    bench.report(station, [NG] * 8 + [OK] * 2)

    def locked(*_: object) -> None:
        raise RuntimeError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr("central.services.watches.watching.raise_alarm", locked)
        with pytest.raises(RuntimeError, match="locked"):
            bench.watching.tick(bench.clock.now())
    assert kinds(bench) == []
    bench.watching.tick(bench.clock.now())
    assert AlarmKind.REJECT_RATE in kinds(bench)


def brightness(bench: Bench, station: FakeStation, level: float, parts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(parts // 10):
        image = ImageMeasures(brightness=level + float(rng.normal(0, 1)), contrast=30.0, blur=400.0, colour=2.0)
        bench.report(station, [OK] * 10, image=image)


def test_a_lamp_that_fades_alarms_as_an_image_shift(bench: Bench) -> None:
    station = champion_station(bench)
    brightness(bench, station, 120.0, 80, seed=1)
    bench.tick()
    assert bench.alarms() == []
    brightness(bench, station, 112.0, 40, seed=2)
    bench.tick()
    assert kinds(bench) == [AlarmKind.IMAGE_SHIFT]
    assert "brightness" in bench.alarms()[0].message


@pytest.mark.parametrize(("value", "digits"), [(2.0, 2), (1.345, 3), (1.3401, 4), (1.34, 6)])
def test_a_value_just_past_its_limit_does_not_read_as_equal_to_it(value: float, digits: int) -> None:
    assert digits_apart(value, 1.25, 1.34) == digits


def test_blocks_go_on_where_they_stopped_after_a_restart(bench: Bench) -> None:
    station = champion_station(bench)
    bench.report(station, [OK] * 25)
    bench.tick()
    bench.build()
    bench.report(station, [OK] * 30)
    bench.tick()
    with bench.database.read() as session:
        charts = draw_charts(session, bench.watch_settings, None, bench.clock.now())
    chart = next(chart for chart in charts if chart.name == "reject-rate")
    assert [point.of for point in chart.points] == [10] * 5
    assert {chart.name for chart in charts} == {"reject-rate", "brightness", "log-score", "escapes"}


def test_charts_of_a_large_fleet_are_looked_at_in_turn_and_none_is_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = champion_station(bench)
    fleet = [first, *(bench.add_station(f"st-{number}") for number in range(2, 6))]
    for station in fleet:
        station.running |= first.running
    monkeypatch.setattr("central.services.watches.watching._MOST_STREAMS_A_TICK", 2)
    looked = []
    for _ in range(2):
        for station in fleet:
            bench.report(station, [OK] * 10)
        for _ in range(3):
            bench.watching.tick(bench.clock.now())
            with bench.database.read() as session:
                looked.append(len(session.exec(select(ChartBlock)).all()))
    assert looked == [2, 4, 5, 7, 9, 10]


def test_a_silent_station_alarms_and_the_alarm_closes_when_it_is_heard_again(bench: Bench) -> None:
    station = champion_station(bench)
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == [AlarmKind.STATION_SILENT]
    bench.heartbeat(station)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == []
    assert kinds(bench, AlarmState.CLOSED) == [AlarmKind.STATION_SILENT]


def test_silence_counts_from_centrals_own_start(bench: Bench) -> None:
    station = champion_station(bench)
    bench.heartbeat(station, is_connected=False)
    bench.later(seconds=3600)
    bench.build()
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == []
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == [AlarmKind.STATION_SILENT]


def test_no_station_is_accused_while_the_broker_is_away_nor_right_after(bench: Bench) -> None:
    champion_station(bench)
    bench.watching.tick(bench.clock.now())
    bench.is_broker_there = False
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == []
    bench.is_broker_there = True
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == []
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == [AlarmKind.STATION_SILENT]


@pytest.mark.parametrize("why", ["restart of central", "broker away"])
def test_only_a_word_of_the_station_closes_its_silence(bench: Bench, why: str) -> None:
    station = champion_station(bench)
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    if why == "broker away":
        bench.is_broker_there = False
        bench.watching.tick(bench.clock.now())
        bench.is_broker_there = True
    else:
        bench.build()
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == [AlarmKind.STATION_SILENT]
    bench.heartbeat(station)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == []


@pytest.mark.parametrize("last_word", ["heartbeat", "goodbye"])
def test_what_the_broker_repeats_at_a_reconnect_is_no_word_of_the_station(bench: Bench, last_word: str) -> None:
    station = champion_station(bench)
    said_at = bench.clock.now()
    bench.heartbeat(station, at=said_at)
    if last_word == "goodbye":
        bench.heartbeat(station, at=said_at, is_connected=False)
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    (alarm,) = bench.alarms()
    bench.is_broker_there = False
    bench.watching.tick(bench.clock.now())
    bench.is_broker_there = True
    bench.later(seconds=1)
    bench.heartbeat(station, at=said_at, is_connected=last_word == "heartbeat", is_retained=True)
    for seconds in (0, 40):
        bench.later(seconds=seconds)
        bench.watching.tick(bench.clock.now())
        assert [each.id for each in bench.alarms()] == [alarm.id]
    assert bench.alarms()[0].evidence["last_heard_at"] == alarm.evidence["last_heard_at"]


def test_what_a_station_said_while_central_was_away_is_a_word_of_its_own(bench: Bench) -> None:
    station = champion_station(bench)
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    bench.build()
    bench.heartbeat(station, is_retained=True)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench, AlarmState.CLOSED) == [AlarmKind.STATION_SILENT]


def test_a_goodbye_from_before_central_listened_accuses_nobody_at_once(bench: Bench) -> None:
    station = champion_station(bench)
    bench.heartbeat(station)
    bench.later(seconds=3600)
    bench.build()
    bench.watching.tick(bench.clock.now())
    bench.heartbeat(station, is_connected=False, is_retained=True)
    bench.later(seconds=1)
    bench.watching.tick(bench.clock.now())
    assert bench.alarms() == []


def test_a_closed_alarm_of_a_station_that_was_taken_away_stays_closed_until_it_is_heard_again(bench: Bench) -> None:
    station = champion_station(bench)
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    with bench.database.begin() as session:
        close(find_alarm(session, 1), "anna", bench.clock.now())
    bench.build()
    for _ in range(3):
        bench.later(seconds=40)
        bench.watching.tick(bench.clock.now())
    assert kinds(bench) == []
    bench.heartbeat(station)
    bench.watching.tick(bench.clock.now())
    bench.later(seconds=40)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == [AlarmKind.STATION_SILENT]
    assert len(bench.alarms()) == 2


def test_a_last_will_makes_a_station_silent_at_once(bench: Bench) -> None:
    station = champion_station(bench)
    bench.heartbeat(station, is_connected=False)
    bench.watching.tick(bench.clock.now())
    assert kinds(bench) == [AlarmKind.STATION_SILENT]


def test_simulated_and_real_outcomes_never_mix(bench: Bench) -> None:
    station = champion_station(bench)
    real = bench.report(station, [OK] * 6, is_simulated=False)
    bench.audit(real, Judgement.DEFECTIVE)
    bench.tick(2)
    assert [alarm for alarm in bench.alarms() if alarm.product == PRODUCT and alarm.is_simulated] == []

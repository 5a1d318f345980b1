# SPDX-License-Identifier: Apache-2.0
"""What goes into an observation, and what may not: audits of another state, changes, stations far away."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from central.quality.cause import ChangeKind, Counts, Observation, ProductSeen
from central.quality.drift import Standing
from central.quality.novelty import NoveltyStanding
from central.services.watches.drift import learnt_as
from central.services.watches.novelty import NoveltyKey
from central.services.watches.observing import Question, observe
from central.store.database import Database
from central.store.repositories import causes, stations
from contracts.vocabulary import Verdict
from tests.central.services.causes_line import PACKAGE, STATIONS, CausesLine

OLD = "b" * 64


@pytest.fixture
def line(sqlite_database: Database) -> CausesLine:
    """Without monitors: what is counted and judged."""
    return CausesLine(sqlite_database, None)


def seen_since(line: CausesLine, since: datetime, dealt_with: dict[str, datetime] | None = None) -> Observation:
    with line.database.read() as session:
        question = Question(since, line.now, is_simulated=False, product="ring", dealt_with=dealt_with)
        return observe(session, question, lambda _, __: {})


def ring(seen: Observation) -> ProductSeen:
    return next(each for each in seen.products if each.product == "ring")


def test_rejects_are_counted_before_and_since(line: CausesLine) -> None:
    line.commit(600, {})
    since = line.now
    line.commit(240, {})
    streams = seen_since(line, since).streams
    assert {(each.station, each.product) for each in streams} == {(s, p) for s in STATIONS for p in ("ring", "board")}
    assert sum(each.rejects_before.of for each in streams) == 1_800
    assert sum(each.rejects_since.of for each in streams) == 720
    assert 0 < sum(each.rejects_before.count for each in streams) < 90
    assert all(each.shifts == {} for each in streams)


def test_audits_of_before_the_last_closed_alarm_are_no_measure_of_what_is_usual(line: CausesLine) -> None:
    line.commit(600, {})
    line.audit("ring", 200, 4)
    mended = line.now
    line.commit(600, {})
    line.audit("ring", 100, 0)
    since = line.now
    line.commit(240, {})
    line.audit("ring", 50, 5)
    unknowing, knowing = ring(seen_since(line, since)), ring(seen_since(line, since, {"ring": mended}))
    assert unknowing.before.escapes.estimate == pytest.approx(50 / 300)
    assert knowing.before.escapes.estimate == 0
    assert knowing.since.escapes.estimate == unknowing.since.escapes.estimate == pytest.approx(0.2)
    assert knowing.defective_labels == 10


@pytest.mark.parametrize("parts_since", [600, 8_000])
def test_audits_of_an_older_package_are_not_pooled_however_long_ago_it_went(line: CausesLine, parts_since: int) -> None:
    line.package = OLD
    line.commit(600, {})
    line.audit("ring", 200, 4)
    line.package = "a" * 64
    line.commit(parts_since, {})
    line.audit("ring", 100, 0)
    since = line.now
    line.commit(240, {})
    assert ring(seen_since(line, since)).before.escapes.estimate == 0


def test_class_that_was_first_named_shortly_before_the_onset_is_new(line: CausesLine) -> None:
    """Audits find an onset late: the first of a new kind is often taken for the state of before."""
    line.commit(600, {})
    line.audit("ring", 10, 10, "chatter")
    since = line.now
    line.commit(240, {})
    line.audit("ring", 50, 5, "chatter")
    seen = ring(seen_since(line, since))
    assert seen.new_classes == {"chatter": 11}
    assert seen.defective_labels == 11
    long_after = ring(seen_since(line, since + timedelta(minutes=7)))
    assert long_after.new_classes == {}


def test_package_put_in_force_is_told_for_each_stream_to_the_second(line: CausesLine) -> None:
    line.commit(617, {})
    assert line.now.second > 10, "a whole minute would not tell"
    changed = line.now
    line.package = OLD
    line.commit(240, {})
    changes = seen_since(line, changed).changes
    assert {(each.kind, each.name) for each in changes} == {(ChangeKind.PACKAGE, OLD[:12])}
    assert {(each.station, each.product) for each in changes} == {(s, p) for s in STATIONS for p in ("ring", "board")}
    assert min(each.at for each in changes) == pytest.approx(changed.timestamp(), abs=2)


def test_shifts_are_those_of_the_package_that_judges_now(line: CausesLine) -> None:
    line.commit(600, {})
    since = line.now
    line.package = OLD
    line.commit(240, {})
    course = np.zeros(20)

    def standing(size: float) -> dict[str, Standing]:
        return {"brightness": Standing(size, 120.0, 0.1, (course, course))}

    standings = {learnt_as("ring", "a" * 64): standing(9.0), learnt_as("ring", OLD): standing(1.0)}
    with line.database.read() as session:
        question = Question(since, line.now, is_simulated=False)
        seen = observe(session, question, lambda _, __: standings)
    shifts = {stream.product: stream.shifts for stream in seen.streams}
    assert shifts["ring"]["brightness"].size == 1.0
    assert shifts["board"] == {}, "of a product that no monitor tells of nothing is known"


def test_recipe_for_some_stations_is_a_change_at_each_of_them(line: CausesLine) -> None:
    line.commit(240, {})
    line.send_recipe(STATIONS[:2], "ring", 3)
    line.commit(240, {})
    changes = seen_since(line, line.now - timedelta(minutes=5)).changes
    assert [(each.kind, each.name, each.station, each.product) for each in changes] == [
        (ChangeKind.RECIPE, "version 3", station, "ring") for station in STATIONS[:2]
    ]


def test_rejected_parts_that_were_good_make_overkill(line: CausesLine) -> None:
    line.commit(3_000, {})
    line.audit("ring", 40, 2, verdict=Verdict.NG)
    seen = ring(seen_since(line, line.now - timedelta(hours=1)))
    assert seen.since.escapes.estimate is None
    assert seen.since.overkill.estimate == pytest.approx(0.5, abs=0.05)


def test_of_a_large_plant_the_alarms_line_is_looked_at_first(line: CausesLine) -> None:
    far = [f"plant/line-0/st-{number:02d}" for number in range(80)]
    with line.database.begin() as session:
        stations.ensure(session, far, line.now)
        around = causes.stations_around(session, STATIONS[1], None, line.now)
    assert len(around) == causes.MOST_STATIONS
    assert set(STATIONS) < set(around.values())
    assert next(iter(around.values())) == STATIONS[1]


def test_of_a_large_plant_stations_that_make_the_product_are_looked_at_first(line: CausesLine) -> None:
    line.commit(240, {})
    with line.database.begin() as session:
        stations.ensure(session, [f"plant/line-0/st-{number:02d}" for number in range(80)], line.now)
        around = causes.stations_around(session, None, "ring", line.now - timedelta(hours=1))
    assert set(list(around.values())[:3]) == set(STATIONS)


def test_simulated_parts_are_in_no_observation_of_real_ones(line: CausesLine) -> None:
    line.commit(240, {})
    with line.database.read() as session:
        seen = observe(
            session, Question(line.now - timedelta(minutes=5), line.now, is_simulated=True), lambda _, __: {}
        )
    assert seen.streams == ()
    assert seen.products == ()


def test_unusual_parts_are_counted_where_a_novelty_monitor_watches_the_package_in_use(line: CausesLine) -> None:
    line.commit(600, {})
    since = line.now
    line.commit(240, {})
    watched = NoveltyKey(line.ids[STATIONS[0]], is_simulated=False, product="ring", package_id=PACKAGE)
    asked = []

    def unusual_of(key: NoveltyKey, at: datetime) -> NoveltyStanding | None:
        asked.append(at)
        return NoveltyStanding(200, 20_000, 60, 1_000) if key == watched else None

    with line.database.read() as session:
        seen = observe(session, Question(since, line.now, is_simulated=False), lambda _, __: {}, unusual_of)
    told = {(each.station, each.product): (each.unusual_before, each.unusual_since) for each in seen.streams}
    assert told.pop((STATIONS[0], "ring")) == (Counts(200, 20_000), Counts(60, 1_000))
    assert set(told.values()) == {(Counts(0, 0), Counts(0, 0))}
    assert set(asked) == {since}

# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from central.settings import RolloutSettings
from central.store.rollout_tables import FreezeRow
from contracts.vocabulary import RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line

OK = Verdict.OK


@dataclass(frozen=True)
class OneAway:
    """Two stations with one champion, of which one has fallen silent."""

    bench: Bench
    first: FakeStation
    away: FakeStation
    champion: str

    def roll_out(self, number: int, folder: Path) -> str:
        """The next package becomes champion at the station that is there; returns its id."""
        candidate = self.bench.register(number, folder, champion=self.bench.champion())
        self.bench.tick(2)
        self.bench.report(self.first, [OK] * 20)
        self.bench.tick(3)
        assert self.bench.champion() == candidate
        return candidate

    def come_back(self) -> None:
        self.bench.stations[str(self.away.address)] = self.away
        self.bench.heartbeat(self.away)
        self.bench.tick(2)


@pytest.fixture(name="one_away")
def _one_away(bench: Bench, tmp_path: Path) -> OneAway:
    (first, away), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.stations.pop(str(away.address))
    bench.later(seconds=300)
    bench.heartbeat(first)
    return OneAway(bench, first, away, champion)


def test_a_station_that_comes_later_gets_the_champion(bench: Bench, tmp_path: Path) -> None:
    _, champion = line(bench, tmp_path, "st-1")
    late = bench.add_station("st-9")
    bench.tick(2)
    assert late.running == {PRODUCT: champion}


def test_a_station_that_was_away_during_a_rollout_catches_up(one_away: OneAway, tmp_path: Path) -> None:
    candidate = one_away.roll_out(2, tmp_path)
    assert one_away.away.running[PRODUCT] == one_away.champion
    one_away.come_back()
    assert one_away.away.running[PRODUCT] == candidate


def test_a_station_that_was_away_during_two_rollouts_catches_up(one_away: OneAway, tmp_path: Path) -> None:
    one_away.roll_out(2, tmp_path)
    newest = one_away.roll_out(3, tmp_path)
    assert one_away.away.running[PRODUCT] == one_away.champion
    one_away.come_back()
    assert one_away.away.running[PRODUCT] == newest


def test_a_station_that_comes_back_in_a_freeze_catches_up_after_it(one_away: OneAway, tmp_path: Path) -> None:
    candidate = one_away.roll_out(2, tmp_path)
    now = one_away.bench.clock.now()
    ends = now + timedelta(hours=1)
    with one_away.bench.database.begin() as session:
        session.add(FreezeRow(begins=now, ends=ends, reason="stock-taking", made_at=now, made_by="anna"))
    one_away.come_back()
    assert one_away.away.running[PRODUCT] == one_away.champion
    one_away.bench.tick(3, seconds=1_800)
    one_away.bench.tick(2)
    assert one_away.away.running[PRODUCT] == candidate


def test_a_former_champion_given_to_a_station_on_purpose_stays_there(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    for station in (first, second):
        bench.tick(2)
        bench.report(station, [OK] * 20)
    bench.tick(3)
    assert bench.champion() == candidate
    bench.rollouts.start(champion, [str(second.address)], 1, "back here only", bench.clock.now())
    bench.tick(2)
    bench.report(second, [OK] * 20)
    bench.tick(5)
    assert bench.rollout().state is RolloutState.FINISHED
    assert (first.running[PRODUCT], second.running[PRODUCT]) == (candidate, champion)


def test_a_trial_station_that_was_away_during_the_next_rollout_catches_up(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    trial = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(trial, [str(second.address)], 1, "a trial at one", bench.clock.now())
    bench.tick(2)
    bench.report(second, [OK] * 20)
    bench.tick(3)
    # As long as the champion is the one of then, it is a person's wish.
    assert (second.running[PRODUCT], bench.champion()) == (trial, champion)
    bench.stations.pop(str(second.address))
    bench.later(seconds=300)
    bench.heartbeat(first)
    newest = bench.register(3, tmp_path, champion=champion)
    bench.rollouts.start(newest, [], None, "for all", bench.clock.now())
    bench.tick(2)
    bench.report(first, [OK] * 20)
    bench.tick(3)
    assert (second.running[PRODUCT], bench.champion()) == (trial, newest)
    bench.stations[str(second.address)] = second
    bench.heartbeat(second)
    bench.tick(2)
    assert second.running[PRODUCT] == newest

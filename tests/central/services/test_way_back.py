# SPDX-License-Identifier: Apache-2.0
"""Whether stations that were ordered back have gone, by their own word."""

from pathlib import Path

from central.api.rollout_schemas import WaveStation
from central.api.rollout_views import rollout_view
from contracts.vocabulary import PackageState, RefusalReason
from tests.central.services.bench import Bench
from tests.central.services.lines import OK, line


def shown(bench: Bench, station: str = "plant/line-1/st-1") -> WaveStation:
    with bench.database.read() as session:
        row = bench.rollout()
        view = rollout_view(session, row, bench.rollouts.policy_of(row))
    return next(each for wave in view.waves for each in wave.stations if each.station == station)


def way_back(bench: Bench) -> tuple[str, str | None, str] | None:
    found = shown(bench).way_back
    return None if found is None else (found.state, found.package_id, found.detail)


def test_station_is_back_only_when_it_says_so(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    assert (shown(bench).before_package_id, shown(bench).way_back) == (champion, None)
    first.installs = False
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    ordered_at = bench.clock.now()
    assert way_back(bench) == ("ORDERED", champion, "assignment 3; its last word: of assignment 2")
    found = shown(bench).way_back
    assert found is not None
    assert found.since == ordered_at
    bench.tick(1)
    bench.say(first, PackageState.DOWNLOADING)
    assert way_back(bench) == ("ORDERED", champion, "its last word: DOWNLOADING")
    bench.say(first, PackageState.REFUSED, RefusalReason.SIGNATURE)
    assert way_back(bench) == ("REFUSED", champion, "REFUSED: SIGNATURE")
    bench.say(first, PackageState.ACTIVE, refused=RefusalReason.DISK)
    assert way_back(bench) == ("REFUSED", champion, "assignment 3: DISK")
    bench.say(first, PackageState.ACTIVE)
    assert way_back(bench) == ("BACK", champion, "")
    # One that was never touched was not ordered back.
    other = shown(bench, "plant/line-1/st-2")
    assert (other.before_package_id, other.way_back) == (None, None)


def test_station_that_a_later_rollout_gave_the_package_again_is_on_no_way_back(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    package = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    aborted = bench.rollout()
    bench.rollouts.abort(aborted.id or 0, "anna", bench.clock.now())
    bench.tick(2)
    assert way_back(bench) == ("BACK", champion, "")
    bench.rollouts.start(package, [str(first.address)], None, "again", bench.clock.now())
    bench.tick(2)
    bench.report(first, [OK])
    with bench.database.read() as session:
        view = rollout_view(session, aborted, bench.rollouts.policy_of(aborted))
    assert [each.way_back for wave in view.waves for each in wave.stations if each.station == str(first.address)] == [
        None
    ]

# SPDX-License-Identifier: Apache-2.0
"""A slow download is no error of the package's while its bytes move, and holds no rollout for ever."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from central.domain.rollout_conditions import BakePolicy, Seen
from central.domain.rollout_shapes import Progress, StationStep
from central.domain.rollout_station import look_at
from contracts.vocabulary import PackageState
from tests.central.domain.test_rollout import NOW

POLICY = BakePolicy(install_timeout_s=100.0, download_timeout_s=1_000.0, lost_after_s=120.0)
GIVEN = StationStep("a", Progress.ASSIGNED, since=NOW)


def play(said: list[tuple[float, int | None]], step: StationStep = GIVEN, opens: datetime | None = None) -> StationStep:
    """The station's step after it said, so many seconds after its order, how many bytes it has."""
    for after_s, done in said:
        now = NOW + timedelta(seconds=after_s)
        seen = Seen(PackageState.DOWNLOADING, heard_at=now, bytes_done=done, waits_until=opens)
        step = look_at(step, seen, POLICY, now, clock_from=NOW)
        # Asked again with the same facts nothing changes.
        assert look_at(step, seen, POLICY, now, clock_from=NOW) == step
    return step


def test_download_that_moves_is_waited_for_longer_than_an_installation() -> None:
    step = play([(60.0 * k, 1_000 * k) for k in range(1, 16)])
    assert step.progress is Progress.ASSIGNED
    assert play([(960.0, 15_000)], step).progress is Progress.ASSIGNED


@pytest.mark.parametrize("done", [None, 0, 1_000])
def test_download_that_stands_is_an_error_once_its_last_byte_is_old(done: int | None) -> None:
    step = play([(60.0, done), (99.0, done)])
    assert step.progress is Progress.ASSIGNED
    ends = 161.0 if done else 101.0
    assert play([(ends - 2.0, done)], step).progress is Progress.ASSIGNED
    erred = play([(ends, done)], step)
    assert erred.progress is Progress.ERRED
    assert ("of the last byte that came" in erred.detail) == bool(done)


def test_link_that_breaks_and_comes_back_is_no_error_while_bytes_come_in_between() -> None:
    # Without a word of bytes it is out of reach, and tries again.
    assert play([(50.0, 10), (90.0, None), (140.0, 20), (200.0, None), (230.0, 25)]).progress is Progress.ASSIGNED


def test_bytes_that_never_end_hold_the_rollout_no_longer_than_stated() -> None:
    said: list[tuple[float, int | None]] = [(50.0 * k, k) for k in range(1, 21)]
    step = play(said)
    assert step.progress is Progress.ASSIGNED
    erred = play([(1_001.0, 21)], step)
    assert erred.progress is Progress.ERRED
    assert "not active within 1000 s, though bytes still come" in erred.detail


def test_file_that_is_fetched_again_from_its_beginning_moves() -> None:
    assert play([(50.0, 900), (120.0, 10), (210.0, 10)]).progress is Progress.ASSIGNED


def test_window_that_closes_in_mid_download_stops_the_clock() -> None:
    opens = NOW + timedelta(hours=20)
    step = play([(50.0, 900), (90.0, 1_000)])
    step = play([(300.0, None), (60_000.0, None)], step, opens)
    assert step.progress is Progress.ASSIGNED
    after = 72_000.0
    assert play([(after + 90.0, 1_100), (after + 180.0, 1_200)], step).progress is Progress.ASSIGNED
    still = replace(step, bytes_done=1_000)
    assert play([(after + 101.0, 1_000)], still).progress is Progress.ERRED

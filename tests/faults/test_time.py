# SPDX-License-Identifier: Apache-2.0
"""The wall clock jumps, and the camera stalls."""

import os
import signal
import subprocess
import sys
import time

import pytest

from contracts.reports import StationReported
from tests.edge.test_process import wait_until
from tests.faults.line import Line
from tests.faults.station_process import Around, wall_offset

HOUR_S = 3600.0

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def test_wall_clock_that_jumps_costs_no_part_repeats_no_epoch_and_spoils_no_duration(line: Line) -> None:
    offset = wall_offset()
    line.enrol()
    line.start(Around(wall_offset_s=offset))
    line.wait_for_camera()
    line.pass_parts(50)
    for jump_s in (HOUR_S, -HOUR_S, 0.0):
        offset.value = jump_s
        line.pass_parts(50)
    # Killed while the clock is an hour ahead, started while it is an hour behind.
    offset.value = HOUR_S
    line.kill()
    line.start(Around(wall_offset_s=offset))
    line.wait_for_camera()
    line.pass_parts(50)
    line.kill()
    offset.value = -HOUR_S
    line.start(Around(wall_offset_s=offset))
    line.wait_for_camera()
    line.pass_parts(50)
    account = line.account()
    epochs = [epoch for (epoch,) in line.ask_central("SELECT DISTINCT epoch FROM inspection ORDER BY id")]
    slowest_ms = line.ask_central("SELECT max(verdict_ms), max(capture_ms) FROM inspection")[0]
    account.tell("wall clock jumps by an hour", epochs=len(epochs), slowest_verdict_ms=slowest_ms[0])
    assert account.is_clean(), account
    assert epochs == sorted(set(epochs))
    assert len(epochs) == 3
    assert max(slowest_ms) < 60_000
    # Times of capture are the camera's, which did not jump; from a start with a wrong clock on the two disagree.
    marked = line.ask_central("SELECT count(clock_error_s), count(*) FROM inspection GROUP BY epoch ORDER BY epoch")
    assert [count == of for count, of in marked] == [False, True, True]
    assert marked[0][0] == 0
    assert "camera-clock" in faults(line)
    line.stop()


def test_station_clock_ahead_of_a_camera_that_shares_it_is_told_with_a_remedy_and_parts_are_held(line: Line) -> None:
    offset = wall_offset()
    offset.value = HOUR_S
    line.enrol(shares_clock=True)
    line.start(Around(wall_offset_s=offset))
    line.wait_for_camera()
    line.pass_parts(20)
    wait_until(lambda: "pictures-old" in faults(line), "the person is told")
    assert "source.shares_clock = false" in faults(line)["pictures-old"]
    # The clock is put right while the station runs: parts are judged again, and their times are marked.
    offset.value = 0.0
    line.pass_parts(20)
    wait_until(lambda: "pictures-old" not in faults(line), "the flood is over")
    account = line.account()
    marked = line.ask_central("SELECT DISTINCT cause, round(clock_error_s / 60) FROM inspection")
    account.tell("station's clock ahead of its camera's", marked=sorted(marked, key=str))
    assert account.is_clean(), account
    assert account.causes == {"LATE": 20, "SCORE": 20}
    assert set(marked) == {("LATE", None), ("SCORE", -60.0)}
    line.stop()


def test_camera_that_stalls_and_comes_back_costs_no_part(line: Line) -> None:
    command = [sys.executable, "-m", "tests.faults.camera_process", "1", "0.01"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as camera:
        assert camera.stdout is not None
        assert camera.stdin is not None
        try:
            line.enrol(camera_url=camera.stdout.readline().strip())
            line.start()
            wait_until(lambda: bool(line.rows()) or bool(stored(line)), "parts come")
            stalls = 5
            for _ in range(stalls):
                os.kill(camera.pid, signal.SIGSTOP)
                time.sleep(0.5)
                before = stored(line)
                time.sleep(1.0)
                assert stored(line) - before < 5
                os.kill(camera.pid, signal.SIGCONT)
                wait_until(lambda known=before: stored(line) > known + 10, "parts come again")  # type: ignore[misc]
            # Up to here: when the camera ends, its source is lost, and rightly so.
            told_meanwhile = line.log()
            camera.stdin.close()
            line.passed = int(camera.stdout.readline())
        finally:
            camera.kill()
    account = line.account()
    account.tell("camera stalled and back", stalls=stalls)
    assert account.is_clean(), account
    # A camera that is only slow is not hung up on: what it had under way would be gone.
    assert "source lost" not in told_meanwhile
    line.stop()


def faults(line: Line) -> dict[str, str]:
    """Code and remedy of the station's faults, as central has them."""
    told = line.ask_central("SELECT status FROM station WHERE status IS NOT NULL")
    return {
        fault.code: fault.remedy for (content,) in told for fault in StationReported.model_validate_json(content).faults
    }


def stored(line: Line) -> int:
    """Reports at central."""
    return int(line.ask_central("SELECT count(*) FROM inspection")[0][0])

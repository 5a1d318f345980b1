# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the station at random moments, from its first instruction to the middle of a commit."""

import random
import threading
import time

import pytest

from tests.faults.line import Line

KILLS = 200
_LONGEST_LIFE_S = 1.2


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(900)
def test_no_part_is_lost_or_doubled_over_two_hundred_kills(line: Line) -> None:
    moments = random.Random(20)
    line.enrol()
    line.start()
    line.wait_for_camera()
    # Before the first record there is no number to count from.
    line.pass_parts(1)
    line.account()
    stopping = threading.Event()

    def feed() -> None:
        while not stopping.is_set():
            line.pass_parts(1, takt_s=0.02)

    feeding = threading.Thread(target=feed)
    feeding.start()
    began = time.monotonic()
    try:
        for _ in range(KILLS):
            time.sleep(moments.uniform(0, _LONGEST_LIFE_S))
            line.kill()
            line.start(waits=False)
    finally:
        stopping.set()
        feeding.join()
    took_s = time.monotonic() - began
    line.wait_for_camera()
    line.pass_parts(5)
    account = line.account()
    account.tell("SIGKILL of the station", kills=KILLS, seconds=round(took_s, 1))
    assert account.is_clean(), account
    # Killed in the middle of work, not only at the door.
    assert account.causes["SCORE"] > KILLS // 10
    epochs = line.ask_central("SELECT count(DISTINCT epoch) FROM inspection")[0][0]
    assert epochs > KILLS // 4

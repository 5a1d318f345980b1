# SPDX-License-Identifier: Apache-2.0
"""The way to central fails in the ways that a plain "connection refused" does not cover."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.edge.test_process import wait_until
from tests.faults.line import Line
from tests.faults.proxy import BrokerProxy
from tests.faults.station_process import Around, why_hosts_cannot_be_laid_over

PARTS = 300

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@contextmanager
def proxy_before(line: Line) -> Iterator[BrokerProxy]:
    assert line.plan is not None
    proxy = BrokerProxy(line.plan.port, random.Random(7), of_topic="/report")
    try:
        yield proxy
    finally:
        proxy.close()


def test_broker_that_loses_what_it_acknowledged_costs_no_part(line: Line) -> None:
    with proxy_before(line) as proxy:
        proxy.loses = 0.5
        line.enrol(broker_url=f"mqtt://127.0.0.1:{proxy.port}")
        line.start()
        line.wait_for_camera()
        line.pass_parts(PARTS)
        # The pause between repeats doubles while no receipt comes: bad luck takes its time.
        account = line.account(settle_s=150)
        account.tell("broker loses acknowledged messages", messages_lost=proxy.lost)
        line.stop()
    assert account.is_clean(), account
    assert proxy.lost > 10


def test_broker_that_accepts_and_never_answers_costs_no_part_and_does_not_hold_the_judge(line: Line) -> None:
    with proxy_before(line) as proxy:
        proxy.is_mute = True
        line.enrol(broker_url=f"mqtt://127.0.0.1:{proxy.port}")
        line.start()
        line.wait_for_camera()
        began = time.monotonic()
        line.pass_parts(PARTS)
        wait_until(lambda: len(line.rows()) == PARTS, "all recorded")
        took_s = time.monotonic() - began
        assert proxy.accepted
        assert line.ask_central("SELECT count(*) FROM inspection") == [(0,)]
        proxy.is_mute = False
        proxy.hang_up()
        account = line.account()
        account.tell("broker accepts and never answers", recorded_within_s=round(took_s, 1))
        assert account.is_clean(), account
        assert account.causes == {"SCORE": PARTS}
        line.stop()


def test_name_of_the_broker_that_no_longer_resolves_costs_no_part(line: Line, tmp_path: Path) -> None:
    name = "broker.sightline.test"
    known = f"127.0.0.1 localhost {name}\n"
    hosts = tmp_path / "hosts"
    hosts.write_text(known)
    assert line.plan is not None
    line.enrol(broker_url=f"mqtt://{name}:{line.plan.port}")
    if reason := why_hosts_cannot_be_laid_over():
        pytest.skip(reason)
    line.start(Around(hosts=hosts))
    line.wait_for_camera()
    line.pass_parts(PARTS // 3)
    wait_until(lambda: line.ask_central("SELECT count(*) FROM inspection") == [(PARTS // 3,)], "reports go by name")
    assert line.broker is not None
    # Written in place: the file that lies over the process's own is this very one.
    hosts.write_text("127.0.0.1 localhost\n")
    line.broker.kill()
    line.start_broker()
    line.pass_parts(PARTS // 3, takt_s=0.03)
    assert "broker connected" not in line.log().split("broker connection ended")[-1]
    assert len(line.rows()) >= PARTS // 3 - 1
    hosts.write_text(known)
    line.pass_parts(PARTS // 3)
    account = line.account()
    account.tell("name of the broker gone")
    assert account.is_clean(), account
    assert account.causes == {"SCORE": PARTS}
    line.stop()

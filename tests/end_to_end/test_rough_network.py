# SPDX-License-Identifier: Apache-2.0
"""Nothing reported is lost and nothing counts twice while processes are killed and the broker stays away."""

import pytest

from plant.processes.broker import find_mosquitto
from tests.end_to_end.conftest import RunDemo

BROKERS = [
    pytest.param("amqtt", id="amqtt"),
    pytest.param(
        "mosquitto",
        id="mosquitto",
        marks=[
            pytest.mark.broker,
            pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed on this machine"),
        ],
    ),
]

STORY = """
title = "A short rough night"
seed = 17
parts = 900
takt_s = 0.1
size_px = 128
commissioning_parts = 60

[[station]]
name = "st-1"
product = "ring"

[[station]]
name = "st-2"
product = "ring"

[defects]
scratch = 0.02
missing = 0.02

[drift]
drop_rate = 0.01

[[step]]
at_part = 100
kill = "edge:st-1"

[[step]]
at_part = 250
kill = "central"

[[step]]
at_part = 450
kill = "broker"

[[step]]
at_part = 600
broker_down_s = 10
"""


@pytest.mark.slow
@pytest.mark.line_time
@pytest.mark.xdist_group("others")
@pytest.mark.timeout(700)
@pytest.mark.parametrize("broker", BROKERS)
def test_every_part_has_exactly_one_report_through_kills_and_silence(run_demo: RunDemo, broker: str) -> None:
    shown = run_demo(STORY, "--broker", broker, "--time-limit", "600")
    assert shown.code == 0, shown.said
    report = shown.report
    assert (report["reports_lost"], report["reports_duplicated"], report["reports_unknown"]) == (0, 0, 0)
    assert report["reports_committed"] == report["parts_captured"] >= 900
    assert report["broker"] == broker
    assert [fault["what"] for fault in report["faults"]] == [
        "SIGKILL edge:st-1",
        "SIGKILL central",
        "SIGKILL broker",
        "broker away 10 s",
    ]
    assert report["restarts"] == {"broker": 1, "central": 1, "edge-st-1": 1, "edge-st-2": 0}
    # What passed while a station was down, and what the camera lost, is there too: held, without a decision.
    assert report["no_decision_causes"]["SESSION_CRASHED"] > 0
    assert report["no_decision_causes"]["MISSED_FRAME"] > 0
    assert report["verdicts"]["OK"] > 0
    assert report["is_simulated"] is True

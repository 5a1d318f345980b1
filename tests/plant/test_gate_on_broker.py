# SPDX-License-Identifier: Apache-2.0
"""The gate on a real broker: it hears the stations, and silence or nonsense opens nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contracts.codec import encode
from contracts.commands import RejectSignal
from contracts.ids import StationAddress
from contracts.topics import Channel, topic
from contracts.vocabulary import Disposition, Verdict
from plant.line.rejecter import RejectListener
from plant.processes.broker import BrokerKind, free_port, plan_broker, wait_for_broker
from plant.processes.supervisor import Supervisor

STATION = StationAddress(site="demo", line="line-1", station="st-1")


def signal(number: int, disposition: Disposition) -> bytes:
    verdict = Verdict.OK if disposition is Disposition.PASSED else Verdict.NG
    at = datetime(2026, 1, 1, tzinfo=UTC)
    said = RejectSignal(
        station=STATION, epoch=1, trigger_number=number, verdict=verdict, disposition=disposition, at=at
    )
    return encode(said)


@pytest.fixture(name="broker_kind", params=[BrokerKind.AMQTT])
def _broker_kind(request: pytest.FixtureRequest) -> BrokerKind:
    return BrokerKind(request.param)


def test_the_gate_hears_the_stations_and_diverts_the_rest(
    broker_kind: BrokerKind, tmp_path: Path, supervisor: Supervisor, eventually: Callable[..., None]
) -> None:
    plan = plan_broker(broker_kind, free_port(), tmp_path / "broker")
    supervisor.start(plan.spec)
    wait_for_broker(plan)
    listener = RejectListener(plan.url, window_s=30.0, username=plan.username, password=plan.password)
    station = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="station")
    station.username_pw_set(plan.username, plan.password)
    listener.start()
    station.connect("127.0.0.1", plan.port)
    station.loop_start()
    try:
        assert listener.wait_until_listening(30)
        for number in (1, 2, 3):
            listener.on_trigger(STATION, number)
        for payload in (signal(1, Disposition.PASSED), signal(2, Disposition.REJECTED), b"nonsense"):
            station.publish(topic(STATION, Channel.REJECT), payload)
        eventually(lambda: listener.gate.counts().unreadable == 1, "the messages did not arrive")
        counts = listener.gate.counts()
        assert (counts.triggers, counts.passed, counts.diverted, counts.waiting) == (3, 1, 1, 1)
        listener.gate.tick(float("inf"))
        assert listener.gate.counts().diverted_silence == 1
    finally:
        station.disconnect()
        station.loop_stop()
        listener.stop()

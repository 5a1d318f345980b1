# SPDX-License-Identifier: Apache-2.0
"""Commands reach what they name; what is not understood is counted and harms nothing."""

from collections.abc import Sequence

import pytest

from contracts import codec
from contracts.commands import InspectionKey, ReportStatus, RequestEvidence, StationCommand, SwitchProduct
from contracts.topics import Channel, topic
from edge_agent.reporting.commands import CommandHandler
from tests.edge.reporting.builders import NOW, STATION
from tests.fakes.bus import FakeBroker, FakeBus
from tests.fakes.waiting import wait_until

COMMANDS = topic(STATION, Channel.COMMAND)


class World:
    def __init__(self) -> None:
        self.broker = FakeBroker()
        self.requested: list[InspectionKey] = []
        self.reports = 0
        self.switched: list[str] = []
        bus = FakeBus(self.broker)
        self.handler = CommandHandler(
            bus,
            STATION,
            request_evidence=self._request,
            report_status=self._report,
            switch_product=self.switched.append,
        )
        self.handler.start()
        bus.start()
        self.stop = bus.stop

    def _request(self, keys: Sequence[InspectionKey]) -> None:
        self.requested.extend(keys)

    def _report(self) -> None:
        self.reports += 1


def test_request_for_evidence_reaches_the_recorder() -> None:
    world = World()
    keys = [InspectionKey(epoch=1, sequence=2), InspectionKey(epoch=1, sequence=3)]
    command = StationCommand(issued_at=NOW, command=RequestEvidence(inspections=keys))
    world.broker.route(COMMANDS, codec.encode(command))
    wait_until(lambda: world.handler.counters.handled == 1)
    assert world.requested == keys
    world.stop()


def test_request_for_status_is_answered() -> None:
    world = World()
    world.broker.route(COMMANDS, codec.encode(StationCommand(issued_at=NOW, command=ReportStatus())))
    wait_until(lambda: world.handler.counters.handled == 1)
    assert world.reports == 1
    world.stop()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"{}",
        b'{"issued_at":"2026-01-01T00:00:00Z","command":{"type":"open-the-gate"}}',
        b'{"schema_version":"9.0","issued_at":"2026-01-01T00:00:00Z","command":{"type":"report-status"}}',
    ],
)
def test_unknown_command_is_refused_and_counted(payload: bytes) -> None:
    world = World()
    world.broker.route(COMMANDS, payload)
    wait_until(lambda: world.handler.counters.refused == 1)
    assert (world.requested, world.reports) == ([], 0)
    world.stop()


def test_switch_of_the_product_reaches_the_recipe_book() -> None:
    world = World()
    world.broker.route(COMMANDS, codec.encode(StationCommand(issued_at=NOW, command=SwitchProduct(product="cap"))))
    wait_until(lambda: world.handler.counters.handled == 1)
    assert world.switched == ["cap"]
    world.stop()

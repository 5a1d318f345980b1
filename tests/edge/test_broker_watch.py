# SPDX-License-Identifier: Apache-2.0
from contracts.ids import StationAddress
from edge_agent.monitor.broker_watch import BrokerWatch
from edge_agent.reporting.bus import client_id
from tests.fakes.clock import FakeClock


class Rig:
    """A watch over a link that a test breaks."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.is_connected, self.refusal = True, ""
        self.watch = BrokerWatch(
            self.clock, "broker:1883", is_connected=lambda: self.is_connected, refusal=lambda: self.refusal
        )

    def told(self) -> list[str]:
        return [fault.message for fault in self.watch.faults()]


def test_broker_that_is_away_is_a_fault_until_it_is_back_and_a_hiccup_is_none() -> None:
    rig = Rig()
    assert rig.told() == []
    rig.is_connected = False
    rig.clock.advance(4)
    assert rig.told() == []
    rig.clock.advance(2)
    assert "broker:1883 cannot be reached" in rig.told()[0]
    rig.is_connected = True
    assert rig.told() == []


def test_refused_login_is_told_from_a_broker_that_is_not_reached() -> None:
    rig = Rig()
    rig.is_connected, rig.refusal = False, "Not authorized"
    rig.clock.advance(6)
    assert "refuses the login: Not authorized" in rig.told()[0]
    assert "broker.password" in rig.watch.faults()[0].remedy


def test_no_two_stations_have_the_same_name_at_the_broker() -> None:
    one, other = StationAddress.parse("a-b/c/d"), StationAddress.parse("a/b-c/d")
    assert client_id(one) != client_id(other)

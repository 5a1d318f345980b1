# SPDX-License-Identifier: Apache-2.0
"""Controllers as fixtures, and an output on one of them."""

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from contracts.commands import RejectSignal
from contracts.vocabulary import Disposition, SignalState, Verdict
from edge_agent.actuators.line import LineOutput, Wiring
from edge_agent.clock import SystemClock
from edge_agent.controller.link import ControllerLink
from edge_agent.controller.modbus import ModbusLink
from edge_agent.controller.opcua import OpcUaLink
from tests.edge.station_fakes import STATION
from tests.fakes.controllers import ModbusController, MuteController, OpcUaController
from tests.fakes.waiting import wait_until

AnyController = ModbusController | OpcUaController
VERDICTS = {Disposition.PASSED: Verdict.OK, Disposition.REJECTED: Verdict.NG, Disposition.HELD: Verdict.NO_DECISION}


@pytest.fixture
def modbus() -> Iterator[ModbusController]:
    """Pymodbus's server, started."""
    controller = ModbusController()
    controller.start()
    yield controller
    controller.kill()


@pytest.fixture(scope="module")
def _opcua_server() -> Iterator[OpcUaController]:
    """Asyncua's server takes seconds to start, so that one serves a module."""
    controller = OpcUaController()
    controller.start()
    yield controller
    controller.kill()


@pytest.fixture
def opcua(_opcua_server: OpcUaController) -> OpcUaController:
    """Asyncua's server, started, as if new. A test that kills it starts it again."""
    _opcua_server.reset()
    return _opcua_server


@pytest.fixture(params=["modbus", "opcua"])
def controller(request: pytest.FixtureRequest) -> AnyController:
    """Each kind of controller, started."""
    made: AnyController = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def mute() -> Iterator[MuteController]:
    """A controller that takes connections and never answers."""
    controller = MuteController()
    yield controller
    controller.close()


@pytest.fixture(autouse=True)
def _quiet_libraries() -> Iterator[None]:
    """Sockets of a server that was killed on purpose are left to the collector by its library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def link_to(controller: AnyController | MuteController, *, timeout_s: float = 2.0) -> ControllerLink:
    """A link to any of them."""
    if isinstance(controller, OpcUaController):
        return OpcUaLink(controller.url, timeout_s=timeout_s)
    return ModbusLink("127.0.0.1", controller.port, timeout_s=timeout_s)


def word(disposition: Disposition, number: int = 1) -> RejectSignal:
    """The station's word on a part."""
    return RejectSignal(
        station=STATION,
        epoch=1,
        trigger_number=number,
        verdict=VERDICTS[disposition],
        disposition=disposition,
        at=datetime(2026, 1, 2, tzinfo=UTC),
    )


class Driven:
    """An output on a controller, started and connected."""

    def __init__(
        self,
        controller: AnyController | MuteController,
        *,
        flag: int = 3,
        max_pending: int = 256,
        timeout_s: float = 2.0,
        is_connected: bool = True,
        is_able: Callable[[], bool] = lambda: True,
        **wiring: object,
    ) -> None:
        self.clock = SystemClock()
        address = "3" if isinstance(controller, MuteController) else controller.address(flag)
        self.output = LineOutput(
            link_to(controller, timeout_s=timeout_s),
            Wiring(**{"address": address, **wiring}),  # type: ignore[arg-type]  # a test names what it changes
            self.clock,
            max_pending=max_pending,
            retry_max_s=0.2,
            is_able=is_able,
        )
        self.output.start()
        if is_connected:
            self.until_taken()

    def until_taken(self) -> None:
        """Wait until the controller is there."""
        wait_until(lambda: "output-away" not in self.codes(), lambda: str(self.output.troubles.faults()))

    def codes(self) -> set[str]:
        """The output's faults."""
        return {fault.code for fault in self.output.troubles.faults()}

    def send(self, disposition: Disposition, captured_s: float | None = None) -> SignalState:
        """Tell the output of a part."""
        return self.output.send(word(disposition), self.clock.monotonic() if captured_s is None else captured_s)


@pytest.fixture
def driven() -> Iterator[Callable[..., Driven]]:
    """Makes outputs, and stops them."""
    made: list[Driven] = []

    def make(controller: AnyController | MuteController, **more: object) -> Driven:
        made.append(Driven(controller, **more))  # type: ignore[arg-type]  # see `Driven`
        return made[-1]

    yield make
    for one in made:
        one.output.stop(0.0)

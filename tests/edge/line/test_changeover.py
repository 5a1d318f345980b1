# SPDX-License-Identifier: Apache-2.0
"""The line's controller says what is made: real Modbus and OPC UA servers, by number and by name."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from asyncua import ua
from securesystemslib.signer import CryptoSigner

from contracts.vocabulary import Disposition, Verdict, VerdictCause
from edge_agent.camera.grabber import Grabber
from edge_agent.camera.source import Frame
from edge_agent.changeover_settings import ChangeoverSettings
from edge_agent.clock import SystemClock
from edge_agent.controller.settings import ControllerSettings, make_link
from edge_agent.frame_queue import FrameQueue
from edge_agent.monitor.health import Gauges, HealthMonitor
from edge_agent.recipes.book import RecipeBook
from edge_agent.recipes.changeover import ControllerChangeover
from edge_agent.recipes.recipe import Recipe, Recipes
from tests.edge.station_fakes import STATION, Bench, frame_of
from tests.fakes.controllers import ModbusController, OpcUaController
from tests.fakes.waiting import wait_until

NUMBERS = MappingProxyType({"1": "ring", "2": "gear"})
OWN = Recipes(MappingProxyType({"ring": Recipe(deadline_ms=100), "gear": Recipe(deadline_ms=200)}))
KEY = CryptoSigner.generate_ed25519().public_key
ASKED, CONFIRMED, WRONG = 40, 41, 63


class Plc:
    """One way of a controller to say what is made. `said` and `nothing`: how ring, gear and no product are spelt."""

    def __init__(self, controller: ModbusController | OpcUaController, *, by_name: bool = False) -> None:
        self.controller = controller
        self.by_name = by_name
        self.is_modbus = isinstance(controller, ModbusController)

    def settings(self, **changes: object) -> ChangeoverSettings:
        kind = "modbus" if self.is_modbus else "opcua"
        ask, confirm = (
            (str(ASKED), str(CONFIRMED)) if self.is_modbus else (f"ns=2;s={self._node}", f"ns=2;s=Made{self._node}")
        )
        made = ChangeoverSettings(
            ControllerSettings(kind, self.controller.url, timeout_s=2.0, retry_max_s=0.2, number_bits=16),
            ask,
            {} if self.by_name else NUMBERS,
            confirm,
            0.01,
        )
        return replace(made, **changes)  # type: ignore[arg-type]  # a test names what it changes

    @property
    def _node(self) -> str:
        return "Name" if self.by_name else "Product"

    def ask(self, product: str) -> None:
        """As the controller's program does; `bolt` is a number or text that stands for nothing."""
        number = {"ring": 1, "gear": 2, "bolt": 7, "": 0}[product]
        if isinstance(self.controller, ModbusController):
            self.controller.set_registers(ASKED, [number])
        elif self.by_name:
            self.controller.set("Name", "NO NAME" if product == "bolt" else product, ua.VariantType.String)
        else:
            self.controller.set("Product", number, ua.VariantType.Int16)

    def confirmed(self) -> str:
        """The product that the station has confirmed; empty: none."""
        if isinstance(self.controller, ModbusController):
            value: object = self.controller.registers(CONFIRMED)[0]
        else:
            value = self.controller.get(f"Made{self._node}")
        return str(value) if self.by_name else {0: "", 1: "ring", 2: "gear"}[int(str(value))]

    def forget(self) -> None:
        """As one that was started anew."""
        if isinstance(self.controller, ModbusController):
            self.controller.set_registers(CONFIRMED, [0])
        else:
            self.controller.reset()


class Led:
    """A book that follows a controller."""

    def __init__(
        self, folder: Path, plc: Plc, *, product: str | None = "ring", has_camera: bool = True, **changes: object
    ) -> None:
        self.clock = SystemClock()
        self.packages = ["ring", "gear"]
        self.book = RecipeBook(
            folder, STATION, self.clock, key=KEY, own=OWN, product=product, packages=lambda: self.packages, is_led=True
        )
        if has_camera:
            self.book.on_switch(lambda: self.book.set_up(self.book.page))
        settings = plc.settings(**changes)
        self.changeover = ControllerChangeover(make_link(settings.controller), settings, self.book, self.clock)

    def start(self) -> "Led":
        self.changeover.start()
        return self

    def until(self, product: str | None) -> None:
        wait_until(lambda: self.makes() == product, lambda: f"{product}: {self.book.page} {self.codes()}")

    def makes(self) -> str | None:
        """None: it is not known, and nothing is judged."""
        return None if self.book.page.current.refusal else self.book.page.product

    def codes(self) -> set[str]:
        return {fault.code for fault in (*self.book.faults(), *self.changeover.faults())}

    def shoot(self, number: int = 1) -> Frame:
        return frame_of(number, self.clock, product=None)


@pytest.fixture(params=["modbus", "opcua", "opcua by name"])
def plc(request: pytest.FixtureRequest) -> Plc:
    kind = str(request.param)
    return Plc(request.getfixturevalue(kind.split(maxsplit=1)[0]), by_name=kind.endswith("name"))


@pytest.fixture
def led(tmp_path: Path) -> Iterator[Callable[..., Led]]:
    """Makes stations that follow a controller, and stops them; each further one is the same after a restart."""
    made: list[Led] = []

    def make(plc: Plc, **more: object) -> Led:
        for one in made:
            one.changeover.stop()
        made.append(Led(tmp_path / "recipes", plc, **more))  # type: ignore[arg-type]  # see `Led`
        return made[-1]

    yield make
    for one in made:
        one.changeover.stop()


def test_part_belongs_to_what_the_controller_said_when_it_was_captured(plc: Plc, led: Callable[..., Led]) -> None:
    plc.ask("ring")
    station = led(plc).start()
    station.until("ring")
    early = station.shoot(1)
    plc.ask("gear")
    station.until("gear")
    late = station.shoot(2)
    bound = [station.book.bind(each) for each in (late, early)]
    assert [(each.product, each.recipe and each.recipe.deadline_ms) for each in bound] == [("gear", 200), ("ring", 100)]


def test_what_stands_for_no_product_is_judged_by_no_recipe_until_it_does(plc: Plc, led: Callable[..., Led]) -> None:
    bench = Bench()
    bench.activate(0.0)
    plc.ask("ring")
    station = led(plc).start()
    station.until("ring")
    early = station.shoot(1)
    plc.ask("bolt")
    station.until(None)
    (fault,) = station.book.faults()
    assert fault.code == "product-unknown"
    assert ("says 7" in fault.message and "1 = ring, 2 = gear" in fault.message) is not plc.by_name
    assert "parts get no decision and are held" in fault.message
    assert "changeover.products" in fault.remedy
    unknown = station.shoot(2)
    plc.ask("ring")
    station.until("ring")
    assert station.codes() == set()
    late = station.shoot(3)
    reports = []
    for frame in (early, unknown, late):
        bound = station.book.bind(frame)
        reports.append(bench.show(bound.trigger_number, product=bound.product, recipe=bound.recipe))
    assert [(each.product, each.verdict, each.cause, each.disposition) for each in reports] == [
        ("ring", Verdict.OK, VerdictCause.SCORE, Disposition.PASSED),
        (None, Verdict.NO_DECISION, VerdictCause.NO_PACKAGE, Disposition.HELD),
        ("ring", Verdict.OK, VerdictCause.SCORE, Disposition.PASSED),
    ]


def test_controller_that_goes_away_leaves_the_last_product_and_is_found_again(
    plc: Plc, led: Callable[..., Led]
) -> None:
    plc.ask("gear")
    station = led(plc).start()
    station.until("gear")
    plc.controller.kill()
    wait_until(lambda: "changeover-away" in station.codes())
    (fault,) = station.changeover.faults()
    assert "the last product stays, gear" in fault.message
    assert fault.remedy
    assert station.makes() == "gear"
    plc.controller.start()
    plc.ask("ring")
    station.until("ring")
    assert station.codes() == set()


def test_nothing_is_judged_until_the_controller_was_asked_once(
    modbus: ModbusController, led: Callable[..., Led]
) -> None:
    """While the station was off the line may have been changed over."""
    plc = Plc(modbus)
    plc.ask("gear")
    station = led(plc)
    before = station.shoot()
    assert station.makes() is None
    station.start().until("gear")
    bound = station.book.bind(before)
    assert bound.recipe is not None
    assert bound.recipe.refusal


def test_last_product_is_made_after_a_restart_without_the_controller(
    modbus: ModbusController, led: Callable[..., Led]
) -> None:
    plc = Plc(modbus)
    plc.ask("gear")
    led(plc).start().until("gear")
    modbus.kill()
    led(plc).start().until("gear")


def test_product_that_nobody_knew_is_not_forgotten_over_a_restart(
    modbus: ModbusController, led: Callable[..., Led]
) -> None:
    plc = Plc(modbus)
    plc.ask("bolt")
    station = led(plc).start()
    wait_until(lambda: "product-unknown" in station.codes())
    modbus.kill()
    again = led(plc).start()
    wait_until(lambda: "changeover-away" in again.codes() and "product-unknown" in again.codes())
    assert again.makes() is None


def test_station_that_never_heard_a_product_judges_none(modbus: ModbusController, led: Callable[..., Led]) -> None:
    modbus.kill()
    station = led(Plc(modbus), product=None).start()
    wait_until(lambda: "product-unknown" in station.codes())
    assert station.makes() is None


def test_confirmation_stands_only_while_the_station_is_ready_for_that_product(
    plc: Plc, led: Callable[..., Led]
) -> None:
    plc.ask("ring")
    station = led(plc, has_camera=False).start()
    station.until("ring")
    time.sleep(0.1)
    assert plc.confirmed() == ""  # the camera is not set up yet
    station.book.on_switch(lambda: station.book.set_up(station.book.page))
    station.book.set_up(station.book.page)
    wait_until(lambda: plc.confirmed() == "ring")
    plc.ask("bolt")
    wait_until(lambda: plc.confirmed() == "")
    plc.ask("gear")
    wait_until(lambda: plc.confirmed() == "gear")
    station.packages.remove("gear")
    wait_until(lambda: plc.confirmed() == "")
    station.packages.append("gear")
    wait_until(lambda: plc.confirmed() == "gear")
    station.changeover.stop()
    assert plc.confirmed() == ""


def test_controller_that_forgot_is_told_again(modbus: ModbusController, led: Callable[..., Led]) -> None:
    plc = Plc(modbus)
    plc.ask("ring")
    led(plc).start()
    wait_until(lambda: plc.confirmed() == "ring")
    plc.forget()
    wait_until(lambda: plc.confirmed() == "ring")


@pytest.mark.parametrize("address", ["ns=2;s=Fixed", "ns=2;s=Flag0", "ns=2;s=Nowhere"])
def test_place_that_takes_no_confirmation_is_a_fault_and_stops_no_changeover(
    opcua: OpcUaController, led: Callable[..., Led], address: str
) -> None:
    plc = Plc(opcua)
    plc.ask("ring")
    station = led(plc, confirm_address=address).start()
    wait_until(lambda: "changeover-unconfirmed" in station.codes())
    plc.ask("gear")
    station.until("gear")
    assert station.codes() == {"changeover-unconfirmed"}
    assert all(fault.remedy for fault in station.changeover.faults())


def test_disk_that_takes_nothing_neither_delays_the_changeover_nor_is_confirmed(
    modbus: ModbusController, led: Callable[..., Led], monkeypatch: pytest.MonkeyPatch
) -> None:
    plc = Plc(modbus)
    plc.ask("ring")
    station = led(plc).start()
    wait_until(lambda: plc.confirmed() == "ring")

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.recipes.book.write_whole", full)
        plc.ask("gear")
        station.until("gear")
        wait_until(lambda: plc.confirmed() == "" and "recipes-disk" in station.codes())
    wait_until(lambda: plc.confirmed() == "gear")
    assert station.codes() == set()


def test_nobody_else_changes_a_station_over(modbus: ModbusController, led: Callable[..., Led]) -> None:
    plc = Plc(modbus)
    plc.ask("ring")
    station = led(plc).start()
    station.until("ring")
    assert not station.book.switch("gear")
    assert (station.makes(), station.book.switches_refused, station.book.active().is_led) == ("ring", 1, True)


class Camera:
    """Gives the frames that a test hands it, when it wants."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.wanted = threading.Semaphore(0)

    def open(self) -> None: ...

    def close(self) -> None: ...

    def read(self, timeout_s: float) -> Frame | None:
        return self.frames.pop(0) if self.wanted.acquire(timeout=timeout_s) else None

    def give(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.wanted.release()


def test_line_that_waits_for_the_confirmation_has_every_part_judged_as_what_it_is(
    modbus: ModbusController, led: Callable[..., Led]
) -> None:
    """The grabber reads all the while; a part of before comes out of the camera only after the change."""
    plc, camera, queue = Plc(modbus), Camera(), FrameQueue(100)
    station = led(plc, has_camera=False)
    health = HealthMonitor(STATION, epoch=1, version="0", clock=station.clock, gauges=lambda: Gauges(active=[]))
    grabber = Grabber(camera, queue, health, book=station.book)
    plc.ask("ring")
    station.start()
    grabber.start()
    wanted: list[str] = []
    wait_until(lambda: plc.confirmed() == "ring")
    for turn in range(12):
        of_before = station.shoot(2 * turn)
        before, now = ("ring", "gear") if turn % 2 == 0 else ("gear", "ring")
        plc.ask("")
        plc.ask(now)
        wait_until(lambda now=now: plc.confirmed() == now)  # type: ignore[misc]  # binds the value of this turn
        camera.give(of_before)
        camera.give(station.shoot(2 * turn + 1))
        wanted += [before, now]
    wait_until(lambda: len(queue) == len(wanted))
    grabber.stop()
    taken = [queued.frame for _ in wanted if (queued := queue.get(0)) is not None]
    assert [frame.product for frame in taken] == wanted
    for frame in taken:
        assert frame.recipe is not None
        assert frame.recipe == OWN.of(frame.product)

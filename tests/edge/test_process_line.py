# SPDX-License-Identifier: Apache-2.0
"""The whole station as a process between a line controller that announces parts and its gate."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from contracts.codec import encode
from contracts.commands import TriggerReceived
from contracts.topics import Channel, topic
from contracts.vocabulary import VerdictCause
from plant.processes.broker import free_port
from tests.edge import tiny_package
from tests.edge.camera.simulator import packed
from tests.edge.station_fakes import STATION
from tests.edge.test_process import (
    NG,
    OK,
    Central,
    Line,
    broker_port,  # noqa: F401 - a fixture
    made_line,
    wait_until,
)
from tests.fakes.controllers import ModbusController

PASS, TRIGGER, ALIVE, SERIAL = 3, 7, 5, 30


def _announce(controller: ModbusController, line: Line, number: int, brightness: int | None) -> None:
    """A part comes: its serial, its trigger, and its picture unless the camera loses it."""
    registers = [int.from_bytes(f"SN{number:04d}".encode()[at : at + 2], "big") for at in (0, 2, 4)]
    controller.set_registers(SERIAL, registers)
    controller.set_flag(TRIGGER, is_on=True)
    time.sleep(0.4)
    if brightness is not None:
        line.camera.send(packed(number, tiny_package.part(brightness), part_id=None))
    time.sleep(0.4)
    controller.set_flag(TRIGGER, is_on=False)
    # A part without a picture is given up before the next one comes.
    time.sleep(0.4 if brightness is not None else 1.2)


@pytest.mark.slow
def test_parts_announced_by_the_controller_are_named_judged_and_let_pass_by_a_pulse(tmp_path: Path) -> None:
    controller = ModbusController()
    controller.start()
    with made_line(tmp_path, free_port()) as line:
        with line.settings.open("a") as file:
            file.write(
                f"""
[output]
kind = ["modbus", "mqtt"]
url = "{controller.url}"
address = {PASS}
pulse_ms = 40
tolerance_ms = 1000
alive_address = {ALIVE}
alive_ms = 50
[trigger]
kind = "modbus"
url = "{controller.url}"
address = {TRIGGER}
part_id_address = {SERIAL}
part_id_registers = 3
window_ms = 1500
arrival_ms = 100
"""
            )
        process = line.start()
        # The alive signal moves: trigger, camera and package are there.
        wait_until(lambda: len(controller.changes(ALIVE)) >= 2, "alive")
        for number, brightness in ((1, OK), (2, NG), (3, None), (4, OK)):
            _announce(controller, line, number, brightness)
        wait_until(lambda: len(controller.changes(PASS)) >= 4, "two pulses")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, line.log()
        reports = line.recorded()
        assert len(controller.changes(PASS)) == 4
    controller.kill()
    assert [report.part_id for report in reports] == ["SN0001", "SN0002", "SN0003", "SN0004"]
    assert [report.disposition for report in reports] == ["PASSED", "REJECTED", "HELD", "PASSED"]
    assert [report.signal for report in reports] == ["SENT"] * 4
    assert reports[2].cause is VerdictCause.MISSED_FRAME
    assert [report.trigger_number for report in reports] == [0, 1, 2, 3]


@pytest.mark.broker
def test_parts_announced_over_a_real_broker_are_named_in_signal_report_and_status(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port = request.getfixturevalue("broker_port")
    central = Central(port)
    with made_line(tmp_path, port) as line:
        with line.settings.open("a") as file:
            file.write('\n[trigger]\nkind = "mqtt"\nwindow_ms = 4000\narrival_ms = 100\ndebounce_ms = 2000\n')
            # A second output whose controller is away: a fault, and no word less on the first.
            file.write(f'[output]\nkind = ["mqtt", "modbus"]\naddress = 3\nurl = "tcp://127.0.0.1:{free_port()}"\n')
        line.start()
        wait_until(lambda: bool(central.statuses) and central.statuses[-1].state == "DEGRADED", "ready but for it")
        for payload in (encode(TriggerReceived(trigger_number=9, part_id="SN-9")), b"SN-10", b"SN-10"):
            central.bus.publish(topic(STATION, Channel.TRIGGER), payload, qos=1)
            if payload != b"SN-10":
                wait_until(lambda: getattr(central.statuses[-1].triggers, "received", 0) == 1, "the trigger was heard")
                line.camera.send(packed(1, tiny_package.part(OK)))
                wait_until(lambda: len(central.reports) == 1, "the first part")
        wait_until(lambda: len(central.reports) == 2, "the part without a picture")
        wait_until(lambda: central.statuses[-1].parts_total == 2, "the status")
        counts, faults = central.statuses[-1].triggers, {fault.code for fault in central.statuses[-1].faults}
    central.bus.stop()
    assert [(report.trigger_number, report.part_id) for report in central.reports] == [(9, "SN-9"), (10, "SN-10")]
    assert [(found.part_id, found.disposition) for found in central.signals] == [("SN-9", "PASSED"), ("SN-10", "HELD")]
    assert {"output-away", "frames-missed"} <= faults
    assert counts is not None
    assert (counts.received, counts.repeated, counts.without_frame) == (2, 1, 1)


ASKED, CONFIRMED = 40, 41


@pytest.mark.broker
@pytest.mark.slow
def test_line_that_changes_over_by_a_register_has_each_part_judged_as_its_own_product(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The settings name a product; the controller is away for the last part."""
    port = request.getfixturevalue("broker_port")
    controller, central = ModbusController(), Central(port)
    controller.start()
    with made_line(tmp_path, port) as line:
        tiny_package.install(line.folder / "data", "gear")
        text = line.settings.read_text().splitlines()
        text = [row if not row.startswith("source") else 'source = { kind = "mqtt", product = "ring" }' for row in text]
        line.settings.write_text(
            "\n".join(text)
            + f"""
recipe.gear.deadline_ms = 30000
[changeover]
kind = "modbus"
url = "{controller.url}"
address = {ASKED}
confirm_address = {CONFIRMED}
products = {{ 1 = "ring", 2 = "gear" }}
retry_max_s = 0.2
"""
        )
        with (line.folder / "log-0.txt").open("wb") as log:
            command = [sys.executable, "-m", "edge_agent", "run", "--settings", str(line.settings)]
            line.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        for number, asked in ((1, 1), (2, 2), (3, 7), (4, 2), (5, None)):
            if asked is None:
                controller.kill()
            else:
                controller.set_registers(ASKED, [asked])
                wanted = [0 if asked == 7 else asked]
                wait_until(lambda wanted=wanted: controller.registers(CONFIRMED) == wanted, f"confirmed {wanted}")  # type: ignore[misc]  # this turn's
                if asked == 7:
                    wait_until(lambda: "product-unknown" in _codes(central), "the fault")
                    assert central.statuses[-1].state == "HALTED"
            central.bus.publish(topic(STATION, Channel.FRAME), _png(OK + number), qos=0)
            wait_until(lambda number=number: len(central.reports) == number, f"part {number}: {line.log()}")  # type: ignore[misc]  # as above
        wait_until(lambda: "changeover-away" in _codes(central), "the fault")
        made = central.statuses[-1].recipe
    central.bus.stop()
    assert [report.product for report in central.reports] == ["ring", "gear", None, "gear", "gear"]
    assert [report.disposition for report in central.reports] == ["PASSED", "PASSED", "HELD", "PASSED", "PASSED"]
    assert central.reports[2].cause is VerdictCause.NO_PACKAGE
    assert made is not None
    assert (made.product, made.is_led) == ("gear", True)


def _codes(central: Central) -> set[str]:
    return {fault.code for fault in central.statuses[-1].faults} if central.statuses else set()


def _png(brightness: int) -> bytes:
    """A bare picture: its product is that of the source's settings, if of any."""
    return cv2.imencode(".png", tiny_package.part(brightness))[1].tobytes()

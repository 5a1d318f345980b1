# SPDX-License-Identifier: Apache-2.0
"""What a pulse on the line controller costs the judge, and how far it is off at the controller.

Bears out why an output has a worker (docs/adr/0020). 10 parts a second, 2 s from camera to gate, pulses of 50 ms, all
parts pass. The controllers are pymodbus's and asyncua's servers in a process of their own on loopback, on the same
clock; with the network and the scan time of a real one come on top. `send_us`: time in the judging thread.
`late_ms`: pulse at the server after its time (never before it). `length_ms`: of the pulse at the server.
"""

import multiprocessing
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from contracts.commands import RejectSignal
from contracts.ids import StationAddress
from contracts.vocabulary import Disposition, SignalState, Verdict
from edge_agent.actuators.line import LineOutput, Wiring
from edge_agent.clock import SystemClock
from edge_agent.controller.settings import MODBUS, OPCUA, ControllerSettings, make_link
from tests.fakes.controllers import ModbusController, OpcUaController

FLAG: Final = 3
PARTS: Final = 300
TAKT_S: Final = 0.1
DELAY_S: Final = 2.0
PULSE_S: Final = 0.05


def run() -> dict[str, Any]:
    """Figures of each kind of controller."""
    return {kind: _measure(kind) for kind in (MODBUS, OPCUA)}


def _measure(kind: str) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(kind, theirs), daemon=True)
    process.start()
    url, address = ours.recv()
    clock = SystemClock()
    wiring = Wiring(address=address, pulse_s=PULSE_S, delay_s=DELAY_S)
    output = LineOutput(make_link(ControllerSettings(kind, url)), wiring, clock)
    output.start()
    while output.troubles.faults():
        time.sleep(0.05)
    captured, took = _tell(output, clock)
    time.sleep(DELAY_S + 1)
    output.stop()
    ours.send(None)
    changes: list[tuple[float, bool]] = ours.recv()
    process.join(10)
    begins = np.array([at for at, is_on in changes if is_on])
    ends = np.array([at for at, is_on in changes if not is_on])
    figures: dict[str, Any] = {"parts": PARTS, "pulses": len(begins), "late_parts": output.troubles.count("late", 0)}
    figures["send_us"] = _summary(1e6 * np.array(took))
    # A pulse that was left out leaves no other one early: each belongs to the last place before it.
    due = np.array(captured) + DELAY_S
    figures["late_ms"] = _summary(1e3 * (begins - due[np.searchsorted(due, begins) - 1]))
    if len(begins) == len(ends):
        figures["length_ms"] = _summary(1e3 * (ends - begins)) | {"min": round(float(1e3 * (ends - begins).min()), 2)}
    return figures


def _tell(output: LineOutput, clock: SystemClock) -> tuple[list[float], list[float]]:
    """Send a word each takt, a good tenth of a second after its capture, as a judge does."""
    station = StationAddress(site="plant", line="line-1", station="st-1")
    captured, took = [], []
    for number in range(PARTS):
        captured_s = clock.monotonic()
        time.sleep(TAKT_S)
        signal = RejectSignal(
            station=station,
            epoch=1,
            trigger_number=number,
            verdict=Verdict.OK,
            disposition=Disposition.PASSED,
            at=datetime.now(UTC),
        )
        began = time.perf_counter()
        state = output.send(signal, captured_s)
        took.append(time.perf_counter() - began)
        if state is SignalState.SENT:
            captured.append(captured_s)
    return captured, took


def _serve(kind: str, pipe: Connection) -> None:
    controller: ModbusController | OpcUaController = ModbusController() if kind == MODBUS else OpcUaController()
    controller.start()
    pipe.send((controller.url, controller.address(FLAG)))
    pipe.recv()
    pipe.send(controller.changes(FLAG))
    controller.kill()


def _summary(values: Any) -> dict[str, float]:
    return {
        "p50": round(float(np.percentile(values, 50)), 2),
        "p99": round(float(np.percentile(values, 99)), 2),
        "max": round(float(values.max()), 2),
    }

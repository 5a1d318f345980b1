# SPDX-License-Identifier: Apache-2.0
"""The settings of the reject outputs: table `[output]`.

Notes every fault, and every key that the chosen kind would ignore. Builds nothing; `actuators.making` does. Called
by `settings`.
"""

from dataclasses import dataclass
from typing import Final

from edge_agent.actuators.line import Wiring
from edge_agent.controller.settings import (
    MODBUS,
    OPCUA,
    ControllerSettings,
    keys_of,
    read_address,
    read_controller,
)
from edge_agent.settings_reader import SettingsReader

OUTPUT_KINDS: Final = ("mqtt", "none", MODBUS, OPCUA)
# The first is fail-safe.
DRIVES: Final = ("pass", "reject")
_TIMING: Final = ("delay_ms", "distance_mm", "speed_mm_s", "encoder_address", "distance_counts")
_ENCODER: Final = ("encoder_bits", "encoder_poll_ms")
_OTHER: Final = ("address", "drives", "pulse_ms", "tolerance_ms", "alive_address", "alive_ms", "max_pending")


@dataclass(frozen=True)
class LineOutputSettings:
    """The output on a coil or variable of the line controller.

    `distance_mm` and `speed_mm_s`: what the wiring's delay was worked out from, for recipes that change one of them.
    """

    controller: ControllerSettings
    wiring: Wiring
    max_pending: int
    distance_mm: float | None = None
    speed_mm_s: float | None = None


@dataclass(frozen=True)
class OutputSettings:
    """Who is told of each part. The first kind drives the gate; the others are told as well."""

    kinds: tuple[str, ...] = ("mqtt",)
    line: LineOutputSettings | None = None

    @property
    def gate(self) -> str:
        """The kind that drives the gate."""
        return self.kinds[0]


def read_output(reader: SettingsReader) -> OutputSettings:
    """Read `[output]`, with every fault noted."""
    kinds = reader.words("output.kind", OUTPUT_KINDS, "mqtt")
    if "none" in kinds and len(kinds) > 1:
        reader.fault("output.kind", f"none goes with no other kind, got {', '.join(kinds)}")
    on_line = [kind for kind in kinds if kind in (MODBUS, OPCUA)]
    if len(on_line) > 1:
        reader.fault("output.kind", "expected one line controller, got modbus and opcua")
    if not on_line:
        keys = (*keys_of("output"), *(f"output.{name}" for name in (*_TIMING, *_ENCODER, *_OTHER)))
        reader.refuse(keys, f"does not fit output.kind = {', '.join(kinds)}")
        return OutputSettings(kinds)
    kind = on_line[0]
    address = read_address(reader, "output.address", kind)
    drives = reader.choice("output.drives", DRIVES, DRIVES[0])
    pulse_ms = reader.number("output.pulse_ms", 100.0, low=5, high=60_000)
    has_encoder = reader.is_given("output.encoder_address")
    encoder_address = read_address(reader, "output.encoder_address", kind, is_required=False)
    delay_ms, distance_mm, speed_mm_s = _read_way(reader, has_encoder=has_encoder)
    if not has_encoder:
        reader.refuse((f"output.{name}" for name in _ENCODER), "needs output.encoder_address")
    alive_address = read_address(reader, "output.alive_address", kind, is_required=False)
    if alive_address is None:
        reader.refuse(["output.alive_ms"], "needs output.alive_address")
    elif alive_address == address:
        reader.fault("output.alive_address", "expected another address than output.address")
    wiring = Wiring(
        address=address or "",
        drives_pass=drives == DRIVES[0],
        pulse_s=pulse_ms / 1000,
        delay_s=delay_ms / 1000,
        tolerance_s=reader.number("output.tolerance_ms", 20.0, low=1, high=60_000) / 1000,
        encoder_address=encoder_address,
        encoder_poll_s=reader.number("output.encoder_poll_ms", 10.0, low=1, high=1000) / 1000 if has_encoder else 0.01,
        distance_counts=_read_counts(reader) if has_encoder else 0,
        alive_address=alive_address,
        alive_s=reader.number("output.alive_ms", 500.0, low=50, high=60_000) / 1000 if alive_address else 0.5,
    )
    controller = read_controller(reader, "output", kind, bits_key="output.encoder_bits" if has_encoder else None)
    max_pending = reader.integer("output.max_pending", 256, low=1, high=100_000)
    return OutputSettings(kinds, LineOutputSettings(controller, wiring, max_pending, distance_mm, speed_mm_s))


def _read_way(reader: SettingsReader, *, has_encoder: bool) -> tuple[float, float | None, float | None]:
    """The way to the gate in ms (given, or from distance and speed, or 0 with an encoder), and those two if given."""
    by_distance = reader.is_given("output.distance_mm") or reader.is_given("output.speed_mm_s")
    if has_encoder:
        reader.refuse(("output.delay_ms", "output.distance_mm", "output.speed_mm_s"), "an encoder tells the delay")
        return 0.0, None, None
    reader.refuse(["output.distance_counts"], "needs output.encoder_address")
    if not by_distance:
        return reader.number("output.delay_ms", 0.0, low=0, high=600_000), None, None
    reader.refuse(["output.delay_ms"], "distance and speed tell the delay: give either")
    for name in ("distance_mm", "speed_mm_s"):
        if not reader.is_given(f"output.{name}"):
            reader.fault(f"output.{name}", "expected a number: distance and speed belong together, got nothing")
    distance_mm = reader.number("output.distance_mm", 1.0, low=0.1, high=1_000_000)
    speed_mm_s = reader.number("output.speed_mm_s", 1.0, low=0.01, high=100_000)
    return 1000 * distance_mm / speed_mm_s, distance_mm, speed_mm_s


def _read_counts(reader: SettingsReader) -> int:
    if not reader.is_given("output.distance_counts"):
        reader.fault("output.distance_counts", "expected the counts from camera to gate, got nothing")
    return reader.integer("output.distance_counts", 1, low=1, high=1 << 30)

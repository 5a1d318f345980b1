# SPDX-License-Identifier: Apache-2.0
"""The settings of the trigger: table `[trigger]`.

Notes every fault, and every key that the chosen kind would ignore. Builds nothing; `triggering.making` does. Called
by `settings`.
"""

from dataclasses import dataclass
from typing import Final

from edge_agent.controller.settings import (
    MODBUS,
    OPCUA,
    ControllerSettings,
    keys_of,
    read_address,
    read_controller,
)
from edge_agent.settings_reader import SettingsReader

FREE_RUN: Final = "free-run"
MQTT: Final = "mqtt"
TRIGGER_KINDS: Final = (FREE_RUN, MQTT, MODBUS, OPCUA)
CAMERAS: Final = ("auto", "free-run", "software", "hardware")
_PAIRING: Final = ("camera", "delay_ms", "window_ms", "arrival_ms", "debounce_ms", "max_pending")
_ADDRESSES: Final = ("address", "number_address", "number_bits", "part_id_address", "poll_ms")
_MODBUS_ONLY: Final = ("table", "part_id_registers")


@dataclass(frozen=True)
class ControllerTriggerSettings:
    """What to watch at the line controller."""

    controller: ControllerSettings
    address: str
    reads_inputs: bool
    number_address: str | None
    part_id_address: str | None
    part_id_registers: int
    poll_s: float


@dataclass(frozen=True)
class TriggerSettings:
    """Where triggers come from, and how frames go with them. `free-run`: each frame is a part, as the camera counts."""

    kind: str = FREE_RUN
    camera: str = "auto"
    delay_s: float = 0.0
    window_s: float = 0.1
    arrival_s: float = 0.2
    debounce_s: float = 0.02
    shares_clock: bool = False
    max_pending: int = 64
    line: ControllerTriggerSettings | None = None


def read_trigger_settings(reader: SettingsReader) -> TriggerSettings:
    """Read `[trigger]`, with every fault noted."""
    kind = reader.choice("trigger.kind", TRIGGER_KINDS, FREE_RUN)
    is_on_line = kind in (MODBUS, OPCUA)
    foreign = () if is_on_line else (*keys_of("trigger"), *(f"trigger.{name}" for name in _ADDRESSES))
    if kind != MODBUS:
        foreign = (*foreign, *(f"trigger.{name}" for name in _MODBUS_ONLY))
    if kind in (FREE_RUN, MODBUS):
        foreign = (*foreign, "trigger.shares_clock")
    if kind not in TRIGGER_KINDS or kind == FREE_RUN:
        foreign = (*foreign, *(f"trigger.{name}" for name in _PAIRING))
    reader.refuse(foreign, f"does not fit trigger.kind = {kind}")
    if kind not in TRIGGER_KINDS or kind == FREE_RUN:
        return TriggerSettings()
    return TriggerSettings(
        kind=kind,
        camera=reader.choice("trigger.camera", CAMERAS, "auto"),
        delay_s=reader.number("trigger.delay_ms", 0.0, low=0, high=60_000) / 1000,
        window_s=reader.number("trigger.window_ms", 100.0, low=1, high=60_000) / 1000,
        arrival_s=reader.number("trigger.arrival_ms", 200.0, low=1, high=60_000) / 1000,
        debounce_s=reader.number("trigger.debounce_ms", 20.0, low=0, high=10_000) / 1000,
        shares_clock=reader.flag("trigger.shares_clock", default=False) if kind in (MQTT, OPCUA) else False,
        max_pending=reader.integer("trigger.max_pending", 64, low=1, high=10_000),
        line=_read_line(reader, kind) if is_on_line else None,
    )


def _read_line(reader: SettingsReader, kind: str) -> ControllerTriggerSettings:
    is_modbus = kind == MODBUS
    number_address = read_address(reader, "trigger.number_address", kind, is_required=False)
    part_id_address = read_address(reader, "trigger.part_id_address", kind, is_required=False)
    if number_address is None:
        reader.refuse(["trigger.number_bits"], "needs trigger.number_address")
    if is_modbus and part_id_address is None:
        reader.refuse(["trigger.part_id_registers"], "needs trigger.part_id_address")
    has_registers = is_modbus and part_id_address is not None
    return ControllerTriggerSettings(
        controller=read_controller(
            reader, "trigger", kind, bits_key=None if number_address is None else "trigger.number_bits"
        ),
        address=read_address(reader, "trigger.address", kind) or "",
        reads_inputs=is_modbus and reader.choice("trigger.table", ("coil", "input"), "coil") == "input",
        number_address=number_address,
        part_id_address=part_id_address,
        part_id_registers=reader.integer("trigger.part_id_registers", 16, low=1, high=64) if has_registers else 16,
        poll_s=reader.number("trigger.poll_ms", 5.0, low=1, high=1000) / 1000,
    )

# SPDX-License-Identifier: Apache-2.0
"""How to reach a line controller: the settings that outputs and triggers share, and the link that follows from them.

Reads keys below a prefix (`output`, `trigger`, `changeover`) and notes faults; opens nothing. Called by
`output_settings`, `trigger_settings` and `changeover_settings`.
"""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from edge_agent.controller.link import ControllerLink, missing_package
from edge_agent.controller.modbus import ModbusLink
from edge_agent.controller.opcua import OpcUaLink
from edge_agent.settings_reader import SettingsReader

MODBUS: Final = "modbus"
OPCUA: Final = "opcua"
_MODBUS_PORT: Final = 502
_OPCUA_PORT: Final = 4840
_MAX_ADDRESS: Final = 65535
_NODE: Final = re.compile(r"^(ns=\d+;)?(i=\d+|[sgb]=.+)$")
_EXPECTED: Final = {
    MODBUS: ("tcp", "tcp://host:port"),
    OPCUA: ("opc.tcp", "opc.tcp://host:port/path"),
}


@dataclass(frozen=True)
class ControllerSettings:
    """A line controller. `unit` is Modbus's, name and password are OPC UA's."""

    kind: str
    url: str
    unit: int = 1
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_s: float = 0.5
    retry_max_s: float = 5.0
    number_bits: int = 32


def keys_of(prefix: str) -> tuple[str, ...]:
    """Every key that `read_controller` may ask for."""
    names = ("url", "unit", "username", "password", "timeout_ms", "retry_max_s")
    return tuple(f"{prefix}.{name}" for name in names)


def read_controller(
    reader: SettingsReader, prefix: str, kind: str, *, bits_key: str | None = None, usual_bits: int = 32
) -> ControllerSettings:
    """Read how to reach it. `bits_key`: where the width of numbers stands, if there are any."""
    if (wanted := missing_package(kind)) is not None:
        reader.fault(f"{prefix}.kind", f"{kind} {wanted}")
    url = reader.text(f"{prefix}.url")
    if url:
        _check_url(reader, f"{prefix}.url", url, kind)
    is_modbus = kind == MODBUS
    foreign = ("username", "password") if is_modbus else ("unit",)
    reader.refuse((f"{prefix}.{name}" for name in foreign), f"does not fit {prefix}.kind = {kind}")
    bits = usual_bits
    if bits_key is not None:
        bits = reader.integer(bits_key, usual_bits, low=16, high=32)
        if bits not in (16, 32):
            reader.fault(bits_key, f"expected 16 or 32, got {bits}")
    return ControllerSettings(
        kind=kind,
        url=url,
        unit=reader.integer(f"{prefix}.unit", 1, low=0, high=255) if is_modbus else 1,
        username=None if is_modbus else reader.text(f"{prefix}.username", "") or None,
        password=None if is_modbus else reader.text(f"{prefix}.password", "", is_secret=True) or None,
        timeout_s=reader.number(f"{prefix}.timeout_ms", 500.0, low=10, high=60_000) / 1000,
        retry_max_s=reader.number(f"{prefix}.retry_max_s", 5.0, low=0.05, high=600),
        number_bits=bits,
    )


def read_address(reader: SettingsReader, key: str, kind: str, *, is_required: bool = True) -> str | None:
    """Read an address of this kind; None when it need not be given and is not."""
    if not is_required and not reader.is_given(key):
        reader.address(key, "")
        return None
    value = reader.address(key)
    if not value:
        return None
    if kind == MODBUS and not (value.isascii() and value.isdigit() and int(value) <= _MAX_ADDRESS):
        reader.fault(key, f"expected an address 0 … {_MAX_ADDRESS}, counted from 0, got {value!r}")
    if kind == OPCUA and not _NODE.match(value):
        reader.fault(key, f"expected a node identifier like ns=2;s=Gate.Pass, got {value!r}")
    return value


def make_link(settings: ControllerSettings, *, reads_inputs: bool = False, text_registers: int = 16) -> ControllerLink:
    """The link to this controller, not yet open. Inputs and texts: see `ModbusLink`."""
    if settings.kind == OPCUA:
        return OpcUaLink(
            settings.url,
            timeout_s=settings.timeout_s,
            username=settings.username,
            password=settings.password,
            number_bits=settings.number_bits,
        )
    parts = urlsplit(settings.url)
    return ModbusLink(
        parts.hostname or "",
        parts.port or _MODBUS_PORT,
        unit=settings.unit,
        timeout_s=settings.timeout_s,
        reads_inputs=reads_inputs,
        number_bits=settings.number_bits,
        text_registers=text_registers,
    )


def _check_url(reader: SettingsReader, key: str, value: str, kind: str) -> None:
    scheme, expected = _EXPECTED[kind]
    try:
        parts = urlsplit(value)
        # `port` raises ValueError for one out of range.
        is_right = parts.scheme == scheme and bool(parts.hostname) and parts.port != 0
        is_right = is_right and "@" not in parts.netloc
        # asyncua does not fill in the usual port.
        is_right = is_right and (kind == MODBUS or parts.port is not None)
    except ValueError:
        is_right = False
    if not is_right:
        usual = _MODBUS_PORT if kind == MODBUS else _OPCUA_PORT
        reader.fault(key, f"expected {expected} (usual port {usual}), got {value!r}")

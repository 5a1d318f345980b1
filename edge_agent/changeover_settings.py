# SPDX-License-Identifier: Apache-2.0
"""The settings of a changeover by the line's controller: table `[changeover]`.

Notes every fault, and every key that the chosen kind would ignore. Opens nothing; `recipes.changeover` does. Called by
`settings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from contracts.ids import Name
from edge_agent.controller.settings import MODBUS, OPCUA, ControllerSettings, keys_of, read_address, read_controller
from edge_agent.settings_reader import SettingsReader
from edge_agent.value_checks import check_name

NONE: Final = "none"
CHANGEOVER_KINDS: Final = (NONE, MODBUS, OPCUA)
_OWN: Final = ("address", "products", "confirm_address", "poll_ms", "number_bits")
_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)


@dataclass(frozen=True)
class ChangeoverSettings:
    """Where the line's controller says what is made.

    Args:
        controller: how to reach it.
        address: holding register of a number; or variable of a number or a text.
        products: what stands there → product; empty: the product's own name stands there.
        confirm_address: where the station writes what stood there once it is ready to judge it; None: nowhere.
        poll_s: time between two readings.
    """

    controller: ControllerSettings
    address: str
    products: Mapping[str, str]
    confirm_address: str | None = None
    poll_s: float = 0.05

    def product_of(self, said: str) -> str | None:
        """The product that the controller's word stands for; None: none."""
        if self.products:
            return self.products.get(said)
        try:
            return _NAME.validate_python(said)
        except ValidationError:
            return None

    def known(self) -> str:
        """What the controller may say, for people."""
        named = ", ".join(f"{said} = {product}" for said, product in self.products.items())
        return named or "a product's name"


def read_changeover(reader: SettingsReader) -> ChangeoverSettings | None:
    """Read `[changeover]`, with every fault noted; None: people and triggers say what is made."""
    kind = reader.choice("changeover.kind", CHANGEOVER_KINDS, NONE)
    if kind not in (MODBUS, OPCUA):
        keys = (*keys_of("changeover"), *(f"changeover.{name}" for name in _OWN))
        reader.refuse(keys, f"does not fit changeover.kind = {kind}")
        return None
    is_modbus = kind == MODBUS
    if not is_modbus:
        reader.refuse(["changeover.number_bits"], "does not fit changeover.kind = opcua")
    address = read_address(reader, "changeover.address", kind)
    confirm_address = read_address(reader, "changeover.confirm_address", kind, is_required=False)
    if confirm_address is not None and confirm_address == address:
        reader.fault("changeover.confirm_address", "expected another address than changeover.address")
    controller = read_controller(
        reader, "changeover", kind, bits_key="changeover.number_bits" if is_modbus else None, usual_bits=16
    )
    products = reader.texts_by_name("changeover.products")
    if is_modbus and not reader.is_given("changeover.products"):
        reader.fault("changeover.products", 'expected what each number stands for, { 1 = "ring" }, got nothing')
    for said, product in products.items():
        check_name(reader, f"changeover.products.{said}", product)
        highest = (1 << controller.number_bits) - 1
        if is_modbus and not (said.isascii() and said.isdigit() and str(int(said)) == said and int(said) <= highest):
            reader.fault("changeover.products", f"expected numbers 0 … {highest}, got {said!r}")
        if confirm_address is not None and said == "0":
            reader.fault("changeover.products", "0 is confirmed while no product is: give it no product")
    return ChangeoverSettings(
        controller=controller,
        address=address or "",
        products=products,
        confirm_address=confirm_address,
        poll_s=reader.number("changeover.poll_ms", 50.0, low=5, high=10_000) / 1000,
    )

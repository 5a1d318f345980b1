# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edge_agent.changeover_settings import ChangeoverSettings
from edge_agent.errors import SettingsError
from edge_agent.settings import load_settings
from tests.edge.test_settings import WHOLE

MODBUS = 'kind = "modbus"\nurl = "tcp://plc.local"\naddress = 40\nproducts = { 1 = "ring", 2 = "gear" }\n'
OPCUA = 'kind = "opcua"\nurl = "opc.tcp://plc.local:4840"\naddress = "ns=2;s=Product"\n'


def read(folder: Path, table: str, environ: dict[str, str] | None = None) -> ChangeoverSettings | None:
    """The changeover of a station whose `[changeover]` is this."""
    path = folder / "station.toml"
    path.write_text(f"{WHOLE}\n[changeover]\n{table}")
    return load_settings(path, environ or {}).changeover


def faults(folder: Path, table: str) -> dict[str, str]:
    """Key → text of every fault in it."""
    with pytest.raises(SettingsError) as caught:
        read(folder, table)
    return dict(fault.split(": ", maxsplit=1) for fault in caught.value.faults)


def test_without_a_table_nobody_at_the_line_changes_the_station_over(tmp_path: Path) -> None:
    assert read(tmp_path, "") is None
    assert read(tmp_path, 'kind = "none"') is None


def test_register_of_numbers_is_read_with_what_each_stands_for(tmp_path: Path) -> None:
    made = read(tmp_path, MODBUS + "confirm_address = 41\npoll_ms = 20\n")
    assert made is not None
    assert (made.address, made.confirm_address, made.poll_s, made.controller.number_bits) == ("40", "41", 0.02, 16)
    assert [made.product_of(said) for said in ("1", "2", "3", "")] == ["ring", "gear", None, None]


def test_variable_of_a_text_may_say_the_products_own_name(tmp_path: Path) -> None:
    made = read(tmp_path, OPCUA)
    assert made is not None
    assert [made.product_of(said) for said in ("ring", "", "Not A Name", "../x")] == ["ring", None, None, None]
    mapped = read(tmp_path, OPCUA + 'products = { "A 42" = "ring" }')
    assert mapped is not None
    assert [mapped.product_of(said) for said in ("A 42", "ring")] == ["ring", None]


def test_products_can_come_from_a_variable(tmp_path: Path) -> None:
    made = read(tmp_path, MODBUS, {"SIGHTLINE_EDGE_CHANGEOVER_PRODUCTS": "3=ring, 4=cap"})
    assert made is not None
    assert made.products == {"3": "ring", "4": "cap"}


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ('kind = "profinet"', {"changeover.kind"}),
        ("address = 40\npoll_ms = 3", {"changeover.address", "changeover.poll_ms"}),
        ('kind = "modbus"', {"changeover.url", "changeover.address", "changeover.products"}),
        (MODBUS.replace("40", '"ns=2;s=P"'), {"changeover.address"}),
        (MODBUS.replace("1 =", "one ="), {"changeover.products"}),
        (MODBUS.replace("1 =", "01 ="), {"changeover.products"}),
        (MODBUS.replace("1 =", "65536 ="), {"changeover.products"}),
        (MODBUS.replace("1 =", "0 =") + "confirm_address = 41", {"changeover.products"}),
        (MODBUS.replace('"ring"', "7"), {"changeover.products"}),
        (MODBUS.replace('"ring"', '"Ring!"'), {"changeover.products.1"}),
        (MODBUS.replace('{ 1 = "ring", 2 = "gear" }', '"ring"'), {"changeover.products"}),
        (MODBUS + "confirm_address = 40", {"changeover.confirm_address"}),
        (MODBUS + 'username = "x"', {"changeover.username"}),
        (MODBUS + "number_bits = 24", {"changeover.number_bits"}),
        (MODBUS + "confirm = 41", {"changeover.confirm"}),
        (OPCUA + "number_bits = 16\nunit = 3", {"changeover.number_bits", "changeover.unit"}),
        (OPCUA.replace(":4840", ""), {"changeover.url"}),
    ],
)
def test_every_fault_of_the_changeover_is_named_by_its_key(tmp_path: Path, table: str, keys: set[str]) -> None:
    assert set(faults(tmp_path, table)) == keys


def test_wider_numbers_reach_further(tmp_path: Path) -> None:
    made = read(tmp_path, MODBUS.replace("1 =", "65536 =") + "number_bits = 32")
    assert made is not None
    assert made.product_of("65536") == "ring"

# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edge_agent.actuators.base import LineTiming, OutputUse
from edge_agent.actuators.line import Wiring
from edge_agent.controller.modbus import ModbusLink
from edge_agent.controller.opcua import OpcUaLink
from edge_agent.controller.settings import make_link
from edge_agent.errors import SettingsError
from edge_agent.output_settings import OutputSettings
from edge_agent.settings import load_settings
from tests.edge.test_settings import WHOLE

MODBUS = 'kind = "modbus"\nurl = "tcp://plc.local"\naddress = 17\n'
OPCUA = 'kind = "opcua"\nurl = "opc.tcp://plc.local:4840/line"\naddress = "ns=2;s=Gate.Pass"\n'


def read(folder: Path, table: str, environ: dict[str, str] | None = None) -> OutputSettings:
    """The outputs of a station whose `[output]` is this."""
    path = folder / "station.toml"
    path.write_text(f"{WHOLE}\n[output]\n{table}")
    return load_settings(path, environ or {}).output


def faults(folder: Path, table: str) -> dict[str, str]:
    """Key → text of every fault in it."""
    with pytest.raises(SettingsError) as caught:
        read(folder, table)
    return dict(fault.split(": ", maxsplit=1) for fault in caught.value.faults)


def test_kind_alone_is_read_as_before(tmp_path: Path) -> None:
    assert read(tmp_path, 'kind = "mqtt"') == OutputSettings(("mqtt",))
    assert read(tmp_path, 'kind = "none"') == OutputSettings(("none",))


def test_coil_is_fail_safe_at_once_and_one_tenth_of_a_second_long_unless_told_otherwise(tmp_path: Path) -> None:
    line = read(tmp_path, MODBUS).line
    assert line is not None
    assert line.wiring == Wiring(address="17")
    assert (line.wiring.drives_pass, line.wiring.pulse_s, line.wiring.delay_s) == (True, 0.1, 0.0)
    assert isinstance(make_link(line.controller), ModbusLink)


def test_variable_of_an_opc_ua_server_is_an_output(tmp_path: Path) -> None:
    line = read(tmp_path, OPCUA + 'username = "line"\npassword = "hunter4"\ndrives = "reject"\n').line
    assert line is not None
    assert (line.controller.username, line.wiring.drives_pass) == ("line", False)
    assert isinstance(make_link(line.controller), OpcUaLink)
    assert "hunter4" not in repr(line)


def test_several_kinds_are_a_list_and_the_first_drives_the_gate(tmp_path: Path) -> None:
    both = read(tmp_path, MODBUS.replace('"modbus"', '["modbus", "mqtt"]'))
    assert both.kinds == ("modbus", "mqtt")
    assert both.line is not None
    environ = {"SIGHTLINE_EDGE_OUTPUT_KIND": "mqtt, modbus", "SIGHTLINE_EDGE_OUTPUT_ADDRESS": "18"}
    other = read(tmp_path, MODBUS, environ)
    assert other.kinds == ("mqtt", "modbus")
    assert other.line is not None
    assert other.line.wiring.address == "18"


def test_delay_follows_from_distance_and_speed(tmp_path: Path) -> None:
    line = read(tmp_path, MODBUS + "distance_mm = 600\nspeed_mm_s = 300\n").line
    assert line is not None
    assert line.wiring.delay_s == pytest.approx(2.0)


def test_encoder_brings_its_own_settings(tmp_path: Path) -> None:
    table = MODBUS + "encoder_address = 40\ndistance_counts = 1200\nencoder_bits = 16\nencoder_poll_ms = 5\n"
    line = read(tmp_path, table).line
    assert line is not None
    wiring = line.wiring
    assert (wiring.encoder_address, wiring.distance_counts, wiring.encoder_poll_s) == ("40", 1200, 0.005)
    assert line.controller.number_bits == 16


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ('kind = "relay"', {"output.kind"}),
        ("kind = []", {"output.kind"}),
        ('kind = ["mqtt", "mqtt"]', {"output.kind"}),
        ('kind = ["mqtt", "none"]', {"output.kind"}),
        (MODBUS.replace('"modbus"', '["modbus", "opcua"]'), {"output.kind"}),
        ('kind = "mqtt"\naddress = 3\ndelay_ms = 5', {"output.address", "output.delay_ms"}),
        ('kind = "none"\nurl = "tcp://plc"\nunit = 3', {"output.url", "output.unit"}),
        ('kind = "modbus"', {"output.url", "output.address"}),
        (MODBUS.replace("tcp://plc.local", "opc.tcp://plc.local"), {"output.url"}),
        (MODBUS.replace("17", '"ns=2;s=Gate"'), {"output.address"}),
        (MODBUS.replace("17", "65536"), {"output.address"}),
        (MODBUS.replace("17", "-1"), {"output.address"}),
        (MODBUS + 'username = "x"', {"output.username"}),
        (OPCUA + "unit = 1", {"output.unit"}),
        (OPCUA.replace("ns=2;s=Gate.Pass", "Gate.Pass"), {"output.address"}),
        (OPCUA.replace(":4840", ""), {"output.url"}),
        (OPCUA.replace("plc.local", "me:secret@plc.local"), {"output.url"}),
        (MODBUS + 'drives = "both"', {"output.drives"}),
        (MODBUS + "pulse_ms = 0", {"output.pulse_ms"}),
        (MODBUS + "distance_mm = 100", {"output.speed_mm_s"}),
        (MODBUS + "speed_mm_s = 100", {"output.distance_mm"}),
        (MODBUS + "distance_mm = 100\nspeed_mm_s = 100\ndelay_ms = 3", {"output.delay_ms"}),
        (MODBUS + "encoder_address = 40", {"output.distance_counts"}),
        (MODBUS + "distance_counts = 40", {"output.distance_counts"}),
        (MODBUS + "encoder_bits = 16\nencoder_poll_ms = 3", {"output.encoder_bits", "output.encoder_poll_ms"}),
        (MODBUS + "encoder_address = 40\ndistance_counts = 9\nencoder_bits = 24", {"output.encoder_bits"}),
        (MODBUS + "encoder_address = 40\ndistance_counts = 9\ndelay_ms = 4", {"output.delay_ms"}),
        (MODBUS + "alive_ms = 100", {"output.alive_ms"}),
        (MODBUS + "alive_address = 17", {"output.alive_address"}),
        (MODBUS + "puls_ms = 100", {"output.puls_ms"}),
    ],
)
def test_every_fault_of_the_output_is_named_by_its_key(tmp_path: Path, table: str, keys: set[str]) -> None:
    assert set(faults(tmp_path, table)) == keys


def test_missing_package_is_a_fault_that_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert "pip install 'sightline[modbus]'" in faults(tmp_path, MODBUS)["output.kind"]
    assert "pip install 'sightline[opcua]'" in faults(tmp_path, OPCUA)["output.kind"]


RECIPE = "[recipe.ring.output]\n"


def test_recipe_of_the_settings_changes_times_and_leaves_out_who_is_told_beside_the_gate(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    table = MODBUS.replace('"modbus"', '["modbus", "mqtt"]') + "distance_mm = 600\nspeed_mm_s = 300\n"
    path.write_text(f'{WHOLE}\n[output]\n{table}\n{RECIPE}kind = "modbus"\nspeed_mm_s = 200\npulse_ms = 40\n')
    recipes = load_settings(path, {}).recipes
    assert recipes.of("ring").outputs == OutputUse(frozenset({"modbus"}), LineTiming(0.04, 3.0))
    assert recipes.of("cap").outputs is None


@pytest.mark.parametrize(
    ("output", "recipe", "told"),
    [
        ('kind = "mqtt"\n', "pulse_ms = 40", "no output on a line controller"),
        ('kind = "mqtt"\n', 'kind = "modbus"', "no output modbus, it has mqtt"),
        (MODBUS, 'kind = "relay"', "expected one or more of mqtt, modbus, opcua"),
        (MODBUS.replace('"modbus"', '["modbus", "mqtt"]'), 'kind = "mqtt"', "which drives this station's gate"),
        (MODBUS, "speed_mm_s = 200", "have distance_mm to go with"),
        (MODBUS, "speed_mm_s = 200\ndelay_ms = 3", "expected one of delay_ms"),
        (MODBUS, "distance_counts = 200", "no encoder"),
    ],
)
def test_fault_in_the_outputs_of_a_recipe_is_named(tmp_path: Path, output: str, recipe: str, told: str) -> None:
    found = faults(tmp_path, f"{output}{RECIPE}{recipe}\n")
    assert any(key.startswith("recipe.ring.output") and told in text for key, text in found.items()), found

# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edge_agent.camera.source import Adjustable, Frame
from edge_agent.errors import DeviceError, SettingsError
from edge_agent.settings import load_settings
from edge_agent.trigger_settings import TriggerSettings
from edge_agent.triggering.making import make_triggered
from edge_agent.triggering.paired import AdjustableTriggeredSource, TriggeredSource
from tests.edge.station_fakes import STATION
from tests.edge.test_settings import WHOLE
from tests.fakes.bus import FakeBroker, FakeBus
from tests.fakes.clock import FakeClock

MODBUS = 'kind = "modbus"\nurl = "tcp://plc.local"\naddress = 7\n'
OPCUA = 'kind = "opcua"\nurl = "opc.tcp://plc.local:4840"\naddress = "ns=2;s=Part"\n'


def read(folder: Path, table: str) -> TriggerSettings:
    """The triggers of a station whose `[trigger]` is this."""
    path = folder / "station.toml"
    path.write_text(f"{WHOLE}\n[trigger]\n{table}")
    return load_settings(path, {}).trigger


def test_without_a_table_each_frame_is_a_part_as_before(tmp_path: Path) -> None:
    assert read(tmp_path, "") == TriggerSettings()
    assert make(TriggerSettings(), Camera()) is None


def test_every_kind_is_read(tmp_path: Path) -> None:
    mqtt = read(tmp_path, 'kind = "mqtt"\nshares_clock = true\ndelay_ms = 40\nwindow_ms = 60\ndebounce_ms = 0\n')
    assert (mqtt.shares_clock, mqtt.delay_s, mqtt.window_s, mqtt.debounce_s) == (True, 0.04, 0.06, 0.0)
    table = (
        MODBUS + 'table = "input"\nnumber_address = 20\nnumber_bits = 16\npart_id_address = 30\npart_id_registers = 8'
    )
    line = read(tmp_path, table).line
    assert line is not None
    assert (line.reads_inputs, line.number_address, line.controller.number_bits) == (True, "20", 16)
    assert (line.part_id_address, line.part_id_registers, line.poll_s) == ("30", 8, 0.005)
    opcua = read(tmp_path, OPCUA + 'part_id_address = "ns=2;s=Serial"').line
    assert opcua is not None
    assert opcua.part_id_address == "ns=2;s=Serial"


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ('kind = "camera"', {"trigger.kind"}),
        ("delay_ms = 3", {"trigger.delay_ms"}),
        ('kind = "free-run"\nurl = "tcp://plc"\nshares_clock = true', {"trigger.url", "trigger.shares_clock"}),
        ('kind = "mqtt"\naddress = 3\ntable = "coil"', {"trigger.address", "trigger.table"}),
        ('kind = "mqtt"\ncamera = "film"\nwindow_ms = 0', {"trigger.camera", "trigger.window_ms"}),
        ('kind = "modbus"', {"trigger.url", "trigger.address"}),
        (MODBUS + "shares_clock = true", {"trigger.shares_clock"}),
        (MODBUS + "number_bits = 16\npart_id_registers = 4", {"trigger.number_bits", "trigger.part_id_registers"}),
        (MODBUS + 'table = "holding"', {"trigger.table"}),
        (OPCUA + 'table = "coil"\nunit = 3', {"trigger.table", "trigger.unit"}),
        (OPCUA + "number_address = 20", {"trigger.number_address"}),
        (MODBUS + "debounce = 20", {"trigger.debounce"}),
    ],
)
def test_every_fault_of_the_trigger_is_named_by_its_key(tmp_path: Path, table: str, keys: set[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, table)
    assert {fault.split(":")[0] for fault in caught.value.faults} == keys


def test_faults_of_output_and_trigger_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, 'kind = "modbus"\n[output]\nkind = "opcua"\n')
    named = {fault.split(":")[0] for fault in caught.value.faults}
    assert named == {"trigger.url", "trigger.address", "output.url", "output.address"}


class Camera:
    """A frame source that gives nothing."""

    def open(self) -> None: ...

    def read(self, timeout_s: float) -> Frame | None:
        del timeout_s
        return None

    def close(self) -> None: ...


class FiringCamera(Camera):
    def fire(self) -> None: ...


class AdjustableCamera(Camera):
    def __init__(self) -> None:
        self.set_to: list[float | None] = []

    def adjust(self, *, exposure_us: float | None, gain_db: float | None) -> None:
        del gain_db
        self.set_to.append(exposure_us)


def test_exposure_reaches_a_camera_that_can_be_set_and_no_other_promises_it() -> None:
    settings, camera = TriggerSettings(kind="mqtt"), AdjustableCamera()
    made = make(settings, camera)
    assert isinstance(made, AdjustableTriggeredSource)
    made.adjust(exposure_us=800.0, gain_db=None)
    assert camera.set_to == [800.0]
    assert not isinstance(make(settings, Camera()), Adjustable)


def make(settings: TriggerSettings, camera: Camera) -> TriggeredSource | None:
    return make_triggered(
        settings,
        camera,
        station=STATION,
        bus=FakeBus(FakeBroker()),
        clock=FakeClock(),
        first_number=0,
        capacity=8,
        is_simulated=False,
    )


def test_camera_that_can_be_fired_is_fired_unless_told_otherwise() -> None:
    for camera, mode, fires in (
        (FiringCamera(), "auto", True),
        (FiringCamera(), "hardware", False),
        (Camera(), "auto", False),
    ):
        made = make(TriggerSettings(kind="mqtt", camera=mode), camera)
        assert made is not None
        assert (made._firing is not None) is fires


def test_camera_that_cannot_be_fired_is_refused_with_a_remedy() -> None:
    with pytest.raises(DeviceError, match="free-run or hardware"):
        make(TriggerSettings(kind="mqtt", camera="software"), Camera())

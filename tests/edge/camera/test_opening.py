# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edge_agent.camera.genicam import GenicamSource
from edge_agent.camera.mqtt import MqttSource
from edge_agent.camera.opencv import OpenCvSource
from edge_agent.camera.opening import make_source
from edge_agent.camera.replay import ReplaySource
from edge_agent.camera.simulated import SimulatedSource
from edge_agent.camera.video import VideoSource
from edge_agent.clock import SystemClock
from edge_agent.source_settings import SourceSettings
from tests.edge.camera import rigs
from tests.edge.camera.rigs import read
from tests.edge.station_fakes import STATION
from tests.fakes.bus import FakeBroker, FakeBus

KINDS = [
    ("simulated", "tcp://127.0.0.1:1", SimulatedSource),
    ("mqtt", "", MqttSource),
    ("opencv", "0", OpenCvSource),
    ("opencv", "rtsp://camera/1", OpenCvSource),
    ("genicam", "GV01", GenicamSource),
    ("replay", "pictures", ReplaySource),
    ("replay", "video.avi", VideoSource),
    ("opencv", "video.avi", VideoSource),
]


@pytest.mark.parametrize(("kind", "url", "expected"), KINDS)
def test_settings_name_the_kind_of_source(tmp_path: Path, kind: str, url: str, expected: type) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "video.avi").touch()
    address = str(tmp_path / url) if (tmp_path / url).exists() and url else url
    settings = SourceSettings(kind, address, "ring", 0.0, loop=False, shares_clock=True, retry_max_s=1.0)
    source = make_source(
        settings, station=STATION, bus=FakeBus(FakeBroker()), clock=SystemClock(), first_trigger=3, capacity=2
    )
    assert type(source) is expected


def test_source_that_counts_for_itself_goes_on_after_the_last_recorded_number(tmp_path: Path) -> None:
    with rigs.replay(tmp_path):
        settings = SourceSettings("replay", str(tmp_path), "ring", 100.0, loop=False, shares_clock=False, retry_max_s=1)
        source = make_source(
            settings, station=STATION, bus=FakeBus(FakeBroker()), clock=SystemClock(), first_trigger=42, capacity=2
        )
        source.open()
        frame = read(source)
    assert (frame.trigger_number, frame.product) == (42, "ring")

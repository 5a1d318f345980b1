# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.settings import load_settings
from edge_agent.source_settings import GenicamSettings, SourceSettings

REST = """
site = "plant"
line = "line-1"
station = "st-1"
data_dir = "data"
broker.url = "mqtt://broker.local:1883"
central = { url = "http://central.local:8000", token = "t" }
"""


def source(folder: Path, section: str, environ: dict[str, str] | None = None) -> SourceSettings:
    path = folder / "station.toml"
    path.write_text(f"{REST}\n[source]\n{section}")
    return load_settings(path, environ or {}).source


def faults(folder: Path, section: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        source(folder, section, environ)
    return list(caught.value.faults)


def test_genicam_camera_needs_nothing_but_its_kind_and_is_left_as_it_is(tmp_path: Path) -> None:
    read = source(tmp_path, 'kind = "genicam"')
    assert (read.url, read.rate_hz, read.genicam) == ("", 0, GenicamSettings())


def test_genicam_settings_are_read_whole(tmp_path: Path) -> None:
    read = source(
        tmp_path,
        'kind = "genicam"\nurl = "GV01"\npixel_format = "BayerRG8"\nexposure_us = 250.5\ngain_db = -3\n'
        'trigger = "hardware"\ntrigger_line = "Line0"\npacket_size = 9000\nresend = false\n',
    )
    assert read.url == "GV01"
    assert read.genicam == GenicamSettings("BayerRG8", 250.5, -3, "hardware", "Line0", 9000, resends=False)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ('kind = "replay"\nurl = "pictures"\nexposure_us = 100', "source.exposure_us"),
        ('kind = "opencv"\nurl = "0"\ntrigger = "software"', "source.trigger"),
        ('kind = "simulated"\nurl = "tcp://camera:1"\nloop = true', "source.loop"),
        ('kind = "mqtt"\nrate_hz = 3', "source.rate_hz"),
        ('kind = "mqtt"\nurl = "mqtt://broker"', "source.url"),
        ('kind = "genicam"\nshares_clock = true', "source.shares_clock"),
        ('kind = "genicam"\npixel_format = "Mono12"', "source.pixel_format"),
        ('kind = "genicam"\nexposure_us = 0', "source.exposure_us"),
        ('kind = "genicam"\ngain_db = "much"', "source.gain_db"),
        ('kind = "genicam"\ntrigger = "button"', "source.trigger"),
        ('kind = "genicam"\ntrigger = "hardware"', "source.trigger_line"),
        (
            'kind = "genicam"\ntrigger = "software"\ntrigger_line = "Line0"\n[trigger]\nkind = "mqtt"',
            "source.trigger_line",
        ),
        ('kind = "genicam"\ntrigger = "software"\nrate_hz = 5\n[trigger]\nkind = "mqtt"', "source.rate_hz"),
        ('kind = "genicam"\npacket_size = 100', "source.packet_size"),
        ('kind = "genicam"\nexposure_ms = 1', "source.exposure_ms"),
    ],
)
def test_key_or_value_that_does_not_fit_the_kind_is_one_fault_that_names_it(
    tmp_path: Path, section: str, key: str
) -> None:
    found = faults(tmp_path, section)
    assert [fault.split(":")[0] for fault in found] == [key]


@pytest.mark.parametrize(
    ("source_trigger", "trigger", "key"),
    [
        ("software", "", "source.trigger"),
        ("software", 'kind = "mqtt"\ncamera = "hardware"', "trigger.camera"),
        ("free-run", 'kind = "mqtt"\ncamera = "software"', "trigger.camera"),
        ("hardware", 'kind = "mqtt"', "trigger.camera"),
    ],
)
def test_camera_that_waits_for_what_nobody_gives_is_a_fault(
    tmp_path: Path, source_trigger: str, trigger: str, key: str
) -> None:
    line = '\ntrigger_line = "Line0"' if source_trigger == "hardware" else ""
    found = faults(tmp_path, f'kind = "genicam"\ntrigger = "{source_trigger}"{line}\n[trigger]\n{trigger}')
    assert [fault.split(":")[0] for fault in found] == [key]


@pytest.mark.parametrize(
    ("source_trigger", "trigger"),
    [
        ("software", 'kind = "mqtt"'),
        ("free-run", 'kind = "mqtt"'),
        ("hardware", 'kind = "mqtt"\ncamera = "hardware"'),
        ("hardware", ""),
    ],
)
def test_camera_and_trigger_that_go_together_are_taken(tmp_path: Path, source_trigger: str, trigger: str) -> None:
    line = '\ntrigger_line = "Line0"' if source_trigger == "hardware" else ""
    read = source(tmp_path, f'kind = "genicam"\ntrigger = "{source_trigger}"{line}\n[trigger]\n{trigger}')
    assert read.genicam.trigger == source_trigger


def test_variable_that_does_not_fit_the_kind_is_a_fault_too(tmp_path: Path) -> None:
    found = faults(tmp_path, 'kind = "replay"\nurl = "pictures"', {"SIGHTLINE_EDGE_SOURCE_GAIN_DB": "3"})
    told = "source.gain_db: is for source.kind genicam, not for replay; remove it"
    assert found == [f"{told} (variable SIGHTLINE_EDGE_SOURCE_GAIN_DB)"]

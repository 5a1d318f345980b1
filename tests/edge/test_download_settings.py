# SPDX-License-Identifier: Apache-2.0
"""Settings of downloads: what can be said, and what is refused with its key."""

from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.group import check_apart
from edge_agent.settings import Settings, settings_of

BASE = """
site = "plant"
line = "line-1"
station = "st-1"
data_dir = "data"
broker.url = "mqtt://127.0.0.1:1883"
central.url = "http://127.0.0.1:8000"
central.token = "t"
source = { kind = "simulated", url = "tcp://127.0.0.1:9" }
"""


def read(more: str = "", base: str = BASE) -> Settings:
    return settings_of(f"{base}{more}".encode(), Path("/nowhere/station.toml"), {})


def test_downloads_are_free_unless_something_is_said() -> None:
    downloads = read().downloads
    assert downloads.max_bytes_per_s == 0
    assert downloads.windows is None
    assert read().central.proxy is None


def test_windows_come_with_the_plants_time_zone() -> None:
    windows = 'windows = ["mon-fri 22:00-05:00", "sun"], time_zone = "Europe/Berlin"'
    more = f"downloads = {{ max_bytes_per_s = 500000, {windows} }}"
    downloads = read(more).downloads
    assert downloads.max_bytes_per_s == 500_000
    assert downloads.windows is not None
    assert downloads.windows.zone.key == "Europe/Berlin"
    assert len(downloads.windows.windows) == 2


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('downloads.windows = ["sun"]', "downloads.time_zone: expected the plant's time zone"),
        ('downloads = { windows = ["sun"], time_zone = "Mars/Olympus" }', "got 'Mars/Olympus'"),
        ('downloads = { windows = ["sun"], time_zone = "/etc/passwd" }', "got '/etc/passwd'"),
        ('downloads = { windows = ["at night"], time_zone = "UTC" }', "downloads.windows: expected a window like"),
        ("downloads.max_bytes_per_s = 100", "expected 0 (no limit) or at least 4096, got 100"),
        ('central.proxy = "proxy:3128"', "central.proxy: expected http://host:port or https://host:port"),
        ('central.proxy = "http://anna:secret@proxy:3128"', "central.proxy: expected no user in it"),
        ('central.proxy_username = "anna"', "central.proxy_username: expected central.proxy beside it"),
        (
            'central.proxy = "http://proxy:3128"\ncentral.proxy_password = "x"',
            "central.proxy_password: expected central.proxy_username beside it",
        ),
    ],
)
def test_wrong_setting_is_refused_with_its_key(more: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(more)
    assert any(expected in fault for fault in caught.value.faults), caught.value.faults


def test_password_of_the_proxy_is_not_shown() -> None:
    proxy = 'central.proxy = "http://proxy:3128"\ncentral.proxy_username = "anna"\ncentral.proxy_password = "hidden"'
    settings = read(proxy)
    assert settings.central.proxy is not None
    assert settings.central.proxy.auth == ("anna", "hidden")
    assert "hidden" not in settings.describe()
    assert "hidden" not in repr(settings.central)


def test_stations_of_one_process_name_the_same_rate() -> None:
    other = BASE.replace("st-1", "st-2").replace('"data"', '"data-2"')
    check_apart([read(), read(base=other)])
    with pytest.raises(SettingsError, match=r"downloads\.max_bytes_per_s: expected the same .* got 0, 5000"):
        check_apart([read(), read("downloads.max_bytes_per_s = 5000", other)])

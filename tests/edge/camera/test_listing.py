# SPDX-License-Identifier: Apache-2.0
import threading
import time
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.camera import aravis, listing
from edge_agent.camera.aravis import FoundCamera
from edge_agent.camera.listing import usb_cameras, video_numbers
from edge_agent.errors import DeviceError


def test_devices_that_are_no_video_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("video2", "video0", "video10", "videos", "tty0"):
        (tmp_path / name).touch()
    assert video_numbers(tmp_path) == [0, 2, 10]


def test_only_numbers_that_give_frames_are_listed() -> None:
    assert usb_cameras([0, 1, 2], lambda number: number != 1) == [0, 2]


def test_driver_that_hangs_keeps_nobody_waiting_for_long() -> None:
    hanging = threading.Event()
    begun = time.monotonic()
    assert usb_cameras([0, 1], lambda number: number == 1 or hanging.wait(60), timeout_s=0.4) == [1]
    assert time.monotonic() - begun < 5
    hanging.set()


def test_command_lists_what_was_found_and_says_where_nothing_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = FoundCamera("Maker-X1-77", "Maker", "X1", "77", "10.0.0.9", "00:11:22:33:44:55", "GigEVision")
    monkeypatch.setattr(listing, "find_cameras", lambda: [camera])
    monkeypatch.setattr(listing, "video_numbers", list)
    assert main(["cameras"]) == 0
    shown = capsys.readouterr().out
    assert "Maker-X1-77: vendor Maker, model X1, serial 77, address 10.0.0.9, GigEVision" in shown
    assert "none opens" in shown


def test_machine_without_the_library_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(DeviceError, match="need Aravis") as caught:
        aravis.find_cameras()
    assert "apt-get install gir1.2-aravis-0.8" in caught.value.remedy
    assert "pip install" in caught.value.remedy
    assert main(["cameras"]) == 0
    assert "not searched: GenICam cameras need Aravis" in capsys.readouterr().out

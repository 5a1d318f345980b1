# SPDX-License-Identifier: Apache-2.0
"""Finding GenICam cameras: by every name that one has, among several, and where there is none."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edge_agent.__main__ import main
from edge_agent.camera.aravis import find_cameras
from tests.edge.camera.gige import (
    ADDRESS,
    PORT,
    FakeGigeCamera,
    fake_gige_camera,
    need_aravis,
    opened,
    refused,
    the_port,
)
from tests.edge.camera.rigs import read

pytestmark = pytest.mark.genicam


@pytest.fixture
def camera() -> Iterator[FakeGigeCamera]:
    with fake_gige_camera("GV07") as made:
        yield made


class SeveralCameras:
    """Answers the search of Aravis as several cameras would, each with its serial number."""

    def __init__(self, serials: list[str]) -> None:
        self._serials = serials
        self._asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Where the search of Aravis goes, on loopback too.
        self._asked.bind(("255.255.255.255", PORT))
        self._asked.settimeout(0.1)
        self._answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._answering.bind((ADDRESS, 0))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._is_over.set()
        self._thread.join()
        self._asked.close()
        self._answering.close()

    def _answer(self) -> None:
        while not self._is_over.is_set():
            try:
                question, sender = self._asked.recvfrom(1024)
            except TimeoutError:
                continue
            for index, serial in enumerate(self._serials):
                self._answering.sendto(_discovery_answer(question[6:8], serial, index), sender)


def _discovery_answer(request_id: bytes, serial: str, index: int) -> bytes:
    """As the GigE Vision standard lays out a DISCOVERY_ACK."""
    told = bytearray(248)
    told[10:16] = bytes([2, 0, 0, 0, 0, index])
    told[36:40] = socket.inet_aton(f"10.0.0.{index + 1}")
    for start, text in ((72, "Maker"), (104, "X1"), (216, serial)):
        told[start : start + len(text)] = text.encode()
    return b"\x00\x00\x00\x03" + len(told).to_bytes(2, "big") + request_id + bytes(told)


@pytest.fixture
def several() -> Iterator[None]:
    need_aravis()
    with the_port():
        cameras = SeveralCameras(["A-1", "A-2"])
        try:
            yield
        finally:
            cameras.close()


def test_camera_is_found_and_listed_with_what_it_says_of_itself(
    camera: FakeGigeCamera, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    assert main(["cameras"]) == 0
    assert time.monotonic() - begun < 6
    assert "Aravis-Fake-GV07: vendor Aravis, model Fake, serial GV07, address 127.0.0.1" in capsys.readouterr().out
    assert camera is not None


@pytest.mark.parametrize("name", ["", "GV07", "Aravis-Fake-GV07", ADDRESS])
@pytest.mark.usefixtures("camera")
def test_camera_is_opened_by_its_id_serial_number_or_address_or_as_the_only_one(name: str) -> None:
    with opened(name) as source:
        assert read(source).pixels is not None


@pytest.mark.usefixtures("several")
def test_several_cameras_are_listed_when_the_settings_name_none() -> None:
    assert [found.serial for found in find_cameras()] == ["A-1", "A-2"]
    error = refused("")
    assert error.message.startswith("2 cameras were found")
    assert "Maker-X1-A-1 (serial A-1, 10.0.0.1), Maker-X1-A-2 (serial A-2, 10.0.0.2)" in error.message


@pytest.mark.usefixtures("several")
def test_name_that_nobody_has_is_refused_with_those_that_were_found() -> None:
    assert "these were: Maker-X1-A-1" in refused("A-3").message


def test_no_camera_is_one_clear_error() -> None:
    need_aravis()
    with the_port():
        assert "no GenICam camera was found" in refused("").message

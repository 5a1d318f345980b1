# SPDX-License-Identifier: Apache-2.0
"""Aravis' own fake GigE Vision camera as a private process on loopback."""

import fcntl
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.camera.aravis import load_aravis
from edge_agent.camera.genicam import FiringGenicamSource, GenicamSource
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from edge_agent.source_settings import GenicamSettings

ADDRESS = "127.0.0.1"
PORT = 3956
PROGRAM = "arv-fake-gv-camera-0.8"
# Of the pictures, instead of 512 × 512: few packets, so that a machine that is busy with other tests loses none.
HEIGHT_PX, WIDTH_PX = 96, 128
_QUESTION = bytes.fromhex("4201000200000001")
_WRITE = bytes.fromhex("4201008200080002")
_HEIGHT_REGISTER, _WIDTH_REGISTER = 0x104, 0x100


def need_aravis() -> None:
    """Skip where the library or its fake camera is not installed."""
    try:
        load_aravis()
    except DeviceError as error:
        pytest.skip(f"{error.message}: {error.remedy}")
    if shutil.which(PROGRAM) is None:
        pytest.skip("Aravis' fake camera is not installed: apt-get install aravis-tools")


class FakeGigeCamera:
    """The fake camera. It listens on the one port that GigE Vision has: one at a time, see `the_port`."""

    def __init__(self, serial: str = "GV07", *, lost_per_thousand: int = 0) -> None:
        self._options = ["-i", ADDRESS, "-s", serial, "-r", str(lost_per_thousand)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program and wait until it answers."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([PROGRAM, *self._options], stdin=quiet, stdout=quiet, stderr=quiet)
        give_up_at = time.monotonic() + 20
        while not answers():
            assert time.monotonic() < give_up_at, "the fake camera does not answer"
            assert self._process.poll() is None, "the fake camera has ended: is the port of GigE Vision taken?"
        _ask(_WRITE + struct.pack(">II", _HEIGHT_REGISTER, HEIGHT_PX))
        _ask(_WRITE + struct.pack(">II", _WIDTH_REGISTER, WIDTH_PX))

    def kill(self) -> None:
        """Unplug it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=20)

    def freeze(self) -> None:
        """Let it answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def answers() -> bool:
    """Whether a camera answers on loopback."""
    try:
        return _ask(_QUESTION, timeout_s=0.1)
    except OSError:
        time.sleep(0.02)
        return False


def _ask(message: bytes, timeout_s: float = 20) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(timeout_s)
        asking.connect((ADDRESS, PORT))
        asking.send(message)
        return bool(asking.recv(1024))


@contextmanager
def the_port() -> Iterator[None]:
    """Hold the port of GigE Vision against tests of other processes."""
    with (Path(tempfile.gettempdir()) / "sightline-tests-gige-port.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def fake_gige_camera(serial: str = "GV07", *, lost_per_thousand: int = 0) -> Iterator[FakeGigeCamera]:
    """A camera that runs."""
    need_aravis()
    with the_port():
        camera = FakeGigeCamera(serial, lost_per_thousand=lost_per_thousand)
        try:
            camera.start()
            yield camera
        finally:
            camera.kill()


@contextmanager
def opened(name: str = ADDRESS, *, rate_hz: float = 0.0, buffers: int = 8, **settings: Any) -> Iterator[GenicamSource]:
    """A source that is open; the settings are those of `GenicamSettings`."""
    source = GenicamSource(name, GenicamSettings(**settings), SystemClock(), rate_hz=rate_hz, buffers=buffers)
    try:
        source.open()
        yield source
    finally:
        source.close()


@contextmanager
def opened_to_fire(**settings: Any) -> Iterator[FiringGenicamSource]:
    """A source that is open and waits for software triggers."""
    source = FiringGenicamSource(ADDRESS, GenicamSettings(trigger="software", **settings), SystemClock())
    try:
        source.open()
        yield source
    finally:
        source.close()


def refused(name: str = ADDRESS, *, rate_hz: float = 0.0, **settings: Any) -> DeviceError:
    """The error with which such a source is not opened."""
    with pytest.raises(DeviceError) as caught, opened(name, rate_hz=rate_hz, **settings):
        pass
    assert caught.value.remedy
    return caught.value

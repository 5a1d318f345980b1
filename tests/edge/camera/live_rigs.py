# SPDX-License-Identifier: Apache-2.0
"""Rigs whose camera is a program of its own: an RTSP server and Aravis' fake GigE Vision camera."""

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.camera.genicam import FiringGenicamSource, GenicamSource
from edge_agent.camera.opencv import OpenCvSource
from edge_agent.clock import SystemClock
from edge_agent.source_settings import GenicamSettings
from tests.edge.camera.gige import HEIGHT_PX, WIDTH_PX, fake_gige_camera
from tests.edge.camera.rigs import FIRST, FRAMES, Rig, free_port
from tests.edge.camera.rtsp_server import PATH

_HAS_RTSP_SERVER = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(Gst.ElementFactory.find(name) for name in ("videotestsrc", "jpegenc", "rtpjpegpay"))
"""


class RtspCamera:
    """The RTSP server as a private process, always on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}{PATH}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; returns when it listens."""
        program = [sys.executable, "-m", "tests.edge.camera.rtsp_server", str(self.port)]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def freeze(self) -> None:
        """Let it send nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Take it away."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=20)
            self._process = None


def need_rtsp_server() -> None:
    """Skip where GStreamer's RTSP server is not installed."""
    is_there = importlib.util.find_spec("gi") is not None
    if (
        not is_there
        or subprocess.run([sys.executable, "-c", _HAS_RTSP_SERVER], check=False, stderr=subprocess.DEVNULL).returncode
    ):
        pytest.skip(
            "GStreamer's RTSP server is not installed: apt-get install gir1.2-gst-rtsp-server-1.0 "
            "gstreamer1.0-plugins-base gstreamer1.0-plugins-good libgirepository1.0-dev libcairo2-dev pkg-config gcc, "
            "then make install"
        )


@contextmanager
def rtsp(_folder: Path) -> Iterator[Rig]:
    need_rtsp_server()
    camera = RtspCamera()
    source = OpenCvSource(camera.url, SystemClock(), first_trigger=FIRST, product="ring")
    try:
        camera.start()
        yield Rig(
            source,
            OpenCvSource(f"rtsp://127.0.0.1:{free_port()}{PATH}", SystemClock()),
            is_simulated=False,
            hush=camera.freeze,
            lose=camera.kill,
            come_back=camera.start,
        )
    finally:
        source.close()
        camera.kill()


def waiting_frames(source: GenicamSource) -> int:
    """Frames that have come and were not read."""
    assert source._session is not None
    return int(source._session.stream.get_n_buffers()[1])


@contextmanager
def genicam(_folder: Path) -> Iterator[Rig]:
    settings = GenicamSettings(trigger="software", pixel_format="RGB8")
    with fake_gige_camera() as camera:
        source = FiringGenicamSource("127.0.0.1", settings, SystemClock(), first_trigger=FIRST, product="ring")

        def feed() -> None:
            for _ in range(FRAMES):
                wanted = waiting_frames(source) + 1
                source.fire()
                # The fake camera forgets a trigger that comes before it has taken the last.
                give_up_at = time.monotonic() + 20
                while waiting_frames(source) < wanted:
                    assert time.monotonic() < give_up_at, "the fake camera took no frame"
                    time.sleep(0.01)

        try:
            yield Rig(
                source,
                GenicamSource("nobody", settings, SystemClock()),
                is_simulated=False,
                feed=feed,
                lose=camera.kill,
                come_back=camera.start,
                shape=(HEIGHT_PX, WIDTH_PX, 3),
            )
        finally:
            source.close()


LIVE_RIGS = [pytest.param(rtsp, marks=pytest.mark.rtsp), pytest.param(genicam, marks=pytest.mark.genicam)]

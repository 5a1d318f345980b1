# SPDX-License-Identifier: Apache-2.0
"""A GigE camera that was without power for a moment: it answers again before it is missed, and obeys nobody."""

import importlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.camera.aravis import load_aravis
from edge_agent.camera.genicam import GenicamSource
from edge_agent.camera.gige_watch import GigeWatch
from tests.edge.camera.gige import FakeGigeCamera, fake_gige_camera, need_aravis, opened
from tests.edge.camera.rigs import opened_again, read, until_lost

pytestmark = pytest.mark.genicam


@pytest.fixture
def camera() -> Iterator[FakeGigeCamera]:
    with fake_gige_camera() as made:
        yield made


def test_camera_that_answers_but_no_longer_obeys_is_gone_until_it_is_opened_again(
    camera: FakeGigeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(rate_hz=20.0) as source:
        before = read(source).trigger_number
        # It was back before a question went unanswered, however busy this machine is.
        monkeypatch.setattr(GigeWatch, "is_there", lambda _watch: True)
        camera.kill()
        camera.start()
        assert until_lost(source, within_s=20).code == "source-gone"
        source.close()
        opened_again(source)
        assert read(source).trigger_number > before


@pytest.mark.usefixtures("camera")
def test_nothing_of_ours_runs_in_the_thread_that_ends_with_the_device() -> None:
    """What listened there could be the last to hold the device, whose end then waits for its own thread: an abort."""
    with opened(rate_hz=20.0) as source:
        device = device_of(source)
        assert not is_listened_to(device)
        handler = device.connect("control-lost", print)
        assert is_listened_to(device)
        device.disconnect(handler)


def test_camera_without_a_network_is_listened_to_until_it_is_let_go() -> None:
    """Aravis' camera within the process stands for one on the USB, of which Aravis tells nothing else."""
    need_aravis()
    aravis = load_aravis()
    aravis.enable_interface("Fake")
    try:
        # So slow that reading finds no frame between two: whoever is lost sends none, this one goes on.
        with opened("Fake_1", rate_hz=4.0) as source:
            device = device_of(source)
            assert read(source).pixels is not None
            assert is_listened_to(device)
            threading.Thread(target=device.emit, args=("control-lost",)).start()
            assert until_lost(source, within_s=20).code == "source-gone"
            source.close()
            assert not is_listened_to(device)
            del device
            opened_again(source)
            assert read(source).pixels is not None
    finally:
        aravis.disable_interface("Fake")


def device_of(source: GenicamSource) -> Any:
    assert source._session is not None
    return source._session.camera.get_device()


def is_listened_to(device: Any) -> bool:
    gobject = importlib.import_module("gi.repository.GObject")
    signal_id = gobject.signal_lookup("control-lost", device)
    assert signal_id
    return bool(gobject.signal_has_handler_pending(device, signal_id, detail=0, may_be_blocked=True))

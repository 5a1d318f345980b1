# SPDX-License-Identifier: Apache-2.0
import base64
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.reports import StationReported
from edge_agent.errors import DeviceError, SettingsError
from edge_agent.frame_queue import QueuedFrame
from edge_agent.page.server import _LONGEST_S, _MAX_CONNECTIONS
from edge_agent.settings import load_settings
from tests.edge.commissioning.rig import scene
from tests.edge.page.rig import PageRig
from tests.edge.station_fakes import frame_of, textured
from tests.edge.test_settings import WHOLE
from tests.fakes.waiting import wait_until

TOKEN = "a-token-of-sixteen-and-more"


@pytest.fixture
def rig() -> Iterator[PageRig]:
    made = PageRig()
    made.page.start()
    yield made
    made.page.stop()


def decoded(body: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(body, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, dtype=np.uint8)


def test_parts_are_shown_newest_first_with_score_cause_and_budget(rig: PageRig) -> None:
    rig.see(score=0.1)
    rig.see(score=0.9, takes_s=0.02, part_id="<b>&")
    rig.see(pixels=np.zeros((64, 64, 3), dtype=np.uint8))
    page = rig.shown()
    assert [(part["verdict"], part["cause"], part["score"]) for part in page["parts"]] == [
        ("NO_DECISION", "IMAGE_FAULT", None),
        ("NG", "SCORE", 0.9),
        ("OK", "SCORE", 0.1),
    ]
    assert page["parts"][1]["part_id"] == "<b>&"
    infer = next(stage for stage in page["stages"] if stage["stage"] == "INFER")
    assert (infer["budget_ms"], infer["over_budget"], infer["max_ms"]) == (5.0, 1, pytest.approx(20, abs=1))
    for _ in range(60):
        rig.see()
    rig.clock.advance(1)
    assert len(rig.shown()["parts"]) == 50


def test_missed_parts_are_among_those_shown(rig: PageRig) -> None:
    rig.see()
    rig.number += 2
    rig.see()
    assert [part["cause"] for part in rig.shown()["parts"]] == ["SCORE", "MISSED_FRAME", "MISSED_FRAME", "SCORE"]


def test_picture_is_the_newest_one_with_region_and_heat_when_wanted(rig: PageRig) -> None:
    assert rig.ask("/picture.jpg")[0] == 404
    assert rig.shown()["picture"] is None
    grey = np.full((96, 96, 3), 128, dtype=np.uint8)
    grey[30, 30] = 0
    rig.see(score=0.9, pixels=grey)
    plain = decoded(rig.ask("/picture.jpg")[1])
    assert plain.shape == (96, 96, 3)
    boxed, warm = decoded(rig.ask("/picture.jpg?roi")[1]), decoded(rig.ask("/picture.jpg?heat")[1])
    # Yellow on the region's edge and nowhere outside; heat inside the region alone.
    assert int(boxed[8, 20, 2]) - int(boxed[8, 20, 0]) > 80
    assert np.abs(boxed[64:].astype(int) - plain[64:]).max() < 12
    assert int(np.ptp(plain[20, 20])) < 8
    assert int(np.ptp(warm[20, 20])) > 30
    assert np.abs(warm[64:].astype(int) - plain[64:]).max() < 12
    assert grey[8, 20].tolist() == [128, 128, 128], "the station's own frame was drawn into"


def test_frame_without_pixels_leaves_the_last_picture_standing(rig: PageRig) -> None:
    rig.see()
    rig.bench.loop.inspect(QueuedFrame(frame_of(2, rig.clock, pixels=None, fault="torn")))
    page = rig.shown()
    assert page["parts"][0]["image_fault"] == "UNREADABLE"
    assert page["picture"]["trigger_number"] == 1
    assert rig.ask("/picture.jpg")[0] == 200


def test_many_who_watch_cost_one_picture(rig: PageRig) -> None:
    rig.see()
    for _ in range(5):
        rig.ask("/picture.jpg")
    assert rig.page._picture.encoded == 1
    rig.see()
    rig.ask("/picture.jpg")
    assert rig.page._picture.encoded == 1, "sooner than the cap allows"
    rig.clock.advance(1)
    rig.ask("/picture.jpg")
    assert rig.page._picture.encoded == 2


def test_large_picture_is_sent_small(rig: PageRig) -> None:
    rig.see(pixels=textured(1200, 2400))
    assert decoded(rig.ask("/picture.jpg?roi&heat")[1]).shape == (512, 1024, 3)


def test_aid_knows_the_last_minute_and_the_best(rig: PageRig) -> None:
    for blur_px in (6.0, 0.0, 3.0):
        rig.clock.advance(1)
        rig.see(pixels=scene(blur_px=blur_px))
        aid = rig.shown()["aid"]
    sharpness = [one[1] for one in aid["minute"]]
    assert sharpness[1] == max(sharpness) == aid["best_sharpness"] > aid["sharpness"] == sharpness[2]
    assert aid["focus"]["level"] in {"OK", "WARN"}
    rig.clock.advance(61)
    rig.see(pixels=scene(12))
    aid = rig.shown()["aid"]
    assert (len(aid["minute"]), aid["best_sharpness"], aid["light"]["level"]) == (1, max(sharpness), "WARN")


def test_status_is_the_one_that_central_gets_and_shows_no_login(rig: PageRig) -> None:
    rig.health.source_lost(DeviceError("cannot open 'rtsp://admin:hunter2@10.0.0.9/live'", remedy="check"))
    for path in ("/status.json", "/page.json"):
        body = rig.ask(path)[1]
        assert b"hunter2" not in body
        assert b"rtsp://10.0.0.9/live" in body
    assert StationReported.model_validate_json(rig.ask("/status.json")[1]).state.value == "FAULT"


def test_page_is_read_only_and_forbids_what_it_does_not_need(rig: PageRig) -> None:
    status, body, answer = rig.ask("/")
    assert status == 200
    policy = answer.getheader("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in body
    assert b"https://" not in body
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert rig.ask("/", method)[0] == 405
    assert rig.ask("/../../etc/passwd")[0] == 404


def test_name_of_another_site_learns_nothing(rig: PageRig) -> None:
    rig.see()
    for path in ("/", "/page.json", "/picture.jpg", "/metrics"):
        assert rig.ask(path, Host="rebound.example:80")[0] == 421
    assert rig.ask("/page.json", Host="localhost:9000")[0] == 200


def test_token_is_wanted_from_everybody_when_there_is_one() -> None:
    rig = PageRig(token=TOKEN)
    rig.page.start()
    try:
        rig.see()
        basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
        for path in ("/", "/page.json", "/status.json", "/picture.jpg", "/metrics", "/page.js"):
            assert rig.ask(path)[0] == 401
            assert rig.ask(path, Authorization="Bearer another")[0] == 401
            assert rig.ask(path, Authorization="Basic %%%")[0] == 401
            assert rig.ask(path, Authorization=f"Bearer {TOKEN}", Host="station.plant")[0] == 200
            assert rig.ask(path, Authorization=f"Basic {basic}")[0] == 200
        assert rig.ask("/healthz")[0] == 200
        assert TOKEN.encode() not in rig.ask("/page.json", Authorization=f"Bearer {TOKEN}")[1]
    finally:
        rig.page.stop()


def test_healthz_names_a_thread_that_is_not_heard_any_more(rig: PageRig) -> None:
    rig.health.liveness.beat("judge", 15)
    assert rig.ask("/healthz")[0] == 200
    rig.clock.advance(16)
    status, body, _ = rig.ask("/healthz")
    assert (status, body) == (503, b"stalled: judge\n")


def test_connections_are_bounded_and_a_dripping_one_makes_room(rig: PageRig) -> None:
    held = [socket.create_connection(("127.0.0.1", rig.port), timeout=30) for _ in range(_MAX_CONNECTIONS)]
    try:
        server = rig.page._server
        assert server is not None
        wait_until(lambda: len(server._open) == _MAX_CONNECTIONS)
        with pytest.raises((ConnectionError, OSError)):
            rig.ask("/healthz")
        assert server.refused == 1
        rig.clock.advance(_LONGEST_S + 1)
        assert rig.ask("/healthz")[0] == 200
    finally:
        for each in held:
            each.close()


def test_port_that_is_taken_costs_the_page_and_not_the_station(caplog: pytest.LogCaptureFixture) -> None:
    rig = PageRig()
    with socket.create_server(("127.0.0.1", rig.port)), caplog.at_level(logging.WARNING):
        rig.page.start()
    assert rig.page.url == ""
    assert "set page.port to a free one" in caplog.text
    (fault,) = rig.page.faults()
    assert fault.code == "page-missing"
    assert f"127.0.0.1:{rig.port} cannot be had: Address already in use" in fault.message
    assert "set page.port to a free one" in fault.remedy
    rig.see()
    rig.page.stop()


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('host = "0.0.0.0"', "page.token"),
        ('host = "0.0.0.0"\ntoken = "short"', "page.token"),
        ('host = "everywhere"', "page.host"),
        ("port = 70000", "page.port"),
    ],
)
def test_page_beyond_loopback_needs_a_token(tmp_path: Path, table: str, key: str) -> None:
    path = tmp_path / "station.toml"
    path.write_text(f"{WHOLE}\n[page]\n{table}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert key in {fault.split(":")[0] for fault in caught.value.faults}


def test_page_is_on_loopback_unless_said_otherwise_and_0_switches_it_off(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(WHOLE)
    page = load_settings(path, {}).page
    assert (page.port, page.host, page.token) == (8077, "127.0.0.1", "")
    path.write_text(f'{WHOLE}\n[page]\nhost = "0.0.0.0"\ntoken = "{TOKEN}"\n')
    settings = load_settings(path, {})
    assert settings.page.host == "0.0.0.0"  # noqa: S104 - what the test is about
    assert TOKEN not in settings.describe() + repr(settings)
    path.write_text(f"{WHOLE}\n[page]\nport = 0\n")
    assert load_settings(path, {}).page.port == 0


def test_page_json_is_json_without_a_package_and_without_a_part() -> None:
    rig = PageRig(is_active=False)
    assert json.loads(rig.page._views.page_json())["parts"] == []

# SPDX-License-Identifier: Apache-2.0
"""Set-ups that are really broken, one thing at a time: each is named, with what to do."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.commissioning.doctor import bounded
from edge_agent.commissioning.findings import Finding, Level, as_text, exit_code, ok, warn
from edge_agent.commissioning.package_check import PROBE_GRAPH
from tests.edge.commissioning.probe_graph import probe_graph
from tests.edge.commissioning.rig import Central, StationFolder, scene
from tests.fakes.brokers import MOSQUITTO, Mosquitto
from tests.fakes.certificates import make_certificates
from tests.fakes.controllers import ModbusController


@pytest.fixture
def station(tmp_path: Path) -> StationFolder:
    return StationFolder(tmp_path / "station")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    started: list[Mosquitto] = []

    def start(*more: str, anonymous: bool = True) -> Mosquitto:
        made = Mosquitto(tmp_path / "broker", *more, anonymous=anonymous)
        started.append(made)
        made.start()
        return made

    yield start
    for each in started:
        each.kill()


@pytest.mark.broker
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_whole_station_has_nothing_but_this_machines_own_clock_to_look_at(
    station: StationFolder, broker: Callable[..., Mosquitto]
) -> None:
    with Central() as central:
        station.values |= {"broker.url": broker().url, "central.url": central.url}
        found = station.findings()
    worse = [finding for finding in found if finding.level is not Level.OK]
    # Whether network time is on is not the test's to choose.
    assert {finding.check for finding in worse} <= {"network time"}, worse
    checked = {finding.check for finding in found}
    wanted = {"settings", "data_dir", "disk", "trust", "provider", "package", "camera", "light", "focus"}
    assert wanted | {"broker", "central", "central token", "clock"} <= checked


def test_dead_broker_is_told_from_an_unknown_name(station: StationFolder) -> None:
    dead = station.finding("broker", Level.FAIL)
    assert "nobody listens" in dead.found
    assert "start the broker" in dead.remedy
    station.values["broker.url"] = "mqtt://no-such-host.invalid:1883"
    unknown = station.finding("broker", Level.FAIL)
    assert "name in broker.url is not known" in unknown.found


@pytest.mark.broker
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_wrong_password_is_told_from_a_broker_that_cannot_be_reached(
    station: StationFolder, broker: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    passwords = tmp_path / "passwords"
    program = shutil.which("mosquitto_passwd", path="/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([program, "-b", "-c", str(passwords), "st-1", "right"], check=True, timeout=60)
    passwords.chmod(0o600)
    started = broker(f"password_file {passwords}", anonymous=False)
    station.values |= {"broker.url": started.url, "broker.username": "st-1", "broker.password": "wrong-one"}
    refused = station.finding("broker", Level.FAIL)
    assert "refuses the login of user 'st-1'" in refused.found
    assert "broker.password" in refused.remedy
    assert "wrong-one" not in as_text([refused])
    station.values["broker.password"] = "right"
    assert "logged in as 'st-1'" in station.finding("broker", Level.OK).found


@pytest.mark.broker
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_tls_troubles_are_told_apart(station: StationFolder, broker: Callable[..., Mosquitto], tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    started = broker(f"certfile {files.server}", f"keyfile {files.server_key}")
    station.values |= {"broker.url": f"mqtts://127.0.0.1:{started.port}", "broker.ca_file": files.authority}
    assert "over TLS" in station.finding("broker", Level.OK).found
    station.values["broker.url"] = f"mqtts://localhost:{started.port}"
    assert "certificate of localhost" in (wrong := station.finding("broker", Level.FAIL)).found
    assert "another name" in wrong.found
    del station.values["broker.ca_file"]
    unknown = station.finding("broker", Level.FAIL)
    assert "not trusted here" in unknown.found
    assert "broker.ca_file" in unknown.remedy


def test_proxy_that_is_not_there_is_named_and_not_central(station: StationFolder) -> None:
    station.values["central.proxy"] = "http://127.0.0.1:1"
    missing = station.finding("central", Level.FAIL)
    assert "central.proxy" in missing.remedy
    assert "central.url" not in missing.remedy


def test_port_that_speaks_no_mqtt_and_no_tls_is_named(station: StationFolder) -> None:
    with Central() as central:
        station.values["broker.url"] = central.url.replace("http", "mqtt")
        assert "does not speak MQTT" in station.finding("broker", Level.FAIL).found
        station.values["broker.url"] = central.url.replace("http", "mqtts")
        assert "answers without TLS" in station.finding("broker", Level.FAIL).found


def test_dark_pictures_are_named_with_lamp_and_exposure(station: StationFolder) -> None:
    station.show(scene(12))
    dark = station.finding("light", Level.WARN)
    assert "too dark" in dark.found
    assert "exposure" in dark.remedy
    station.show(scene(0))
    assert "brightness 0.0, expected at least" in station.finding("light", Level.FAIL).found


def test_burnt_out_and_blurred_pictures_are_named(station: StationFolder) -> None:
    station.show(scene(240))
    assert "too bright" in station.finding("light", Level.WARN).found
    station.show(scene(blur_px=4))
    blurred = station.finding("focus", Level.WARN)
    assert "blurred" in blurred.found
    assert "focus ring" in blurred.remedy


def test_empty_folder_and_unreadable_pictures_are_named(station: StationFolder) -> None:
    station.show()
    assert "no pictures" in station.finding("camera", Level.FAIL).found
    (station.pictures / "broken.png").write_bytes(b"no picture")
    assert "readable picture" in station.finding("picture", Level.FAIL).found


def test_unknown_provider_fails_and_says_what_there_is(station: StationFolder) -> None:
    assert "asked for auto, got CPUExecutionProvider" in station.finding("provider", Level.OK).found
    station.values["inference.provider"] = "CUDAExecutionProviderr"
    unknown = station.finding("provider", Level.FAIL)
    assert "inference.provider = 'CUDAExecutionProviderr'" in unknown.found
    assert "CPUExecutionProvider" in unknown.found
    assert "edge-gpu" in unknown.remedy


def test_wrong_token_and_skewed_clock_are_found_by_a_central_that_answers(station: StationFolder) -> None:
    with Central() as central:
        station.values |= {"central.url": central.url, "central.token": "another"}
        wrong = station.finding("central token", Level.FAIL)
        assert "does not accept central.token" in wrong.found
        assert "role STATION" in wrong.remedy
        assert "another" not in wrong.found
        central.ahead = timedelta(hours=1)
        late = station.finding("clock", Level.FAIL)
        assert "behind central's" in late.found
        assert abs(float(late.found.split()[0]) - 3600) < 5
        assert "timedatectl" in late.remedy
        central.ahead = timedelta(seconds=-20)
        assert "ahead of central's" in station.finding("clock", Level.WARN).found
        central.version = "99.0"
        assert "version 99.0" in station.finding("central", Level.WARN).found


def test_date_that_a_busy_central_sends_late_is_no_skew(station: StationFolder) -> None:
    with Central() as central:
        station.values |= {"central.url": central.url}
        late = timedelta(seconds=30)
        central.staleness = [late, late, timedelta()]
        station.finding("clock", Level.OK)
        # One that is late each time cannot be told from a clock that is ahead.
        central.staleness = [late, 2 * late, late]
        assert abs(float(station.finding("clock", Level.WARN).found.split()[0]) - 30) < 5


def test_disk_that_is_too_small_is_named_with_its_bounds(station: StationFolder) -> None:
    station.values["bounds.evidence_max_bytes"] = 1024**4
    small = station.finding("disk", Level.WARN)
    assert "bounds in the settings allow" in small.found
    assert "bounds.evidence_max_bytes" in small.remedy


def test_full_disk_is_a_failure(station: StationFolder, tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        (mounted / "filler").write_bytes(bytes(64 * 1024))
        station.values["data_dir"] = str(mounted / "data")
        full = station.finding("disk", Level.FAIL)
        assert "cannot be written: No space left" in full.found
        (mounted / "filler").unlink()
        assert "MiB free" in station.finding("disk", Level.FAIL).found
    finally:
        subprocess.run(["umount", str(mounted)], check=True, timeout=60)


def test_altered_package_and_missing_trust_are_named(station: StationFolder) -> None:
    graph = next((station.folder / "data" / "packages" / "ring" / station.package_id).glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    altered = station.finding("package", Level.FAIL)
    assert "DIGEST" in altered.found
    (station.folder / "assignment.pub").unlink()
    assert "trust.assignment_key" in station.finding("trust", Level.FAIL).found
    (station.folder / "assignment.pub").write_text("{}")
    assert "trust.assignment_key" in station.finding("trust", Level.FAIL).found


def test_station_at_work_is_seen_and_left_alone(station: StationFolder) -> None:
    with (station.folder / "data" / "outbox.db.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        staged = station.folder / "data" / "packages" / ".staging" / "half"
        staged.mkdir()
        station.values |= {"source.kind": "opencv", "source.url": "0"}
        found = station.findings()
        assert staged.is_dir(), "a download of the running station was removed"
    seen = {finding.check: finding for finding in found}
    assert seen["data_dir"].level is Level.WARN
    assert "the running station has the camera" in seen["camera"].found
    assert not any(finding.check == "data_dir" and finding.level is Level.WARN for finding in station.findings())


def test_every_fault_of_the_settings_is_a_finding_with_its_line(station: StationFolder) -> None:
    station.values |= {"broker.url": "http://x", "central.token": "", "typo": 1}
    found = station.findings()
    assert {finding.level for finding in found} == {Level.FAIL}
    told = {finding.found.split(":")[0]: finding.found for finding in found}
    assert set(told) == {"broker.url", "central.token", "typo"}
    assert "(line 5)" in told["broker.url"]


def test_check_that_hangs_or_fails_is_a_finding_and_ends_in_time() -> None:
    gate = threading.Event()
    began = time.monotonic()
    (hung,) = bounded("camera", lambda: [ok("camera", str(gate.wait()))], 0.1)
    assert time.monotonic() - began < 5
    gate.set()
    assert "no answer within" in hung.found

    def broken() -> list[Finding]:
        raise ZeroDivisionError

    (failed,) = bounded("camera", broken, 5)
    assert "ZeroDivisionError" in failed.found
    assert failed.level is Level.FAIL


def test_broker_that_takes_connections_and_says_nothing_is_left_in_time(station: StationFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        station.values["broker.url"] = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        assert "does not speak MQTT" in station.finding("broker", Level.FAIL).found
        assert time.monotonic() - began < 30


def test_exit_code_is_that_of_the_worst_finding() -> None:
    assert exit_code([ok("a", "b")]) == 0
    assert exit_code([ok("a", "b"), warn("a", "b", "c")]) == 1
    assert exit_code([warn("a", "b", "c"), Finding("a", Level.FAIL, "b")]) == 2


def test_command_prints_json_without_logins_and_ends_with_the_exit_code(
    station: StationFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("SIGHTLINE_")]:
        monkeypatch.delenv(name)
    station.values |= {"source.kind": "opencv", "source.url": "rtsp://admin:hunter2@127.0.0.1:1/live"}
    assert main(["doctor", "--settings", str(station.settings()), "--json"]) == 2
    shown = capsys.readouterr().out
    assert json.loads(shown)["exit_code"] == 2
    assert "rtsp://127.0.0.1:1/live" in shown
    assert "hunter2" not in shown


def test_probe_graph_is_the_one_that_its_script_writes() -> None:
    assert probe_graph() == PROBE_GRAPH


CHANGEOVER = {
    "changeover.kind": "modbus",
    "changeover.address": 40,
    "changeover.confirm_address": 41,
    "changeover.products.1": "ring",
}


@pytest.fixture
def controller() -> Iterator[ModbusController]:
    made = ModbusController()
    made.start()
    yield made
    made.kill()


def test_changeover_says_what_the_controller_says_and_writes_nothing(
    station: StationFolder, controller: ModbusController
) -> None:
    station.values |= {**CHANGEOVER, "changeover.url": controller.url}
    controller.set_registers(40, [1, 9])
    assert "says 1: ring" in station.finding("changeover", Level.OK).found
    assert "can be read, it says 9" in station.finding("changeover confirmation", Level.OK).found
    assert controller.registers(40, 2) == [1, 9]
    controller.set_registers(40, [7])
    unknown = station.finding("changeover", Level.WARN)
    assert "says 7, which is no product (1 = ring): every part is held" in unknown.found
    assert "changeover.products" in unknown.remedy


def test_changeover_whose_controller_is_away_or_refuses_is_named(
    station: StationFolder, controller: ModbusController
) -> None:
    station.values |= {**CHANGEOVER, "changeover.url": controller.url, "changeover.confirm_address": 50_000}
    controller.set_registers(40, [1])
    assert "would wait for ever" in station.finding("changeover confirmation", Level.FAIL).found
    controller.kill()
    away = station.finding("changeover", Level.FAIL)
    assert "cannot connect" in away.found
    assert "check the controller" in away.remedy


def test_station_without_a_changeover_is_not_asked_for_one(station: StationFolder) -> None:
    assert not [finding for finding in station.findings() if finding.check.startswith("changeover")]

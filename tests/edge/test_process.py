# SPDX-License-Identifier: Apache-2.0
"""The whole station as a process: a simulated camera before it, a hand-made package in it, the real outbox."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from contracts import codec
from contracts.commands import RejectSignal, ReportsCommitted, SequenceRange
from contracts.reports import InspectionReported, InspectionsReported, StationReported
from contracts.topics import Channel, topic
from contracts.vocabulary import Disposition, StationState, Verdict, VerdictCause
from edge_agent.clock import SystemClock
from edge_agent.reporting.bus import PahoBus
from edge_agent.reporting.outbox import Outbox
from plant.processes.broker import free_port
from tests.edge import tiny_package
from tests.edge.camera.simulator import CameraSimulator, packed
from tests.edge.station_fakes import STATION

OK, REVIEW, NG = 40, 128, 220


@dataclass
class Line:
    """A camera, a station's folder and its settings file."""

    folder: Path
    camera: CameraSimulator
    settings: Path
    package_id: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the station; returns when it has connected to the camera."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
        log = (self.folder / f"log-{len(self.processes)}.txt").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "--settings", str(self.settings)],
            stdout=log,
            stderr=log,
            env=environ,
        )
        log.close()
        self.processes.append(process)
        self.camera.client(timeout_s=60)
        wait_until(lambda: "package active" in self.log(), "package")
        return process

    def log(self) -> str:
        """What the newest process logged."""
        return (self.folder / f"log-{len(self.processes) - 1}.txt").read_text()

    def recorded(self) -> list[InspectionReported]:
        """What the stopped station left in its outbox, oldest first."""
        outbox = Outbox(self.folder / "data" / "outbox.db", SystemClock())
        try:
            rows = outbox.committed_after(0, 100_000)
        finally:
            outbox.close()
        return [InspectionReported.model_validate_json(row.body) for row in rows]


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Poll until it holds."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.02)


@contextlib.contextmanager
def made_line(folder: Path, broker_port: int) -> Iterator[Line]:
    camera = CameraSimulator()
    package_id = tiny_package.install(folder / "data")
    key = CryptoSigner.generate_ed25519().public_key
    (folder / "assignment.pub").write_text(json.dumps({"keyid": key.keyid, **key.to_dict()}))
    (folder / "root.json").write_text("{}")
    settings = folder / "station.toml"
    settings.write_text(
        f"""
site = "{STATION.site}"
line = "{STATION.line}"
station = "{STATION.station}"
data_dir = "data"
heartbeat_s = 0.2
broker = {{ url = "mqtt://127.0.0.1:{broker_port}", keepalive_s = 5 }}
central = {{ url = "http://127.0.0.1:{free_port()}", token = "none" }}
trust = {{ root = "root.json", assignment_key = "assignment.pub" }}
source = {{ kind = "simulated", url = "{camera.url}", retry_max_s = 0.2 }}
recipe.ring.deadline_ms = 30000
"""
    )
    line = Line(folder, camera, settings, package_id)
    try:
        yield line
    finally:
        for process in line.processes:
            process.kill()
            process.wait(timeout=60)
        camera.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A line whose broker and central are away."""
    with made_line(tmp_path, free_port()) as made:
        yield made


def send(line: Line, *parts: tuple[int, int]) -> None:
    """Frames as (trigger number, brightness), at a pace that no queue minds."""
    for number, brightness in parts:
        line.camera.send(packed(number, tiny_package.part(brightness)))
        time.sleep(0.05)


def test_station_judges_without_broker_and_central_and_keeps_every_report_over_sigterm(line: Line) -> None:
    process = line.start()
    send(line, (1, OK), (2, REVIEW), (3, NG), (5, OK))
    wait_until(lambda: "first=4" in line.log(), "the gap was seen")
    send(line, (6, OK))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0, line.log()
    reports = line.recorded()
    assert [report.trigger_number for report in reports] == [1, 2, 3, 4, 5, 6]
    verdicts = [Verdict.OK, Verdict.REVIEW, Verdict.NG, Verdict.NO_DECISION, Verdict.OK, Verdict.OK]
    assert [report.verdict for report in reports] == verdicts
    # No broker, no signal: the gate holds every part, and the reports say so.
    assert {report.disposition for report in reports} == {Disposition.HELD}
    assert all(report.is_simulated for report in reports)
    assert {report.package_id for report in reports} == {line.package_id, None}


@pytest.mark.slow
def test_part_lost_to_sigkill_is_reported_at_the_next_start_and_no_part_twice(line: Line) -> None:
    process = line.start()
    send(line, *((number, OK) for number in range(1, 11)))
    process.kill()
    process.wait(timeout=60)
    line.camera.hang_up()
    process = line.start()
    send(line, (15, OK), (16, NG))
    wait_until(lambda: "cause=SESSION_CRASHED" in line.log(), "the gap was seen")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0, line.log()
    reports = line.recorded()
    assert [report.trigger_number for report in reports] == list(range(1, 17))
    missed = [report for report in reports if report.cause is VerdictCause.SESSION_CRASHED]
    assert {11, 12, 13, 14} <= {report.trigger_number for report in missed}
    assert {report.verdict for report in missed} == {Verdict.NO_DECISION}


@pytest.mark.slow
def test_second_process_on_the_same_folder_is_refused_in_words(line: Line) -> None:
    line.start()
    second = subprocess.run(
        [sys.executable, "-m", "edge_agent", "run", "--settings", str(line.settings)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 1
    assert "another process" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    process = subprocess.Popen([program, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_up() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    try:
        wait_until(is_up, "mosquitto listens")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


class Central:
    """Listens to the station as central and the gate would; answers reports with receipts."""

    def __init__(self, port: int) -> None:
        self.lock = threading.Lock()
        self.signals: list[RejectSignal] = []
        self.reports: list[InspectionReported] = []
        self.statuses: list[StationReported] = []
        self.bus = PahoBus(f"mqtt://127.0.0.1:{port}", "central")
        self.bus.subscribe(topic(STATION, Channel.REJECT), self._on_signal)
        self.bus.subscribe(topic(STATION, Channel.REPORT), self._on_reports)
        self.bus.subscribe(topic(STATION, Channel.STATUS), self._on_status)
        self.bus.start()
        wait_until(lambda: self.bus.is_connected, "central connected")

    def last_word(self) -> tuple[bool, StationState]:
        """Link and state of the newest status."""
        with self.lock:
            return self.statuses[-1].is_connected, self.statuses[-1].state

    def _on_signal(self, _topic: str, payload: bytes) -> None:
        with self.lock:
            self.signals.append(codec.decode(RejectSignal, payload))

    def _on_status(self, _topic: str, payload: bytes) -> None:
        with self.lock:
            self.statuses.append(codec.decode(StationReported, payload))

    def _on_reports(self, _topic: str, payload: bytes) -> None:
        message = codec.decode(InspectionsReported, payload)
        with self.lock:
            self.reports.extend(message.reports)
        ranges = [SequenceRange(first=report.sequence, last=report.sequence) for report in message.reports]
        receipt = ReportsCommitted(
            station=STATION, epoch=message.epoch, ranges=ranges, committed_at=message.reports[0].captured_at
        )
        self.bus.publish(topic(STATION, Channel.RECEIPT), codec.encode(receipt), qos=1)


@pytest.mark.broker
def test_signals_reports_status_and_last_will_go_over_a_real_broker(tmp_path: Path, broker_port: int) -> None:
    central = Central(broker_port)
    with made_line(tmp_path, broker_port) as line:
        process = line.start()
        wait_until(lambda: any(status.state is StationState.READY for status in central.statuses), "READY")
        send(line, (1, OK), (2, REVIEW), (3, NG))
        wait_until(lambda: len(central.reports) == 3, "three reports")
        wait_until(lambda: central.statuses[-1].parts_total == 3 and not central.statuses[-1].outbox_rows, "receipts")
        status = central.statuses[-1]
        assert status.state is StationState.INSPECTING
        assert status.is_simulated
        assert [active.package_id for active in status.active] == [line.package_id]
        dispositions = [Disposition.PASSED, Disposition.HELD, Disposition.REJECTED]
        assert [found.disposition for found in central.signals] == dispositions
        assert [report.disposition for report in central.reports] == dispositions
        line.camera.hang_up()
        line.camera.client()
        process.kill()
        process.wait(timeout=60)
        wait_until(lambda: central.last_word() == (False, StationState.FAULT), "last will")
        process = line.start()
        wait_until(lambda: central.statuses[-1].is_connected, "back")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, line.log()
        wait_until(lambda: central.last_word() == (False, StationState.HALTED), "goodbye")
    central.bus.stop()


@pytest.mark.slow
def test_station_that_cannot_stop_is_ended_anyway(line: Line) -> None:
    program = (
        "import os, signal, sys, time\n"
        "from edge_agent import app, __main__ as command\n"
        "class Stuck:\n"
        "    def __init__(self, settings, **_): pass\n"
        "    def start(self): os.kill(os.getpid(), signal.SIGTERM)\n"
        "    def stop(self): time.sleep(600)\n"
        "app.Station = Stuck\n"
        f"sys.exit(command.main(['run', '--settings', {str(line.settings)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "ending without waiting" in done.stderr


@pytest.mark.parametrize(
    "sent",
    # To the process; and to another of its threads, which wakes nobody: as if it came just before the wait.
    ["os.kill(os.getpid(), signal.SIGTERM)", "signal.pthread_kill(threading.get_ident(), signal.SIGTERM)"],
    ids=["process", "thread"],
)
def test_signal_that_comes_as_the_wait_for_it_begins_ends_the_station(line: Line, sent: str) -> None:
    program = (
        "import os, signal, sys, threading\n"
        "from edge_agent import app, __main__ as command\n"
        f"def stop(): {sent}\n"
        "real = threading.Condition.wait\n"
        "def wait(self, timeout=None):\n"
        "    if threading.current_thread() is threading.main_thread(): stop()\n"
        "    return real(self, timeout)\n"
        "class Quick:\n"
        "    def __init__(self, settings, **_): pass\n"
        "    def start(self):\n"
        "        threading.Timer(0.3, stop).start()\n"
        "        threading.Condition.wait = wait\n"
        "    def stop(self): return True\n"
        "app.Station = Quick\n"
        f"sys.exit(command.main(['run', '--settings', {str(line.settings)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr

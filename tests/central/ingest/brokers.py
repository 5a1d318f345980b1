# SPDX-License-Identifier: Apache-2.0
"""Real brokers and a real central in processes of their own, for tests that kill them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contracts.codec import decode, encode
from contracts.commands import ReportsCommitted
from contracts.ids import StationAddress
from contracts.reports import InspectionReported, InspectionsReported
from contracts.topics import Channel, topic
from plant.processes.broker import BrokerKind, BrokerPlan, free_port, plan_broker, wait_for_broker

RESEND_S = 5.0
REPORTS_A_MESSAGE = 50
WINDOW_REPORTS = 2_000


class Process:
    """A child that is certainly gone after the test."""

    def __init__(self, command: tuple[str, ...], folder: Path, name: str, environment: dict[str, str]) -> None:
        self.output = folder / f"{name}.out"
        self._errors = folder / f"{name}.err"
        with self.output.open("wb") as out, self._errors.open("ab") as err:
            self.child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **environment})

    def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()
        self.child.wait(20)

    def errors(self) -> str:
        return self._errors.read_text(errors="replace")


def start_broker(kind: BrokerKind, folder: Path) -> tuple[BrokerPlan, Process]:
    plan = plan_broker(kind, free_port(), folder / "broker")
    process = Process(plan.spec.command, folder, "broker", dict(plan.spec.environment))
    wait_for_broker(plan)
    return plan, process


def wait_until(condition: Callable[[], object], words: Callable[[], str], within_s: float = 280.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, words()
        time.sleep(0.02)


class CentralProcess:
    """`sightline-central run` on a folder, started again as often as wanted."""

    def __init__(self, folder: Path, plan: BrokerPlan, database_url: str | None = None) -> None:
        self._folder = folder
        self._environment = {
            "SIGHTLINE_CENTRAL_BROKER_URL": plan.url,
            "SIGHTLINE_CENTRAL_BROKER_USERNAME": plan.username,
            "SIGHTLINE_CENTRAL_BROKER_PASSWORD": plan.password,
            "SIGHTLINE_CENTRAL_PORT": "0",
        }
        self._data = folder / "central"
        extra = () if database_url is None else ("--database-url", database_url)
        self._command("init", "--data", str(self._data), *extra)
        self.process: Process | None = None

    def start(self) -> str:
        """The URL it answers at."""
        command = (sys.executable, "-m", "central", "run", "--data", str(self._data))
        process = self.process = Process(command, self._folder, "central", self._environment)
        wait_until(lambda: "ready" in process.output.read_text() or process.child.poll() is not None, process.errors)
        assert process.child.poll() is None, process.errors()
        return process.output.read_text().split()[-1]

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def token(self, role: str) -> str:
        return self._command(
            "token", "create", "--role", role, "--name", f"test-{role.lower()}", "--data", str(self._data)
        )

    def _command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "central", *words],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class StationClient:
    """A station's outbox in a few lines: sends in order, a window at a time, and again until a receipt comes."""

    def __init__(
        self, plan: BrokerPlan, station: StationAddress, epoch: int, waiting: list[InspectionReported]
    ) -> None:
        self._station = station
        self._epoch = epoch
        self._waiting = {report.sequence: report for report in waiting}
        self._sent_at: dict[int, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.receipted: dict[int, int] = {}
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"station-{epoch}", clean_session=True)
        self.client.username_pw_set(plan.username, plan.password)
        self.client.on_connect = self._connected
        self.client.on_message = self._received
        self.client.connect("127.0.0.1", plan.port)
        self.client.loop_start()
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()

    def wait_for_receipts(self, count: int) -> None:
        wait_until(lambda: len(self.receipted) >= count, lambda: f"{len(self.receipted)} receipted, {count} wanted")

    def close(self) -> None:
        self._stop.set()
        self._sender.join()
        self.client.disconnect()
        self.client.loop_stop()

    def _send(self) -> None:
        while not self._stop.wait(0.01):
            now = time.monotonic()
            with self._lock:
                window = list(islice(self._waiting.values(), WINDOW_REPORTS))
                due = [item for item in window if now - self._sent_at.get(item.sequence, -RESEND_S) >= RESEND_S]
                self._sent_at.update((item.sequence, now) for item in due)
            for first in range(0, len(due), REPORTS_A_MESSAGE):
                message = InspectionsReported(
                    station=self._station, epoch=self._epoch, reports=due[first : first + REPORTS_A_MESSAGE]
                )
                self.client.publish(topic(self._station, Channel.REPORT), encode(message), qos=1)

    def _connected(self, client: paho.Client, *_rest: Any) -> None:
        client.subscribe(topic(self._station, Channel.RECEIPT), qos=1)

    def _received(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        receipt = decode(ReportsCommitted, bytes(message.payload))
        with self._lock:
            for item in receipt.ranges:
                for sequence in range(item.first, item.last + 1):
                    self._waiting.pop(sequence, None)
                    self.receipted[sequence] = self.receipted.get(sequence, 0) + 1

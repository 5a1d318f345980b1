# SPDX-License-Identifier: Apache-2.0
"""A line for faults: camera, a station's folder and its processes, broker and central, and the account of the parts.

Parts are numbered from 1 and pass whether or not a station is there to see them, as on a real line. Decides nothing:
tests do the damage and hold the account against their rule.
"""

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import CryptoSigner

from contracts.reports import InspectionReported
from edge_agent.clock import SystemClock
from edge_agent.reporting.outbox import Outbox
from plant.processes.broker import BrokerKind, BrokerPlan, free_port, plan_broker, wait_for_broker
from tests.central.ingest.brokers import CentralProcess, Process
from tests.edge import tiny_package
from tests.edge.camera.simulator import CameraSimulator, _is_held, packed
from tests.edge.station_fakes import STATION
from tests.edge.test_process import OK, wait_until
from tests.faults.disks import Disk
from tests.faults.station_process import Around, start_process

AROUND: Final = Around()


@dataclass(frozen=True)
class Account:
    """Parts that passed, and what central has of them."""

    passed: int
    stored: int
    lost: int
    duplicated: int
    causes: dict[str, int]

    def tell(self, fault: str, **more: object) -> None:
        """One line for a person (`pytest -s`)."""
        counts = {"passed": self.passed, "at_central": self.stored, "lost": self.lost, "duplicated": self.duplicated}
        words = " ".join(f"{key}={value}" for key, value in {**counts, **self.causes, **more}.items())
        print(f"\nfault: {fault}: {words}", flush=True)  # noqa: T201 - what the run is for

    def is_clean(self) -> bool:
        """Every part once."""
        return (self.stored, self.lost, self.duplicated) == (self.passed, 0, 0)


class LineCamera(CameraSimulator):
    """Does not wait for a station: a part that nobody looks at has passed all the same."""

    def offer(self, payload: bytes) -> bool:
        """Send to whoever is connected. False: nobody took it."""
        with self._connected:
            client = self._clients[-1] if self._clients and _is_held(self._clients[-1]) else None
        if client is None:
            return False
        try:
            client.sendall(len(payload).to_bytes(4, "big") + payload)
        except OSError:
            return False
        return True


@dataclass
class Line:
    """See the module. `folder`: the test's; `data`: the station's, perhaps on a disk of its own."""

    folder: Path
    data: Path
    camera: LineCamera = field(default_factory=LineCamera)
    plan: BrokerPlan | None = None
    broker: Process | None = None
    central: CentralProcess | None = None
    settings: Path = Path()
    passed: int = 0
    starts: int = 0
    process: ForkServerProcess | None = None
    disks: list[Disk] = field(default_factory=list)

    def open_central(self) -> None:
        """A real mosquitto, and a real central on it."""
        self.plan = plan_broker(BrokerKind.MOSQUITTO, free_port(), self.folder / "broker")
        self.start_broker()
        self.central = CentralProcess(self.folder, self.plan)
        self.central.start()

    def start_broker(self) -> None:
        """Start it, also again."""
        assert self.plan is not None
        self.broker = Process(self.plan.spec.command, self.folder, "broker", dict(self.plan.spec.environment))
        wait_for_broker(self.plan)

    def enrol(
        self,
        *,
        broker_url: str | None = None,
        camera_url: str | None = None,
        shares_clock: bool = False,
        **bounds: object,
    ) -> None:
        """Write the station's settings; its package and keys too where they are not there yet."""
        if not (self.data / "packages").exists():
            tiny_package.install(self.data)
        key = CryptoSigner.generate_ed25519().public_key
        if not (self.folder / "root.json").exists():
            (self.folder / "assignment.pub").write_text(json.dumps({"keyid": key.keyid, **key.to_dict()}))
            (self.folder / "root.json").write_text("{}")
        if broker_url is None:
            broker_url = f"mqtt://127.0.0.1:{free_port()}" if self.plan is None else self.plan.url
        # A busy machine must not make parts late or missed that are meant to be judged.
        given = {"resend_after_s": 0.5, "keep_free_bytes": 2**20, "queue_frames": 500, **bounds}
        written = ", ".join(f"{name} = {json.dumps(value)}" for name, value in given.items())
        secret = "" if self.plan is None else f', username = "{self.plan.username}", password = "{self.plan.password}"'
        self.settings = self.folder / "station.toml"
        clock = f", shares_clock = {'true' if shares_clock else 'false'}"
        self.settings.write_text(
            f"""
site = "{STATION.site}"
line = "{STATION.line}"
station = "{STATION.station}"
data_dir = "{self.data}"
heartbeat_s = 0.2
broker = {{ url = "{broker_url}", keepalive_s = 2{secret} }}
central = {{ url = "http://127.0.0.1:{free_port()}", token = "none" }}
trust = {{ root = "root.json", assignment_key = "assignment.pub" }}
source = {{ kind = "simulated", url = "{camera_url or self.camera.url}", retry_max_s = 0.1{clock} }}
inference = {{ provider = "CPUExecutionProvider", threads = 1, variant = "fp32" }}
bounds = {{ {written} }}
recipe.ring.deadline_ms = 30000
"""
        )

    def start(self, around: Around = AROUND, *, waits: bool = True) -> None:
        """Start a station process; returns when it can judge, or at once."""
        self.starts += 1
        self.process = start_process(self.settings, self.folder / f"log-{self.starts}.txt", around)
        if waits:
            process = self.process
            wait_until(lambda: process.exitcode is not None or self._is_up(), "station started")
            assert process.exitcode is None, self.log()

    def _is_up(self) -> bool:
        log = self.log()
        return "station started" in log and "package active" in log

    def wait_for_camera(self) -> None:
        """Until a station looks at the parts."""
        self.camera.client(60)

    def log(self) -> str:
        """What the newest process logged."""
        path = self.folder / f"log-{self.starts}.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.join(60)
            self.process = None

    def stop(self) -> int | None:
        """SIGTERM. Returns the exit code."""
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.join(60)
        code = self.process.exitcode
        self.process = None
        return code

    def pass_parts(self, count: int, *, takt_s: float = 0.01, brightness: int = OK) -> int:
        """Parts pass the camera. Returns how many a station's socket took."""
        taken = 0
        for _ in range(count):
            self.passed += 1
            taken += self.camera.offer(packed(self.passed, tiny_package.part(brightness)))
            time.sleep(takt_s)
        return taken

    def recorded(self) -> list[InspectionReported]:
        """What the stopped station left in its outbox, oldest first."""
        outbox = Outbox(self.data / "outbox.db", SystemClock())
        try:
            rows = outbox.committed_after(0, 1_000_000)
        finally:
            outbox.close()
        return [InspectionReported.model_validate_json(row.body) for row in rows]

    def rows(self) -> list[tuple[int, int]]:
        """(epoch, trigger number) of what a second reader finds in the running station's outbox."""
        with closing(sqlite3.connect(f"file:{self.data / 'outbox.db'}?mode=ro", uri=True, timeout=10)) as reader:
            query = "SELECT epoch, json_extract(body, '$.trigger_number') FROM report ORDER BY id"
            return [(int(epoch), int(number)) for epoch, number in reader.execute(query)]

    def ask_central(self, query: str) -> list[tuple[Any, ...]]:
        """Read central's database."""
        with closing(sqlite3.connect(self.folder / "central" / "central.db", timeout=30)) as database:
            return database.execute(query).fetchall()

    def account(self, *, settle_s: float = 60.0) -> Account:
        """What central has, once it has every part, or after that time."""
        give_up_at = time.monotonic() + settle_s
        while True:
            rows = self.ask_central("SELECT trigger_number, cause FROM inspection")
            found = Counter(int(number) for number, _ in rows)
            if len(found) >= self.passed or time.monotonic() > give_up_at:
                break
            time.sleep(0.2)
        # What would come twice comes now.
        time.sleep(1.0)
        rows = self.ask_central("SELECT trigger_number, cause FROM inspection")
        found = Counter(int(number) for number, _ in rows)
        return Account(
            passed=self.passed,
            stored=len(rows),
            lost=len(set(range(1, self.passed + 1)) - set(found)),
            duplicated=sum(count - 1 for count in found.values()),
            causes=dict(sorted(Counter(str(cause) for _, cause in rows).items())),
        )

    def close(self) -> None:
        """End everything."""
        self.kill()
        self.camera.close()
        if self.central is not None:
            self.central.kill()
        if self.broker is not None:
            self.broker.kill()
        for disk in self.disks:
            disk.unmount()

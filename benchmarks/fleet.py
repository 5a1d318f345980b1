# SPDX-License-Identifier: Apache-2.0
"""How fast one central reaches a fleet, and what it costs as stations double: settles whether it must be more than one.

A real central process on SQLite, a real Mosquitto and so many stations (`_fleet_station`, in `PLAYERS` processes) on
this machine. All stations are one wave. A first package goes to all of them and is called off as soon as they
are told; goes to all of them again; then a second one, which is aborted while it bakes. Times run from the moment
before the HTTP request of the person. A station is *told* when it has verified the assignment and kept it on disk,
*active* when it says that the package judges.

The stations share the cores with central, so whatever waits for them (downloads, self-tests) says more of the cores
than of central; CPU seconds are central's own. They keep their files in memory, download in turns and make no pictures.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx

from benchmarks._fleet_player import Cast, Standing
from benchmarks._fleet_station import PRODUCT
from benchmarks._turns import percentile
from central.trust.enrolment import ASSIGNMENT_KEY_FILE, ENROLMENT_FOLDER, ROOT_FILE
from contracts.vocabulary import Role
from plant.processes.broker import BrokerKind
from tests.central.ingest.brokers import CentralProcess, start_broker
from tests.edge import tiny_package

SIZES: Final = (250, 500, 1_000, 2_000)
PLAYERS: Final = 2
DOWNLOADS_AT_ONCE: Final = 16
# As a station's settings have it; a slow line.
HEARTBEAT_S: Final = 2.0
PART_S: Final = 10.0
IDLE_S: Final = 20.0
_WAIT_S: Final = 1_800.0
_POLL_S: Final = 0.5
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_CENTRAL_SETTINGS: Final = """
[audit]
# Nobody judges here: parts drawn would be asked for again and again.
period_s = 86400.0

[rollout]
is_automatic = false
# Two cores install for all stations, one after another.
install_timeout_s = 7200.0
"""
# Never done while the benchmark lasts: it is aborted while it bakes.
_PLAN: Final = {"waves": [{"scope": "ALL", "bake_parts": 100_000}]}


class FleetError(Exception):
    """The run cannot go on; says where it stands."""


def run(
    stations: int, *, idle_s: float = IDLE_S, heartbeat_s: float = HEARTBEAT_S, part_s: float = PART_S
) -> dict[str, Any]:
    """One size: times to every station, traffic of a station, CPU seconds and memory of central."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightline-fleet-")))
        fleet = Fleet(folder, stack)
        fleet.play(stations, heartbeat_s, part_s)
        figures: dict[str, Any] = {"stations": stations, "heartbeat_s": heartbeat_s, "part_s": part_s}
        figures["cores"] = len(os.sched_getaffinity(0))
        figures["load_before"] = round(os.getloadavg()[0], 1)
        figures["connected_s"] = fleet.wait_for_all_heard()
        figures["idle"] = fleet.watch(idle_s)
        first = fleet.import_package("first", 0.0)
        figures |= _told(fleet.call_off(first, number=1))
        figures |= _told({"first_package": fleet.roll_out(first, number=3)[0]})
        second = fleet.import_package("second", 0.001)
        fleet.wait_for_all_judging()
        figures["second_package"], rollout_id = fleet.roll_out(second, number=4)
        _told({"second_package": figures["second_package"]})
        figures |= _told({"abort": fleet.abort(rollout_id, first, number=5)})
        figures["central"] = fleet.central.memory() | {"cpu_s": round(fleet.central.cpu_s(), 1)}
        figures["broker_cpu_s"] = round(fleet.broker.cpu_s(), 1)
        figures |= fleet.account()
        figures["load_after"] = round(os.getloadavg()[0], 1)
    return figures


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures; on the way for whoever waits, since a large fleet takes a while on a busy machine."""
    print(json.dumps(figures), file=sys.stderr, flush=True)
    return figures


class Watched:
    """A process and what the kernel says of it."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def memory(self) -> dict[str, float]:
        """Now and at most, MiB."""
        lines = dict(line.split(":", 1) for line in (self._folder / "status").read_text().splitlines())
        return {
            name: round(int(lines[key].split()[0]) / 1024, 1)
            for name, key in (("rss_mib", "VmRSS"), ("rss_most_mib", "VmHWM"))
        }


class Player:
    """One process of stations."""

    def __init__(self, cast: Cast) -> None:
        command = [sys.executable, "-m", "benchmarks._fleet_player"]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say(cast.model_dump_json())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._child.kill()
        with self._child:
            pass

    def check(self) -> None:
        """Whether it lives.

        Raises:
            FleetError: it has ended.
        """
        if self._child.poll() is not None:
            raise FleetError(f"a process of stations ended with {self._child.returncode}; its last words are above")

    def standing(self) -> Standing:
        """Where its stations stand."""
        self._say("standing")
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise FleetError("a process of stations closed its output; its last words are above")
        return Standing.model_validate_json(line)

    def _say(self, line: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(f"{line}\n")
        self._child.stdin.flush()


class Fleet:
    """Central, broker and stations of one run."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._plan, broker = start_broker(BrokerKind.MOSQUITTO, folder)
        stack.callback(broker.kill)
        self.broker = Watched(broker.child.pid)
        self._process = CentralProcess(folder, self._plan)
        stack.callback(self._process.kill)
        settings = folder / "central" / "central.toml"
        settings.write_text(settings.read_text() + _CENTRAL_SETTINGS)
        self._url = self._process.start()
        assert self._process.process is not None
        self.central = Watched(self._process.process.child.pid)
        headers = {"Authorization": f"Bearer {self._process.token(Role.ADMIN.value)}"}
        self._http = stack.enter_context(httpx.Client(base_url=f"{self._url}/api/v1", headers=headers, timeout=300))
        self._players: list[Player] = []
        self._stations = 0

    def play(self, stations: int, heartbeat_s: float, part_s: float) -> None:
        """Start the stations' processes."""
        # What stations write and sync is no work of central's disk.
        disk = self._stack.enter_context(_in_memory())
        token = self._process.token(Role.STATION.value)
        trust = self._folder / "central" / "trust" / ENROLMENT_FOLDER
        self._stations = stations
        share = -(-stations // PLAYERS)
        for first in range(0, stations, share):
            cast = Cast(
                first=first,
                count=min(share, stations - first),
                of=stations,
                broker=(self._plan.url, self._plan.username, self._plan.password),
                central_url=self._url,
                token=token,
                root=(trust / ROOT_FILE).read_text(),
                assignment_key=(trust / ASSIGNMENT_KEY_FILE).read_text(),
                folder=str(disk),
                downloads_at_once=DOWNLOADS_AT_ONCE // PLAYERS,
                heartbeat_s=heartbeat_s,
                part_s=part_s,
            )
            self._players.append(self._stack.enter_context(Player(cast)))

    def wait_for_all_heard(self) -> float:
        """Seconds until central has the status of every station."""
        began_s = time.monotonic()
        self._until(lambda: len(self._heard()) == self._stations, lambda: f"{len(self._heard())} stations heard")
        return round(time.monotonic() - began_s, 1)

    def wait_for_all_judging(self) -> None:
        """Until central has a part of every station: a rollout reaches those that judge the product."""

        def judging() -> int:
            return sum(each["last_report_at"] is not None for each in self._heard())

        self._until(lambda: judging() == self._stations, lambda: f"{judging()} stations judging")

    def watch(self, seconds: float) -> dict[str, Any]:
        """Central while the stations only beat."""
        before_s, began_s = self.central.cpu_s(), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - began_s
        return {"central_cpu_share": round((self.central.cpu_s() - before_s) / took_s, 3)}

    def import_package(self, name: str, offset: float) -> str:
        """A package from outside, as an engineer brings it."""
        package_id = tiny_package.write_package(self._folder / name, PRODUCT, offset=offset)
        command = [sys.executable, "-m", "central", "package", "import", str(self._folder / name)]
        command += ["--by", "benchmark", "--note", "fleet", "--data", str(self._folder / "central")]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise FleetError(f"package {name} could not be imported: {done.stderr.strip()}")
        return package_id

    def call_off(self, package_id: str, *, number: int) -> dict[str, Any]:
        """A wave that is aborted as soon as all are told, while they download: nobody has a package after it."""
        began_s, cpu_s = time.monotonic(), self.central.cpu_s()
        rollout_id = self._start(package_id)
        start = self._all_told(number, began_s, cpu_s)
        began_s, cpu_s = time.monotonic(), self.central.cpu_s()
        self._http.post(f"/rollouts/{rollout_id}/abort", json={"by": "benchmark"}).raise_for_status()
        return {"start": start, "abort_at_once": self._all_told(number + 1, began_s, cpu_s)}

    def roll_out(self, package_id: str, *, number: int) -> tuple[dict[str, Any], int]:
        """To all stations in one wave; figures, and the rollout's number."""
        began_s, cpu_s = time.monotonic(), self.central.cpu_s()
        rollout_id = self._start(package_id)
        figures = self._reached(package_id, number, began_s, cpu_s)
        baking = {"BAKING", "DONE"}
        self._until(lambda: self._progress(rollout_id) <= baking, lambda: f"progress {self._progress(rollout_id)}")
        figures["central_knows_s"] = round(time.monotonic() - began_s, 1)
        return figures, rollout_id

    def abort(self, rollout_id: int, package_id: str, *, number: int) -> dict[str, Any]:
        """Until all judge by the package of before again."""
        began_s, cpu_s = time.monotonic(), self.central.cpu_s()
        self._http.post(f"/rollouts/{rollout_id}/abort", json={"by": "benchmark"}).raise_for_status()
        answered_s = time.monotonic() - began_s
        return {"answered_s": round(answered_s, 2)} | self._reached(package_id, number, began_s, cpu_s)

    def account(self) -> dict[str, Any]:
        """Traffic of a station over the whole run, and what went wrong."""
        standings = [player.standing() for player in self._players]
        faults = [fault for standing in standings for fault in standing.faults]
        traffic = {
            name: round(sum(standing.traffic[name] for standing in standings) / self._stations, 1)
            for name in standings[0].traffic
        }
        return {
            "per_station": traffic,
            "disconnects": sum(standing.disconnects for standing in standings),
            "faults": len(faults),
            "first_fault": faults[0] if faults else None,
            "players_cpu_s": round(sum(standing.cpu_s for standing in standings), 1),
        }

    def _start(self, package_id: str) -> int:
        answer = self._http.post("/rollouts", json={"package_id": package_id, "plan": _PLAN})
        return int(answer.raise_for_status().json()["id"])

    def _all_told(self, number: int, began_s: float, cpu_s: float) -> dict[str, Any]:
        def told() -> list[float]:
            return [row[number] for player in self._players for row in player.standing().told if number in row]

        self._until(lambda: len(told()) == self._stations, lambda: f"{len(told())} told of {number}")
        return _spread("told", told(), began_s) | {"central_cpu_s_until_told": round(self.central.cpu_s() - cpu_s, 2)}

    def _reached(self, package_id: str, number: int, began_s: float, cpu_s: float) -> dict[str, Any]:
        def active() -> list[float]:
            rows = [row.get(number) for player in self._players for row in player.standing().active]
            return [row[0] for row in rows if row is not None and row[1] == package_id]

        figures = self._all_told(number, began_s, cpu_s)
        self._until(lambda: len(active()) == self._stations, lambda: f"{len(active())} active of {number}")
        figures |= _spread("active", active(), began_s)
        return figures | {"central_cpu_s": round(self.central.cpu_s() - cpu_s, 2)}

    def _progress(self, rollout_id: int) -> set[str]:
        waves = self._http.get(f"/rollouts/{rollout_id}").raise_for_status().json()["waves"]
        return {each["progress"] for wave in waves for each in wave["stations"]}

    def _heard(self) -> list[Any]:
        return [each for each in self._http.get("/stations").raise_for_status().json() if each["status"]]

    def _until(self, is_so: Callable[[], bool], words: Callable[[], str]) -> None:
        print(f"{time.monotonic():.1f} {words()} of {self._stations}", file=sys.stderr, flush=True)
        give_up_s = time.monotonic() + _WAIT_S
        while not is_so():
            for player in self._players:
                player.check()
            if time.monotonic() > give_up_s:
                raise FleetError(f"given up after {_WAIT_S:.0f} s: {words()} of {self._stations}; {self.account()}")
            time.sleep(_POLL_S)


def _spread(name: str, moments: Sequence[float], began_s: float) -> dict[str, float]:
    took = sorted(each - began_s for each in moments)
    return {f"{name}_p50_s": round(percentile(took, 50), 2), f"{name}_all_s": round(took[-1], 2)}


@contextmanager
def _in_memory() -> Iterator[Path]:
    """A folder in memory where the machine has one."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    name = tempfile.mkdtemp(prefix="sightline-fleet-", dir=memory if memory.is_dir() else None)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)

# SPDX-License-Identifier: Apache-2.0
"""A recipe from central's API to the stored inspection, with real processes: broker, central, station."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from plant.processes.broker import BrokerKind, BrokerPlan, find_mosquitto, free_port, wait_for_broker
from tests.central.ingest.brokers import CentralProcess, Process, start_broker, wait_until
from tests.edge import tiny_package
from tests.edge.camera.simulator import CameraSimulator, packed
from tests.edge.station_fakes import STATION
from tests.edge.test_process import Line

# Of the hand-made package: REVIEW, unless a recipe moves the limits.
DOUBTFUL = 128
WITHIN_S = 60.0


class Plant:
    """Three processes and a camera; each can be killed and started again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        kind = BrokerKind.MOSQUITTO if find_mosquitto() else BrokerKind.AMQTT
        self.plan, self.broker = start_broker(kind, folder)
        stack.callback(self._end_broker)
        self.central = CentralProcess(folder, self.plan)
        stack.callback(self.central.kill)
        self._secret = self.central.token("ENGINEER")
        self._as_admin = {"Authorization": f"Bearer {self.central.token('ADMIN')}"}
        self.line = _line(folder, self.plan)
        stack.callback(self._end_station)
        self._stack = stack
        self._number = 0

    def start_broker(self) -> None:
        """Again, after it was killed."""
        spec = self.plan.spec
        self.broker = Process(spec.command, self._folder, "broker", dict(spec.environment))
        wait_for_broker(self.plan)

    def start_central(self) -> None:
        url = self.central.start()
        headers = {"Authorization": f"Bearer {self._secret}"}
        self.http = self._stack.enter_context(
            httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=20, trust_env=False)
        )

    def part_of(self, audit_id: int) -> dict[str, Any]:
        """Which part an audit is about: what nobody who judges is told."""
        listed = self.http.get("/audits/parts?limit=1000", headers=self._as_admin).raise_for_status().json()
        return next(item for item in listed if item["audit_id"] == audit_id)

    def kill_station(self) -> None:
        process = self.line.processes[-1]
        process.kill()
        process.wait(timeout=60)
        self.line.camera.hang_up()

    def _end_broker(self) -> None:
        self.broker.kill()

    def _end_station(self) -> None:
        for process in self.line.processes:
            process.kill()
            process.wait(timeout=60)
        self.line.camera.close()

    def show_part(self) -> int:
        """A doubtful part whose product nobody names. Returns its trigger number."""
        self._number += 1
        pixels = tiny_package.part(DOUBTFUL)
        self.line.camera.send(packed(self._number, pixels, product=None))
        return self._number

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def make(self, product: str, based_on: int | None, **document: Any) -> Any:
        body = {"document": document, "based_on": based_on, "note": "for the test"}
        return self.http.post(f"/recipes/{product}", json=body).raise_for_status().json()

    def status(self) -> Any:
        """What the station last said of its recipe; nothing while central has not heard of the station."""
        stations = self.get("/stations")
        return ((stations[0]["status"] or {}).get("recipe") or {}) if stations else {}

    def until_status(self, **wanted: Any) -> None:
        wait_until(
            lambda: self.status().items() >= wanted.items(), lambda: f"{wanted}: {self.get('/stations')}", WITHIN_S
        )

    def inspected(self, trigger_number: int) -> tuple[Any, ...]:
        """Product, recipe version and verdict of a part, once they are stored at central."""

        def found() -> list[Any]:
            return [item for item in self.get("/inspections")["items"] if item["trigger_number"] == trigger_number]

        wait_until(found, lambda: f"part {trigger_number}: {self.line.log()}", WITHIN_S)
        (item,) = found()
        return item["product"], item["recipe_version"], item["verdict"]


def _line(folder: Path, plan: BrokerPlan) -> Line:
    camera, station = CameraSimulator(), folder / "station"
    package_id = tiny_package.install(station / "data", "ring")
    tiny_package.install(station / "data", "gear")
    for name in ("root.json", "assignment.pub"):
        shutil.copyfile(folder / "central" / "trust" / "enrolment" / name, station / name)
    settings = station / "station.toml"
    settings.write_text(
        f"""
site = "{STATION.site}"
line = "{STATION.line}"
station = "{STATION.station}"
data_dir = "data"
heartbeat_s = 0.2
broker = {{ url = "{plan.url}", username = "{plan.username}", password = "{plan.password}", keepalive_s = 5 }}
central = {{ url = "http://127.0.0.1:{free_port()}", token = "none" }}
trust = {{ root = "root.json", assignment_key = "assignment.pub" }}
source = {{ kind = "simulated", url = "{camera.url}", product = "ring", retry_max_s = 0.2 }}
recipe.ring.deadline_ms = 30000
recipe.gear.deadline_ms = 30000
"""
    )
    return Line(station, camera, settings, package_id)


@pytest.fixture(name="plant")
def _plant(tmp_path: Path) -> Iterator[Plant]:
    with ExitStack() as stack:
        plant = Plant(tmp_path, stack)
        plant.start_central()
        plant.line.start()
        yield plant


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_recipe_of_central_judges_until_the_next_and_outlives_central_and_the_station(plant: Plant) -> None:
    plant.until_status(product="ring", version=0, number=0)
    assert plant.inspected(plant.show_part()) == ("ring", 0, "REVIEW")

    limits = {"package_id": plant.line.package_id, "ok_limit": 0.55, "ng_limit": 0.6}
    made = plant.make("ring", None, deadline_ms=30000, limits=limits)
    assert [warning.split(":")[0] for warning in made["warnings"]] == ["limits"]
    plant.until_status(product="ring", version=1, number=1)
    assert plant.inspected(plant.show_part()) == ("ring", 1, "OK")
    assert plant.get("/stations")[0]["recipes"]["sync"] == "IN_SYNC"

    plant.make("ring", 1, deadline_ms=29000)
    plant.until_status(product="ring", version=2, number=2)
    assert plant.inspected(plant.show_part()) == ("ring", 2, "REVIEW")

    plant.make("gear", None, deadline_ms=28000)
    plant.until_status(number=3)
    asked = plant.http.post(f"/stations/{STATION}/product", json={"product": "gear"})
    assert (asked.status_code, asked.json()["product_before"]) == (202, "ring")
    plant.until_status(product="gear", version=1)
    assert plant.inspected(plant.show_part()) == ("gear", 1, "REVIEW")

    # Broker too: it keeps the recipes for whoever connects, and the station must not need it.
    plant.central.kill()
    plant.broker.kill()
    plant.kill_station()
    plant.line.start()
    part = plant.show_part()
    plant.start_broker()
    plant.start_central()
    assert plant.inspected(part) == ("gear", 1, "REVIEW")
    plant.until_status(product="gear", version=1, number=3)
    assert plant.get("/stations")[0]["recipes"] | {"issued_at": None} == {
        "number": 3,
        "issued_at": None,
        "versions": {"gear": 1, "ring": 2},
        "sync": "IN_SYNC",
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_recipe_that_the_station_cannot_follow_is_refused_alone_and_central_says_why(plant: Plant) -> None:
    plant.make("ring", None, deadline_ms=30000)
    plant.until_status(product="ring", version=1, number=1)
    plant.make("ring", 1, deadline_ms=29000, outputs=[{"kind": "opcua", "pulse_ms": 40}])
    plant.make("gear", None, deadline_ms=28000, outputs=[{"kind": "mqtt"}])
    plant.until_status(product="ring", version=1, number=3)
    assert plant.inspected(plant.show_part()) == ("ring", 1, "REVIEW")
    plant.http.post(f"/stations/{STATION}/product", json={"product": "gear"}).raise_for_status()
    plant.until_status(product="gear", version=1)
    assert plant.inspected(plant.show_part()) == ("gear", 1, "REVIEW")
    shown = {each["product"]: each["stations"][0] for each in plant.get("/recipes")}
    told = {name: (each["sync"], each["refused_version"], each["refusal"]) for name, each in shown.items()}
    reason = "outputs: this station has no output opcua, it has mqtt"
    assert told == {"gear": ("IN_SYNC", None, None), "ring": ("ERROR", 2, reason)}
    (station,) = plant.get("/stations")
    assert station["recipes"]["sync"] == "ERROR"
    assert "recipe-refused" in {fault["code"] for fault in station["status"]["faults"]}

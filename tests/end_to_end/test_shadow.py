# SPDX-License-Identifier: Apache-2.0
"""Champion and challenger at a station, their disagreements at central: real processes, broker, uploads."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from securesystemslib.signer import CryptoSigner

from central.trust.assignments import seal_assignment
from central.trust.enrolment import open_repository
from central.trust.keys import KeyName, load_signer
from contracts.commands import AssignPackage, ChallengerAssignment, ProductAssignment
from contracts.topics import Channel, topic
from edge_agent.clock import SystemClock
from tests.central.ingest.brokers import wait_until
from tests.edge import tiny_package
from tests.edge.camera.simulator import packed
from tests.edge.station_fakes import STATION
from tests.end_to_end.test_recipes import WITHIN_S, Plant

# The challenger adds 0.2 to every score: of 15 both say OK, of 60 only the champion, of 220 both say NG.
SOUND, DISPUTED, BAD = 15, 60, 220
SECRETS = {"verdict", "score", "package_id", "challenger", "is_discordant", "stratum", "inclusion_probability"}


class ShadowPlant(Plant):
    """The plant of recipes, whose station may upload, with a second package on its disk."""

    def begin(self, folder: Path) -> None:
        """Central first: the station must know where to upload to, and audits are drawn every second."""
        central = folder / "central" / "central.toml"
        central.write_text(central.read_text() + "\n[audit]\nperiod_s = 1.0\n")
        data = folder / "station" / "data"
        self.challenger = tiny_package.install(data, offset=0.2, is_current=False)
        # A station asks whether what lies on its disk is still published before it takes it up.
        (stored,) = (path.parent for path in data.rglob("manifest.json") if path.parent.name == self.challenger)
        open_repository(folder / "central" / "trust").publish(stored, self.challenger, SystemClock().now())
        self.start_central()
        token = self.central.token("STATION")
        station = folder / "station" / "station.toml"
        lines = station.read_text().splitlines()
        url = str(self.http.base_url).split("/api")[0]
        own = f'central = {{ url = "{url}", token = "{token}" }}'
        station.write_text("\n".join(own if line.startswith("central =") else line for line in lines))
        self.signer: CryptoSigner = load_signer(folder / "central" / "trust" / "keys", KeyName.ASSIGNMENT)

    def assign(self, number: int, parts: int | None) -> None:
        """Central's word, signed and retained: the champion judges, the challenger in shadow beside it."""
        now = SystemClock().now()
        order = ChallengerAssignment(package_id=self.challenger, parts=parts)
        champion = self.line.package_id
        item = ProductAssignment(product="ring", package_id=champion, challenger=order)
        assignment = AssignPackage(
            station=STATION, number=number, issued_at=now, expires_at=now.replace(year=now.year + 1), packages=[item]
        )
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="director")
        client.username_pw_set(self.plan.username, self.plan.password)
        client.connect("127.0.0.1", self.plan.port)
        client.loop_start()
        sealed = seal_assignment(assignment, self.signer)
        client.publish(topic(STATION, Channel.ASSIGNMENT), sealed, qos=1, retain=True).wait_for_publish(WITHIN_S)
        client.disconnect()
        client.loop_stop()

    def show(self, brightness: int) -> None:
        """One part."""
        self._number += 1
        self.line.camera.send(packed(self._number, tiny_package.part(brightness)))

    def in_shadow(self) -> Any:
        """What the station last said of its challenger."""
        stations = self.get("/stations")
        rows = ((stations[0]["package_status"] or {}).get("packages") or []) if stations else []
        return next((row for row in rows if row["package_id"] == self.challenger), {})

    def compared(self) -> Any:
        """What central counts of the two."""
        found = self.get("/shadow")
        return found[0] if found else {}

    def until(self, is_so: Any) -> None:
        wait_until(is_so, lambda: f"{self.in_shadow()} {self.compared()} {self.line.log()[-3000:]}", WITHIN_S)


@pytest.fixture(name="plant")
def _plant(tmp_path: Path) -> Iterator[ShadowPlant]:
    with ExitStack() as stack:
        plant = ShadowPlant(tmp_path, stack)
        plant.begin(tmp_path)
        plant.line.start()
        yield plant


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_disagreements_reach_central_and_are_first_in_the_audit_queue(plant: ShadowPlant) -> None:
    plant.assign(1, parts=None)
    plant.until(lambda: plant.in_shadow().get("state") == "SHADOW")

    def show_some_more() -> bool:
        for brightness in (SOUND, DISPUTED, BAD, SOUND):
            plant.show(brightness)
            # A takt; the challenger judges in what is left of it.
            plant.get("/audits/summary")
        return bool(plant.compared().get("discordant", 0) >= 5 and plant.get("/audits/summary")["open"] >= 8)

    plant.until(show_some_more)
    compared = plant.compared()
    assert (compared["champion"], compared["challenger"], compared["errors"]) == (
        plant.line.package_id,
        plant.challenger,
        0,
    )
    assert compared["concordant"] > 0
    inspections = plant.get("/inspections?limit=1000")["items"]
    assert {item["package_id"] for item in inspections} == {plant.line.package_id}

    verdicts = {(item["epoch"], item["sequence"]): (item["verdict"], item["score"]) for item in inspections}
    for number in range(3):
        task = plant.get(f"/audits/next?inspector=inspector-{number}")
        assert not SECRETS & set(task)
        part = plant.part_of(task["audit_id"])
        verdict, score = verdicts[part["epoch"], part["sequence"]]
        # 60 ÷ 255: the score of a disputed part, whatever chance drew beside it.
        assert (verdict, round(score, 2)) == ("OK", 0.24)
        assert plant.http.get(f"/audits/{task['audit_id']}/picture").status_code == 200
        said = {"judgement": "GOOD" if number else "DEFECTIVE", "inspector": f"inspector-{number}"}
        plant.http.post(f"/audits/{task['audit_id']}/outcome", json=said).raise_for_status()
    compared = plant.compared()
    assert (compared["challenger_right"], compared["challenger_wrong"]) == (1, 2)
    (rates,) = [line for line in plant.get("/quality/rates")["lines"] if line["station"] == str(STATION)]
    # None of those three: nothing is known yet of what was let pass.
    assert rates["escape_share_of_accepted"]["of"] == 0

    plant.until(lambda: (plant.in_shadow()["shadow"] or {}).get("judged", 0) > 0)
    before = plant.in_shadow()["shadow"]["judged"]
    plant.kill_station()
    plant.line.start()
    counted: list[int] = []

    def is_back() -> bool:
        # Its first word after the start has no counts yet.
        if "challenger in shadow" in plant.line.log() and (told := plant.in_shadow().get("shadow")):
            counted.append(told["judged"])
        return len(counted) >= 3

    plant.until(is_back)
    assert min(counted) >= before

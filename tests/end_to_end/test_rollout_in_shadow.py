# SPDX-License-Identifier: Apache-2.0
"""A package from its import to every station, or to none: real central, broker, station, downloads and audits.

People do nothing here but judge the parts that they are shown; the gates of the wave do the rest.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from contracts.vocabulary import Judgement
from tests.central.ingest.brokers import wait_until
from tests.edge import tiny_package
from tests.edge.camera.simulator import packed
from tests.edge.station_fakes import STATION
from tests.end_to_end.test_recipes import WITHIN_S, Plant

# The challenger adds 0.2 to every score: of 15 both say OK, of 60 only the champion.
SOUND, DISPUTED = 15, 60
DISPUTED_SCORE = 0.24
# Labels that decide when all of them say the same.
LABELS = 8
# What the champion multiplies and the challenger does not: two graphs that take the same time differ by chance alone,
# and then the gate on latency may need some thousand parts.
CHAMPION_STEPS = 6
# Parts on their way at most, of twice as many that the queue of frames holds: none is given up.
UNJUDGED = 48
PLAN = {"waves": [{"scope": "ALL", "bake_parts": 5, "shadow": {"margin": 0.05}}]}


class RolloutPlant(Plant):
    """A champion that came by a rollout of its own, and a challenger that is registered."""

    def begin(self, folder: Path, offset: float = 0.2) -> None:
        """Central first: the station must know where to fetch and upload. `offset`: of the challenger's scores."""
        self._central_dir = folder / "central"
        settings = self._central_dir / "central.toml"
        settings.write_text(
            settings.read_text() + "\n[audit]\nperiod_s = 1.0\n\n[rollout]\nis_automatic = false\nperiod_s = 0.5\n"
        )
        self.start_central()
        token = self.central.token("STATION")
        station = folder / "station" / "station.toml"
        url = str(self.http.base_url).split("/api")[0]
        own = f'central = {{ url = "{url}", token = "{token}" }}'
        lines = station.read_text().splitlines()
        # All that is left over of the processor: the test need not take as long as a shift.
        more = f"\n[shadow]\nshare = 1.0\n\n[bounds]\nqueue_frames = {2 * UNJUDGED}\n"
        station.write_text("\n".join(own if line.startswith("central =") else line for line in lines) + more)
        self.line.start()
        self.show(SOUND)
        self.until(lambda: self.get("/stations") and self.get("/inspections")["items"])
        self.champion = self.bring_in(folder / "made" / "champion", steps=CHAMPION_STEPS)
        self.start_rollout(self.champion, None)
        self.until(lambda: self.newest()["state"] == "FINISHED")
        self.challenger = self.bring_in(folder / "made" / "challenger", offset=offset)

    def bring_in(self, folder: Path, offset: float = 0.0, steps: int = 0) -> str:
        """A package from outside, as an engineer brings it."""
        package_id = tiny_package.write_package(folder, offset=offset, steps=steps)
        command = [
            sys.executable,
            "-m",
            "central",
            "package",
            "import",
            str(folder),
            "--by",
            "anna",
            "--note",
            "a test",
        ]
        done = subprocess.run(
            [*command, "--data", str(self._central_dir)], check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return package_id

    def start_rollout(self, package_id: str, plan: dict[str, Any] | None) -> None:
        body = {"package_id": package_id, "plan": plan}
        self.http.post("/rollouts", json=body).raise_for_status()

    def newest(self) -> Any:
        return self.get("/rollouts")[0]

    def show(self, brightness: int) -> None:
        """One part."""
        self._number += 1
        self.line.camera.send(packed(self._number, tiny_package.part(brightness)))

    def show_all(self, brightnesses: Iterable[int]) -> None:
        """One part after the other, no faster than the station judges and reports them."""
        for brightness in brightnesses:
            if self._number % (UNJUDGED // 2) == 0:
                self.until(lambda: self._number - self._newest_part() < UNJUDGED)
            self.show(brightness)

    def _newest_part(self) -> int:
        items = self.get("/inspections?limit=1")["items"]
        return max((int(item["trigger_number"]) for item in items), default=0)

    def judging(self) -> str | None:
        """The package that the station says it judges with."""
        status = self.get("/stations")[0]["status"]
        return next((each["package_id"] for each in status["active"] if each["product"] == "ring"), None)

    def judge_what_is_shown(self, disputed: Judgement) -> int:
        """People judge every part that the queue gives out; how many of them were disputed."""
        judged = 0
        while (answer := self.http.get("/audits/next?inspector=anna")).status_code == 200:
            task, scores = answer.json(), self.scores()
            # What is given to a person does not name the part.
            part = self.part_of(task["audit_id"])
            is_disputed = round(scores[part["epoch"], part["sequence"]], 2) == DISPUTED_SCORE
            said = {"judgement": disputed.value if is_disputed else "GOOD", "inspector": "anna"}
            self.http.post(f"/audits/{task['audit_id']}/outcome", json=said).raise_for_status()
            judged += is_disputed
        return judged

    def scores(self) -> dict[tuple[int, int], float]:
        items = self.get("/inspections?limit=1000")["items"]
        return {(item["epoch"], item["sequence"]): item["score"] or 0.0 for item in items}

    def until(self, is_so: Any, within_s: float = 5 * WITHIN_S) -> None:
        wait_until(
            is_so, lambda: f"{self.get('/rollouts')[:1]} {self.get('/shadow')} {self.line.log()[-3000:]}", within_s
        )


@pytest.fixture(name="plant")
def _plant(tmp_path: Path) -> Iterator[RolloutPlant]:
    with ExitStack() as stack:
        plant = RolloutPlant(tmp_path, stack)
        plant.begin(tmp_path)
        yield plant


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worse_package_goes_by_its_gate_and_never_decides_about_a_part(plant: RolloutPlant) -> None:
    plant.start_rollout(plant.challenger, PLAN)
    judged = 0

    def goes() -> bool:
        nonlocal judged
        for brightness in (SOUND, DISPUTED, SOUND):
            plant.show(brightness)
        judged += plant.judge_what_is_shown(Judgement.GOOD)
        return bool(plant.newest()["state"] == "ERROR")

    plant.until(goes)
    assert judged >= LABELS
    rollout = plant.newest()
    assert "gates of canary: who is right: right in 0 of 8 labelled discordant parts" in rollout["history"][-2]
    plant.until(lambda: plant.get("/shadow") and plant.judging() == plant.champion)
    assert plant.challenger not in {item["package_id"] for item in plant.get("/inspections?limit=1000")["items"]}
    evidence = plant.get(f"/rollouts/{rollout['id']}/evidence")
    gates = evidence["steps"][-1]["evidence"]["gates"]["0"]["gates"]
    assert gates["who is right"]["decision"] == "ABORT"
    assert evidence["exposure"]["parts"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_better_package_is_given_to_the_station_once_its_gates_have_passed(plant: RolloutPlant) -> None:
    # What the champion's tail is like, from parts of its own.
    plant.show_all([SOUND] * 260)
    plant.until(lambda: len(plant.scores()) >= 250)
    plant.start_rollout(plant.challenger, PLAN)
    judged = 0

    def is_given() -> bool:
        nonlocal judged
        plant.show_all([DISPUTED if judged < 2 * LABELS else SOUND, *[SOUND] * 23])
        judged += plant.judge_what_is_shown(Judgement.DEFECTIVE)
        return bool(plant.newest()["state"] == "FINISHED")

    plant.until(is_given, 7 * WITHIN_S)
    assert plant.judging() == plant.challenger
    rollout = plant.newest()
    assert any("canary passed its gates in shadow" in line for line in rollout["history"])
    exposure = plant.get(f"/rollouts/{rollout['id']}/exposure")
    assert exposure["stations"][0]["station"] == str(STATION)
    assert exposure["parts"] >= 5

# SPDX-License-Identifier: Apache-2.0
"""Central gets SIGKILL at each step of the gate; the next central finishes it, and nothing is measured twice."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select

from central.services.trainings.requests import TrainingRequests
from central.settings import LearningSettings
from central.store.gate_tables import GateRun
from contracts.vocabulary import DetectorKind, PromotionOutcome, TrainingState
from tests.central.conftest import START
from tests.central.services.gate_bench import gate_command
from tests.central.services.trainers import end_trainings
from tests.central.training_backends.killing import PRODUCT, KilledCentral

GATING = "central.services.gates.gating|GatingService"
# The training's own start is the first.
START_OF_GATE = "central.training_backends.local|LocalBackend.start#2"
POINTS = [
    pytest.param("after:central.services.gates.promoting|PromotingService._ask", id="before-it-is-asked-for"),
    pytest.param(f"before:{GATING}._lay_out", id="queued"),
    pytest.param(f"after:{GATING}._lay_out", id="laid-out"),
    pytest.param(f"before:{START_OF_GATE}", id="said-to-run"),
    pytest.param(f"after:{START_OF_GATE}", id="runs-without-handle"),
    pytest.param(f"before:{GATING}._finish", id="measured"),
    pytest.param(f"before:{GATING}._sweep", id="not-swept"),
    pytest.param(f"after:{GATING}._sweep", id="not-decided"),
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class GatedCentral(KilledCentral):
    """With a gate that a stub measures."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, "finish")
        self._environment |= {
            "SIGHTLINE_CENTRAL_PROMOTION_MIN_HOLDOUT_GOOD": "2",
            "SIGHTLINE_CENTRAL_GATE_COMMAND": " ".join(gate_command("alike")),
            "SIGHTLINE_CENTRAL_GATE_PERIOD_S": "0.05",
            "SIGHTLINE_CENTRAL_GATE_RECALL_MARGIN": "0.95",
            "SIGHTLINE_CENTRAL_GATE_OVERKILL_MARGIN": "0.95",
        }

    def gates(self) -> list[GateRun]:
        with self.database.read() as session:
            return list(session.exec(select(GateRun)).all())


@pytest.fixture(name="central")
def _central(tmp_path: Path) -> Iterator[GatedCentral]:
    data = tmp_path / "central"
    subprocess.run([sys.executable, "-m", "central", "init", "--data", str(data)], check=True, capture_output=True)
    central = GatedCentral(data)
    central.add_references(good=20, defective=6)
    settings = LearningSettings(min_good_labels=10)
    TrainingRequests(central.database, settings).request(PRODUCT, DetectorKind.AUTO, "asked for by the test", START)
    yield central
    central.stop()
    central.database.close()
    end_trainings(data / "trainings")
    end_trainings(data / "gates")
    shutil.rmtree(data)


@pytest.mark.parametrize("point", POINTS)
def test_the_next_central_finishes_the_gate_and_measures_nothing_twice(central: GatedCentral, point: str) -> None:
    central.start(point)
    assert central.wait_for_death() == -signal.SIGKILL, central.log()[-3000:]
    assert central.promotions() == []
    central.start()
    central.until(central.promotions, "the gate never decided")
    central.until(lambda: not list((central.data / "gates").glob("*/")), "its pictures are left behind")
    (row,) = central.gates()
    assert (row.state, row.error) == (TrainingState.FINISHED, None)
    (promotion,) = central.promotions()
    assert promotion.outcome is PromotionOutcome.PROMOTED
    measured = (central.data / f"{row.package_id}.runs").read_text().split()
    assert len(measured) == 1

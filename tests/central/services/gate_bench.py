# SPDX-License-Identifier: Apache-2.0
"""The bench with the gate before any station sees a package: measured by a stub, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlmodel import select

from central.gate_settings import GateSettings
from central.services.gates.gating import GatingService
from central.services.gates.promoting import PromotingService
from central.settings import PromotionSettings
from central.store.gate_tables import GateRun
from central.store.learning_tables import RolloutRow
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, TrainingState
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.trainers import end_trainings

STUB = Path(__file__).with_name("stub_gate.py")
# What the first package of a product can show on six defective reference parts.
LENIENT: Mapping[str, Any] = {"recall_margin": 0.95, "overkill_margin": 0.95, "needs_audits": False}


def gate_command(mode: str) -> tuple[str, ...]:
    return (sys.executable, str(STUB), mode)


class GateBench(Bench):
    """`set_gate` before anything that is to be measured by it."""

    gating: GatingService
    replaced: list[GatingService]

    def end(self) -> None:
        """Nothing that it started is left: trainings, measurements, and whoever waits for them."""
        end_trainings(self.trainings_dir)
        end_trainings(self.gates_dir)
        for child in self.children:
            child.wait()

    def set_gate(self, mode: str = "alike", **changes: Any) -> None:
        """Also what a restart of central with other settings is."""
        self.gates_dir = self.trainings_dir.parent / "gates"
        # One that is replaced leaves its processes to be waited for.
        self.replaced = [*getattr(self, "replaced", []), *([self.gating] if hasattr(self, "gating") else [])]
        settings = GateSettings(command=gate_command(mode), **changes)
        self.gating = GatingService(self.database, self.blobs, self.repository, settings, self.gates_dir)
        wanted = PromotionSettings(min_holdout_good=2, min_holdout_defective=2)
        self.promoting = PromotingService(self.database, wanted, settings)

    def tick(self, rounds: int = 1, seconds: float = 1.0) -> None:
        for _ in range(rounds):
            self.gating.tick(self.clock.now())
            super().tick(1, seconds)

    @property
    def children(self) -> list[subprocess.Popen[bytes]]:
        gatings = [*self.replaced, self.gating]
        return [*super().children, *(child for each in gatings for child in each.backend.children)]

    def commission_by_gate(self) -> str:
        """A champion that the gate let out; gives its package."""
        self.set_gate(**LENIENT)
        self.commission("st-1")
        champion = self.champion()
        assert champion is not None
        return champion

    def commission_champion(self) -> str:
        """The first package of parts and stations that are there already."""
        self.learning.requests.request(PRODUCT, DetectorKind.AUTO, "commissioning", self.clock.now())
        self.tick_until(lambda: self.champion() is not None)
        return self.champion() or ""

    def challenge(self) -> str:
        """Train anew; gives the challenger once the gate has decided about it."""
        known = {row.package_id for row in self.promotions()}
        for index in range(8):
            self.add_label(Judgement.DEFECTIVE, LabelSource.REFERENCE, f"later-{len(known)}-{index}")
        self.learning.requests.request(PRODUCT, DetectorKind.AUTO, "again", self.clock.now())
        self.tick_until(lambda: len(self.promotions()) > len(known))
        (fresh,) = {row.package_id for row in self.promotions()} - known
        return fresh

    def train_until_measured(self) -> str:
        """Train anew; gives the challenger as soon as its gate is under way."""
        for index in range(8):
            self.add_label(Judgement.DEFECTIVE, LabelSource.REFERENCE, f"again-{index}")
        self.learning.requests.request(PRODUCT, DetectorKind.AUTO, "again", self.clock.now())
        self.tick_until(lambda: any(row.state is TrainingState.RUNNING for row in self.gates()))
        return next(row.package_id for row in self.gates() if row.state is TrainingState.RUNNING)

    def gates(self) -> list[GateRun]:
        with self.database.read() as session:
            return list(session.exec(select(GateRun)).all())

    def gate(self, package_id: str) -> GateRun:
        with self.database.read() as session:
            return session.get_one(GateRun, package_id)

    def states(self, package_id: str) -> dict[str, str]:
        """Condition by condition, as stored."""
        evidence = self.gate(package_id).evidence
        assert evidence is not None
        return {condition["name"]: condition["state"] for condition in evidence["conditions"]}

    def rollouts_of(self, package_id: str) -> int:
        with self.database.read() as session:
            return len(session.exec(select(RolloutRow).where(RolloutRow.package_id == package_id)).all())

    def runs(self, package_id: str) -> int:
        """How often it was measured."""
        return len((self.gates_dir.parent / f"{package_id}.runs").read_text().split())

    def gate_job(self, package_id: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.gate(package_id).job or "{}")
        return told

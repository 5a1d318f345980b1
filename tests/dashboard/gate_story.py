# SPDX-License-Identifier: Apache-2.0
"""The gate's half of the plant's story: a challenger with too few parts of one class, and a champion that passed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from central.api import gate_schemas, lineage_schemas, schemas
from central.domain.gating import GateTerms, SeenPicture, compare_with_champion
from contracts.vocabulary import ConditionState, PromotionOutcome, Role, RolloutState, TrainingState, Verdict
from tests.dashboard.learning_story import NEW, OLD, PRODUCT, STATIONS

if TYPE_CHECKING:
    from tests.dashboard.plant_story import Story

DIFFERS = "d" * 64
DATASET = "e" * 64


def gates(story: Story) -> list[gate_schemas.GateView]:
    """The challenger, and the champion that was the product's first."""
    if not story.has_stations:
        return []
    return [_gate(story, NEW, OLD), _gate(story, OLD, None)]


def _gate(story: Story, package_id: str, champion: str | None) -> gate_schemas.GateView:
    conditions = compare_with_champion(_seen(), GateTerms()) if champion is not None else []
    is_out = champion is None or story.overruled_because is not None
    overruled = None
    if champion is not None and story.overruled_because is not None:
        overruled = gate_schemas.OverruleView(
            outcome=PromotionOutcome.NOT_ENOUGH_EVIDENCE, at=story.now, by="anna", role=Role.ENGINEER,
            reason=story.overruled_because,
        )  # fmt: skip
    return gate_schemas.GateView(
        package_id=package_id,
        product=PRODUCT,
        champion_package_id=champion,
        is_simulated=story.is_simulated,
        state=TrainingState.FINISHED,
        asked_at=story.now - timedelta(minutes=10),
        finished_at=story.now - timedelta(minutes=9),
        outcome=PromotionOutcome.PROMOTED if is_out else PromotionOutcome.NOT_ENOUGH_EVIDENCE,
        asks_person=not is_out,
        conditions=[
            *(gate_schemas.GateConditionView(**asdict(each)) for each in conditions),
            gate_schemas.GateConditionView(
                name="mem<o>ry", state=ConditionState.PASSED, detail="17 MiB, <allowed>", figures={}, is_demanded=True
            ),
        ],
        terms=asdict(GateTerms()),
        terms_by="settings",
        denominators={
            "test_set": {"pictures": 85, "good_parts": 0, "defective_parts": 85, "by_class": {"pit": 5, "scratch": 80}},
            "audited": {"pictures": 3, "good_parts": 3, "defective_parts": 0, "by_class": {}, "lowest_chance": 0.05,
                        "highest_chance": 0.5, "stand_for": 24.0},
        },
        worst_differing=[
            gate_schemas.DifferingPicture(
                sha256=DIFFERS, why="new escape", truth="pit", challenger="OK", champion="NG", part="p-<7>"
            )
        ] * 14 if champion is not None else [],
        overruled=overruled,
    )  # fmt: skip


def _seen() -> list[SeenPicture]:
    return [
        SeenPicture(
            sha256=f"{number:064x}", part=f"p-{number}", is_defective=True, is_test=True, inclusion_probability=None,
            defect_class="pit" if number < 5 else "scratch", challenger=Verdict.OK if number == 0 else Verdict.NG,
            exact=Verdict.NG, champion=Verdict.NG,
        )
        for number in range(85)
    ]  # fmt: skip


def overrule(story: Story, role: str, body: bytes) -> tuple[int, object]:
    """As central: an engineer may where a person is asked."""
    if role != "ENGINEER":
        return 403, schemas.Problem(error="not allowed", detail="expected role ENGINEER or above, got VIEWER")
    story.overruled_because = gate_schemas.OverruleGate.model_validate_json(body).reason
    return 200, gates(story)[0]


def lineage(story: Story) -> list[lineage_schemas.LineageView]:
    """What judges at any station: the new package."""
    if not story.has_stations:
        return []
    return [
        lineage_schemas.LineageView(
            package_id=NEW,
            product=PRODUCT,
            is_simulated=story.is_simulated,
            is_champion=True,
            created_at=story.now,
            dataset_id=DATASET,
            labels=lineage_schemas.LabelsView(
                pictures=323, parts=320, held_out=138, confirmed=12, by_source={"AUDIT": 61, "REFERENCE": 262},
                by_person={"anna": 61, "<kim>": 262}, by_class={"GOOD": 294, "pit": 29},
                first_at=story.now - timedelta(days=9), last_at=story.now - timedelta(hours=1),
            ),
            training=lineage_schemas.LineageTraining(
                training_id="t-2", reason="alarm 7: escapes", created_at=story.now, champion_package_id=OLD
            ),
            outcome=PromotionOutcome.PROMOTED,
            gate=TrainingState.FINISHED,
            overruled_by=None,
            rollouts=[lineage_schemas.LineageRollout(id=3, state=RolloutState.RUNNING, created_at=story.now)],
            stations=[
                lineage_schemas.LineageStation(
                    station=STATIONS[0], is_assigned=True, is_judging=True, said_at=story.now
                ),
                lineage_schemas.LineageStation(station=STATIONS[1], is_assigned=True, is_judging=None, said_at=None),
            ],
            challenged_by=[],
        )
    ]  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""What changed, since when: alarms, trainings, packages and rollouts as one list, newest first.

Pure: shapes in, lines out. Called by the overview.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from contracts.vocabulary import PromotionOutcome, RolloutState, TrainingState
from dashboard import words
from dashboard.lifecycle import Package, Rollout, Training
from dashboard.shapes import Alarm


@dataclass(frozen=True)
class Happening:
    """One line: when, what, how it should look."""

    at: datetime
    text: str
    tone: str
    kind: str


def happenings(
    alarms: Iterable[Alarm], trainings: Iterable[Training], packages: Iterable[Package], rollouts: Iterable[Rollout]
) -> tuple[Happening, ...]:
    """Everything that changed how parts are judged, or should be looked at."""
    found = [
        *(line for item in alarms for line in _alarm(item)),
        *(line for item in trainings for line in _training(item)),
        *(line for item in packages for line in _package(item)),
        *(line for item in rollouts for line in _rollout(item)),
    ]
    return tuple(sorted(found, key=lambda item: item.at, reverse=True))


def _alarm(item: Alarm) -> list[Happening]:
    name = item.kind.value.replace("_", " ").lower()
    where = item.station or item.product or "the whole site"
    lines = [Happening(item.raised_at, f"Alarm on {name} at {where}: {item.message}", "bad", "alarm")]
    if item.closed_at is not None:
        lines.append(Happening(item.closed_at, f"Alarm on {name} at {where} closed", "good", "alarm"))
    return lines


def _training(item: Training) -> list[Happening]:
    parts = words.plural(item.good + item.defective, "judged part")
    lines = [
        Happening(item.created_at, f"Training for {item.product} began on {parts}: {item.reason}", "busy", "training")
    ]
    if item.finished_at is not None:
        is_good = item.state is TrainingState.FINISHED
        text = f"Training for {item.product} {item.state.value.lower()}"
        if item.error:
            text += f": {item.error}"
        lines.append(Happening(item.finished_at, text, "good" if is_good else "bad", "training"))
    return lines


def _package(item: Package) -> list[Happening]:
    if item.promotion is None:
        return []
    outcome = item.promotion.outcome
    said = {
        PromotionOutcome.PROMOTED: ("promoted", "good"),
        PromotionOutcome.REFUSED: ("refused", "bad"),
        PromotionOutcome.NOT_ENOUGH_EVIDENCE: ("not promoted: not enough evidence", "warn"),
    }[outcome]
    failed = next((check.detail for check in item.promotion.checks if not check.is_passed), "")
    text = f"Package {words.short(item.package_id)} for {item.product} {said[0]}" + (f" ({failed})" if failed else "")
    return [Happening(item.promotion.decided_at, text, said[1], "gate")]


def _rollout(item: Rollout) -> list[Happening]:
    name = f"Rollout {item.id} of package {words.short(item.package_id)} for {item.product}"
    lines = [Happening(item.created_at, f"{name} began: {item.reason}", "busy", "rollout")]
    if item.finished_at is not None:
        is_good = item.state is RolloutState.FINISHED
        lines.append(
            Happening(item.finished_at, f"{name} {item.state.value.lower()}", "good" if is_good else "bad", "rollout")
        )
    return lines

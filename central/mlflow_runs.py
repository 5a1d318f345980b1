# SPDX-License-Identifier: Apache-2.0
"""A training of ours in MLflow's words: a run with parameters, metrics, tags and a status. Pure; sends nothing.

Metrics are told once a training is over: MLflow only ever adds values to a metric, so what still moves would pile up.
What goes on after that (the gate's word, a rollout's end) stands in tags, which can be set anew. Called by
`mlflow_export`.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from central.domain.experiments import GOOD, by_class, flat
from central.services.trainings.experiments import ExperimentRecord
from central.services.trainings.usage import spent_of
from contracts.jobs import EvaluationReport
from contracts.vocabulary import TrainingState

TRAINING_TAG: Final = "sightline.training_id"
# Of all that a run says, set last: a run without it was cut short.
DIGEST_TAG: Final = "sightline.digest"
_STATUS: Final = {
    TrainingState.QUEUED: "SCHEDULED",
    TrainingState.RUNNING: "RUNNING",
    TrainingState.FINISHED: "FINISHED",
    TrainingState.FAILED: "FAILED",
    TrainingState.CANCELLED: "KILLED",
}
_OVER: Final = (TrainingState.FINISHED, TrainingState.FAILED, TrainingState.CANCELLED)
# What MLflow takes in the name of a metric or parameter, and how much of a value (mlflow/utils/validation.py, 3.x).
_NOT_IN_NAMES: Final = re.compile(r"[^\w\-. /:]", re.ASCII)
_LONGEST_NAME: Final = 250
_LONGEST_VALUE: Final = 5_000
_VARIANT_FIGURES: Final = (
    "image_auroc", "average_precision", "recall_at_1pct_overkill", "au_pro", "infer_p50_ms", "parity_error",
)  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """One value; `at_ms`: Unix milliseconds."""

    key: str
    value: float
    step: int
    at_ms: int


@dataclass(frozen=True)
class MlflowRun:
    """What a training is there. `experiment`: its name, one for each product and kind of parts."""

    experiment: str
    training_id: str
    status: str
    start_ms: int
    end_ms: int | None
    params: dict[str, str]
    metrics: tuple[Metric, ...]
    tags: dict[str, str]

    @property
    def digest(self) -> str:
        """Of all that it says: the same digest needs no second sending."""
        said = [self.experiment, self.status, self.start_ms, self.end_ms, self.params, self.tags]
        said.append([[each.key, each.value, each.step, each.at_ms] for each in self.metrics])
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def run_of(record: ExperimentRecord) -> MlflowRun:
    """The run of a training."""
    row = record.training
    is_over = row.state in _OVER
    started, ended = row.started_at or row.created_at, row.finished_at if is_over else None
    return MlflowRun(
        experiment=f"sightline/{row.product}" + (" (simulated)" if row.is_simulated else ""),
        training_id=row.training_id,
        # The place in a cluster's queue moves `started_at` on; when it was asked for does not move.
        start_ms=_ms(started if is_over else row.created_at),
        end_ms=_ms(ended) if ended is not None else None,
        status=_STATUS[row.state],
        params=_params(record),
        metrics=tuple(_metrics(record, _ms(ended or started))) if is_over else (),
        tags=_tags(record),
    )


def _params(record: ExperimentRecord) -> dict[str, str]:
    given = record.given
    if given is None:
        # MLflow never changes a parameter: what is not known yet must not be told as something.
        return {}
    told: dict[str, Any] = {"job_sha256": given.job_sha256, **flat(given.parameters)}
    told |= flat({"labels": given.labels})
    return {_name(name): _text(value) for name, value in told.items()}


def _tags(record: ExperimentRecord) -> dict[str, str]:
    row, given = record.training, record.given
    told: dict[str, Any] = {
        "mlflow.runName": row.training_id,
        "mlflow.note.content": row.reason,
        "mlflow.source.name": "sightline",
        "mlflow.source.type": "JOB",
        TRAINING_TAG: row.training_id,
        "sightline.product": row.product,
        "sightline.is_simulated": row.is_simulated,
        "sightline.trigger": row.trigger.value,
        "sightline.state": row.state.value,
        "sightline.error": row.error,
        "sightline.dataset_id": row.dataset_id,
        "sightline.package_id": row.package_id,
        "sightline.champion_package_id": row.champion_package_id,
        "sightline.gate": record.promotion.outcome.value if record.promotion else None,
        "sightline.overruled_by": record.overruled.by if record.overruled else None,
        "sightline.rollouts": ", ".join(f"{each.id} {each.state.value}" for each in record.rollouts) or None,
    }
    if given is not None and given.made_by is not None:
        told |= flat({"sightline.machine": given.made_by})
    return {_name(name): _text(value) for name, value in told.items() if value is not None}


def _metrics(record: ExperimentRecord, at_ms: int) -> Iterable[Metric]:
    row, found = record.training, dict[str, float | None]()
    if row.evaluation is not None:
        said = EvaluationReport.model_validate_json(row.evaluation)
        for variant in said.variants:
            found |= {f"{variant.variant.value}.{name}": getattr(variant, name) for name in _VARIANT_FIGURES}
        for each in by_class(said):
            what = "overkilled" if each.name == GOOD else "missed"
            found |= {f"{each.name}.parts": each.parts, f"{each.name}.{what}": each.wrong}
            found[f"{each.name}.{what}_by_champion"] = each.champion_wrong
        found |= {"champion.image_auroc": said.champion_image_auroc, "training_seconds": said.training_seconds}
    spent = spent_of(record.attempts)
    if record.attempts:
        found |= {"spent.wall_s": spent.wall_s, "spent.queue_wait_s": spent.waited_s, "spent.cpu_s": spent.cpu_s}
        found |= {"spent.energy_wh": spent.energy_wh, "spent.cost": spent.cost, "spent.gpu_hours": spent.gpu_hours}
    for name, value in found.items():
        if value is not None and math.isfinite(value):
            yield Metric(_name(name), float(value), 0, at_ms)
    for curve in record.given.curves if record.given is not None else ():
        for step, value in zip(curve["steps"], curve["values"], strict=True):
            yield Metric(_name(curve["name"]), float(value), int(step), at_ms)


def _name(name: str) -> str:
    """MLflow's alphabet. What had to change is told apart by a piece of its digest, so that no two names meet."""
    plain = _NOT_IN_NAMES.sub("_", name)
    # A name that looks like a path must be its own normal form.
    plain = re.sub(r"/{2,}|(?<![^/])\.+(?![^/])|^/|/$", "_", plain)
    if plain == name and len(name) <= _LONGEST_NAME:
        return name
    return f"{plain[: _LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)

# SPDX-License-Identifier: Apache-2.0
"""What a training was given and how it went, where no other table holds it. Shape alone.

The training's own row keeps why, when and its evaluation, `training_attempt` what it used and cost, `dataset_version`
what it learnt from, `promotion`, `gate_run` and `rollout` what became of it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from central.store.columns import UtcDateTime
from central.store.tables import Row


class Experiment(Row, table=True):
    """One training's job and course; `services/trainings/experiments.py` writes it and lets it go."""

    __tablename__ = "experiment"

    training_id: str = Field(max_length=64, primary_key=True, foreign_key="training.training_id")
    # Of the job file, byte by byte.
    job_sha256: str = Field(max_length=64)
    laid_out_at: datetime = Field(sa_type=UtcDateTime)
    # The job without its pictures and folders.
    parameters: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    # Side → defect class, or the judgement where there is none → pictures, parts.
    labels: dict[str, dict[str, dict[str, int]]] = Field(default_factory=dict, sa_type=JSON)
    # JSON of `contracts.jobs.MadeBy`; None: the trainer has not said.
    made_by: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    # Of `contracts.jobs.MetricCurve`.
    curves: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    told_at: datetime | None = Field(default=None, sa_type=UtcDateTime)

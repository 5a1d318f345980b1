# SPDX-License-Identifier: Apache-2.0
"""What trainings wait for, cost and say, and why there was none, in the plant's story. Mixed into `LearningStory`."""

from __future__ import annotations

from datetime import datetime, timedelta

from central.api import learning_schemas, training_schemas
from contracts.vocabulary import TrainingTrigger

PRODUCT = "ring"


class TrainingStory:
    """What central tells of the queue, of costs, logs and decisions. The fields are those of `Story`."""

    now: datetime
    is_simulated: bool
    has_stations: bool

    def spent(self) -> training_schemas.SpentView:
        return training_schemas.SpentView(
            attempts=2,
            queue_wait_s=95,
            wall_s=61,
            cpu_s=118,
            gpu_hours=0,
            peak_memory_bytes=734_003_200,
            energy_wh=0.328,
            cost=0.0123,
            currency="EUR",
        )

    def training_costs(self) -> training_schemas.TrainingCostsView:
        """Two trainings, one of them promoted."""
        return training_schemas.TrainingCostsView(
            since=self.now - timedelta(days=90),
            watts_per_core=10,
            products=[
                training_schemas.TrainingCosts(
                    product=PRODUCT,
                    is_simulated=self.is_simulated,
                    trainings=2,
                    without_attempts=0,
                    accepted=1,
                    spent=self.spent(),
                    cost_per_accepted=0.0123,
                    wall_s_per_accepted=61,
                    energy_wh_per_accepted=0.328,
                )
            ],
        )

    def training_queue(self) -> training_schemas.TrainingQueueView:
        """One runs, one waits for its site's quota."""
        common = {"product": PRODUCT, "site": "demo", "gpus": 0, "queued_at": self.now - timedelta(minutes=3)}
        waits_for = "1 job of site <demo> run, its quota is 1"
        return training_schemas.TrainingQueueView(
            all=training_schemas.QuotaView(jobs=2, gpus=0),
            each_site=training_schemas.QuotaView(jobs=1, gpus=0),
            trainings=[
                training_schemas.QueuedTraining.model_validate(common | fields)
                for fields in (
                    {"training_id": "t-4", "trigger": "PERSON", "state": "RUNNING", "preemptions": 0, "waits_for": ""},
                    {
                        "training_id": "t-3",
                        "trigger": "SCHEDULE",
                        "state": "QUEUED",
                        "preemptions": 1,
                        "waits_for": waits_for,
                    },
                )
            ],
        )

    def training_log(self, offset: int) -> learning_schemas.TrainingLogView:
        """As central answers a request for the end of it."""
        said = b"reading pictures\n" * 2_000 + b"fitting <head>: done\n"
        return learning_schemas.TrainingLogView(
            training_id="t-2",
            text=said[offset:].decode(),
            offset=max(0, len(said) + offset),
            next_offset=len(said),
            size_bytes=len(said),
            is_over=True,
        )

    def training_decisions(self) -> list[learning_schemas.TrainingDecisionView]:
        if not self.has_stations:
            return []
        at = self.now - timedelta(hours=2)
        no = learning_schemas.TrainingDecisionView(
            id=3, product=PRODUCT, is_simulated=self.is_simulated, trigger=TrainingTrigger.LABELS, at=at,
            renewed_at=self.now, is_yes=False, because="TOO_FEW_LABELS", reason="57 of <200> new confirmed labels",
            figures={"new_labels": 57, "wanted": 200},
        )  # fmt: skip
        said = {"trigger": TrainingTrigger.ALARM, "is_yes": True, "because": "CALLED_FOR", "training_id": "t-2"}
        return [no, no.model_copy(update={**said, "id": 2, "alarm_id": 7, "reason": "alarm 7: escapes"})]

# SPDX-License-Identifier: Apache-2.0
"""What trainings cost, over HTTP: by training, by attempt, by product and for each that the gate promoted."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from central.store.learning_tables import Package, Promotion, Training
from central.store.training_tables import TrainingAttempt
from contracts.vocabulary import AttemptEnd, DetectorKind, PromotionOutcome, Role, TrainingState
from tests.central.api.conftest import Api

P = "/api/v1/trainings"


def keep(
    api: Api,
    training_id: str,
    *attempts: dict[str, Any],
    outcome: PromotionOutcome | None = None,
    is_simulated: bool = False,
    at: datetime | None = None,
) -> None:
    """A training that is over, with its attempts of 100 s each, ten minutes after it was asked for."""
    began = at or api.clock.now()
    with api.services.database.begin() as session:
        training = Training(
            training_id=training_id, product="ring", detector=DetectorKind.AUTO, reason="a test", created_at=began,
            state=TrainingState.FINISHED if outcome else TrainingState.FAILED, starts=len(attempts),
            is_simulated=is_simulated,
        )  # fmt: skip
        session.add(training)
        session.flush()
        for number, said in enumerate(attempts, 1):
            fields: dict[str, Any] = {
                "training_id": training_id, "number": number, "backend": "local", "queued_at": began,
                "started_at": began + timedelta(seconds=600), "ended_at": began + timedelta(seconds=700),
                "end": AttemptEnd.FINISHED, "wall_s": 100.0, "currency": "EUR",
            }  # fmt: skip
            session.add(TrainingAttempt(**(fields | said)))
        if outcome is not None:
            package_id = training_id.ljust(64, "0")
            session.add(
                Package(
                    package_id=package_id,
                    product="ring",
                    detector=DetectorKind.MIXED,
                    created_at=began,
                    registered_at=began,
                    size_bytes=1,
                    manifest="{}",
                    training_id=training_id,
                    is_simulated=is_simulated,
                )
            )
            session.flush()
            session.add(Promotion(package_id=package_id, outcome=outcome, decided_at=began))


USED: dict[str, Any] = {"cpu_s": 360.0, "peak_memory_bytes": 500, "energy_wh": 1.0, "cost": 2.0, "gpus": 0.5}


def test_an_accepted_improvement_carries_what_the_others_cost(api: Api) -> None:
    keep(api, "t-good", USED, outcome=PromotionOutcome.PROMOTED)
    keep(api, "t-refused", USED, outcome=PromotionOutcome.REFUSED)
    keep(api, "t-failed", {**USED, "peak_memory_bytes": 900, "end": AttemptEnd.OVER_TIME})
    keep(api, "t-old")
    keep(api, "t-long-ago", USED, outcome=PromotionOutcome.PROMOTED, at=api.clock.now() - timedelta(days=91))
    keep(api, "t-simulated", {"energy_wh": 5.0}, is_simulated=True)
    told = api.as_(Role.VIEWER).get(f"{P}/costs").json()
    real, simulated = told["products"]
    assert (real["trainings"], real["without_attempts"], real["accepted"]) == (4, 1, 1)
    assert real["spent"] == {
        "attempts": 3, "queue_wait_s": 1800.0, "wall_s": 300.0, "cpu_s": 1080.0, "gpu_hours": pytest.approx(150 / 3600),
        "peak_memory_bytes": 900, "energy_wh": 3.0, "is_energy_estimated": True, "cost": 6.0, "currency": "EUR",
    }  # fmt: skip
    assert (real["cost_per_accepted"], real["wall_s_per_accepted"], real["energy_wh_per_accepted"]) == (6.0, 300.0, 3.0)
    assert (simulated["is_simulated"], simulated["accepted"], simulated["energy_wh_per_accepted"]) == (True, 0, None)
    assert (simulated["spent"]["cpu_s"], simulated["spent"]["cost"]) == (None, None)
    longer = api.as_(Role.VIEWER).get(f"{P}/costs?days=100").json()["products"][0]
    assert (longer["accepted"], longer["cost_per_accepted"]) == (2, 4.0)


def test_a_training_and_each_attempt_tell_what_they_took(api: Api) -> None:
    keep(api, "t-1", {**USED, "end": AttemptEnd.PREEMPTED}, {**USED, "peak_memory_bytes": 700})
    viewer = api.as_(Role.VIEWER)
    assert viewer.get(f"{P}/t-1").json()["spent"]["cost"] == 4.0
    assert viewer.get(P).json()[0]["spent"] == viewer.get(f"{P}/t-1").json()["spent"]
    first, second = viewer.get(f"{P}/t-1/attempts").json()
    assert [(each["number"], each["end"]) for each in (first, second)] == [(1, "PREEMPTED"), (2, "FINISHED")]
    assert (first["spent"]["peak_memory_bytes"], second["spent"]["queue_wait_s"]) == (500, 600.0)
    assert viewer.get(f"{P}/t-none/attempts").status_code == 404


def test_sums_do_not_mix_currencies(api: Api) -> None:
    keep(api, "t-1", {**USED, "currency": "USD"}, USED)
    spent = api.as_(Role.VIEWER).get(f"{P}/t-1").json()["spent"]
    assert (spent["cost"], spent["currency"], spent["wall_s"]) == (2.0, "EUR", 200.0)

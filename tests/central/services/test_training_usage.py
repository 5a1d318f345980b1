# SPDX-License-Identifier: Apache-2.0
"""What the trainer says of its use comes into central's books, with the estimate and the price made of it."""

import hashlib

import cv2
import numpy as np
import pytest

from central.learning_settings import CostSettings
from central.services.trainings.usage import attempts_of
from central.settings import LearningSettings
from central.store.repositories import audits
from central.store.tables import LabelledPicture
from contracts.vocabulary import AttemptEnd, DetectorKind, Judgement, LabelSource, TrainingState
from tests.central.services.bench import PRODUCT, Bench

PRICES = CostSettings(per_cpu_hour=3.6, per_kwh=0.3, watts_per_core=20.0)


def add_pictures(bench: Bench, count: int) -> None:
    """No two of which look alike: parts that do would be taken for one."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        rough = rng.uniform(40, 200, (6, 6, 3)).astype(np.float32)
        grain = rng.normal(0, 4, (96, 96, 3))
        picture = np.clip(cv2.resize(rough, (96, 96), interpolation=cv2.INTER_CUBIC) + grain, 0, 255).astype(np.uint8)
        content = cv2.imencode(".png", picture)[1].tobytes()
        label = LabelledPicture(
            product=PRODUCT,
            sha256=bench.blobs.put(content),
            judgement=Judgement.GOOD,
            part_id=hashlib.sha256(content).hexdigest()[:12],
            source=LabelSource.REFERENCE,
            added_at=bench.clock.now(),
            is_simulated=True,
        )
        with bench.database.begin() as session:
            audits.keep_label(session, label)


@pytest.mark.slow
def test_a_real_training_says_what_it_used_and_what_that_cost(bench: Bench) -> None:
    bench.build(learning=LearningSettings(min_good_labels=10, size_px=96), cost=PRICES)
    add_pictures(bench, 30)
    training_id = bench.learning.requests.request(PRODUCT, DetectorKind.MEMORY_BANK, "a test", bench.clock.now())
    over = (TrainingState.FINISHED, TrainingState.FAILED)
    bench.tick_until(lambda: bench.trainings()[0].state in over, wait_s=240)
    assert bench.trainings()[0].error is None
    with bench.database.read() as session:
        (attempt,) = attempts_of(session, training_id)
    assert attempt.end is AttemptEnd.FINISHED
    assert attempt.cpu_s is not None
    assert attempt.peak_memory_bytes is not None
    # It imports numpy, OpenCV and ONNX Runtime and runs a trunk: more than a second nowhere, but never nothing.
    assert 0.2 < attempt.cpu_s < 600
    assert 50e6 < attempt.peak_memory_bytes < 8e9
    assert attempt.energy_wh == pytest.approx(attempt.cpu_s * 20 / 3600)
    assert attempt.energy_wh is not None
    assert attempt.cost == pytest.approx(attempt.cpu_s / 1000 + attempt.energy_wh / 1000 * 0.3)

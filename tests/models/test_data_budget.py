# SPDX-License-Identifier: Apache-2.0
"""A training that must end in time gives up looks first, then sound pictures, never labels; and says so."""

from pathlib import Path

import numpy as np
import pytest

from contracts.vocabulary import Judgement, PartUse
from models.clock import SystemClock
from models.settings import Settings
from models.training.budget import FEWEST_SOUND_PARTS, plan_within
from models.training.job import run_job
from tests.models.conftest import make_job, unread_part, write_parts

PARTS = [unread_part(f"g{place}", Judgement.GOOD) for place in range(1000)]
PARTS += [unread_part(f"d{place}", Judgement.DEFECTIVE) for place in range(30)]


@pytest.mark.parametrize(
    ("left_s", "has_looks", "sound", "said"),
    [
        (300, True, 1000, []),
        (250, False, 1000, ["further looks"]),
        (150, False, 620, ["further looks", "620 of 1000 sound"]),
        (10, False, FEWEST_SOUND_PARTS, ["further looks", "200 of 1000 sound", "it will take longer"]),
        (-5, False, FEWEST_SOUND_PARTS, ["further looks", "200 of 1000 sound", "0.0 min are left"]),
    ],
)
def test_less_time_gives_up_more_in_order_and_says_it(
    left_s: float, has_looks: bool, sound: int, said: list[str]
) -> None:
    plan = plan_within(left_s, PARTS, looks=300, judged=200, picture_s=0.1)
    assert plan.has_looks is has_looks
    assert sum(not each.is_defective for each in plan.parts) == sound
    assert sum(each.is_defective for each in plan.parts) == 30
    assert len(plan.notes) == len(said)
    assert all(text in note for text, note in zip(said, plan.notes, strict=True))
    used = [each.image.group for each in plan.parts]
    assert used == [each.image.group for each in PARTS if each.image.group in set(used)]


def test_few_parts_are_never_thinned() -> None:
    plan = plan_within(0, PARTS[:50], looks=0, judged=0, picture_s=1.0)
    assert plan.parts == PARTS[:50]
    assert len(plan.notes) == 1


def test_training_without_time_still_gives_a_package_and_says_what_it_gave_up(
    tmp_path: Path, settings: Settings
) -> None:
    rng = np.random.default_rng(0)
    images = write_parts(tmp_path, rng, 12, is_defective=False, use=PartUse.TRAIN)
    images += write_parts(tmp_path, rng, 8, is_defective=True, use=PartUse.TRAIN)
    report = run_job(make_job(tmp_path, images), settings, SystemClock(), budget_s=0.0)
    assert report.train_defective == 8
    assert any("no further looks" in note for note in report.notes)
    assert any("it will take longer" in note for note in report.notes)

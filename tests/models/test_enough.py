# SPDX-License-Identifier: Apache-2.0
"""Too few pictures are told before anything is computed from them, and with what was left out."""

from pathlib import Path

import numpy as np
import pytest

from contracts.codec import decode
from contracts.jobs import PROGRESS_NAME, TrainingImage, TrainingProgress
from contracts.vocabulary import DetectorKind, Judgement, PartUse, TrainingState
from models.clock import SystemClock
from models.errors import InputError
from models.settings import Settings
from models.training.job import run_job
from tests.models.conftest import make_job, write_parts


def parts(folder: Path, good: int, defective: int = 0) -> list[TrainingImage]:
    rng = np.random.default_rng(3)
    images = write_parts(folder, rng, good, is_defective=False, use=PartUse.TRAIN)
    return images + write_parts(folder, rng, defective, is_defective=True, use=PartUse.TRAIN)


@pytest.fixture
def is_uncomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be computed."""

    def refuse(*_arguments: object, **_named: object) -> None:
        raise AssertionError("the graph was built")

    monkeypatch.setattr("models.training.job.build_front", refuse)


@pytest.mark.usefixtures("is_uncomputed")
@pytest.mark.parametrize(
    ("counts", "asked", "message"),
    [
        ((3, 0), "AUTO", "expected at least 10, got 3"),
        ((0, 12), "AUTO", "expected at least 10, got 0"),
        ((12, 7), "MIXED", "mixed expects at least 8, got 7; label more"),
        ((12, 9), "CLASSIFIER", "classifier expects at least 10, got 9 "),
    ],
)
def test_too_few_pictures_fail_with_a_clear_message_before_anything_is_computed_from_them(
    tmp_path: Path, settings: Settings, counts: tuple[int, int], asked: str, message: str
) -> None:
    job = make_job(tmp_path, parts(tmp_path, *counts), detector=DetectorKind[asked])
    with pytest.raises(InputError, match=message):
        run_job(job, settings, SystemClock())
    told = decode(TrainingProgress, (Path(job.output_dir) / PROGRESS_NAME).read_bytes())
    assert told.state is TrainingState.FAILED
    assert told.error is not None
    assert message in told.error
    assert not (Path(job.output_dir) / "package").exists()


@pytest.mark.usefixtures("is_uncomputed")
def test_too_few_that_can_be_used_say_which_were_left_out(tmp_path: Path, settings: Settings) -> None:
    images = parts(tmp_path, 12)
    for image in images[:2]:
        Path(image.path).write_bytes(b"no picture")
    images[2] = images[2].model_copy(update={"judgement": Judgement.UNSURE})
    with pytest.raises(InputError, match=r"expected at least 10, got 9 \(left out: .*\); add 1 more"):
        run_job(make_job(tmp_path, images), settings, SystemClock())


@pytest.mark.usefixtures("is_uncomputed")
def test_mixed_is_refused_when_all_defects_are_of_one_part(tmp_path: Path, settings: Settings) -> None:
    images = [
        image.model_copy(update={"group": "one"}) if image.judgement is Judgement.DEFECTIVE else image
        for image in parts(tmp_path, 12, 10)
    ]
    with pytest.raises(InputError, match="mixed expects pictures of at least 2 parts, got 10 of one; label another"):
        run_job(make_job(tmp_path, images, detector=DetectorKind.MIXED), settings, SystemClock())

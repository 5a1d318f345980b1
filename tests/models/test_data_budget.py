# SPDX-License-Identifier: Apache-2.0
"""A training that must end in time gives up in a written order, never labels; and says what, and what it exceeded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.jobs import TrainingJob
from contracts.vocabulary import DetectorKind, Judgement, PartUse
from models.clock import SystemClock
from models.data.parts import read_gallery
from models.detectors.head import HeadSettings
from models.graphs.features import FeatureExtractor, build_front, stage_channels
from models.graphs.trunks import resolve
from models.settings import Settings
from models.training import fit_timing
from models.training.budget import Costs, plan_within, told_over
from models.training.checkpoints import Checkpoints
from models.training.fit_timing import costs_of
from models.training.gathering import Work, grid_of
from models.training.job import run_job
from models.training.progress import Progress
from tests.models.conftest import make_job, unread_part, write_parts

PARTS = [unread_part(f"g{place}", Judgement.GOOD) for place in range(1000)]
PARTS += [unread_part(f"d{place}", Judgement.DEFECTIVE) for place in range(30)]


# A picture takes 0.2 s in all, what follows 20 s.
BANK = Costs(picture_s=0.1, row_s=0.1, after_s=20)
# And a head 120 s, 80 s with fewer steps.
MIXED = replace(BANK, step_s=0.1, head_rounds=4)
CLASSIFIER = replace(MIXED, is_head_optional=False)


@pytest.mark.parametrize(
    ("costs", "left_s", "has_looks", "sound", "steps", "said"),
    [
        (BANK, 300, True, 1000, 300, []),
        (BANK, 250, False, 1000, 300, ["4.8 min, 4.2 min are left", "300 given up, about 60 s"]),
        (BANK, 150, False, 620, 300, ["all of it", "further looks", "620 of 1000 sound"]),
        (BANK, 10, False, 200, 300, ["all of it", "further looks", "200 of 1000 sound", "longer, by about 56 s"]),
        (BANK, -5, False, 200, 300, ["all of it", "further looks", "200 of 1000 sound", "0 s are left; it will"]),
        (MIXED, 410, True, 1000, 300, []),
        (MIXED, 350, False, 1000, 300, ["all of it", "further looks"]),
        (MIXED, 310, False, 1000, 200, ["all of it", "further looks", "200 of 300 steps (about 40 s given up)"]),
        (MIXED, 200, False, 470, 200, ["all of it", "further looks", "200 of 300 steps", "470 of 1000 sound"]),
        # Without the head sound pictures come back.
        (MIXED, 140, False, 570, 0, ["all of it", "further looks", "no head", "570 of 1000 sound"]),
        (MIXED, 10, False, 200, 0, ["all of it", "further looks", "no head", "200 of 1000", "take longer, by about"]),
        (CLASSIFIER, 140, False, 200, 200, ["all of it", "further looks", "200 of 300", "200 of 1000", "by about 6 s"]),
    ],
)
def test_less_time_gives_up_more_in_order_and_says_it(  # noqa: PLR0917 -- columns of a table
    costs: Costs, left_s: float, has_looks: bool, sound: int, steps: int, said: list[str]
) -> None:
    plan = plan_within(left_s, PARTS, looks=300, costs=costs)
    assert (plan.has_looks, plan.head_steps) == (has_looks, steps)
    assert sum(not each.is_defective for each in plan.parts) == sound
    assert sum(each.is_defective for each in plan.parts) == 30
    assert len(plan.notes) == len(said)
    assert all(text in note for text, note in zip(said, plan.notes, strict=True))
    used = [each.image.group for each in plan.parts]
    assert used == [each.image.group for each in PARTS if each.image.group in set(used)]


def test_few_parts_are_never_thinned() -> None:
    plan = plan_within(0, PARTS[:50], looks=0, costs=BANK)
    assert plan.parts == PARTS[:50]
    assert len(plan.notes) == 2


def test_time_beyond_what_was_asked_for_is_told_with_both() -> None:
    assert told_over(59.0, 60.0) == []
    (line,) = told_over(150.0, 60.0)
    assert line.startswith("budget: exceeded by 1.5 min: 60 s were asked for, 2.5 min taken")


@pytest.mark.parametrize(
    ("kind", "masked", "defective", "rounds"),
    [
        (DetectorKind.MEMORY_BANK, False, 50, 0),
        (DetectorKind.MIXED, False, 8, 0),
        (DetectorKind.MIXED, False, 40, 4),
        (DetectorKind.MIXED, True, 8, 4),
        (DetectorKind.CLASSIFIER, False, 10, 4),
    ],
)
def test_head_is_counted_where_it_may_be_trained(  # noqa: PLR0917 -- columns of a table
    tmp_path: Path, settings: Settings, kind: DetectorKind, masked: bool, defective: int, rounds: int
) -> None:
    rng = np.random.default_rng(0)
    images = write_parts(tmp_path, rng, 4, is_defective=False, use=PartUse.TRAIN)
    of_defects = write_parts(tmp_path, rng, defective, is_defective=True, use=PartUse.TRAIN)
    if masked:
        of_defects = [each.model_copy(update={"mask_path": "mask.png"}) for each in of_defects]
    costs, _ = measured(make_job(tmp_path, [*images, *of_defects], detector=kind), settings)
    assert costs.head_rounds == rounds
    assert (costs.step_s > 0) is (rounds > 0)
    assert costs.picture_s > 0
    assert costs.row_s > 0


def test_head_is_timed_with_masks_where_there_are_any(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[int] = []
    monkeypatch.setattr(fit_timing, "train_head", lambda training, *_rows, **_seed: masked.append(len(training.masks)))
    rng = np.random.default_rng(0)
    images = write_parts(tmp_path, rng, 4, is_defective=False, use=PartUse.TRAIN)
    of_defects = write_parts(tmp_path, rng, 8, is_defective=True, use=PartUse.TRAIN)
    of_defects = [each.model_copy(update={"mask_path": "mask.png"}) for each in of_defects]
    measured(make_job(tmp_path, [*images, *of_defects], detector=DetectorKind.MIXED), settings)
    assert masked
    assert set(masked[1:]) == {10}, "each of the defective rows"


def test_of_several_workers_one_share_is_timed_on_its_threads(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[HeadSettings] = []

    def note(_training: object, _rows: object, own: HeadSettings, *, seed: int) -> None:
        assert seed == 0
        timed.append(own)

    sessions: list[int] = []

    class Noted(FeatureExtractor):
        def __init__(self, front: object, threads: int) -> None:
            sessions.append(threads)
            super().__init__(front, threads=threads)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_timing, "train_head", note)
    monkeypatch.setattr(fit_timing, "FeatureExtractor", Noted)
    monkeypatch.setattr(fit_timing, "_fit_s", lambda *_given: (0.0, 1.0))
    rng = np.random.default_rng(0)
    images = write_parts(tmp_path, rng, 4, is_defective=False, use=PartUse.TRAIN)
    images += write_parts(tmp_path, rng, 10, is_defective=True, use=PartUse.TRAIN)
    job = make_job(tmp_path, images, detector=DetectorKind.CLASSIFIER, threads=5, workers=5)
    costs, _ = measured(job, settings)
    # A batch is 12 pairs: three of them are the largest share of five workers.
    assert {(own.threads, own.batch) for own in timed} == {(1, 6)}
    # What follows the fit is judged by the leader alone.
    assert sessions == [5, 1]
    alone, _ = measured(job.model_copy(update={"workers": 1}), settings)
    assert {(own.threads, own.batch) for own in timed[3:]} == {(5, 24)}
    assert costs.step_s >= fit_timing._MEETING_S > alone.step_s


def test_workers_that_compute_at_once_divide_the_time_of_pictures_and_the_others_take_turns(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    images = write_parts(tmp_path, rng, 4, is_defective=False, use=PartUse.TRAIN)
    images += write_parts(tmp_path, rng, 10, is_defective=True, use=PartUse.TRAIN)
    monkeypatch.setattr(fit_timing, "_pictures_s", lambda *_given: (8.0, np.zeros((4, 2, 32, 32), np.float16)))
    monkeypatch.setattr(fit_timing, "_fit_s", lambda *_given: (0.0, 1.0))
    monkeypatch.setattr(fit_timing, "_timed_head_s", lambda *_given: 10 * fit_timing._STEPS)
    job = make_job(tmp_path, images, detector=DetectorKind.CLASSIFIER, threads=4, workers=4)
    for spread, picture_s, step_s in ((1, 8.0, 40.0), (2, 4.0, 20.0), (4, 2.0, 10.0)):
        costs, _ = measured(job, settings, spread)
        assert costs.picture_s == picture_s
        assert costs.step_s == step_s + fit_timing._MEETING_S
        # Judging and the fit are the leader's.
        assert costs.after_s == 1.25 * 8.0


@pytest.mark.parametrize(
    ("workers", "threads", "cores", "at_once"), [(1, 4, 2, 1), (2, 2, 2, 2), (4, 4, 2, 2), (2, 4, 2, 1), (3, 1, 8, 3)]
)
def test_as_many_workers_compute_at_once_as_the_machine_has_cores_for(
    workers: int, threads: int, cores: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(cores)))
    assert fit_timing.abreast(workers, threads) == at_once


def measured(job: TrainingJob, settings: Settings, spread: int = 1) -> tuple[Costs, Work]:
    """What a job costs, and its work."""
    gallery = read_gallery(job.images, settings, lambda _count: None)
    parts = gallery.select(PartUse.TRAIN)
    trunk = resolve(settings, job.backbone, None, [])
    front = build_front(trunk, size_px=job.size_px, grid=grid_of(job.size_px))
    progress = Progress(Path(job.output_dir).parent, job.training_id, SystemClock())
    work = Work(job, gallery, parts, job.detector, progress, stage_channels(trunk), Checkpoints(None, "", []))
    return costs_of(work, [front], scored=1, clock=SystemClock(), spread=spread), work


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
    assert any(note.startswith("budget: exceeded by") for note in report.notes)


def test_head_is_left_out_for_want_of_time_and_both_are_told(tmp_path: Path, settings: Settings) -> None:
    rng = np.random.default_rng(0)
    images = write_parts(tmp_path, rng, 12, is_defective=False, use=PartUse.TRAIN)
    images += write_parts(tmp_path, rng, 40, is_defective=True, use=PartUse.TRAIN)
    report = run_job(make_job(tmp_path, images), settings, SystemClock(), budget_s=0.0)
    assert any(note.startswith("budget: no head, the other opinions alone (about") for note in report.notes)
    assert any(note.endswith("not trained for want of time)") for note in report.notes)

# SPDX-License-Identifier: Apache-2.0
"""What a training costs on this machine, measured on a few pictures before it begins: the input of `budget`.

The trunk is timed on whole pictures; the fit on their features, repeated until there are enough rows and cut to a part
of the field, since its time grows with rows × cells; the head on some of its steps. Of several workers one's share is
timed, on its threads. Nothing of it is kept. Decides nothing. Called by `job`.
"""

import os
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx

from contracts.vocabulary import DetectorKind, PartUse
from models.clock import Clock
from models.detectors.base import Features, TrainingSet
from models.detectors.head import HeadSettings, train_head
from models.detectors.kinds import LEARN_FROM_LABELS, make_detector
from models.detectors.mixed import why_no_head
from models.distributed.leading import threads_of_each
from models.graphs.features import FeatureExtractor
from models.training.budget import Costs
from models.training.gathering import Work

_TIMED_PICTURES: Final = 4
# The fastest counts: what else ran for a moment must not cost a training its head.
_TURNS: Final = 3
_FITS: Final = 2
# Rows of the two timed fits: the difference tells what a row costs, the rest does not grow with them. The fewest that
# hold as many of either kind as every detector asks for.
_FEW_ROWS: Final = 24
_MORE_ROWS: Final = 48
# Rows and columns of cells that the fit and the head are timed on: of a tile of 256 px a quarter, and all.
_FIT_CELLS: Final = 16
_HEAD_CELLS: Final = 32
_STEPS: Final = 10
# Trainings on magnetic tiles took 1.2 and 1.3 times the bare sum: names, maps and areas of regions are not timed.
_BESIDE: Final = 1.25
# Of the mean, which also holds what does not grow.
_LEAST_SHARE: Final = 0.25
# Folds, and once on everything: `mixed` and `classifier` alike.
_HEAD_ROUNDS: Final = 4
# What a step costs several workers beside their shares: gradients are gathered and added. Two processes of this machine
# took .5 to .8 ms (medians of 400), beside other work 1.3 to 4.5 on average.
_MEETING_S: Final = 0.002


@dataclass(frozen=True)
class TimeLeft:
    """The time of one training.

    Attributes:
        clock: the time.
        started_s: when it began, by the clock.
        budget_s: how long it may take; None: as long as it likes.
    """

    clock: Clock
    started_s: float
    budget_s: float | None

    @property
    def taken_s(self) -> float:
        """So far."""
        return self.clock.monotonic_s() - self.started_s

    @property
    def left_s(self) -> float:
        """Below 0 where it is over, infinite without a budget."""
        return float("inf") if self.budget_s is None else self.budget_s - self.taken_s


def abreast(workers: int, threads: int) -> int:
    """How many of the workers of this machine compute at once, where each has a share of the threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(workers, cores // threads_of_each(workers, threads)))


def costs_of(work: Work, fronts: list[onnx.ModelProto], *, scored: int, clock: Clock, spread: int = 1) -> Costs:
    """Measure.

    Args:
        work: what is to be learnt; nothing of it is changed.
        fronts: of all variants, the one that is learnt on first.
        scored: how many pictures each variant scores besides the held-out ones.
        clock: the time.
        spread: how many of the job's workers compute at once.
    """
    timed = [_pictures_s(work, front, work.job.threads, clock) for front in fronts]
    times_s, features = [took_s for took_s, _ in timed], timed[0][1]
    picture_s = times_s[0]
    if work.job.workers > 1:
        picture_s = _pictures_s(work, fronts[0], threads_of_each(work.job.workers, work.job.threads), clock)[0] / spread
    judged = len(work.gallery.select(PartUse.HOLDOUT)) + scored
    fixed_s, row_s = _fit_s(work, features, clock)
    rounds = _head_rounds(work)
    return Costs(
        picture_s=max(picture_s, 1e-6), row_s=_BESIDE * row_s, fixed_s=fixed_s,
        after_s=_BESIDE * judged * sum(times_s),
        step_s=_step_s(work, features, clock, spread) if rounds else 0.0, head_rounds=rounds,
        is_head_optional=work.kind is DetectorKind.MIXED,
    )  # fmt: skip


def _pictures_s(work: Work, front: onnx.ModelProto, threads: int, clock: Clock) -> tuple[float, Features]:
    """What a picture costs one session, s, and the features of some."""
    pictures = [work.gallery.pixels(part) for part in work.parts[:_TIMED_PICTURES]]
    extractor = FeatureExtractor(front, threads=threads)
    # The first run also prepares the session.
    found = extractor.extract(pictures[:1], 1)
    turns_s = []
    for _ in range(_TURNS):
        began_s = clock.monotonic_s()
        found = extractor.extract(pictures, len(pictures))
        turns_s.append((clock.monotonic_s() - began_s) / len(pictures))
    return min(turns_s), found


def _head_rounds(work: Work) -> int:
    """How often the head is trained at the most: that none is needed is found out only later, and not counted on."""
    if work.kind not in LEARN_FROM_LABELS or work.head_steps == 0:
        return 0
    if work.kind is DetectorKind.CLASSIFIER:
        return _HEAD_ROUNDS
    defective = [part for part in work.parts if part.is_defective]
    has_masks = any(part.image.mask_path is not None for part in defective)
    return _HEAD_ROUNDS if why_no_head(0.0, len(defective), has_masks=has_masks) is None else 0


def _fit_s(work: Work, features: Features, clock: Clock) -> tuple[float, float]:
    """Of the detector without its head: what does not grow with the rows, and what a row costs, s."""
    some, times = _part_of_field(features, _FIT_CELLS), _larger(features, _FIT_CELLS)
    few_s, more_s = (_timed_fit_s(work, some, rows, clock) for rows in (_FEW_ROWS, _MORE_ROWS))
    row_s = _each_s(few_s, more_s, _FEW_ROWS, _MORE_ROWS)
    return max(0.0, few_s - _FEW_ROWS * row_s), times * row_s


def _each_s(few_s: float, more_s: float, few: int, more: int) -> float:
    """Of one of them, by two times; something else may have run beside the shorter one."""
    return max((more_s - few_s) / (more - few), _LEAST_SHARE * more_s / more)


def _timed_fit_s(work: Work, features: Features, rows: int, clock: Clock) -> float:
    training, turns_s = _made_up(features, rows), []
    for _ in range(_FITS):
        detector = make_detector(work.kind, threads=work.job.threads, head_steps=0)
        began_s = clock.monotonic_s()
        detector.fit(training, seed=work.job.seed, check=lambda _share: work.progress.within(0.0))
        if work.kind in LEARN_FROM_LABELS:
            # For the names of defects the labelled rows are looked at again.
            detector.score(training.features[training.is_defective])
        turns_s.append(clock.monotonic_s() - began_s)
    return min(turns_s)


def _step_s(work: Work, features: Features, clock: Clock, spread: int) -> float:
    """With what is done once, which is little: a difference of two short times would be mostly noise."""
    workers = work.job.workers
    own = HeadSettings(threads=threads_of_each(workers, work.job.threads))
    # The largest share that a worker has of the pairs of a batch.
    own = replace(own, batch=2 * -(-own.batch // (2 * workers)))
    training = _made_up(_part_of_field(features, _HEAD_CELLS), _FEW_ROWS)
    if any(part.image.mask_path is not None for part in work.parts):
        # Each mask of a batch is a loss of its own.
        whole = np.ones(training.features.shape[2:], np.float32)
        training = replace(training, masks={int(row): whole for row in np.flatnonzero(training.is_defective)})
    # The first also loads what trains it.
    _timed_head_s(training, replace(own, steps=1), clock)
    took_s = min(_timed_head_s(training, replace(own, steps=_STEPS), clock) for _ in range(_FITS))
    in_turns, meeting_s = workers / spread, _MEETING_S if workers > 1 else 0.0
    return took_s / _STEPS * _larger(features, _HEAD_CELLS) * in_turns + meeting_s


def _timed_head_s(training: TrainingSet, settings: HeadSettings, clock: Clock) -> float:
    began_s = clock.monotonic_s()
    train_head(training, np.arange(len(training.groups)), settings, seed=0)
    return clock.monotonic_s() - began_s


def _made_up(features: Features, rows: int) -> TrainingSet:
    """The features again and again, with a little noise that keeps rows apart; five of twelve defective."""
    noise = np.random.default_rng(0).standard_normal((rows, *features.shape[1:]), np.float32)
    repeated = features[np.arange(rows) % len(features)].astype(np.float32)
    spread = np.float32(0.1) * repeated.std()
    return TrainingSet(
        features=(repeated + spread * noise).astype(np.float16),
        is_defective=np.arange(rows) % 12 < 5, groups=[str(row) for row in range(rows)],
    )  # fmt: skip


def _part_of_field(features: Features, side: int) -> Features:
    return features[:, :, :side, :side]


def _larger(features: Features, side: int) -> float:
    """How many times larger the whole field is than its part."""
    height, width = features.shape[2:]
    return float(height * width / (min(height, side) * min(width, side)))

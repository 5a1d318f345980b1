# SPDX-License-Identifier: Apache-2.0
"""Attribute study of people and of the model: how far they agree with themselves, with each other, with the reference.

Usual size: 50 parts of known class × 3 appraisers × 3 trials, in an order that hides what was said before (`plan`). The
model is an appraiser like any other; its trials are new captures, for the same picture always gives the same verdict.
Pure; called by `central/msa_report.py`.

Definitions, for they differ between books (the AIAG manual was not read, only accounts of it):
- effectiveness: parts judged right in *all* trials ÷ parts. repeatability: parts judged alike in all trials ÷ parts.
- miss rate: answers "good" on defective parts ÷ answers on defective parts. False-alarm rate: answers "defective" on
  good parts ÷ answers on good parts. Counted in answers; so they are the escape and overkill rate of the appraiser.
- kappa: Cohen (Educational and Psychological Measurement 1960) for two, Fleiss (Psychological Bulletin 1971) for all.

Intervals. Answers on one part resemble each other, so they are not so many independent ones. The effective number
follows from the scatter between parts (Korn and Graubard, Survey Methodology 1998) and goes into the exact interval;
where too few errors are seen to tell, each part counts once at most. Bounds of kappa: those of the agreement, with the
agreement by chance taken as known (Cohen's own approximation, with an exact interval instead of the normal one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from central.quality.rates import Interval, binomial_interval

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

METHOD_CLUSTERED: Final = "Korn-Graubard: exact interval at the effective number of answers"
# From fewer parts with an error (or without one) their scatter cannot be told; then a part counts once at most. Without
# this rule the simulation of 25 parts held in 92.8 % only.
_PARTS_THAT_SCATTER: Final = 5


@dataclass(frozen=True)
class Kappa:
    """Agreement beyond chance, with bounds. `estimate` None: everybody always said the same, chance explains all."""

    low: float
    estimate: float | None
    high: float


@dataclass(frozen=True)
class AppraiserFigures:
    """One appraiser beside the reference. Numbers of parts and answers are the denominators."""

    name: str
    parts: int
    defective_answers: int
    good_answers: int
    effectiveness: Interval
    repeatability: Interval
    miss_rate: Interval
    false_alarm_rate: Interval
    kappa_to_reference: Kappa


@dataclass(frozen=True)
class PairAgreement:
    """Two appraisers beside each other: Cohen's kappa."""

    first: str
    second: str
    kappa: Kappa


@dataclass(frozen=True)
class AttributeStudy:
    """All figures of a study."""

    parts: int
    defective_parts: int
    trials: int
    confidence: float
    appraisers: tuple[AppraiserFigures, ...]
    pairs: tuple[PairAgreement, ...]
    kappa_of_all: Kappa
    # Parts on which every answer of everybody agreed with the reference.
    all_right: Interval


def plan(parts: int, appraisers: int, trials: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Order in which the parts are shown: int [appraisers, trials, parts], each row all parts, shuffled anew.

    Raises:
        ValueError: a number below 1.
    """
    if min(parts, appraisers, trials) < 1:
        msg = f"study: expected at least 1 part, appraiser and trial, got {parts}, {appraisers}, {trials}"
        raise ValueError(msg)
    every = np.broadcast_to(np.arange(parts, dtype=np.int64), (appraisers, trials, parts))
    return rng.permuted(every, axis=2)


def attribute_study(
    names: Sequence[str], defective: Bools, reference: Bools, confidence: float = 0.95
) -> AttributeStudy:
    """Evaluate a study.

    Args:
        names: of the appraisers, people and model.
        defective: bool [appraisers, parts, trials], what they said.
        reference: bool [parts], agreed truth; both classes must occur.
        confidence: of all intervals, two-sided, each for itself.

    Raises:
        ValueError: shapes that do not fit, or a reference with one class only: neither misses nor false alarms of it
            could be told.
    """
    if defective.ndim != 3 or defective.shape[:2] != (len(names), len(reference)) or 0 in defective.shape:
        msg = (
            "study: expected answers of shape [appraisers, parts, trials] for "
            f"{len(names)} appraisers and {len(reference)} parts, got {defective.shape}; every cell must be filled"
        )
        raise ValueError(msg)
    if reference.all() or not reference.any():
        msg = "study: expected good and defective parts in the reference, got one kind only; add parts of the other"
        raise ValueError(msg)
    called = defective.mean(axis=2)
    pairs = [
        PairAgreement(names[first], names[second], _cohen(called[first], called[second], confidence))
        for first in range(len(names))
        for second in range(first + 1, len(names))
    ]
    right = (defective == reference[None, :, None]).all(axis=(0, 2))
    return AttributeStudy(
        parts=len(reference),
        defective_parts=int(reference.sum()),
        trials=defective.shape[2],
        confidence=confidence,
        appraisers=tuple(
            _figures(name, answers, reference, confidence) for name, answers in zip(names, defective, strict=True)
        ),
        pairs=tuple(pairs),
        kappa_of_all=fleiss_kappa(defective.transpose(1, 0, 2).reshape(len(reference), -1), confidence),
        all_right=binomial_interval(int(right.sum()), len(reference), confidence),
    )


def fleiss_kappa(defective: Bools, confidence: float = 0.95) -> Kappa:
    """Agreement of all answers on each part: bool [parts, answers], at least two answers.

    Raises:
        ValueError: not such an array.
    """
    if defective.ndim != 2 or defective.shape[0] == 0 or defective.shape[1] < 2:
        msg = f"kappa: expected at least two answers on each part, got shape {defective.shape}"
        raise ValueError(msg)
    answers = defective.shape[1]
    said = defective.sum(axis=1)
    alike = (said * (said - 1) + (answers - said) * (answers - said - 1)) / (answers * (answers - 1))
    share = float(defective.mean())
    return _kappa(alike, share**2 + (1 - share) ** 2, confidence)


def clustered_interval(value: Floats, confidence: float = 0.95) -> Interval:
    """Interval of the mean of one value in 0 … 1 for each part, such as the share of its answers that are wrong.

    Raises:
        ValueError: values outside 0 … 1.
    """
    parts = len(value)
    if parts == 0:
        return Interval(0.0, None, 1.0, METHOD_CLUSTERED)
    if not np.all((value >= 0.0) & (value <= 1.0)):
        msg = f"study: expected shares in 0 … 1 for each part, got {value.min()} to {value.max()}"
        raise ValueError(msg)
    share, effective = float(value.mean()), float(parts)
    scatter = float(value.var(ddof=1)) / parts if parts > 1 else 0.0
    if scatter > 0.0:
        tail = (1.0 + confidence) / 2.0
        # The scatter is an estimate from few parts: as a t distribution is wider than the normal one.
        correction = float(stats.norm.ppf(tail) / stats.t.ppf(tail, parts - 1)) ** 2
        effective = share * (1.0 - share) / scatter * correction
        if min(np.count_nonzero(value > 0.0), np.count_nonzero(value < 1.0)) < _PARTS_THAT_SCATTER:
            effective = min(effective, float(parts))
    tail = (1.0 - confidence) / 2.0
    hits, others = share * effective, (1.0 - share) * effective
    low = 0.0 if share == 0.0 else float(stats.beta.ppf(tail, hits, others + 1))
    high = 1.0 if share == 1.0 else float(stats.beta.ppf(1.0 - tail, hits + 1, others))
    return Interval(low, share, high, METHOD_CLUSTERED)


def _figures(name: str, answers: Bools, reference: Bools, confidence: float) -> AppraiserFigures:
    wrong = answers != reference[:, None]
    parts, trials = answers.shape
    right_always, alike_always = ~wrong.any(axis=1), answers.all(axis=1) | ~answers.any(axis=1)
    return AppraiserFigures(
        name=name,
        parts=parts,
        defective_answers=int(reference.sum()) * trials,
        good_answers=int((~reference).sum()) * trials,
        effectiveness=binomial_interval(int(right_always.sum()), parts, confidence),
        # With a single trial nobody can contradict himself: not known, not 100 %.
        repeatability=binomial_interval(int(alike_always.sum()), parts, confidence)
        if trials > 1
        else binomial_interval(0, 0, confidence),
        miss_rate=clustered_interval(wrong[reference].mean(axis=1), confidence),
        false_alarm_rate=clustered_interval(wrong[~reference].mean(axis=1), confidence),
        kappa_to_reference=_cohen(answers.mean(axis=1), reference.astype(np.float64), confidence),
    )


def _cohen(first: Floats, second: Floats, confidence: float) -> Kappa:
    """Kappa of two appraisers from the share of "defective" each gave each part: every answer meets every other."""
    alike = first * second + (1.0 - first) * (1.0 - second)
    one, other = float(first.mean()), float(second.mean())
    return _kappa(alike, one * other + (1.0 - one) * (1.0 - other), confidence)


def _kappa(alike: Floats, by_chance: float, confidence: float) -> Kappa:
    if by_chance >= 1.0:
        return Kappa(-1.0, None, 1.0)
    agreement = clustered_interval(alike, confidence)

    def beyond(share: float) -> float:
        return max(-1.0, (share - by_chance) / (1.0 - by_chance))

    return Kappa(beyond(agreement.low), beyond(float(alike.mean())), beyond(agreement.high))

# SPDX-License-Identifier: Apache-2.0
"""Made-up days of 86,400 parts with known truth, audited with the real functions of `central/quality`.

Knows no demanded figure. Called by `benchmarks/quality_rates.py` and by `tests/central/quality/test_rate_coverage.py`.

A day: good parts score N(0, 1), defective ones N(d, 1); a part is accepted below the limit that .5 % of the good parts
exceed. 1 % of the parts are defective. `strong`: d such that .05 % of the accepted parts are defective. `new defect`:
the same, and .5 % of the parts have a defect that scores like good parts. `weak`: 1.5 % of the accepted parts are
defective, which 1 % defects cannot give; so d is 2.8, and as many parts are defective as that takes (3.5 %).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from central.quality.agreement import allow_for_errors, by_majority, confirmed, error_rate
from central.quality.confidence_sequence import log_wealth
from central.quality.rates import Interval, binomial_interval, escape_interval, overkill_interval
from central.quality.sampling import inclusion_probabilities, spread_draw

PARTS: Final = 86_400
_LIMIT: Final = float(stats.norm.isf(0.005))
_GOOD_PASS: Final = 0.995
_SEED: Final = 6

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
# Truth of the judged parts and a generator in, what people said out.
Label = Callable[[Bools, np.random.Generator], Bools]


@dataclass(frozen=True)
class Stream:
    """A kind of day. Shares are of all parts; `distance` in standard deviations between good and defective."""

    defects: float
    distance: float
    unseen: float = 0.0

    def accepted(self, rng: np.random.Generator, parts: int = PARTS) -> tuple[Floats, Bools]:
        """Score and truth of the accepted parts of one day, in the order in which they were made."""
        score, is_defective = self._day(rng, parts)
        passes = score < _LIMIT
        return score[passes], is_defective[passes]

    def rejected(self, rng: np.random.Generator, parts: int = PARTS) -> tuple[Floats, Bools]:
        """Score of the rejected parts, and whether they are good."""
        score, is_defective = self._day(rng, parts)
        fails = score >= _LIMIT
        return score[fails], ~is_defective[fails]

    def _day(self, rng: np.random.Generator, parts: int) -> tuple[Floats, Bools]:
        is_seen = rng.random(parts) < self.defects
        is_defective = is_seen | (rng.random(parts) < self.unseen)
        return rng.normal(size=parts) + self.distance * is_seen, is_defective


def _of_one_percent(escape_share: float) -> float:
    missed = escape_share / 0.01 * (1 - 0.01 * 0.95)
    return _LIMIT - float(stats.norm.ppf(missed))


def with_distance(distance: float, escape_share: float) -> Stream:
    """As many defects as it takes for `escape_share` of the accepted parts to be defective at this distance."""
    missed = float(stats.norm.cdf(_LIMIT - distance))
    odds = escape_share / (1 - escape_share) * _GOOD_PASS / missed
    return Stream(odds / (1 + odds), distance)


STRONG: Final = Stream(0.01, _of_one_percent(0.0005))
NEW_DEFECT: Final = Stream(0.01, _of_one_percent(0.0005), unseen=0.005)
WEAK_DISTANCE: Final = 2.8
WEAK: Final = with_distance(WEAK_DISTANCE, 0.015)
STREAMS: Final = {"strong": STRONG, "weak": WEAK, "new defect": NEW_DEFECT}


@dataclass(frozen=True)
class Covered:
    """How often the interval held the truth of its day, and how wide it was, in points (hundredths)."""

    runs: int
    coverage: float
    median_width: float
    truth: float


def truthful(truth: Bools, _: np.random.Generator) -> Bools:
    """People who do not err."""
    return truth


def flipped(truth: Bools, rng: np.random.Generator, rate: float) -> Bools:
    """One person's answers, each wrong with chance `rate`."""
    return truth ^ (rng.random(len(truth)) < rate)


def once(rate: float) -> Label:
    """One person judges, nobody looks again."""
    return lambda truth, rng: flipped(truth, rng, rate)


def positives_confirmed(rate: float) -> Label:
    """What is said to be defective is judged by a second person, who must agree."""
    return lambda truth, rng: confirmed(flipped(truth, rng, rate), flipped(truth, rng, rate))


def two_of_three(rate: float) -> Label:
    """Three judge, the majority counts."""
    return lambda truth, rng: by_majority(np.stack([flipped(truth, rng, rate) for _ in range(3)]))


def escapes(stream: Stream, labels: int, runs: int, label: Label = truthful, draws_a_day: int = 1) -> Covered:
    """Audit with `labels` audits a day, `runs` times. `draws_a_day` above 1 uses each day so often: days are dear."""
    return _cover(stream.accepted, escape_interval, labels, (runs, draws_a_day), label)


def overkills(stream: Stream, labels: int, runs: int, label: Label = truthful, draws_a_day: int = 1) -> Covered:
    """Have `labels` of the rejects of a day judged again, `runs` times."""
    return _cover(stream.rejected, overkill_interval, labels, (runs, draws_a_day), label)


def escapes_with_repeats(
    stream: Stream, labels: int, runs: int, rate: float, *, repeats: int, draws_a_day: int
) -> Covered:
    """Positives confirmed; the rate of wrong answers, known from `repeats` blind repeats, taken into the interval."""

    def interval_of(defective: Bools, chance: Floats, accepted: int) -> Interval:
        # Drawn anew for each day, from the day's own outcome: the same seed would give every day the same repeats.
        rng = np.random.default_rng([_SEED, accepted, int(defective.sum())])
        unlike = int((flipped(np.zeros(repeats, bool), rng, rate) ^ flipped(np.zeros(repeats, bool), rng, rate)).sum())
        error = error_rate(binomial_interval(unlike, repeats))
        return allow_for_errors(escape_interval(defective, chance, accepted), error)

    return _cover(stream.accepted, interval_of, labels, (runs, draws_a_day), positives_confirmed(rate))


def ever_wrong(shares: Sequence[float], runs: int, since: int = 20, until: int = 3_000) -> float:
    """Share of the runs in which a look at any of the audits `since` … `until` leaves the truth out of the sequence.

    Each run has its own true share, in turn one of `shares`. The sequence's own wealth is asked for all looks at once.
    """
    rng = np.random.default_rng(_SEED)
    truth = np.resize(np.asarray(shares, dtype=np.float64), runs)
    found = np.cumsum(rng.random((runs, until)) < truth[:, None], axis=1)
    looked = np.arange(1, until + 1)
    bound = -math.log1p(-0.95)
    wrong = [
        bool((log_wealth(row, looked - row, float(share))[since - 1 :] >= bound).any())
        for row, share in zip(found, truth, strict=True)
    ]
    return float(np.mean(wrong))


def _cover(
    day: Callable[[np.random.Generator], tuple[Floats, Bools]],
    interval_of: Callable[[Bools, Floats, int], Interval],
    labels: int,
    repeats: tuple[int, int],
    label: Label,
) -> Covered:
    runs, draws_a_day = repeats
    rng = np.random.default_rng(_SEED)
    widths, truths, held = [], [], 0
    for run in range(runs):
        if run % draws_a_day == 0:
            score, truth = day(rng)
            chance = inclusion_probabilities(score, labels)
        # The two halves of `draw_audit`: the chances follow from the day alone.
        index = spread_draw(chance, rng)
        interval = interval_of(label(truth[index], rng), chance[index], len(truth))
        share = float(truth.mean())
        held += interval.low <= share <= interval.high
        widths.append(interval.high - interval.low)
        truths.append(share)
    return Covered(runs, held / runs, 100 * float(np.median(widths)), float(np.mean(truths)))

# SPDX-License-Identifier: Apache-2.0
"""How many escapes to expect from scores alone: a hint, never evidence.

In the manner of confidence-based performance estimation (CBPE, as NannyML's documentation describes it): scores are
made into chances of being defective by audits that people judged, and the chances of the parts accepted since are
averaged. It needs no label of these parts, and for that it cannot see what labels are for. Assumed, and not checked by
anything here: parts of one score are defective as often as among the audits (no new defect kind, no change of concept),
and scores have not shifted beyond the range that was audited. So it stands in no gate, no alarm, no rate;
`api/hints.py` alone calls it, and says this beside the figure.

Pure: arrays in, arrays out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
LEAST_OF_EACH: Final = 10
_ROUNDS: Final = 60
# Keeps the slope finite where the audits can be told apart by score without an error.
_RIDGE: Final = 0.02


@dataclass(frozen=True)
class Calibration:
    """A logistic curve over ln(score). `lowest`, `highest`: scores of the audits it was learnt from.

    covariance: of intercept and slope, by the sandwich (Huber 1967), so that weights are allowed for.
    """

    centre: float
    scale: float
    intercept: float
    slope: float
    covariance: Floats
    lowest: float
    highest: float
    audits: int
    defective: int

    def chance(self, score: Floats) -> Floats:
        """Chance of being defective, float [n] in (0, 1). Scores outside the range count as its nearer end."""
        return _expit(self.inputs(score) @ np.array([self.intercept, self.slope]))

    def inputs(self, score: Floats) -> Floats:
        """What the curve is a line of: one, and ln(score) in deviations; float [n, 2]."""
        inside = np.clip(score, self.lowest, self.highest)
        return np.column_stack([np.ones(len(inside)), (np.log(inside) - self.centre) / self.scale])


@dataclass(frozen=True)
class Hint:
    """Expected share of defective parts among the accepted ones. `low`, `high`: for how well the curve is known, alone.

    `beyond`: share of the parts whose score lies outside the range that was audited.
    """

    low: float
    expected: float
    high: float
    beyond: float


def calibrate(score: Floats, defective: npt.NDArray[np.bool_], inclusion_probability: Floats) -> Calibration | None:
    """Learn the chance of being defective by score, from audits of accepted and of rejected parts of one package.

    Platt's logistic curve (1999) over ln(score), by weights 1/probability; without his smoothed targets, which would be
    more than all escapes there are.

    Args:
        score: float [n], above 0.
        defective: bool [n], what people said; leave unsure ones out.
        inclusion_probability: float [n], in (0, 1].

    Returns:
        None with fewer than `LEAST_OF_EACH` good or defective audits, or without two different scores.

    Raises:
        ValueError: arrays of unequal length, scores that are not above 0, probabilities outside (0, 1].
    """
    if not score.shape == defective.shape == inclusion_probability.shape or score.ndim != 1:
        msg = f"label-free hint: expected three arrays of one length, got {score.shape}, {defective.shape}"
        raise ValueError(msg)
    is_wrong = ~((score > 0.0) & np.isfinite(score) & (inclusion_probability > 0.0) & (inclusion_probability <= 1.0))
    if is_wrong.any():
        msg = (
            f"label-free hint: expected scores above 0 and probabilities in (0, 1], got {score[is_wrong][0]}; leave out"
        )
        raise ValueError(msg)
    found = int(defective.sum())
    if min(found, len(score) - found) < LEAST_OF_EACH or np.ptp(score) == 0.0:
        return None
    weight = 1.0 / inclusion_probability
    weight /= weight.mean()
    logged = np.log(score)
    centre, scale = float(logged.mean()), float(logged.std())
    x, y = np.column_stack([np.ones(len(score)), (logged - centre) / scale]), defective.astype(np.float64)
    ridge = np.diag([0.0, _RIDGE])
    curve = np.array([np.log(float(weight @ y) / float(weight @ (1 - y))), 0.0])
    for _ in range(_ROUNDS):
        p = _expit(x @ curve)
        steepness = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(steepness, x.T @ (weight * (y - p)) - ridge @ curve)
        # Newton's step may leave the region in which the curve bends; a bounded one comes back.
        curve += step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if float(np.abs(step).max()) < 1e-9:
            break
    p = _expit(x @ curve)
    bread = np.linalg.inv((x * (weight * p * (1 - p))[:, None]).T @ x + ridge)
    meat = (x * ((weight * (y - p)) ** 2)[:, None]).T @ x
    return Calibration(
        centre, scale, float(curve[0]), float(curve[1]), bread @ meat @ bread,
        float(score.min()), float(score.max()), len(score), found,
    )  # fmt: skip


def expected_escapes(calibration: Calibration, score: Floats, confidence: float = 0.95) -> Hint:
    """What is to be expected of accepted parts by their scores.

    Args:
        calibration: of the package that judged them.
        score: float [m], above 0, of the accepted parts; at least one.
        confidence: of the bounds, by the delta method on the scale of log odds.

    Raises:
        ValueError: no part.
    """
    if score.size == 0:
        msg = "label-free hint: expected at least one accepted part, got none"
        raise ValueError(msg)
    chance = calibration.chance(score)
    expected = float(chance.mean())
    slopes = (calibration.inputs(score) * (chance * (1.0 - chance))[:, None]).mean(axis=0)
    error = float(np.sqrt(slopes @ calibration.covariance @ slopes)) / (expected * (1.0 - expected))
    odds, width = np.log(expected / (1.0 - expected)), float(stats.norm.isf((1.0 - confidence) / 2.0)) * error
    ends = _expit(np.array([odds - width, odds + width]))
    beyond = float(np.mean((score < calibration.lowest) | (score > calibration.highest)))
    return Hint(float(ends[0]), expected, float(ends[1]), beyond)


def _expit(value: Floats) -> Floats:
    # Not 0 nor 1: odds are taken of it.
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(value, -30.0, 30.0))), dtype=np.float64)

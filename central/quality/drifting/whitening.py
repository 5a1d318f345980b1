# SPDX-License-Identifier: Apache-2.0
"""Autoregression: what a series says about its next value, and how a step looks once that is taken away.

Yule–Walker by Levinson's recursion (Brockwell and Davis, Time Series: Theory and Methods, 1991, §5.2, §8.1). Assumes
a second-order stationary series; pairs across a stop are left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Whitening:
    """One-step predictor of each channel.

    Attributes:
        phi: weight of the value 1, 2 … p before; float [p, c].
        sd: standard deviation of what is left; float [c].
        signature: what a step of 1 leaves in the residual 0, 1 … p values later, and from then on; float [p + 1, c].
    """

    phi: Floats
    sd: Floats

    @property
    def signature(self) -> Floats:
        """See the class."""
        steps = 1 - np.concatenate((np.zeros((1, self.phi.shape[1])), np.cumsum(self.phi, 0)))
        return np.asarray(np.maximum(steps, 0.0))


def fit(series: Floats, is_next: NDArray[np.bool_], order: int) -> Whitening:
    """Fit to a reference.

    Args:
        series: deviations from the baseline, float [n, c].
        is_next: whether a value follows the one before without a stop, bool [n].
        order: p.

    Returns:
        the predictor; `sd` is robust against single odd values and no smaller than the tails bear out.
    """
    count, channels = series.shape
    run = np.cumsum(~is_next, dtype=np.intp)
    covariance = np.empty((order + 1, channels))
    for lag in range(order + 1):
        same = run[lag:] == run[: count - lag]
        pairs = (series[lag:] * series[: count - lag])[same]
        # Divided by all, not by the pairs: the recursion then never gives a predictor that runs away.
        covariance[lag] = pairs.sum(0) / count * (count / max(1, count - lag * len(np.unique(run))))
    phi = np.zeros((order, channels))
    for channel in range(channels):
        phi[:, channel] = _levinson(covariance[:, channel])
    kept = _residuals(series, phi, run)
    return Whitening(phi, robust_sd(kept))


def _levinson(covariance: Floats) -> Floats:
    order = len(covariance) - 1
    phi = np.zeros(order)
    error = covariance[0]
    for step in range(order):
        if error <= covariance[0] * 1e-9:
            break
        reflection = (covariance[step + 1] - phi[:step] @ covariance[step:0:-1]) / error
        reflection = float(np.clip(reflection, -0.99, 0.99))
        phi[:step] = phi[:step] - reflection * phi[:step][::-1]
        phi[step] = reflection
        error *= 1 - reflection**2
    return phi


def _residuals(series: Floats, phi: Floats, run: NDArray[np.intp]) -> Floats:
    order = len(phi)
    count = len(series)
    if count <= order:
        return series
    left = series[order:].copy()
    for lag in range(1, order + 1):
        left -= phi[lag - 1] * series[order - lag : count - lag]
    kept = left[run[order:] == run[: count - order]]
    return kept if len(kept) > order else series


def robust_sd(left: Floats) -> Floats:
    """Standard deviation of each column, float [c], in which single odd rows of `left`, float [n, c], count little."""
    middle = np.median(left, 0)
    width = 1.4826 * np.median(np.abs(left - middle), 0)
    # Single odd values do not count in full, heavy tails that go through the whole reference do.
    bound = np.where(width > 0, 5 * width, np.inf)
    sd = np.sqrt(np.mean(np.clip(left - middle, -bound, bound) ** 2, 0))
    tail = np.quantile(np.abs(left - middle), 0.997, axis=0) / 2.97
    return np.asarray(np.maximum(np.maximum(sd, width), np.minimum(tail, 2 * sd)))

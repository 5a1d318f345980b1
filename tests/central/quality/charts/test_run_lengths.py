# SPDX-License-Identifier: Apache-2.0
"""How long CUSUM and EWMA run in control: nominal, with limits known; and with limits learnt from few samples.

Simulated, independent normal samples. A mean run length over references is mostly made by the lucky ones (limits that
are by chance wide hardly ever alarm), so the figure beside it is the share of charts that cry within 100 samples.
docs/charts.md shows these figures.
"""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from central.quality.charts import cusum_limit, ewma_chart, tabular_cusum

_RUNS = 400
_LONGEST = 4_000
_SOON = 100
# Charts that cry within 100 samples, of those whose false alarms come every 465 on average: 1 - exp(-100 / 465).
_NOMINAL_CUSUM = 0.19
# Three standard errors of a share of a fifth among 400.
_ERROR = 0.06


@cache
def _cusum(reference: int, limit: float, *, is_scatter_known: bool = False) -> NDArray[np.int64]:
    """Samples until the first signal of each chart, at most 4,000. `reference` 0: centre and scatter are known."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(_RUNS):
        learnt = rng.standard_normal(reference)
        centre = float(learnt.mean()) if reference else 0.0
        deviation = float(learnt.std(ddof=1)) if reference and not is_scatter_known else 1.0
        signals = tabular_cusum(rng.standard_normal(_LONGEST), centre, deviation, limit=limit).signal_at
        found.append(signals[0] + 1 if signals else _LONGEST)
    return np.array(found)


@cache
def _ewma(reference: int) -> NDArray[np.int64]:
    """The same of central's EWMA: weight .2, three standard deviations."""
    rng = np.random.default_rng(7)
    known = np.tile([-1.0, 1.0], 20_000)
    found = []
    for _ in range(_RUNS):
        learnt = rng.standard_normal(reference) if reference else known
        values = np.concatenate([learnt, rng.standard_normal(_LONGEST)])
        signals = ewma_chart(values, len(learnt), 0.2, 3.0).signal_at
        found.append(signals[0] + 1 if signals else _LONGEST)
    return np.array(found)


def _soon(lengths: NDArray[np.int64]) -> float:
    return float((lengths <= _SOON).mean())


def test_nominal_run_lengths_are_those_of_known_limits() -> None:
    """CUSUM .5 and 5: 465 (Hawkins). EWMA .2 and 3: 560 (Lucas and Saccucci 1990, by interpolation)."""
    assert _cusum(0, 5.0).mean() == pytest.approx(465, rel=4 / np.sqrt(_RUNS))
    assert _soon(_cusum(0, 5.0)) == pytest.approx(_NOMINAL_CUSUM, abs=_ERROR)
    assert _ewma(0).mean() == pytest.approx(560, rel=4 / np.sqrt(_RUNS))


@pytest.mark.parametrize(("reference", "more"), [(10, 2.0), (20, 1.5), (40, 1.0), (100, 1.0)])
def test_ewma_cries_hardly_sooner_for_a_short_reference(reference: int, more: float) -> None:
    assert _soon(_ewma(reference)) <= _soon(_ewma(0)) + more * _ERROR
    # What a short one costs is the other end: many charts hardly ever cry, and see less.
    assert _ewma(reference).mean() > 560 * (1 - 4 / np.sqrt(_RUNS))


@pytest.mark.parametrize(("reference", "least"), [(10, 0.5), (20, 0.4), (40, 0.29)])
def test_the_textbooks_cusum_limit_does_not_bear_a_learnt_centre(reference: int, least: float) -> None:
    assert _soon(_cusum(reference, 5.0)) >= least


@pytest.mark.parametrize("reference", [10, 20, 40, 100])
def test_centrals_cusum_limit_bears_a_learnt_centre_where_the_scatter_is_known(reference: int) -> None:
    """As with counts, whose scatter follows from their share."""
    lengths = _cusum(reference, cusum_limit(0.5, 465.0, reference), is_scatter_known=True)
    assert _soon(lengths) <= _NOMINAL_CUSUM + _ERROR
    assert lengths.mean() >= 465 * (1 - 4 / np.sqrt(_RUNS))


@pytest.mark.parametrize("reference", [10, 20, 40, 100])
def test_centrals_cusum_limit_nearly_bears_a_learnt_scatter_too(reference: int) -> None:
    lengths = _cusum(reference, cusum_limit(0.5, 465.0, reference))
    assert _soon(lengths) <= _NOMINAL_CUSUM + 2 * _ERROR
    assert lengths.mean() >= 465 * (1 - 4 / np.sqrt(_RUNS))

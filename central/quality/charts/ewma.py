# SPDX-License-Identifier: Apache-2.0
"""EWMA chart of block means: slow, small shifts of a measured value. Raises no alarm."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class EwmaPath:
    """EWMA over block means. Limits are None while phase I lasts, and then one pair per block of phase II.

    `signal_at` lists the blocks outside their limits. `deviation` is of single block means around the centre.
    """

    centre: float | None
    deviation: float | None
    value: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    reference_blocks: int
    signal_at: tuple[int, ...]


def block_means(values: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    """Means of whole blocks of `block` values, in order; an unfinished last block is left out.

    Camera values follow each other closely (autocorrelation); means of blocks much less, which is what the
    limits of the chart assume.
    """
    whole = len(values) // block
    means: npt.NDArray[np.float64] = values[: whole * block].reshape(whole, block).mean(axis=1)
    return means


def ewma_chart(
    blocks: npt.NDArray[np.float64],
    reference_blocks: int,
    smoothing: float = 0.2,
    width: float = 3.5,
    least_deviation: float = 0.0,
) -> EwmaPath:
    """EWMA control chart (Roberts 1959; exact time-varying limits, Lucas and Saccucci 1990).

    The first `reference_blocks` means are phase I: their mean and standard deviation fix centre and limits for
    all later ones. `least_deviation` keeps a reference period that was by chance too quiet from alarming on
    every breath; in units of the value.

    Raises:
        ValueError: fewer than 4 reference blocks or a smoothing outside (0, 1].
    """
    if reference_blocks < 4 or not 0.0 < smoothing <= 1.0:
        msg = f"EWMA: expected at least 4 reference blocks and 0 < smoothing <= 1, got {reference_blocks}, {smoothing}"
        raise ValueError(msg)
    empty = np.empty(0)
    if len(blocks) < reference_blocks:
        return EwmaPath(None, None, empty, empty, empty, reference_blocks, ())
    reference, watched = blocks[:reference_blocks], blocks[reference_blocks:]
    centre = float(reference.mean())
    deviation = max(float(reference.std(ddof=1)), least_deviation)
    value = np.empty(len(watched))
    level = centre
    for index, block in enumerate(watched):
        level = smoothing * float(block) + (1.0 - smoothing) * level
        value[index] = level
    step = np.arange(1, len(watched) + 1)
    # The centre itself is an estimate from phase I: its variance is added, or short references would cry wolf.
    spread = smoothing / (2.0 - smoothing) * (1.0 - (1.0 - smoothing) ** (2 * step)) + 1.0 / reference_blocks
    half = width * deviation * np.sqrt(spread)
    outside = np.flatnonzero(np.abs(value - centre) > half)
    signals = tuple(int(index) for index in outside)
    return EwmaPath(centre, deviation, value, centre - half, centre + half, reference_blocks, signals)

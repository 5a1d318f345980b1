# SPDX-License-Identifier: Apache-2.0
"""A sequential detector of steps and slopes in whitened series: the Shiryaev–Roberts e-detector with a dead-band.

For each channel, direction and size δ the evidence is Σ over starts k of w_k · Π_{i ≥ k} L_i, where L is the
likelihood ratio of a step of δ against one of d, the dead-band, as the whitening lets it through (Shin, Ramdas and
Rinaldo, E-detectors: a nonparametric framework for sequential change detection, 2022). With steps of at most d
and Gaussian residuals each product is at most 1 in expectation, so the expected evidence never exceeds Σ w_k. With
w the seconds that a block took, a mixture that alarms at A seconds has a mean time to a false alarm of A or more,
however the channels depend on each other. The sizes are mixed evenly.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Steps beyond the dead-band, in standard deviations of the residual. Twofold spacing costs little.
SIZES: Final = (0.75, 1.5, 3.0, 6.0)
_MOST: Final = 1e120
_BOUND: Final = 8.0


@dataclass
class Detector:
    """Evidence in each channel. Rows: starts by age, the last row all that are older.

    Attributes:
        signature: of the whitening, float [p + 1, c].
        sd: of the residual, float [c].
        value: evidence, float [p + 1, c, 2, sizes]; direction 0 is up, 1 is down.
        best: the likeliest older start's share, float [c, 2, sizes], and
        onset: when it was; of all starts by age in `starts`, float [p].
    """

    signature: Floats
    sd: Floats
    value: Floats
    best: Floats
    onset: Floats
    starts: Floats

    def __post_init__(self) -> None:
        """What does not change."""
        self._wanted = self.signature[:, :, None, None] * np.array(SIZES)
        self._half_square = self._wanted**2 / 2
        # A shift that is usual by now stays in the residual as one that began long ago does, however young a start is.
        self._lasting = np.maximum(self.signature, self.signature[-1])[:, :, None]

    @classmethod
    def empty(cls, signature: Floats, sd: Floats) -> "Detector":
        """Without evidence."""
        rows, channels = signature.shape
        shape = (channels, 2, len(SIZES))
        return cls(signature, sd, np.zeros((rows, *shape)), np.zeros(shape), np.zeros(shape), np.zeros(rows - 1))

    def add(self, residual: Floats, band: Floats, usual: Floats, began: float, weight_s: float) -> Floats:
        """One value of each channel.

        Args:
            residual: whitened, float [c].
            band: dead-band up and down, float [c, 2].
            usual: size of a shift that was raised and lasts, up and down, float [c, 2].
            began: when the block began, seconds since the epoch.
            weight_s: seconds that the block took.

        Returns:
            evidence of each channel and direction, mean over sizes, float [c, 2].
        """
        side = np.empty_like(band)
        side[:, 0] = residual
        np.negative(residual, out=side[:, 1])
        # Steps of `band` are still normal; beyond that, what one block may say is bounded.
        centred = (side - self.signature[:, :, None] * band - self._lasting * usual) / self.sd[:, None]
        ratio = self._wanted * np.minimum(centred, _BOUND)[..., None]
        ratio -= self._half_square
        np.exp(ratio, out=ratio)
        leaving = self.value[-2]
        older = self.value[-1] + leaving
        np.copyto(self.onset, self.starts[-1], where=leaving > self.best)
        np.maximum(leaving, self.best, out=self.best)
        self.best *= ratio[-1]
        ratio[1:-1] *= self.value[:-2]
        ratio[-1] *= older
        ratio[0] *= weight_s
        self.value = np.minimum(ratio, _MOST, out=ratio)
        np.minimum(self.best, _MOST, out=self.best)
        self.starts[1:] = self.starts[:-1]
        self.starts[0] = began
        return np.asarray(self.value.sum(0).sum(2) / len(SIZES))

    def likeliest(self, channel: int, direction: int) -> float:
        """When the step that explains the channel best began, seconds since the epoch."""
        young = self.value[:-1, channel, direction]
        row, size = np.unravel_index(int(young.argmax()), young.shape)
        old = self.best[channel, direction]
        if old.max() > young[row, size]:
            return float(self.onset[channel, direction, int(old.argmax())])
        return float(self.starts[row])

    def reset(self, channel: int | None = None) -> None:
        """Forget the evidence of one channel, or of all."""
        chosen = slice(None) if channel is None else channel
        self.value[:, chosen] = 0
        self.best[chosen] = 0

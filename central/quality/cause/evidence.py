# SPDX-License-Identifier: Apache-2.0
"""Degrees between 0 and 1 that each say one thing about an observation, e.g. "the picture of this station is darker".

A degree is 0 up to three standard errors and 1 from eight on: in between it is not taken for certain. Nothing is
decided here; `ranking` puts degrees together. Called by `ranking` and `words` alone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from central.quality.cause.observation import Audited, Counts, Shift, StreamSeen
from central.quality.rates import Interval

IMAGE_CHANNELS: Final = ("brightness", "contrast", "blur", "colour")
_DOUBTFUL_Z, _CERTAIN_Z = 3.0, 8.0
_RATE_DOUBTFUL_Z, _RATE_CERTAIN_Z = 2.0, 4.5
# A shift this small has no practical sense, however certain it is: share of the usual level, and of grey levels.
_LEAST_RELATIVE: Final = 0.004
_LEAST_COLOUR: Final = 0.4


def between(value: float, low: float, high: float) -> float:
    """0 at or below `low`, 1 at or above `high`, straight in between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def certainty(shift: Shift | None) -> float:
    """That this channel has moved at all."""
    return 0.0 if shift is None else between(abs(shift.size) / shift.error, _DOUBTFUL_Z, _CERTAIN_Z)


def mean(values: Iterable[float]) -> float:
    """0 of nothing."""
    known = list(values)
    return math.fsum(known) / len(known) if known else 0.0


@dataclass(frozen=True)
class Picture:
    """What changed in the pictures of one stream, taken apart.

    light: relative change of brightness, and of colour as a share of brightness. unsharp: relative loss of contrast and
    edges that light does not explain (a factor on all grey levels is one on contrast, and its square on the variance of
    the Laplacian). Both are 0 where they are not certain. image, score: certainty that any of the image
    channels, or the score, has moved. image_z, score_z: by how many standard errors. slow: 1 a ramp, 0 a step, .5 not
    known.
    """

    light: float
    unsharp: float
    image: float
    score: float
    image_z: float
    score_z: float
    slow: float

    @property
    def any(self) -> float:
        """That anything has moved."""
        return max(self.image, self.score)

    @property
    def light_share(self) -> float:
        """Of what changed in the picture, the share that is light."""
        return self.light / (self.light + self.unsharp) if self.light + self.unsharp > 0 else 0.0

    @property
    def unsharp_share(self) -> float:
        """Of what changed in the picture, the share that is loss of sharpness."""
        return self.unsharp / (self.light + self.unsharp) if self.light + self.unsharp > 0 else 0.0


def picture_of(stream: StreamSeen) -> Picture:
    """Take a stream's shifts apart."""
    shifts = stream.shifts
    brightness, contrast, blur, colour = (shifts.get(channel) for channel in IMAGE_CHANNELS)
    lit = _relative(brightness)
    tinted = 0.0
    if colour is not None and abs(colour.size) >= _LEAST_COLOUR and brightness is not None and brightness.usual > 0:
        tinted = certainty(colour) * abs(colour.size) / brightness.usual
    gain = 1.0 + lit
    lost = [0.0]
    if contrast is not None:
        lost.append(certainty(contrast) * -((1 + _relative_raw(contrast)) / gain - 1))
    if blur is not None:
        lost.append(certainty(blur) * -((1 + _relative_raw(blur)) / gain**2 - 1) / 2)
    score = shifts.get("score")
    moving = [shift for shift in shifts.values() if certainty(shift) > 0 and shift.rise_share is not None]
    weight = math.fsum(abs(shift.size) / shift.error for shift in moving)
    course = math.fsum(abs(s.size) / s.error * (s.rise_share or 0.0) for s in moving)
    return Picture(
        light=abs(lit) + tinted,
        unsharp=max(0.0, *lost),
        image=max(certainty(shifts.get(channel)) for channel in IMAGE_CHANNELS),
        score=certainty(score),
        image_z=max((abs(s.size) / s.error for c, s in shifts.items() if c in IMAGE_CHANNELS), default=0.0),
        score_z=0.0 if score is None else score.size / score.error,
        slow=between(course / weight, 0.08, 0.4) if weight > 0 else 0.5,
    )


def _relative_raw(shift: Shift) -> float:
    return shift.size / shift.usual if shift.usual > 0 else 0.0


def _relative(shift: Shift | None) -> float:
    if shift is None or abs(_relative_raw(shift)) < _LEAST_RELATIVE:
        return 0.0
    return certainty(shift) * _relative_raw(shift)


def pooled(counts: Sequence[Counts]) -> Counts:
    """All of them together."""
    return Counts(sum(each.count for each in counts), sum(each.of for each in counts))


def rise_z(before: Counts, since: Counts) -> float:
    """Standard errors by which a share has risen: difference of arcsine roots (Freeman and Tukey 1950).

    Keeps its variance at shares near 0, where the usual difference of shares has none. 0 where nothing was counted.
    """
    if not before.of or not since.of:
        return 0.0
    error = math.sqrt(0.25 / (before.of + 0.5) + 0.25 / (since.of + 0.5))
    return (_root(since) - _root(before)) / error


def _root(counts: Counts) -> float:
    low = math.asin(math.sqrt(counts.count / (counts.of + 1)))
    return 0.5 * (low + math.asin(math.sqrt((counts.count + 1) / (counts.of + 1))))


def has_risen(before: Counts, since: Counts) -> float:
    """Degree to which a rate has risen."""
    return between(rise_z(before, since), _RATE_DOUBTFUL_Z, _RATE_CERTAIN_Z)


def has_risen_everywhere(before: Sequence[Counts], since: Sequence[Counts]) -> float:
    """Degree to which a rate has risen that stations share: not one that a single station accounts for.

    before, since: of each station, in one order. A part that comes to all stations rises at all of them; what rises at
    one alone is that station's camera, even where its pictures do not show it yet.
    """
    together = has_risen(pooled(before), pooled(since))
    places = [index for index, counts in enumerate(since) if counts.of]
    if len(places) < 2 or not together:
        return together
    without_one = min(
        rise_z(pooled([before[i] for i in places if i != left]), pooled([since[i] for i in places if i != left]))
        for left in places
    )
    return min(together, between(without_one, 0.0, 2.0))


def interval_rise(before: Interval, since: Interval) -> float:
    """Degree to which an estimated share has risen: standard errors read off the ends that face each other."""
    if before.estimate is None or since.estimate is None:
        return 0.0
    half = math.hypot(before.high - before.estimate, since.estimate - since.low) / 1.96
    return between((since.estimate - before.estimate) / half, 1.0, 2.5) if half > 0 else 0.0


def escapes_beyond_rejects(before: Audited, since: Audited, rejects_before: Counts, rejects_since: Counts) -> float:
    """Degree to which escapes rose by more than rejects did.

    When a process makes twice the defects, twice as many are rejected and twice as many escape: that is no fault of
    the model. Its share of misses is what counts.
    """
    risen = interval_rise(before.escapes, since.escapes)
    if not risen or not rejects_before.share or not rejects_since.share:
        return risen
    factor = max(1.0, rejects_since.share / rejects_before.share)
    usual = before.escapes
    scaled = Interval(usual.low * factor, min(1.0, (usual.estimate or 0.0) * factor), min(1.0, usual.high * factor))
    return interval_rise(scaled, since.escapes)

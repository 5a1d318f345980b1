# SPDX-License-Identifier: Apache-2.0
"""Has what a station sees or scores left its reference, since when, and in which channel? Without labels.

Pure: parts in, signals out, time is a parameter. Does not say why (`cause.py`), does not see a defect kind that scores
low (`novelty.py`), and a signal is no statement on quality. One monitor for each station; figures in docs/drift.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from central.quality.drifting import saving
from central.quality.drifting.blocks import CHANNELS, Block, Blocks, Parts, check, check_one
from central.quality.drifting.collecting import Collecting, Reference
from central.quality.drifting.standing import Standing, standings
from central.quality.drifting.watching import DriftSignal, Watching

__all__ = ["CHANNELS", "DriftMonitor", "DriftSignal", "Reference", "Standing"]

Floats = NDArray[np.float64]

# Longer than that, 30 parts are no moment any more.
_LONGEST_BLOCK_S: Final = 6 * 3600.0


class DriftMonitor:
    """Watches log score, brightness, contrast, blur and colour of one station.

    The first `reference_days` teach what is normal (`reference` says how far that is, and what was odd); nothing is
    raised before. After that a shift in either direction that goes beyond the dead-band is raised once, and again only
    when it goes further or after it was gone. A new product is taken in for 3,000 parts, a known one at once.

    Assumes that the reference shows the scatter of the weeks to come, blocks that are Gaussian once whitened, and steps
    within the dead-band while all is normal; then the time to a false alarm is on average at least what was asked for.

    Args:
        reference_days: length of the reference in days, 1 to 30. Three are needed to know the day's course.
        false_alarms_per_30_days: of all channels together, above 0, 100 at most.

    Raises:
        ValueError: either out of range.
    """

    def __init__(self, reference_days: float = 3.0, false_alarms_per_30_days: float = 1.0) -> None:
        if not 1 <= reference_days <= 30:
            raise ValueError(
                f"drift: expected a reference of 1 to 30 days, got {reference_days}; a shorter one is too short to tell"
                " the time of day from drift"
            )
        if not 0 < false_alarms_per_30_days <= 100:
            raise ValueError(
                f"drift: expected more than 0 and at most 100 false alarms, got {false_alarms_per_30_days}"
            )
        self._reference_days = float(reference_days)
        self._false_alarms = float(false_alarms_per_30_days)
        self._last_at = -np.inf
        self._blocks = Blocks()
        self._collecting = Collecting(self._reference_days)
        self._watching: Watching | None = None

    @property
    def reference(self) -> Reference:
        """How far the reference is, and what was said about it."""
        return self._collecting.told(self._watching is not None)

    def update(self, at: float, product: str, channels: Mapping[str, float]) -> DriftSignal | None:
        """One part.

        Args:
            at: capture time, seconds since the epoch, UTC; never earlier than the part before.
            product: its id, not empty.
            channels: `score` (above 0), `brightness`, `contrast`, `blur`, `colour`, each in any unit that stays.

        Returns:
            a signal when this part completes the evidence for one.

        Raises:
            ValueError: a missing, unknown, non-finite or non-positive value, or a time that goes back. Nothing was
                taken over; leave the part out, or sort.
        """
        signals = self._take(check_one(at, product, channels))
        return signals[0] if signals else None

    def update_many(
        self, at: Floats, product: Sequence[str] | NDArray[Any], channels: Mapping[str, Floats]
    ) -> list[DriftSignal]:
        """Many parts in the order of their time; the same as `update` one by one.

        Args:
            at: seconds since the epoch, UTC, float [n].
            product: str [n].
            channels: float [n] each.

        Returns:
            signals in the order in which they were raised.

        Raises:
            ValueError: as `update`; of none of these parts anything was taken over.
        """
        return self._take(check(at, product, channels))

    def standing(self, since: float) -> dict[str, dict[str, Standing]]:
        """Where each product's channels stand now, whether or not anything was signalled. Changes nothing.

        Args:
            since: seconds since the epoch, UTC: when whatever is in question began.

        Returns:
            by product and channel; empty before the reference is ready. Of a product with fewer than 240 parts since
            then nothing is said; see `drifting/standing.py` for what size and error assume.
        """
        return {} if self._watching is None else standings(self._watching, since)

    def to_bytes(self) -> bytes:
        """All that it knows, without pickle; `from_bytes` goes on exactly from here."""
        settings = {"reference_days": self._reference_days, "false_alarms_per_30_days": self._false_alarms}
        return saving.save(settings, self._last_at, self._blocks, self._collecting, self._watching)

    @classmethod
    def from_bytes(cls, blob: bytes) -> Self:
        """The monitor that gave these bytes.

        Raises:
            ValueError: others, or of another version; start a new monitor.
        """
        settings, last_at, blocks, collecting, watching = saving.load(blob)
        monitor = cls(**settings)
        monitor._last_at, monitor._blocks = last_at, blocks
        monitor._collecting, monitor._watching = collecting, watching
        return monitor

    def _take(self, parts: Parts) -> list[DriftSignal]:
        if not len(parts.at):
            return []
        if parts.at[0] < self._last_at:
            raise ValueError(
                f"drift: expected times that never go back, got {parts.at[0]} after {self._last_at}; "
                "sort the parts by capture time"
            )
        self._last_at = float(parts.at[-1])
        blocks = [each for each in self._blocks.add(parts) if each.ended - each.began <= _LONGEST_BLOCK_S]
        return [signal for each in blocks if (signal := self._block(each)) is not None]

    def _block(self, block: Block) -> DriftSignal | None:
        if self._watching is not None:
            return self._watching.add(block)
        learnt = self._collecting.add(block)
        if learnt is not None:
            self._watching = Watching.start(learnt, self._false_alarms)
        return None

# SPDX-License-Identifier: Apache-2.0
"""What is known of all streams, products and changes when a cause is asked for. Shapes and checks only.

A stream is one station × product. Streams in which nothing moved belong into the observation as well: that other
stations stayed as they were is what tells a lamp from a batch of material. Filled from drift and novelty signals,
audits, rollups and the record of packages and recipes by the caller; nothing here depends on how those are found.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from central.quality.rates import Interval

CHANNELS: Final = ("score", "brightness", "contrast", "blur", "colour")


class Cause(StrEnum):
    """What may be behind it."""

    CAMERA_OR_LAMP = "CAMERA_OR_LAMP"
    LENS_FOULING = "LENS_FOULING"
    CAMERA_MOVED = "CAMERA_MOVED"
    MATERIAL_BATCH = "MATERIAL_BATCH"
    NEW_DEFECT_KIND = "NEW_DEFECT_KIND"
    PROCESS_WORSE = "PROCESS_WORSE"
    MODEL_WRONG = "MODEL_WRONG"
    WANTED_CHANGE = "WANTED_CHANGE"


class Remedy(StrEnum):
    """What to do about it. RETRAIN stands beside two causes only."""

    RE_LIGHT = "RE_LIGHT"
    CLEAN = "CLEAN"
    RE_AIM = "RE_AIM"
    HOLD_BATCH = "HOLD_BATCH"
    AUDIT_MORE = "AUDIT_MORE"
    MEND_PROCESS = "MEND_PROCESS"
    ROLL_BACK = "ROLL_BACK"
    RETRAIN = "RETRAIN"
    NEW_REFERENCE = "NEW_REFERENCE"


class ChangeKind(StrEnum):
    """What people changed on purpose."""

    PACKAGE = "PACKAGE"
    RECIPE = "RECIPE"


@dataclass(frozen=True)
class Shift:
    """How far one channel of a stream lies from its reference, whether or not that was called drift.

    size: now − before, in the channel's own unit (score: of ln(score)). usual: level before, same unit. error: standard
    error of `size`, including how much the level of a sound stream wanders. rise_share: `rise_share()` of its course
    since the onset; None: not known.
    """

    size: float
    usual: float
    error: float
    rise_share: float | None = None

    def __post_init__(self) -> None:
        values = (self.size, self.usual, self.error, *(() if self.rise_share is None else (self.rise_share,)))
        if not all(math.isfinite(value) for value in values) or self.error <= 0:
            msg = f"shift: expected finite values and an error above 0, got {values}; leave an unknown channel out"
            raise ValueError(msg)


@dataclass(frozen=True)
class Counts:
    """`count` of `of` parts."""

    count: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.of:
            msg = f"counts: expected 0 <= count <= of, got {self.count} of {self.of}"
            raise ValueError(msg)

    @property
    def share(self) -> float | None:
        """None: nothing was counted."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True)
class StreamSeen:
    """One station × product, before and since the time in question.

    onset: seconds since the epoch (UTC) at which the drift monitor puts the beginning, None: it signalled nothing.
    shifts: by channel; empty: too few parts to tell, which is not the same as nothing moved. rejects: NG or REVIEW of
    all judged parts. unusual: unusual embeddings of accepted parts.
    """

    station: str
    product: str
    shifts: Mapping[str, Shift] = field(default_factory=dict)
    onset: float | None = None
    rejects_before: Counts = Counts(0, 0)
    rejects_since: Counts = Counts(0, 0)
    unusual_before: Counts = Counts(0, 0)
    unusual_since: Counts = Counts(0, 0)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.shifts) - set(CHANNELS))
        if unknown:
            msg = f"{self.station}, {self.product}: expected channels {', '.join(CHANNELS)}, got {', '.join(unknown)}"
            raise ValueError(msg)


@dataclass(frozen=True)
class Audited:
    """What people found. escapes: defective share of accepted parts; overkill: good share of rejected ones.

    Intervals of what the process does, not of the parts that happened to be made: two days are to be compared, and
    judging every part of both leaves chance in the comparison.
    """

    escapes: Interval
    overkill: Interval


@dataclass(frozen=True)
class ProductSeen:
    """Labels of one product before and since the time in question.

    new_classes: defect classes that people named since, never before, with how often. defective_labels: defective
    pictures of these classes, or of the escaped ones where no class is new, that a training could learn from.
    """

    product: str
    before: Audited
    since: Audited
    new_classes: Mapping[str, int] = field(default_factory=dict)
    defective_labels: int = 0


@dataclass(frozen=True)
class Change:
    """A package or recipe that people put in force. `station` or `product` None: for all of them."""

    at: float
    kind: ChangeKind
    name: str
    station: str | None = None
    product: str | None = None

    def is_for(self, stream: StreamSeen) -> bool:
        """Whether it touches this stream."""
        return self.station in {None, stream.station} and self.product in {None, stream.product}


@dataclass(frozen=True)
class Observation:
    """All that is put together; the order of the entries does not matter.

    since: the time in question, i.e. the onset; until: the end of what was seen; both seconds since the epoch (UTC).
    """

    since: float
    until: float
    streams: tuple[StreamSeen, ...]
    products: tuple[ProductSeen, ...] = ()
    changes: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        streams = [(stream.station, stream.product) for stream in self.streams]
        products = [seen.product for seen in self.products]
        if not self.since < self.until:
            msg = f"observation: expected an end after the onset, got {self.since} to {self.until}"
            raise ValueError(msg)
        if len(set(streams)) < len(streams) or len(set(products)) < len(products):
            msg = "observation: expected each station × product and each product once; add their parts up first"
            raise ValueError(msg)

# SPDX-License-Identifier: Apache-2.0
"""The likeliest cause of what the monitors saw, with its evidence and its remedy.

`rank_causes(observation)` is the whole of it. Pure: raises no alarm, starts no training, knows no table.
"""

from central.quality.cause.course import began_at, rise_share, rise_share_seen
from central.quality.cause.observation import (
    CHANNELS,
    Audited,
    Cause,
    Change,
    ChangeKind,
    Counts,
    Observation,
    ProductSeen,
    Remedy,
    Shift,
    StreamSeen,
)
from central.quality.cause.ranking import RankedCause, rank_causes
from central.quality.cause.words import CAUSE_WORDS, REMEDY_WORDS

__all__ = [
    "CAUSE_WORDS",
    "CHANNELS",
    "REMEDY_WORDS",
    "Audited",
    "Cause",
    "Change",
    "ChangeKind",
    "Counts",
    "Observation",
    "ProductSeen",
    "RankedCause",
    "Remedy",
    "Shift",
    "StreamSeen",
    "began_at",
    "rank_causes",
    "rise_share",
    "rise_share_seen",
]

# SPDX-License-Identifier: Apache-2.0
"""The likeliest cause of what the monitors saw, with its evidence and its remedy.

`rank_causes(observation)` is the whole of it. Pure: raises no alarm, starts no training, knows no table.
"""

from central.quality.cause.course import rise_share
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

__all__ = [
    "CHANNELS",
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
    "rank_causes",
    "rise_share",
]

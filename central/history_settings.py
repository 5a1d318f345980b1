# SPDX-License-Identifier: Apache-2.0
"""The section `[history]` of central's settings: how long sums and shifts are kept. Read by `central.settings`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HistorySettings:
    """Rows that grow with time and are neither evidence nor in use. 0 days: kept for ever.

    `shifts_kept_days`: how severely a shift was audited, once it is counted. `blocks_kept_days`: of charts; each
    chart keeps its reference and its newest blocks all the same. `latency_kept_days`: histograms of times, by minute.
    `minutes_kept_days`: counts by minute, of which all figures are made; what is older is in no report.
    """

    period_s: float = 3_600.0
    shifts_kept_days: float = 1_095.0
    blocks_kept_days: float = 400.0
    latency_kept_days: float = 400.0
    minutes_kept_days: float = 0.0

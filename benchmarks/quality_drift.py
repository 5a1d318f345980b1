# SPDX-License-Identifier: Apache-2.0
"""Are changes found without labels as fast, and as seldom by mistake, as demanded? A JSON line for each row.

Streams of `_drift_streams`; delays and errors in parts, at one part a second. Rows are printed as they come, each with
its repetitions and what is demanded (`at_most`, by figure); what `run` gives is all of them. About ten minutes of one
core.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from benchmarks import _drift_runs as runs
from benchmarks import _drift_streams as streams
from benchmarks import _novelty_runs as novelties

Figures = dict[str, Any]

_SEEDS: Final = range(100, 106)
_EACH: Final = 8
_MONTHS: Final = range(301, 311)
_NO_DAY: Final = streams.Plant(day=0.0)


def run() -> Figures:
    """All rows."""
    return {str(row["row"]): row for row in demanded_rows()}


def demanded_rows() -> Iterator[Figures]:
    """Each row as it is done; printed as well."""
    for name, row in ROWS.items():
        began = time.process_time()
        figures = {"row": name, **row(), "processor_s": round(time.process_time() - began)}
        print(json.dumps(figures), flush=True)
        yield figures


def _alarms(plant: streams.Plant | None) -> Callable[[], Figures]:
    def row() -> Figures:
        found = runs.false_alarms(_MONTHS, 30, plant)
        months = len(_MONTHS)
        return {"months": months, "alarms": found, "a_month": found / months, "at_most": {"a_month": 1}}

    return row


def _delays(change: streams.Change, horizon: int, at_most: dict[str, float]) -> Callable[[], Figures]:
    def row() -> Figures:
        found = runs.find(change, horizon, _SEEDS, _EACH)
        named: dict[str, int] = {}
        for channels in found.channels:
            named[channels[0] if channels else "none"] = named.get(channels[0] if channels else "none", 0) + 1
        worst = float(found.delay.max())
        return {
            "repetitions": len(found.delay), "references": len(_SEEDS), "median": _finite(found.median),
            "p90": _finite(found.p90), "worst": _finite(worst),
            "missed": int(np.isinf(found.delay).sum()), "onset_error_median": float(np.nanmedian(found.onset_error)),
            "leading_channel": named, "at_most": at_most,
        }  # fmt: skip

    return row


def _of_20(count: Callable[[range, int], int], at_most: int) -> Callable[[], Figures]:
    def row() -> Figures:
        found = count(_SEEDS, 6)
        return {
            "repetitions": 6 * len(_SEEDS),
            "alarms": found,
            "of_20": found / (6 * len(_SEEDS)) * 20,
            "at_most": {"of_20": at_most},
        }

    return row


def _novelty(distance: float) -> Callable[[], Figures]:
    def row() -> Figures:
        delay = novelties.delays(_SEEDS[:4], 10, 32, distance)
        return {
            "repetitions": len(delay), "references": 4, "dimensions": 32, "distance_sd": distance,
            **{name: _finite(np.quantile(delay, q, method="higher")) for name, q in (("median", 0.5), ("p90", 0.9))},
            "missed": int(np.isinf(delay).sum()), "at_most": {"median": 10_000, "p90": 18_000},
        }  # fmt: skip

    return row


def _novelty_alarms() -> Figures:
    found = novelties.false_alarms(_SEEDS[:3], 1_000_000, 16)
    return {"parts": 3_000_000, "references": 3, "dimensions": 16, "alarms": found, "at_most": {"alarms": 1}}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _cost() -> Figures:
    stream, monitor = runs.referenced(1)
    at, channels = stream.parts(streams.DAY)
    product = np.full(len(at), "p")
    began = time.process_time()
    monitor.update_many(at, product, channels)
    many = time.process_time() - began
    at, channels = stream.parts(20_000)
    rows = [{name: float(values[row]) for name, values in channels.items()} for row in range(len(at))]
    times = at.tolist()
    began = time.process_time()
    for row, each in enumerate(rows):
        monitor.update(times[row], "p", each)
    one = time.process_time() - began
    return {
        "update_many_us": round(1e6 * many / streams.DAY, 2), "update_us": round(1e6 * one / len(at), 2),
        # Five channels, one core.
        "at_most": {"update_many_us": 5},
    }  # fmt: skip


ROWS: Final[dict[str, Callable[[], Figures]]] = {
    "cost": _cost,
    "light -5 %": _delays(streams.light(-0.05), 4_000, {"median": 120, "p90": 200, "onset_error_median": 60}),
    "camera bump": _delays(streams.bump, 4_000, {"median": 120, "p90": 200}),
    "light -2 %": _delays(streams.light(-0.02), 60_000, {"median": 5_000, "p90": 15_000}),
    "lens fouling over 200,000": _delays(streams.fouling(), 60_000, {"p90": 12_000}),
    "score +.5 sd": _delays(streams.score(0.5), 2 * streams.DAY, {"median": 12_000, "worst": 2 * streams.DAY}),
    "changeover, 12 h": _of_20(runs.changeovers, 1),
    "defects x 2, 2 days": _of_20(runs.more_defects, 2),
    "new defect kind, .5 %, 5 sd away": _novelty(5.0),
    "new defect kind, .5 %, 4 sd away": _novelty(4.0),
    "false alarms of novelty": _novelty_alarms,
    "false alarms, day cycle": _alarms(None),
    "false alarms, no day cycle": _alarms(_NO_DAY),
}

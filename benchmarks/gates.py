# SPDX-License-Identifier: Apache-2.0
"""Whether a rollout may be decided by gates that are looked at after every part: their errors, power and price.

Every figure by simulation on the real classes, 10,000 runs each (some minutes), beside what was demanded; where a gate
fails, too. `update_us`: one update on this machine, mean over many and the dearest tenth of a percent.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from benchmarks._gate_runs import Outcomes, Process, Times, control, discordance, latency, margin
from central.quality.gates import ControlGate, CostGate, DiscordanceGate, LatencyGate, MarginGate

RUNS: Final = 10_000
# Those that go on to a far horizon part by part; the standard error of 5 % is then 0.3 %.
FEWER_RUNS: Final = 4_000
_UPDATES: Final = 20_000
_NEVER: Final = 1e-300


def _discordance(theta: float) -> dict[str, Any]:
    seen = discordance(theta, RUNS)
    told: dict[str, Any] = {"aborted": seen.aborted, "promoted": seen.promoted}
    if len(seen.aborted_at) > RUNS / 2:
        told["labels_mean"] = round(float(seen.aborted_at.mean()), 1)
        told["labels_p90"] = float(np.quantile(seen.aborted_at, 0.9))
    return told


def _shares(seen: Outcomes) -> dict[str, Any]:
    def finite(value: float) -> float | None:
        return value if np.isfinite(value) else None

    return {
        "runs": seen.runs,
        "aborted": round(seen.aborted, 4),
        "promoted": round(seen.promoted, 4),
        "abort_median": finite(seen.median_abort),
        "promotion_median": finite(seen.median_promotion),
    }


def _margin() -> dict[str, Any]:
    equal = margin(0.005, 0.005, RUNS)
    return {
        "equal_1_percent_discordant": {
            **_shares(equal),
            "labels_median": float(np.median(equal.labels_at_promotion)),
            "parts_p90": float(np.quantile(equal.promoted_at, 0.9)),
        },
        "at_the_margin": _shares(margin(0.0025, 0.0075, RUNS)),
        "at_the_margin_never_right_alone": _shares(margin(0.0, 0.005, RUNS)),
        "equal_5_percent_discordant": _shares(margin(0.025, 0.025, FEWER_RUNS)),
        "worse_by_2_percent": _shares(margin(0.005, 0.025, RUNS)),
    }


def _latency() -> dict[str, Any]:
    pauses = {
        "none": Times(),
        "5_parts": Times(pause_rate=0.001, pause_parts=5),
        "10_parts": Times(pause_rate=0.001, pause_parts=10),
        "10_parts_some_of_both": Times(pause_rate=0.002, pause_parts=10, alone=0.5),
        "exactly_20_parts": Times(pause_rate=0.0005, pause_parts=20, is_steady=True),
        "20_parts_on_average": Times(pause_rate=0.0005, pause_parts=20),
        "exactly_40_parts": Times(pause_rate=0.0005, pause_parts=40, is_steady=True),
    }
    told: dict[str, Any] = {}
    for name, times in pauses.items():
        told[f"equal, pauses {name}"] = _shares(latency(times, FEWER_RUNS, horizon=10_000, can_promote=False))
    for spread in (0.01, 0.05, 0.1, 0.15, 0.2, 0.3):
        times = Times(spread=spread, slower=1.1, pause_rate=0.0003, pause_parts=5, alone=0.5)
        told[f"10 percent slower, spread {spread}"] = _shares(latency(times, 1_000, horizon=3_000))
    told["equal, may promote"] = _shares(latency(Times(pause_rate=0.0003, alone=0.5), 500, horizon=6_000))
    return told


def _control() -> dict[str, Any]:
    def told(process: Process, *, runs: int, chunks: int, factor: float = 1.0, station: int | None = None) -> Any:
        def worse(quantity: str, index: int) -> float:
            return factor if quantity == "rejects" and station in (None, index) else 1.0

        seen, unusable = control(process, runs, chunks=chunks, worse=worse)
        return {**_shares(seen), "chunks": chunks, "past_unusable": round(unusable, 4)}

    long_past = Process(scatter=0.3, past_chunks=300)
    return {
        "unchanged, binomial": told(Process(), runs=RUNS, chunks=12),
        "unchanged, scatter": told(Process(scatter=0.5), runs=RUNS, chunks=12),
        "unchanged, lots": told(Process(lot_scatter=1.0, past_chunks=200), runs=FEWER_RUNS, chunks=20),
        "all reject 2 times as much": told(long_past, runs=500, chunks=40, factor=2.0),
        "one of three rejects 3 times as much": told(long_past, runs=500, chunks=40, factor=3.0, station=0),
        "one of three rejects 2 times as much": told(long_past, runs=500, chunks=40, factor=2.0, station=0),
        "all reject 3 times as much, past of 60 chunks": told(Process(scatter=0.3), runs=500, chunks=40, factor=3.0),
        "nobody rejects": told(long_past, runs=500, chunks=40, factor=0.0),
    }


def _price(update: Callable[[int], object]) -> dict[str, float]:
    """Processor time of single updates in µs, other programs' turns left out; the clock's own time is in it."""
    taken = []
    for index in range(_UPDATES):
        began = time.thread_time_ns()
        update(index)
        taken.append(time.thread_time_ns() - began)
    return {"mean": round(float(np.mean(taken)) / 1e3, 2), "p99_9": round(float(np.quantile(taken, 0.999)) / 1e3, 2)}


def _prices() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    times = Times(spread=0.1).draw(_UPDATES, rng).tolist()
    differences = rng.choice([-1, 0, 1], _UPDATES, p=[0.01, 0.98, 0.01]).tolist()
    sides = rng.random(_UPDATES) < 0.5
    counts = rng.poisson(2, _UPDATES).tolist()
    pairs, margin_gate, cost_gate = DiscordanceGate(_NEVER), MarginGate(_NEVER), CostGate(_NEVER, 10.0, 1.0, 0.05)
    latency_gate = LatencyGate(_NEVER, 25.0)
    past = {f"st-{station}": rng.poisson(2, 200).tolist() for station in range(4)}
    control_gate = ControlGate(_NEVER, past, 100, is_two_sided=True)
    return {
        "discordance": _price(lambda index: pairs.update(bool(sides[index]))),
        "margin": _price(lambda index: margin_gate.update(differences[index])),
        "cost": _price(lambda index: cost_gate.update(differences[index], bool(sides[index]))),
        "latency": _price(lambda index: latency_gate.update(*times[index])),
        "control": _price(lambda index: control_gate.update(f"st-{index % 4}", counts[index])),
    }


def run() -> dict[str, Any]:
    """Figures of the table of gates, and what one update costs."""
    return {
        "runs": RUNS,
        "discordance": {f"theta {theta}": _discordance(theta) for theta in (0.5, 0.3, 0.4, 0.45)},
        "margin": _margin(),
        "latency": _latency(),
        "control": _control(),
        "update_us": _prices(),
    }

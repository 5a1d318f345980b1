# SPDX-License-Identifier: Apache-2.0
"""Contestants in turns, so that other work on the machine meets all alike; their times, and how they compare.

Of each turn the time that passed and the processor time of all threads: on a busy machine the first holds waiting for
a core, the second does not. Knows nothing of models. Used by `latency`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_WARM_UP: Final = 10
# Before each turn: threads of the one before may still be spinning.
_PAUSE_S: Final = 0.005
# Name and number of threads.
Key = tuple[str, int]


@dataclass(frozen=True)
class Taken:
    """What one turn took, ms. `cpu_ms`: of all threads of its process."""

    passed_ms: float
    cpu_ms: float


Turn = Callable[[], Taken]


@dataclass(frozen=True)
class Times:
    """What the turns of one contestant took, ms, each ascending."""

    passed_ms: list[float]
    cpu_ms: list[float]

    @classmethod
    def of(cls, taken: list[Taken]) -> "Times":
        return cls(sorted(each.passed_ms for each in taken), sorted(each.cpu_ms for each in taken))


def timed(action: Callable[[], object]) -> Taken:
    """What an action in this process takes."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    action()
    return Taken(1e3 * (time.perf_counter() - began_s), 1e3 * (time.process_time() - began_cpu_s))


def in_turns(turns: Mapping[Key, Turn], rounds: int) -> dict[Key, Times]:
    """Run all of them so many times, one after the other, after a few rounds to warm up."""
    taken: dict[Key, list[Taken]] = {key: [] for key in turns}
    for number in range(_WARM_UP + rounds):
        for key, turn in turns.items():
            time.sleep(_PAUSE_S)
            last = turn()
            if number >= _WARM_UP:
                taken[key].append(last)
    return {key: Times.of(each) for key, each in taken.items()}


def percentile(ascending: list[float], percent: int) -> float:
    """The value that so many percent of the turns stay below."""
    return ascending[min(percent * len(ascending) // 100, len(ascending) - 1)]


def figures(times: Mapping[Key, Times]) -> dict[str, dict[str, float]]:
    """Percentiles of each contestant, ms."""
    return {
        f"{name}, {threads} thread(s)": {
            **{f"p{percent}_ms": round(percentile(each.passed_ms, percent), 2) for percent in (10, 50, 99)},
            "cpu_p50_ms": round(percentile(each.cpu_ms, 50), 2),
        }
        for (name, threads), each in times.items()
    }


def ratio(above: Times, below: Times) -> dict[str, Any]:
    """Of the medians, of the lowest tenths, and of the medians of processor time."""
    pairs = {
        "p50": (percentile(above.passed_ms, 50), percentile(below.passed_ms, 50)),
        "p10": (percentile(above.passed_ms, 10), percentile(below.passed_ms, 10)),
        "cpu_p50": (percentile(above.cpu_ms, 50), percentile(below.cpu_ms, 50)),
    }
    return {name: round(first / second, 2) for name, (first, second) in pairs.items()}

# SPDX-License-Identifier: Apache-2.0
"""Does `central/quality/cause.py` name the right cause first, or at least second, on incidents of which it is known?

Forty-eight scripted incidents of the simulated plant for each half, six of each cause, all figures measured on rendered
pictures (`plant/incidents`). Rules were developed on the first half; the second has other lines, other incidents, and
each of them only four fifths as large. Right means the cause and its station or product. `unnamed`: no cause was named
at all. `quiet`: lines on which nothing happens; every cause named there is a false one.
"""

from collections import Counter
from typing import Any, Final

import cv2

from central.quality.cause import Cause, RankedCause, rank_causes
from plant.incidents.observing import Detector, harmonic_shifts, observe
from plant.incidents.play import play
from plant.incidents.script import Incident, draw_incident

DEVELOPED_ON: Final = (101, 102, 103)
HELD_OUT: Final = (201, 202, 203)
HELD_OUT_SIZE: Final = 0.8
_EACH: Final = 2
_UNNAMED: Final = "unnamed"


def run(detector: Detector = harmonic_shifts) -> dict[str, Any]:
    """Confusion matrices of both halves. `detector`: what turns measures into shifts."""
    # Pictures are small: threads of the picture library cost more than they save.
    cv2.setNumThreads(1)
    return {
        "developed_on": half(DEVELOPED_ON, 1.0, detector=detector),
        "held_out": half(HELD_OUT, HELD_OUT_SIZE, detector=detector),
    }


def half(
    seeds: tuple[int, ...], size: float, each: int = _EACH, *, detector: Detector = harmonic_shifts
) -> dict[str, Any]:
    """Figures of one half: `matrix[true cause][cause named first]`, and how many were right first and by the second."""
    matrix: dict[str, Counter[str]] = {cause.value: Counter() for cause in Cause}
    first = by_second = 0
    quiet = []
    for seed in seeds:
        quiet += [ranked.cause.value for ranked in _ranked(draw_incident(None, 0, seed), detector)[:1]]
        for number in range(each):
            for cause in Cause:
                incident = draw_incident(cause, number, seed, size=size)
                ranked = _ranked(incident, detector)
                matrix[cause.value][ranked[0].cause.value if ranked else _UNNAMED] += 1
                places = [index for index, entry in enumerate(ranked) if is_right(incident, entry)]
                first += places[:1] == [0]
                by_second += bool(places) and places[0] < 2
    count = sum(sum(row.values()) for row in matrix.values())
    return {
        "incidents": count,
        "right": first,
        "right_or_second": by_second,
        "share_right_or_second": round(by_second / count, 3),
        "matrix": {cause: dict(sorted(row.items())) for cause, row in matrix.items()},
        "quiet": {"lines": len(seeds), "named": quiet},
    }


def is_right(incident: Incident, ranked: RankedCause) -> bool:
    """The cause, and where it lies."""
    return (ranked.cause, ranked.station, ranked.product) == (incident.cause, incident.station, incident.product)


def _ranked(incident: Incident, detector: Detector) -> list[RankedCause]:
    return rank_causes(observe(incident, play(incident), detector))

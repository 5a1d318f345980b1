# SPDX-License-Identifier: Apache-2.0
"""Whether a station's memory, queues and latency stay where they are over 200,000 parts, as fast as it judges.

The whole station in this process, with the hand-made package whose score is the brightness (so that the run is about
our code and not the graph), outbox and evidence ring on disk, MQTT connected, receipts coming back, central's HTTP
away: one part in twenty is offered as evidence and waits. Memory is that of this process, with the feeder.

`SIGHTLINE_BENCH_PARTS` sets the number of parts (default 200,000).
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks._turns import percentile
from benchmarks.station import HandOver, running_broker, running_stations
from edge_agent.app import Station
from tests.edge import tiny_package

_PARTS: Final = 200_000
_DEFECTIVE_EVERY: Final = 20
_WARM_UP: Final = 200
# What may wait before the judge: he is never without a part, and none is given up.
_WAITING: Final = 3
_MARKS: Final = (10, 25, 50, 75, 100)
_WAIT_S: Final = 120.0


def run() -> dict[str, Any]:
    """Memory and queue lengths on the way, latency of the first and last tenth."""
    parts = int(os.environ.get("SIGHTLINE_BENCH_PARTS", _PARTS))
    marks: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sightline-soak-") as name:
        folder = Path(name)
        tiny_package.write_package(folder / "package")
        with (
            running_broker(folder) as plan,
            running_stations(folder, folder / "package", plan, ["ring"]) as (seats, _way),
        ):
            station, source = seats[0].station, seats[0].source
            _feed(station, source, _WARM_UP, first=0)
            began_s = time.perf_counter()
            done = 0
            for percent in _MARKS:
                count = parts * percent // 100 - done
                _feed(station, source, count, first=_WARM_UP + done)
                done += count
                marks.append({"percent": percent, **_state(station, source)})
                print(json.dumps(marks[-1]), file=sys.stderr, flush=True)
            took_s = time.perf_counter() - began_s
            give_up_s = time.monotonic() + _WAIT_S
            while station.outbox.row_count and time.monotonic() < give_up_s:
                time.sleep(0.05)
            rows_left = station.outbox.row_count
            status = station.health.status()
            told = {int(sequence): times[2] for sequence, times in seats[0].told().items()}
    tenth = parts // 10
    first, last = (
        sorted(took for number in range(start, start + tenth) if (took := told.get(number)) is not None)
        for start in (_WARM_UP + 1, _WARM_UP + parts - tenth + 1)
    )
    return {
        "parts": parts,
        "parts_per_s": round(parts / took_s, 1),
        "marks": marks,
        "rss_growth_10_to_100_mib": round(marks[-1]["rss_mib"] - marks[0]["rss_mib"], 1),
        "whole_p99_ms_first_tenth": percentile(first, 99),
        "whole_p99_ms_last_tenth": percentile(last, 99),
        "whole_p50_ms_first_tenth": percentile(first, 50),
        "whole_p50_ms_last_tenth": percentile(last, 50),
        "reports_without_a_receipt": rows_left,
        "reports_received": len(told),
        "parts_missed": station.queue.missed,
        "verdicts": {str(verdict): count for verdict, count in status.verdict_counts.items()},
        "evidence_dropped": status.evidence_dropped,
        "faults": sorted({fault.code for fault in status.faults}),
        "load": round(os.getloadavg()[0], 1),
    }


def _feed(station: Station, source: HandOver, count: int, *, first: int) -> None:
    """Hand over so many parts, each as soon as the judge is about to be without one; return when all are judged."""
    plain = {brightness: tiny_package.part(brightness) for brightness in (40, 220)}
    for number in range(first, first + count):
        picture = plain[220 if number % _DEFECTIVE_EVERY == 0 else 40].copy()
        # No two pictures of a camera are equal to the last bit.
        picture[0, :4, 0] = np.frombuffer(number.to_bytes(4, "little"), dtype=np.uint8)
        source.hand(picture)
        while source.waiting + len(station.queue) > _WAITING:
            time.sleep(0.0002)
    while source.waiting + len(station.queue):
        time.sleep(0.001)
    station.outbox.flush(_WAIT_S)


def _state(station: Station, source: HandOver) -> dict[str, Any]:
    status = Path("/proc/self/status").read_text()
    rss_kib = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    return {
        "rss_mib": round(rss_kib / 1024, 1),
        "outbox_rows": station.outbox.row_count,
        "in_flight": station.reporter.in_flight,
        "evidence_pending": station.evidence.pending,
        "frames_waiting": source.waiting + len(station.queue),
    }

# SPDX-License-Identifier: Apache-2.0
"""Which way of running a package is fastest on this very station: measured at install, kept, used again at a restart.

Every way is opened and self-tested before it is timed; one that fails is in the table with its reason. The first in the
order of preference is taken unless another takes less than 80 % of its time: limits were placed on the preferred
variant, fewer threads leave more for other stations, and on a machine with other work two ways a tenth apart may come
out either way. Opens sessions one at a time, decides nothing else. Used by `packages.activation`.
"""

import json
import logging
import platform
import statistics
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.reports import WayMeasured
from contracts.vocabulary import Variant
from edge_agent.clock import Clock
from edge_agent.inference.batching import BatchTimes
from edge_agent.inference.session import InferenceSession
from edge_agent.inference.variants import Way
from edge_agent.packages.store import write_whole

_log = logging.getLogger(__name__)

RUNS: Final = 15
_BENCH_RUNS: Final = 200
_BENCH_S: Final = 5.0
# A way must take less than this share of a preferred one's time to be taken instead.
WORTH_IT: Final = 0.8
_MAX_NOTE: Final = 300


@dataclass(frozen=True)
class Measured:
    """One way and its median time; None with the reason when it cannot run."""

    way: Way
    infer_p50_ms: float | None = None
    note: str = ""

    def told(self) -> WayMeasured:
        """For the status."""
        return WayMeasured(
            variant=self.way.variant,
            provider=self.way.provider,
            threads=self.way.threads,
            infer_p50_ms=self.infer_p50_ms,
            note=self.note[:_MAX_NOTE],
        )


def time_session(session: InferenceSession, images: NDArray[np.uint8], clock: Clock) -> float:
    """Median time of one run in ms, on a session that has run before."""
    times = []
    for index in range(RUNS):
        began_s = clock.monotonic()
        session.run(images[index % len(images)])
        times.append((clock.monotonic() - began_s) * 1000)
    return max(0.0, statistics.median(times))


@dataclass(frozen=True)
class Benchmark:
    """Times of one run in ms, over `runs` of them. With fewer than 100 runs the p99 is the longest."""

    runs: int
    p50_ms: float
    p99_ms: float


def benchmark(session: InferenceSession, images: NDArray[np.uint8], clock: Clock) -> Benchmark:
    """Time a session that has run before as a part would find it: `_BENCH_RUNS` runs, fewer after `_BENCH_S`."""
    times: list[float] = []
    until_s = clock.monotonic() + _BENCH_S
    while len(times) < _BENCH_RUNS and (len(times) < RUNS or clock.monotonic() < until_s):
        began_s = clock.monotonic()
        session.run(images[len(times) % len(images)])
        times.append(max(0.0, (clock.monotonic() - began_s) * 1000))
    times.sort()
    return Benchmark(len(times), statistics.median(times), times[min(len(times) - 1, int(0.99 * len(times)))])


def fastest(table: Sequence[Measured]) -> Way | None:
    """The way to take; None when none can run.

    Args:
        table: in order of preference.
    """
    times = [(each.infer_p50_ms, each.way) for each in table if each.infer_p50_ms is not None]
    if not times:
        return None
    best_ms = min(time_ms for time_ms, _ in times)
    return next(way for time_ms, way in times if best_ms >= WORTH_IT * time_ms)


class SpeedTable:
    """The tables of a station on disk, one small file for each package.

    Args:
        folder: where they are.
        machine: what the times rest on; a table of another machine or runtime is not used.
    """

    def __init__(self, folder: Path, machine: str) -> None:
        self._folder = folder
        self._machine = machine

    def load(self, package_id: str, ways: Sequence[Way]) -> list[Measured] | None:
        """The table of a package if it holds exactly these ways, measured on this machine."""
        try:
            content = json.loads((self._folder / f"{package_id}.json").read_bytes())
            if content["machine"] != self._machine:
                return None
            found = [
                Measured(Way(Variant(row["variant"]), row["provider"], row["threads"]), row["ms"], row["note"])
                for row in content["ways"]
            ]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("speed table unusable package=%s: %s", package_id, error)
            return None
        return found if [each.way for each in found] == list(ways) else None

    def save(self, package_id: str, table: Sequence[Measured]) -> None:
        """Keep a table. A disk that refuses costs a measurement at the next start, no more."""
        rows = [{**asdict(each.way), "ms": each.infer_p50_ms, "note": each.note} for each in table]
        content = json.dumps({"machine": self._machine, "ways": rows})
        try:
            write_whole(self._folder / f"{package_id}.json", content.encode())
        except OSError as error:
            _log.warning("speed table not kept package=%s: %s", package_id, error)

    def load_batches(self, package_id: str, way: Way, cameras: int) -> list[BatchTimes] | None:
        """What batches of a package take in this way, if it was measured on this machine for as many cameras."""
        try:
            content = json.loads((self._folder / f"{package_id}.json").read_bytes())
            kept = content["batches"]
            if (content["machine"], kept["way"], kept["cameras"]) != (self._machine, str(way), cameras):
                return None
            return [BatchTimes(**row) for row in kept["rows"]]
        except (OSError, ValueError, KeyError, TypeError):
            # Tables of before there were batches have none; a damaged one was told of when its ways were read.
            return None

    def save_batches(self, package_id: str, way: Way, cameras: int, rows: Sequence[BatchTimes]) -> None:
        """Keep what batches take beside the ways. As `save` where the disk refuses."""
        path = self._folder / f"{package_id}.json"
        try:
            content = json.loads(path.read_bytes()) if path.exists() else {}
            if content.get("machine") != self._machine:
                content = {"machine": self._machine, "ways": []}
            content["batches"] = {"way": str(way), "cameras": cameras, "rows": [asdict(row) for row in rows]}
            write_whole(path, json.dumps(content).encode())
        except (OSError, ValueError, AttributeError) as error:
            _log.warning("batches not kept package=%s: %s", package_id, error)

    def prune(self, kept: AbstractSet[str]) -> None:
        """Remove the tables of packages that are gone."""
        for path in self._folder.glob("*.json"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)


def this_machine(cores: int, runtime: str) -> str:
    """What times rest on: processor, cores, and the version of the runtime."""
    return f"{platform.machine()} {_processor()} {cores} cores, {runtime}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")

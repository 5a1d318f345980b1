# SPDX-License-Identifier: Apache-2.0
"""`sightline-models run-gate`: a challenger and its champion on the same pictures, for central's gate.

Judges each picture with the challenger as a CPU station runs it, with its float form and with the champion, by turns,
and takes times, memory and golden images. Holds one picture at a time. Decides nothing: `central/domain/gating.py`
does. Called by `commands`.
"""

import io
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.codec import CodecError, decode, encode
from contracts.gating import (
    GATE_REPORT_NAME,
    GateJob,
    GatePicture,
    GateReport,
    GateVerdict,
    GoldenMeasured,
    GraphTimed,
)
from contracts.vocabulary import Variant, Verdict
from models.clock import Clock
from models.data.pictures import open_picture
from models.errors import InputError
from models.files import write_whole
from models.measuring.judging import WARM_UP_RUNS, Runner
from models.packages.reading import OpenPackage, open_package, verdict_of
from models.settings import Settings

_LOG = logging.getLogger(__name__)
# Fewer times than this say nothing of a p99: pictures are judged again until there are so many.
FEWEST_TIMED_RUNS: Final = 200
_MEMORY_RUNS: Final = 8
_TOLD_EVERY: Final = 200


@dataclass
class _Graph:
    """One opened graph, its package's limits, and how long it took."""

    package: OpenPackage
    variant: Variant
    runner: Runner
    times_ms: list[float]

    def judge(self, picture: NDArray[np.uint8]) -> tuple[float | None, Verdict]:
        """Score and verdict; a graph that fails on a picture decides nothing, as at a station."""
        try:
            run = self.runner.run(picture)
        except InputError as error:
            _LOG.warning("package_id=%s variant=%s failed=%s", self.package.package_id, self.variant, error)
            return None, Verdict.NO_DECISION
        self.times_ms.append(run.took_ms)
        return run.score if np.isfinite(run.score) else None, verdict_of(run.score, self.package.manifest.limits)

    def timed(self) -> GraphTimed | None:
        """Quantiles of its times; None: it never answered."""
        if not self.times_ms:
            return None
        p50, p99 = (float(np.quantile(self.times_ms, share)) for share in (0.5, 0.99))
        return GraphTimed(variant=self.variant, p50_ms=p50, p99_ms=p99, runs=len(self.times_ms))


def run_gate_file(path: Path, settings: Settings, clock: Clock) -> GateReport:
    """Read a job file, measure, and leave `gate.json` in its output folder.

    Raises:
        InputError: no such job, a package that is not what the job names, a graph that cannot be opened.
    """
    try:
        job = decode(GateJob, path.read_bytes())
    except OSError as error:
        raise InputError(f"gate job {path}: cannot be read ({error.strerror})") from error
    except CodecError as error:
        raise InputError(f"gate job {path}: {error}") from error
    report = run_gate(job, settings, clock)
    output = Path(job.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / GATE_REPORT_NAME, encode(report))
    return report


def run_gate(job: GateJob, settings: Settings, clock: Clock) -> GateReport:
    """Measure what a job asks for; see the module. Writes nothing.

    Raises:
        InputError: as `run_gate_file`.
    """
    started_s = clock.monotonic_s()
    challenger = _opened(Path(job.package_dir), job.package_id, "challenger")
    champion = None
    if job.champion_dir is not None and job.champion_package_id is not None:
        champion = _opened(Path(job.champion_dir), job.champion_package_id, "champion")
    golden = _golden_images(challenger)
    before_mb = _reset_peak_mb()
    graphs = {"": _graph(challenger, challenger.preferred(), job.threads)}
    for picture in golden[:_MEMORY_RUNS]:
        graphs[""].judge(picture)
    after_mb = _peak_mb()
    # What took place so far was no race.
    graphs[""].times_ms.clear()
    forms = [entry.variant for entry in challenger.manifest.variants]
    if Variant.FP32 in forms and challenger.preferred() is not Variant.FP32:
        graphs["exact"] = _graph(challenger, Variant.FP32, job.threads)
    if champion is not None:
        graphs["champion"] = _graph(champion, champion.preferred(), job.threads)
    pictures, left_out = _judged(job.pictures, graphs, settings)
    _time_on(graphs, golden)
    return GateReport(
        package_id=job.package_id,
        champion_package_id=job.champion_package_id if champion is not None else None,
        pictures=pictures,
        left_out=left_out,
        timed=graphs[""].timed(),
        champion_timed=graphs["champion"].timed() if champion is not None else None,
        memory_mb=None if before_mb is None or after_mb is None else max(0.0, after_mb - before_mb),
        golden=[_golden_of(challenger, variant, golden, job.threads) for variant in forms],
        threads=job.threads,
        machine=f"{platform.machine()}, {os.cpu_count() or 1} cores",
        seconds=clock.monotonic_s() - started_s,
    )


def _opened(folder: Path, package_id: str, role: str) -> OpenPackage:
    package = open_package(folder)
    if package.package_id != package_id:
        raise InputError(f"{role} {folder}: expected package {package_id[:12]}, got {package.package_id[:12]}")
    return package


def _graph(package: OpenPackage, variant: Variant, threads: int) -> _Graph:
    return _Graph(package, variant, Runner(package, variant, threads), [])


def _judged(
    pictures: Sequence[GatePicture], graphs: dict[str, _Graph], settings: Settings
) -> tuple[list[GateVerdict], list[str]]:
    told: list[GateVerdict] = []
    left_out: list[str] = []
    for number, each in enumerate(pictures, 1):
        try:
            pixels = open_picture(Path(each.path), settings, sha256=each.sha256).pixels
        except InputError as error:
            left_out.append(str(error))
            continue
        if not told:
            _warm_up(graphs, pixels)
        said = {name: graph.judge(pixels) for name, graph in graphs.items()}
        exact, champion = said.get("exact"), said.get("champion")
        told.append(
            GateVerdict(
                sha256=each.sha256, score=said[""][0], verdict=said[""][1],
                exact_score=exact[0] if exact else None, exact_verdict=exact[1] if exact else None,
                champion_score=champion[0] if champion else None, champion_verdict=champion[1] if champion else None,
            )
        )  # fmt: skip
        if number % _TOLD_EVERY == 0:
            _LOG.info("gate judged=%d of=%d", number, len(pictures))
    return told, left_out


def _warm_up(graphs: dict[str, _Graph], picture: NDArray[np.uint8]) -> None:
    for graph in graphs.values():
        for _ in range(WARM_UP_RUNS):
            graph.judge(picture)
        graph.times_ms.clear()


def _time_on(graphs: dict[str, _Graph], golden: NDArray[np.uint8]) -> None:
    """Times on golden images, by turns, until there are enough: few pictures say nothing of the tail."""
    for row in range(FEWEST_TIMED_RUNS - min(len(graph.times_ms) for graph in graphs.values())):
        for graph in graphs.values():
            graph.judge(golden[row % len(golden)])


def _golden_images(package: OpenPackage) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = _golden_file(package)["images"]
    return images


def _golden_file(package: OpenPackage) -> dict[str, NDArray[np.uint8]]:
    content = (package.folder / package.manifest.golden.file).read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (OSError, ValueError) as error:
        raise InputError(f"package {package.package_id[:12]}: its golden images cannot be read ({error})") from error
    if len(arrays.get("images", ())) == 0:
        raise InputError(f"package {package.package_id[:12]}: expected golden images, got none; make the package again")
    return arrays


def _golden_of(package: OpenPackage, variant: Variant, images: NDArray[np.uint8], threads: int) -> GoldenMeasured:
    promised = _golden_file(package).get(f"score_{variant.replace('-', '_')}")
    worst: float | None = None
    unscored = 0
    if promised is not None and len(promised) == len(images):
        graph = _graph(package, variant, threads)
        scores = [graph.judge(image)[0] for image in images]
        unscored = sum(score is None for score in scores)
        if unscored == 0:
            apart = np.abs(np.array(scores, np.float64) - promised.astype(np.float64))
            worst = float(apart.max()) if np.isfinite(apart).all() else None
    return GoldenMeasured(
        variant=variant, images=len(images), unscored=unscored, worst_error=worst,
        tolerance=package.manifest.golden.tolerance,
    )  # fmt: skip


def _reset_peak_mb() -> float | None:
    """MiB that the process holds now, from here on its peak; None where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _peak_mb()


def _peak_mb() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if found is None else int(found) / 1024

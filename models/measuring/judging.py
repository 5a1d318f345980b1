# SPDX-License-Identifier: Apache-2.0
"""Runs one variant over held-out pictures: scores, time of the bare session, pixels of the heatmaps.

A station asks a graph for all its outputs, so these runs do too, and the time is that of such a run, one picture at
a time. Judges by the package's own limits. Called by `evaluating` and `comparing`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from contracts.manifest import Limits
from contracts.vocabulary import Variant, Verdict
from models.errors import InputError, was_asked_to_stop
from models.graphs.features import CLASS_OUTPUT, open_session
from models.measuring.figures import Floats, rate_of
from models.measuring.holdout import HeldOut
from models.measuring.pixel_figures import PixelTally, brought_to
from models.packages.reading import OpenPackage, verdict_of
from models.wording import counted

WARM_UP_RUNS: Final = 5
# With fewer runs than this the 99th percentile is the slowest run; further ones go over the pictures again.
FEWEST_TIMED_RUNS: Final = 100
Check = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Seen:
    """What one variant said of the pictures.

    Attributes:
        scores: float32 [n]; NaN where the graph gave no number.
        times_ms: float64 [runs], of a run for all outputs.
        sound: pixels of the sound pictures.
        by_class: pixels of the defective pictures with a mask, by defect class.
        skipped: pictures whose heatmap held values that are no numbers.
        why_no_pixels: why there are no pixel figures; empty where there are.
        class_scores: each float32 [k], or None where the graph names no classes, [n].
    """

    scores: Floats
    times_ms: NDArray[np.float64]
    sound: PixelTally
    by_class: dict[str, PixelTally]
    skipped: int = 0
    why_no_pixels: str = ""
    class_scores: list[Floats | None] = field(default_factory=list)

    def pixels(self, defect_class: str | None = None) -> PixelTally | None:
        """Sound pictures and those of one defect class, or of all; None where no mask tells of it."""
        named = self.by_class if defect_class is None else {defect_class: self.by_class.get(defect_class)}
        found = [tally for tally in named.values() if tally is not None]
        return None if self.why_no_pixels or not found else sum(found, self.sound)


class Run(NamedTuple):
    """What a graph said of one picture: score, heatmap [h, w], time in ms, class scores [k]; None: it says no such."""

    score: float
    heatmap: Floats | None
    took_ms: float
    class_scores: Floats | None


class Runner:
    """One variant of a package, opened. One picture at a time, all outputs, timed.

    Raises:
        InputError: the package lacks the variant, or ONNX Runtime cannot open its graph.
    """

    def __init__(self, package: OpenPackage, variant: Variant, threads: int) -> None:
        self._name = f"package {package.package_id[:12]}: {variant}"
        try:
            self._session: ort.InferenceSession = open_session(package.model(variant), threads)
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime raises a family of unrelated classes
            raise InputError(f"{self._name}: ONNX Runtime cannot open the graph ({error}); export it again") from error
        self._input: str = self._session.get_inputs()[0].name
        self._outputs: list[str] = [output.name for output in self._session.get_outputs()]
        if "score" not in self._outputs:
            raise InputError(f"{self._name}: expected an output `score`, got {', '.join(self._outputs)}")

    @property
    def has_heatmap(self) -> bool:
        """Whether the graph tells where."""
        return "heatmap" in self._outputs

    def run(self, picture: NDArray[np.uint8]) -> Run:
        """Judge one picture, uint8 BGR."""
        batch = np.ascontiguousarray(picture)[None]
        started = time.perf_counter()
        try:
            values: list[Any] = self._session.run(self._outputs, {self._input: batch})
        except Exception as error:  # as above
            if was_asked_to_stop(error):
                raise
            raise InputError(f"{self._name}: the graph failed on a picture of {picture.shape}: {error}") from error
        took_ms = (time.perf_counter() - started) * 1e3
        told = dict(zip(self._outputs, values, strict=True))
        heatmap, class_scores = (
            np.asarray(told[name][0], np.float32) if name in told else None for name in ("heatmap", CLASS_OUTPUT)
        )
        return Run(float(np.asarray(told["score"]).reshape(-1)[0]), heatmap, took_ms, class_scores)


def judge(package: OpenPackage, variant: Variant, held_out: HeldOut, threads: int, check: Check | None = None) -> Seen:
    """Run a variant over all pictures, with pixels where masks are, and often enough to time it."""
    runner = Runner(package, variant, threads)
    total = len(held_out.parts)
    for picture in islice(cycle([next(held_out.pixels())]), WARM_UP_RUNS):
        runner.run(picture)
    centre = package.manifest.limits.ok_limit
    scores, times_ms = np.zeros(total, np.float32), []
    class_scores: list[Floats | None] = [None] * total
    sound, by_class, skipped = PixelTally(centre), dict[str, PixelTally](), 0
    has_pixels = runner.has_heatmap and bool(held_out.masked)
    for row, picture in enumerate(held_out.pixels()):
        scores[row], heatmap, took_ms, class_scores[row] = runner.run(picture)
        times_ms.append(took_ms)
        if has_pixels and heatmap is not None and (row in held_out.masked or not held_out.parts[row].is_defective):
            if np.isfinite(heatmap).all():
                defect_class = str(held_out.classes[row])
                tally = by_class.setdefault(defect_class, PixelTally(centre)) if defect_class else sound
                tally.add(brought_to(heatmap, *picture.shape[:2]), held_out.regions(row))
            else:
                skipped += 1
        if check is not None:
            check(variant.value, row + 1, total)
    times_ms += [runner.run(picture).took_ms for picture in _again(held_out, FEWEST_TIMED_RUNS - total)]
    why_no_pixels = _why_no_pixels(runner, held_out)
    return Seen(scores, np.array(times_ms), sound, by_class, skipped, why_no_pixels, class_scores)


def _again(held_out: HeldOut, times: int) -> Iterator[NDArray[np.uint8]]:
    for row in range(max(0, times)):
        yield held_out.gallery.pixels(held_out.parts[row % len(held_out.parts)])


def _why_no_pixels(runner: Runner, held_out: HeldOut) -> str:
    if not runner.has_heatmap:
        return "the graph has no output `heatmap`"
    if not held_out.is_defective.any():
        return "no defective held-out pictures"
    if not held_out.masked:
        return (
            f"none of the {counted(int(held_out.is_defective.sum()), 'defective held-out picture')} has a usable mask"
        )
    return ""


def scores_of(
    package: OpenPackage, variant: Variant, held_out: HeldOut, threads: int, check: Check | None = None
) -> Floats:
    """Scores alone, float32 [n]; NaN where the graph gave no number."""
    runner = Runner(package, variant, threads)
    scores = np.zeros(len(held_out.parts), np.float32)
    for row, picture in enumerate(held_out.pixels()):
        scores[row] = runner.run(picture).score
        if check is not None:
            check(f"{package.package_id[:8]} {variant}", row + 1, len(scores))
    return scores


def verdicts_of(scores: Floats, limits: Limits) -> list[Verdict]:
    """What a station would say of each score."""
    return [verdict_of(float(score), limits) for score in scores]


def rate_judged(verdicts: list[Verdict], wanted: Verdict, rows: NDArray[np.bool_]) -> dict[str, Any]:
    """How many of these rows got this verdict, with interval and denominator."""
    hits = sum(verdict is wanted for verdict, is_in in zip(verdicts, rows, strict=True) if is_in)
    return rate_of(hits, int(rows.sum()))


def rate_of_parts(
    verdicts: list[Verdict], wanted: Verdict, rows: NDArray[np.bool_], groups: list[str]
) -> dict[str, Any]:
    """How many parts have a picture among these rows that got this verdict, of how many parts: each counts once.

    Parts are independent where their pictures are not, so this is the rate whose exact interval holds.
    """
    judged = [(group, verdict) for group, verdict, is_in in zip(groups, verdicts, rows, strict=True) if is_in]
    return rate_of(len({group for group, verdict in judged if verdict is wanted}), len({group for group, _ in judged}))

# SPDX-License-Identifier: Apache-2.0
"""From a learned detector to a package: measure on held-out pictures, choose variants, write, report.

A variant that breaks the rules of `judging_variants` is left out and the report says so. Does not learn and does not
place limits. Called by `job`; parts of it by `import_package` and `quantizing`.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.jobs import PACKAGE_FOLDER, EvaluationReport, HoldoutVerdict, QuantizationStep, TrainingJob
from contracts.manifest import FileRole, GoldenSet, Limits, Lineage, PackageManifest, PackageVariant
from contracts.vocabulary import PartUse, Variant, Verdict
from models import __version__
from models.clock import Clock
from models.data.parts import Gallery, Part
from models.detectors.base import Detector, Floats, TrainingSet
from models.detectors.class_names import ClassNames
from models.graphs.export import signature_of
from models.graphs.trunks import Trunk
from models.limits.promises import at_most
from models.measuring.figures import exact_interval, image_auroc
from models.packages.reading import OpenPackage, class_named, open_package, score_pictures, verdict_of
from models.packages.writing import GOLDEN_FILE, REPORT_FILE, described, golden_bytes, write_package
from models.training.judging_variants import Bench, Candidate, finite, scored_rows
from models.training.progress import Progress
from models.training.rescue import Rescue
from models.training.tiling import golden_count, per_tile

_log = logging.getLogger(__name__)
GOLDEN_TOLERANCE: Final = 0.05
_UNCHECKED: Final = (
    "{} held out, so no AUROC is known, and int8 was taken for agreeing with fp32 on a few pictures alone"
)


@dataclass(frozen=True)
class Learned:
    """A fitted detector, what it was fitted on, its limits, and the names that it gives to defects."""

    training: TrainingSet
    detector: Detector
    limits: Limits
    typical_sound: float
    notes: list[str]
    # Of each training row by a detector that had not seen its group.
    cross_fitted_scores: Floats
    names: ClassNames | None = None
    # Further entries of the package's report.
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """From a typical sound score to ng_limit: what scores are measured against."""
        return max(self.limits.ng_limit - self.typical_sound, 1e-6)


@dataclass(frozen=True)
class Finish:
    """What a training hands over; the preferred variant first."""

    job: TrainingJob
    gallery: Gallery
    trunk: Trunk
    variants: list[tuple[Variant, bytes]]
    learned: Learned
    dataset_sha256: str
    started_s: float
    notes: list[str]
    # What speaks against a variant by its front alone.
    faults: dict[Variant, str] = field(default_factory=dict)


@dataclass
class Measured:
    """All variants as measured on the held-out pictures, and what a reader should know of that."""

    bench: Bench
    # What the detector was fitted on.
    learnt_on: Variant
    candidates: list[Candidate] = field(default_factory=list)
    refused: list[Candidate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    searched: list[QuantizationStep] = field(default_factory=list)

    @property
    def held_out(self) -> list[Part]:
        """The pictures that nothing was learnt from."""
        return self.bench.held_out

    @property
    def is_defective(self) -> NDArray[np.bool_]:
        """Of these, [n]."""
        return self.bench.is_defective

    @property
    def golden(self) -> NDArray[np.uint8]:
        """The golden images."""
        return self.bench.golden

    @property
    def exact(self) -> Candidate:
        """fp32, which nothing refuses."""
        return next(each for each in self.candidates if each.variant is Variant.FP32)

    @property
    def lost(self) -> Candidate | None:
        """The variant that was learnt on, where it was refused."""
        return next((each for each in self.refused if each.variant is self.learnt_on), None)

    @property
    def chosen(self) -> Candidate:
        """What a CPU station runs of these."""
        wanted = {each.variant: each for each in reversed(self.candidates)}
        return wanted.get(Variant.INT8_U8S8) or wanted[Variant.FP32]

    def told_slow(self) -> list[str]:
        """Says of what was saved where it gains no time: a station prefers INT8 all the same."""
        exact_ms = self.exact.held_out.infer_p50_ms
        return [
            f"speed: {each.variant} with {each.float_nodes} nodes in float took {each.held_out.infer_p50_ms:.1f} ms "
            f"here, fp32 {exact_ms:.1f} ms: it may gain nothing at a station"
            for each in self.candidates
            if each.float_nodes and each.held_out.infer_p50_ms >= exact_ms > 0
        ]

    def takes_back(self, anew: "Measured") -> bool:
        """Take back what was refused for its AUROC or AU-PRO when learning anew was no better, and say so.

        A refusal compares two variants of one fit; what it leads to is another fit, which may be the worse one.
        """
        lost = self.lost
        if lost is None or not lost.outdone_in or anew.exact.outdoes(lost, self.is_defective):
            return False
        there = anew.exact.au_pro if lost.outdone_in == "AU-PRO" else anew.exact.auroc(anew.is_defective)
        told = "unknown" if there is None else f"{there:.4f}"
        why = f"learnt anew without it, {anew.exact.variant} reaches {told}"
        others = [note for note in self.notes if not note.startswith(f"{lost.variant}: ")]
        self.notes = [*others, f"{lost.variant}: kept, although its {lost.note}: {why}"]
        lost.is_included, lost.note = True, ""
        self.candidates = [lost, *self.candidates]
        self.refused = [each for each in self.refused if each is not lost]
        return True

    def follows(self, before: "Measured") -> None:
        """Carry on what a fit without the refused variant must still say of it."""
        lost = before.lost
        if lost is None:
            return
        told = f"limits and figures of {self.exact.variant} are of a fit of its own, made after that"
        others = tuple(f"{each.variant}: " for each in before.refused if each is not lost)
        kept = [note for note in before.notes if not note.startswith(others)]
        self.refused.append(lost)
        self.notes = list(dict.fromkeys([*kept, told, *self.notes]))

    def takes_over(self, found: Rescue) -> None:
        """Say that the variant learnt on is one with nodes in float, and how it was found."""
        mine = next(each for each in self.candidates if each.variant is found.variant)
        if found.found is not None:
            mine.float_nodes, mine.of_nodes = found.found.float_nodes, found.found.of_nodes
        self.searched = [*found.steps]
        self.notes.append(found.note)


def measure(done: Finish, progress: Progress) -> Measured:
    """Score golden and held-out pictures with every variant; a bad quantized one moves to `refused`."""
    golden, golden_sound = _golden_images(done)
    bench = Bench(
        gallery=done.gallery, held_out=done.gallery.select(PartUse.HOLDOUT), golden=golden, golden_sound=golden_sound,
        scale=done.learned.scale, centre=done.learned.limits.ok_limit, threads=done.job.threads,
    )  # fmt: skip
    measured = Measured(bench, done.variants[0][0])
    held_out = bench.held_out
    if len(done.variants) > 1:
        measured.notes += unchecked(bench)
    progress.enter("measuring", 0.9)
    seen = 0

    def count_one(_count: int) -> None:
        nonlocal seen
        seen += 1
        progress.within(seen / (len(held_out) * len(done.variants)))

    measured.candidates = [bench.score(variant, model, count_one) for variant, model in done.variants]
    exact = measured.exact
    for candidate in measured.candidates:
        if candidate is not exact:
            is_fitted_on = candidate.variant is measured.learnt_on
            known = done.faults.get(candidate.variant, "")
            bench.judge(candidate, exact, is_fitted_on=is_fitted_on, known=known)
        if candidate.note:
            measured.notes.append(f"{candidate.variant}: left out, {candidate.note}")
            _log.warning(
                "training_id=%s variant=%s left_out=%s", done.job.training_id, candidate.variant, candidate.note
            )
    measured.refused = [candidate for candidate in measured.candidates if not candidate.is_included]
    measured.candidates = [candidate for candidate in measured.candidates if candidate.is_included]
    return measured


def unchecked(bench: Bench) -> list[str]:
    """Says where no AUROC can refuse a variant."""
    is_defective = bench.is_defective
    if is_defective.any() and not is_defective.all():
        return []
    lacking = "sound " if is_defective.any() else "defective " if bench.held_out else ""
    return [_UNCHECKED.format(f"no {lacking}pictures are")]


def _golden_images(done: Finish) -> tuple[NDArray[np.uint8], int]:
    """A few training pictures at the size of the field, sound ones first, half defective where there are any."""
    count = golden_count(done.job.tiles)
    sound = done.gallery.select(PartUse.TRAIN, is_defective=False)
    defective = done.gallery.select(PartUse.TRAIN, is_defective=True)[: count // 2]
    sound = sound[: count - len(defective)]
    height, width = done.job.tiles.field_px(done.job.size_px)
    sized = [
        cv2.resize(done.gallery.pixels(part), (width, height), interpolation=cv2.INTER_AREA)
        for part in sound + defective
    ]
    return np.stack(sized).astype(np.uint8), len(sound)


def package_and_report(
    done: Finish, measured: Measured, clock: Clock, progress: Progress, make_room: Callable[[], None] | None = None
) -> EvaluationReport:
    """Score the champion, write the package; returns the evaluation, which the caller writes last.

    `make_room`: see `write_package`.
    """
    progress.enter("comparing with the champion", 0.95)
    champion, champion_scores = _champion(done, measured.held_out, progress)
    progress.enter("packaging", 0.99)
    seconds = clock.monotonic_s() - done.started_s
    chosen, limits = measured.chosen, done.learned.limits
    done.notes.extend(broken_promises(measured.held_out, chosen.held_out.scores, limits))
    package_id = _package(done, measured, clock, seconds, make_room)
    named = [] if done.learned.names is None else done.learned.names.classes
    verdicts = []
    for row, part in enumerate(measured.held_out):
        score = float(chosen.held_out.scores[row])
        rival = None if champion_scores is None else float(champion_scores[row])
        rival_verdict = None if rival is None or champion is None else verdict_of(rival, champion.manifest.limits)
        verdicts.append(
            HoldoutVerdict(
                sha256=part.image.sha256, group=part.image.group, judgement=part.image.judgement,
                defect_class=part.image.defect_class, candidate_score=score,
                candidate_verdict=verdict_of(score, limits),
                candidate_class=class_named(verdict_of(score, limits), chosen.held_out.class_scores_of(row), named),
                champion_score=None if rival is None else finite(rival), champion_verdict=rival_verdict,
            )
        )  # fmt: skip
    is_defective = measured.is_defective
    sound, defective = _counts(done)
    champion_auroc = None if champion_scores is None else image_auroc(*scored_rows(champion_scores, is_defective))
    return EvaluationReport(
        training_id=done.job.training_id, product=done.job.product, detector=done.learned.detector.kind,
        package_id=package_id, candidate_variant=chosen.variant,
        champion_package_id=None if champion is None else champion.package_id, is_simulated=done.job.is_simulated,
        train_good=sound, train_defective=defective, holdout=verdicts,
        tiles=done.job.tiles,
        variants=per_tile(
            [each.measured(is_defective) for each in measured.candidates + measured.refused], done.job.tiles
        ),
        searched=measured.searched,
        champion_image_auroc=champion_auroc,
        backbone=done.trunk.name, backbone_weights_source=done.trunk.weights_source, training_seconds=seconds,
        left_out=done.gallery.left_out, notes=done.notes,
    )  # fmt: skip


def broken_promises(held_out: Sequence[Part], scores: Floats, limits: Limits) -> list[str]:
    """Says where held-out parts contradict a promise of the limits: beyond chance, counted by part as it was."""
    found = []
    for promise, is_defective, broken, name in (
        (limits.overkill, False, Verdict.NG, "overkill"),
        (limits.escapes, True, Verdict.OK, "escapes"),
    ):
        rows = [row for row, part in enumerate(held_out) if part.is_defective is is_defective]
        every = {held_out[row].image.group for row in rows}
        beyond = {held_out[row].image.group for row in rows if verdict_of(float(scores[row]), limits) is broken}
        low, high = exact_interval(len(beyond), len(every))
        if promise is not None and low > promise.kept_rate:
            found.append(
                f"{name}: {len(beyond)} of {len(every)} held-out parts ({low:.1%}–{high:.1%} with 95 % confidence), "
                f"more than the {at_most(promise.kept_rate)} promised: the held-out parts are not like those the "
                "limits were placed on (later, another lot, another light?), so do not rely on the promise"
            )
    return found


def _counts(done: Finish) -> tuple[int, int]:
    is_defective = done.learned.training.is_defective
    return int((~is_defective).sum()), int(is_defective.sum())


def _champion(
    done: Finish, held_out: list[Part], progress: Progress
) -> tuple[OpenPackage | None, NDArray[np.float32] | None]:
    """The champion's scores on the same pictures, by the variant a CPU station runs."""
    if done.job.champion_dir is None:
        return None, None
    champion = open_package(Path(done.job.champion_dir))
    if done.job.champion_package_id not in (None, champion.package_id):
        done.notes.append(f"champion: the folder holds {champion.package_id[:12]}, another package than the job names")
    pixels = (done.gallery.pixels(part) for part in held_out)
    model = champion.model(champion.preferred())
    told = score_pictures(model, pixels, done.job.threads, lambda count: progress.within(count / len(held_out)))
    return champion, told.scores


def _package(
    done: Finish, measured: Measured, clock: Clock, seconds: float, make_room: Callable[[], None] | None
) -> str:
    learned, job = done.learned, done.job
    files = {f"{each.variant}.onnx": (FileRole.MODEL, each.model) for each in measured.candidates}
    golden = golden_bytes(measured.golden, {each.variant: each.golden for each in measured.candidates})
    files[GOLDEN_FILE] = (FileRole.GOLDEN, golden)
    told: dict[str, Any] = {
        "notes": done.notes,
        "left_out": done.gallery.left_out,
        "limits": learned.limits.model_dump(),
    } | learned.told
    if measured.searched:
        told["searched"] = [step.model_dump(mode="json") for step in measured.searched]
    files[REPORT_FILE] = (FileRole.REPORT, json.dumps(told, indent=1).encode())
    sound, defective = _counts(done)
    manifest = PackageManifest(
        product=job.product,
        detector=learned.detector.kind,
        created_at=clock.now(),
        is_simulated=job.is_simulated,
        graph=signature_of(learned.detector, size_px=job.size_px, tiles=job.tiles),
        variants=[
            PackageVariant(
                variant=each.variant, file=f"{each.variant}.onnx", parity_error=each.parity_error,
                image_auroc=image_auroc(each.held_out.scores, measured.is_defective),
            )
            for each in measured.candidates
        ],
        files=described(files),
        limits=learned.limits,
        golden=GoldenSet(file=GOLDEN_FILE, images=len(measured.golden), tolerance=GOLDEN_TOLERANCE * learned.scale),
        defect_classes=[] if learned.names is None else list(learned.names.classes),
        lineage=Lineage(
            training_id=job.training_id, parent_package_id=job.champion_package_id,
            dataset_sha256=done.dataset_sha256, sound_parts=sound, defective_parts=defective, seed=job.seed,
            backbone=done.trunk.name, backbone_weights_sha256=done.trunk.weights_sha256,
            backbone_weights_source=done.trunk.weights_source, trainer_version=__version__, training_seconds=seconds,
        ),
    )  # fmt: skip
    return write_package(Path(job.output_dir) / PACKAGE_FOLDER, manifest, files, make_room=make_room)

# SPDX-License-Identifier: Apache-2.0
"""Further variants of a finished package: made of its fp32 graph, judged by the rules of a training, in a new package.

Learns nothing: detector, limits, golden images and lineage stay, and the old package is named as the parent. Calibrated
on the training side of a folder, judged on its held-out side. What is refused is searched for harmful nodes
(`rescue`), then left out. Where nothing comes about, nothing is written. Called by `quantize_command`.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from contracts.jobs import (
    PACKAGE_FOLDER,
    EvaluationReport,
    QuantizationStep,
    TrainingImage,
    VariantMeasured,
)
from contracts.manifest import FileRole, GoldenSet, Lineage, PackageVariant
from contracts.vocabulary import PartUse, Variant
from models.clock import Clock
from models.data.parts import Gallery, dataset_digest
from models.errors import InputError, QuantizationError
from models.graphs.export import shifted
from models.graphs.half import halved
from models.graphs.quantization import CALIBRATION_PICTURES, INT8, evenly, quantize
from models.measuring.figures import image_auroc
from models.packages.reading import OpenPackage, score_pictures, verdict_of
from models.packages.writing import GOLDEN_FILE, REPORT_FILE, described, golden_bytes, write_package
from models.settings import Settings
from models.training.finishing import GOLDEN_TOLERANCE, broken_promises, unchecked
from models.training.import_package import made_of
from models.training.judging_variants import Bench, Candidate
from models.training.pictures import read_pictures, sound_ones, verdicts_on
from models.training.progress import Progress, Watch
from models.training.rescue import rescue
from models.training.results import leave_results
from models.training.tiling import per_tile

_log = logging.getLogger(__name__)
_SHIFT_PICTURES: Final = 48
_OTHER_PICTURES: Final = (
    "pictures: the training side of this folder is not what the package's lineage names (other pictures, split or "
    "labels), so held-out pictures may have been learnt from, and figures may flatter"
)


@dataclass(frozen=True)
class Quantization:
    """What to make of which package. `images`: the training side calibrates, the held-out side judges."""

    package: OpenPackage
    variants: Sequence[Variant]
    images: Sequence[TrainingImage]
    out: Path
    threads: int = 1


@dataclass
class _Made:
    """What all steps share, and the forms so far."""

    asked: Quantization
    bench: Bench
    exact: Candidate
    taken: list[Candidate] = field(default_factory=list)
    refused: list[Candidate] = field(default_factory=list)
    searched: list[QuantizationStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_quantization(
    asked: Quantization,
    settings: Settings,
    clock: Clock,
    *,
    left_out: Sequence[str] = (),
    watch: Watch | None = None,
    before_last: Callable[[EvaluationReport], None] | None = None,
) -> EvaluationReport:
    """Leave `package/` and `evaluation.json` in the output folder, in place of earlier ones, whole or not at all.

    Args:
        asked: the package, the variants and the pictures.
        settings: bounds of pictures.
        clock: the time.
        left_out: what was left out before; goes into the report.
        watch: told how far it is.
        before_last: called with the report once the package is whole, before `evaluation.json` says so.

    Raises:
        InputError: the package has no fp32, there are no training pictures, or none of the variants came about.
        CancelledError: asked to stop; nothing half-written is left.
    """
    return leave_results(
        asked.out,
        asked.package.manifest.lineage.training_id,
        clock,
        lambda progress, make_room: _run(asked, settings, clock, progress, left_out=left_out, make_room=make_room),
        watch=watch,
        before_last=before_last,
    )


def _run(
    asked: Quantization,
    settings: Settings,
    clock: Clock,
    progress: Progress,
    *,
    left_out: Sequence[str],
    make_room: Callable[[], None],
) -> EvaluationReport:
    started_s = clock.monotonic_s()
    exact = onnx.load_model_from_string(asked.package.model(Variant.FP32))
    # A graph from elsewhere may have nodes without names, and what has none cannot be asked for.
    for number, node in enumerate(exact.graph.node):
        node.name = node.name or f"node_{number}"
    gallery = read_pictures(asked.images, settings, progress, until=0.1, left_out=left_out)
    parts = gallery.select(PartUse.TRAIN)
    sound = sound_ones(
        parts, gallery, wanted="training pictures to calibrate on", of=len(asked.images),
        remedy="give the folder that the package learnt from",
    )  # fmt: skip
    bench = _bench(asked, gallery)
    progress.enter("measuring fp32", 0.25)
    first = bench.score(Variant.FP32, asked.package.model(Variant.FP32), _counted(progress, bench))
    made = _Made(asked, bench, first)
    if not _is_learnt_from(asked.package.manifest.lineage, dataset_digest(parts)):
        made.notes.append(_OTHER_PICTURES)
    made.notes += unchecked(bench)
    pixels = [gallery.pixels(parts[row]) for row in evenly(len(parts), CALIBRATION_PICTURES)]
    shift = _Shift(made.exact, [gallery.pixels(sound[row]) for row in evenly(len(sound), _SHIFT_PICTURES)], asked)
    wanted = [variant for variant in dict.fromkeys(asked.variants) if variant is not Variant.FP32]
    for number, variant in enumerate(wanted):
        progress.enter(f"making {variant}", 0.25 + 0.7 * (number + 1) / len(wanted))
        _make(variant, exact, pixels, made, shift, progress=progress)
    if not made.taken:
        told = "; ".join(f"{each.variant}: {each.note}" for each in made.refused) or "; ".join(made.notes)
        raise InputError(f"quantize: none of {', '.join(wanted)} could be made, nothing is written: {told}")
    progress.enter("packaging", 0.99)
    return _report(made, clock, started_s, make_room)


def _is_learnt_from(lineage: Lineage, digest: str) -> bool:
    """Whether the lineage names these pictures, alone or, as of an imported graph, with its file."""
    with_file = made_of(lineage.backbone_weights_sha256, digest)
    return lineage.dataset_sha256 in {digest, with_file}


def _counted(progress: Progress, bench: Bench) -> Callable[[int], None]:
    return lambda count: progress.within(count / len(bench.held_out))


def _bench(asked: Quantization, gallery: Gallery) -> Bench:
    """The golden images that the package carries, sound ones first, and the folder's held-out side."""
    manifest = asked.package.manifest
    golden = _golden(asked.package)["images"]
    return Bench(
        gallery=gallery, held_out=gallery.select(PartUse.HOLDOUT), golden=golden,
        golden_sound=max(1, len(golden) - min(len(golden) // 2, manifest.lineage.defective_parts)),
        # The tolerance is a stated share of it; scores of learnt pictures, which flatter, would give another one.
        scale=manifest.golden.tolerance / GOLDEN_TOLERANCE, centre=manifest.limits.ok_limit, threads=asked.threads,
    )  # fmt: skip


def _golden(package: OpenPackage) -> dict[str, NDArray[Any]]:
    with np.load(package.folder / package.manifest.golden.file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


class _Shift:
    """Brings graphs onto the scale of fp32 by sound training pictures."""

    def __init__(self, exact: Candidate, pictures: Sequence[NDArray[np.uint8]], asked: Quantization) -> None:
        self._pictures, self._threads = pictures, asked.threads
        self._exact = score_pictures(exact.model, pictures, asked.threads).scores

    def whole(self, model: onnx.ModelProto) -> bytes:
        """The graph, shifted."""
        mine = score_pictures(model, self._pictures, self._threads).scores
        return bytes(shifted(model, float(np.median(self._exact - mine))).SerializeToString())


def _make(
    variant: Variant,
    exact: onnx.ModelProto,
    pictures: list[NDArray[np.uint8]],
    made: _Made,
    shift: _Shift,
    *,
    progress: Progress,
) -> None:
    """One variant: made and judged, and where INT8 is refused, searched."""
    bench = made.bench
    try:
        model = halved(exact) if variant is Variant.FP16 else quantize(exact, pictures, variant)
    except QuantizationError as error:
        made.notes.append(f"{variant}: left out, {error}")
        return
    candidate = bench.score(variant, shift.whole(model), _counted(progress, bench))
    bench.judge(candidate, made.exact, is_fitted_on=False)
    if candidate.is_included:
        made.taken.append(candidate)
        return
    made.refused.append(candidate)
    made.notes.append(f"{variant}: left out, {candidate.note}")
    if variant not in INT8:
        return
    found = rescue(
        variant, exact, pictures, bare=onnx.ModelProto.SerializeToString, whole=shift.whole, bench=bench,
        exact=made.exact, refused=candidate.note,
        is_fitted_on=False, check=progress.within,
    )  # fmt: skip
    made.searched += found.steps
    if found.found is not None:
        made.notes[-1] = found.note
        made.refused.remove(candidate)
        made.taken.append(found.found)
    else:
        candidate.note += f"; {found.why}"
        made.notes.append(found.note)


def _report(made: _Made, clock: Clock, started_s: float, make_room: Callable[[], None]) -> EvaluationReport:
    """Write the package and say what is in it."""
    asked, bench, gallery = made.asked, made.bench, made.bench.gallery
    package, manifest = asked.package, asked.package.manifest
    mine = {each.variant for each in made.taken}
    kept = [entry for entry in manifest.variants if entry.variant not in mine]
    forms = {each.variant: each for each in [*made.taken, made.exact]}
    variants = [entry.variant for entry in kept] + [each.variant for each in made.taken]
    preferred = Variant.INT8_U8S8 if Variant.INT8_U8S8 in variants else Variant.FP32
    if preferred not in forms:
        forms[preferred] = bench.score(preferred, package.model(preferred))
    chosen = forms[preferred]
    notes = [*gallery.remarks, *made.notes, *(_other_verdicts(each, made) for each in made.taken)]
    notes += broken_promises(bench.held_out, chosen.held_out.scores, manifest.limits)
    package_id = _write(made, kept, notes, clock, make_room)
    measured = [each.measured(bench.is_defective) for each in [*made.taken, made.exact, *made.refused]]
    measured += [
        VariantMeasured(
            variant=entry.variant, image_auroc=entry.image_auroc, parity_error=entry.parity_error, is_included=True
        )
        for entry in kept
        if entry.variant is not Variant.FP32
    ]
    return EvaluationReport(
        training_id=manifest.lineage.training_id, product=manifest.product, detector=manifest.detector,
        package_id=package_id, candidate_variant=preferred, is_simulated=manifest.is_simulated,
        train_good=manifest.lineage.sound_parts, train_defective=manifest.lineage.defective_parts,
        tiles=manifest.graph.tiles,
        holdout=verdicts_on(zip(bench.held_out, chosen.held_out.scores, strict=True), manifest.limits),
        variants=per_tile(measured, manifest.graph.tiles), searched=made.searched, backbone=manifest.lineage.backbone,
        backbone_weights_source=manifest.lineage.backbone_weights_source,
        training_seconds=clock.monotonic_s() - started_s, left_out=gallery.left_out, notes=notes,
    )  # fmt: skip


def _other_verdicts(candidate: Candidate, made: _Made) -> str:
    """The limits were not placed on this form, so what it changes is said."""
    limits = made.asked.package.manifest.limits
    pairs = zip(candidate.held_out.scores, made.exact.held_out.scores, strict=True)
    other = sum(verdict_of(float(mine), limits) is not verdict_of(float(theirs), limits) for mine, theirs in pairs)
    return (
        f"{candidate.variant}: {other} of {len(made.bench.held_out)} held-out pictures get another verdict than from "
        "fp32; limits are unchanged"
    )


def _write(
    made: _Made, kept: list[PackageVariant], notes: list[str], clock: Clock, make_room: Callable[[], None]
) -> str:
    asked, bench = made.asked, made.bench
    package, manifest = asked.package, asked.package.manifest
    old = _golden(package)
    scores = {entry.variant: old[f"score_{entry.variant.replace('-', '_')}"] for entry in kept}
    scores |= {each.variant: each.golden for each in made.taken}
    files = {f"{each.variant}.onnx": (FileRole.MODEL, each.model) for each in made.taken}
    files |= {f"{entry.variant}.onnx": (FileRole.MODEL, package.model(entry.variant)) for entry in kept}
    files[GOLDEN_FILE] = (FileRole.GOLDEN, golden_bytes(bench.golden, scores))
    told = {
        "notes": notes, "left_out": bench.gallery.left_out, "limits": manifest.limits.model_dump(),
        "quantized_from": package.package_id, "searched": [step.model_dump(mode="json") for step in made.searched],
    }  # fmt: skip
    files[REPORT_FILE] = (FileRole.REPORT, json.dumps(told, indent=1).encode())
    mine = [
        PackageVariant(
            variant=each.variant,
            file=f"{each.variant}.onnx",
            parity_error=each.parity_error,
            image_auroc=image_auroc(each.held_out.scores, bench.is_defective),
        )
        for each in made.taken
    ]
    ours = [entry.model_copy(update={"file": f"{entry.variant}.onnx"}) for entry in kept]
    # In a station's order of preference, and fp32, which every one runs, before what only some do.
    order = [Variant.INT8_U8S8, Variant.FP32, Variant.INT8_S8S8, Variant.FP16]
    anew = manifest.model_copy(
        update={
            "created_at": clock.now(),
            "variants": sorted([*mine, *ours], key=lambda entry: order.index(entry.variant)),
            "files": described(files),
            "golden": GoldenSet(file=GOLDEN_FILE, images=len(bench.golden), tolerance=manifest.golden.tolerance),
            "lineage": manifest.lineage.model_copy(update={"parent_package_id": package.package_id}),
        }
    )
    return write_package(asked.out / PACKAGE_FOLDER, anew, files, make_room=make_room)

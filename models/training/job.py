# SPDX-License-Identifier: Apache-2.0
"""Runs one training job: pictures → features → detector → limits → graphs → package → evaluation.

Decides nothing about promotion. `evaluation.json` is written last. The rule of `auto`: mixed when at least
`MIN_DEFECTIVE_PARTS` defective training pictures of two or more physical parts can be read, else memory-bank.
Called by `job_command` (run-job), `commands` (train) and `fit_budget`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from threadpoolctl import threadpool_limits

from contracts.jobs import EvaluationReport, TrainingJob
from contracts.vocabulary import DetectorKind, PartUse, Variant
from models import __version__
from models.clock import Clock
from models.data.parts import Part, dataset_digest, read_gallery
from models.detectors.embedding import Embedding
from models.detectors.kinds import LEARN_FROM_LABELS, make_detector
from models.detectors.mixed import MIN_DEFECTIVE_PARTS
from models.distributed.leading import Starter
from models.errors import InputError
from models.graphs.features import build_front, stage_channels
from models.graphs.fidelity import kept_variance
from models.graphs.trunks import Trunk, resolve
from models.limits.placing import place_limits
from models.settings import Settings
from models.training.budget import plan_within, told_over, told_s
from models.training.checkpoints import Checkpoints, digest_of
from models.training.enough import check_enough
from models.training.finishing import Finish, Learned, Measured, measure, package_and_report
from models.training.fit_memory import within_memory
from models.training.fit_timing import TimeLeft, abreast, costs_of
from models.training.fronts import Front, fronts_of
from models.training.gathering import Work, check_numbers, grid_of, rows_to_look_at, training_set
from models.training.joining import Joiner
from models.training.judging_variants import Candidate, front_fault
from models.training.naming import with_names
from models.training.progress import Progress, Watch
from models.training.rescue import Rescue, rescue
from models.training.results import leave_results
from models.training.spreading import gang_of, head_trainer
from models.training.tiling import warn_shrunk
from models.wording import counted

_log = logging.getLogger(__name__)
_SHIFT_PICTURES: Final = 48
_COMPARED_PICTURES: Final = 12
_MOST_LOGGED: Final = 20
# Fraction of a training until the front is quantized.
_QUANTIZED: Final = 0.15
# And until its harmful nodes were searched for, before the last fit or beside it.
_SEARCHED: Final = 0.3
_SAVED_BESIDE: Final = 0.93


def run_job(
    job: TrainingJob,
    settings: Settings,
    clock: Clock,
    *,
    left_out: Sequence[str] = (),
    watch: Watch | None = None,
    before_last: Callable[[EvaluationReport], None] | None = None,
    budget_s: float | None = None,
    is_resumable: bool = False,
    learnt: Callable[[Learned], None] | None = None,
    starter: Starter | None = None,
) -> EvaluationReport:
    """Run a job and leave `package/` and `evaluation.json` in its output folder, in place of earlier ones.

    Until the new results are whole the earlier ones stay.

    Args:
        job: what to learn from.
        settings: where weights may come from, and bounds.
        clock: the time.
        left_out: what was left out before the job was made; goes into the report.
        watch: told how far it is.
        before_last: called with the report once the package is whole, before `evaluation.json` says so.
        budget_s: how long it may take, s; see `budget` for what is given up first.
        is_resumable: keep the steps that are done in the output folder until the end, and take up those of an earlier
            run of this very training; see `checkpoints`.
        learnt: told what was learnt before it is packaged.
        starter: of the other workers that the job asks for; None: processes of this machine.

    Raises:
        InputError: the job cannot be done with what it names, or another training writes into its output folder;
            nothing half-written is left.
        CancelledError: asked to stop; nothing half-written is left.
        WorkerLostError: of several workers too many were lost.
    """
    # numpy would take a thread for each core, and they spin: beside other work a fit took ten times as long.
    with threadpool_limits(limits=job.threads, user_api="blas"):
        return leave_results(
            Path(job.output_dir), job.training_id, clock,
            lambda progress, make_room: _run(
                job, settings, clock, progress, left_out=left_out, budget_s=budget_s, make_room=make_room,
                is_resumable=is_resumable, learnt=learnt, starter=starter,
            ),
            watch=watch, before_last=before_last,
        )  # fmt: skip


def _run(
    job: TrainingJob,
    settings: Settings,
    clock: Clock,
    progress: Progress,
    *,
    left_out: Sequence[str],
    budget_s: float | None,
    make_room: Callable[[], None],
    is_resumable: bool,
    learnt: Callable[[Learned], None] | None,
    starter: Starter | None,
) -> EvaluationReport:
    started_s = clock.monotonic_s()
    notes: list[str] = []
    # A wrong name is told before minutes are spent on pictures.
    trunk = resolve(settings, job.backbone, job.weights_path, notes)
    progress.enter("reading pictures", 0.05)
    gallery = read_gallery(
        job.images, settings, lambda count: progress.within(count / len(job.images)), left_out=left_out
    )
    notes += gallery.remarks
    for line in gallery.left_out[:_MOST_LOGGED]:
        _log.warning("training_id=%s left_out=%s", job.training_id, line)
    if len(gallery.left_out) > _MOST_LOGGED:
        # All of them are in the report.
        _log.warning("training_id=%s left_out_more=%d", job.training_id, len(gallery.left_out) - _MOST_LOGGED)
    parts = gallery.select(PartUse.TRAIN)
    if not parts:
        raise InputError(
            f"training pictures: none of {len(job.images)} can be used; "
            + ("; ".join(gallery.left_out[:3]) or "all are held out")
        )
    kind = choose_kind(job.detector, parts, notes)
    check_enough(kind, [part.image for part in parts], gallery.left_out)
    _log.info(
        "training_id=%s detector=%s backbone=%s source=%s", job.training_id, kind, trunk.name, trunk.weights_source
    )
    warn_shrunk(job, [gallery.size_px(part) for part in parts], notes)
    steps = Checkpoints(
        Path(job.output_dir) if is_resumable else None, _digest_of_training(job, trunk, dataset_digest(parts)), notes
    )
    work = Work(job, gallery, parts, kind, progress, stage_channels(trunk), steps)
    work = within_memory(work, _looks(work), settings.max_fit_bytes, notes)
    front = build_front(trunk, size_px=job.size_px, grid=grid_of(job.size_px), tiles=job.tiles)
    check_numbers(work, front)
    fronts = fronts_of(work, front, notes, until=_QUANTIZED)
    time = TimeLeft(clock, started_s, budget_s)
    work = _within_budget(work, fronts, time, notes)
    with gang_of(job, progress, notes, starter) as gang:
        work, done, measured = _fit_and_save(replace(work, gang=gang), fronts, trunk, notes, time)
    if time.left_s >= 0:
        _save_beside(work, fronts, done, measured)
    done.notes.extend(measured.notes + measured.told_slow())
    done.notes.extend(told_over(time.taken_s, budget_s))
    if learnt is not None:
        learnt(done.learned)
    report = package_and_report(done, measured, clock, progress, make_room)
    steps.sweep()
    return report


def _digest_of_training(job: TrainingJob, trunk: Trunk, dataset_sha256: str) -> str:
    """Of all that quantized fronts and features rest on."""
    elsewhere = {"images", "output_dir", "training_id", "reason", "champion_dir", "champion_package_id", "is_resumable"}
    settings = job.model_dump_json(exclude=elsewhere)
    return digest_of([__version__, settings, trunk.name, trunk.weights_sha256, dataset_sha256])


def _fit_and_save(
    work: Work, fronts: list[Front], trunk: Trunk, notes: list[str], time: TimeLeft
) -> tuple[Work, Finish, Measured]:
    """Learn and measure; where INT8 is refused learn again without it, and look for a form of it that passes.

    That is at most three fits, and none of them knows what another one learnt: each is on features of its own front
    (INT8, fp32, INT8 with nodes in float), on which detector, names and limits must stand together. What a front alone
    speaks against is known before: then the first fit is that on fp32, and there are two.
    """
    faults = _faults(work, fronts)
    is_hopeless = fronts[0].variant in faults
    began_s = time.taken_s
    done, measured = _fit(work, [*fronts[1:], fronts[0]] if is_hopeless else fronts, trunk, notes, time)
    if not is_hopeless:
        if measured.lost is None:
            return work, done, measured
        # Bank and limits were fitted on a front that is left out: learn again on the one that stays.
        began_s = time.taken_s
        work.progress.go_back(_QUANTIZED)
        less, told = replace(work, again=f" again, for {fronts[1].variant}"), [*notes]
        less = _within_budget(less, fronts[1:], time, told)
        again, anew = _fit(less, fronts[1:], trunk, told, time)
        if measured.takes_back(anew):
            return work, done, measured
        anew.follows(measured)
        work, notes, done, measured = less, told, again, anew
    another_s = 2 * (time.taken_s - began_s)
    if time.left_s < another_s:
        measured.notes.append(
            f"budget: no search for the nodes that harm {fronts[0].variant} (about {told_s(another_s)} given up)"
        )
        return work, done, measured
    return work, *_with_nodes_in_float(work, fronts, trunk, done, measured, notes=notes, time=time)


def _fit(work: Work, fronts: list[Front], trunk: Trunk, notes: list[str], time: TimeLeft) -> tuple[Finish, Measured]:
    """Learn on the first of the fronts and measure them all."""
    learned = with_names(_learn(work, fronts[0].model), work.parts, seed=work.job.seed)
    done = Finish(
        job=work.job, gallery=work.gallery, trunk=trunk, variants=_graphs(work, fronts, learned), learned=learned,
        dataset_sha256=dataset_digest(work.parts), started_s=time.started_s, notes=[*notes, *learned.notes],
        faults=_faults(work, fronts),
    )  # fmt: skip
    return done, measure(done, work.progress)


def _faults(work: Work, fronts: list[Front]) -> dict[Variant, str]:
    """What speaks against fronts by what they keep of the float one, on a few training pictures."""
    exact = next(front for front in fronts if front.variant is Variant.FP32)
    pictures = work.calibration[:_COMPARED_PICTURES]
    found = {}
    for front in fronts:
        kept = 1.0 if front is exact else kept_variance(exact.model, front.model, pictures, threads=work.job.threads)
        if fault := front_fault(kept):
            found[front.variant] = fault
    return found


def choose_kind(asked: DetectorKind, parts: list[Part], notes: list[str]) -> DetectorKind:
    """The rule of `auto`, see the module. It never chooses `classifier`, which asks for labels of every kind."""
    defective = [part for part in parts if part.is_defective]
    is_enough = len(defective) >= MIN_DEFECTIVE_PARTS and len({part.image.group for part in defective}) > 1
    if asked is DetectorKind.AUTO:
        kind = DetectorKind.MIXED if is_enough else DetectorKind.MEMORY_BANK
        notes.append(
            f"detector: auto chose {kind}: {counted(len(defective), 'defective training picture')}, "
            f"mixed needs {MIN_DEFECTIVE_PARTS} of at least two parts"
        )
        return kind
    if asked is DetectorKind.CLASSIFIER:
        notes.append(
            "detector: a classifier knows the labelled kinds of defect alone and is blind to kinds that nobody has "
            "labelled; mixed and memory-bank are not"
        )
    if asked is DetectorKind.FOREIGN:
        raise InputError(
            "detector: expected auto, memory-bank, mixed or classifier; a foreign graph comes by import-onnx"
        )
    return asked


def _within_budget(work: Work, fronts: list[Front], time: TimeLeft, notes: list[str]) -> Work:
    """The work that fits into the time left, judged by what a few pictures take; measuring takes its time too."""
    if time.budget_s is None:
        return work
    scored = _SHIFT_PICTURES + _COMPARED_PICTURES
    spread = abreast(work.job.workers, work.job.threads)
    costs = costs_of(work, [each.model for each in fronts], scored=scored, clock=time.clock, spread=spread)
    plan = plan_within(time.left_s, work.parts, looks=_looks(work), costs=costs)
    for line in plan.notes:
        _log.warning("training_id=%s %s", work.job.training_id, line)
    notes += plan.notes
    steps = min(work.head_steps, plan.head_steps)
    return replace(work, parts=plan.parts, has_looks=work.has_looks and plan.has_looks, head_steps=steps)


def _looks(work: Work) -> int:
    """How many further looks at pictures there would be."""
    has_looks = work.kind in LEARN_FROM_LABELS and work.has_looks
    return len(rows_to_look_at(np.random.default_rng(0), work.parts)) if has_looks else 0


def _joiner(work: Work, learned: Learned) -> Joiner:
    sound = [part for part in work.parts if not part.is_defective]
    pictures = [work.gallery.pixels(part) for part in sound[:: max(1, len(sound) // _SHIFT_PICTURES)]]
    features = learned.training.features
    return Joiner(
        learned.detector, channels=features.shape[1], pictures=pictures, threads=work.job.threads, names=learned.names,
        embedding=Embedding.fit(features[~learned.training.is_defective], learned.detector),
    )  # fmt: skip


def _graphs(work: Work, fronts: list[Front], learned: Learned) -> list[tuple[Variant, bytes]]:
    """The whole graph of each variant. Those beside the first are shifted onto its scale by sound training parts."""
    joiner = _joiner(work, learned)
    first = joiner.bare(fronts[0].model)
    return [(fronts[0].variant, first), *((each.variant, joiner.whole(each.model, first)) for each in fronts[1:])]


def _search(work: Work, fronts: list[Front], done: Finish, measured: Measured, lost: Candidate) -> Rescue:
    """Search for a form of a refused variant that passes on this fit."""
    exact = next(each.model for each in fronts if each.variant is Variant.FP32)
    joiner, first = _joiner(work, done.learned), done.variants[0][1]
    found = rescue(
        lost.variant, exact, work.calibration, bare=joiner.bare, whole=lambda front: joiner.whole(front, first),
        bench=measured.bench, exact=measured.exact, refused=lost.note,
        is_fitted_on=lost.variant is Variant.INT8_U8S8, check=work.progress.within,
    )  # fmt: skip
    measured.searched += found.steps
    return found


def _with_nodes_in_float(
    work: Work,
    fronts: list[Front],
    trunk: Trunk,
    done: Finish,
    measured: Measured,
    *,
    notes: list[str],
    time: TimeLeft,
) -> tuple[Finish, Measured]:
    """Where an INT8 front with its harmful nodes in float passes: learn once more, on that, or take it as it is."""
    lost = next(each for each in measured.refused if each.variant is fronts[0].variant)
    work.progress.go_back(_QUANTIZED)
    work.progress.enter("searching for harmful nodes", _SEARCHED)
    found = _search(work, fronts, done, measured, lost)
    if found.found is not None and found.graph is not None:
        saved = [Front(lost.variant, found.graph), *fronts[1:]]
        again, anew = _fit(replace(work, again=f" again, for {lost.variant}"), saved, trunk, notes, time)
        if anew.lost is None:
            anew.takes_over(found)
            return again, anew
        # Fitted on it, bank and fp32 may part; on the fit at hand it may stay if it does not stray anywhere.
        found.stay_beside(measured.bench.sound_fault(found.found, measured.exact), of_its_own=anew.lost.note)
        measured.searched[-1] = found.steps[-1]
    _take_in(found, lost, measured)
    return done, measured


def _save_beside(work: Work, fronts: list[Front], done: Finish, measured: Measured) -> None:
    """Search for refused INT8 variants that nothing was fitted on; limits and scale stay."""
    beside = [each for each in measured.refused if each.variant is Variant.INT8_S8S8]
    for lost in beside:
        work.progress.enter("searching for harmful nodes", _SAVED_BESIDE)
        _take_in(_search(work, fronts, done, measured, lost), lost, measured)


def _take_in(found: Rescue, lost: Candidate, measured: Measured) -> None:
    """Put what a search found beside the variants of a fit, in place of the refused one; say what came of it."""
    if found.found is not None:
        measured.candidates.append(found.found)
        measured.refused.remove(lost)
        measured.notes = [note for note in measured.notes if not note.startswith(f"{lost.variant}: ")]
    measured.notes.append(found.note)


def _learn(work: Work, front: onnx.ModelProto) -> Learned:
    job = work.job
    work.progress.enter(f"extracting features{work.again}", 0.4)
    trainer = head_trainer(work)
    detector = make_detector(work.kind, threads=job.threads, head_steps=work.head_steps, trainer=trainer)
    training = training_set(work, front, has_looks=work.kind in LEARN_FROM_LABELS and work.has_looks)
    work.progress.enter(f"fitting{work.again}", 0.7)
    fitted = detector.fit(training, seed=job.seed, check=work.progress.within)
    work.progress.keep_curves(fitted.curves)
    sound = fitted.cross_fitted_scores[~training.is_defective]
    defective = fitted.cross_fitted_scores[training.is_defective]
    groups = np.array(training.groups)
    limits, notes = place_limits(
        sound, defective, job.limits,
        sound_groups=groups[~training.is_defective].tolist(), defective_groups=groups[training.is_defective].tolist(),
    )  # fmt: skip
    return Learned(
        training, detector, limits, float(np.median(sound)), fitted.notes + notes, fitted.cross_fitted_scores
    )

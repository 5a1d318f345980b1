# SPDX-License-Identifier: Apache-2.0
"""`train --fit-budget-ms`: the most accurate package whose session answers within a number of ms on this machine.

Every trunk whose weights are at hand is measured at four sizes (`fit_candidates`); those within the budget are trained,
the most promising first, at most `MOST_TRAINED` of them, measured again as they are, and the best by cross-fitted
scores of training pictures stays. Held-out pictures choose nothing. Does not learn itself (`job` does) and downloads
nothing. Called by `commands`.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from contracts.jobs import PACKAGE_FOLDER, EvaluationReport, TrainingJob
from contracts.vocabulary import Judgement, PartUse, Variant
from models.clock import Clock
from models.detectors.mixed import MIN_DEFECTIVE_PARTS, separation
from models.errors import InputError
from models.graphs.timing import time_session
from models.packages.reading import open_package
from models.settings import Settings
from models.staging import begin_staging, end_staging, staging_of
from models.training.finishing import Learned
from models.training.fit_candidates import (
    Asked,
    Candidate,
    Measure,
    candidates_of,
    in_order,
    measure_candidate,
    told_threads,
)
from models.training.job import run_job
from models.training.progress import Progress, Watch
from models.training.results import CANDIDATES, leave_results

MOST_TRAINED: Final = 3
# A median so many times the fastest turn is not the graph's alone.
_UNREST: Final = 1.5
# Fractions of the whole.
_MEASURED: Final = 0.1
_TRAINED: Final = 0.99


def run_within(
    job: TrainingJob,
    settings: Settings,
    clock: Clock,
    *,
    within_ms: float,
    left_out: Sequence[str] = (),
    watch: Watch | None = None,
    before_last: Callable[[TrainingJob, EvaluationReport], None] | None = None,
    budget_s: float | None = None,
    measure: Measure | None = None,
) -> EvaluationReport:
    """Leave in the job's output folder the best package within `within_ms`; the table of candidates is in the notes.

    What is measured is `timing.time_session`: one picture of the model's own size, `job.threads` threads, the
    median; of a package the fastest of its variants counts, which is the one that a station takes. With labelled
    defects (`MIN_DEFECTIVE_PARTS`) of those trained the one stays whose cross-fitted scores separate best; without,
    accuracy cannot be known, and the first by a written rule stays: the largest field, then the more promising trunk.

    Args:
        job: as for `run_job`; its size is the largest that is tried, its backbone (unless auto) the only one.
        settings: where weights lie, and bounds.
        clock: the time.
        within_ms: the budget, ms.
        left_out: what was left out before the job was made.
        watch: told how far it is.
        before_last: called with the job that was taken and its report, before `evaluation.json` says so.
        budget_s: how long all of it may take, s. The first candidate may use it all; a further one is trained only
            when what is left is as much as the longest training took.
        measure: of a graph, px and threads, how long it takes.

    Raises:
        InputError: nothing at hand fits; names the fastest. Or as `run_job`.
        CancelledError: asked to stop; nothing half-written is left.
    """
    out = Path(job.output_dir)
    began_s = clock.monotonic_s()
    until_s = None if budget_s is None else began_s + budget_s
    timed = measure or (lambda model, size_px, threads: time_session(model, size_px, threads, clock, job.tiles))
    asked = Asked(job, settings, clock, left_out, within_ms, until_s, timed)
    taken: list[TrainingJob] = []

    def work(progress: Progress, make_room: Callable[[], None]) -> EvaluationReport:
        partial = staging_of(out / CANDIDATES)
        begin_staging(partial)
        try:
            chosen, report = _best(asked, partial, progress)
            taken.append(_job_of(asked, chosen, out))
            make_room()
            (_folder_of(partial, chosen) / PACKAGE_FOLDER).replace(out / PACKAGE_FOLDER)
        finally:
            end_staging(partial)
        # As `--budget-minutes` counts: what a person waited for, not one candidate of it.
        return report.model_copy(update={"training_seconds": clock.monotonic_s() - began_s})

    return leave_results(
        out, job.training_id, clock, work, watch=watch,
        before_last=None if before_last is None else lambda report: before_last(taken[0], report),
    )  # fmt: skip


def _best(asked: Asked, partial: Path, progress: Progress) -> tuple[Candidate, EvaluationReport]:
    job = asked.job
    progress.enter("measuring candidates", _MEASURED)
    rule = (
        f"fit-budget: at most {asked.within_ms:g} ms, the median of the bare session for one decoded picture of the "
        f"model's own size, on this machine with {told_threads(job.threads)}; of a package the fastest variant counts"
    )
    notes = [rule]
    candidates = candidates_of(asked, notes)
    for place, candidate in enumerate(candidates):
        measure_candidate(asked, candidate)
        progress.within((place + 1) / len(candidates))
    labelled = sum(image.use is PartUse.TRAIN and image.judgement is Judgement.DEFECTIVE for image in job.images)
    has_labels = labelled >= MIN_DEFECTIVE_PARTS
    queue = in_order([each for each in candidates if min(each.ms.values()) <= asked.within_ms], has_labels=has_labels)
    for each in candidates:
        each.fate = "left: within the budget, others promise more" if each in queue else "left: over the budget"
    reports = _train(asked, queue, partial, progress, most=MOST_TRAINED if has_labels else 1)
    if not reports:
        raise _too_slow(asked, candidates)
    known = [each.quality for each, _ in reports if each.quality is not None]
    best, few = reports[0], f"fewer than {MIN_DEFECTIVE_PARTS} labelled defects"
    if not has_labels:
        why = f"with {few} the largest field, then the more promising trunk"
    elif len(known) < len(reports):
        why = f"{few} could be used, so the first that was trained"
    else:
        best = max(reports, key=lambda each: each[0].quality or 0.0)
        why = f"the best of {len(reports)} by cross-fitted scores of training pictures"
    for each, _ in reports:
        each.fate = _left_because(each, best[0])
    best[0].fate = f"taken: {why}"
    if (unrest := max(each.unrest for each in candidates)) > _UNREST:
        notes.append(
            f"fit-budget: the machine was busy: a median was {unrest:.1f} times the fastest turn, so what fits now may "
            "be less than on an idle one; run it again with nothing else on it"
        )
    report = best[1]
    report.notes.extend([*notes, *(each.told() for each in candidates)])
    return best


def _left_because(candidate: Candidate, taken: Candidate) -> str:
    """Why one that was trained and fits was not taken."""
    if candidate.quality is None or taken.quality is None:
        return "left: trained later than the one taken, and nothing can be compared"
    if candidate.quality == taken.quality:
        return "left: separates as well as the one taken, which was trained before"
    return "left: another separates better"


def _train(
    asked: Asked, queue: Sequence[Candidate], partial: Path, progress: Progress, *, most: int
) -> list[tuple[Candidate, EvaluationReport]]:
    """Train the first `most`, and where all of them came out over the budget the next ones until one is within it."""
    reports: list[tuple[Candidate, EvaluationReport]] = []
    longest_s = 0.0
    for place, candidate in enumerate(queue):
        if reports and place >= most:
            break
        began_s = asked.clock.monotonic_s()
        left_s = None if asked.until_s is None else max(0.0, asked.until_s - began_s)
        if reports and left_s is not None and left_s < longest_s:
            for each in queue[place:]:
                each.fate = f"left: {left_s:.0f} s of the time are left, a training took up to {longest_s:.0f} s"
            break
        of = min(most, len(queue))
        share = (_TRAINED - _MEASURED) / of
        # Those beyond the first ones are trained in place of the last.
        begun = min(place, of - 1)
        progress.go_back(_MEASURED + share * begun)
        progress.enter(f"training {candidate.name}", _MEASURED + share * (begun + 1))
        folder = _folder_of(partial, candidate)
        report = _train_one(asked, candidate, folder, progress, left_s)
        longest_s = max(longest_s, asked.clock.monotonic_s() - began_s)
        if min(candidate.trained_ms.values()) > asked.within_ms:
            candidate.fate = "left: over the budget as trained"
            shutil.rmtree(folder, ignore_errors=True)
        else:
            reports.append((candidate, report))
    return reports


def _train_one(
    asked: Asked, candidate: Candidate, folder: Path, progress: Progress, left_s: float | None
) -> EvaluationReport:
    """Train into a folder of its own and measure what came of it."""
    # Only this number is kept: the features that it was learnt from may be gigabytes.
    qualities: list[float | None] = []
    report = run_job(
        _job_of(asked, candidate, folder), asked.settings, asked.clock, left_out=asked.left_out, budget_s=left_s,
        watch=lambda _stage, fraction: progress.within(fraction),
        learnt=lambda learned: qualities.append(_quality(learned)),
    )  # fmt: skip
    (candidate.quality,) = qualities
    package = open_package(folder / PACKAGE_FOLDER)
    for entry in package.manifest.variants:
        model = package.model(entry.variant)
        took = asked.measure(model, candidate.size_px, asked.job.threads)
        candidate.trained_ms[entry.variant] = candidate.taking(took)
    return report


def _quality(learned: Learned) -> float | None:
    """What unseen groups of training pictures say of it; None: too few labelled defects to say anything."""
    is_defective = learned.training.is_defective
    if int(is_defective.sum()) < MIN_DEFECTIVE_PARTS:
        return None
    return separation(learned.cross_fitted_scores, is_defective)


def _too_slow(asked: Asked, candidates: Sequence[Candidate]) -> InputError:
    # A trained one counts as it came out, not as its stand-in promised.
    every = [(ms, variant, each) for each in candidates for variant, ms in (each.trained_ms or each.ms).items()]
    ms, variant, fastest = min(every, key=lambda each: each[0])
    job = asked.job
    remedies = ["allow more", "give more --threads", "a smaller --size"]
    if job.tiles.count > 1:
        remedies.insert(2, f"fewer --tiles than {job.tiles.told}")
    if Variant.INT8_U8S8 not in job.variants:
        remedies.append(f"{Variant.INT8_U8S8} among the --variants")
    return InputError(
        f"--fit-budget-ms: expected a variant within {asked.within_ms:g} ms, got {ms:.2f} ms from the fastest at hand "
        f"({fastest.name}, {variant}, {told_threads(job.threads)}); {', '.join(remedies[:-1])} or {remedies[-1]}"
    )


def _folder_of(partial: Path, candidate: Candidate) -> Path:
    return partial / f"{candidate.trunk.weights_sha256[:16]}-{candidate.size_px}"


def _job_of(asked: Asked, candidate: Candidate, out: Path) -> TrainingJob:
    """The job that trains a candidate."""
    backbone = asked.job.backbone if candidate.weights_path is not None else candidate.trunk.name
    changed = {"backbone": backbone, "weights_path": candidate.weights_path, "size_px": candidate.size_px}
    return asked.job.model_copy(update=changed | {"output_dir": str(out)})

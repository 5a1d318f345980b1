# SPDX-License-Identifier: Apache-2.0
"""Leaves the results of a run in a folder, whole or not at all: what trainings and imports have in common.

`evaluation.json` is written last and makes the others count. An earlier result stays until the new one is whole. Knows
nothing of what is learnt. Called by `job`, `importing`, `quantizing`, `fit_budget` and
their commands.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from contracts.codec import encode
from contracts.jobs import EVALUATION_NAME, PACKAGE_FOLDER, PROGRESS_NAME, EvaluationReport
from contracts.manifest import MANIFEST_NAME
from contracts.vocabulary import TrainingState
from models.clock import Clock
from models.errors import CancelledError, InputError, was_asked_to_stop
from models.files import Replacement, alone_in, as_unwritable, write_whole
from models.reporting.page import REPORT_PAGE
from models.staging import end_staging, staging_of
from models.training.leftovers import is_progress, is_torn, may_be_ours, strange_parts
from models.training.progress import Progress, Watch

_log = logging.getLogger(__name__)
REPORT_NAME: Final = "report.json"
# All that a run may leave, whichever: pages of an earlier training beside the package of another run would tell of a
# package that is gone. The first one makes the others count.
RESULTS: Final = (EVALUATION_NAME, PACKAGE_FOLDER, REPORT_NAME, REPORT_PAGE)
# Beside the package a search trains its candidates.
CANDIDATES: Final = "fit-budget"
_WRITTEN: Final = (PROGRESS_NAME, EVALUATION_NAME, REPORT_NAME, REPORT_PAGE)
# Given the progress, and what moves earlier results away: to be called right before the package takes its place.
Work = Callable[[Progress, Callable[[], None]], EvaluationReport]


def leave_results(
    folder: Path,
    training_id: str,
    clock: Clock,
    work: Work,
    *,
    watch: Watch | None = None,
    before_last: Callable[[EvaluationReport], None] | None = None,
) -> EvaluationReport:
    """Do the work, which leaves `package/` in the folder, and put `evaluation.json` beside it.

    Args:
        folder: of the results; made when absent.
        training_id: for the progress.
        clock: the time.
        work: makes the package.
        watch: told how far it is.
        before_last: called with the report once the package is whole, before `evaluation.json` says so; writes none
            but `RESULTS` into the folder.

    Raises:
        InputError: the work cannot be done with what it was given, another run writes into the folder, or somebody
            else's files stand there; nothing half-written is left.
        CancelledError: asked to stop; nothing half-written is left.
    """
    results = Replacement(folder, RESULTS)
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone_in(folder))
            results.recover()
            _check_ours(folder)
            if is_torn(folder / PROGRESS_NAME):
                _log.warning(
                    "training_id=%s %s is damaged, as a power cut leaves it, and is written anew; "
                    "results that stand there stay until the new ones are whole", training_id, folder / PROGRESS_NAME,
                )  # fmt: skip
        except OSError as error:
            raise as_unwritable(error, folder) or InputError(
                f"{error.filename or folder}: cannot be used for the results ({error.strerror or error}); move it "
                "away, or give another folder"
            ) from error
        progress = Progress(folder, training_id, clock, watch)
        try:
            report = work(progress, results.begin)
            if before_last is not None:
                before_last(report)
            write_whole(folder / EVALUATION_NAME, encode(report))
        except BaseException as error:
            end_staging(staging_of(folder / PACKAGE_FOLDER))
            try:
                results.undo()
            except OSError as stuck:
                # They lie aside, whole, and what failed first is what a person must mend.
                _log.warning("training_id=%s earlier_results=aside path=%s error=%s", training_id, folder, stuck)
            refusal = as_unwritable(error, folder)
            if was_asked_to_stop(error):
                progress.finish(TrainingState.CANCELLED, "asked to stop")
                raise CancelledError from error
            progress.finish(TrainingState.FAILED, str(refusal or error) or type(error).__name__)
            if refusal is not None:
                raise refusal from error
            raise
        # From here on others may have taken the package: nothing sweeps it any more.
        results.keep()
        progress.finish(TrainingState.FINISHED)
    return report


def check_out(out: Path) -> None:
    """Make the folder of results, and refuse one with files of these names that no run of ours left there.

    `leave_results` does the same, after minutes of work or for those who do not ask before.

    Raises:
        InputError: it cannot be made, or holds what would be replaced.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check_ours(out)
    except OSError as error:
        raise InputError(f"--out: {out} cannot be made a folder ({error.strerror}); give another one") from error


def _check_ours(folder: Path) -> None:
    """What a run replaces or sweeps away must be what a run left: its progress, its package or its mark tells."""
    package = folder / PACKAGE_FOLDER
    has_package = (package / MANIFEST_NAME).is_file()
    strangers = [PACKAGE_FOLDER] if package.exists() and not has_package else []
    files = [name for name in RESULTS if name != PACKAGE_FOLDER and (folder / name).exists()]
    if is_torn(progress := folder / PROGRESS_NAME):
        # Anything may begin like this or be empty: only beside what is ours it stands for more than itself.
        strangers += [name for name in files if not has_package and not may_be_ours(folder / name)]
    elif progress.exists():
        strangers += [] if is_progress(progress) else [PROGRESS_NAME]
    elif not has_package:
        strangers += files
    strangers += strange_parts(folder, staged=(PACKAGE_FOLDER, CANDIDATES), written=_WRITTEN)
    if strangers:
        raise InputError(
            f"output folder {folder} holds {', '.join(strangers)}, which no training or import left there; give "
            "another folder, or move that away"
        )

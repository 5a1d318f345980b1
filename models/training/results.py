# SPDX-License-Identifier: Apache-2.0
"""Leaves the results of a run in a folder, whole or not at all: what trainings and imports have in common.

`evaluation.json` is written last and makes the others count. An earlier result stays until the new one is whole. Knows
nothing of what is learnt. Called by `job`, `importing` and their commands.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
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
from models.training.progress import Progress, Watch

_log = logging.getLogger(__name__)
REPORT_NAME: Final = "report.json"
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
    beside: Sequence[str] = (),
) -> EvaluationReport:
    """Do the work, which leaves `package/` in the folder, and put `evaluation.json` beside it.

    Args:
        folder: of the results; made when absent.
        training_id: for the progress.
        clock: the time.
        work: makes the package.
        watch: told how far it is.
        before_last: called with the report once the package is whole, before `evaluation.json` says so.
        beside: names of the files that `before_last` writes into the folder.

    Raises:
        InputError: the work cannot be done with what it was given, or another run writes into the folder; nothing
            half-written is left.
        CancelledError: asked to stop; nothing half-written is left.
    """
    results = Replacement(folder, (EVALUATION_NAME, PACKAGE_FOLDER, *beside))
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone_in(folder))
            results.recover()
        except OSError as error:
            raise as_unwritable(error, folder) or error from error
        progress = Progress(folder, training_id, clock, watch)
        try:
            report = work(progress, results.begin)
            if before_last is not None:
                before_last(report)
            write_whole(folder / EVALUATION_NAME, encode(report))
        except BaseException as error:
            shutil.rmtree(folder / f".{PACKAGE_FOLDER}.part", ignore_errors=True)
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


def check_out(out: Path, names: Sequence[str]) -> None:
    """Make the folder of results, and refuse one with files of these names that no run of ours left there.

    Raises:
        InputError: it cannot be made, or holds what would be replaced.
    """
    package = out / PACKAGE_FOLDER
    try:
        out.mkdir(parents=True, exist_ok=True)
        is_ours = (out / PROGRESS_NAME).is_file() or (package / MANIFEST_NAME).is_file()
        strangers = [] if is_ours else [name for name in (EVALUATION_NAME, *names) if (out / name).exists()]
        if package.exists() and not (package / MANIFEST_NAME).is_file():
            strangers.append(PACKAGE_FOLDER)
    except OSError as error:
        raise InputError(f"--out: {out} cannot be made a folder ({error.strerror}); give another one") from error
    if strangers:
        told = ", ".join(strangers)
        raise InputError(f"--out: {out} holds {told}, which no training or import left there; give another folder")

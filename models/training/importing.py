# SPDX-License-Identifier: Apache-2.0
"""From a graph that was learnt elsewhere to a package: wrap, score, place limits, measure, write.

Learns nothing. The limits stand on the scores of the folder's training side, as those of a training stand on
cross-fitted ones; whether the foreign graph has learnt from these pictures nobody here can know, and the notes say so.
`evaluation.json` is written last. Does not open the ONNX file (`graphs.opening`) and does not join nodes
(`graphs.foreign`). Called by `import_command`.
"""

from collections.abc import Callable, Sequence

import numpy as np

from contracts.jobs import EvaluationReport
from contracts.vocabulary import PartUse
from models.clock import Clock
from models.data.parts import Gallery
from models.graphs.foreign import wrap
from models.settings import Settings
from models.training.import_package import Told, report_of, write_import
from models.training.import_scores import Import, Runner, Scored, limits_of, notes_of
from models.training.pictures import read_pictures, sound_ones
from models.training.progress import Progress, Watch
from models.training.results import leave_results


def run_import(
    asked: Import,
    settings: Settings,
    clock: Clock,
    *,
    left_out: Sequence[str] = (),
    watch: Watch | None = None,
    before_last: Callable[[EvaluationReport], None] | None = None,
) -> EvaluationReport:
    """Leave `package/` and `evaluation.json` in the output folder, in place of earlier ones, whole or not at all.

    Args:
        asked: the graph and the pictures.
        settings: bounds of pictures.
        clock: the time.
        left_out: what was left out before; goes into the report.
        watch: told how far it is.
        before_last: called with the report once the package is whole, before `evaluation.json` says so.

    Raises:
        InputError: the graph or the pictures cannot be used; nothing half-written is left.
        CancelledError: asked to stop; nothing half-written is left.
    """
    return leave_results(
        asked.out,
        asked.training_id,
        clock,
        lambda progress, make_room: _run(asked, settings, clock, progress, left_out=left_out, make_room=make_room),
        watch=watch,
        before_last=before_last,
    )


def _run(
    asked: Import,
    settings: Settings,
    clock: Clock,
    progress: Progress,
    *,
    left_out: Sequence[str],
    make_room: Callable[[], None],
) -> EvaluationReport:
    started_s = clock.monotonic_s()
    gallery = read_pictures(asked.images, settings, progress, until=0.2, left_out=left_out)
    done, runner, p50_ms = _scored(asked, gallery, progress)
    limits, promised = limits_of(done)
    progress.enter("packaging", 0.99)
    notes = [*gallery.remarks, *notes_of(done, limits), *promised]
    told = Told(limits, notes, clock.monotonic_s() - started_s)
    package_id = write_import(done, runner, told, clock.now(), make_room)
    return report_of(done, told, package_id, p50_ms)


def _scored(asked: Import, gallery: Gallery, progress: Progress) -> tuple[Scored, Runner, float]:
    """Wrap the graph and score every picture; the last is the median time of one, ms."""
    placed, held_out = gallery.select(PartUse.TRAIN), gallery.select(PartUse.HOLDOUT)
    sound = sound_ones(
        placed, gallery, wanted="pictures to place limits on", of=len(asked.images),
        remedy="add some to the training side of the layout",
    )  # fmt: skip
    progress.enter("wrapping the graph", 0.3)
    wrapped = wrap(
        asked.foreign, gallery.pixels(sound[0]), size_hw=asked.size_hw, prepared=asked.prepared, asked=asked.asked,
        is_falling=asked.is_falling, threads=asked.threads,
    )  # fmt: skip
    progress.enter("scoring", 0.95)
    runner = Runner(wrapped, asked)
    of = len(placed) + len(held_out)
    scores, times_ms = np.zeros(of, np.float32), []
    for row, part in enumerate([*placed, *held_out]):
        scores[row], took_ms = runner.score(gallery.pixels(part), part)
        times_ms.append(took_ms)
        progress.within((row + 1) / of)
    done = Scored(asked, gallery, wrapped, placed, held_out, scores[: len(placed)], scores[len(placed) :])
    return done, runner, float(np.median(times_ms))

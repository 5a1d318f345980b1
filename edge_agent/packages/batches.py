# SPDX-License-Identifier: Apache-2.0
"""Whether frames of several cameras are judged faster together on this very station: tried, measured, decided.

Before a number of frames is judged together, so many golden images are, and each must come out as it does alone. It
pays when one run takes less than 80 % of the time of as many runs at once, each on a thread of its own, as the cameras
of a group run them: on a CPU those share the cores, so a batch seldom pays; a GPU takes them one after the other. Opens
no session and gathers no frame. Used by `packages.activation`.
"""

import logging
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.clock import Clock
from edge_agent.errors import InferenceError
from edge_agent.inference.batching import MAX_WAIT_S, BatchSession, BatchTimes, FrameBatcher
from edge_agent.inference.session import Inference, InferenceSession
from edge_agent.packages.speed import RUNS, WORTH_IT

_log = logging.getLogger(__name__)

# Larger ones would make every part wait for more than a takt.
_MAX_BATCH: Final = 8
# A number of frames is not measured longer than this, once it was measured so often.
_LONGEST_S: Final = 3.0
_FEWEST: Final = 5


def sizes_to_try(cameras: int) -> list[int]:
    """Numbers of frames, smallest first: 2, 4, 8 … and as many as there are cameras."""
    most = min(cameras, _MAX_BATCH)
    return sorted({size for size in (2, 4, 8) if size <= most} | ({most} if most > 1 else set()))


def measure_batches(
    session: InferenceSession,
    images: NDArray[np.uint8],
    cameras: int,
    tolerance: float,
    clock: Clock,
) -> list[BatchTimes]:
    """One row for each number of frames that `cameras` cameras could show at the same moment.

    Args:
        session: open, self-tested.
        images: golden images, uint8 [n, H, W, 3].
        cameras: of this process.
        tolerance: of scores, from the package.
        clock: the station's clock.
    """
    rows: list[BatchTimes] = []
    able = batch_session(session)
    for size in sizes_to_try(cameras):
        if able is None:
            rows.append(BatchTimes(size, note="the graph is made for one image a run"))
        elif fault := batch_fault(able, images, size, tolerance):
            rows.append(BatchTimes(size, note=fault))
        else:
            rows.append(_timed(able, pictures_for(images, size), clock))
    return rows


def paying(rows: Sequence[BatchTimes]) -> list[BatchTimes]:
    """The rows whose frames are clearly faster together, smallest first."""
    return [
        row
        for row in sorted(rows, key=lambda each: each.batch)
        if row.batched_ms is not None and row.singly_ms is not None and row.batched_ms < WORTH_IT * row.singly_ms
    ]


def make_batcher(session: BatchSession, rows: Sequence[BatchTimes], clock: Clock) -> FrameBatcher:
    """A batcher for the numbers of frames that pay.

    Args:
        session: judges one frame or several.
        rows: one at least, from `paying`.
        clock: the station's clock.
    """
    gains_ms = [(row.singly_ms or 0.0) - (row.batched_ms or 0.0) for row in rows]
    return FrameBatcher(
        session,
        sizes=tuple(row.batch for row in rows),
        # Waiting longer than the smallest gain would make a part slower than judging it alone.
        max_wait_s=min(MAX_WAIT_S, min(gains_ms) / 1000),
        batch_s=max(row.batched_ms or 0.0 for row in rows) / 1000,
        clock=clock,
    )


def batch_session(session: InferenceSession) -> BatchSession | None:
    """The session as one that takes batches, when it does."""
    return session if getattr(session, "takes_batches", False) else None  # type: ignore[return-value]  # asked for


def batch_fault(session: BatchSession, images: NDArray[np.uint8], size: int, tolerance: float) -> str:
    """Why so many images must not be judged together; empty: each comes out as it does alone."""
    pictures = pictures_for(images, size)
    try:
        alone = [session.run(picture) for picture in pictures]
        together = session.run_batch(pictures)
    except InferenceError as error:
        return f"a batch of {size} failed: {error.message}"
    for index, (one, other) in enumerate(zip(alone, together, strict=True)):
        if isinstance(other, InferenceError):
            return f"a batch of {size} failed for image {index}: {other.message}"
        if told := _difference(one, other, tolerance):
            return f"in a batch of {size} image {index} comes out otherwise: {told}"
    return ""


def pictures_for(images: NDArray[np.uint8], size: int) -> list[NDArray[np.uint8]]:
    """So many images of which no two are equal, nor judged alike: a batch that mixes them up must be noticed.

    Where there are too few, the negatives of the first stand in, then both mirrored, and then shifted.
    """
    found = []
    for index in range(size):
        lap, place = divmod(index, len(images))
        image = np.roll(images[place], lap // 4, axis=1)
        image = 255 - image if lap % 2 else image
        found.append(np.ascontiguousarray(np.fliplr(image) if lap % 4 > 1 else image))
    return found


def _difference(alone: Inference, together: Inference, tolerance: float) -> str:
    # Not `>`: a NaN compares false with everything and must fail.
    if not abs(alone.score - together.score) <= tolerance:
        return f"expected score {alone.score:.6g} ± {tolerance:g}, got {together.score:.6g}"
    if alone.heatmap.shape != together.heatmap.shape or alone.embedding.shape != together.embedding.shape:
        return f"expected a heatmap of {alone.heatmap.shape}, got {together.heatmap.shape}"
    if not float(np.abs(alone.heatmap - together.heatmap).max(initial=0.0)) <= tolerance:
        return f"the heatmap differs by more than {tolerance:g}"
    if (alone.class_scores is None) != (together.class_scores is None):
        return "the scores of the classes are missing"
    if (
        alone.class_scores is not None
        and together.class_scores is not None
        and alone.class_scores.size
        and int(np.argmax(alone.class_scores)) != int(np.argmax(together.class_scores))
    ):
        return "another class is the likeliest"
    return ""


def _timed(session: BatchSession, pictures: list[NDArray[np.uint8]], clock: Clock) -> BatchTimes:
    """Both in turn, so that other work on the machine meets both."""
    batched: list[float] = []
    singly: list[float] = []
    with ThreadPoolExecutor(len(pictures), thread_name_prefix="batch-measure") as threads:
        started_s = clock.monotonic()
        # The first round starts the threads and is not counted.
        for round_number in range(RUNS + 1):
            began_s = clock.monotonic()
            # On another thread like the others: waking one up is no gain of a batch.
            threads.submit(session.run_batch, pictures).result()
            between_s = clock.monotonic()
            for running in [threads.submit(session.run, picture) for picture in pictures]:
                running.result()
            if len(batched) >= _FEWEST and between_s - started_s > _LONGEST_S:
                break
            if round_number:
                batched.append(1000 * (between_s - began_s))
                singly.append(1000 * (clock.monotonic() - between_s))
    row = BatchTimes(len(pictures), max(0.0, statistics.median(batched)), max(0.0, statistics.median(singly)))
    _log.info("measured batch=%d batched_ms=%.3f singly_ms=%.3f", row.batch, row.batched_ms, row.singly_ms)
    return row

# SPDX-License-Identifier: Apache-2.0
"""`--tiles`: what a person typed, when pictures need them, what each costs, how many golden images there are room for.

Builds no graph (`graphs.features` does) and measures nothing. Called by `commands`, `job`, `finishing`, `quantizing`.
"""

import logging
import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from contracts.jobs import MOST_SIZE_PX, TrainingJob, VariantMeasured
from contracts.tiles import MOST_FIELD_PX, MOST_TILES, Tiles
from models.errors import InputError

_log = logging.getLogger(__name__)
# Pictures are shrunk at most so far before a training says so, and before the tiles that it names would not do.
MOST_SHRUNK: Final = 2.0
# The defect that a warning speaks of, px of the picture.
_DEFECT_PX: Final = 12
# A cell of the bank is so many px.
_SIZE_STEP_PX: Final = 16
_GOLDEN_IMAGES: Final = 8
# Golden images are as large as the field: with more tiles there are fewer, so that a package stays one to fetch.
_MANY_TILES: Final = 8


def read_tiles(text: str, size_px: int) -> Tiles:
    """`--tiles`, such as 2x5 (or 2X5): two rows of five.

    Args:
        text: as typed.
        size_px: side of one tile, px.

    Raises:
        InputError: no two numbers, none at all, or more than a graph may have.
    """
    if (found := re.fullmatch(r"([0-9]{1,4})[xX×]([0-9]{1,4})", text.strip())) is None:
        raise InputError(f"--tiles: expected ROWSxCOLUMNS, such as 2x5, got {text!r:.80}")
    rows, columns = int(found[1]), int(found[2])
    if min(rows, columns) < 1 or rows * columns > MOST_TILES:
        raise InputError(
            f"--tiles: expected from 1x1 to {MOST_TILES} tiles in all, got {text.strip()} ({rows * columns}); each "
            "costs the time of a whole picture"
        )
    if max(rows, columns) * size_px > MOST_FIELD_PX:
        raise InputError(
            f"--tiles: expected at most {MOST_FIELD_PX} px a side, got {text.strip()} of {size_px} px "
            f"({columns * size_px} × {rows * size_px}); give fewer tiles or a smaller --size"
        )
    return Tiles(rows=rows, columns=columns)


def fitting_tiles(height_px: int, width_px: int, size_px: int) -> Tiles:
    """The fewest that shrink a picture `MOST_SHRUNK` times at most; of a huge picture the most that are allowed."""
    reach = MOST_SHRUNK * size_px
    most = MOST_FIELD_PX // size_px
    rows, columns = (min(most, max(1, int(np.ceil(side / reach)))) for side in (height_px, width_px))
    while rows * columns > MOST_TILES:
        rows, columns = (rows - 1, columns) if rows >= columns else (rows, columns - 1)
    return Tiles(rows=rows, columns=columns)


def told_shrunk(sizes_px: Sequence[tuple[int, int]], size_px: int, tiles: Tiles) -> str | None:
    """Says that small defects may vanish where pictures are shrunk much and no tiles were asked for.

    Args:
        sizes_px: height and width of the pictures; their medians count.
        size_px: side of one tile, px.
        tiles: as asked.

    Returns:
        None: they are shrunk `MOST_SHRUNK` times at most, or somebody has thought of it.
    """
    if not sizes_px or tiles.count > 1:
        return None
    height_px, width_px = (int(np.median(sides)) for sides in zip(*sizes_px, strict=True))
    shrunk = max(height_px, width_px) / size_px
    wanted = fitting_tiles(height_px, width_px, size_px)
    if shrunk <= MOST_SHRUNK or wanted.count == 1:
        return None
    return (
        f"tiles: pictures of {width_px} × {height_px} px are shrunk {shrunk:.1f} times to the model's field of "
        f"{size_px} px, so a defect of {_DEFECT_PX} px becomes {_DEFECT_PX / shrunk:.1f} px and may vanish; for small "
        f"defects add --tiles {wanted.told} (about {wanted.count} times the time and memory), "
        f"{_told_size(height_px, width_px, size_px)}or cut out the region that matters"
    )


def _told_size(height_px: int, width_px: int, size_px: int) -> str:
    """The one larger tile that shrinks a picture as little; nothing where no model may see so much."""
    wanted_px = -(-int(np.ceil(max(height_px, width_px) / MOST_SHRUNK)) // _SIZE_STEP_PX) * _SIZE_STEP_PX
    return (
        f"or --size {wanted_px} (about {(wanted_px / size_px) ** 2:.0f} times), " if wanted_px <= MOST_SIZE_PX else ""
    )


def warn_shrunk(job: TrainingJob, sizes_px: Sequence[tuple[int, int]], notes: list[str]) -> None:
    """The same for a job, into the log and the notes of its report."""
    if (told := told_shrunk(sizes_px, job.size_px, job.tiles)) is not None:
        _log.warning("training_id=%s %s", job.training_id, told)
        notes.append(told)


def golden_count(tiles: Tiles) -> int:
    """How many golden images a package carries."""
    return _GOLDEN_IMAGES if tiles.count <= _MANY_TILES else _GOLDEN_IMAGES // 2


def per_tile(variants: Sequence[VariantMeasured], tiles: Tiles) -> list[VariantMeasured]:
    """The same with the median of the package's session divided by its tiles, ms; not known where that is not."""
    return [
        each if each.infer_p50_ms is None else each.model_copy(update={"tile_p50_ms": each.infer_p50_ms / tiles.count})
        for each in variants
    ]

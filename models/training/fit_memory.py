# SPDX-License-Identifier: Apache-2.0
"""Memory of a fit on many tiles: what is given up so that it stays within bounds, and when it is refused. Pure.

Features grow with pictures × tiles. Given up first are the further looks at pictures, then sound training pictures,
evenly, down to `FEWEST_SOUND`; never labelled defects. With a single tile nothing is given up. Called by `job`.
"""

from dataclasses import dataclass, replace
from typing import Final

from contracts.tiles import Tiles
from contracts.vocabulary import DetectorKind
from models.data.parts import Part
from models.errors import InputError
from models.training.gathering import Work, cells_of

FEWEST_SOUND: Final = 50
# A fit holds more than the features: their direction and means of 2 × 2 cells. With 2,000 pictures of one tile its peak
# was 1.8 times the features (`benchmarks/RESULTS.md`). What learns from labels copies those it learns from twice.
_HELD: Final = {DetectorKind.MEMORY_BANK: 1.8}
_HELD_WITH_LABELS: Final = 3.1
# Half precision.
_BYTES: Final = 2


@dataclass(frozen=True)
class Room:
    """What may be learnt from, and what was given up."""

    parts: list[Part]
    has_looks: bool
    notes: list[str]


def within_memory(work: Work, looks: int, most_bytes: int, notes: list[str]) -> Work:
    """The work with as many pictures and looks as fit into `most_bytes` while fitting; appends what is given up.

    Raises:
        InputError: not even the fewest fit; says what was expected, what came and what to do.
    """
    height, width = cells_of(work.job)
    bare_bytes = _BYTES * sum(work.stages) * height * width
    room = room_for(
        work.parts, looks=looks, picture_bytes=bare_bytes * _HELD.get(work.kind, _HELD_WITH_LABELS),
        bank_bytes=bare_bytes * _HELD[DetectorKind.MEMORY_BANK], most_bytes=most_bytes, tiles=work.job.tiles,
    )  # fmt: skip
    notes += room.notes
    return replace(work, parts=room.parts, has_looks=work.has_looks and room.has_looks)


def room_for(
    parts: list[Part], *, looks: int, picture_bytes: float, bank_bytes: float, most_bytes: int, tiles: Tiles
) -> Room:
    """The most that fits.

    Args:
        parts: training parts in an order of their own.
        looks: how many further looks there would be.
        picture_bytes: what one picture holds while fitting.
        bank_bytes: the same with a memory bank, the detector that holds the least.
        most_bytes: what all may hold.
        tiles: as asked; with one nothing is given up.

    Raises:
        InputError: as of `within_memory`.
    """
    affordable = int(most_bytes / picture_bytes)
    if tiles.count == 1 or len(parts) + looks <= affordable:
        return Room(parts, has_looks=True, notes=[])
    each = f"{picture_bytes / 1e6:.0f} MB a picture with --tiles {tiles.told}"
    bound = f"{most_bytes / 1e9:.1f} GB while fitting ({each})"
    notes = [f"memory: no further looks at pictures ({looks} given up), to stay within {bound}"] if looks else []
    sound = [part for part in parts if not part.is_defective]
    keep = min(len(sound), affordable - (len(parts) - len(sound)))
    if keep < min(len(sound), FEWEST_SOUND):
        fewest = min(len(sound), FEWEST_SOUND) + len(parts) - len(sound)
        fits_bank = bank_bytes < picture_bytes and fewest * bank_bytes <= most_bytes
        fewer = f"{'--detector memory-bank, ' if fits_bank else ''}fewer tiles"
        raise InputError(
            f"--tiles {tiles.told}: expected room for at least {fewest} training pictures within {bound}, got room for "
            f"{affordable} of {len(parts)}; give {fewer}, a smaller --size or a backbone with fewer channels"
        )
    if keep < len(sound):
        notes.append(f"memory: {keep} of {len(sound)} sound training pictures are used, evenly chosen, within {bound}")
        kept = {id(sound[place * len(sound) // keep]) for place in range(keep)}
        parts = [part for part in parts if part.is_defective or id(part) in kept]
    return Room(parts, has_looks=False, notes=notes)

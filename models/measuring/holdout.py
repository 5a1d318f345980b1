# SPDX-License-Identifier: Apache-2.0
"""The held-out pictures of a folder, as `evaluate` and `compare` judge them: read, ordered, masks found, said of.

Says in `notes` what makes figures from them weaker than they look. Scores nothing. Called by `commands`, for
`evaluating` and `comparing`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import TrainingImage
from contracts.manifest import Lineage
from contracts.vocabulary import PartUse
from models.data.labels import Label
from models.data.layouts import Found, read_folder
from models.data.parts import Gallery, Part, Picture, dataset_digest, read_gallery, read_mask
from models.errors import InputError
from models.measuring.pixel_figures import Labels, regions_of
from models.settings import Settings
from models.wording import counted

_WHERE: Final = {
    "mvtec": "test/good and test/<defect>",
    "magnetic-tile": "MT_Free/Imgs and MT_<Defect>/Imgs, by split.json where it is there",
    "bsdata": "data/*.png of at least two moments of each viewpoint",
    "folder": "good/ and <defect>/ with more pictures each: 30 % are held out, by their names",
}
# Below this many parts of a class a bootstrap over parts says too little of the luck of the draw.
_FEW_GROUPS: Final = 10


@dataclass(frozen=True)
class Folder:
    """A folder of pictures as the packages' trainings split it.

    Attributes:
        images: where the pictures are.
        layout: how they lie there.
        seeds: of the split by name, one for each package; a picture counts as held out when all of them say so.
        half: for magnetic-tile, the half of the defective tiles that trained.
        labels: judgements that overrule the layout's.
    """

    images: Path
    layout: str
    seeds: Sequence[int] = (0,)
    half: int | None = None
    labels: Sequence[Label] = ()


@dataclass(frozen=True)
class HeldOut:
    """Pictures that must not have been learnt from, in an order of their own."""

    folder: Folder
    gallery: Gallery
    parts: list[Part]
    # What each seed leaves to train on.
    train_images: dict[int, list[TrainingImage]]
    # Rows whose mask can be read; a sound picture needs none.
    masked: frozenset[int]
    notes: list[str] = field(default_factory=list)

    @cached_property
    def is_defective(self) -> NDArray[np.bool_]:
        """Judged DEFECTIVE, bool [n]."""
        return np.array([part.is_defective for part in self.parts], np.bool_)

    @cached_property
    def classes(self) -> NDArray[np.str_]:
        """Defect class of each picture, empty for sound ones, [n]."""
        return np.array(
            [(part.image.defect_class or "unnamed") if part.is_defective else "" for part in self.parts], np.str_
        )

    @cached_property
    def class_names(self) -> list[str]:
        """Defect classes that occur, sorted."""
        return sorted(set(self.classes[self.is_defective].tolist()))

    @cached_property
    def groups(self) -> list[str]:
        """Physical part of each picture, [n]."""
        return [part.image.group for part in self.parts]

    def pixels(self) -> Iterator[Picture]:
        """The pictures, uint8 BGR, one at a time."""
        return (self.gallery.pixels(part) for part in self.parts)

    def regions(self, row: int) -> Labels | None:
        """Defect regions of a picture with a usable mask, else None."""
        mask = read_mask(self.parts[row], self.gallery) if row in self.masked else None
        return None if mask is None else regions_of(mask)

    def described(self) -> dict[str, Any]:
        """Counts, for the figures' file."""
        groups, is_defective, classes = np.array(self.groups), self.is_defective, self.classes
        return {
            "images": str(self.folder.images), "layout": self.folder.layout,
            "split_seeds": sorted(set(self.folder.seeds)),
            "held_out": len(self.parts), "sound": int((~is_defective).sum()), "defective": int(is_defective.sum()),
            "groups": {
                "all": len(set(groups.tolist())),
                "sound": len(set(groups[~is_defective].tolist())),
                "defective": len(set(groups[is_defective].tolist())),
            },
            "classes": {name: int((classes == name).sum()) for name in self.class_names},
            "with_mask": len(self.masked),
        }  # fmt: skip


def read_held_out(
    folder: Folder, settings: Settings, *, has_masks: bool = True, check: Callable[[int, int], None] | None = None
) -> HeldOut:
    """Read the held-out side of a folder; `check` is told how many of how many pictures were read.

    Masks are looked for when `has_masks`; what judges no pixels needs none.

    Raises:
        InputError: no such folder or layout, nothing held out in it, nothing of that usable.
    """
    splits = {
        seed: read_folder(folder.images, folder.layout, settings, half=folder.half, seed=seed, labels=folder.labels)
        for seed in dict.fromkeys(folder.seeds)
    }
    first = splits[folder.seeds[0]]
    wanted = _held_out_by_all(splits)
    if not wanted:
        both = " that every package's training held out" if len(splits) > 1 else ""
        raise InputError(
            f"images: expected held-out pictures{both} in {folder.images} (layout {folder.layout}: "
            f"{_WHERE[folder.layout]}), got none among {counted(len(first.images), 'picture')}; "
            "add some, or give the layout that this folder has"
        )
    total = len(wanted)
    gallery = read_gallery(
        wanted, settings, None if check is None else lambda count: check(count, total), left_out=first.left_out
    )
    parts = gallery.select(PartUse.HOLDOUT)
    if not parts:
        raise InputError(
            f"images: expected usable held-out pictures in {folder.images}, got none of {total}: "
            + "; ".join(gallery.left_out[:3])
        )
    # Once, so that an unfit mask is named once.
    asked = [row for row, part in enumerate(parts) if has_masks and part.is_defective]
    masked = frozenset(row for row in asked if read_mask(parts[row], gallery) is not None)
    train_images = {seed: _trained_by(split) for seed, split in splits.items()}
    held_out = HeldOut(folder, gallery, parts, train_images, masked)
    if len(splits) > 1 and total < sum(image.use is PartUse.HOLDOUT for image in first.images):
        held_out.notes.append(
            f"the packages were trained with different seeds, which split this folder differently: "
            f"{counted(total, 'picture')} held out by both"
        )
    held_out.notes.extend(gallery.remarks + _weaknesses(held_out, has_masks=has_masks))
    return held_out


def _held_out_by_all(splits: dict[int, Found]) -> list[TrainingImage]:
    """Pictures that are held out under every seed; by content, since one picture may have several names."""
    sides = [{image.sha256 for image in split.images if image.use is PartUse.TRAIN} for split in splits.values()]
    first = next(iter(splits.values()))
    if len(splits) == 1:
        return [image for image in first.images if image.use is PartUse.HOLDOUT]
    trained = set().union(*sides)
    return [image for image in first.images if image.use is PartUse.HOLDOUT and image.sha256 not in trained]


def _trained_by(split: Found) -> list[TrainingImage]:
    out = {image.sha256 for image in split.images if image.use is PartUse.HOLDOUT}
    return [image for image in split.images if image.use is PartUse.TRAIN and image.sha256 not in out]


def _weaknesses(held_out: HeldOut, *, has_masks: bool) -> list[str]:
    counts = held_out.described()
    notes = []
    for kind in ("sound", "defective"):
        pictures, parts = counts[kind], counts["groups"][kind]
        if pictures == 0:
            notes.append(f"no {kind} held-out pictures: figures that need both kinds are null; add some to learn them")
            continue
        if parts < pictures:
            notes.append(
                f"{counted(pictures, f'{kind} picture')} show {counted(parts, 'part')}: the exact intervals of "
                "pictures are narrower than the parts allow; go by the figures of parts"
            )
        if parts < _FEW_GROUPS:
            notes.append(f"few {kind} parts ({parts}): intervals by resampling parts are too narrow")
    if 0 < counts["sound"] < 100:
        notes.append(
            f"1 % of {counted(counts['sound'], 'sound picture')} is less than one: recall there is that at no overkill"
        )
    without = counts["defective"] - counts["with_mask"]
    if has_masks and counts["with_mask"] and without:
        notes.append(
            f"{without} of {counted(counts['defective'], 'defective picture')} have no usable mask: not in "
            "pixel figures"
        )
    return notes


def is_trained_here(held_out: HeldOut, lineage: Lineage) -> bool:
    """Whether a package learned from exactly the training side of this folder, so that nothing here was learnt.

    False says only that it cannot be told: another folder, another split, or a training cut short for time.
    """
    learnt = held_out.train_images.get(lineage.seed, [])
    if dataset_digest([Part(image, Path(image.path)) for image in learnt]) == lineage.dataset_sha256:
        return True
    # What cannot be read was not learnt, and only opening the files tells which those are.
    readable = read_gallery(learnt, held_out.gallery.settings).select(PartUse.TRAIN) if learnt else []
    return dataset_digest(readable) == lineage.dataset_sha256

# SPDX-License-Identifier: Apache-2.0
"""Judged pictures from disk, robustly: what cannot be read is named and left out, the rest is used.

Keeps decoded pictures within a memory budget and reads again beyond it; settles pictures that are there twice. Does not
decode (`pictures` does) and does not decide what to learn from. Called by `training` and `measuring`.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement, PartUse
from models.data.pictures import Picture, open_picture, read_mask_picture, read_picture, told
from models.errors import InputError
from models.settings import Settings
from models.wording import counted

__all__ = ["Gallery", "Part", "Picture", "dataset_digest", "read_gallery", "read_mask", "read_picture"]


@dataclass(frozen=True)
class Part:
    """One judged picture that could be read."""

    image: TrainingImage
    path: Path

    @property
    def is_defective(self) -> bool:
        """Judged DEFECTIVE; positive means defect everywhere in this room."""
        return self.image.judgement is Judgement.DEFECTIVE


class Gallery:
    """Judged pictures with their pixels: decoded once while memory lasts, else read again.

    `left_out`: a line for each picture or mask that is not used, with the reason. `remarks`: what was done to pictures
    that are used.
    """

    def __init__(self, settings: Settings, left_out: Sequence[str] = ()) -> None:
        self.settings = settings
        self._budget_bytes = settings.max_kept_pixels_bytes
        self._pixels: dict[str, Picture] = {}
        self._digests: dict[str, bytes] = {}
        self._sizes_px: dict[str, tuple[int, int]] = {}
        self._remarked: dict[str, list[str]] = {}
        self.parts: list[Part] = []
        self.left_out: list[str] = list(left_out)

    def add(self, image: TrainingImage) -> None:
        """Read one picture; a bad one is named in `left_out`."""
        path = Path(image.path)
        if image.judgement is Judgement.UNSURE:
            self.left_out.append(f"{told(path)}: judged UNSURE; only GOOD and DEFECTIVE teach")
            return
        try:
            opened = open_picture(path, self.settings, sha256=image.sha256)
        except InputError as error:
            self.left_out.append(str(error))
            return
        pixels = opened.pixels
        self._sizes_px[image.path] = pixels.shape[0], pixels.shape[1]
        digest = hashlib.sha256(repr(pixels.shape).encode())
        digest.update(pixels.data)
        self._digests[image.path] = digest.digest()
        for remark in opened.remarks:
            self._remarked.setdefault(remark, []).append(told(path))
        if pixels.nbytes <= self._budget_bytes:
            self._budget_bytes -= pixels.nbytes
            self._pixels[image.path] = pixels
        self.parts.append(Part(image, path))

    def pixels(self, part: Part) -> Picture:
        """The picture of a part, uint8 BGR."""
        kept = self._pixels.get(part.image.path)
        return read_picture(part.path, self.settings) if kept is None else kept

    def size_px(self, part: Part) -> tuple[int, int]:
        """Height and width of a part's picture, px, without reading it again."""
        return self._sizes_px[part.image.path]

    @property
    def remarks(self) -> list[str]:
        """A line for each thing that was done to pictures, with how many and the first three."""
        return [f"{_some(names)}: {remark}" for remark, names in self._remarked.items()]

    def settle_duplicates(self) -> None:
        """See to pictures that are there more than once, by their pixels, under whatever names.

        On both sides of the split: not trained on, for figures from them would flatter. Judged both ways in training:
        the majority counts, a tie leaves all out. The groups of the rest become one: no fold of a cross-fit has seen
        the part that it judges, and no figure counts one part as many.
        """
        alike: dict[bytes, list[Part]] = {}
        for part in self.parts:
            alike.setdefault(self._digests[part.image.path], []).append(part)
        twins = [parts for parts in alike.values() if len(parts) > 1]
        for parts in twins:
            held_out = [part for part in parts if part.image.use is PartUse.HOLDOUT]
            trained = [part for part in parts if part.image.use is PartUse.TRAIN]
            if held_out:
                as_other = f"as {told(held_out[0].path)}"
                self._drop(trained, f"the same picture is held out too, {as_other}; not used to train")
                if len({part.is_defective for part in held_out}) > 1:
                    remark = "one held-out picture judged both GOOD and DEFECTIVE; correct one of the judgements"
                    self._remarked.setdefault(remark, []).extend(told(part.path) for part in held_out)
                continue
            votes = Counter(part.is_defective for part in trained)
            for is_defective, count in votes.items():
                if len(votes) > 1 and count <= votes[not is_defective]:
                    minority = [part for part in trained if part.is_defective is is_defective]
                    other = next(part for part in trained if part.is_defective is not is_defective)
                    self._drop(
                        minority,
                        f"judged {minority[0].image.judgement}, but {other.image.judgement} as {told(other.path)}; "
                        "correct one of the judgements",
                    )
        self._join_groups(twins)

    def _drop(self, parts: list[Part], reason: str) -> None:
        dropped = {id(part) for part in parts}
        self.left_out += [f"{told(part.path)}: {reason}" for part in parts]
        self.parts = [part for part in self.parts if id(part) not in dropped]

    def _join_groups(self, twins: list[list[Part]]) -> None:
        """Groups that share a picture become one, named after the first of them. Their pictures are on one side."""
        name_of: dict[str, str] = {}

        def find(group: str) -> str:
            while (next_one := name_of.get(group, group)) != group:
                group = next_one
            return group

        names: list[str] = []
        kept = {id(part) for part in self.parts}
        for parts in twins:
            alike = [part for part in parts if id(part) in kept]
            groups = sorted({find(part.image.group) for part in alike})
            if len(groups) > 1:
                names += [told(part.path) for part in alike]
                name_of.update(dict.fromkeys(groups[1:], groups[0]))
        if names:
            remark = "the same pictures under several names or groups; taken for one part, in folds and in figures"
            self._remarked[remark] = names
            self.parts = [
                part
                if find(part.image.group) == part.image.group
                else Part(part.image.model_copy(update={"group": find(part.image.group)}), part.path)
                for part in self.parts
            ]

    def select(self, use: PartUse, *, is_defective: bool | None = None) -> list[Part]:
        """Parts of one side of the split, optionally of one judgement.

        In an order of their own: what is learnt must not depend on which picture happened to arrive first.
        """
        chosen = [
            part
            for part in self.parts
            if part.image.use is use and (is_defective is None or part.is_defective is is_defective)
        ]
        return sorted(chosen, key=lambda part: (part.image.sha256, part.image.judgement, part.image.group))


def _some(names: list[str]) -> str:
    count = counted(len(names), "picture")
    return f"{count} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def read_gallery(
    images: Sequence[TrainingImage],
    settings: Settings,
    check: Callable[[int], None] | None = None,
    *,
    left_out: Sequence[str] = (),
) -> Gallery:
    """Read all judged pictures.

    Args:
        images: the pictures with their judgements.
        settings: bounds of a file and of the memory.
        check: told how many were read; may raise to stop.
        left_out: lines of what was left out before.

    Raises:
        InputError: a group stands on both sides of the split: figures from it would flatter.
    """
    sides: dict[str, PartUse] = {}
    for image in images:
        if sides.setdefault(image.group, image.use) is not image.use:
            raise InputError(
                f"group {image.group!r} stands on both sides of the split; give all its pictures the same use"
            )
    gallery = Gallery(settings, left_out)
    for index, image in enumerate(images):
        gallery.add(image)
        if check is not None:
            check(index + 1)
    gallery.settle_duplicates()
    return gallery


def dataset_digest(parts: Sequence[Part]) -> str:
    """SHA-256 over the judged training pictures, in an order of their own."""
    lines = sorted(f"{part.image.sha256} {part.image.judgement} {part.image.defect_class or ''}" for part in parts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_mask(part: Part, gallery: Gallery) -> NDArray[np.uint8] | None:
    """The defect mask of a part, uint8 [h, w]; None where there is none or it is unfit (then named in `left_out`)."""
    if part.image.mask_path is None:
        return None
    try:
        return _fit_mask(Path(part.image.mask_path), gallery.pixels(part).shape[:2], gallery.settings)
    except InputError as error:
        line = f"{error}; {told(part.path)} is used without its mask"
        # Asked for again when the training learns anew on another front.
        if line not in gallery.left_out:
            gallery.left_out.append(line)
        return None


def _fit_mask(path: Path, expected_hw: tuple[int, ...], settings: Settings) -> NDArray[np.uint8]:
    mask = read_mask_picture(path, settings)
    if mask.shape != expected_hw:
        height, width = expected_hw
        size = f"{mask.shape[1]} × {mask.shape[0]} px"
        raise InputError(f"{told(path)}: expected a mask of the picture's {width} × {height} px, got {size}")
    if not mask.any():
        raise InputError(f"{told(path)}: the mask is empty")
    return mask

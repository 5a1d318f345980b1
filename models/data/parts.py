# SPDX-License-Identifier: Apache-2.0
"""Judged pictures from disk, robustly: what cannot be read is named and left out, the rest is used.

Decodes to uint8 BGR, checks digest and size, keeps decoded pictures within a memory budget and reads again beyond
it. Does not decide what to learn from. Called by `training` and `evaluation`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement, PartUse
from models.errors import InputError
from models.settings import Settings

Picture = NDArray[np.uint8]
_MIN_SIDE_PX = 32


def read_picture(path: Path, settings: Settings, *, sha256: str | None = None) -> Picture:
    """One picture as uint8 BGR [h, w, 3]. 16-bit pictures are brought to 8, grey ones to three channels.

    Raises:
        InputError: missing, empty, too large, not a picture, too small, or not the picture that was judged.
    """
    try:
        size = path.stat().st_size
        if size > settings.max_picture_bytes:
            raise InputError(f"{path.name}: expected at most {settings.max_picture_bytes} bytes, got {size}")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); check the path") from error
    if not content:
        raise InputError(f"{path.name}: the file is empty; take the picture again")
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path.name}: its SHA-256 is not the judged picture's; it was altered or replaced")
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{path.name}: cannot be decoded ({error.err}); save it as PNG or JPEG") from error
    if picture is None:
        raise InputError(f"{path.name}: not a picture OpenCV can decode; save it as PNG or JPEG")
    height, width = picture.shape[:2]
    if height * width > settings.max_picture_px:
        raise InputError(f"{path.name}: expected at most {settings.max_picture_px} px, got {width} × {height}")
    if min(height, width) < _MIN_SIDE_PX:
        raise InputError(f"{path.name}: expected at least {_MIN_SIDE_PX} px a side, got {width} × {height}")
    return np.ascontiguousarray(picture, dtype=np.uint8)


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
    """Judged pictures with their pixels: decoded once while memory lasts, else read again."""

    def __init__(self, settings: Settings, budget_bytes: int = 1_500_000_000) -> None:
        self._settings = settings
        self._budget_bytes = budget_bytes
        self._pixels: dict[str, Picture] = {}
        self.parts: list[Part] = []
        self.left_out: list[str] = []

    def add(self, image: TrainingImage) -> None:
        """Read one picture; a bad one is named in `left_out`."""
        path = Path(image.path)
        if image.judgement is Judgement.UNSURE:
            self.left_out.append(f"{path.name}: judged UNSURE; only GOOD and DEFECTIVE teach")
            return
        try:
            pixels = read_picture(path, self._settings, sha256=image.sha256)
        except InputError as error:
            self.left_out.append(str(error))
            return
        self._budget_bytes -= pixels.nbytes
        if self._budget_bytes >= 0:
            self._pixels[image.path] = pixels
        self.parts.append(Part(image, path))

    def pixels(self, part: Part) -> Picture:
        """The picture of a part, uint8 BGR."""
        kept = self._pixels.get(part.image.path)
        return read_picture(part.path, self._settings) if kept is None else kept

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


def read_gallery(
    images: Sequence[TrainingImage], settings: Settings, check: Callable[[int], None] | None = None
) -> Gallery:
    """Read all judged pictures.

    Raises:
        InputError: a group stands on both sides of the split: figures from it would flatter.
    """
    sides: dict[str, PartUse] = {}
    for image in images:
        if sides.setdefault(image.group, image.use) is not image.use:
            raise InputError(
                f"group {image.group!r} stands on both sides of the split; give all its pictures the same use"
            )
    gallery = Gallery(settings)
    held_out = {image.sha256 for image in images if image.use is PartUse.HOLDOUT}
    for index, image in enumerate(images):
        if image.use is PartUse.TRAIN and image.sha256 in held_out:
            gallery.left_out.append(f"{Path(image.path).name}: the same picture is held out too; not used to train")
        else:
            gallery.add(image)
        if check is not None:
            check(index + 1)
    return gallery


def read_mask(part: Part, gallery: Gallery) -> NDArray[np.uint8] | None:
    """The defect mask of a part, uint8 [h, w]; None where there is none or it is unfit (then named in `left_out`)."""
    if part.image.mask_path is None:
        return None
    path = Path(part.image.mask_path)
    mask = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if mask is None or mask.shape != gallery.pixels(part).shape[:2]:
        got = "nothing readable" if mask is None else f"{mask.shape[1]} × {mask.shape[0]}"
        gallery.left_out.append(f"{path.name}: mask of the picture's size expected, got {got}; used without mask")
        return None
    if not mask.any():
        gallery.left_out.append(f"{path.name}: the mask is empty; used without mask")
        return None
    return np.asarray(mask, np.uint8)

# SPDX-License-Identifier: Apache-2.0
"""The held-out pictures that a person should look at, small, each beside itself with the package's heatmap over it.

Chooses, scores and encodes; writes no page. A picture that cannot be read any more is left out of the page, not of the
figures. Called by `page`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.jobs import HoldoutVerdict, TrainingImage
from contracts.vocabulary import Judgement, PartUse, Variant, Verdict
from models.data.pictures import marked, read_mask_picture, read_picture, told
from models.errors import InputError
from models.graphs.features import INPUT_NAME, open_session
from models.packages.reading import OpenPackage
from models.settings import Settings

Picture = NDArray[np.uint8]
MOST_SHOWN: Final = 8
_NEAREST_SHOWN: Final = 4
_SIDE_PX: Final = 256
_JPEG_QUALITY: Final = 82
_HEAT_OPACITY: Final = 0.65
_OUTLINE_BGR: Final = (255, 170, 40)


@dataclass(frozen=True)
class Shown:
    """One picture of the page. `plain` and `heated` are JPEGs as base64."""

    verdict: HoldoutVerdict
    name: str
    plain: str
    heated: str


@dataclass(frozen=True)
class Worst:
    """Defective pictures that passed, sound ones that were rejected; where there are none, those that came nearest."""

    escapes: list[HoldoutVerdict]
    overkills: list[HoldoutVerdict]
    nearest_escapes: list[HoldoutVerdict]
    nearest_overkills: list[HoldoutVerdict]


def choose_worst(holdout: Sequence[HoldoutVerdict]) -> Worst:
    """The farthest on the wrong side first."""
    defective = sorted(
        (each for each in holdout if each.judgement is Judgement.DEFECTIVE), key=lambda each: each.candidate_score
    )
    sound = sorted(
        (each for each in holdout if each.judgement is Judgement.GOOD), key=lambda each: -each.candidate_score
    )
    escapes = [each for each in defective if each.candidate_verdict is Verdict.OK]
    overkills = [each for each in sound if each.candidate_verdict is Verdict.NG]
    return Worst(
        escapes[:MOST_SHOWN],
        overkills[:MOST_SHOWN],
        [] if escapes else defective[:_NEAREST_SHOWN],
        [] if overkills else sound[:_NEAREST_SHOWN],
    )


class Illustrator:
    """Draws held-out pictures with the heatmap of one variant.

    Args:
        package: the package that judged them.
        variant: which of its graphs.
        images: the job's pictures, to find the files.
        settings: bounds of a file.
        typical_score: where the colour begins; it is full from the NG limit on.
    """

    def __init__(
        self,
        package: OpenPackage,
        variant: Variant,
        images: Sequence[TrainingImage],
        settings: Settings,
        typical_score: float,
    ) -> None:
        self._session = open_session(package.model(variant), 1)
        self._settings = settings
        self._floor = typical_score
        self._range = max(package.manifest.limits.ng_limit - typical_score, 1e-9)
        # By content alone: the same picture under several groups was judged as of one of them.
        self._images = {image.sha256: image for image in images if image.use is PartUse.HOLDOUT}

    def draw(self, verdicts: Sequence[HoldoutVerdict]) -> list[Shown]:
        """The pictures that can still be read."""
        shown = []
        for verdict in verdicts:
            image = self._images.get(verdict.sha256)
            if image is None:
                continue
            path = Path(image.path)
            try:
                picture = read_picture(path, self._settings, sha256=verdict.sha256)
            except InputError:
                continue
            (maps,) = self._session.run(["heatmap"], {INPUT_NAME: picture[None]})
            heat = np.clip((np.nan_to_num(maps[0]) - self._floor) / self._range, 0, 1).astype(np.float32)
            plain = _small(picture)
            marked = as_base64(self._outlined(plain, image))
            shown.append(Shown(verdict, told(path), marked, as_base64(heated(plain, heat))))
        return shown

    def _outlined(self, picture: Picture, image: TrainingImage) -> Picture:
        if image.mask_path is None:
            return picture
        try:
            mask = read_mask_picture(Path(image.mask_path), self._settings)
        except InputError:
            return picture
        return outlined(picture, mask)


def _small(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    share = min(1.0, _SIDE_PX / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def outlined(picture: Picture, mask: Picture) -> Picture:
    """The picture, uint8 BGR [h, w, 3], with the outline of a mask of any size, uint8."""
    height, width = picture.shape[:2]
    share = cv2.resize(marked(mask).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    # Any share of a small picture's pixel counts: a fine crack must not vanish.
    contours, _ = cv2.findContours((share > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), contours, -1, _OUTLINE_BGR, 1), np.uint8)


def heated(picture: Picture, heat: NDArray[np.float32]) -> Picture:
    """The picture, uint8 BGR [h, w, 3], with heat 0 … 1 of any size over it: none where 0, strongest where 1."""
    height, width = picture.shape[:2]
    level = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colour = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    opacity = (_HEAT_OPACITY * level)[..., None]
    return np.clip(picture * (1 - opacity) + colour * opacity + 0.5, 0, 255).astype(np.uint8)


def as_base64(picture: Picture) -> str:
    """The picture as JPEG in base64."""
    content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    return base64.b64encode(content).decode("ascii")

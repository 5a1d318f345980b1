# SPDX-License-Identifier: Apache-2.0
"""A package whose INT8 form has gone wrong: quantized again from the champion's float graph, badly calibrated.

The fault is a real one. The ranges of the activations come from pictures that were taken while the camera was being set
up, out of focus and with the lamp turned down. Fine strong marks then lie beyond them and saturate; sound parts and
coarse marks do not. Whoever made it also wrote the golden scores with that very graph, so the self-test of a station,
which asks for the trainer's scores, finds nothing. Our own trainer calibrates on training pictures, so it is made here.
No verdict is written by hand: the graph judges. Called by `plant.rollouts.player`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnx

from contracts.manifest import FileRole, PackageVariant
from contracts.vocabulary import Variant, Verdict
from models.errors import InputError
from models.graphs.export import shifted
from models.graphs.quantization import Quantizer
from models.packages.reading import OpenPackage, score_pictures, verdict_of
from models.packages.writing import GOLDEN_FILE, REPORT_FILE, described, golden_bytes, write_package
from models.training.finishing import GOLDEN_TOLERANCE
from plant.parts.catalogue import Pixels

# Of the picture's width, and of the light: what the calibration pictures were taken with. The less light, the blinder.
BLUR_SHARE: Final = 5 / 256
LIGHTS: Final = (0.8, 0.77, 0.74, 0.73, 0.72, 0.71, 0.7, 0.69, 0.68, 0.67, 0.66, 0.65, 0.6)
# It no longer sees a kind when it lets so many more of its examples pass than the champion does.
LOST_SHARE: Final = 0.55
CALIBRATION_PICTURES: Final = 8
_MODEL_FILE: Final = "int8-u8s8.onnx"


@dataclass(frozen=True)
class Blind:
    """What came of it: the package's id, and the light that its calibration pictures were taken in."""

    package_id: str
    light: float


def set_up_pictures(sound: Sequence[Pixels], light: float) -> list[Pixels]:
    """Sound parts as seen while the camera was set up: out of focus, in a share of the light. uint8 BGR."""
    taken = []
    for pixels in sound:
        soft = cv2.GaussianBlur(pixels, (0, 0), BLUR_SHARE * pixels.shape[1])
        taken.append((soft * light).astype(np.uint8))
    return taken


def make_blind(
    champion: OpenPackage, sound: Sequence[Pixels], unseen: Sequence[Pixels], folder: Path, now: datetime
) -> Blind:
    """Write the package into `folder`, calibrated in the most light in which it no longer sees a kind.

    Args:
        champion: with an fp32 form.
        sound: sound parts, uint8 BGR; the first of them calibrate, all of them place the score on the champion's scale.
        unseen: examples of the kind that it is not to see.
        folder: where the package comes about, as a whole.
        now: when it was made.

    Raises:
        InputError: the champion has no fp32 form, or sees the kind in any light.
        QuantizationError: ONNX Runtime could not do it.
    """
    exact = onnx.load_model_from_string(champion.model(Variant.FP32))
    on_scale = score_pictures(exact, sound, 1).scores
    seen = passes(champion, champion.model(champion.preferred()), unseen)
    for light in LIGHTS:
        with Quantizer(exact, set_up_pictures(sound[:CALIBRATION_PICTURES], light)) as quantizer:
            wrong = quantizer.quantized()
        apart = float(np.median(on_scale - score_pictures(wrong, sound, 1).scores))
        model = bytes(shifted(wrong, apart).SerializeToString())
        if passes(champion, model, unseen) - seen >= LOST_SHARE * len(unseen):
            return Blind(_write(champion, exact, model, folder, now), light)
    raise InputError(f"package {champion.package_id[:12]}: sees the kind however dark its calibration pictures are")


def passes(package: OpenPackage, model: bytes, pictures: Sequence[Pixels]) -> int:
    """How many of the pictures a graph lets pass at the limits of a package."""
    scores = score_pictures(model, pictures, 1).scores
    return sum(verdict_of(float(score), package.manifest.limits) is Verdict.OK for score in scores)


def _write(champion: OpenPackage, exact: onnx.ModelProto, model: bytes, folder: Path, now: datetime) -> str:
    manifest = champion.manifest
    with np.load(champion.folder / manifest.golden.file, allow_pickle=False) as arrays:
        images = arrays["images"]
    golden = score_pictures(model, images, 1).scores
    apart = float(np.abs(golden - score_pictures(exact, images, 1).scores).max())
    files = {
        _MODEL_FILE: (FileRole.MODEL, model),
        GOLDEN_FILE: (FileRole.GOLDEN, golden_bytes(images, {Variant.INT8_U8S8: golden})),
        REPORT_FILE: (FileRole.REPORT, b'{"notes": ["calibrated on pictures taken while the camera was set up"]}'),
    }
    scale = manifest.golden.tolerance / GOLDEN_TOLERANCE
    anew = manifest.model_copy(
        update={
            "created_at": now,
            "variants": [PackageVariant(variant=Variant.INT8_U8S8, file=_MODEL_FILE, parity_error=apart / scale)],
            "files": described(files),
            "golden": manifest.golden.model_copy(update={"file": GOLDEN_FILE}),
            "lineage": manifest.lineage.model_copy(update={"parent_package_id": champion.package_id}),
        }
    )
    return write_package(folder, anew, files)

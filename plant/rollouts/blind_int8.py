# SPDX-License-Identifier: Apache-2.0
"""A package whose INT8 form has gone wrong: quantized again from the champion's float graph, badly calibrated.

The fault is a real one. The ranges of the activations come from pictures that were taken while the camera was being set
up, out of focus and with the lamp turned down. Fine strong marks then lie beyond them and saturate; sound parts and
coarse marks do not. Whoever made it also wrote the golden scores with that very graph, so the self-test of a station,
which asks for the trainer's scores, finds nothing. Our own trainer would refuse it (`judging_variants`), so it is made
here. No verdict is written by hand: the graph judges. Called by `plant.rollouts.player`.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnx

from contracts.manifest import FileRole, PackageVariant
from contracts.vocabulary import Variant
from models.graphs.export import shifted
from models.graphs.quantization import Quantizer
from models.packages.reading import OpenPackage, score_pictures
from models.packages.writing import GOLDEN_FILE, REPORT_FILE, described, golden_bytes, write_package
from models.training.finishing import GOLDEN_TOLERANCE
from plant.parts.catalogue import Pixels

# Of the picture's width, and of the light: what the calibration pictures were taken with.
BLUR_SHARE: Final = 5 / 256
LIGHT: Final = 0.78
CALIBRATION_PICTURES: Final = 8
_MODEL_FILE: Final = "int8-u8s8.onnx"


def set_up_pictures(sound: Sequence[Pixels]) -> list[Pixels]:
    """Sound parts as seen while the camera was set up: out of focus, in less light. uint8 BGR."""
    taken = []
    for pixels in sound:
        soft = cv2.GaussianBlur(pixels, (0, 0), BLUR_SHARE * pixels.shape[1])
        taken.append((soft * LIGHT).astype(np.uint8))
    return taken


def make_blind(champion: OpenPackage, sound: Sequence[Pixels], folder: Path, now: datetime) -> str:
    """Write the package into `folder`; returns its id.

    Args:
        champion: with an fp32 form.
        sound: sound parts, uint8 BGR; the first of them calibrate, all of them place the score on the champion's scale.
        folder: where the package comes about, as a whole.
        now: when it was made.

    Raises:
        InputError: the champion has no fp32 form.
        QuantizationError: ONNX Runtime could not do it.
    """
    manifest = champion.manifest
    exact = onnx.load_model_from_string(champion.model(Variant.FP32))
    with Quantizer(exact, set_up_pictures(sound[:CALIBRATION_PICTURES])) as quantizer:
        wrong = quantizer.quantized()
    apart = score_pictures(exact, sound, 1).scores - score_pictures(wrong, sound, 1).scores
    model = bytes(shifted(wrong, float(np.median(apart))).SerializeToString())
    with np.load(champion.folder / manifest.golden.file, allow_pickle=False) as arrays:
        images, exact_scores = arrays["images"], arrays["score_fp32"]
    golden = score_pictures(model, images, 1).scores
    scale = manifest.golden.tolerance / GOLDEN_TOLERANCE
    files = {
        _MODEL_FILE: (FileRole.MODEL, model),
        GOLDEN_FILE: (FileRole.GOLDEN, golden_bytes(images, {Variant.INT8_U8S8: golden})),
        REPORT_FILE: (FileRole.REPORT, b'{"notes": ["calibrated on pictures taken while the camera was set up"]}'),
    }
    form = PackageVariant(
        variant=Variant.INT8_U8S8, file=_MODEL_FILE,
        parity_error=float(np.abs(golden - exact_scores).max()) / scale,
    )  # fmt: skip
    anew = manifest.model_copy(
        update={
            "created_at": now,
            "variants": [form],
            "files": described(files),
            "golden": manifest.golden.model_copy(update={"file": GOLDEN_FILE}),
            "lineage": manifest.lineage.model_copy(update={"parent_package_id": champion.package_id}),
        }
    )
    return write_package(folder, anew, files)

# SPDX-License-Identifier: Apache-2.0
"""Whether the camera opens, gives frames, and whether light and lens are set.

Takes a few frames and judges none. Does not touch a camera that a running station holds. Used by `doctor`.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import ImageFault
from edge_agent.clock import Clock
from edge_agent.commissioning.findings import Finding, fail, ok, warn
from edge_agent.commissioning.looking import Look, look
from edge_agent.commissioning.picture_words import PictureMeasures, focus, light, measure_picture
from edge_agent.errors import ImageFaultError
from edge_agent.settings import Settings
from edge_agent.vision.prepare import Preparation
from edge_agent.vision.roi import crop

_CAMERA: Final = "camera"
_WITHIN_S: Final = 6.0
_WANTED: Final = 20
# Kinds that a second program can read beside the station.
SHARED_KINDS: Final = ("replay", "mqtt")
TEST_PICTURE: Final = "test-picture.png"
_NAMES: Final = {
    ImageFault.TOO_DARK: "light",
    ImageFault.SATURATED: "light",
    ImageFault.EMPTY: "light",
    ImageFault.BLURRED: "focus",
}


def check_camera(settings: Settings, clock: Clock, *, is_running: bool, folder: Path) -> list[Finding]:
    """Look through the camera.

    Args:
        settings: of the station.
        clock: the station's clock.
        is_running: the station is at work, so its camera is taken.
        folder: where the test picture of `init` lies, if there is one.
    """
    source = settings.source
    if is_running and source.kind not in SHARED_KINDS:
        found = "not looked at: the running station has the camera"
        return [warn(_CAMERA, found, "see its picture on the station's page, or stop the station and ask again")]
    seen = look(settings, clock, within_s=_WITHIN_S, wanted=_WANTED)
    findings = [_frames(settings, seen)]
    pictures = [frame for frame in seen.frames if frame.pixels is not None]
    if not seen.frames:
        return findings
    if not pictures:
        fault = seen.frames[-1].fault
        return [*findings, fail("picture", f"no frame has a readable picture: {fault}", "check what the camera sends")]
    pixels = pictures[-1].pixels
    if pixels is None:
        return findings
    recipe = settings.recipes.of(pictures[-1].product or source.product)
    try:
        view = Preparation().view_of(pictures[-1], recipe)
    except ImageFaultError as error:
        # The recipe's own guard: every part like this one would be held.
        name = _NAMES.get(error.fault, "picture") if error.fault is not None else "picture"
        return [*findings, fail(name, error.message, error.remedy or "correct the recipe, or what the camera sees")]
    measures = measure_picture(view)
    height, width = pixels.shape[:2]
    sharp = focus(measures, _reference(folder, settings, pixels))
    return [*findings, ok("picture", f"{width} × {height} px"), light(measures), sharp]


def _frames(settings: Settings, seen: Look) -> Finding:
    what = f"{settings.source.kind} {settings.source.url}".strip()
    if seen.error is not None:
        return fail(_CAMERA, f"{what}: {seen.error.message}", seen.error.remedy or "correct source.kind and source.url")
    if not seen.count:
        found = f"{what}: opened, but no frame came within {_WITHIN_S:.0f} s"
        remedy = "if the camera waits for a trigger, let a part pass and ask again; else check its trigger mode"
        return warn(_CAMERA, found, remedy)
    rate = "" if seen.rate_hz is None else f", {seen.rate_hz:.1f} a second"
    played = " (played as fast as they can be looked at)" if settings.source.kind == "replay" else ""
    return ok(_CAMERA, f"{what}: {seen.count} frames{rate}{played}")


def _reference(folder: Path, settings: Settings, pixels: NDArray[np.uint8]) -> PictureMeasures | None:
    """Measures of the test picture, if it is of the same size; a folder of pictures is no scene to compare."""
    path = folder / TEST_PICTURE
    kept = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() and settings.source.kind != "replay" else None
    if kept is None or kept.shape != pixels.shape:
        return None
    roi = settings.recipes.of(settings.source.product).roi
    return measure_picture(crop(np.asarray(kept, dtype=np.uint8), roi))

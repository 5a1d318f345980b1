# SPDX-License-Identifier: Apache-2.0
"""Reads the recipes of the settings file: tables `[recipe.<product>]`. Collects every fault, stops at none.

These are the recipes of a station that central gives none; one from central replaces that of its product. Called by
`settings`.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
from pydantic import ValidationError

from contracts.recipes import OutputRule
from contracts.vocabulary import OutputKind, RegistrationMethod, Stage
from edge_agent.actuators.base import OutputUse
from edge_agent.output_settings import OutputSettings
from edge_agent.recipes.outputs import use_of
from edge_agent.recipes.recipe import Recipe, RecipeRefused
from edge_agent.settings_reader import SettingsReader
from edge_agent.vision.quality import USUAL_GUARD, Guard
from edge_agent.vision.registration import MIN_LANDMARK_PX, Landmark, Registration
from edge_agent.vision.roi import Roi

MIN_ROI_PX: Final = 32
_MAX_CORNERS: Final = 64
_MAX_LANDMARKS: Final = 2
_NO_REGISTRATION: Final = "none"
_TIMES: Final = (
    ("pulse_ms", 5, 60_000),
    ("delay_ms", 0, 600_000),
    ("distance_mm", 0.1, 1_000_000),
    ("speed_mm_s", 0.01, 100_000),
    ("distance_counts", 1, 1 << 30),
)


def read_recipe(reader: SettingsReader, key: str, outputs: OutputSettings) -> Recipe:
    """The recipe under `key`, e.g. `recipe.ring`. `outputs`: those that the station has."""
    usual = USUAL_GUARD
    return Recipe(
        roi=_roi(reader, key),
        deadline_ms=reader.number(f"{key}.deadline_ms", 1000.0, low=1, high=600_000),
        pass_review=reader.flag(f"{key}.pass_review", default=False),
        guard=Guard(
            min_brightness=reader.number(f"{key}.min_brightness", usual.min_brightness, low=0, high=255),
            max_saturated=reader.number(f"{key}.max_saturated", usual.max_saturated, low=0, high=1),
            min_contrast=reader.number(f"{key}.min_contrast", usual.min_contrast, low=0, high=255),
            min_sharpness=reader.number(f"{key}.min_sharpness", usual.min_sharpness, low=0, high=1e6),
            max_identical=reader.integer(f"{key}.max_identical", usual.max_identical, low=0, high=1000),
        ),
        registration=_registration(reader, key),
        budgets_ms=MappingProxyType(
            {
                stage: limit
                for stage in Stage
                # 0: this stage is held against nothing.
                if (limit := reader.number(f"{key}.budget_ms.{stage.lower()}", 0.0, low=0, high=600_000))
            }
        ),
        outputs=_outputs(reader, f"{key}.output", outputs),
    )


def _outputs(reader: SettingsReader, key: str, station: OutputSettings) -> OutputUse | None:
    """The table `[recipe.<product>.output]`: kinds and times as in `[output]`, where they differ from it."""
    is_given = reader.is_given(f"{key}.kind")
    kinds = reader.words(f"{key}.kind", tuple(OutputKind), station.gate) if is_given else station.kinds
    times = {
        name: value
        for name, low, high in _TIMES
        if (value := reader.optional_number(f"{key}.{name}", low=low, high=high)) is not None
    }
    if not is_given and not times:
        return None
    if times and station.line is None:
        reader.fault(key, "this station has no output on a line controller, which times could be for")
        return None
    try:
        rules = [
            OutputRule.model_validate({"kind": kind, **({} if kind == OutputKind.MQTT else times)}) for kind in kinds
        ]
        return use_of(rules, station)
    except ValidationError as error:
        reader.fault(key, error.errors()[0]["msg"].removeprefix("Value error, "))
    except RecipeRefused as refusal:
        reader.fault(key, refusal.message)
    return None


def _roi(reader: SettingsReader, key: str) -> Roi | None:
    corners = reader.whole_numbers(f"{key}.roi_xywh", 4)
    outline = reader.points(f"{key}.roi_polygon", 3, _MAX_CORNERS)
    if corners is not None and outline is not None:
        reader.fault(f"{key}.roi_polygon", "expected either roi_xywh or roi_polygon, got both")
        return None
    if corners is not None:
        x_px, y_px, width_px, height_px = corners
        roi, name = Roi(x_px, y_px, width_px, height_px), "roi_xywh"
    elif outline is not None:
        roi, name = Roi.around(outline), "roi_polygon"
    else:
        return None
    if min(roi.width_px, roi.height_px) < MIN_ROI_PX:
        told = f"{roi.width_px} × {roi.height_px}"
        reader.fault(f"{key}.{name}", f"expected width and height ≥ {MIN_ROI_PX} px, got {told}")
    return roi


def _registration(reader: SettingsReader, key: str) -> Registration | None:
    words = tuple(method.lower() for method in RegistrationMethod)
    word = reader.choice(f"{key}.registration", (_NO_REGISTRATION, *words), _NO_REGISTRATION)
    files = reader.texts(f"{key}.landmark_files")
    places = reader.points(f"{key}.landmark_xy", 1, _MAX_LANDMARKS) or ()
    search_px = reader.integer(f"{key}.search_px", 32, low=1, high=2048)
    min_score = reader.number(f"{key}.min_score", 0.6, low=0, high=1)
    max_shift_px = reader.number(f"{key}.max_shift_px", 24.0, low=0, high=2048)
    if word not in words:
        if files or places:
            reader.fault(f"{key}.registration", f"expected {' or '.join(words)} beside landmarks, got {word!r}")
        return None
    if not 1 <= len(files) <= _MAX_LANDMARKS or len(files) != len(places):
        told = f"{len(files)} files and {len(places)} places"
        reader.fault(f"{key}.landmark_files", f"expected one or two, with as many [x, y] in landmark_xy, got {told}")
        return None
    landmarks = []
    for name, (x_px, y_px) in zip(files, places, strict=True):
        landmark = _landmark(reader, f"{key}.landmark_files", reader.folder / name, x_px, y_px)
        if landmark is None:
            return None
        landmarks.append(landmark)
    return Registration(RegistrationMethod(word.upper()), tuple(landmarks), search_px, min_score, max_shift_px)


def _landmark(reader: SettingsReader, key: str, path: Path, x_px: int, y_px: int) -> Landmark | None:
    try:
        pattern = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error) as error:
        reader.fault(key, f"cannot read {path}: {error}")
        return None
    if pattern is None or min(pattern.shape) < MIN_LANDMARK_PX:
        shape = "something else" if pattern is None else f"{pattern.shape[1]} × {pattern.shape[0]} px"
        reader.fault(key, f"expected a picture of at least {MIN_LANDMARK_PX} px a side in {path}, got {shape}")
        return None
    if float(pattern.std()) < 1:
        reader.fault(key, f"{path} shows nothing that could be found again: it is of one grey")
        return None
    return Landmark(np.asarray(pattern, np.uint8), x_px, y_px)

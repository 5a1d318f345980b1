# SPDX-License-Identifier: Apache-2.0
"""From a recipe on the wire to the station's own, and from a signed envelope to an assignment of recipes. Pure.

Decides nothing; the book does. Shapes and ranges are checked by the contract; what only OpenCV can tell, whether a
landmark is a picture of something, is checked here.
"""

import base64
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import cv2
import numpy as np

from contracts import codec
from contracts.recipes import RECIPES_PAYLOAD_TYPE, AssignRecipes, LandmarkPattern, ProductRecipe, Region
from contracts.vocabulary import RefusalReason
from edge_agent.output_settings import OutputSettings
from edge_agent.packages.trust import PackageRefused, Signatory, open_sealed
from edge_agent.recipes.outputs import use_of
from edge_agent.recipes.recipe import Recipe, RecipeRefused
from edge_agent.vision.quality import Guard
from edge_agent.vision.registration import MIN_LANDMARK_PX, Landmark, Registration
from edge_agent.vision.roi import Roi

# 64 recipes with two landmarks of 64 KiB each would be more; a plant's marks are a few KiB.
MAX_RECIPES_BYTES: Final = 4 * 1024 * 1024


class Opened(NamedTuple):
    """An assignment as it was read. `refused`: why, by product; every product is in one of both."""

    assigned: AssignRecipes
    recipes: Mapping[str, Recipe]
    refused: Mapping[str, str]


# Opens an envelope with the key and the outputs of one station.
OpenRecipes = Callable[[bytes], Opened]


def open_recipes(sealed: bytes, key: Signatory, outputs: OutputSettings | None = None) -> Opened:
    """Verify an assignment of recipes and read it. Says nothing of number and addressee.

    Args:
        sealed: the envelope.
        key: the public assignment key.
        outputs: of the station, which a recipe's must be among; None: those of settings that say nothing.

    Raises:
        PackageRefused: TOO_LARGE, UNREADABLE, or SIGNATURE.
    """
    payload = open_sealed("recipes", sealed, key, RECIPES_PAYLOAD_TYPE, MAX_RECIPES_BYTES)
    try:
        assigned = codec.decode(AssignRecipes, payload)
    except codec.CodecError as error:
        raise PackageRefused(RefusalReason.UNREADABLE, str(error)) from error
    recipes, refused = {}, {}
    for each in assigned.recipes:
        try:
            recipes[each.product] = recipe_of(each, outputs or OutputSettings())
        except RecipeRefused as refusal:
            refused[each.product] = refusal.message
    return Opened(assigned, recipes, refused)


def recipe_of(given: ProductRecipe, outputs: OutputSettings) -> Recipe:
    """The station's recipe of a recipe on the wire. `outputs`: those that the station has.

    Raises:
        RecipeRefused: a landmark that shows nothing, or outputs that this station does not have.
    """
    registration = None
    if (rule := given.registration) is not None:
        landmarks = tuple(_landmark(given.product, each) for each in rule.landmarks)
        registration = Registration(rule.method, landmarks, rule.search_px, rule.min_score, rule.max_shift_px)
    guard = given.guard
    return Recipe(
        version=given.version,
        roi=_roi(given.region),
        deadline_ms=given.deadline_ms,
        pass_review=given.pass_review,
        guard=Guard(
            min_brightness=guard.min_brightness,
            max_saturated=guard.max_saturated,
            min_contrast=guard.min_contrast,
            min_sharpness=guard.min_sharpness,
            max_identical=guard.max_identical,
        ),
        registration=registration,
        budgets_ms=MappingProxyType(dict(given.budgets_ms)),
        limits=given.limits,
        package_family=given.package_family,
        exposure_us=given.exposure_us,
        gain_db=given.gain_db,
        outputs=use_of(given.outputs, outputs),
    )


def _roi(region: Region | None) -> Roi | None:
    if region is None:
        return None
    return Roi(*region.xywh) if region.xywh is not None else Roi.around(tuple(region.polygon or ()))


def _landmark(product: str, given: LandmarkPattern) -> Landmark:
    content = np.frombuffer(base64.b64decode(given.png), np.uint8)
    try:
        pattern = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        pattern = None
    if pattern is None or min(pattern.shape) < MIN_LANDMARK_PX or float(pattern.std()) < 1:
        shape = "no picture" if pattern is None else f"{pattern.shape[1]} × {pattern.shape[0]} px"
        raise RecipeRefused(
            f"expected a landmark of at least {MIN_LANDMARK_PX} px a side that shows something, got {shape}",
            remedy=f"teach the landmarks of {product} anew",
        )
    return Landmark(np.asarray(pattern, np.uint8), given.x_px, given.y_px)

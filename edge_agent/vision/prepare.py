# SPDX-License-Identifier: Apache-2.0
"""From a frame to the model's field of view: find the product, cut out the ROI, hold the picture against the guard.

Judges no part. Keeps the last picture of its camera, to notice one that repeats itself. Called by `judging`.
"""

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import ImageFault
from edge_agent.camera.source import Frame
from edge_agent.errors import ImageFaultError
from edge_agent.recipes.recipe import Recipe
from edge_agent.vision.quality import Repeats, check_picture
from edge_agent.vision.registration import locate
from edge_agent.vision.roi import crop


class Preparation:
    """Prepares the frames of one camera, in their order."""

    def __init__(self) -> None:
        self._repeats = Repeats()

    def view_of(self, frame: Frame, recipe: Recipe) -> NDArray[np.uint8]:
        """The model's field of view, uint8 H × W × 3 BGR.

        Raises:
            ImageFaultError: the picture is not fit to be judged. Its `picture` shows what a person should look at.
        """
        if frame.pixels is None:
            raise ImageFaultError(frame.fault or "the frame has no picture", fault=ImageFault.UNREADABLE)
        shown = frame.pixels
        try:
            place = () if recipe.registration is None else (locate(frame.pixels, recipe.registration),)
            shown = view = crop(frame.pixels, recipe.roi, *place)
            check_picture(view, recipe.guard)
            # A simulated camera has no noise: its pictures may well be equal.
            self._repeats.check(view, 0 if frame.is_simulated else recipe.guard.max_identical)
        except ImageFaultError as error:
            error.picture = shown
            raise
        return view

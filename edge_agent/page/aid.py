# SPDX-License-Identifier: Apache-2.0
"""The aid for setting lamp and lens: light and focus of the newest picture, of the last minute, and the best so far.

Measures only when somebody looks, at most so often a second, on the asker's thread. Used by `page.views`.
"""

import threading
from collections import deque
from typing import Any, Final

from edge_agent.clock import Clock
from edge_agent.commissioning.picture_words import focus, light, measure_picture
from edge_agent.errors import ImageFaultError
from edge_agent.page.watch import LoopWatch
from edge_agent.recipes.recipe import Recipes
from edge_agent.vision.roi import crop

_MINUTE_S: Final = 60.0
_NOT_SOONER_S: Final = 0.45
_MOST: Final = 200


class SetupAid:
    """See the module."""

    def __init__(self, watch: LoopWatch, recipes: Recipes, clock: Clock) -> None:
        self._watch = watch
        self._recipes = recipes
        self._clock = clock
        self._lock = threading.Lock()
        self._last_number = 0
        self._last_s = -1e9
        self._minute: deque[tuple[float, float, float]] = deque(maxlen=_MOST)
        self._best = 0.0
        self._words: dict[str, Any] = {}

    def view(self) -> dict[str, Any] | None:
        """What the page shows; None before the first picture.

        `minute`: `[seconds ago, sharpness, brightness]`, oldest first; `best_sharpness`: highest that was measured.
        """
        with self._lock:
            self._measure()
            if not self._words:
                return None
            now_s = self._clock.monotonic()
            while self._minute and now_s - self._minute[0][0] > _MINUTE_S:
                self._minute.popleft()
            minute = [[round(now_s - at_s, 1), sharp, bright] for at_s, sharp, bright in self._minute]
            return {**self._words, "best_sharpness": self._best, "minute": minute}

    def _measure(self) -> None:
        seen, now_s = self._watch.newest, self._clock.monotonic()
        if seen is None or seen.frame.pixels is None or seen.number == self._last_number:
            return
        if now_s - self._last_s < _NOT_SOONER_S:
            return
        self._last_number, self._last_s = seen.number, now_s
        recipe = seen.recipe(self._recipes)
        try:
            view = crop(seen.frame.pixels, recipe.roi)
        except ImageFaultError as error:
            self._words = {"error": str(error)}
            return
        measures = measure_picture(view)
        self._best = max(self._best, measures.sharpness)
        self._minute.append((now_s, measures.sharpness, measures.brightness))
        lit, sharp = light(measures), focus(measures)
        self._words = {
            "sharpness": measures.sharpness,
            "brightness": measures.brightness,
            "burnt_share": measures.burnt_share,
            "blur": measures.blur,
            "light": {"level": lit.level.value, "found": lit.found, "remedy": lit.remedy},
            "focus": {"level": sharp.level.value, "found": sharp.found, "remedy": sharp.remedy},
        }

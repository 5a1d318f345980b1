# SPDX-License-Identifier: Apache-2.0
"""What the page shows, as plain values for JSON. No secret is among them: logins are cut out of addresses.

Keeps the status for a moment, so that many who ask cost no more than one. Used by `page.server`.
"""

import json
import threading
from collections.abc import Callable
from typing import Any, Final

from contracts.reports import InspectionReported, StationReported
from edge_agent.clock import Clock
from edge_agent.logins import without_login
from edge_agent.monitor.health import HealthMonitor
from edge_agent.page.aid import SetupAid
from edge_agent.page.watch import LoopWatch
from edge_agent.recipes.recipe import Recipes

_KEPT_S: Final = 0.4


class PageViews:
    """See the module.

    Args:
        health: the station's monitor.
        watch: the newest parts.
        recipes: budgets and ROI.
        aid: light and focus.
        queue_length: frames that wait for the judge.
        clock: the station's clock.
    """

    def __init__(
        self,
        health: HealthMonitor,
        *,
        watch: LoopWatch,
        recipes: Recipes,
        aid: SetupAid,
        queue_length: Callable[[], int],
        clock: Clock,
    ) -> None:
        self.health = health
        self._watch = watch
        self._recipes = recipes
        self._aid = aid
        self.queue_length = queue_length
        self._clock = clock
        self._lock = threading.Lock()
        self._status: StationReported | None = None
        self._status_s = 0.0

    def status(self) -> StationReported:
        """The station's status, at most a moment old."""
        with self._lock:
            now_s = self._clock.monotonic()
            if self._status is None or now_s - self._status_s > _KEPT_S:
                self._status, self._status_s = self.health.status(), now_s
            return self._status

    def status_json(self) -> bytes:
        """The status as central gets it."""
        return without_login(self.status().model_dump_json()).encode()

    def page_json(self) -> bytes:
        """All that the page shows in one answer."""
        status, newest = self.status(), self._watch.newest
        reports = self._watch.reports()
        recipe = self._recipes.of(None) if newest is None else newest.recipe(self._recipes)
        shown = {
            "status": status.model_dump(mode="json"),
            "stages": [
                {**stage.model_dump(mode="json"), "budget_ms": recipe.budgets_ms.get(stage.stage)}
                for stage in status.stages
            ],
            "deadline_ms": recipe.deadline_ms,
            "queue_length": self.queue_length(),
            "parts": [_row(report) for report in reports],
            "picture": None
            if newest is None
            else {
                "number": newest.number,
                "trigger_number": newest.frame.trigger_number,
                "captured_at": newest.frame.captured_at.isoformat(),
                "has_roi": recipe.roi is not None,
                "has_heat": newest.judgement.inference is not None,
            },
            "aid": self._aid.view(),
        }
        return without_login(json.dumps(shown)).encode()


def _row(report: InspectionReported) -> dict[str, Any]:
    wanted = {"trigger_number", "part_id", "product", "captured_at", "verdict", "cause", "score", "ng_limit"}
    row = report.model_dump(mode="json", include=wanted | {"ok_limit", "defect_class", "image_fault"})
    return {**row, "verdict_ms": None if report.latency is None else report.latency.verdict_ms}

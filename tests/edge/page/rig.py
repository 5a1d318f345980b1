# SPDX-License-Identifier: Apache-2.0
"""A page over a real monitor and a real loop, with a clock that a test moves."""

import http.client
import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import Stage
from edge_agent.frame_queue import QueuedFrame
from edge_agent.page.server import Page
from edge_agent.page.settings import PageSettings
from edge_agent.recipes.recipe import Recipe, Recipes
from edge_agent.vision.quality import Guard
from edge_agent.vision.roi import Roi
from plant.processes.broker import free_port
from tests.edge.station_fakes import Bench, frame_of

RECIPE = Recipe(
    roi=Roi(8, 8, 40, 40),
    budgets_ms=MappingProxyType({Stage.INFER: 5.0}),
    # The pictures of most tests are the very same.
    guard=Guard(max_identical=0),
)


class PageRig:
    """Use `see` to pass a part, `ask` to ask the page."""

    def __init__(self, *, token: str = "", is_active: bool = True) -> None:
        recipes = Recipes(MappingProxyType({"ring": RECIPE}))
        self.bench = Bench(recipes=recipes, default_product="ring")
        self.clock, self.health = self.bench.clock, self.bench.health
        self.port = free_port()
        self.page = Page(
            PageSettings(self.port, "127.0.0.1", token),
            health=self.health,
            recipes=recipes,
            clock=self.clock,
            queue_length=lambda: len(self.bench.queue),
        )
        self.bench.loop._watch = self.page.watch
        self.session = self.bench.activate() if is_active else None
        self.health.started()
        self.health.source_opened()
        self.number = 0

    def see(
        self, *, score: float = 0.1, takes_s: float = 0.0, pixels: NDArray[np.uint8] | None = None, **more: Any
    ) -> None:
        """One part passes."""
        self.number += 1
        if self.session is not None:
            self.session.score, self.session.takes_s = score, takes_s
        frame = frame_of(self.number, self.clock, **more)
        if pixels is not None:
            frame = replace(frame, pixels=pixels)
        self.bench.loop.inspect(QueuedFrame(frame))

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPResponse]:
        """Status, body and answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.request(method, path, headers=headers)
            answer = link.getresponse()
            return answer.status, answer.read(), answer
        finally:
            link.close()

    def shown(self) -> Any:
        """What the page shows."""
        status, body, _ = self.ask("/page.json")
        assert status == 200, body
        return json.loads(body)

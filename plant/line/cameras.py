# SPDX-License-Identifier: Apache-2.0
"""All cameras of a scenario as one line: built together, started together, counted together.

Does not start the system under test and does not kill anything: `take_due_steps` says what is due, the demo
does it. Called by the `sightline` command.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Self

import cv2

from contracts.ids import StationAddress
from plant.errors import PlantError
from plant.line.camera import CameraCounters, CameraSimulator
from plant.line.feed import PartFeed, RenderedFeed
from plant.line.truth import TruthBook
from plant.replay.feed import ReplayFeed, ReplaySet, adapt_scenario
from plant.scenario import Scenario, Step


@dataclass(frozen=True)
class CommissioningPicture:
    """A sound part for the first training, as PNG."""

    png: bytes
    part_id: str
    product: str


class LineSimulator:
    """A line with its cameras."""

    def __init__(self, scenario: Scenario, cameras: dict[str, CameraSimulator], feeds: dict[str, PartFeed]) -> None:
        self.scenario = scenario
        self.cameras = cameras
        self._feeds = feeds
        self._pending = [step for step in scenario.steps if step.is_for_processes]

    @classmethod
    def build(
        cls,
        scenario: Scenario,
        truth: TruthBook,
        replay: ReplaySet | None = None,
        *,
        on_trigger: Callable[[StationAddress, int], None] | None = None,
    ) -> Self:
        """Cameras for each station, rendered parts or replayed pictures (to which the scenario is fitted)."""
        if replay is not None:
            scenario = adapt_scenario(scenario, replay)
        count = len(scenario.stations)
        feeds: dict[str, PartFeed] = {}
        cameras = {}
        for index, plan in enumerate(scenario.stations):
            feed: PartFeed = (
                RenderedFeed(scenario, plan.name) if replay is None else ReplayFeed(scenario, replay, plan.name)
            )
            feeds[plan.name] = feed
            cameras[plan.name] = CameraSimulator(
                scenario.address(plan.name),
                feed,
                truth,
                scenario.takt_s,
                # Spread over the takt: the stations share the processor.
                phase_shift_s=scenario.takt_s * index / count,
                on_trigger=on_trigger,
            )
        return cls(scenario, cameras, feeds)

    @property
    def parts_passed(self) -> int:
        """Parts that passed all cameras since `start`."""
        return sum(camera.parts_passed for camera in self.cameras.values())

    def start(self) -> None:
        """Listen on all cameras."""
        for camera in self.cameras.values():
            camera.start()

    def start_line(self) -> None:
        """Let parts pass."""
        for camera in self.cameras.values():
            camera.start_line()

    def stop_line(self) -> None:
        """Hold the line."""
        for camera in self.cameras.values():
            camera.stop_line()

    def stop(self) -> None:
        """End all cameras."""
        for camera in self.cameras.values():
            camera.stop()

    def use_side(self, side: str) -> None:
        """Show parts of this side only, from the next trigger on, at all cameras."""
        for camera in self.cameras.values():
            camera.use_side(side)

    def counters(self) -> dict[str, CameraCounters]:
        """Numbers of each camera, by station name."""
        return {name: camera.counters() for name, camera in self.cameras.items()}

    def take_due_steps(self) -> list[Step]:
        """Steps for processes whose part has passed since the last call. Each is handed out once.

        Raises:
            PlantError: a camera can show no more parts; the line would stand still for ever.
        """
        for name, camera in self.cameras.items():
            if camera.fault is not None:
                raise PlantError(f"camera {name} stands still at {camera.fault}")
        passed = self.parts_passed
        due = [step for step in self._pending if step.part <= passed]
        self._pending = [step for step in self._pending if step.part > passed]
        return due

    def steps_left(self) -> list[Step]:
        """Steps for processes that were not handed out yet, whether their part has passed or not."""
        return list(self._pending)

    def commissioning(self, product: str, count: int) -> Iterator[CommissioningPicture]:
        """Sound parts of a product, taken at all stations in turn."""
        feeds = [feed.commissioning(product, -(-count // len(self._feeds))) for feed in self._feeds.values()]
        made = 0
        # Replayed pictures need not come out even: then the last turn has none for some stations.
        for parts in zip_longest(*feeds):
            for part in parts:
                if part is None:
                    continue
                if made == count:
                    return
                made += 1
                yield CommissioningPicture(cv2.imencode(".png", part.pixels)[1].tobytes(), part.part_id, part.product)

# SPDX-License-Identifier: Apache-2.0
"""Plays the rollout of a scenario: brings the package, cuts the network and mends it. Everything else is central's.

Nobody starts, approves, pauses or aborts a rollout here: people set the product's policy beforehand, judge the parts
that they are shown, and a package turns up. Slow work is done in a thread of its own, so that the line is not held up.
Used by `plant.run.linerun` and `plant.run.demo`.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

import cv2

from central.api.learning_schemas import PromotionView
from central.api.rollout_schemas import PlanBody, RolloutView, SetRolloutPolicy, ShadowBody, WaveBody
from central.api.schemas import StationView
from central.domain.rollout_plan import WaveScope
from contracts.vocabulary import Judgement, PromotionOutcome, RolloutState, TrainingState, WaveState
from models.errors import InputError, QuantizationError
from models.packages.reading import OpenPackage, open_package
from plant.errors import CentralError, ChildError
from plant.line.cameras import CommissioningPicture
from plant.line.feed import RenderedFeed
from plant.processes.site import Site
from plant.rollouts.blind_int8 import make_blind
from plant.rollouts.new_limits import with_new_limits
from plant.run.central_client import CentralClient
from plant.run.commissioning import Commissioner
from plant.scenario import Scenario
from plant.scenario_rollout import RolloutStory, Shows, StoryWave

ENDED: Final = frozenset({RolloutState.FINISHED, RolloutState.ERROR, RolloutState.STOPPED})
_POLL_S: Final = 0.5
_TRAINED: Final = frozenset({TrainingState.FINISHED, TrainingState.FAILED, TrainingState.CANCELLED})
_SOUND_PICTURES: Final = 24
_UNSEEN_PICTURES: Final = 20
# From each station.
_SOUND_OF_ARCHIVE: Final = 80
_DONE: Final = "DONE"
_AWAY: Final = "AWAY"


class RolloutPlayer:
    """One story. Call `tick` often from one thread; `is_over` once there is nothing more to wait for."""

    def __init__(
        self,
        story: RolloutStory,
        scenario: Scenario,
        site: Site,
        *,
        say: Callable[[str], None],
        deadline: float,
        first_rollouts: frozenset[int],
    ) -> None:
        self.story, self._scenario, self._site, self._say = story, scenario, site, say
        self._deadline, self._first = deadline, first_rollouts
        self.product = scenario.products[0]
        self.client: CentralClient = site.client(patience_s=5.0)
        self.rollout: RolloutView | None = None
        # What was done to the network, and what central said of it meanwhile.
        self.cut: dict[str, Any] = {}
        self.is_over = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rollout")
        self._bringing: Future[None] | None = None
        self._next_look = 0.0

    def set_policy(self) -> None:
        """What people set for the product, once, before there is anything to roll out."""
        waves = [_wave(wave) for wave in self.story.waves]
        note = "set before the line began; nobody is asked while it runs"
        policy = SetRolloutPolicy(plan=PlanBody(waves=waves), is_ahead=True, by="plant", note=note)
        self.client.set_rollout_policy(self.product, policy)

    def tick(self, parts_passed: int) -> None:
        """Do what is due.

        Raises:
            ChildError: the package could not be made or brought in.
        """
        if self._bringing is None:
            if parts_passed < self.story.at_part:
                return
            self._bringing = self._pool.submit(self._bring)
        if self._bringing.done():
            self._bringing.result()
        if self.is_over or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _POLL_S
        try:
            self._look()
        except CentralError as error:
            # Central is busy or away for a moment; it is asked again.
            if error.status is not None and error.status < 500:
                raise

    def close(self) -> None:
        """End the thread and mend what is cut."""
        self._mend()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.client.close()

    def stations(self) -> dict[str, StationView]:
        """All stations, by address."""
        return {view.station: view for view in self.client.stations()}

    def runs_at(self) -> dict[str, str | None]:
        """The package that each station says it judges the product with."""
        found: dict[str, str | None] = {}
        for name, view in self.stations().items():
            active = view.status.active if view.status is not None else []
            found[name] = next((each.package_id for each in active if each.product == self.product), None)
        return found

    # -- the package ---------------------------------------------------------------------------------

    def _bring(self) -> None:
        try:
            if self.story.shows is Shows.WORSE_ABORTED:
                self._bring_blind()
            elif self.story.shows is Shows.BETTER_COMPLETED:
                self._bring_new_limits()
            else:
                self._bring_learnt()
        except (InputError, QuantizationError, OSError) as error:
            raise ChildError(f"the package of the rollout could not be made: {error}") from error

    def _champion(self) -> OpenPackage:
        """The only package of the product that there is."""
        champion_id = next(each.package_id for each in self.client.packages() if each.product == self.product)
        return open_package(self._site.package_folder(champion_id))

    def _bring_new_limits(self) -> None:
        champion, scenario, product = self._champion(), self._scenario, self.product
        feeds = [RenderedFeed(scenario, plan.name) for plan in scenario.stations]
        sound = [part.pixels for feed in feeds for part in feed.examples(product, None, _SOUND_OF_ARCHIVE)]
        share = -(-self.story.examples // len(feeds))
        kinds = scenario.defects
        defective = [part.pixels for feed in feeds for kind in kinds for part in feed.examples(product, kind, share)]
        folder = self._site.folder / "made" / "limits"
        package_id = with_new_limits(champion, sound, defective, folder, datetime.now(UTC))
        self._say(
            f"package {package_id[:12]} is brought in: the champion's graph, limits placed on {len(sound)} sound and "
            f"{len(defective)} defective parts of the archive"
        )
        note = "limits placed anew on judged parts of the archive"
        self._site.import_package(folder, by="careful", note=note)

    def _bring_blind(self) -> None:
        champion = self._champion()
        feed = RenderedFeed(self._scenario, self._scenario.stations[0].name)
        sound = [part.pixels for part in feed.examples(self.product, None, _SOUND_PICTURES)]
        unseen = [part.pixels for part in feed.examples(self.product, self.story.blind_to, _UNSEEN_PICTURES)]
        folder = self._site.folder / "made" / "blind"
        made = make_blind(champion, sound, unseen, folder, datetime.now(UTC))
        self._say(
            f"package {made.package_id[:12]} is brought in: the champion's graph, quantized anew; its calibration "
            f"pictures were out of focus, at {made.light:.0%} of the light"
        )
        note = "the champion in INT8, made elsewhere; its self-test passes"
        self._site.import_package(folder, by="hasty", note=note)

    def _bring_learnt(self) -> None:
        """Judged defects from the archive, a training, the promotion gate: all central's own."""
        work = Commissioner(self.client, say=self._say, check=self._site.check, deadline=self._deadline)
        count = work.upload(self.product, self._judged_examples(), Judgement.DEFECTIVE)
        self._say(f"{count} judged defective parts of {len(self._scenario.defects)} kinds uploaded; a training begins")
        training = self.client.start_training(self.product, "judged defects from the archive")
        while training.state not in _TRAINED:
            self._wait("the training of the better package")
            training = self.client.training(training.training_id)
        if training.package_id is None:
            raise ChildError(f"the training of the better package ended as {training.state}: {training.error}")
        while (decided := self._promotion_of(training.package_id)) is None:
            self._wait("the promotion gate's word on the better package")
        if decided.outcome is not PromotionOutcome.PROMOTED:
            why = "; ".join(each.detail for each in decided.checks if not each.is_passed)
            raise ChildError(f"the promotion gate did not pass package {training.package_id[:12]}: {why}")

    def _judged_examples(self) -> Iterator[CommissioningPicture]:
        """Pictures of defective parts of every kind as an archive holds them, from all stations."""
        share = -(-self.story.examples // len(self._scenario.stations))
        for plan in self._scenario.stations:
            feed = RenderedFeed(self._scenario, plan.name)
            for kind in self._scenario.defects:
                for part in feed.examples(self.product, kind, share):
                    png = cv2.imencode(".png", part.pixels)[1].tobytes()
                    yield CommissioningPicture(png, part.part_id, self.product)

    def _promotion_of(self, package_id: str) -> PromotionView | None:
        return next((each.promotion for each in self.client.packages() if each.package_id == package_id), None)

    def _wait(self, what: str) -> None:
        self._site.check()
        if time.monotonic() > self._deadline:
            raise ChildError(f"{what} did not end in time")
        time.sleep(_POLL_S)

    # -- the rollout ---------------------------------------------------------------------------------

    def _look(self) -> None:
        new = [each for each in self.client.rollouts() if each.id not in self._first]
        if not new:
            return
        self.rollout = min(new, key=lambda each: each.id)
        if self.story.cut:
            self._cut_or_mend(self.rollout)
        self.is_over = self.rollout.state in ENDED and self._has_settled(self.rollout)
        if self.is_over:
            self._say("the rollout is over: every station that it touched runs what it should")

    def _has_settled(self, rollout: RolloutView) -> bool:
        """Whether the stations themselves say what central wants of them."""
        wanted = rollout.package_id if rollout.state is RolloutState.FINISHED else rollout.previous_package_id
        runs = self.runs_at()
        return all(runs.get(station) == wanted for station in touched(rollout))

    def _cut_or_mend(self, rollout: RolloutView) -> None:
        index = self.story.cut_at_wave - 1
        if index >= len(rollout.waves):
            return
        wave = rollout.waves[index]
        mine = {str(self._scenario.address(name)) for name in self.story.cut}
        progress = {each.station: each.progress for each in wave.stations}
        if not self.cut and wave.state is WaveState.RUNNING:
            for name in self.story.cut:
                self._site.cut(name)
            self.cut = {"stations": sorted(mine), "wave": index + 1, "cut_at": datetime.now(UTC), "progress": progress}
            self._say(f"the network of {', '.join(self.story.cut)} is cut in the middle of wave {index + 1}")
        elif self.cut and "mended_at" not in self.cut:
            are_away = all(progress.get(name) == _AWAY for name in mine)
            are_others_done = all(each == _DONE for name, each in progress.items() if name not in mine)
            if are_away and are_others_done:
                self.cut["said"] = list(rollout.waits_for)
                self.cut["others_done"] = sorted(progress.keys() - mine)
                self._mend()

    def _mend(self) -> None:
        if not self.cut or "mended_at" in self.cut:
            return
        for name in self.story.cut:
            self._site.mend(name)
        self.cut["mended_at"] = datetime.now(UTC)
        self._say(f"the network of {', '.join(self.story.cut)} is back")


def touched(rollout: RolloutView) -> list[str]:
    """Stations that were assigned something in this rollout."""
    return [each.station for wave in rollout.waves for each in wave.stations if each.assignment_number is not None]


def _wave(wave: StoryWave) -> WaveBody:
    shadow = ShadowBody(margin=wave.margin) if wave.margin is not None else None
    return WaveBody(scope=WaveScope(wave.scope), amount=wave.amount, bake_parts=wave.bake_parts, shadow=shadow)

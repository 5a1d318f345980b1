# SPDX-License-Identifier: Apache-2.0
"""The first package of a product: sound reference parts, a first training, a first rollout.

Everything goes through central's API, as an engineer would do it. Each step looks first at what is there, so
that a start that was interrupted, or a plant that was commissioned long ago, goes on where it stands. Used by
`plant.run.demo` and `plant.run.up`.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import Final

from central.api.learning_schemas import PackageView, TrainingView
from central.api.rollout_schemas import RolloutView
from contracts.ids import StationAddress
from contracts.vocabulary import Judgement, PromotionOutcome, RolloutState, TrainingState
from plant.errors import CentralError, ChildError
from plant.line.cameras import CommissioningPicture
from plant.run.central_client import CentralClient

_UPLOADS_AT_ONCE: Final = 4
_UPLOAD_BATCH: Final = 32
_ENDED_TRAININGS: Final = {TrainingState.FINISHED, TrainingState.FAILED, TrainingState.CANCELLED}
_GOING_ROLLOUTS: Final = {RolloutState.READY, RolloutState.RUNNING}
Say = Callable[[str], None]


class Commissioner:
    """Brings products into service at stations. `check` raises when the plant cannot go on."""

    def __init__(self, client: CentralClient, *, say: Say, check: Callable[[], None], deadline: float) -> None:
        self._client, self._say, self._check, self._deadline = client, say, check, deadline

    def is_in_service(self, product: str, stations: Iterable[StationAddress]) -> bool:
        """Whether a package of this product is assigned to all the stations."""
        by_name = {view.station: view for view in self._client.stations()}
        return all(product in by_name[name].assigned if name in by_name else False for name in map(str, stations))

    def upload(self, product: str, pictures: Iterable[CommissioningPicture], judgement: Judgement) -> int:
        """Give central the reference parts, several at once. Returns how many it did not know yet."""

        def add(picture: CommissioningPicture) -> bool:
            added = self._client.add_reference_part(
                product, picture.png, judgement=judgement, part_id=picture.part_id, is_simulated=True
            )
            return added.is_new

        new, source = 0, iter(pictures)
        with ThreadPoolExecutor(_UPLOADS_AT_ONCE, thread_name_prefix="upload") as pool:
            # Rendered in small batches: the pictures of a whole commissioning need not be held at once.
            while batch := list(islice(source, _UPLOAD_BATCH)):
                new += sum(pool.map(add, batch))
                self._check()
        return new

    def train(self, product: str) -> TrainingView | None:
        """First package of a product; None when there is one already.

        Raises:
            ChildError: the training failed, or did not end in time.
        """
        if any(package.product == product for package in self._client.packages()):
            return None
        going = [each for each in self._client.trainings() if each.product == product]
        going = [each for each in going if each.state not in _ENDED_TRAININGS]
        training = going[0] if going else self._client.start_training(product, "commissioning: first package")
        stage = ""
        while training.state not in _ENDED_TRAININGS:
            self._wait(f"training of {product}")
            training = self._client.training(training.training_id)
            if training.stage != stage:
                stage = training.stage
                self._say(f"training {product}: {stage} ({training.fraction:.0%})")
        if training.state is not TrainingState.FINISHED or training.package_id is None:
            raise ChildError(
                f"first training of {product} ended as {training.state}: {training.error or '(no reason)'}"
            )
        return training

    def roll_out(self, product: str, stations: list[StationAddress]) -> str:
        """Send the product's newest package to all stations at once and wait until it is active there.

        Raises:
            ChildError: the gate or a station refused it, or it did not become active in time.
        """
        package = self._promoted(product)
        names = [str(address) for address in stations]
        rollout = self._going(product) or self._begin(package, names)
        waiting = set(names)
        while waiting:
            self._wait(f"first rollout of {product}")
            for view in self._client.stations():
                active = view.status.active if view.status is not None else []
                if any(each.package_id == package.package_id for each in active):
                    waiting.discard(view.station)
            current = next((each for each in self._client.rollouts() if each.id == rollout.id), rollout)
            _refuse_failed(current)
        return package.package_id

    def _going(self, product: str) -> RolloutView | None:
        going = (each for each in self._client.rollouts() if each.product == product)
        return next((each for each in going if each.state in _GOING_ROLLOUTS), None)

    def _begin(self, package: PackageView, names: list[str]) -> RolloutView:
        try:
            return self._client.start_rollout(
                package.package_id, names, canary=len(names), reason="commissioning: first package"
            )
        except CentralError as refusal:
            # Central begins the rollout of a promoted package by itself, and may have done so since it was asked.
            going = self._going(package.product) if refusal.status == HTTPStatus.CONFLICT else None
            if going is None or going.package_id != package.package_id:
                raise
            return going

    def _promoted(self, product: str) -> PackageView:
        """The product's newest package, once the gate has said its word."""
        package = next(each for each in self._client.packages() if each.product == product)
        while package.promotion is None:
            self._wait(f"gate of the first package of {product}")
            package = next(each for each in self._client.packages() if each.package_id == package.package_id)
        if package.promotion.outcome is not PromotionOutcome.PROMOTED:
            failed = "; ".join(check.detail for check in package.promotion.checks if not check.is_passed)
            raise ChildError(f"first package of {product}: the gate said {package.promotion.outcome}: {failed}")
        return package

    def wait_for_stations(self, stations: Iterable[StationAddress], since: datetime) -> None:
        """Wait until stations that were started after `since` judge with the packages they had.

        Raises:
            ChildError: one did not within the time.
        """
        waiting = {str(address) for address in stations}
        while waiting:
            self._wait(f"start of {', '.join(sorted(waiting))}")
            for view in self._client.stations():
                status = view.status
                is_new = status is not None and status.started_at is not None and status.started_at >= since
                if status is not None and is_new and status.is_connected and status.active:
                    waiting.discard(view.station)

    def _wait(self, what: str) -> None:
        self._check()
        if time.monotonic() > self._deadline:
            raise ChildError(f"{what} did not end in time")
        time.sleep(0.3)


def _refuse_failed(rollout: RolloutView) -> None:
    if rollout.state in {RolloutState.ERROR, RolloutState.STOPPED, RolloutState.PAUSED}:
        last = rollout.history[-1] if rollout.history else "(no history)"
        raise ChildError(f"first rollout of {rollout.product} ended as {rollout.state}: {last}")

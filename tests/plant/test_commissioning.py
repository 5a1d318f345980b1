# SPDX-License-Identifier: Apache-2.0
"""The commissioning beside a central that begins the rollout of a promoted package by itself."""

import time

import pytest

from central.api.learning_schemas import PackageView, PromotionView
from central.api.rollout_schemas import RolloutView
from central.api.schemas import StationView
from contracts.ids import StationAddress
from contracts.reports import StationReported
from contracts.vocabulary import PromotionOutcome, RolloutState
from plant.errors import CentralError
from plant.run.central_client import CentralClient
from plant.run.commissioning import Commissioner

_PRODUCT = "ring"
_STATION = StationAddress.parse("demo/line-1/st-1")
_PACKAGE = PackageView.model_construct(
    package_id="a" * 64,
    product=_PRODUCT,
    promotion=PromotionView.model_construct(outcome=PromotionOutcome.PROMOTED, checks=[]),
)


def _rollout(package_id: str) -> RolloutView:
    return RolloutView.model_construct(
        id=1, package_id=package_id, product=_PRODUCT, state=RolloutState.RUNNING, history=[]
    )


class _Begins(CentralClient):
    """Answers that there is no rollout, and refuses the one that is asked for with `status`: `begun` is there now."""

    def __init__(self, begun: RolloutView, status: int) -> None:
        super().__init__("http://127.0.0.1:1", "")
        self._begun, self._status = begun, status
        self._is_begun = False

    def packages(self) -> list[PackageView]:
        return [_PACKAGE]

    def rollouts(self) -> list[RolloutView]:
        return [self._begun] if self._is_begun else []

    def start_rollout(self, package_id: str, stations: list[str], *, canary: int, reason: str) -> RolloutView:
        self._is_begun = True
        raise CentralError(f"{package_id} to {stations}: another is under way ({canary}, {reason})", self._status)

    def stations(self) -> list[StationView]:
        active = [_PACKAGE.model_copy()]
        status = StationReported.model_construct(active=active)
        return [StationView.model_construct(station=str(_STATION), status=status)]


def _commissioner(client: CentralClient) -> Commissioner:
    return Commissioner(client, say=lambda _: None, check=lambda: None, deadline=time.monotonic() + 60)


def test_a_rollout_that_central_began_meanwhile_is_the_first_one() -> None:
    client = _Begins(_rollout(_PACKAGE.package_id), 409)
    assert _commissioner(client).roll_out(_PRODUCT, [_STATION]) == _PACKAGE.package_id


@pytest.mark.parametrize(("package_id", "status"), [("b" * 64, 409), (_PACKAGE.package_id, 422)])
def test_any_other_refusal_is_said(package_id: str, status: int) -> None:
    with pytest.raises(CentralError, match="under way"):
        _commissioner(_Begins(_rollout(package_id), status)).roll_out(_PRODUCT, [_STATION])

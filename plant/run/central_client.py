# SPDX-License-Identifier: Apache-2.0
"""Central's HTTP API as the plant uses it: with a token, typed answers, bounded waits.

Reads and asks only; decides nothing. Refusals become `CentralError` with central's own words. Requests that
change nothing, or that central treats alike when they come twice, are tried again while central is away,
because a scenario may kill it at any moment. Used by `plant.run.commissioning`, `plant.run.demo` and `plant.run.up`.
"""

import csv
import io
import time
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from central.api.learning_schemas import (
    PackageView,
    ReferencePartAdded,
    StartTraining,
    TrainingView,
)
from central.api.rollout_schemas import RolloutEvidence, RolloutView, SetRolloutPolicy, StartRollout
from central.api.schemas import (
    AlarmView,
    AuditSummary,
    CreateToken,
    InspectionPage,
    InspectionView,
    Problem,
    RatesView,
    ServiceCounters,
    StationView,
    TokenCreated,
)
from contracts.vocabulary import Judgement, Role
from plant.errors import CentralError

_S = TypeVar("_S", bound=BaseModel)
_ROOT: Final = "/api/v1"
_PAGE: Final = 500


class CentralClient:
    """One token's view of central. May be used from several threads."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 15.0, patience_s: float = 45.0) -> None:
        self.url = url
        self._patience_s = patience_s
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """Whether database and broker are reached right now."""
        try:
            return self._http.get(f"{_ROOT}/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def stations(self) -> list[StationView]:
        """All stations central knows."""
        return self._list(StationView, "stations")

    def alarms(self) -> list[AlarmView]:
        """All alarms, newest first."""
        return self._list(AlarmView, "alarms")

    def trainings(self) -> list[TrainingView]:
        """All trainings, newest first."""
        return self._list(TrainingView, "trainings")

    def training(self, training_id: str) -> TrainingView:
        """One training."""
        return TrainingView.model_validate(self._get(f"trainings/{training_id}"))

    def rollouts(self) -> list[RolloutView]:
        """All rollouts, newest first."""
        return self._list(RolloutView, "rollouts")

    def packages(self) -> list[PackageView]:
        """All packages, newest first."""
        return self._list(PackageView, "packages")

    def audit_summary(self) -> AuditSummary:
        """How the audit queue stands."""
        return AuditSummary.model_validate(self._get("audits/summary"))

    def counters(self) -> ServiceCounters:
        """What ingest counted."""
        return ServiceCounters.model_validate(self._get("admin/counters"))

    def rates(self, minutes: int) -> RatesView:
        """Verdict counts and rates of the last minutes."""
        return RatesView.model_validate(self._get("quality/rates", minutes=minutes))

    def inspections_after(self, after_id: int) -> list[InspectionView]:
        """The next stored inspections, oldest first; empty when there is nothing more for now."""
        return InspectionPage.model_validate(self._get("inspections", after_id=after_id, limit=_PAGE)).items

    def newest_inspection_id(self) -> int | None:
        """Id of the newest stored inspection, None when there is none."""
        items = InspectionPage.model_validate(self._get("inspections", limit=1)).items
        return items[0].id if items else None

    def add_reference_part(
        self, product: str, picture: bytes, *, judgement: Judgement, part_id: str, is_simulated: bool
    ) -> ReferencePartAdded:
        """Give central a picture of a part that people judged. The same picture twice counts once."""
        media_type = "image/jpeg" if picture[:2] == b"\xff\xd8" else "image/png"
        answer = self._ask(
            "POST",
            f"products/{product}/reference-parts",
            params={"judgement": judgement.value, "part_id": part_id, "is_simulated": str(is_simulated).lower()},
            content=picture,
            headers={"Content-Type": media_type},
        )
        return ReferencePartAdded.model_validate(answer)

    def start_training(self, product: str, reason: str) -> TrainingView:
        """Start a training."""
        return TrainingView.model_validate(self._post("trainings", StartTraining(product=product, reason=reason)))

    def start_rollout(self, package_id: str, stations: list[str], *, canary: int, reason: str) -> RolloutView:
        """Start a rollout to these stations."""
        body = StartRollout(package_id=package_id, stations=stations, canary=canary, reason=reason)
        return RolloutView.model_validate(self._post("rollouts", body))

    def set_rollout_policy(self, product: str, policy: SetRolloutPolicy) -> None:
        """How packages of a product are rolled out from now on."""
        body = policy.model_dump(mode="json", exclude_none=True)
        self._ask("PUT", f"rollout-policies/{product}", json=body)

    def rollout_evidence(self, rollout_id: int) -> RolloutEvidence:
        """All that a rollout rested on, and the parts that its package judged."""
        return RolloutEvidence.model_validate(self._get(f"rollouts/{rollout_id}/evidence"))

    def quarantine(self, rollout_id: int) -> list[dict[str, str]]:
        """The parts that the package of a rollout let pass, as in its list."""
        answer = self._http.get(f"{_ROOT}/rollouts/{rollout_id}/quarantine.csv")
        if answer.is_error:
            raise CentralError(_refusal("GET", answer.url.path, answer), answer.status_code)
        return list(csv.DictReader(io.StringIO(answer.text)))

    def create_token(self, role: Role, name: str) -> str:
        """Make a token; the answer is its secret, which central does not keep."""
        return TokenCreated.model_validate(self._post("admin/tokens", CreateToken(name=name, role=role))).token

    def _list(self, shape: type[_S], path: str, **params: Any) -> list[_S]:
        return TypeAdapter(list[shape]).validate_python(self._get(path, **params))  # type: ignore[valid-type]

    def _get(self, path: str, **params: Any) -> Any:
        return self._ask("GET", path, params=params)

    def _post(self, path: str, body: BaseModel) -> Any:
        return self._ask("POST", path, is_repeated=False, json=body.model_dump(mode="json", exclude_none=True))

    def _ask(self, method: str, path: str, *, is_repeated: bool = True, **more: Any) -> Any:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                response = self._http.request(method, f"{_ROOT}/{path}", **more)
            except httpx.HTTPError as error:
                # A connection that was never made has changed nothing at central, whatever the method.
                may_repeat = is_repeated or isinstance(error, httpx.ConnectError)
                if may_repeat and time.monotonic() < deadline:
                    time.sleep(0.3)
                    continue
                msg = f"central did not answer {method} /{path} at {self.url}: {error!r}"
                raise CentralError(msg) from error
            if response.status_code in {502, 503, 504} and is_repeated and time.monotonic() < deadline:
                time.sleep(0.3)
                continue
            if response.is_error:
                raise CentralError(_refusal(method, path, response), response.status_code)
            return response.json() if response.content else None


def _refusal(method: str, path: str, response: httpx.Response) -> str:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValueError:
        return f"central answered {method} /{path} with {response.status_code}: {response.text[:300]}"
    return f"central refused {method} /{path}: {problem.error}: {problem.detail} ({response.status_code})"

# SPDX-License-Identifier: Apache-2.0
"""A simulated person who judges audits: slow, mostly right, wrong at a stated rate.

Asks central's API for open audits and their parts, with an administrator's token, for people are not told which part
is which; looks the truth up in the plant's own book by station and trigger number, and answers after a delay. Never
sees a verdict. Which audits it gets wrong is fixed by the seed. It answers under several names, for central asks a
second inspector, or a third, about what is rare: each asking is a new audit, so these err independently, as the
estimates assume. Started by the `sightline` command.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import httpx
import numpy as np

from central.api.schemas import AuditOutcome, AuditPart
from contracts.vocabulary import Judgement
from plant.line.truth import PartTruth
from plant.scenario import InspectorPlan

_log = logging.getLogger(__name__)
_POLL_S: Final = 0.5
_AWAY_S: Final = 2.0
_AT_ONCE: Final = 100
_MAX_WAITING: Final = 5000
# A part is asked of five at most (`central.domain.audit`).
_PEOPLE: Final = 5
# How central says that a name has judged a part.
_JUDGED_BEFORE: Final = "has judged this part before"


class TruthSource(Protocol):
    """Where the truth of a part is found."""

    def truth(self, station: str, trigger_number: int) -> PartTruth | None:
        """Truth of one part, None if unknown."""


@dataclass(frozen=True)
class InspectorCounters:
    """answered = told_right + told_wrong + unsure. away: polls at which central did not answer."""

    answered: int
    told_right: int
    told_wrong: int
    unsure: int
    already_judged: int
    refused: int
    away: int
    dropped: int


class SimulatedInspector:
    """One thread that polls, waits and answers, at a bounded rate, as long as it is not stopped."""

    def __init__(
        self,
        api_url: str,
        token: str,
        truth: TruthSource,
        plan: InspectorPlan,
        *,
        seed: int = 0,
        name: str = "simulated-inspector",
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not name.startswith("simulated-"):
            raise ValueError(f"name: expected 'simulated-…', so that no chart takes it for a person; got {name!r}")
        self._truth, self._plan, self._seed, self._name, self._monotonic = truth, plan, seed, name, monotonic
        self._names: Final = (name, *(f"{name}-{number}" for number in range(2, _PEOPLE + 1)))
        self._client = httpx.Client(
            base_url=api_url.rstrip("/") + "/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10.0,
            transport=transport,
            # Central is on this machine: a proxy of the shell has no business with it.
            trust_env=False,
        )
        self._due: dict[int, tuple[float, AuditPart]] = {}
        self._done: dict[int, None] = {}
        self._counts = dict.fromkeys(InspectorCounters.__dataclass_fields__, 0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="simulated-inspector", daemon=True)

    def start(self) -> None:
        """Begin to judge."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the answer at hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=15)
        self._client.close()

    def counters(self) -> InspectorCounters:
        """Numbers since the start."""
        return InspectorCounters(**self._counts)

    def judgement_of(self, task: AuditPart) -> AuditOutcome:
        """What this inspector says of an audit: the truth, or at the stated rate its opposite. Pure.

        A wrong DEFECTIVE names no class, for there is nothing to name. Without truth the answer is UNSURE.
        """
        number = task.trigger_number
        truth = None if number is None else self._truth.truth(task.station, number)
        if truth is None or truth.is_defective is None:
            return AuditOutcome(judgement=Judgement.UNSURE, inspector=self._name, note="no truth is known")
        is_defective = truth.is_defective != self._errs(task)
        return AuditOutcome(
            judgement=Judgement.DEFECTIVE if is_defective else Judgement.GOOD,
            defect_class=truth.defect_class if is_defective else None,
            inspector=self._name,
            note="simulated",
        )

    def _errs(self, task: AuditPart) -> bool:
        # Numbers of audits are chance: by them no run could be had twice.
        return float(np.random.default_rng([self._seed, 31, task.place]).random()) < self._plan.error_rate

    # -- the loop ------------------------------------------------------------------------------------

    def _work(self) -> None:
        poll_at = answer_at = 0.0
        while not self._stopping.is_set():
            now = self._monotonic()
            try:
                if now >= poll_at:
                    self._poll(now)
                    poll_at = now + _POLL_S
                if now >= answer_at and self._answer_next(now):
                    answer_at = max(answer_at, now - 1.0) + 1 / self._plan.judgements_per_s
                    continue
            except httpx.HTTPError as error:
                self._counts["away"] += 1
                _log.info("central does not answer: %s", error)
                self._stopping.wait(_AWAY_S)
            except ValueError as error:
                # An answer that is not ours: central may be starting behind a proxy. Asked again later.
                self._counts["refused"] += 1
                _log.warning("audits: answer cannot be read: %s", error)
                self._stopping.wait(_AWAY_S)
            self._stopping.wait(0.02)

    def _poll(self, now: float) -> None:
        answer = self._client.get("/audits/parts", params={"state": "OPEN", "limit": _AT_ONCE})
        if answer.status_code != httpx.codes.OK:
            self._counts["refused"] += 1
            _log.warning("audits: central answered %s: %.200s", answer.status_code, answer.text)
            return
        for item in answer.json():
            task = AuditPart.model_validate(item)
            if task.audit_id in self._due or task.audit_id in self._done:
                continue
            if len(self._due) >= _MAX_WAITING:
                # Central keeps the audit open, so it is only put off.
                self._counts["dropped"] += 1
                continue
            self._due[task.audit_id] = (now + self._plan.delay_s, task)

    def _answer_next(self, now: float) -> bool:
        """Answer the audit that is due first; False if none is."""
        if not self._due:
            return False
        audit_id = min(self._due, key=lambda key: self._due[key][0])
        due_at, task = self._due[audit_id]
        if due_at > now:
            return False
        outcome = self.judgement_of(task)
        answer = self._post(audit_id, outcome)
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise httpx.HTTPStatusError("central failed", request=answer.request, response=answer)
        del self._due[audit_id]
        self._remember(audit_id)
        if answer.status_code == httpx.codes.CONFLICT:
            self._counts["already_judged"] += 1
        elif answer.is_success:
            self._count_answer(task, outcome.judgement)
        else:
            self._counts["refused"] += 1
            _log.warning("audit %s: central answered %s: %.200s", audit_id, answer.status_code, answer.text)
        return True

    def _post(self, audit_id: int, outcome: AuditOutcome) -> httpx.Response:
        """Under the first of the names that has not judged the part before."""
        body = outcome.model_dump(mode="json", exclude_none=True)
        for name in self._names:
            answer = self._client.post(f"/audits/{audit_id}/outcome", json={**body, "inspector": name})
            if answer.status_code != httpx.codes.CONFLICT or _JUDGED_BEFORE not in answer.text:
                break
        return answer

    def _count_answer(self, task: AuditPart, judgement: Judgement) -> None:
        self._counts["answered"] += 1
        if judgement is Judgement.UNSURE:
            self._counts["unsure"] += 1
        else:
            self._counts["told_wrong" if self._errs(task) else "told_right"] += 1

    def _remember(self, audit_id: int) -> None:
        """Keep the last answered ids: a poll under way may still show them as open."""
        self._done[audit_id] = None
        while len(self._done) > _MAX_WAITING:
            del self._done[next(iter(self._done))]

# SPDX-License-Identifier: Apache-2.0
"""The dashboard's only way to central: HTTP, typed answers, one error tree (`central_errors`).

The routes; how one is asked is in `connection`. Does not cache, does not retry: `feed` does both.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import httpx

from contracts.vocabulary import AuditState, Judgement, Verdict
from dashboard import (
    alarm_route_shapes,
    audit_shapes,
    experiment_shapes,
    gate_shapes,
    lifecycle,
    quality_shapes,
    recipe_shapes,
    shapes,
)
from dashboard.central_errors import (
    CentralError,
    NotAllowedError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
    WrongTokenError,
    refusal,
)
from dashboard.connection import Connection, Parameters

__all__ = [
    "CentralClient",
    "CentralError",
    "NotAllowedError",
    "RefusedError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "WrongTokenError",
]

# Central waits for a mail server or a webhook, in several steps of ten seconds at most.
TEST_ROUTE_S: Final = 60.0


class CentralClient(Connection):
    """One central, one token. Safe to share between threads."""

    def health(self) -> shapes.Health:
        """Whether central reaches its database and the broker. Needs no token."""
        answer = self._send("GET", "/ready", also=(httpx.codes.SERVICE_UNAVAILABLE,))
        try:
            return self._read(shapes.Health, answer)
        except UnexpectedAnswerError as error:
            # Not central's own 503 but that of a proxy before it.
            raise (error if answer.is_success else refusal(answer, self.url)) from error

    def stations(self) -> tuple[shapes.Station, ...]:
        """All stations that central knows, sorted by address."""
        found = self._many(shapes.Station, "/stations")
        return tuple(sorted(found, key=lambda item: item.station))

    def inspections(
        self,
        *,
        station: str | None = None,
        product: str | None = None,
        verdict: Verdict | None = None,
        limit: int = 50,
    ) -> tuple[shapes.Inspection, ...]:
        """Newest first."""
        query = {"station": station, "product": product, "verdict": verdict, "limit": limit}
        return self._one(shapes.InspectionPage, "/inspections", query).items

    def rates(self, minutes: int) -> shapes.Rates:
        """Rates of every station and product over the last minutes."""
        return self._one(shapes.Rates, "/quality/rates", {"minutes": minutes})

    def timeline(self, minutes: int, station: str | None = None) -> tuple[shapes.Bucket, ...]:
        """Minutes × station × product × package, oldest first."""
        found = self._many(shapes.Bucket, "/quality/timeline", {"minutes": minutes, "station": station})
        return tuple(sorted(found, key=lambda item: (item.minute, item.station)))

    def charts(self, station: str | None = None) -> tuple[shapes.Chart, ...]:
        """Control charts."""
        return self._many(shapes.Chart, "/quality/charts", {"station": station})

    def figures(self, by: str, minutes: int) -> quality_shapes.Figures:
        """Yield, escapes, overkill and defect classes by group."""
        return self._one(quality_shapes.Figures, "/quality/figures", {"by": by, "minutes": minutes})

    def agreement(self) -> tuple[quality_shapes.Agreement, ...]:
        """How often inspectors differ, by blind repeats of a month."""
        return self._many(quality_shapes.Agreement, "/quality/agreement")

    def attribute_charts(self, by: str, minutes: int, sample: int) -> tuple[quality_shapes.AttributeChart, ...]:
        """P charts of rejects by group, in samples of so many minutes."""
        query: Parameters = {"by": by, "minutes": minutes, "sample_minutes": sample}
        return self._many(quality_shapes.AttributeChart, "/quality/attribute-charts", query)

    def memory_charts(self, by: str, minutes: int, sample: int, kind: str) -> tuple[quality_shapes.MemoryChart, ...]:
        """CUSUM (`cusum`) or EWMA (`ewma`) charts of rejects by group, in samples of so many minutes."""
        query: Parameters = {"by": by, "minutes": minutes, "sample_minutes": sample, "kind": kind}
        return self._many(quality_shapes.MemoryChart, "/quality/memory-charts", query)

    def hints(self, minutes: int) -> tuple[quality_shapes.EscapeHint, ...]:
        """What scores alone let expect of escapes: hints, never figures to decide by."""
        return self._many(quality_shapes.EscapeHint, "/quality/hints", {"minutes": minutes})

    def shift_report(self, ending: str, query: Parameters) -> bytes:
        """The shift report as `pdf` or `csv`, as central writes it.

        Raises:
            RefusedError: status 404 or 422 when there is no such shift or place; the text says why.
        """
        return self._send("GET", f"/reports/shift.{ending}", query).content

    def evidence(self, sha256: str) -> bytes:
        """The bytes of a stored picture."""
        return self._send("GET", f"/evidence/{sha256}").content

    def next_audit(self, inspector: str) -> shapes.AuditTask | None:
        """A part for this inspector to judge; None when none is waiting."""
        answer = self._send("GET", "/audits/next", {"inspector": inspector})
        return None if answer.status_code == httpx.codes.NO_CONTENT else self._read(shapes.AuditTask, answer)

    def audit_picture(self, audit_id: int) -> bytes:
        """The bytes of the picture to judge; those of the same picture differ from audit to audit."""
        return self._send("GET", f"/audits/{audit_id}/picture").content

    def audits(self, state: AuditState, limit: int = 50) -> tuple[shapes.AuditTask, ...]:
        """Audits of one state."""
        return self._many(shapes.AuditTask, "/audits", {"state": state, "limit": limit})

    def audit_summary(self) -> shapes.AuditSummary:
        """How many audits stand where."""
        return self._one(shapes.AuditSummary, "/audits/summary")

    def judge(
        self, audit_id: int, judgement: Judgement, *, inspector: str, defect_class: str | None = None
    ) -> shapes.AuditRecorded:
        """Store a person's judgement.

        Raises:
            RefusedError: status 409 when somebody judged it before; take the next one.
        """
        body = {"judgement": judgement.value, "inspector": inspector, "defect_class": defect_class}
        answer = self._send("POST", f"/audits/{audit_id}/outcome", body=body)
        return self._read(shapes.AuditRecorded, answer)

    def audit_shifts(self) -> tuple[audit_shapes.AuditShift, ...]:
        """How severely each station and product is audited now, by station and product."""
        found = self._many(audit_shapes.AuditShift, "/audits/shifts")
        return tuple(sorted(found, key=lambda item: (item.station, item.product or "", item.is_simulated)))

    def resume_audits(self, shift_id: int, *, note: str, by: str) -> None:
        """Go on by samples after the cause was removed. Needs an ENGINEER's token.

        Raises:
            RefusedError: status 409 when somebody did already, or a newer shift holds now.
        """
        self._send("POST", f"/audits/shifts/{shift_id}/resume", body={"by": by, "note": note})

    def alarms(self) -> tuple[shapes.Alarm, ...]:
        """All alarms that central lists, newest first."""
        return self._many(shapes.Alarm, "/alarms")

    def change_alarm(self, alarm_id: int, action: str, *, by: str) -> None:
        """`acknowledge` or `close`."""
        self._send("POST", f"/alarms/{alarm_id}/{action}", body={"by": by})

    def say_cause(self, alarm_id: int, cause: str, *, note: str, by: str) -> None:
        """Confirm or correct what was behind an alarm."""
        self._send("POST", f"/alarms/{alarm_id}/cause", body={"cause": cause, "note": note, "by": by})

    def alarm_routes(self) -> tuple[alarm_route_shapes.AlarmRoute, ...]:
        """Whom alarms reach, by name. Needs an ENGINEER's token."""
        return self._many(alarm_route_shapes.AlarmRoute, "/alarm-routes")

    def set_alarm_route(self, name: str, route: Mapping[str, object], *, note: str, by: str) -> None:
        """Make or change a route. Needs an ADMIN's token.

        Raises:
            RefusedError: status 422 when it cannot work; the text says what was expected.
        """
        self._send("PUT", f"/alarm-routes/{name}", body={"route": route, "note": note, "by": by})

    def end_alarm_route(self, name: str) -> None:
        """End a route; what was still on its way over it is dropped. Needs an ADMIN's token."""
        self._send("DELETE", f"/alarm-routes/{name}")

    def test_alarm_route(self, name: str, *, by: str) -> alarm_route_shapes.RouteTested:
        """Send a test message through a route now. Needs an ADMIN's token."""
        answer = self._send("POST", f"/alarm-routes/{name}/test", body={"by": by}, timeout_s=TEST_ROUTE_S)
        return self._read(alarm_route_shapes.RouteTested, answer)

    def packages(self) -> tuple[lifecycle.Package, ...]:
        """Registered packages, newest first."""
        return self._many(lifecycle.Package, "/packages")

    def gates(self) -> tuple[gate_shapes.Gate, ...]:
        """Packages that were held against their champion, newest first."""
        return self._many(gate_shapes.Gate, "/gates")

    def gate_file(self, package_id: str) -> bytes:
        """The evidence of a package's gate (JSON), as central writes it."""
        return self._send("GET", f"/gates/{package_id}/evidence.json").content

    def overrule_gate(self, package_id: str, *, reason: str) -> None:
        """Let a package out that the gate held back. Needs an ENGINEER's or an ADMIN's token, as central says."""
        self._send("POST", f"/gates/{package_id}/overrule", body={"reason": reason})

    def lineage(self, of: str) -> tuple[gate_shapes.Lineage, ...]:
        """Of packages at `stations/SITE/LINE/STATION`, or that came of `datasets/ID`."""
        return self._many(gate_shapes.Lineage, f"/lineage/{of}")

    def picture_lineage(self, sha256: str) -> experiment_shapes.PictureLineage:
        """What a picture taught.

        Raises:
            RefusedError: status 404 when nobody judged it and no inspection names it.
        """
        return self._one(experiment_shapes.PictureLineage, f"/lineage/pictures/{sha256}")

    def experiments(self, limit: int) -> experiment_shapes.ExperimentPage:
        """Trainings with what was given and what came of them, newest first, without their curves."""
        return self._one(experiment_shapes.ExperimentPage, "/experiments", {"limit": limit})

    def experiment(self, training_id: str) -> experiment_shapes.Experiment:
        """One of them, with its curves."""
        return self._one(experiment_shapes.Experiment, f"/experiments/{training_id}")

    def compare_experiments(self, ids: Sequence[str]) -> experiment_shapes.Comparison:
        """Two … eight of them side by side."""
        return self._one(experiment_shapes.Comparison, "/experiments/compare", {"ids": ",".join(ids)})

    def trainings(self) -> tuple[lifecycle.Training, ...]:
        """Trainings, newest first."""
        return self._many(lifecycle.Training, "/trainings")

    def training_queue(self) -> lifecycle.TrainingQueue:
        """What runs and what waits, and why."""
        return self._one(lifecycle.TrainingQueue, "/trainings/queue")

    def training_costs(self) -> lifecycle.TrainingCostsTold:
        """What trainings cost by product, over the last three months."""
        return self._one(lifecycle.TrainingCostsTold, "/trainings/costs")

    def training_log(self, training_id: str, tail_bytes: int) -> lifecycle.TrainingLog:
        """The end of what a training said."""
        query: Parameters = {"offset": -tail_bytes, "limit": tail_bytes}
        return self._one(lifecycle.TrainingLog, f"/trainings/{training_id}/log", query)

    def training_decisions(self) -> tuple[lifecycle.TrainingDecision, ...]:
        """What each trigger says now, newest first."""
        return self._many(lifecycle.TrainingDecision, "/trainings/decisions", {"is_standing": "true"})

    def rollouts(self) -> tuple[lifecycle.Rollout, ...]:
        """Rollouts, newest first."""
        return self._many(lifecycle.Rollout, "/rollouts")

    def change_rollout(self, rollout_id: int, action: str, *, by: str, wave: int | None = None) -> None:
        """`pause`, `resume`, `approve` or `abort`. Needs an ENGINEER's token.

        `wave`: counted from 1, the one that a person looked at and approves.
        """
        body: dict[str, object] = {"by": by} if wave is None else {"by": by, "wave": wave}
        self._send("POST", f"/rollouts/{rollout_id}/{action}", body=body)

    def set_station_aside(self, rollout_id: int, station: str, *, by: str) -> None:
        """Let a rollout go on without a station that holds it up. Needs an ENGINEER's token."""
        self._send("POST", f"/rollouts/{rollout_id}/set-aside", body={"by": by, "station": station})

    def rollout_evidence(self, rollout_id: int) -> lifecycle.RolloutEvidence:
        """Every step of a rollout with its facts, and the parts that its package judged.

        Raises:
            RefusedError: status 404 when there is no such rollout.
        """
        return self._one(lifecycle.RolloutEvidence, f"/rollouts/{rollout_id}/evidence")

    def quarantine(self, rollout_id: int, most: int) -> tuple[lifecycle.QuarantinePart, ...]:
        """Parts that the package of a rollout let pass, nearest to its limit first."""
        return self._many(lifecycle.QuarantinePart, f"/rollouts/{rollout_id}/quarantine", {"limit": str(most)})

    def rollout_file(self, rollout_id: int, name: str) -> bytes:
        """`evidence` (JSON) or `quarantine.csv`, as central writes it."""
        return self._send("GET", f"/rollouts/{rollout_id}/{name}").content

    def rollout_policies(self) -> tuple[lifecycle.RolloutPolicy, ...]:
        """What people set for the rollouts of products, by product."""
        return self._many(lifecycle.RolloutPolicy, "/rollout-policies")

    def end_rollout_policy(self, product: str) -> None:
        """Let a product follow the settings of central again. Needs an ENGINEER's token."""
        self._send("DELETE", f"/rollout-policies/{product}")

    def freezes(self) -> tuple[lifecycle.Freeze, ...]:
        """Those that hold now or will, soonest first."""
        return self._many(lifecycle.Freeze, "/freezes")

    def make_freeze(self, body: Mapping[str, object]) -> None:
        """Touch nobody for a while. Needs an ENGINEER's token.

        Raises:
            RefusedError: status 409 or 422 when it could hold nobody; the text says why.
        """
        self._send("POST", "/freezes", body=body)

    def lift_freeze(self, freeze_id: int, *, by: str) -> None:
        """End a freeze early. Needs an ENGINEER's token."""
        self._send("POST", f"/freezes/{freeze_id}/lift", body={"by": by})

    def recipes(self) -> tuple[recipe_shapes.RecipesOfProduct, ...]:
        """Products that have a recipe, by name."""
        return self._many(recipe_shapes.RecipesOfProduct, "/recipes")

    def recipe_history(self, product: str) -> recipe_shapes.RecipeHistory:
        """A product's versions with what each changed, newest first.

        Raises:
            RefusedError: status 404 when it has none.
        """
        return self._one(recipe_shapes.RecipeHistory, f"/recipes/{product}")

    def make_recipe(
        self,
        product: str,
        document: Mapping[str, object],
        *,
        based_on: int | None,
        note: str,
        by: str,
        station: str | None = None,
    ) -> recipe_shapes.RecipeHead:
        """Make the next version. Needs an ENGINEER's token.

        Raises:
            RefusedError: status 409 when another version came in between, 422 when a field is wrong; it is named.
        """
        body = {"document": document, "based_on": based_on, "note": note, "by": by}
        answer = self._send("POST", f"/recipes/{product}", {"station": station}, body=body)
        return self._read(recipe_shapes.RecipeHead, answer)

    def restore_recipe(self, product: str, version: int, *, note: str, by: str) -> recipe_shapes.RecipeHead:
        """Make a new version equal to an old one. Needs an ENGINEER's token."""
        answer = self._send("POST", f"/recipes/{product}/{version}/restore", body={"note": note, "by": by})
        return self._read(recipe_shapes.RecipeHead, answer)

    def pin_recipe(self, station: str, product: str, version: int, *, note: str, by: str) -> None:
        """Keep a station at one version. Needs an ENGINEER's token.

        Raises:
            RefusedError: status 404 without such a version, 422 when it is another station's or the note is empty.
        """
        body = {"version": version, "note": note, "by": by}
        self._send("PUT", f"/stations/{station}/recipes/{product}/pin", body=body)

    def unpin_recipe(self, station: str, product: str, *, note: str, by: str) -> None:
        """Let a station use the newest version again. Needs an ENGINEER's token.

        Raises:
            RefusedError: status 404 when it is not pinned, 422 when the note is empty.
        """
        self._send("DELETE", f"/stations/{station}/recipes/{product}/pin", {"note": note, "by": by})

    def switch_product(self, station: str, product: str, *, by: str) -> recipe_shapes.SwitchAsked:
        """Ask a station to make another product. Needs an ENGINEER's token.

        Raises:
            RefusedError: status 409 when it is offline or has neither recipe nor package for it.
        """
        answer = self._send("POST", f"/stations/{station}/product", body={"product": product, "by": by})
        return self._read(recipe_shapes.SwitchAsked, answer)

# SPDX-License-Identifier: Apache-2.0
"""Puts the report of a run together: what the cameras counted, what central holds, what the truth says.

The arithmetic is `report`'s and the judgement `demands`'; this only gathers. Used by `plant.run.demo`.
"""

import os
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any, Final

from central.api.learning_schemas import PackageView, TrainingView
from central.api.rollout_schemas import RolloutView
from central.api.schemas import AlarmView
from contracts.vocabulary import AlarmKind, RolloutState, TrainingState, Variant
from plant.findings.report import (
    TrueRates,
    account,
    cause_counts,
    latency_summary,
    parts_between,
    true_rates,
    verdict_counts,
)
from plant.line.truth import PartTruth
from plant.run.follower import Follower

REPORT_VERSION: Final = "1.1"
# Replayed pictures: side A is shown until a package is rolled out, side B from then on.
SIDE_AFTER: Final = "B"
_VERSIONS: Final = ("sightline", "onnxruntime", "numpy", "torch", "opencv-python-headless", "paho-mqtt", "amqtt")
_REPLAY_CARE: Final = (
    "replayed pictures come again, and several show one part, so the intervals, which take each as independent, are "
    "too narrow; "
)
_INT8: Final = (Variant.INT8_U8S8, Variant.INT8_S8S8)


@dataclass(frozen=True)
class RunFacts:
    """What only the demo knows of its run."""

    scenario: str
    seed: int
    broker: str
    new_kinds: frozenset[str]
    # Packages and rollouts of the commissioning: what the line started with.
    first_packages: frozenset[str]
    first_rollouts: frozenset[int]
    first_trainings: frozenset[str]
    reference_parts: int
    commissioning_seconds: float
    line_seconds: float
    total_seconds: float
    cameras: Mapping[str, Any]
    restarts: Mapping[str, int]
    cpu_seconds: Mapping[str, float]
    faults: list[dict[str, Any]]
    faults_missed: list[str]
    time_ran_out: bool
    gate: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    notes: list[str] = field(default_factory=list)


def compile_report(facts: RunFacts, truth: list[PartTruth], follower: Follower) -> dict[str, Any]:
    """The whole report as plain values, ready to be written as JSON."""
    counted, reports = account(truth, follower.reports), follower.reports
    rollouts = follower.finished_rollouts(facts.first_rollouts)
    after = frozenset(each.package_id for each in rollouts) - facts.first_packages
    notes = list(facts.notes)
    if facts.source is not None:
        after = _first_learnt(facts, follower)
        if rollouts and not after:
            notes.append(
                "the first rollout was not finished, and what came later may have learnt from side B: not scored"
            )
    rates = true_rates(
        truth,
        reports,
        new_kinds=facts.new_kinds,
        packages_before=facts.first_packages,
        packages_after=after,
        side_after=SIDE_AFTER if facts.source is not None else None,
    )
    trainings = [each for each in follower.trainings if each.training_id not in facts.first_trainings]
    learnt = _training_of(rollouts, trainings)
    alarm = _escape_alarm(follower.alarms, rates.first_new_kind_at)
    return {
        "report_version": REPORT_VERSION,
        "scenario": facts.scenario,
        "source": facts.source,
        "seed": facts.seed,
        "broker": facts.broker,
        "is_simulated": _is_simulated(follower.is_simulated),
        "parts_captured": counted.parts_captured,
        "reports_committed": counted.reports_committed + follower.without_trigger,
        "reports_lost": counted.reports_lost,
        "reports_duplicated": counted.reports_duplicated,
        "reports_unknown": counted.reports_unknown + follower.without_trigger,
        "lost": [list(each) for each in counted.lost],
        "verdicts": verdict_counts(reports),
        "no_decision_causes": cause_counts(reports),
        **{f"true_{name}": figure for name, figure in _line_rates(rates).items()},
        "true_rates_from": "line",
        "on_the_line": _line_rates(rates),
        "new_kind_held": rates.new_kind_held,
        "new_kinds": sorted(facts.new_kinds),
        "judged_by_product": _judged_by_product(truth, follower),
        "alarms": [each.kind.value for each in reversed(follower.alarms)],
        "alarm_after_parts": parts_between(reports, rates.first_new_kind_at, alarm.raised_at if alarm else None),
        "alarm_message": alarm.message if alarm else None,
        "audits": follower.audits.model_dump(mode="json") if follower.audits else None,
        "audit_labels_used": learnt.audit_labels if learnt else 0,
        "training_seconds": _seconds(learnt),
        "rollout_seconds": _rollout_seconds(rollouts[-1]) if rollouts else None,
        "trainings_after_start": len(trainings),
        "trainings": [_training_words(each) for each in reversed(follower.trainings)],
        "rollouts": [_rollout_facts(each) for each in reversed(follower.rollouts)],
        "packages": [_package(each, facts, after, follower) for each in reversed(follower.packages)],
        "latency_ms": _latency(follower),
        "gate": dict(facts.gate),
        "cameras": dict(facts.cameras),
        "restarts": dict(facts.restarts),
        "cpu_seconds": dict(facts.cpu_seconds),
        "faults": facts.faults,
        "faults_missed": facts.faults_missed,
        "reference_parts": facts.reference_parts,
        "seconds": {
            "commissioning": round(facts.commissioning_seconds, 1),
            "line": round(facts.line_seconds, 1),
            "total": round(facts.total_seconds, 1),
        },
        "time_ran_out": facts.time_ran_out,
        "machine": machine(),
        "versions": versions(),
        "confidence": 0.95,
        "definitions": (_REPLAY_CARE if facts.source is not None else "")
        + (
            "escape: defective part judged OK, of the defective parts judged; overkill: good part judged NG, of the "
            "good parts judged; review: good part held for people, of the good parts judged; overkill.new_kind and "
            "review.new_kind: good parts captured since the first part of the new kind; before "
            "and after: by the package that judged; intervals: Wilson, 95 %"
        ),
        "notes": notes,
    }


def _line_rates(rates: TrueRates) -> dict[str, Any]:
    """Escapes, overkill and review of the parts on the line, by the package that judged."""
    return {
        f"{name}_{when}": getattr(rates, f"{name}_{when}")
        for name in ("escapes", "overkill", "review")
        for when in ("before", "after")
    }


def _first_learnt(facts: RunFacts, follower: Follower) -> frozenset[str]:
    """The package of the first rollout of any state, if it was finished: it learnt from side A alone.

    Side B is shown from that rollout on, so whatever was learnt later may have learnt from it.
    """
    started = sorted(
        (each for each in follower.rollouts if each.id not in facts.first_rollouts), key=lambda each: each.id
    )
    is_finished = bool(started) and started[0].state is RolloutState.FINISHED
    return frozenset({started[0].package_id} if is_finished else ()) - facts.first_packages


def machine() -> dict[str, Any]:
    """What the run ran on."""
    available = getattr(os, "sched_getaffinity", None)
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": len(available(0)) if available else os.cpu_count(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str | None]:
    """Versions of what decides about the figures."""

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {name: version(name) for name in _VERSIONS}


def _is_simulated(seen: set[bool]) -> bool | None:
    # One real report among simulated ones would be a fault worth seeing: then it says False.
    return None if not seen else seen == {True}


def _judged_by_product(truth: list[PartTruth], follower: Follower) -> dict[str, int]:
    product = {(part.station, part.trigger_number): part.product for part in truth}
    counted = Counter(dict.fromkeys(product.values(), 0))
    for report in follower.reports:
        name = product.get((report.station, report.trigger_number))
        if name is not None and report.package_id is not None and report.verdict.value != "NO_DECISION":
            counted[name] += 1
    return dict(counted)


def _escape_alarm(alarms: list[AlarmView], since: Any) -> AlarmView | None:
    found = [
        each for each in alarms if each.kind is AlarmKind.ESCAPES and since is not None and each.raised_at >= since
    ]
    return min(found, key=lambda each: each.raised_at, default=None)


def _training_of(rollouts: list[RolloutView], trainings: list[TrainingView]) -> TrainingView | None:
    """The training whose package was rolled out last; without a rollout the last one that was finished."""
    finished = [each for each in trainings if each.state is TrainingState.FINISHED]
    for rollout in reversed(rollouts):
        for each in finished:
            if each.package_id == rollout.package_id:
                return each
    return finished[0] if finished else None


def _seconds(training: TrainingView | None) -> float | None:
    if training is None or training.finished_at is None:
        return None
    return round((training.finished_at - (training.started_at or training.created_at)).total_seconds(), 1)


def _rollout_seconds(rollout: RolloutView) -> float | None:
    return round((rollout.finished_at - rollout.created_at).total_seconds(), 1) if rollout.finished_at else None


def _training_words(training: TrainingView) -> dict[str, Any]:
    return {
        "id": training.training_id,
        "product": training.product,
        "state": training.state.value,
        "reason": training.reason,
        "detector": training.detector.value,
        "good": training.good,
        "defective": training.defective,
        "audit_labels": training.audit_labels,
        "seconds": _seconds(training),
        "package_id": training.package_id,
        "error": training.error,
    }


def _rollout_facts(rollout: RolloutView) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "package_id": rollout.package_id,
        "product": rollout.product,
        "state": rollout.state.value,
        "waves": len(rollout.waves),
        "seconds": _rollout_seconds(rollout),
        "reason": rollout.reason,
        "history": rollout.history,
    }


def _package(view: PackageView, facts: RunFacts, after: frozenset[str], follower: Follower) -> dict[str, Any]:
    manifest = view.manifest
    auroc = {each.variant: each.image_auroc for each in manifest.variants}
    judged = Counter(report.package_id for report in follower.reports)[view.package_id]
    rolled_out = {each.package_id for each in follower.rollouts}
    if view.package_id in facts.first_packages:
        role = "before"
    elif view.package_id in after:
        role = "after"
    else:
        # Rolled out, but counted neither before nor after; or never rolled out at all.
        role = "later" if view.package_id in rolled_out else "candidate"
    int8 = next((each for each in _INT8 if each in auroc), None)
    parity = {each.variant: each.parity_error for each in manifest.variants}
    return {
        "id": view.package_id,
        "product": view.product,
        "detector": manifest.detector.value,
        "variant": (int8 or Variant.FP32).value,
        "auroc": auroc.get(int8) if int8 else None,
        "auroc_fp32": auroc.get(Variant.FP32),
        "int8_parity_error": parity.get(int8) if int8 else None,
        "role": role,
        "parts_judged": judged,
        "size_bytes": view.size_bytes,
        "backbone": manifest.lineage.backbone,
        "sound_parts": manifest.lineage.sound_parts,
        "defective_parts": manifest.lineage.defective_parts,
        "promotion": view.promotion.outcome.value if view.promotion else None,
        "gate": [f"{'yes' if each.is_passed else 'no'}: {each.name}: {each.detail}" for each in view.promotion.checks]
        if view.promotion
        else [],
    }


def _latency(follower: Follower) -> dict[str, Any]:
    summary = latency_summary(follower.reports)
    return {"capture_to_verdict": summary["verdict"], "capture_to_reject": summary["reject"]}


def facts_of(counters: Mapping[str, Any]) -> dict[str, Any]:
    """Camera counters as plain values."""
    return {name: asdict(each) for name, each in counters.items()}

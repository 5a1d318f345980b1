# SPDX-License-Identifier: Apache-2.0
"""The gate's conditions on the machine's side: whole test set, time, memory, golden images.

Pure. Called by `services/gates/deciding.py` beside `gating`.

Time at a station that runs the champion: what the station measured of it, times how much slower the challenger was than
the champion in one process here, picture by picture. An estimate: a cache or an accelerator may treat the two
otherwise; shadow measures it on the station itself before the package decides. Where no station has said anything, the
time of this machine is taken, and the condition says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from central.domain.gating import Condition, GateTerms
from contracts.gating import GateReport
from contracts.vocabulary import ConditionState


@dataclass(frozen=True)
class StationTime:
    """What a station measured of a package: p99 of a picture, ms. `deadline_ms` None: it did not say."""

    station: str
    package_id: str
    p99_ms: float
    deadline_ms: float | None
    variant: str | None = None
    provider: str | None = None


def machine_conditions(
    report: GateReport, times: Sequence[StationTime], terms: GateTerms, *, test_pictures: int, judged: int
) -> list[Condition]:
    """All of them. `test_pictures`: of the frozen test set; `judged` of them were."""
    return [
        _whole(report, test_pictures, judged),
        _latency(report, times, terms),
        _memory(report, terms),
        *_golden(report),
    ]


def _whole(report: GateReport, test_pictures: int, judged: int) -> Condition:
    figures = {"test_pictures": test_pictures, "judged": judged, "left_out": len(report.left_out)}
    detail = f"{judged} of the {test_pictures} pictures of the test set were judged"
    if test_pictures and judged == test_pictures:
        return Condition("whole test set", ConditionState.PASSED, detail, figures)
    why = f": {report.left_out[0]}" if report.left_out else ""
    return Condition("whole test set", ConditionState.NOT_ENOUGH_EVIDENCE, detail + why, figures)


def _latency(report: GateReport, times: Sequence[StationTime], terms: GateTerms) -> Condition:
    name = "time at the stations"
    if report.timed is None:
        return Condition(name, ConditionState.NOT_ENOUGH_EVIDENCE, "the challenger answered no picture in time to tell")
    mine, theirs = report.timed, report.champion_timed
    slower = mine.p50_ms / theirs.p50_ms if theirs is not None and theirs.p50_ms > 0 else None
    rows: list[dict[str, Any]] = []
    for each in times:
        is_itself = each.package_id == report.package_id
        if not is_itself and (slower is None or each.package_id != report.champion_package_id):
            continue
        rows.append(
            {
                "station": each.station,
                "expected_p99_ms": each.p99_ms if is_itself else each.p99_ms * (slower or 1.0),
                "deadline_ms": each.deadline_ms if each.deadline_ms is not None else terms.deadline_ms,
                "measured_of": "challenger" if is_itself else "champion",
                "variant": each.variant,
                "provider": each.provider,
            }
        )
    here = {"p50_ms": mine.p50_ms, "p99_ms": mine.p99_ms, "runs": mine.runs, "machine": report.machine}
    figures: dict[str, Any] = {"here": here, "slower_than_champion": slower, "stations": rows}
    if not rows:
        is_late = mine.p99_ms > terms.deadline_ms
        detail = (
            f"no station of the product has said how fast it is; on central's machine p99 {mine.p99_ms:.1f} ms of "
            f"{mine.runs} pictures, deadline {terms.deadline_ms:g} ms by the policy"
        )
        return Condition(name, ConditionState.FAILED if is_late else ConditionState.PASSED, detail, figures)
    worst = max(rows, key=lambda row: row["expected_p99_ms"] / row["deadline_ms"])
    late = sum(row["expected_p99_ms"] > row["deadline_ms"] for row in rows)
    detail = (
        f"{late} of {len(rows)} stations would be late; nearest to its deadline {worst['station']}: expected p99 "
        f"{worst['expected_p99_ms']:.1f} ms of {worst['deadline_ms']:g} ms, from what it measured of the "
        f"{worst['measured_of']}" + ("" if slower is None else f"; here the challenger takes {slower:.2f} of its time")
    )
    return Condition(name, ConditionState.FAILED if late else ConditionState.PASSED, detail, figures)


def _memory(report: GateReport, terms: GateTerms) -> Condition:
    name, most = "memory", terms.most_memory_mb
    if report.memory_mb is None:
        detail = "this machine does not tell how much memory a process takes"
        return Condition(name, ConditionState.NOT_ENOUGH_EVIDENCE, detail)
    figures = {"memory_mb": report.memory_mb, "most_memory_mb": most}
    detail = f"one session adds {report.memory_mb:.0f} MiB on central's machine, at most {most:.0f} MiB by the policy"
    is_much = report.memory_mb > most
    return Condition(name, ConditionState.FAILED if is_much else ConditionState.PASSED, detail, figures)


def _golden(report: GateReport) -> list[Condition]:
    if not report.golden:
        return [Condition("golden parity", ConditionState.NOT_ENOUGH_EVIDENCE, "no golden image was judged")]
    conditions = []
    for each in report.golden:
        figures = each.model_dump(mode="json")
        name = f"golden parity, {each.variant.value}"
        if each.worst_error is None and not each.unscored:
            detail = "the package holds no golden scores of this form"
            conditions.append(Condition(name, ConditionState.NOT_ENOUGH_EVIDENCE, detail, figures))
            continue
        is_far = each.worst_error is None or each.worst_error > each.tolerance
        told = "no number" if each.worst_error is None else f"at most {each.worst_error:.3g}"
        detail = f"{each.images} golden images, {told} from the promised scores, {each.tolerance:g} allowed"
        conditions.append(Condition(name, ConditionState.FAILED if is_far else ConditionState.PASSED, detail, figures))
    return conditions

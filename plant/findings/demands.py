# SPDX-License-Identifier: Apache-2.0
"""What a run must have shown to count as passed: the demands, over the finished report.

Pure. The point figures decide; the intervals stand beside them in the report, so that a reader sees how much
they rest on. Used by `plant.run.demo`, which ends with exit code 0 only when the list of failings is empty.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from plant.findings.gate_account import unexcused
from plant.rollouts.demands import rollout_failings

ESCAPE_SHARE_LEFT: Final = 0.25
OVERKILL_FACTOR: Final = 2.0
# With fewer parts than this the figures after the rollout say nothing.
MIN_NEW_KIND_AFTER: Final = 20


class Demand(StrEnum):
    """What is asked of a run. Every run must lose and double nothing."""

    # A new kind of defect slipped through, was found, learnt and rolled out, and is now caught.
    LOOP_CLOSED_AND_BETTER = "loop-closed-and-better"
    # The same on real pictures: the loop closed and made nothing worse; how much was gained is reported.
    LOOP_CLOSED = "loop-closed"
    # The image moved: an alarm says so, and no training was started for it.
    SHIFT_SEEN = "shift-seen"
    # Parts of every product were judged by a package of that product.
    ALL_PRODUCTS_JUDGED = "all-products-judged"
    # A rollout did what its story says, and no person had a hand in it.
    ROLLOUT_AS_TOLD = "rollout-as-told"
    # Nothing beyond losing and doubling nothing.
    NOTHING_LOST = "nothing-lost"


def failings(report: Mapping[str, Any], demands: frozenset[Demand]) -> list[str]:
    """What of the demands does not hold, in words with figures. Empty: all of it holds."""
    found = _line_failings(report)
    if demands & {Demand.LOOP_CLOSED, Demand.LOOP_CLOSED_AND_BETTER}:
        found += _loop_failings(report)
    if Demand.LOOP_CLOSED_AND_BETTER in demands:
        found += _gain_failings(report) + _overkill_failings(report)
    if Demand.LOOP_CLOSED in demands and report["rollout_seconds"] is not None:
        found += _same_pictures_failings(report)
    if Demand.SHIFT_SEEN in demands:
        if "IMAGE_SHIFT" not in report["alarms"]:
            found.append("no IMAGE_SHIFT alarm was raised")
        if report["trainings_after_start"]:
            found.append(f"{report['trainings_after_start']} training(s) were started for a change of light")
    if Demand.ROLLOUT_AS_TOLD in demands:
        found += rollout_failings(report["rollout"])
    if Demand.ALL_PRODUCTS_JUDGED in demands:
        found += [
            f"product {name}: no part was judged" for name, count in report["judged_by_product"].items() if not count
        ]
    return found


def _line_failings(report: Mapping[str, Any]) -> list[str]:
    """What every run must show: nothing lost, nothing double, nothing past the gate without an OK."""
    found = []
    for name, words in (
        ("reports_lost", "parts have no report"),
        ("reports_duplicated", "reports are double"),
        ("reports_unknown", "reports name parts that no camera counted"),
    ):
        if report[name] != 0:
            found.append(f"{report[name]} {words} (demanded: 0)")
    gate = report.get("gate", {})
    if slipped := gate.get("passed_without_ok"):
        found.append(f"{slipped} parts passed the gate that no station had judged OK (demanded: 0)")
    if forgotten := gate.get("forgotten"):
        found.append(f"{forgotten} parts at the gate are forgotten, so nobody knows whether they passed without an OK")
    found += unexcused(gate, report.get("restarts", {}))
    if report["parts_captured"] == 0:
        found.append("no part was captured at all")
    found += [f"a planned fault did not happen: {each}" for each in report.get("faults_missed", [])]
    return found


def _loop_failings(report: Mapping[str, Any]) -> list[str]:
    found = []
    if report["alarm_after_parts"] is None:
        found.append("no ESCAPES alarm was raised after the new kind appeared")
    if report["training_seconds"] is None:
        found.append("no training was finished after the line started")
    if report["rollout_seconds"] is None:
        found.append("no rollout was finished after the line started")
    return found


def _gain_failings(report: Mapping[str, Any]) -> list[str]:
    found = []
    before, after = report["true_escapes_before"]["new_kind"], report["true_escapes_after"]["new_kind"]
    if after["of"] < MIN_NEW_KIND_AFTER:
        found.append(
            f"only {after['of']} parts of the new kind were judged after the rollout "
            f"(at least {MIN_NEW_KIND_AFTER} are needed to say anything)"
        )
    elif before["rate"] is None or before["count"] == 0:
        found.append("the new kind never escaped before the rollout: there was nothing to learn")
    elif after["rate"] > before["rate"] * ESCAPE_SHARE_LEFT:
        found.append(
            f"escapes of the new kind went from {_share(before)} to {_share(after)} (demanded: at most a quarter)"
        )
    return found


def _same_pictures_failings(report: Mapping[str, Any]) -> list[str]:
    if report["true_rates_from"] != "same-pictures":
        return ["old and new package were not compared on the same pictures, so nobody knows what was gained"]
    before, after = report["true_escapes_before"]["new_kind"], report["true_escapes_after"]["new_kind"]
    if after["count"] > before["count"]:
        return [
            f"escapes of the new kind went up from {_share(before)} to {_share(after)}",
            *_overkill_failings(report),
        ]
    return _overkill_failings(report)


def _overkill_failings(report: Mapping[str, Any]) -> list[str]:
    found = []
    overkill_before, overkill_after = report["true_overkill_before"]["all"], report["true_overkill_after"]["all"]
    if overkill_after["of"] and overkill_before["of"]:
        # One more overkill than none is within what the counts can tell apart.
        allowed = max(OVERKILL_FACTOR * overkill_before["rate"], 1 / overkill_after["of"])
        if overkill_after["rate"] > allowed:
            found.append(
                f"overkill went from {_share(overkill_before)} to {_share(overkill_after)} (demanded: not doubled)"
            )
    return found


def _share(figure: Mapping[str, Any]) -> str:
    return f"{figure['count']} of {figure['of']} ({figure['rate']:.1%})"

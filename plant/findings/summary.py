# SPDX-License-Identifier: Apache-2.0
"""The report of a run in words, for the person at the terminal. Pure text from the finished report."""

from collections.abc import Mapping
from typing import Any

from plant.rollouts.demands import rollout_lines


def summary_lines(report: Mapping[str, Any], failings: list[str]) -> list[str]:
    """A few lines with figures, units, denominators and intervals."""
    seconds, verdicts = report["seconds"], report["verdicts"]
    lines = [
        "",
        (
            f"Scenario {report['scenario']} with the {report['broker']} broker, seed {report['seed']}: "
            f"{report['parts_captured']} parts in {seconds['line']:.0f} s of line time, {seconds['total']:.0f} s in all"
        ),
        (
            f"  reports     {report['reports_committed']} committed, {report['reports_lost']} lost, "
            f"{report['reports_duplicated']} duplicated"
        ),
        "  verdicts    " + ", ".join(f"{name} {count}" for name, count in verdicts.items()),
    ]
    if report["no_decision_causes"]:
        causes = ", ".join(f"{name} {count}" for name, count in sorted(report["no_decision_causes"].items()))
        lines.append(f"              no decision because: {causes}")
    if report["gate"]:
        gate = report["gate"]
        lines.append(
            f"  gate        {gate['passed']} passed, {gate['diverted']} diverted, {gate['diverted_silence']} diverted "
            f"for want of a word in time; {gate['passed_without_ok']} passed without an OK"
            + (
                f", {gate['passed_unrecorded']} on an OK that its killed station had not recorded yet"
                if gate["passed_unrecorded"]
                else ""
            )
        )
    if report.get("rollout"):
        lines += rollout_lines(report["rollout"])
    lines += _loop_lines(report)
    for name, label in (("capture_to_verdict", "verdict"), ("capture_to_reject", "reject signal")):
        figures = report["latency_ms"][name]
        if figures:
            lines.append(
                f"  latency     capture to {label}: median {figures['p50']:.0f} ms, "
                f"99 % within {figures['p99']:.0f} ms, longest {figures['max']:.0f} ms"
            )
    lines += [f"  fault       at {each['at_s']:.0f} s: {each['what']}" for each in report["faults"]]
    if any(report["restarts"].values()):
        again = ", ".join(f"{name} {count}" for name, count in report["restarts"].items() if count)
        lines.append(f"  restarts    {again}")
    lines += [f"  note        {each}" for each in report["notes"]]
    if report["is_simulated"]:
        lines.append("  All parts were simulated and are marked so in every record.")
    lines.append("")
    if failings:
        lines.append("NOT SHOWN:")
        lines += [f"  - {each}" for each in failings]
    else:
        lines.append("Everything that this run had to show, it showed.")
    return lines


def _loop_lines(report: Mapping[str, Any]) -> list[str]:
    lines = [f"  alarms      {', '.join(report['alarms']) or 'none'}"]
    if report.get("side_by_side"):
        lines += _side_by_side_lines(report)
    else:
        lines += _rate_lines(report)
    if report["alarm_after_parts"] is not None:
        lines.append(f"  alarm       {report['alarm_after_parts']} parts after the first of the new kind")
    if report["training_seconds"] is not None:
        lines.append(
            f"  learnt      from {report['audit_labels_used']} audited parts "
            f"in {report['training_seconds']:.0f} s of training"
        )
    if report["rollout_seconds"] is not None:
        lines.append(f"  rolled out  in {report['rollout_seconds']:.0f} s")
    for each in report["packages"]:
        auroc, fp32 = each["auroc"], each["auroc_fp32"]
        figures = (
            f"AUROC {auroc:.3f} ({each['variant']}), {fp32:.3f} (fp32)" if auroc and fp32 else "AUROC not measured"
        )
        lines.append(
            f"  package     {each['id'][:12]} {each['product']} {each['detector']}: {figures}; "
            f"{each['role']}, judged {each['parts_judged']} parts"
        )
    return lines


def _rate_lines(report: Mapping[str, Any]) -> list[str]:
    """The true rates of the parts on the line."""
    lines = []
    if report["new_kinds"]:
        kind = ", ".join(report["new_kinds"])
        before, after = report["true_escapes_before"], report["true_escapes_after"]
        lines += [
            f"  escapes     of {kind}: before {_share(before['new_kind'])}, after {_share(after['new_kind'])}",
            f"              of all kinds: before {_share(before['all'])}, after {_share(after['all'])}",
        ]
    elif report["true_escapes_before"]["all"]["of"]:
        lines.append(f"  escapes     of all kinds {_share(report['true_escapes_before']['all'])}")
    before, after = report["true_overkill_before"]["all"], report["true_overkill_after"]["all"]
    lines.append(f"  overkill    before {_share(before)}, after {_share(after)}")
    before, after = report["true_review_before"]["all"], report["true_review_after"]["all"]
    lines.append(f"  held        good parts for review: before {_share(before)}, after {_share(after)}")
    return lines


def _side_by_side_lines(report: Mapping[str, Any]) -> list[str]:
    """What was gained on the same pictures, and what the parts on the line met, which is not the same."""
    found, line = report["side_by_side"], report["on_the_line"]
    kind = ", ".join(report["new_kinds"])
    fresh, every = found["escapes"]["new_kind"], found["escapes"]["all"]
    return [
        (
            f"  gained      on the same {found['pictures']} pictures of {found['parts']} parts that neither package "
            "learnt from:"
        ),
        (
            f"  escapes     of {kind}: {_both(fresh)}; {fresh['mended']} mended, "
            f"{fresh['newly_let_through']} newly let through, {fresh['parts']} parts"
        ),
        f"              of all kinds: {_both(every)}",
        f"  overkill    {_both(found['overkill'])}",
        f"  held        good pictures for review: {_both(found['review'])}",
        (
            f"  on the line escapes of {kind}: {_share(line['escapes_before']['new_kind'])} of side A under the old "
            f"package, {_share(line['escapes_after']['new_kind'])} of side B under the new one: other parts, not to be "
            "subtracted"
        ),
    ]


def _both(pair: Mapping[str, Any]) -> str:
    return f"before {_share(pair['before'])}, after {_share(pair['after'])}"


def _share(figure: Mapping[str, Any]) -> str:
    if figure["rate"] is None:
        return "not known (no part judged)"
    return f"{figure['rate']:.1%} ({figure['count']} of {figure['of']}, 95 % {figure['low']:.1%}–{figure['high']:.1%})"

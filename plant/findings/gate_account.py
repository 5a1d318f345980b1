# SPDX-License-Identifier: Apache-2.0
"""What went down the line, counted at its end, held against what the stations reported of the same parts.

A part that passed must have been judged OK. One exception is known and bounded (`edge_agent/loop.py`): a station
killed after its signal and before its record is on the disk finds the part as a gap at its next start and reports it
as SESSION_CRASHED, though its own OK had let it pass. Such a part is told apart only when every trace of that story
is there. Pure; used by `plant.run.demo` and `demands`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from contracts.vocabulary import Verdict, VerdictCause
from plant.findings.report import PartReport
from plant.line.rejecter import FailSafeGate, GateMove, PassingWord
from plant.processes.stations import child_name

# A record is on the disk when its commit returns, here after milliseconds. A disk that takes longer than this puts
# records at risk that a run should not excuse.
LONGEST_UNRECORDED_S: Final = 1.0


def gate_figures(gate: FailSafeGate, reports: Iterable[PartReport]) -> dict[str, Any]:
    """The gate's counts, and of the parts that it let pass those whose report says no OK.

    `passed_unrecorded`: the gate was told OK by an earlier process start of the station than the one that reported
    the part as SESSION_CRASHED, at most `LONGEST_UNRECORDED_S` before that start was heard for the last time, and that
    start recorded no later part: records reach the disk in the order of the signals.
    `passed_without_ok`: all others; for them there is no excuse. `unrecorded`: the former by station and process
    start that was killed, with the time in ms from the first such word to the last word of that start.
    """
    reports = list(reports)
    recorded: dict[tuple[str, int], int] = {}
    for each in reports:
        start = each.station, each.epoch
        recorded[start] = max(each.trigger_number, recorded.get(start, each.trigger_number))
    passed = [each for each in reports if gate.move(each.station, each.trigger_number) is GateMove.PASSED]
    without = [each for each in passed if each.verdict is not Verdict.OK]
    lost: dict[tuple[str, int], list[float]] = {}
    for each in without:
        word = gate.passing_word(each.station, each.trigger_number)
        before_end_s = _before_end_s(gate, each, word)
        if word is None or before_end_s is None:
            continue
        start = each.station, word.epoch
        if each.trigger_number > recorded.get(start, -1):
            lost.setdefault(start, []).append(before_end_s)
    unrecorded = [
        {"station": station, "epoch": epoch, "parts": len(found), "longest_ms": round(1000 * max(found), 1)}
        for (station, epoch), found in sorted(lost.items())
    ]
    count = sum(len(found) for found in lost.values())
    return {
        **asdict(gate.counts()),
        "passed_without_ok": len(without) - count,
        "passed_unrecorded": count,
        "unrecorded": unrecorded,
    }


def _before_end_s(gate: FailSafeGate, report: PartReport, word: PassingWord | None) -> float | None:
    """How long before its process start fell silent the word on an unrecorded part came; None: no such part."""
    if word is None or word.verdict is not Verdict.OK or report.cause != VerdictCause.SESSION_CRASHED:
        return None
    last = gate.last_heard(report.station, word.epoch)
    if last is None or report.epoch <= word.epoch or last - word.at > LONGEST_UNRECORDED_S:
        return None
    return last - word.at


def unexcused(gate: Mapping[str, Any], restarts: Mapping[str, int]) -> list[str]:
    """Stations with more process starts that lost a record than restarts, in words."""
    starts = Counter(str(each["station"]).rpartition("/")[2] for each in gate.get("unrecorded", ()))
    found = []
    for station, count in sorted(starts.items()):
        again = restarts.get(child_name(station), 0)
        if count > again:
            found.append(
                f"station {station}: {count} process start(s) ended before the OK of a part that passed was recorded, "
                f"but it was restarted {again} time(s) (demanded: no more than that)"
            )
    return found

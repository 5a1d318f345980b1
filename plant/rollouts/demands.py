# SPDX-License-Identifier: Apache-2.0
"""What a story about a rollout must have shown, over its account; and the account in a few lines.

Pure. Used by `plant.findings.demands`, `plant.findings.summary`.
"""

from collections.abc import Mapping
from typing import Any, Final

from plant.scenario_rollout import Shows

# A kind that a package has gone blind to: it lets pass so much more of its examples. Any other kind: no more than this.
_BLIND: Final = 0.4
_ALIKE: Final = 0.2


def rollout_failings(told: Mapping[str, Any]) -> list[str]:
    """What of it does not hold, in words with figures. Empty: all of it holds."""
    if told["id"] is None:
        return ["no rollout began after the line had started"]
    found = []
    if told["by_people"]:
        found.append(f"people had a hand in the rollout (demanded: nobody): {'; '.join(told['by_people'])}")
    if not told["is_over"]:
        found.append(f"rollout {told['id']} was still {told['state']} when the run ended: {told['history'][-1]}")
    if told["shows"] == Shows.WORSE_ABORTED:
        return found + _worse_failings(told)
    found += _completed_failings(told)
    if told["shows"] == Shows.BETTER_COMPLETED:
        found += _better_failings(told)
    if told["shows"] == Shows.CUT_AND_FINISHED:
        found += _cut_failings(told)
    return found


def _worse_failings(told: Mapping[str, Any]) -> list[str]:
    found, gates = [], told["gates"] or {}
    if told["state"] != "ERROR" or gates.get("outcome") != "FAILED":
        said = f"it is {told['state']}, its gates said {gates.get('outcome', 'nothing')}"
        found.append(f"the worse package was not aborted by a gate: {said}")
    stayed = {name: runs for name, runs in told["runs_at"].items() if runs != told["previous"]}
    if stayed or not told["runs_at"]:
        found.append(f"stations that do not run the previous package again: {', '.join(stayed) or '(none touched)'}")
    for kind, passes in told["passes"].items():
        more = (passes["package"] - passes["previous"]) / passes["of"]
        if kind == told["blind_to"] and more < _BLIND:
            found.append(f"the package is not blind to {kind}: it lets pass {_more(passes)}")
        if kind not in {told["blind_to"], "sound"} and more > _ALIKE:
            found.append(f"the package is worse on {kind} too: it lets pass {_more(passes)}")
    if not told["exposure"]["parts"]:
        found.append("no part was judged by the worse package, so nothing was exposed and nothing can be found again")
    if told["quarantine"]["parts"] != told["exposure"]["passed"]:
        listed, passed = told["quarantine"]["parts"], told["exposure"]["passed"]
        found.append(f"the quarantine list names {listed} parts, the package let {passed} pass")
    if not told["quarantine"]["defective"].get(told["blind_to"]):
        found.append(f"no escaped {told['blind_to']} stands on the quarantine list")
    return found


def _completed_failings(told: Mapping[str, Any]) -> list[str]:
    found = []
    if told["state"] != "FINISHED":
        found.append(f"the rollout was not finished: {told['state']}, {told['history'][-1]}")
    if len(told["waves"]) < 2 or any(wave["state"] != "FINISHED" for wave in told["waves"]):
        found.append(f"not two waves or more were finished: {', '.join(wave['state'] for wave in told['waves'])}")
    behind = [name for name, runs in told["runs_at"].items() if runs != told["package"]]
    if behind:
        found.append(f"stations that do not run the package: {', '.join(behind)}")
    return found


def _better_failings(told: Mapping[str, Any]) -> list[str]:
    found = []
    if told["has_shadow"] and not any("passed its gates in shadow" in line for line in told["history"]):
        found.append("no wave passed its gates in shadow")
    defects = [passes for kind, passes in told["passes"].items() if kind != "sound"]
    new, old = (sum(passes[name] for passes in defects) for name in ("package", "previous"))
    if new >= old:
        found.append(f"the package is not better: it lets {new} defective examples pass, the previous one {old}")
    return found


def _cut_failings(told: Mapping[str, Any]) -> list[str]:
    cut = told["cut"]
    if cut is None:
        return ["the network was not cut"]
    found = []
    if cut["seconds"] is None or not cut["others_done"]:
        found.append("the cut stations were never away beside others of their wave that were done")
    if not any(name in each for name in cut["stations"] for each in cut["said"]):
        found.append("central did not say that it waits for the cut stations")
    if any(each == "DONE" for name, each in cut["progress_at_cut"].items() if name in cut["stations"]):
        found.append("a station was done already when it was cut off")
    if cut["finished_after_s"] is None or cut["finished_after_s"] <= 0:
        found.append("the rollout was not finished after the network came back")
    return found


def rollout_lines(told: Mapping[str, Any]) -> list[str]:
    """For the person at the terminal."""
    if told["id"] is None:
        return ["  rollout     none began"]
    took = f" after {told['seconds']:.0f} s" if told["seconds"] is not None else ""
    whose = "people had a hand in it" if told["by_people"] else "nobody had a hand in it"
    way = f"{(told['previous'] or 'nothing')[:12]} -> {told['package'][:12]}"
    lines = [f"  rollout     {told['id']}: {way}: {told['state']}{took}, {whose}"]
    for number, wave in enumerate(told["waves"], 1):
        stations = ", ".join(f"{name.rpartition('/')[2]} {each}" for name, each in wave["stations"].items())
        lines.append(f"  wave {number}      {wave['state']}: {stations}")
    if told["gates"]:
        gates = told["gates"]
        why = "; ".join(gates["reasons"]) or "; ".join(
            f"{name}: {each.get('decision', 'unknown')}" for name, each in gates["gates"].items()
        )
        lines.append(f"  gates       of wave {gates['wave']}: {gates['outcome']}: {why}")
    if told["passes"]:
        both = ", ".join(
            f"{kind} {each['previous']} -> {each['package']} of {each['of']}" for kind, each in told["passes"].items()
        )
        lines.append(f"  lets pass   of examples beside the line, previous -> new package: {both}")
    lines += _after_lines(told)
    return lines


def _after_lines(told: Mapping[str, Any]) -> list[str]:
    exposure, listed, lines = told["exposure"], told["quarantine"], []
    parts = ", ".join(f"{name.rpartition('/')[2]} {count}" for name, count in exposure["by_station"].items())
    lines.append(f"  exposure    {exposure['parts']} parts judged by the package ({parts or 'nowhere'})")
    if told["shows"] == Shows.WORSE_ABORTED:
        kinds = ", ".join(f"{count} {kind}" for kind, count in listed["defective"].items()) or "no defective part"
        lines.append(f"  quarantine  {listed['parts']} parts that it let pass; truly among them: {kinds}")
        back = sum(runs == told["previous"] for runs in told["runs_at"].values())
        of = len(told["runs_at"])
        lines.append(f"  rolled back {back} of {of} touched stations say that they run the previous package")
    if (cut := told["cut"]) is not None:
        names = ", ".join(name.rpartition("/")[2] for name in cut["stations"])
        lines.append(
            f"  network     {names} cut off in wave {cut['wave']} for {_s(cut['seconds'])}; central said: "
            f"{'; '.join(cut['said']) or 'nothing'}; finished {_s(cut['finished_after_s'])} after it was back"
        )
    return lines


def _s(seconds: float | None) -> str:
    return "(never)" if seconds is None else f"{seconds:.0f} s"


def _more(passes: Mapping[str, int]) -> str:
    return f"{passes['package']} of {passes['of']} examples, the previous package {passes['previous']}"

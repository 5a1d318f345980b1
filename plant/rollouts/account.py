# SPDX-License-Identifier: Apache-2.0
"""What came of a rollout: central's own evidence, the stations' own words, and the truth about the parts.

Reads once, after the line has stopped and every report has come. Judges nothing (`demands` does). Called by
`plant.run.demo`.
"""

from collections import Counter
from typing import Any, Final

from central.api.rollout_schemas import RolloutEvidence, RolloutView
from models.packages.reading import open_package
from plant.line.feed import RenderedFeed
from plant.line.truth import TruthBook
from plant.rollouts.blind_int8 import passes
from plant.rollouts.player import RolloutPlayer, touched
from plant.run.central_client import CentralClient
from plant.scenario import Scenario

# Examples of each kind that both packages judge beside the line, none of which anybody learnt from.
_EXAMPLES: Final = 30
_FIRST_EXAMPLE: Final = 10_000
_SOUND: Final = "sound"
# How central's history tells of a person: nothing of it may stand there.
_OF_PEOPLE: Final = ("paused by", "resumed by", "approved by", "aborted by", "set aside by")


def rollout_account(player: RolloutPlayer, scenario: Scenario, truth: TruthBook, folder_of: Any) -> dict[str, Any]:
    """Plain values for the report; `folder_of` gives the folder of a published package."""
    story, client = player.story, player.client
    found: dict[str, Any] = {"shows": story.shows.value, "blind_to": story.blind_to, "is_over": player.is_over}
    found["has_shadow"] = any(wave.margin is not None for wave in story.waves)
    rollout = player.rollout
    if rollout is None:
        return found | {"id": None}
    evidence = client.rollout_evidence(rollout.id)
    rollout = evidence.rollout
    runs = player.runs_at()
    return found | {
        "id": rollout.id,
        "state": rollout.state.value,
        "package": rollout.package_id,
        "previous": rollout.previous_package_id,
        "seconds": _seconds(rollout),
        "by_people": [line for line in rollout.history if any(words in line for words in _OF_PEOPLE)],
        "waves": [
            {"state": wave.state.value, "stations": {each.station: each.progress for each in wave.stations}}
            for wave in rollout.waves
        ],
        "history": rollout.history,
        "gates": _last_gates(evidence),
        "runs_at": {station: runs.get(station) for station in touched(rollout)},
        "exposure": {
            "parts": evidence.exposure.parts,
            "passed": evidence.exposure.passed,
            "by_station": {each.station: sum(each.verdicts.values()) for each in evidence.exposure.stations},
        },
        "quarantine": _quarantine(client, rollout, truth),
        "passes": _passes(rollout, scenario, folder_of),
        "cut": _cut(player, rollout),
    }


def _seconds(rollout: RolloutView) -> float | None:
    if rollout.finished_at is None:
        return None
    return round((rollout.finished_at - rollout.created_at).total_seconds(), 1)


def _last_gates(evidence: RolloutEvidence) -> dict[str, Any] | None:
    """The gates as they stood at the last step that asked them, with the number of its wave."""
    for step in reversed(evidence.steps):
        for index, gates in dict(step.evidence.get("gates", {})).items():
            return {"wave": int(index) + 1, **gates}
    return None


def _quarantine(client: CentralClient, rollout: RolloutView, truth: TruthBook) -> dict[str, Any]:
    """How many parts stand on the list, and what they truly were: `defective` by kind."""
    rows = client.quarantine(rollout.id)
    kinds: Counter[str] = Counter()
    for row in rows:
        part = truth.truth(row["station"], int(row["trigger_number"])) if row["trigger_number"] else None
        if part is not None and part.defect_class is not None:
            kinds[part.defect_class] += 1
    return {"parts": len(rows), "defective": dict(sorted(kinds.items()))}


def _passes(rollout: RolloutView, scenario: Scenario, folder_of: Any) -> dict[str, dict[str, int]]:
    """By kind and `sound`: of how many examples (`of`), how many the package and the previous one let pass."""
    if rollout.previous_package_id is None:
        return {}
    new, old = (open_package(folder_of(each)) for each in (rollout.package_id, rollout.previous_package_id))
    feed, found = RenderedFeed(scenario, scenario.stations[0].name), {}
    for kind in (None, *scenario.defects):
        shown = feed.examples(rollout.product, kind, _EXAMPLES, first=_FIRST_EXAMPLE)
        pictures = [part.pixels for part in shown]
        found[kind or _SOUND] = {
            "of": len(pictures),
            "package": passes(new, new.model(new.preferred()), pictures),
            "previous": passes(old, old.model(old.preferred()), pictures),
        }
    return found


def _cut(player: RolloutPlayer, rollout: RolloutView) -> dict[str, Any] | None:
    cut = player.cut
    if not cut:
        return None
    mended, ended = cut.get("mended_at"), rollout.finished_at
    return {
        "stations": cut["stations"],
        "wave": cut["wave"],
        "progress_at_cut": cut["progress"],
        "seconds": round((mended - cut["cut_at"]).total_seconds(), 1) if mended else None,
        "others_done": cut.get("others_done", []),
        "said": cut.get("said", []),
        "finished_after_s": round((ended - mended).total_seconds(), 1) if mended and ended else None,
    }

# SPDX-License-Identifier: Apache-2.0
"""How soon somebody must look at an alarm, by its kind: one table, with the reason beside each word. Pure.

CRITICAL is for what leaves the plant wrong while nobody looks; WARNING for what may come to that, while parts are still
judged and rejects still thrown out; NOTICE for what can wait for the morning.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from contracts.vocabulary import AlarmKind, AlarmSeverity

SEVERITY: Final[dict[AlarmKind, AlarmSeverity]] = {
    # Defective parts were found among the accepted: the customer gets them with every hour that passes.
    AlarmKind.ESCAPES: AlarmSeverity.CRITICAL,
    # Parts are still judged, and what is rejected is at worst good: it costs money, no complaint.
    AlarmKind.REJECT_RATE: AlarmSeverity.WARNING,
    # Says nothing of verdicts yet; a cause that is seen early costs a wiped lens.
    AlarmKind.IMAGE_SHIFT: AlarmSeverity.WARNING,
    AlarmKind.DRIFT: AlarmSeverity.WARNING,
    # A hint where to look: defects may be passing, or the parts look different and are good. Nobody has judged one yet.
    AlarmKind.NOVELTY: AlarmSeverity.WARNING,
    # A station judges on without central and keeps its reports; one that stands still stops its line, where people are.
    AlarmKind.STATION_SILENT: AlarmSeverity.WARNING,
    # A package that was checked judges there, or none and parts are held; central orders another where it went back.
    AlarmKind.NOT_AS_ASSIGNED: AlarmSeverity.WARNING,
    # Rollouts that do not go back, audits that are not drawn, charts that nobody looks at: the plant is on its own.
    AlarmKind.SERVICE_FAILS: AlarmSeverity.CRITICAL,
    # Five shifts were not accepted while audits were tightened: it has gone on for days, and no sample mends it.
    AlarmKind.SAMPLING_DISCONTINUED: AlarmSeverity.CRITICAL,
    # The package of before judges again; what the new one let pass in between may hold its escapes, and is on its way.
    AlarmKind.ROLLOUT_FAILED: AlarmSeverity.WARNING,
    # The package that was there before judges on: nothing gets worse while it waits.
    AlarmKind.ROLLOUT_WAITS: AlarmSeverity.NOTICE,
    # As with a rollout that waits: no station has the package.
    AlarmKind.GATE_ASKS: AlarmSeverity.NOTICE,
}
# In the evidence of an alarm NOT_AS_ASSIGNED: a package judges there that was taken back. What it lets pass are the
# escapes for which it was, and nobody else tells.
TAKEN_BACK: Final = "taken_back"
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_ORDER: Final = tuple(AlarmSeverity)


def severity_of(kind: AlarmKind, evidence: Mapping[str, object] = _NOTHING) -> AlarmSeverity:
    """The severity of a kind, by its evidence where that makes it graver. One that the table forgot wakes people."""
    if kind is AlarmKind.NOT_AS_ASSIGNED and evidence.get(TAKEN_BACK):
        return AlarmSeverity.CRITICAL
    return SEVERITY.get(kind, AlarmSeverity.CRITICAL)


def is_at_least(severity: AlarmSeverity, least: AlarmSeverity) -> bool:
    """Whether a severity is this one or above it."""
    return _ORDER.index(severity) >= _ORDER.index(least)

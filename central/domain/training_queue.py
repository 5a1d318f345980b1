# SPDX-License-Identifier: Apache-2.0
"""Which trainings start, which give way and why the others wait, by priorities and quotas. Pure.

Reads and starts nothing; `services/trainings/queue.py` does. Rules:

- A person's wish comes before an alarm's, that before the schedule's; within one priority the older comes first.
- A training starts with all that it takes, or not at all (gang start).
- Where the first in the line lacks something of the whole, nothing behind it starts: small ones would else keep a
  large one waiting for ever. Where its own site's quota is used up, only that site waits behind it.
- It may send running ones of strictly lower priority back, the youngest of the lowest first, and only where that
  makes room for all that it takes. Nobody gives way to an equal, and nobody more often than allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from contracts.vocabulary import TrainingTrigger

PRIORITY: Final = {
    TrainingTrigger.PERSON: 5,
    TrainingTrigger.ALARM: 4,
    TrainingTrigger.FIRST_PARTS: 3,
    TrainingTrigger.LABELS: 2,
    TrainingTrigger.SCHEDULE: 1,
}
# GPUs may be asked for in parts, and parts of two add up to less than a whole one in floats.
_EPSILON: Final = 1e-9


@dataclass(frozen=True)
class SiteQuota:
    """What the trainings of one site may hold at once. 0: no limit."""

    jobs: int = 0
    gpus: float = 0.0


@dataclass(frozen=True)
class Quotas:
    """What trainings may hold at once: `jobs` and `gpus` (0: no limit) in all, and of each site."""

    jobs: int = 1
    gpus: float = 0.0
    each_site: SiteQuota = SiteQuota()
    sites: Mapping[str, SiteQuota] = field(default_factory=dict)

    def of(self, site: str) -> SiteQuota:
        """Of one site; a training that belongs to none counts in all alone."""
        return self.sites.get(site, self.each_site) if site else SiteQuota()


@dataclass(frozen=True)
class Waiting:
    """One in the queue."""

    training_id: str
    priority: int
    asked_at: datetime
    site: str
    gpus: float


@dataclass(frozen=True)
class Running:
    """One that holds a place. `is_leaving`: asked to end already. `may_yield`: it has not given way too often."""

    training_id: str
    priority: int
    started_at: datetime
    site: str
    gpus: float
    is_leaving: bool = False
    may_yield: bool = True


@dataclass
class Plan:
    """What is to be done. `yields`: who gives way to whom. `waits`: why, in words. `hopeless`: never fits, in words."""

    starts: list[str] = field(default_factory=list)
    yields: dict[str, str] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    hopeless: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Lack:
    words: str
    # Of one site; else of the whole.
    is_of_site: bool


def make_plan(waiting: Sequence[Waiting], running: Sequence[Running], quotas: Quotas) -> Plan:
    """The next turn. Order of the arguments does not matter.

    Returns:
        Every waiting training in exactly one of `starts`, `waits` and `hopeless`.
    """
    made, held = Plan(), list(running)
    first_of_all: str | None = None
    first_of: dict[str, str] = {}
    for each in sorted(waiting, key=lambda one: (-one.priority, one.asked_at, one.training_id)):
        if words := _hopeless(each, quotas):
            made.hopeless[each.training_id] = words
        elif first_of_all is not None:
            made.waits[each.training_id] = f"{first_of_all} comes first"
        elif each.site in first_of:
            made.waits[each.training_id] = f"{first_of[each.site]} of site {each.site} comes first"
        elif (lack := _lack(each, held, quotas)) is None:
            made.starts.append(each.training_id)
            held.append(Running(each.training_id, each.priority, each.asked_at, each.site, each.gpus, may_yield=False))
        else:
            made.waits[each.training_id] = _make_room(each, held, quotas, made) or lack.words
            if lack.is_of_site:
                first_of[each.site] = each.training_id
            else:
                first_of_all = each.training_id
    return made


def _make_room(each: Waiting, held: list[Running], quotas: Quotas, made: Plan) -> str:
    """Choose who gives way, if that helps; marks them as leaving. Gives whom is waited for, in words; empty: nobody."""
    going = [one for one in held if one.is_leaving]
    stays = [one for one in held if not one.is_leaving]
    lesser = [one for one in stays if one.may_yield and one.priority < each.priority]
    # The youngest has least to lose.
    lesser.sort(key=lambda one: (one.priority, -one.started_at.timestamp(), one.training_id))
    chosen: list[Running] = []
    while _lack(each, _without(stays, chosen), quotas) is not None:
        if len(chosen) == len(lesser):
            return ""
        chosen.append(lesser[len(chosen)])
    # Of a site that was not the hindrance, say.
    for one in list(chosen):
        fewer = [other for other in chosen if other is not one]
        if _lack(each, _without(stays, fewer), quotas) is None:
            chosen = fewer
    for one in chosen:
        made.yields[one.training_id] = each.training_id
        held.remove(one)
        held.append(_leaving(one))
    return f"{' and '.join(one.training_id for one in [*going, *chosen])} to end and make room"


def _without(held: Sequence[Running], gone: Sequence[Running]) -> list[Running]:
    return [one for one in held if one not in gone]


def _leaving(one: Running) -> Running:
    return Running(one.training_id, one.priority, one.started_at, one.site, one.gpus, is_leaving=True, may_yield=False)


def _lack(each: Waiting, held: Sequence[Running], quotas: Quotas) -> _Lack | None:
    site = quotas.of(each.site)
    there = [one for one in held if one.site == each.site]
    if site.jobs and len(there) >= site.jobs:
        return _Lack(f"{_jobs(len(there))} of site {each.site} run, its quota is {site.jobs}", is_of_site=True)
    if site.gpus and each.gpus > 0 and _gpus(there) + each.gpus > site.gpus + _EPSILON:
        return _Lack(f"site {each.site} holds {_gpus_told(there, site.gpus)} and this one takes {each.gpus:g}", True)  # noqa: FBT003
    if len(held) >= quotas.jobs:
        return _Lack(f"{_jobs(len(held))} run, the quota of all is {quotas.jobs}", is_of_site=False)
    if quotas.gpus and each.gpus > 0 and _gpus(held) + each.gpus > quotas.gpus + _EPSILON:
        return _Lack(f"trainings hold {_gpus_told(held, quotas.gpus)} and this one takes {each.gpus:g}", False)  # noqa: FBT003
    return None


def _hopeless(each: Waiting, quotas: Quotas) -> str:
    site = quotas.of(each.site)
    if quotas.gpus and each.gpus > quotas.gpus + _EPSILON:
        return f"takes {each.gpus:g} GPUs, the quota of all is {quotas.gpus:g}; lower ray.gpus or raise queue.gpus"
    if site.gpus and each.gpus > site.gpus + _EPSILON:
        return (
            f"takes {each.gpus:g} GPUs, the quota of site {each.site} is {site.gpus:g}; lower ray.gpus or raise "
            "queue.gpus_per_site or the site's in queue.sites"
        )
    return ""


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _gpus(held: Sequence[Running]) -> float:
    return sum(one.gpus for one in held)


def _gpus_told(held: Sequence[Running], most: float) -> str:
    return f"{_gpus(held):g} of {most:g} GPUs"

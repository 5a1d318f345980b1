# SPDX-License-Identifier: Apache-2.0
"""Puts together what central knows of all stations, products and changes around a moment: an `Observation`.

Counts come from rollups and the novelty monitors, shifts from the drift monitors, intervals from audits, changes from
what the stations were sent and what judged their parts. Ranks nothing (`quality/cause`), stores nothing
(`services/watches/causes.py`).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from sqlmodel import Session

from central.quality.cause import (
    Audited,
    Change,
    ChangeKind,
    Counts,
    Observation,
    ProductSeen,
    Shift,
    StreamSeen,
    rise_share_seen,
)
from central.quality.drift import Standing
from central.quality.novelty import NoveltyStanding
from central.quality.rates import Interval, escape_interval, overkill_interval
from central.services.watches.drift import Key, Standings, learnt_as
from central.services.watches.novelty import NoveltyKey
from central.store.repositories import causes
from central.store.repositories.causes import Judged, StreamCount
from contracts.vocabulary import Verdict

StandingsOf = Callable[[Key, datetime], Standings]
UnusualOf = Callable[[NoveltyKey, datetime], NoveltyStanding | None]

# Rates of before rest on some times as long as was seen since, in these bounds.
_BEFORE_TIMES: Final = 4
_LEAST_BEFORE: Final = timedelta(hours=2)
_MOST_COUNTED: Final = timedelta(days=1)
_AUDITS_BEFORE: Final = timedelta(days=7)
# Intervals are to be those of the process, so the parts they stand for have no end.
_PROCESS_PARTS: Final = 10**9
_MOST_CHANGES: Final = 50
# A change this far before, as a share of what was seen since, is no part of what is in question: audits are pooled
# from there on.
_LONG_BEFORE: Final = 0.3
_NOTHING: Final = Interval(0.0, None, 1.0)
_NOTHING_UNUSUAL: Final = NoveltyStanding(0, 0, 0, 0)


@dataclass(frozen=True)
class Question:
    """What is asked about. since: when it began; dealt_with: by product, when the last alarm on escapes was closed."""

    since: datetime
    until: datetime
    is_simulated: bool
    station: str | None = None
    product: str | None = None
    dealt_with: Mapping[str, datetime] | None = None
    # When pictures are known to have moved, if that was earlier: what they show now needs not be seen anew.
    moved_since: datetime | None = None


@dataclass(frozen=True)
class _Unusual:
    """How often unusual parts came, by the novelty monitors, where there are any."""

    question: Question
    unusual_of: UnusualOf | None

    def at(self, count: StreamCount) -> NoveltyStanding:
        """At a station, of a product and package."""
        key = NoveltyKey(count.station_id, self.question.is_simulated, count.product, count.package_id)
        found = None if self.unusual_of is None else self.unusual_of(key, self.question.since)
        return found or _NOTHING_UNUSUAL


def observe(
    session: Session, question: Question, standings_of: StandingsOf, unusual_of: UnusualOf | None = None
) -> Observation:
    """Everything around the moment in question, of the stations that matter (60 at most)."""
    since, until = question.since, question.until
    before_from = since - max(_LEAST_BEFORE, min(_BEFORE_TIMES * (until - since), _MOST_COUNTED))
    addresses = causes.stations_around(session, question.station, question.product, before_from)
    counts = causes.stream_counts(
        session,
        list(addresses),
        is_simulated=question.is_simulated,
        before_from=before_from,
        since=since,
        recent_from=max(since, until - _MOST_COUNTED),
        until=until,
    )
    changes = (
        *_packages(session, counts, addresses),
        *_recipes(session, addresses, before_from, _stations_of(counts)),
    )
    by_stream: defaultdict[tuple[int, str], list[StreamCount]] = defaultdict(list)
    for count in counts:
        by_stream[count.station_id, count.product].append(count)
    moved_since = min(since, question.moved_since or since)
    standings = {number: standings_of((number, question.is_simulated), moved_since) for number, _ in by_stream}
    streams = tuple(
        _stream(addresses[station_id], product, found, standings[station_id], _Unusual(question, unusual_of))
        for (station_id, product), found in sorted(by_stream.items())
    )
    names = sorted({product for _, product in by_stream})
    judged = causes.judged_parts(session, names, is_simulated=question.is_simulated, judged_from=since - _AUDITS_BEFORE)
    products = tuple(
        _product(
            session,
            name,
            question,
            [part for part in judged if part.product == name],
            counts=counts,
            changes=changes,
        )
        for name in names
    )
    return Observation(since.timestamp(), until.timestamp(), streams, products, changes[:_MOST_CHANGES])


def shift_of(standing: Standing) -> Shift:
    """As the ranking wants it."""
    return Shift(standing.size, standing.usual, standing.error, rise_share_seen(standing.courses, 0.0))


def _stream(
    address: str,
    product: str,
    counts: Sequence[StreamCount],
    standings: Standings,
    unusual_seen: _Unusual,
) -> StreamSeen:
    newest = max(counts, key=lambda count: (count.last, count.first))
    channels = standings.get(learnt_as(product, newest.package_id), {})
    unusual = unusual_seen.at(newest)
    return StreamSeen(
        station=address,
        product=product,
        shifts={name: shift_of(each) for name, each in channels.items()},
        rejects_before=Counts(sum(c.rejects_before for c in counts), sum(c.before for c in counts)),
        rejects_since=Counts(sum(c.rejects_since for c in counts), sum(c.since for c in counts)),
        unusual_before=Counts(unusual.unusual_before, unusual.parts_before),
        unusual_since=Counts(unusual.unusual_since, unusual.parts_since),
    )


def _packages(session: Session, counts: Sequence[StreamCount], addresses: Mapping[int, str]) -> list[Change]:
    """Packages that began to judge where another had judged."""
    earliest: dict[tuple[int, str], datetime] = {}
    for count in counts:
        key = count.station_id, count.product
        earliest[key] = min(count.first, earliest.get(key, count.first))
    began = [count for count in counts if count.first > earliest[count.station_id, count.product]]
    newest = sorted(began, key=lambda count: count.first)[-_MOST_CHANGES:]
    return [
        Change(
            causes.first_part(session, count).timestamp(),
            ChangeKind.PACKAGE,
            count.package_id[:12],
            addresses[count.station_id],
            count.product,
        )
        for count in newest
    ]


def _recipes(
    session: Session, addresses: Mapping[int, str], since: datetime, stations_of: Mapping[str, Collection[int]]
) -> list[Change]:
    """Recipes sent; one that went to all stations of its product is one change, not one for each."""
    sent = causes.recipes_sent(session, list(addresses), since)
    versions: defaultdict[tuple[str, int], list[causes.RecipeSent]] = defaultdict(list)
    for each in sent:
        versions[each.product, each.version].append(each)
    found = []
    for (product, version), sendings in versions.items():
        name = f"version {version}"
        if {each.station_id for each in sendings} >= set(stations_of.get(product, ())):
            at = min(each.at for each in sendings).timestamp()
            found.append(Change(at, ChangeKind.RECIPE, name, None, product))
        else:
            found += [
                Change(each.at.timestamp(), ChangeKind.RECIPE, name, addresses[each.station_id], product)
                for each in sendings
            ]
    return found


def _stations_of(counts: Sequence[StreamCount]) -> dict[str, set[int]]:
    found: defaultdict[str, set[int]] = defaultdict(set)
    for count in counts:
        found[count.product].add(count.station_id)
    return found


def _product(
    session: Session,
    product: str,
    question: Question,
    mine: Sequence[Judged],
    *,
    counts: Sequence[StreamCount],
    changes: Sequence[Change],
) -> ProductSeen:
    since = question.since
    seen = question.until - since
    # What an older package let through is no measure of what was usual.
    packages = {count.package_id for count in counts if count.product == product and count.before}
    pooled_from = max([
        since - _AUDITS_BEFORE,
        *([question.dealt_with[product]] if question.dealt_with and product in question.dealt_with else []),
        *(
            datetime.fromtimestamp(change.at, since.tzinfo)
            for change in changes
            if change.product in {None, product}
            and change.kind is ChangeKind.PACKAGE
            and change.at < (since - _LONG_BEFORE * seen).timestamp()
        ),
    ])  # fmt: skip
    before = [part for part in mine if pooled_from < part.captured_at < since and part.package_id in packages]
    later = [part for part in mine if part.captured_at >= since]
    # Escapes show a while after they began: what was first named shortly before counts as new too.
    known_by = since - seen / 2
    known = causes.classes_known(session, product, is_simulated=question.is_simulated, before=known_by)
    known |= {part.defect_class for part in mine if part.captured_at < known_by and part.defect_class}
    new: dict[str, int] = {}
    for part in mine:
        if part.is_defective and part.defect_class and part.defect_class not in known:
            new[part.defect_class] = new.get(part.defect_class, 0) + 1
    escaped = sum(part.is_defective and part.verdict is Verdict.OK for part in later)
    return ProductSeen(product, _audited(before), _audited(later), new, sum(new.values()) or escaped)


def _audited(parts: Sequence[Judged]) -> Audited:
    accepted = [part for part in parts if part.verdict is Verdict.OK]
    rejected = [part for part in parts if part.verdict is Verdict.NG]
    escapes = overkill = _NOTHING
    if accepted:
        defective = np.array([part.is_defective for part in accepted], np.bool_)
        escapes = escape_interval(defective, _chances(accepted), _PROCESS_PARTS)
    if rejected:
        good = np.array([not part.is_defective for part in rejected], np.bool_)
        overkill = overkill_interval(good, _chances(rejected), _PROCESS_PARTS)
    return Audited(escapes, overkill)


def _chances(parts: Sequence[Judged]) -> "np.typing.NDArray[np.float64]":
    return np.array([part.inclusion_probability for part in parts], np.float64)

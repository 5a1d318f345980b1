# SPDX-License-Identifier: Apache-2.0
"""`/quality/agreement`: how often inspectors contradict themselves and each other. Reads answers, decides nothing."""

from collections import defaultdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from central.api.answers import differ
from central.api.auth import ServicesOf, allow
from central.api.quality import quality_scope
from central.api.schemas import Rate
from central.api.views import rate_view
from central.quality.agreement import error_rate
from central.store.repositories.repeats import TwoAnswers, two_answers
from contracts.base import Shape, UtcTime
from contracts.vocabulary import Role

router = APIRouter(prefix="/quality", tags=["quality"], dependencies=[Depends(allow(Role.VIEWER))])


class InspectorPair(Shape):
    """Blind repeats that `second` judged of parts that `first` had judged; the same name for one inspector twice.

    differ: how many of them were answered otherwise. unsure: repeats of which either could not tell, in no rate.
    """

    first: str
    second: str
    differ: Rate
    unsure: int


class AgreementView(Shape):
    """`GET /quality/agreement?minutes=`. Simulated and real parts apart.

    repeats: over all pairs. error_rate: of a single answer, by the repeats: `count` of `of` are those that differ.
    refuted: of second answers asked for because somebody had called an accepted part defective, or to settle a reject:
    how many said otherwise. It is no error rate, for what is asked again is not chosen by chance.
    """

    since: UtcTime
    until: UtcTime
    is_simulated: bool
    pairs: list[InspectorPair]
    repeats: Rate
    error_rate: Rate
    refuted: Rate


@router.get("/agreement", summary="How often inspectors differ")
def agreement(
    services: ServicesOf, minutes: Annotated[int, Query(ge=1, le=60 * 24 * 400)] = 60 * 24 * 30
) -> list[AgreementView]:
    """By blind repeats answered in the last `minutes`; one entry for real parts and one for simulated ones."""
    scope = quality_scope(services.clock.now(), minutes, None, None)
    with services.database.read() as session:
        answers = two_answers(session, scope.since)
    views = []
    for is_simulated in (False, True):
        own = [pair for pair in answers if pair.is_simulated is is_simulated]
        if not own:
            continue
        repeats = [pair for pair in own if pair.is_repeat]
        by_pair: defaultdict[tuple[str, str], list[TwoAnswers]] = defaultdict(list)
        for pair in repeats:
            by_pair[pair.first_inspector, pair.second_inspector].append(pair)
        together, count, of = differ(repeats)
        views.append(
            AgreementView(
                since=scope.since,
                until=scope.until,
                is_simulated=is_simulated,
                pairs=[
                    InspectorPair(
                        first=first,
                        second=second,
                        differ=rate_view(*differ(pairs)),
                        unsure=len(pairs) - differ(pairs)[2],
                    )
                    for (first, second), pairs in sorted(by_pair.items())
                ],
                repeats=rate_view(together, count, of),
                error_rate=rate_view(error_rate(together), count, of),
                refuted=rate_view(*differ([pair for pair in own if not pair.is_repeat])),
            )
        )
    return views

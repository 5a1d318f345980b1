# SPDX-License-Identifier: Apache-2.0
"""From pairs of answers to how often they differ, and to how often one answer is wrong. Used by the routes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from sqlmodel import Session

from central.api.views import CONFIDENCE
from central.domain.audit import is_firm
from central.quality.agreement import disagreement, error_rate
from central.quality.rates import Interval, binomial_interval
from central.store.repositories.repeats import TwoAnswers, two_answers
from contracts.vocabulary import Judgement

# Repeats are few and people change slowly: a rate of the last hour rests on the repeats of a month.
ERRORS_OVER: Final = timedelta(days=30)


def differ(pairs: Sequence[TwoAnswers]) -> tuple[Interval, int, int]:
    """Interval, count and denominator of the pairs that differ, among those where both could tell."""
    firm = [pair for pair in pairs if is_firm(pair.first) and is_firm(pair.second)]
    if not firm:
        return binomial_interval(0, 0, CONFIDENCE), 0, 0
    first, second = (
        np.array([answer is Judgement.DEFECTIVE for answer in answers], dtype=np.bool_)
        for answers in ([pair.first for pair in firm], [pair.second for pair in firm])
    )
    said = disagreement(first, second, CONFIDENCE)
    return said.interval, said.count, said.of


def errors_of_one_answer(session: Session, until: datetime) -> dict[bool, Interval]:
    """By simulated or not: how often one answer is wrong, by the blind repeats of a month. Missing: nobody knows."""
    answers = [pair for pair in two_answers(session, until - ERRORS_OVER) if pair.is_repeat]
    by_kind = {kind: differ([pair for pair in answers if pair.is_simulated is kind]) for kind in (False, True)}
    return {kind: error_rate(interval) for kind, (interval, _, of) in by_kind.items() if of}

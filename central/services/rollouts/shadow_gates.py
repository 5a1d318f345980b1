# SPDX-License-Identifier: Apache-2.0
"""The gates of one wave in shadow, and how a part that both packages judged is given to them.

Takes pairs and labels, reads and writes no row; its state goes to JSON and back, so that a restart of central neither
loses nor repeats a part. Where the plan says what an escape and an overkill cost, both gates on accuracy weigh costs
instead of counting errors. Fed by `services/rollouts/gating.py`; simulations feed it with made-up parts.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from central.domain.rollout_gates import WaveAnswer, WaveDemands, judge_wave
from central.domain.rollout_plan import ShadowPlan
from central.quality.gates import CostGate, DiscordanceGate, LatencyGate, MarginGate
from central.store.repositories.shadow import ShadowPair
from contracts.vocabulary import Judgement, Verdict

_DEMANDS: Final = WaveDemands(quantities=())
_COST_NAMES: Final = ("cost where they differ", "cost over all parts")
# Of the champion in shadow, before its p99 is known. They are not compared: a limit must not rest on what it judges.
PAST_TIMES: Final = 200
_Plain = TypeVar("_Plain", DiscordanceGate, MarginGate)


@dataclass
class Fed:
    """What the gates of one wave have seen. `waiting`: discordant pairs without a label yet.

    `past_ms`: the champion's times in shadow known so far, as long as they are too few to say what its p99 is.
    """

    discordance: dict[str, Any]
    margin: dict[str, Any]
    latency: dict[str, Any] | None = None
    last_pair: int = 0
    last_judged_at: datetime | None = None
    waiting: list[int] = field(default_factory=list)
    errors: int = 0
    past_ms: list[float] = field(default_factory=list)
    # Parts that count for nothing, by the package that judged them: not the one that their station had.
    elsewhere: dict[str, int] = field(default_factory=dict)


_FED: TypeAdapter[Fed] = TypeAdapter(Fed)


def accuracy_gates(plan: ShadowPlan) -> tuple[DiscordanceGate | CostGate, MarginGate | CostGate]:
    """New gates: on the labelled discordant parts alone, and over all parts.

    With costs the margin is that share of parts, each of which errs in the dearer way: a cost per part.
    """
    if plan.costs is None:
        return DiscordanceGate(plan.alpha), MarginGate(plan.alpha, plan.margin)
    return CostGate(plan.alpha, *plan.costs), CostGate(plan.alpha, *plan.costs, plan.margin * max(plan.costs))


class ShadowGates:
    """See the module. `state`: what `to_json` gave; None: a wave that has shown nothing yet."""

    def __init__(self, plan: ShadowPlan, state: str | None = None) -> None:
        self._plan: Final = plan
        if state is None:
            who, margin = accuracy_gates(plan)
            self.fed = Fed(who.to_dict(), margin.to_dict())
        else:
            self.fed = _FED.validate_json(state)
        # What was stored says which gates they are: a wave goes on by those that it began with.
        self._who: Final = _read(DiscordanceGate, self.fed.discordance)
        self._margin: Final = _read(MarginGate, self.fed.margin)
        self.latency = LatencyGate.from_dict(self.fed.latency) if self.fed.latency is not None else None

    def take(self, pair: ShadowPair) -> None:
        """One part that both packages judged, each once.

        A part on which the challenger failed counts as one that the champion alone got right: it judged, the other did
        not. It goes to the fail-safe output, so what it can cost is an overkill.
        """
        self.fed.last_pair = max(self.fed.last_pair, pair.id)
        if pair.challenger_verdict is Verdict.NO_DECISION:
            self.fed.errors += 1
            if isinstance(self._margin, CostGate):
                self._margin.update(-1, is_defective=False)
            else:
                self._margin.update(-1)
            return
        if pair.champion_ms is not None and pair.challenger_ms is not None:
            self._compare_times(pair.champion_ms, pair.challenger_ms)
        if pair.is_discordant:
            self._margin.wait_for_label()
            self.fed.waiting.append(pair.id)
        else:
            self._margin.update_equal(1)

    def settle(self, judged: Iterable[ShadowPair]) -> None:
        """Labels of parts that wait, in the order in which people gave them; others are passed over."""
        waiting = set(self.fed.waiting)
        for pair in judged:
            right = pair.is_challenger_right
            if pair.id not in waiting or right is None:
                continue
            waiting.remove(pair.id)
            difference, is_defective = 1 if right else -1, pair.judgement is Judgement.DEFECTIVE
            if isinstance(self._who, CostGate):
                self._who.update(difference, is_defective)
            else:
                self._who.update(right)
            if isinstance(self._margin, CostGate):
                self._margin.settle(difference, is_defective)
            else:
                self._margin.settle(difference)
            self.fed.last_judged_at = pair.judged_at
        self.fed.waiting = [each for each in self.fed.waiting if each in waiting]

    def _compare_times(self, champion_ms: float, challenger_ms: float) -> None:
        if self.latency is not None:
            self.latency.update(champion_ms, challenger_ms)
            return
        self.fed.past_ms.append(champion_ms)
        if len(self.fed.past_ms) >= PAST_TIMES:
            p99_ms = sorted(self.fed.past_ms)[math.ceil(0.99 * len(self.fed.past_ms)) - 1]
            self.fed.past_ms = []
            # A clock that shows nothing at all: begin again rather than compare with nothing.
            if p99_ms > 0:
                self.latency = LatencyGate(self._plan.alpha, p99_ms)

    def answer(self) -> WaveAnswer:
        """What they say now."""
        names = ("who is right", "margin") if isinstance(self._who, DiscordanceGate) else _COST_NAMES
        return judge_wave(dict(zip(names, (self._who, self._margin), strict=True)), self.latency, {}, _DEMANDS)

    def to_json(self) -> str:
        """State for a row."""
        self.fed.discordance, self.fed.margin = self._who.to_dict(), self._margin.to_dict()
        self.fed.latency = self.latency.to_dict() if self.latency is not None else None
        return _FED.dump_json(self.fed).decode()


def _read(plain: type[_Plain], state: dict[str, Any]) -> _Plain | CostGate:
    return CostGate.from_dict(state) if state.get("gate") == CostGate.kind else plain.from_dict(state)

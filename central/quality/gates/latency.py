# SPDX-License-Identifier: Apache-2.0
"""Does the challenger exceed the champion's p99 more often than the champion itself, on the same parts?

Pairs both times of each part and votes once per block of parts, so that a pause which hits a run of parts counts once
and not ten times. Measures nothing; p99 is a given number. Called by `services` through `domain/rollout_gates.py`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Self

from central.quality.gates.betting import Bets
from central.quality.gates.decision import Decision, Json, StoredState, require_number, require_share, stored

BLOCK_PARTS: Final = 10
# How long one pause may be for it to count once. Without an end a challenger that always exceeds would count once, too.
_LONGEST_PAUSE_PARTS: Final = 20
_VALUES: Final = (-1.0, 0.0, 1.0)


class _Excess:
    """Of one package: how many parts of the running block exceeded the limit, pauses that began before left out."""

    def __init__(self) -> None:
        self.run = 0
        self.is_counted = False
        self.in_block = 0

    def take(self, is_above: bool) -> None:
        if not is_above:
            self.run, self.is_counted = 0, False
            return
        if self.run in (0, _LONGEST_PAUSE_PARTS):
            self.run, self.is_counted = 0, True
        self.run += 1
        self.in_block += self.is_counted

    def end_block(self) -> int:
        """Parts that count in the block; what goes on from here counted there."""
        counted, self.in_block, self.is_counted = self.in_block, 0, False
        return counted


class LatencyGate:
    """Paired exceedances of the champion's p99 in blocks of 10 parts, with the betting e-process of MarginGate.

    A block is worth -1 when the challenger exceeded `champion_p99_ms` on more of its parts than the champion did, +1
    when on fewer, 0 when on as many. Aborts when the bet against "mean ≥ 0" reaches 1/alpha: the challenger is surely
    slower in the tail. Promotes when the bet against "mean ≤ -margin" does: it loses at most that share of blocks more
    than it wins. (From 1 % of parts above the limit, a margin of .1 of blocks is reached at about 2.2 % of parts.)

    Errors: a challenger that loses a block no more often than it wins one is aborted with chance alpha at most; one
    that loses more of them by the margin is promoted with chance alpha at most, looked at after every part. Both sides
    are compared on the same parts, so a machine that grew slower for both, or a p99 that was measured wrongly, costs
    power and not validity.

    Assumes that, given the past, a block is as likely to be hit by a pause of the one package as of the other. Blocks
    guard against pauses that hit several parts in a row: one block, one vote. A run of parts above the limit that began
    in an earlier block is not counted again until it is longer than 20 parts, so a pause that lies across the edge of a
    block is one vote as well. Longer pauses of one package alone are several votes, and if they are common a false
    abort is more likely than alpha (docs/gates.md has figures).

    Once decided it stays decided: later parts are checked, then ignored.
    """

    kind: Final = "latency"

    def __init__(self, alpha: float, champion_p99_ms: float, *, margin: float = 0.1) -> None:
        """Args: alpha, margin (share of blocks): in (0, 1); champion_p99_ms: above 0, from a past of its own."""
        self.alpha: Final = require_share("latency gate", "alpha", alpha)
        self.margin: Final = require_share("latency gate", "margin", margin)
        self.champion_p99_ms: Final = require_number("latency gate", "champion_p99_ms", champion_p99_ms)
        if self.champion_p99_ms <= 0:
            raise ValueError(f"latency gate: expected champion_p99_ms above 0, got {champion_p99_ms!r}")
        self._log_limit: Final = -math.log(self.alpha)
        self._abort: Final = Bets(_VALUES, 0.0, is_from_below=False)
        self._promote: Final = Bets(_VALUES, -self.margin)
        self._blocks = [0, 0, 0]
        self._champion, self._challenger = _Excess(), _Excess()
        self._above = [0, 0]
        self.parts = 0
        self.decision = Decision.CONTINUE

    def update(self, champion_ms: float, challenger_ms: float) -> Decision:
        """Take in the times of both packages on one part, measured beside each other.

        Args:
            champion_ms: from 0 up; infinity for a run that never ended.
            challenger_ms: the same.

        Raises:
            ValueError: a time that is no number or below 0. Leave out a part that only one package saw.
        """
        champion_is_above = _time("champion_ms", champion_ms) > self.champion_p99_ms
        challenger_is_above = _time("challenger_ms", challenger_ms) > self.champion_p99_ms
        if self.decision is not Decision.CONTINUE:
            return self.decision
        self._champion.take(champion_is_above)
        self._challenger.take(challenger_is_above)
        self._above[0] += champion_is_above
        self._above[1] += challenger_is_above
        self.parts += 1
        if self.parts % BLOCK_PARTS == 0:
            self._end_block()
        return self.decision

    @property
    def log_evidence(self) -> tuple[float, float]:
        """Natural logarithm of the e-value to abort and of the one to promote. Decides at -ln(alpha)."""
        return self._abort.log_wealth(self._blocks), self._promote.log_wealth(self._blocks)

    def evidence(self) -> Json:
        """What the decision rests on, for a page. Blocks lost: the challenger exceeded more often."""
        log_abort, log_promote = self.log_evidence
        lost, even, won = self._blocks
        return {
            "gate": self.kind, "decision": self.decision.value, "alpha": self.alpha, "parts": self.parts,
            "champion_p99_ms": self.champion_p99_ms, "margin": self.margin, "champion_above": self._above[0],
            "challenger_above": self._above[1], "blocks_lost": lost, "blocks_even": even, "blocks_won": won,
            "log_e_abort": log_abort, "log_e_promote": log_promote, "log_e_needed": self._log_limit,
        }  # fmt: skip

    def to_dict(self) -> Json:
        """State for JSON, the open block included; `from_dict` gives a gate that goes on to the last bit."""
        return stored(
            self.kind, alpha=self.alpha, champion_p99_ms=self.champion_p99_ms, margin=self.margin,
            blocks=list(self._blocks), above=list(self._above), parts=self.parts, decision=self.decision.value,
            runs=[self._champion.run, self._challenger.run],
            in_block=[self._champion.in_block, self._challenger.in_block],
            champion_is_counted=self._champion.is_counted, challenger_is_counted=self._challenger.is_counted,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The gate that `to_dict` was called on.

        Raises:
            ValueError: the state of another gate or version, a field that cannot be, or blocks that do not fit parts.
        """
        read = StoredState(cls.kind, state)
        gate = cls(read.number("alpha"), read.number("champion_p99_ms"), margin=read.number("margin"))
        gate._blocks, gate._above = read.counts("blocks", 3), read.counts("above", 2)
        gate.parts, gate.decision = read.count("parts"), read.decision()
        if sum(gate._blocks) != gate.parts // BLOCK_PARTS:
            raise ValueError(f"{read.name}: expected {gate.parts // BLOCK_PARTS} blocks, got {sum(gate._blocks)}")
        gate._champion.run, gate._challenger.run = read.counts("runs", 2)
        gate._champion.in_block, gate._challenger.in_block = read.counts("in_block", 2)
        gate._champion.is_counted = read.flag("champion_is_counted")
        gate._challenger.is_counted = read.flag("challenger_is_counted")
        return gate

    def _end_block(self) -> None:
        champion, challenger = self._champion.end_block(), self._challenger.end_block()
        vote = (champion > challenger) - (champion < challenger)
        self._blocks[1 + vote] += 1
        # A lost block cannot promote, the others cannot abort.
        if vote < 0:
            if self._abort.log_wealth(self._blocks) >= self._log_limit:
                self.decision = Decision.ABORT
        elif self._promote.log_wealth(self._blocks) >= self._log_limit:
            self.decision = Decision.PROMOTE


def _time(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0.0:
        raise ValueError(f"latency gate: expected {name} to be a time from 0 ms up, got {value!r}")
    return value

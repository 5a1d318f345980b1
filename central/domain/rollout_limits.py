# SPDX-License-Identifier: Apache-2.0
"""Limits of a baking wave: what its stations judge with the new package, against their own past under the last one.

Pure: takes parts of stations in the order in which they were stored, counts them in chunks, gives each chunk to one
control gate a quantity (`quality/gates/control.py`) and brings the answers together. Reads no row and moves no rollout;
`services/rollouts/limits.py` feeds it, `domain/rollout.py` acts on the answer.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from central.domain.rollout_gates import WaveAnswer, WaveOutcome
from central.quality.gates import ControlGate, Decision
from contracts.vocabulary import Verdict, VerdictCause

# Of one part or one chunk: rejects (NG or REVIEW), image faults, parts without a decision for any other cause.
Counts = tuple[int, int, int]

_DIVERTED: Final = (Verdict.NG, Verdict.REVIEW)
# Of the parts that audits promise as rightly diverted, a chunk may have as many as 99 of 100 chunks do.
_ALLOWED_QUANTILE: Final = 0.99
# Of a wave of a thousand stations a page needs the worst; how many there are is told beside them.
_MOST_SHOWN: Final = 20


@dataclass(frozen=True)
class Quantity:
    """What is watched. `place`: in `Counts`. `is_missing`: too few of it are what is suspicious, not too many."""

    name: str
    place: int
    is_missing: bool = False


QUANTITIES: Final = (
    Quantity("rejects", 0),
    Quantity("missing rejects", 0, is_missing=True),
    Quantity("image faults", 1),
    Quantity("station health", 2),
)


@dataclass(frozen=True)
class LimitTerms:
    """By what a wave is held, fixed when it begins.

    `alpha`: of all quantities together, in (0, 1). `tolerated_factor`: of rejects, from 1 up. `rightly_diverted`: share
    of parts that the last package let pass and that audits say will now be diverted, and rightly so.
    """

    alpha: float
    chunk_parts: int
    least_chunks: int
    needs_limits: bool
    tolerated_factor: float = 1.0
    rightly_diverted: float = 0.0


def count_part(verdict: Verdict, cause: VerdictCause) -> Counts:
    """One part."""
    is_fault = cause is VerdictCause.IMAGE_FAULT
    return int(verdict in _DIVERTED), int(is_fault), int(verdict is Verdict.NO_DECISION and not is_fault)


def chunks_of(parts: Sequence[Counts], chunk_parts: int) -> list[Counts]:
    """Chunks of a past, oldest first, the newest whole; what is left over at the old end is dropped."""
    start = len(parts) % chunk_parts
    return [_sum(parts[index : index + chunk_parts]) for index in range(start, len(parts), chunk_parts)]


def allowed_in_chunk(share: float, parts: int) -> int:
    """Of so many parts, how many at most in 99 of 100 chunks where each is one with this chance (binomial)."""
    if share <= 0:
        return 0
    chance = total = (1.0 - min(share, 1.0)) ** parts
    count = 0
    while total < _ALLOWED_QUANTILE and count < parts:
        chance *= (parts - count) / (count + 1) * share / (1.0 - share) if share < 1 else 0.0
        total += chance
        count += 1
    return count if share < 1 else parts


@dataclass
class Tally:
    """What became of a station's chunks under the new package, however many; by place in `Counts`."""

    chunks: int = 0
    hits: list[int] = field(default_factory=lambda: [0, 0, 0])
    least: list[int] = field(default_factory=list)
    most: list[int] = field(default_factory=list)

    def add(self, chunk: Counts) -> None:
        """One more."""
        self.least = [min(pair) for pair in zip(self.least, chunk, strict=True)] if self.chunks else list(chunk)
        self.most = [max(pair) for pair in zip(self.most, chunk, strict=True)] if self.chunks else list(chunk)
        self.hits = [sum(pair) for pair in zip(self.hits, chunk, strict=True)]
        self.chunks += 1


class WaveLimits:
    """See the module. Chunks of any stations in any order; what was taken in is taken in again by `take` to restore.

    Error: an unchanged process is ever aborted with chance `alpha` at most, however often `answer` is asked: each
    quantity has an equal share of alpha, and its gate keeps that share (`ControlGate`, with its assumptions).

    `past`: chunks of each station under the last package, oldest first. Stations whose past gives no limits of a
    quantity are left out of it, with the reason.
    """

    def __init__(self, terms: LimitTerms, past: Mapping[str, Sequence[Counts]]) -> None:
        self.terms: Final = terms
        self.past: Final = {station: list(chunks) for station, chunks in past.items()}
        self.taken: Final[dict[str, Tally]] = {station: Tally() for station in self.past}
        self.without: Final[dict[str, dict[str, str]]] = {}
        self._allowed: Final = allowed_in_chunk(terms.rightly_diverted, terms.chunk_parts)
        self._gates: Final[dict[str, ControlGate]] = {}
        for quantity in QUANTITIES:
            self._begin(quantity)

    def take(self, station: str, chunk: Counts) -> None:
        """One chunk of a station under the new package.

        Raises:
            KeyError: a station of which no past was given, not even an empty one.
        """
        self.taken[station].add(chunk)
        for quantity in QUANTITIES:
            gate = self._gates.get(quantity.name)
            if gate is not None and station in gate.past:
                gate.update(station, self._new(quantity, chunk))

    def answer(self, watched: Collection[str]) -> WaveAnswer:
        """What the limits say of a wave. `watched`: stations that must have been watched for long enough by now."""
        failed = [
            self._why(quantity)
            for quantity in QUANTITIES
            if (gate := self._gates.get(quantity.name)) is not None and gate.decision is Decision.ABORT
        ]
        missing = self._missing(watched)
        outcome = WaveOutcome.PASSED
        if failed:
            outcome = WaveOutcome.FAILED
        elif missing:
            outcome = WaveOutcome.NOT_ENOUGH_EVIDENCE
        reasons = tuple(failed or missing)
        return WaveAnswer(outcome, reasons, self._evidence(outcome, reasons))

    def _begin(self, quantity: Quantity) -> None:
        """Make the quantity's gate of the stations whose past gives limits, each by itself and all together."""
        known, without = dict[str, list[int]](), dict[str, str]()
        alone: ControlGate | None = None
        for station, chunks in self.past.items():
            counts = [self._plain(quantity, chunk) for chunk in chunks]
            try:
                alone = self._gate(quantity, {station: counts})
                known[station] = counts
            except ValueError as error:
                without[station] = str(error).removeprefix("control gate: ")
        if len(known) == 1 and alone is not None:
            self._gates[quantity.name] = alone
        elif known:
            try:
                self._gates[quantity.name] = self._gate(quantity, known)
            except ValueError as error:
                without |= dict.fromkeys(known, f"all together: {error}".replace("control gate: ", ""))
        if without:
            self.without[quantity.name] = without

    def _gate(self, quantity: Quantity, past: Mapping[str, Sequence[int]]) -> ControlGate:
        factor = self.terms.tolerated_factor if quantity.name == "rejects" else 1.0
        return ControlGate(
            self.terms.alpha / len(QUANTITIES), past, self.terms.chunk_parts, tolerated_factor=factor,
            keeps_chunks=False,
        )  # fmt: skip

    def _plain(self, quantity: Quantity, chunk: Counts) -> int:
        """As the gate counts it: of what is missing, the parts that do not have it."""
        count = chunk[quantity.place]
        return self.terms.chunk_parts - count if quantity.is_missing else count

    def _new(self, quantity: Quantity, chunk: Counts) -> int:
        """The same with what is tolerated taken off; never more suspicious than what was seen."""
        count = chunk[quantity.place]
        if quantity.is_missing:
            return self.terms.chunk_parts - min(
                self.terms.chunk_parts, int(-(-count * self.terms.tolerated_factor // 1))
            )
        return max(0, count - self._allowed) if quantity.name == "rejects" else count

    def _missing(self, watched: Collection[str]) -> list[str]:
        if not watched:
            return ["no station judges with it yet"]
        missing = []
        for quantity in QUANTITIES:
            gate, without = self._gates.get(quantity.name), self.without.get(quantity.name, {})
            short = []
            for station in sorted(watched):
                if gate is not None and station in gate.past:
                    seen = self.taken[station].chunks // gate.joined
                    if seen < self.terms.least_chunks:
                        of = f"{self.terms.least_chunks} chunks of {gate.joined * gate.chunk_parts} parts"
                        short.append(f"{seen} of {of} at {station}")
                elif self.terms.needs_limits:
                    short.append(f"no limits for {station}: {without.get(station, 'it has no past')}")
            if short:
                more = f" and at {len(short) - 1} more" if len(short) > 1 else ""
                missing.append(f"{quantity.name}: {short[0]}{more}")
        return missing

    def _why(self, quantity: Quantity) -> str:
        told = self._told(quantity, self._gates[quantity.name])
        station, worst = next(iter(told["stations"].items()))
        now, past = _share(worst["hits"], worst["parts"]), _share(worst["past_hits"], worst["past_parts"])
        return f"{quantity.name}: {now} at {station}, {past} in its past"

    def _evidence(self, outcome: WaveOutcome, reasons: Sequence[str]) -> dict[str, Any]:
        terms = self.terms
        return {
            "outcome": outcome.value, "reasons": list(reasons), "alpha": terms.alpha, "chunk_parts": terms.chunk_parts,
            "least_chunks": terms.least_chunks, "needs_limits": terms.needs_limits,
            "tolerated_factor": terms.tolerated_factor, "rightly_diverted_share": terms.rightly_diverted,
            "stations": len(self.past),
            "quantities": {
                quantity.name: {
                    **(self._told(quantity, gate) if (gate := self._gates.get(quantity.name)) is not None else {}),
                    "without_limits": dict(list(self.without.get(quantity.name, {}).items())[:_MOST_SHOWN]),
                }
                for quantity in QUANTITIES
            },
        }  # fmt: skip

    def _told(self, quantity: Quantity, gate: ControlGate) -> dict[str, Any]:
        """Of one quantity, its numbers, denominators and limits; the most suspicious stations first."""
        gates = gate.evidence()
        log_e = {station: float(row["log_e_abort"]) for station, row in gates["stations"].items()}
        worst = sorted(log_e, key=lambda station: -log_e[station])[:_MOST_SHOWN]
        return {
            "decision": gate.decision.value, "alpha": gate.alpha, "parts_per_chunk": gates["parts_per_chunk"],
            "log_e_abort": gates["log_e_abort"], "log_e_needed": gates["log_e_needed"],
            "stations": {station: self._row(quantity, station, log_e[station]) for station in worst},
        }  # fmt: skip

    def _row(self, quantity: Quantity, station: str, log_e: float) -> dict[str, Any]:
        past = [chunk[quantity.place] for chunk in self.past[station]]
        new, place = self.taken[station], quantity.place
        return {
            "hits": new.hits[place], "parts": new.chunks * self.terms.chunk_parts,
            "past_hits": sum(past), "past_parts": len(past) * self.terms.chunk_parts,
            "chunk_least": new.least[place] if new.chunks else None,
            "chunk_most": new.most[place] if new.chunks else None,
            "past_chunk_least": min(past), "past_chunk_most": max(past), "log_e_abort": log_e,
        }  # fmt: skip


def _sum(parts: Sequence[Counts]) -> Counts:
    return sum(part[0] for part in parts), sum(part[1] for part in parts), sum(part[2] for part in parts)


def _share(hits: int, parts: int) -> str:
    return f"{hits} of {parts} parts ({hits / parts:.1%})" if parts else "no part"

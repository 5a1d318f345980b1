# SPDX-License-Identifier: Apache-2.0
"""Control limits of a wave: rejects, image faults, station health, against the same stations' own past.

One gate for one quantity, counted per chunk of parts: of so many parts, how many were rejected, had an image fault, got
no decision. Knows no quantity by name, and never promotes: that nothing was seen is not success. Called by `services`
through `domain/rollout_gates.py`.
"""

import itertools
import math
import sys
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from central.quality.gates.decision import (
    Decision,
    Json,
    StoredState,
    require_count,
    require_number,
    require_share,
    stored,
)

# Fewer chunks of past could not make one chunk rare enough to matter.
LEAST_PAST_CHUNKS: Final = 20
_LONGEST_MERGE: Final = 64
# One-sided 2 % point of a lag-1 autocorrelation over n chunks that are independent, times √n.
_AUTOCORRELATION: Final = 2.05
# How strongly a low rank is betted on: κ p^(κ-1), smaller is bolder.
_BOLDNESS: Final = (0.1, 0.25, 0.5, 0.8)
_BETS: Final = tuple((math.log(bold), bold - 1.0) for bold in _BOLDNESS)
# Of the stake, what is put on a process that changed with the package; the rest waits for one that changes later.
_AT_ONCE: Final = 0.5
# Joined chunks by which one station may be ahead of another for the sums over all; beyond that its oldest are left out,
# whatever they say. One that stays away for good would else let those of all others pile up.
_MOST_AHEAD: Final = 1_000
# Short of overflow, and far above any limit.
_MOST_WORTH: Final = math.exp(600.0)


class _Ranks:
    """Conformal test martingale: is each new value an ordinary one among all before it?

    A p-value is the share of earlier values at least as extreme, ties counted against the finding. Exchangeable values
    make these at least as large as independent uniform ones, and the bets κ p^(κ-1) fall with p, so their product is an
    e-process whatever the distribution is (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2nd
    edition 2022, chapter 8).

    A package may turn bad late, and what was lost on all the ordinary chunks before would have to be won back first. So
    the stake is spread over when the bets begin: half at once, of the rest 1/(k (k + 1)) before the k-th chunk. A mean
    of e-processes that begin at times fixed beforehand is one, too, and late changes cost it 2 log k instead.
    """

    def __init__(self, past: Sequence[float], *, is_upper: bool) -> None:
        self._is_upper: Final = is_upper
        # Each value once, and how often it came: as much as there are counts, however long it is watched.
        often = sorted(Counter(past).items())
        self._values = [value for value, _ in often]
        self._times = [times for _, times in often]
        self._total = len(past)
        self.chunks = 0
        # By boldness: what the bets that have begun are worth.
        self._worth = [_AT_ONCE] * len(_BETS)

    def take(self, value: float) -> None:
        place, times = bisect_left(self._values, value), self._times
        extreme = sum(times[place:] if self._is_upper else times[: bisect_right(self._values, value)])
        log_rank = math.log((extreme + 1) / (self._total + 1))
        self.chunks += 1
        begins = (1.0 - _AT_ONCE) / (self.chunks * (self.chunks + 1))
        self._worth = [
            min(_MOST_WORTH, (worth + begins) * math.exp(log + less * log_rank))
            for worth, (log, less) in zip(self._worth, _BETS, strict=True)
        ]
        self._total += 1
        if place < len(times) and self._values[place] == value:
            times[place] += 1
        else:
            self._values.insert(place, value)
            times.insert(place, 1)

    @property
    def wealth(self) -> float:
        waiting = (1.0 - _AT_ONCE) / (self.chunks + 1)
        return sum(self._worth) / len(_BETS) + waiting


class _Series:
    """One row of counts with its past: a station's own, or the sum of all stations."""

    def __init__(self, past: Sequence[int], factor: float, *, is_two_sided: bool) -> None:
        self._factor: Final = factor
        self._upper: Final = _Ranks([float(count) for count in past], is_upper=True)
        self._lower: Final = _Ranks([float(count) for count in past], is_upper=False) if is_two_sided else None
        # Not in a sum over all stations yet.
        self.ahead: deque[int] = deque(maxlen=_MOST_AHEAD)
        self.chunks = self.hits = 0
        self.wealth = 1.0

    def take(self, count: int) -> None:
        self.chunks += 1
        self.hits += count
        self.ahead.append(count)
        self._upper.take(count / self._factor)
        self.wealth = self._upper.wealth
        if self._lower is not None:
            self._lower.take(count * self._factor)
            self.wealth = (self.wealth + self._lower.wealth) / 2.0


class ControlGate:
    """Aborts when stations do worse than in their own past; an e-process on ranks, for one quantity and one wave.

    Each station's chunks are ranked among its own chunks before, and so are the sums over all stations. Half of the
    stake is on the sum (all stations a little worse), half spread evenly over the stations (one station much worse);
    the mean of e-processes is one too, however the stations depend on each other. Aborts when it reaches 1/alpha.

    Errors: an unchanged process is ever aborted with chance alpha at most, looked at after every chunk. Where several
    quantities are watched, divide alpha among them.

    Assumes that chunks are exchangeable with those of the past: the same mixture of lots, shifts and products, in any
    order. Nothing is assumed of how counts scatter within and between chunks, so more scatter than binomial (lots, tool
    wear, people) widens the limits by itself: a chunk is rare only if it is rare among chunks. What breaks the
    assumption are levels that last longer than a chunk. Against that, chunks of the past are joined, 2, 4, 8 … at a
    time, until one says nothing of the next (lag-1 autocorrelation within chance); new chunks are joined likewise. A
    process that drifts for good is not unchanged, and is aborted as it should be.

    ABORT is final. It never promotes: ask `chunks` whether it watched for long enough.
    """

    kind: Final = "control"

    def __init__(
        self,
        alpha: float,
        past: Mapping[str, Sequence[int]],
        chunk_parts: int,
        *,
        is_two_sided: bool = False,
        tolerated_factor: float = 1.0,
        keeps_chunks: bool = True,
    ) -> None:
        """Learn from the past of the wave's stations.

        Args:
            alpha: chance of a false abort, in (0, 1).
            past: of each station, hits in consecutive chunks of `chunk_parts` parts, oldest first, under the champion.
            chunk_parts: parts of a chunk; hits are 0 to so many.
            is_two_sided: fewer hits are suspicious, too (a package that stops rejecting).
            tolerated_factor: how many times its past share a station may reach, from 1 up; downwards, its inverse.
            keeps_chunks: False: whoever feeds it stores the chunks, and it has no `to_dict`; what it holds is then
                bounded, however long it is fed.

        Raises:
            ValueError: no station, a count that cannot be, or fewer than 20 chunks of past: leave that station out,
                and say so; nothing can be known of it. Likewise where joined chunks still say something of the next.
        """
        self.alpha: Final = require_share("control gate", "alpha", alpha)
        self.chunk_parts: Final = require_count("control gate", "chunk_parts", chunk_parts, at_least=1)
        self.tolerated_factor: Final = require_number("control gate", "tolerated_factor", tolerated_factor)
        if self.tolerated_factor < 1.0:
            raise ValueError(f"control gate: expected a tolerated_factor from 1 up, got {tolerated_factor!r}")
        if not past:
            raise ValueError("control gate: expected the past of at least one station, got none")
        self.is_two_sided: Final = is_two_sided
        self.past: Final = {station: list(counts) for station, counts in past.items()}
        for station, counts in self.past.items():
            for count in counts:
                self._require(station, count)
        self.joined: Final = _chunks_to_join(self.past)
        joined = {station: _join(counts, self.joined) for station, counts in self.past.items()}
        self._stations: Final = {station: self._series(counts) for station, counts in joined.items()}
        self._together: Final = self._series(_sums(joined)) if len(joined) > 1 else None
        self._open: Final[dict[str, list[int]]] = {station: [] for station in joined}
        self._taken: Final[list[tuple[str, int]] | None] = [] if keeps_chunks else None
        self._alone = float(len(joined))
        self._behind = len(joined)
        # Joined chunks that every station has finished. 0: nothing is known yet.
        self.chunks = 0
        self.decision = Decision.CONTINUE

    def update(self, station: str, count: int) -> Decision:
        """Take in one chunk of a station under the new package: hits among its next `chunk_parts` parts.

        Raises:
            ValueError: a station without a past, or a count that cannot be.
        """
        if station not in self._stations:
            raise ValueError(f"control gate: expected one of {', '.join(sorted(self._stations))}, got {station!r}")
        self._require(station, count)
        if self.decision is Decision.ABORT:
            return self.decision
        if self._taken is not None:
            self._taken.append((station, count))
        chunk = self._open[station]
        chunk.append(count)
        if len(chunk) < self.joined:
            return self.decision
        series = self._stations[station]
        before = series.wealth
        series.take(sum(chunk))
        self._alone += series.wealth - before
        chunk.clear()
        if len(series.ahead) == 1:
            self._behind -= 1
        if self._behind == 0:
            together = sum(each.ahead.popleft() for each in self._stations.values())
            if self._together is not None:
                self._together.take(together)
            self.chunks += 1
            self._behind = sum(not each.ahead for each in self._stations.values())
        if self.wealth >= 1.0 / self.alpha:
            self.decision = Decision.ABORT
        return self.decision

    @property
    def wealth(self) -> float:
        """The e-value to abort. Decides at 1/alpha."""
        alone = self._alone / len(self._stations)
        return alone if self._together is None else (alone + self._together.wealth) / 2.0

    def evidence(self) -> Json:
        """What the decision rests on, for a page: each station's past and present share of parts, and its e-value."""
        joined_parts = self.joined * self.chunk_parts
        stations = {
            station: {
                "past_hits": sum(self.past[station]), "past_parts": len(self.past[station]) * self.chunk_parts,
                "hits": series.hits, "parts": series.chunks * joined_parts,
                "log_e_abort": _log(series.wealth),
            }
            for station, series in self._stations.items()
        }  # fmt: skip
        return {
            "gate": self.kind, "decision": self.decision.value, "alpha": self.alpha, "parts_per_chunk": joined_parts,
            "chunks": self.chunks, "is_two_sided": self.is_two_sided, "tolerated_factor": self.tolerated_factor,
            "log_e_abort": _log(self.wealth), "log_e_needed": -math.log(self.alpha), "stations": stations,
        }  # fmt: skip

    def to_dict(self) -> Json:
        """State for JSON: the past and every chunk since; `from_dict` takes them in again, to the last bit.

        Raises:
            ValueError: it was told to keep no chunks.
        """
        if self._taken is None:
            raise ValueError("control gate: expected one that keeps its chunks; this one's are stored by who feeds it")
        return stored(
            self.kind, alpha=self.alpha, past={station: list(counts) for station, counts in self.past.items()},
            chunk_parts=self.chunk_parts, is_two_sided=self.is_two_sided, tolerated_factor=self.tolerated_factor,
            taken=[list(chunk) for chunk in self._taken], decision=self.decision.value,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The gate that `to_dict` was called on.

        Raises:
            ValueError: the state of another gate or version, a field that cannot be, or another decision than stored.
        """
        read = StoredState(cls.kind, state)
        past, taken = read.field("past"), read.field("taken")
        if not isinstance(past, dict) or not all(isinstance(counts, list) for counts in past.values()):
            raise ValueError(f"{read.name}: expected lists of counts by station in 'past', got {past!r}")
        if not isinstance(taken, list) or not all(isinstance(chunk, list) and len(chunk) == 2 for chunk in taken):
            raise ValueError(f"{read.name}: expected pairs of station and count in 'taken', got {taken!r}")
        gate = cls(
            read.number("alpha"), past, read.count("chunk_parts"),
            is_two_sided=read.flag("is_two_sided"), tolerated_factor=read.number("tolerated_factor"),
        )  # fmt: skip
        for station, count in taken:
            gate.update(station, count)
        if gate.decision is not read.decision():
            raise ValueError(f"{read.name}: expected {read.decision()}, but its chunks say {gate.decision}")
        return gate

    def _series(self, past: Sequence[int]) -> _Series:
        return _Series(past, self.tolerated_factor, is_two_sided=self.is_two_sided)

    def _require(self, station: str, count: int) -> None:
        if require_count("control gate", f"a count of {station}", count) > self.chunk_parts:
            raise ValueError(f"control gate: expected at most {self.chunk_parts} hits of {station}, got {count}")


def _log(wealth: float) -> float:
    """Of a wealth that thousands of ordinary chunks may have brought to 0."""
    return math.log(max(wealth, sys.float_info.min))


def _join(counts: Sequence[int], joined: int) -> list[int]:
    """Sums of so many consecutive chunks, the newest whole; what is left over at the old end is dropped."""
    start = len(counts) % joined
    return [sum(counts[index : index + joined]) for index in range(start, len(counts), joined)]


def _sums(past: Mapping[str, Sequence[int]]) -> list[int]:
    """Sums over stations, newest beside newest, as far back as all of them go."""
    length = min(len(counts) for counts in past.values())
    return [sum(chunk) for chunk in zip(*(counts[-length:] for counts in past.values()), strict=True)]


def _chunks_to_join(past: Mapping[str, Sequence[int]]) -> int:
    """Least number of chunks, 1, 2, 4 …, whose sums say nothing of the next, at every station and all together."""
    joined = 1
    while joined <= _LONGEST_MERGE:
        series = {station: _join(counts, joined) for station, counts in past.items()}
        short = {station: len(counts) for station, counts in series.items() if len(counts) < LEAST_PAST_CHUNKS}
        if short:
            station, chunks = next(iter(short.items()))
            raise ValueError(
                f"control gate: expected a past of at least {LEAST_PAST_CHUNKS} independent chunks, {station} has "
                f"{len(past[station])}, which make {chunks} when joined by {joined}"
            )
        each = math.fsum(_autocorrelation(counts) for counts in series.values()) / math.sqrt(len(series))
        if max(each, _autocorrelation(_sums(series))) <= _AUTOCORRELATION:
            return joined
        joined *= 2
    raise ValueError(f"control gate: expected a past that settles; {_LONGEST_MERGE} chunks still tell of the next")


def _autocorrelation(counts: Sequence[int]) -> float:
    """Lag-1 autocorrelation times √n; about standard normal for independent chunks. 0 for a constant row."""
    centre = math.fsum(counts) / len(counts)
    deviation = [count - centre for count in counts]
    variance = math.fsum(value * value for value in deviation)
    if variance == 0.0:
        return 0.0
    return math.fsum(a * b for a, b in itertools.pairwise(deviation)) / variance * math.sqrt(len(counts))

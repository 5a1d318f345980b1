# SPDX-License-Identifier: Apache-2.0
"""Made-up rollouts for the gates: draws observations, feeds the real gate classes, counts what they decided.

Knows no demanded figure. Called by `benchmarks/gates.py` with 10,000 runs, by `tests/central/quality/gates` with 2,000.
Shortcuts, each exact: the boundaries of DiscordanceGate are traced on the class itself and then walked for all runs at
once; runs of equal parts go in with `update_equal`; blocks in which nobody exceeds the limit are left out of
LatencyGate where it cannot promote.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from central.quality.gates import ControlGate, CostGate, Decision, DiscordanceGate, LatencyGate, MarginGate

Ints = npt.NDArray[np.int64]
# More than any walk of `counts` right answers can reach: that side has no boundary there.
_NEVER: Final = 1 << 40
_TYPICAL_MS: Final = 20.0


@dataclass(frozen=True)
class Outcomes:
    """Decisions of many runs. `aborted_at`, `promoted_at`: observations until then, of the runs that ended so."""

    runs: int
    aborted_at: Ints
    promoted_at: Ints
    labels_at_promotion: Ints

    @property
    def aborted(self) -> float:
        """Share of the runs."""
        return len(self.aborted_at) / self.runs

    @property
    def promoted(self) -> float:
        """Share of the runs."""
        return len(self.promoted_at) / self.runs

    @property
    def median_abort(self) -> float:
        """Observations until half of all runs were aborted, infinite where fewer ever are."""
        return _median(self.aborted_at, self.runs)

    @property
    def median_promotion(self) -> float:
        """Observations until half of all runs were promoted, infinite where fewer ever are."""
        return _median(self.promoted_at, self.runs)


def _median(ended_at: Ints, runs: int) -> float:
    return float(np.median(np.concatenate([ended_at, np.full(runs - len(ended_at), np.inf)])))


def _outcomes(ended: list[tuple[Decision, int, int]]) -> Outcomes:
    def at(decision: Decision, column: int) -> Ints:
        return np.array([row[column] for row in ended if row[0] is decision], dtype=np.int64)

    return Outcomes(
        len(ended), at(Decision.ABORT, 1), at(Decision.PROMOTE, 1), at(Decision.PROMOTE, 2)
    )  # fmt: skip


def trace(horizon: int, alpha: float = 0.05) -> tuple[Ints, Ints]:
    """Of each number of labels 0 … horizon, the most right ones that abort and the fewest that promote (-1: none).

    Walks a real gate along each boundary: one step towards it, and where that decides, one step away instead.
    """
    abort, promote = np.full(horizon + 1, -1, np.int64), np.full(horizon + 1, _NEVER, np.int64)
    for is_right, found in ((False, abort), (True, promote)):
        gate = DiscordanceGate(alpha)
        for labels in range(1, horizon + 1):
            before = gate.to_dict()
            decision = gate.update(is_right)
            if decision is not Decision.CONTINUE:
                assert decision is (Decision.PROMOTE if is_right else Decision.ABORT)
                found[labels] = gate.right
                gate = DiscordanceGate.from_dict(before)
                gate.update(not is_right)
    return abort, promote


def discordance(theta: float, runs: int, *, horizon: int = 5_000, seed: int = 1, alpha: float = 0.05) -> Outcomes:
    """DiscordanceGate looked at after every label."""
    rng = np.random.default_rng(seed)
    abort, promote = trace(horizon, alpha)
    right, going = np.zeros(runs, np.int64), np.arange(runs)
    ended: dict[bool, list[Ints]] = {True: [], False: []}
    for labels in range(1, horizon + 1):
        right[going] += rng.random(len(going)) < theta
        is_aborted, is_promoted = right[going] <= abort[labels], right[going] >= promote[labels]
        ended[False].append(np.full(int(is_aborted.sum()), labels))
        ended[True].append(np.full(int(is_promoted.sum()), labels))
        going = going[~is_aborted & ~is_promoted]
        if not len(going):
            break
    aborted, promoted = np.concatenate(ended[False]), np.concatenate(ended[True])
    return Outcomes(runs, aborted, promoted, promoted)


def margin(
    right: float,
    wrong: float,
    runs: int,
    *,
    margin: float = 0.005,
    alpha: float = 0.05,
    horizon: int = 20_000,
    seed: int = 2,
) -> Outcomes:
    """MarginGate over parts of which so many shares have the challenger alone right, or the champion alone."""
    rng = np.random.default_rng(seed)
    ended = []
    for _ in range(runs):
        gate = MarginGate(alpha, margin)
        while gate.decision is Decision.CONTINUE and gate.parts < horizon:
            equal = int(rng.geometric(right + wrong)) - 1 if right + wrong else horizon
            gate.update_equal(min(equal, horizon - gate.parts))
            if gate.parts < horizon:
                gate.update(1 if rng.random() * (right + wrong) < right else -1)
        ended.append((gate.decision, gate.parts, gate.labels))
    return _outcomes(ended)


def costs(
    saved: tuple[float, float],
    caused: tuple[float, float],
    runs: int,
    *,
    cost: tuple[float, float],
    horizon: int = 2_000,
) -> Outcomes:
    """CostGate on labelled discordant parts: chances of (escape, overkill) saved and caused, they add up to 1."""
    rng = np.random.default_rng(3)
    kinds = [(1, True), (1, False), (-1, True), (-1, False)]
    ended = []
    for _ in range(runs):
        gate = CostGate(0.05, *cost)
        for kind in rng.choice(4, horizon, p=[*saved, *caused]).tolist():
            if gate.update(*kinds[kind]) is not Decision.CONTINUE:
                break
        ended.append((gate.decision, gate.parts, gate.labels))
    return _outcomes(ended)


@dataclass(frozen=True)
class Times:
    """Times of both packages on the same parts: log-normal around 20 ms, and pauses that hit runs of parts.

    `spread`: standard deviation of the logarithm; `shared`: share of its variance that both have in common (the part,
    the machine). `slower`: factor of the challenger. A pause begins at a part with chance `pause_rate`, lasts
    `pause_parts` on average (geometric; `is_steady`: exactly), triples the times, and hits the champion alone or the
    challenger alone with chance `alone` ÷ 2 each, else both.
    """

    spread: float = 0.05
    shared: float = 0.3
    slower: float = 1.0
    pause_rate: float = 0.0
    pause_parts: float = 5.0
    alone: float = 1.0
    is_steady: bool = False

    def draw(self, parts: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Times [parts, 2] in ms: champion, challenger."""
        own, common = rng.standard_normal((parts, 2)), rng.standard_normal((parts, 1))
        drawn: npt.NDArray[np.float64] = _TYPICAL_MS * np.exp(
            self.spread * (np.sqrt(1 - self.shared) * own + np.sqrt(self.shared) * common)
        )
        drawn[:, 1] *= self.slower
        for start in np.flatnonzero(rng.random(parts) < self.pause_rate):
            length = int(self.pause_parts) if self.is_steady else int(rng.geometric(1 / self.pause_parts))
            who = rng.random()
            columns = slice(0, 1) if who < self.alone / 2 else slice(1, 2) if who < self.alone else slice(0, 2)
            drawn[start : start + length, columns] *= 3.0
        return drawn

    def p99_ms(self, rng: np.random.Generator) -> float:
        """Of the champion, from a long past with its pauses, whatever the challenger does."""
        return float(np.quantile(replace(self, slower=1.0).draw(200_000, rng)[:, 0], 0.99))


def latency(
    times: Times, runs: int, *, horizon: int, can_promote: bool = True, alpha: float = 0.05, seed: int = 4
) -> Outcomes:
    """LatencyGate over pairs of times. `can_promote` False: it goes on to the horizon unless it aborts."""
    rng = np.random.default_rng(seed)
    p99_ms = times.p99_ms(rng)
    # With a margin of next to nothing an equal package is promoted as rarely as it is aborted.
    margin_share = 0.1 if can_promote else 1e-9
    ended = []
    for _ in range(runs):
        gate = LatencyGate(alpha, p99_ms, margin=margin_share)
        drawn = times.draw(horizon, rng)
        parts = np.arange(horizon) if can_promote else _not_quiet(drawn > p99_ms)
        at = horizon
        for part, (champion_ms, challenger_ms) in zip(parts.tolist(), drawn[parts].tolist(), strict=True):
            if gate.update(champion_ms, challenger_ms) is not Decision.CONTINUE:
                at = part + 1
                break
        ended.append((gate.decision, at, 0))
    return _outcomes(ended)


def _not_quiet(is_above: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Parts of blocks that can change the abort side: something is above the limit, or was at the end before it."""
    blocks = is_above[: len(is_above) // 10 * 10].reshape(-1, 20)
    counts: npt.NDArray[np.bool_] = np.asarray(blocks.any(axis=1))
    counts[1:] |= blocks[:-1, -2:].any(axis=1)
    return np.flatnonzero(np.repeat(counts, 10))


@dataclass(frozen=True)
class Process:
    """Counts per chunk of 100 parts at the stations of a wave.

    The share of hits goes up and down by gamma factors of mean 1: one of each chunk and station (`scatter`, variance),
    and one of each lot (`lot_scatter`), which all stations have in common and which lasts `lot_chunks` chunks.
    """

    share: float = 0.02
    scatter: float = 0.0
    lot_scatter: float = 0.0
    lot_chunks: int = 4
    stations: int = 3
    past_chunks: int = 60

    def draw(self, chunks: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Shares [stations, past and new chunks] of an unchanged process."""
        length = self.past_chunks + chunks
        shares = np.full((self.stations, length), self.share)
        if self.scatter:
            shares *= rng.gamma(1 / self.scatter, self.scatter, shares.shape)
        if self.lot_scatter:
            lots = rng.gamma(1 / self.lot_scatter, self.lot_scatter, length // self.lot_chunks + 2)
            offset = int(rng.integers(self.lot_chunks))
            shares *= np.repeat(lots, self.lot_chunks)[offset : offset + length]
        capped: npt.NDArray[np.float64] = np.minimum(shares, 0.9)
        return capped


QUANTITIES: Final = (("rejects", 1.0, True), ("image faults", 0.2, False), ("health", 0.1, False))


def control(
    process: Process,
    runs: int,
    *,
    chunks: int = 12,
    worse: Callable[[str, int], float] = lambda _quantity, _station: 1.0,
    alpha: float = 0.05,
    seed: int = 5,
) -> tuple[Outcomes, float]:
    """The three ControlGates of a wave, each with a third of alpha; and the share of runs without a usable past.

    Args:
        process: of rejects; image faults are a fifth of them, and parts without a decision a tenth.
        runs: how many waves.
        chunks: of 100 parts that each station makes under the new package.
        worse: factor on the share of a quantity at a station, after the past.
        alpha: of the wave.
        seed: of the generator.
    """  # fmt: skip
    rng = np.random.default_rng(seed)
    names = [f"st-{index}" for index in range(process.stations)]
    ended, unusable = [], 0
    for _ in range(runs):
        drawn: dict[str, Ints] = {}
        gates: dict[str, ControlGate] = {}
        try:
            for quantity, factor, is_two_sided in QUANTITIES:
                shares = process.draw(chunks, rng) * factor
                for station in range(process.stations):
                    shares[station, process.past_chunks :] *= worse(quantity, station)
                drawn[quantity] = counts = rng.binomial(100, np.minimum(shares, 1.0))
                past = {name: row[: process.past_chunks].tolist() for name, row in zip(names, counts, strict=True)}
                gates[quantity] = ControlGate(alpha / len(QUANTITIES), past, 100, is_two_sided=is_two_sided)
        except ValueError:
            unusable += 1
            continue
        ended.append((*_watch(gates, drawn, names, process.past_chunks, chunks), 0))
    return _outcomes(ended), unusable / runs


def _watch(
    gates: dict[str, ControlGate], drawn: dict[str, Ints], names: list[str], past: int, chunks: int
) -> tuple[Decision, int]:
    for chunk in range(chunks):
        for quantity, gate in gates.items():
            for station, count in zip(names, drawn[quantity][:, past + chunk].tolist(), strict=True):
                if gate.update(station, count) is Decision.ABORT:
                    return Decision.ABORT, chunk + 1
    return Decision.CONTINUE, chunks

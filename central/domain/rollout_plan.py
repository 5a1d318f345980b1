# SPDX-License-Identifier: Apache-2.0
"""Whom a rollout reaches, in which waves, and what each wave must show: what people set beforehand.

Pure. Names stations and orders them; moves nothing (`domain/rollout.py` does). Called by `services/rollouts/moving.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil, inf
from typing import Final

from central.domain.calendar import MaintenanceWindow
from contracts.vocabulary import RiskClass

# How much dearer one kind of error may be. Beyond that no number of the cheap ones would ever be evidence.
_DEAREST: Final = 1_000
# Of a wave's limits: larger chunks would leave no past that makes twenty of them, more would hold a wave for weeks.
MOST_CHUNK_PARTS: Final = 100
MOST_LEAST_CHUNKS: Final = 50


class WaveScope(StrEnum):
    """Which of the stations that are left belong to a wave."""

    COUNT = "COUNT"
    SHARE = "SHARE"
    LINE = "LINE"
    SITE = "SITE"
    ALL = "ALL"


@dataclass(frozen=True)
class ShadowPlan:
    """What a wave must show in shadow before its stations are given the package.

    `margin`: by how large a share of parts the package may at most be worse than the champion. `alpha`: chance of a
    false failure and of a false pass, for each gate. `cost_of_escape`, `cost_of_overkill`: what one of them costs, in
    any unit, both or neither; then `margin` is a share of parts that each err in the dearer way.
    """

    margin: float = 0.005
    alpha: float = 0.05
    cost_of_escape: float | None = None
    cost_of_overkill: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("margin", self.margin), ("alpha", self.alpha)):
            if not 0 < value < 0.5:
                raise ValueError(f"shadow {name}: expected a number above 0 and below .5, got {value:g}")
        costs = (self.cost_of_escape, self.cost_of_overkill)
        if costs == (None, None):
            return
        if None in costs:
            raise ValueError(
                f"shadow costs: expected cost_of_escape and cost_of_overkill, or neither, got {costs[0]} and {costs[1]}"
            )
        for name, cost in (("cost_of_escape", costs[0]), ("cost_of_overkill", costs[1])):
            if cost is None or not 0 < cost < inf:
                raise ValueError(f"shadow {name}: expected a finite number above 0, got {cost}")
        low, high = sorted(cost for cost in costs if cost is not None)
        if high > _DEAREST * low:
            raise ValueError(
                f"shadow costs: expected one at most {_DEAREST} times the other (the cheap error would count as "
                f"nothing), got {costs[0]:g} and {costs[1]:g}"
            )

    @property
    def costs(self) -> tuple[float, float] | None:
        """Of an escape and of an overkill; None: every error is the same."""
        if self.cost_of_escape is None or self.cost_of_overkill is None:
            return None
        return self.cost_of_escape, self.cost_of_overkill


@dataclass(frozen=True)
class ControlPlan:
    """Limits that a baking wave is held to: rejects, image faults and health of its stations against their own past.

    `alpha`: chance that an unchanged process is sent back by them in this wave, all quantities together. `chunk_parts`:
    parts that are counted together; None: a tenth of those that a station bakes. `least_chunks`: each station must be
    watched for so many before its wave ends. `tolerated_factor`: rejects may grow to so many times their past share,
    and fall to its inverse; None: as the settings say. `needs_limits`: the wave waits for a person where a station's
    past gives no limits (too short, or drifting); False: it is then judged by the other conditions alone; None: it
    waits where the risk class is above STANDARD.
    """

    alpha: float = 0.05
    chunk_parts: int | None = None
    least_chunks: int = 5
    tolerated_factor: float | None = None
    needs_limits: bool | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"control alpha: expected a number above 0 and below .5, got {self.alpha:g}")
        if self.chunk_parts is not None and not 1 <= self.chunk_parts <= MOST_CHUNK_PARTS:
            raise ValueError(f"control chunk_parts: expected 1 to {MOST_CHUNK_PARTS}, got {self.chunk_parts}")
        if not 1 <= self.least_chunks <= MOST_LEAST_CHUNKS:
            raise ValueError(
                f"control least_chunks: expected 1 (watching nothing is no success) to {MOST_LEAST_CHUNKS}, "
                f"got {self.least_chunks}"
            )
        if self.tolerated_factor is not None and not 1 <= self.tolerated_factor <= _DEAREST:
            raise ValueError(
                f"control tolerated_factor: expected 1 (as in the past) to {_DEAREST}, got {self.tolerated_factor:g}"
            )

    def chunk_for(self, bake_parts: int) -> int:
        """Parts of a chunk where a station bakes so many."""
        return self.chunk_parts or max(1, min(bake_parts // 10, MOST_CHUNK_PARTS))


@dataclass(frozen=True)
class WavePlan:
    """One wave.

    `amount`: with COUNT, so many further stations; with SHARE, until this share of all stations is reached. LINE and
    SITE take what is left of the lines or sites that earlier waves touched, ALL the rest. `bake_parts` None: as the
    settings say. `bake_s`: a station is done no sooner. `max_away_share`: of the wave's stations, so many may be out
    of reach when it finishes. `shadow`: they judge beside the champion first, until the gates say; None: they do not.
    `control`: while they bake they are held to limits from their own past; None: to the fixed conditions alone.
    """

    scope: WaveScope = WaveScope.ALL
    amount: float = 1
    needs_approval: bool = False
    bake_parts: int | None = None
    bake_s: float = 0.0
    max_away_share: float = 0.0
    shadow: ShadowPlan | None = None
    control: ControlPlan | None = field(default_factory=ControlPlan)

    def __post_init__(self) -> None:
        if self.scope is WaveScope.COUNT and (self.amount < 1 or self.amount != int(self.amount)):
            raise ValueError(f"amount: expected a whole number of stations, at least 1, got {self.amount:g}")
        if self.scope is WaveScope.SHARE and not 0 < self.amount <= 1:
            raise ValueError(f"amount: expected a share above 0 and at most 1, got {self.amount:g}")
        if self.bake_parts is not None and self.bake_parts < 1:
            raise ValueError(f"bake_parts: expected at least 1 (no parts are no success), got {self.bake_parts}")
        if not 0 <= self.bake_s <= 30 * 86_400:
            raise ValueError(f"bake_s: expected 0 s to 30 days, got {self.bake_s:g}")
        if not 0 <= self.max_away_share < 1:
            raise ValueError(f"max_away_share: expected a share from 0 to below 1, got {self.max_away_share:g}")


@dataclass(frozen=True)
class TargetFilter:
    """Which stations are meant. Empty: all. Kinds are joined by AND, what is named of one kind by OR.

    `lines` are `site/line`, `stations` are `site/line/station`. `labels`: label → its values that are wanted.
    """

    sites: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def takes(self, address: str, labels: Mapping[str, str]) -> bool:
        """Whether this station is meant."""
        return (
            (not self.sites or site_of(address) in self.sites)
            and (not self.lines or line_of(address) in self.lines)
            and (not self.stations or address in self.stations)
            and all(not values or labels.get(label) in values for label, values in self.labels.items())
        )


# One station shows it; then what is most like it, step by step.
LADDER = (
    WavePlan(WaveScope.COUNT, 1),
    WavePlan(WaveScope.LINE),
    WavePlan(WaveScope.SITE),
    WavePlan(WaveScope.ALL),
)


@dataclass(frozen=True)
class RolloutPlan:
    """All that people set for a rollout. Nobody is touched outside `windows`; none: at any time."""

    waves: tuple[WavePlan, ...] = LADDER
    target: TargetFilter = field(default_factory=TargetFilter)
    windows: tuple[MaintenanceWindow, ...] = ()

    def __post_init__(self) -> None:
        if not self.waves:
            raise ValueError("waves: expected at least one, got none")


def choose_waves(
    stations: Sequence[str], waves: Sequence[WavePlan], risk: RiskClass = RiskClass.STANDARD
) -> tuple[tuple[WavePlan, tuple[str, ...]], ...]:
    """Stations (site/line/station, in the caller's order) of each wave; each station once, waves of nobody left out.

    Stations that no wave takes are left out too: a plan that ends with a count reaches no more. The risk class adds
    approvals to those that the plan asks for: STANDARD none, ELEVATED before the second wave, so that a person looks
    at the canary, CRITICAL before every wave.
    """
    left = list(dict.fromkeys(stations))
    total, taken = len(left), list[str]()
    chosen: list[tuple[WavePlan, tuple[str, ...]]] = []
    for plan in waves:
        names = tuple(_of(plan, left, taken, total))
        if not names:
            continue
        is_asked_for = risk is RiskClass.CRITICAL or (risk is RiskClass.ELEVATED and len(chosen) == 1)
        chosen.append((replace(plan, needs_approval=True) if is_asked_for else plan, names))
        taken += names
        left = [name for name in left if name not in set(names)]
    return tuple(chosen)


def site_of(address: str) -> str:
    """The site of a station."""
    return address.split("/", 1)[0]


def line_of(address: str) -> str:
    """`site/line` of a station."""
    return address.rsplit("/", 1)[0]


def _of(plan: WavePlan, left: list[str], taken: list[str], total: int) -> list[str]:
    match plan.scope:
        case WaveScope.COUNT:
            return left[: int(plan.amount)]
        case WaveScope.SHARE:
            # Rounded up: a share of a few stations is one station, not none.
            return left[: max(0, ceil(plan.amount * total - 1e-9) - len(taken))]
        case WaveScope.LINE:
            lines = {line_of(name) for name in taken}
            return [name for name in left if line_of(name) in lines]
        case WaveScope.SITE:
            sites = {site_of(name) for name in taken}
            return [name for name in left if site_of(name) in sites]
        case WaveScope.ALL:
            return left

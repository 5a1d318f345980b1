# SPDX-License-Identifier: Apache-2.0
"""Why a rollout is not begun or changed as a person asked, in words: how it stands, what was asked, what to do next.

Text only. Raised as conflicts by `services/rollouts/moving.py` and `services/rollouts/beginning.py`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from central.domain.naming import some_of
from central.domain.rollout_shapes import ENDED, UNDER_WAY, Progress, Rollout
from central.store.learning_tables import RolloutRow
from contracts.vocabulary import RolloutState, WaveState

_OVER: Final = "it is over and is not taken up again; start another rollout with POST /rollouts"
_NEXT: Final[Mapping[RolloutState, str]] = MappingProxyType(
    {
        RolloutState.READY: "it waits for its first station and begins by itself; abort it if it is not wanted",
        RolloutState.RUNNING: "it goes on by itself; pause or abort it",
        RolloutState.PAUSED: "resume or abort it",
        RolloutState.WAITING_FOR_APPROVAL: "approve its next wave or abort it",
        **dict.fromkeys(ENDED, _OVER),
    }
)
# What is needed for a command: the only state in which it means something.
NEEDS: Final[Mapping[str, RolloutState]] = MappingProxyType(
    {
        "pause": RolloutState.RUNNING,
        "resume": RolloutState.PAUSED,
        "approve": RolloutState.WAITING_FOR_APPROVAL,
    }
)


def takes_nobody(row: RolloutRow, names: Sequence[str]) -> str:
    """A plan that leaves out every station that judges the product."""
    return plan_takes_nobody(row.product, names)


def plan_takes_nobody(product: str, names: Sequence[str]) -> str:
    """Likewise of a plan that no rollout has yet."""
    return (
        f"product {product}: expected a plan whose target and waves take a station that is heard of, got one "
        f"that takes none of {some_of(names) or 'those that may come'}; a wave of ALL takes the rest"
    )


def names_in_vain(row: RolloutRow, strange: Sequence[str]) -> str:
    """A plan whose target names what the rollout will never reach."""
    return (
        f"product {row.product}: expected a plan whose target names what the package can reach, got: "
        f"{'; '.join(strange)}; leave that out, or name stations in `stations`, which reaches them whatever they judge"
    )


def cannot(command: str, row: RolloutRow) -> str:
    """One of `NEEDS` in another state."""
    return f"rollout {row.id}: to {command} it expected {NEEDS[command]}, it is {row.state}; {_NEXT[row.state]}"


def is_another_wave(row: RolloutRow, rollout: Rollout, wave: int) -> str | None:
    """An approval of a wave, counted from 1, that is not the one that waits; None: it is, or none waits."""
    if rollout.state is not RolloutState.WAITING_FOR_APPROVAL:
        return None
    waiting = next(each.index + 1 for each in rollout.waves if each.state is WaveState.SCHEDULED)
    if wave == waiting:
        return None
    return (
        f"rollout {row.id}: expected the approval of wave {waiting}, which waits, got one of wave {wave}; look at the "
        f"evidence of the waves before, then say `wave` {waiting}"
    )


def cannot_abort(row: RolloutRow) -> str:
    """It has ended."""
    return (
        f"rollout {row.id}: to abort it expected one that has not ended, it is {row.state}; nothing is left to stop. "
        "To take its package off stations start a rollout of the one that they should have"
    )


def cannot_set_aside(row: RolloutRow, rollout: Rollout, station: str) -> str:
    """The station holds nothing up, or is not in it."""
    start = f"rollout {row.id}: to set it aside expected station {station} to be under way"
    if rollout.state in ENDED:
        return f"{start}, the rollout is {row.state}; {_NEXT[row.state]}"
    steps = [item for wave in rollout.waves for item in wave.stations]
    found = next((item for item in steps if item.station == station), None)
    if found is not None and found.progress in UNDER_WAY:
        return (
            f"rollout {row.id}: to set {station} aside expected that others are left in its wave, it is the last one; "
            "a wave that nobody shows is never success. Wait until the station goes on, or abort the rollout and begin "
            "again with stations that are there"
        )
    if found is not None:
        why = "it was not given the package yet" if found.progress is Progress.WAITING else "it holds nothing up"
        return f"{start}, it is {found.progress}: {why}"
    others = some_of([item.station for item in steps if item.progress in UNDER_WAY]) or "none"
    return f"{start}, it is not in this rollout; under way are: {others}"


def another_under_way(row: RolloutRow) -> str:
    """One rollout of a product at a time."""
    return (
        f"product {row.product}: rollout {row.id} of package {row.package_id[:12]} is under way ({row.state}), and a "
        f"product has one at a time; wait for its end, or abort it with POST /rollouts/{row.id}/abort"
    )


def wished_otherwise(row: RolloutRow, others: Sequence[str]) -> str:
    """The same package is under way, but not as it is asked for now."""
    return (
        f"rollout {row.id} of this package is under way, begun with other {', '.join(others)} (it is {row.state}); "
        f"let it end, or abort it with POST /rollouts/{row.id}/abort, then start it as you want it"
    )


def withdrawn(package_id: str) -> str:
    """Nobody vouches for it any more."""
    return (
        f"package {package_id[:12]}: expected one that is published, this one was withdrawn (`keys revoke --withdraw`) "
        "and stations refuse it; roll out another one, or train anew"
    )


def not_promoted(package_id: str, said: str | None) -> str:
    """The gate has the word on which package may go to stations."""
    start = f"package {package_id[:12]}: expected a promoted one, the gate said {said or 'nothing yet'}"
    return f"{start}; its checks stand in GET /packages/{package_id}"

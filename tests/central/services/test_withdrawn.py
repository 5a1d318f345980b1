# SPDX-License-Identifier: Apache-2.0
"""A package that was withdrawn goes to no station any more: not by hand, not by itself, not to who comes late."""

from pathlib import Path

import pytest

from central.errors import ConflictError
from central.settings import RolloutSettings
from contracts.vocabulary import RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import line


@pytest.mark.parametrize("is_automatic", [False, True])
def test_withdrawn_package_is_rolled_out_neither_by_hand_nor_by_itself(
    bench: Bench, tmp_path: Path, is_automatic: bool
) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.build(rollout=RolloutSettings(is_automatic=is_automatic, bake_parts=20))
    candidate = bench.register(2, tmp_path, champion=champion)
    assert bench.repository.withdraw(candidate, bench.clock.now())
    with pytest.raises(ConflictError, match="this one was withdrawn"):
        bench.rollouts.start(candidate, [], None, "anyway", bench.clock.now())
    bench.tick(3)
    assert first.running[PRODUCT] == champion
    assert bench.rollout().package_id == champion


def test_package_that_is_withdrawn_while_it_is_rolled_out_is_taken_back(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    assert candidate in {first.running[PRODUCT], second.running[PRODUCT]}
    bench.repository.withdraw(candidate, bench.clock.now())
    bench.tick(2)
    assert {first.running[PRODUCT], second.running[PRODUCT]} == {champion}
    assert bench.rollout().state is RolloutState.STOPPED
    assert "the package was withdrawn" in bench.rollout().machine


def test_champion_that_was_withdrawn_is_given_to_no_station_that_comes_late(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.repository.withdraw(champion, bench.clock.now())
    late = bench.add_station("st-9")
    bench.tick(3)
    assert late.assignments == []
    # Who judges with it goes on: a line is not stopped by a word about a package.
    assert first.running[PRODUCT] == champion
    bench.report(first, [Verdict.OK])

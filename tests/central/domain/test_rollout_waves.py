# SPDX-License-Identifier: Apache-2.0
from central.domain.rollout_plan import ShadowPlan, WavePlan, WaveScope
from central.domain.rollout_waves import waves_of

SHADOW, OTHER = ShadowPlan(margin=0.05), ShadowPlan(margin=0.1)
FIRST, REST = WavePlan(WaveScope.COUNT, 1), WavePlan(WaveScope.ALL)


def shadows(*plans: ShadowPlan | None, having: frozenset[str]) -> list[ShadowPlan | None]:
    chosen = [(WavePlan(WaveScope.COUNT, 1, shadow=plan), (name,)) for plan, name in zip(plans, "abcd", strict=False)]
    return [wave.plan.shadow for wave in waves_of(chosen, having)]


def test_shadow_that_can_show_nothing_moves_to_the_next_wave() -> None:
    assert shadows(SHADOW, None, None, having=frozenset()) == [SHADOW, None, None]
    assert shadows(SHADOW, None, None, having=frozenset("a")) == [None, SHADOW, None]
    assert shadows(SHADOW, None, None, having=frozenset("ab")) == [None, None, SHADOW]
    assert shadows(SHADOW, None, None, having=frozenset("abc")) == [None, None, None]


def test_wave_with_a_shadow_of_its_own_keeps_it() -> None:
    assert shadows(SHADOW, OTHER, None, having=frozenset("a")) == [None, OTHER, None]


def test_wave_in_which_some_lack_the_package_keeps_its_shadow() -> None:
    (wave,) = waves_of([(WavePlan(WaveScope.ALL, shadow=SHADOW), ("a", "b"))], frozenset("a"))
    assert wave.plan.shadow == SHADOW
    assert [item.has_it for item in wave.stations] == [True, False]

# SPDX-License-Identifier: Apache-2.0
"""The waves of a rollout as they are before anybody was touched.

Pure; moves nothing. Called by `services/rollouts/planning.py`.
"""

from collections.abc import Container, Sequence
from dataclasses import replace

from central.domain.rollout_plan import WavePlan
from central.domain.rollout_shapes import StationStep, Wave


def waves_of(
    chosen: Sequence[tuple[WavePlan, Sequence[str]]], having: Container[str] = frozenset()
) -> tuple[Wave, ...]:
    """Waves that nobody has been assigned in yet. `having`: stations that run the package already.

    Where all stations of a wave do, its shadow can show nothing: it moves to the next wave, so that nobody is given the
    package without the evidence that the plan asked for.
    """
    waves, carried = list[Wave](), None
    for index, (plan, names) in enumerate(chosen):
        shadow = plan.shadow or carried
        is_useless = all(name in having for name in names)
        steps = tuple(StationStep(name, has_it=name in having) for name in names)
        waves.append(Wave(index, steps, replace(plan, shadow=None if is_useless else shadow)))
        carried = shadow if is_useless else None
    return tuple(waves)

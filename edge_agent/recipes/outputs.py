# SPDX-License-Identifier: Apache-2.0
"""What a recipe makes of this station's outputs: which are told, and when the one on the line controller is driven.

Pure. A recipe may leave out who is told beside the gate, never the gate itself: one that hears nothing holds every part
or, where it is not fail-safe, lets every part pass. Called where recipes are read, from central and from the settings.
"""

from collections.abc import Sequence

from contracts.recipes import OutputRule
from contracts.vocabulary import OutputKind
from edge_agent.actuators.base import LineTiming, OutputUse
from edge_agent.output_settings import LineOutputSettings, OutputSettings
from edge_agent.recipes.recipe import RecipeRefused


def use_of(rules: Sequence[OutputRule] | None, station: OutputSettings) -> OutputUse | None:
    """The station's outputs as a recipe wants them; None: as the settings say.

    Raises:
        RecipeRefused: it names an output that the station does not have, leaves out the gate, or gives times that do
            not go with the station's wiring.
    """
    if rules is None:
        return None
    kinds = [rule.kind.value for rule in rules]
    has = ", ".join(station.kinds)
    for kind in kinds:
        if kind not in station.kinds:
            raise _refused(f"outputs: this station has no output {kind}, it has {has}")
    if station.gate not in kinds:
        named = ", ".join(kinds)
        raise _refused(f"outputs: expected {station.gate}, which drives this station's gate, among them, got {named}")
    timing = None
    for rule in rules:
        if rule.kind is not OutputKind.MQTT and station.line is not None:
            timing = _timing(rule, station.line)
    return OutputUse(frozenset(kinds), timing)


def _timing(rule: OutputRule, line: LineOutputSettings) -> LineTiming:
    usual = line.wiring.timing
    pulse_s = usual.pulse_s if rule.pulse_ms is None else rule.pulse_ms / 1000
    has_encoder = line.wiring.encoder_address is not None
    by_time = [name for name in ("delay_ms", "distance_mm", "speed_mm_s") if getattr(rule, name) is not None]
    if has_encoder and by_time:
        raise _refused(f"outputs.{by_time[0]}: an encoder tells this station the way to the gate; give distance_counts")
    if rule.distance_counts is not None:
        if not has_encoder:
            raise _refused("outputs.distance_counts: this station has no encoder; give delay_ms, or distance and speed")
        return LineTiming(pulse_s, usual.delay_s, rule.distance_counts)
    if rule.delay_ms is not None:
        return LineTiming(pulse_s, rule.delay_ms / 1000, usual.distance_counts)
    if not by_time:
        return LineTiming(pulse_s, usual.delay_s, usual.distance_counts)
    distance_mm = line.distance_mm if rule.distance_mm is None else rule.distance_mm
    speed_mm_s = line.speed_mm_s if rule.speed_mm_s is None else rule.speed_mm_s
    if distance_mm is None or speed_mm_s is None:
        missing = "distance_mm" if distance_mm is None else "speed_mm_s"
        raise _refused(
            f"outputs.{by_time[0]}: neither the recipe nor this station's settings have {missing} to go with"
        )
    return LineTiming(pulse_s, distance_mm / speed_mm_s, usual.distance_counts)


def _refused(message: str) -> RecipeRefused:
    return RecipeRefused(message, remedy="correct the recipe's outputs, or the station's settings")

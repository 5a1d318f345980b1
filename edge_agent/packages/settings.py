# SPDX-License-Identifier: Apache-2.0
"""The settings of trials: tables `[shadow]` and `[fallback]`.

Reads and checks, opens nothing. Called by `edge_agent.settings`.
"""

from dataclasses import dataclass
from typing import Final

from edge_agent.packages.guard import GuardPolicy
from edge_agent.settings_reader import SettingsReader

_USUAL: Final = GuardPolicy()


@dataclass(frozen=True)
class ShadowSettings:
    """What a challenger may cost.

    Args:
        share: of one processor's time.
        hung_after_s: a part that takes it longer ends it.
        errors_in_a_row: so many failures end it.
        pictures_per_hour: of discordant parts that are sent unasked, at most.
    """

    share: float = 0.3
    hung_after_s: float = 10.0
    errors_in_a_row: int = 20
    pictures_per_hour: int = 200


@dataclass(frozen=True)
class FallbackSettings:
    """When the station goes back by itself. `keep_warm`: hold the previous package open meanwhile."""

    policy: GuardPolicy = _USUAL
    keep_warm: bool = True


def read_shadow(reader: SettingsReader) -> ShadowSettings:
    """Read `[shadow]`, with every fault noted."""
    usual = ShadowSettings()
    return ShadowSettings(
        share=reader.number("shadow.share", usual.share, low=0.01, high=1.0),
        hung_after_s=reader.number("shadow.hung_after_s", usual.hung_after_s, low=0.1, high=600),
        errors_in_a_row=reader.integer("shadow.errors_in_a_row", usual.errors_in_a_row, low=1, high=100_000),
        pictures_per_hour=reader.integer("shadow.pictures_per_hour", usual.pictures_per_hour, low=0, high=100_000),
    )


def read_fallback(reader: SettingsReader) -> FallbackSettings:
    """Read `[fallback]`, with every fault noted. 0 switches a rule off."""
    return FallbackSettings(
        GuardPolicy(
            errors_in_a_row=reader.integer("fallback.errors_in_a_row", _USUAL.errors_in_a_row, low=0, high=1000),
            late_in_a_row=reader.integer("fallback.late_in_a_row", _USUAL.late_in_a_row, low=0, high=1000),
            share=reader.number("fallback.share", _USUAL.share, low=0, high=1),
            window=reader.integer("fallback.window", _USUAL.window, low=20, high=10_000),
            stuck_parts=reader.integer("fallback.stuck_parts", _USUAL.stuck_parts, low=0, high=1_000_000),
            sound_parts=reader.integer("fallback.sound_parts", _USUAL.sound_parts, low=1, high=1_000_000),
        ),
        keep_warm=reader.flag("fallback.keep_warm", default=True),
    )

# SPDX-License-Identifier: Apache-2.0
"""How fast central goes about its work in a plant that is to be watched, as sections of central.toml.

A real line audits a few parts an hour and learns over days; a demonstration has minutes. What is sped up are
periods, sample sizes and bake times; the rules are central's own and stay as they are. Used by `plant.run.demo`
and `plant.run.up`.
"""

from collections.abc import Mapping
from typing import Any, Final

_WIDE_LIMIT_SIGMAS: Final = 8.0
Sections = Mapping[str, Mapping[str, Any]]


def demo_tempo(*, is_replay: bool = False) -> Sections:
    """Minutes instead of days. Real pictures take the detector's slower road, so fewer of them are learnt from."""
    return {
        # Stations upload a few pictures a second beside their work; audits beyond that would only be lost.
        "audit": {"period_s": 4.0, "accepted_share": 0.2, "tightened_share": 0.3, "lost_after_s": 90.0},
        "watch": {
            "period_s": 2.0,
            "escape_tolerated_share": 0.015,
            "escape_rejected_share": 0.06,
            # A line of 15 parts/s with a fifth audited would see a false alarm every hour of audits at this length.
            "escape_parts_between_false_alarms": 3000.0,
            "reference_blocks": 10,
            "block_parts": 20,
            # The reference is a few seconds of a day whose light goes up and down: within that is no news.
            "limit_sigmas": _WIDE_LIMIT_SIGMAS,
            "silent_after_s": 30.0,
        },
        "learning": {
            "period_s": 1.0,
            # A folder holds few defective pictures, and those that the first detector finds need no audit.
            "min_defective_labels": 20 if is_replay else 36,
            "min_good_labels": 40,
            # Few parts, photographed several times: a larger share makes the same number of held-out parts.
            "holdout_share": 0.4 if is_replay else 0.3,
            # Two cores that also run the line: more sound parts would only make the training longer.
            "max_images": 420,
        },
        # A day in minutes: the story says when it learns, and two alarms may be minutes apart.
        "triggers": {"new_labels": 0, "new_class_labels": 0, "quiet_hours": 0.0},
        "promotion": {
            "min_holdout_defective": 4 if is_replay else 5,
            "min_holdout_good": 8,
            "max_overkill_increase": 0.03,
        },
        # Some dozens of held-out parts show no non-inferiority, and nobody is there to be asked: shown, not demanded.
        "gate": {"when_missing": "SHOW", "needs_audits": False},
        "rollout": {"period_s": 0.5, "canary": 1, "bake_parts": 40, "bake_patience_s": 90.0, "install_timeout_s": 60.0},
    }


def rollout_tempo() -> Sections:
    """For a story about a rollout: as a demonstration, but nothing is learnt unasked, and silence is noticed sooner."""
    usual = demo_tempo()
    return {
        **usual,
        # Six silences and a station counts as away: half a minute.
        "watch": {**usual["watch"], "silent_after_s": 5.0},
        "learning": {**usual["learning"], "is_automatic": False},
    }


def lasting_tempo() -> Sections:
    """For a plant that runs for good at an easy pace: still quick enough to be watched."""
    return {
        "audit": {"period_s": 10.0, "accepted_share": 0.15, "tightened_share": 0.5},
        "watch": {
            "period_s": 5.0,
            "escape_tolerated_share": 0.015,
            "escape_rejected_share": 0.06,
            "reference_blocks": 20,
            "block_parts": 30,
            "limit_sigmas": _WIDE_LIMIT_SIGMAS,
        },
        "learning": {"min_defective_labels": 30, "min_good_labels": 40},
        "triggers": {"quiet_hours": 0.2},
        "promotion": {"min_holdout_defective": 5, "min_holdout_good": 8, "max_overkill_increase": 0.03},
        "gate": {"when_missing": "SHOW", "needs_audits": False},
        "rollout": {"canary": 1, "bake_parts": 60},
    }

# SPDX-License-Identifier: Apache-2.0
"""Colours and signs of the whole dashboard, and the theme options that Streamlit starts with.

Verdicts are told apart by hue, by lightness and by a sign, so that they read without colour vision and on
paper. Used by `marks`, `charts` and `__main__`.
"""

from typing import Final

from contracts.vocabulary import (
    AlarmState,
    ConditionState,
    PackageState,
    PromotionOutcome,
    RolloutState,
    StationState,
    TrainingState,
    Verdict,
    WaveState,
)

INK: Final = "#14202e"
MUTED: Final = "#5d6b7a"
RULE: Final = "#dfe5ec"
ACCENT: Final = "#1a5fb4"
GOOD: Final = "#0b8f6f"
BAD: Final = "#c8420b"
WARN: Final = "#dd9b00"
IDLE: Final = "#6b7684"
SIMULATED: Final = "#6a3fb5"

VERDICT_COLOUR: Final[dict[Verdict, str]] = {
    Verdict.OK: "#58b8a0",
    Verdict.NG: BAD,
    Verdict.REVIEW: "#f0b429",
    Verdict.NO_DECISION: IDLE,
}
VERDICT_SIGN: Final[dict[Verdict, str]] = {
    Verdict.OK: "✓",
    Verdict.NG: "✕",
    Verdict.REVIEW: "?",
    Verdict.NO_DECISION: "–",
}
VERDICT_WORD: Final[dict[Verdict, str]] = {
    Verdict.OK: "OK",
    Verdict.NG: "NG",
    Verdict.REVIEW: "Review",
    Verdict.NO_DECISION: "No decision",
}

_GOOD_WORDS: Final = {
    StationState.INSPECTING,
    PackageState.ACTIVE,
    RolloutState.FINISHED,
    TrainingState.FINISHED,
    PromotionOutcome.PROMOTED,
    ConditionState.PASSED,
    WaveState.FINISHED,
    "IN_SYNC",
    "DONE",
}
_BAD_WORDS: Final = {
    StationState.FAULT,
    StationState.HALTED,
    PackageState.REFUSED,
    PackageState.FELL_BACK,
    RolloutState.ERROR,
    RolloutState.STOPPED,
    TrainingState.FAILED,
    PromotionOutcome.REFUSED,
    ConditionState.FAILED,
    WaveState.ERROR,
    AlarmState.RAISED,
    "OFFLINE",
    "ERRED",
}
_BUSY_WORDS: Final = {
    PackageState.DOWNLOADING,
    PackageState.VERIFIED,
    PackageState.INSTALLED,
    PackageState.SHADOW,
    RolloutState.RUNNING,
    TrainingState.RUNNING,
    WaveState.RUNNING,
    StationState.STARTING,
    "PENDING",
    # How far a station is in its wave.
    "ASSIGNED",
    "BAKING",
}
_WARN_WORDS: Final = {
    StationState.DEGRADED,
    RolloutState.PAUSED,
    RolloutState.WAITING_FOR_APPROVAL,
    PromotionOutcome.NOT_ENOUGH_EVIDENCE,
    AlarmState.ACKNOWLEDGED,
    "AWAY",
    "SET_ASIDE",
    "ROLLED_BACK",
}


def tone(word: str) -> str:
    """CSS class of a state word: good, bad, busy, warn or idle."""
    for name, words in (("good", _GOOD_WORDS), ("bad", _BAD_WORDS), ("busy", _BUSY_WORDS), ("warn", _WARN_WORDS)):
        if word in words:
            return name
    return "idle"


THEME_OPTIONS: Final[dict[str, str]] = {
    "theme.base": "light",
    "theme.primaryColor": ACCENT,
    "theme.backgroundColor": "#f4f6f9",
    "theme.secondaryBackgroundColor": "#ffffff",
    "theme.textColor": INK,
    "theme.borderColor": RULE,
    "theme.baseRadius": "8px",
    "theme.baseFontSize": "15",
    "theme.showWidgetBorder": "true",
    "theme.sidebar.backgroundColor": "#101c2c",
    "theme.sidebar.secondaryBackgroundColor": "#1b2a3f",
    "theme.sidebar.textColor": "#dbe4ee",
    "theme.sidebar.borderColor": "#26374e",
    "theme.sidebar.primaryColor": "#7fb4f5",
}

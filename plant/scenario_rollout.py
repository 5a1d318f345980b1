# SPDX-License-Identifier: Apache-2.0
"""The part of a scenario that tells of a rollout: which package comes, in which waves, and who is cut off.

Shapes only. Played by `plant.rollouts.player`; part of `plant.scenario`.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.ids import Name


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Shows(StrEnum):
    """What a run has to show of its rollout."""

    # A package whose INT8 form is blind to one kind is aborted by a gate, and every touched station goes back.
    WORSE_ABORTED = "worse-aborted"
    # A package whose limits rest on more judged parts goes through all its waves.
    BETTER_COMPLETED = "better-completed"
    # A package that central learnt from judged defects goes on while some stations are cut off in a wave.
    CUT_AND_FINISHED = "cut-and-finished"


class StoryWave(_Strict):
    """One wave, as in `PUT /rollout-policies`. `margin`: it judges in shadow first, and not worse than by that."""

    scope: Literal["COUNT", "SHARE", "LINE", "SITE", "ALL"]
    amount: float = Field(default=1, gt=0)
    bake_parts: int | None = Field(default=None, ge=1)
    margin: float | None = Field(default=None, gt=0, lt=0.5)


class RolloutStory(_Strict):
    """A rollout that begins by itself once its package is there, from part `at_part` of the line on.

    `blind_to`: the kind of defect that the worse package no longer sees. `examples`: judged parts of each kind that the
    others rest on. `cut`: stations between which and broker and central nothing passes from wave `cut_at_wave` (1, 2,
    …) on, until the rest of that wave is done and central says that it waits for them.
    """

    shows: Shows
    at_part: int = Field(ge=1)
    waves: tuple[StoryWave, ...] = Field(alias="wave", min_length=1, max_length=20)
    blind_to: Name | None = None
    examples: Annotated[int, Field(ge=1, le=500)] = 16
    cut: tuple[Name, ...] = ()
    cut_at_wave: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.shows is Shows.WORSE_ABORTED) != (self.blind_to is not None):
            msg = f"blind_to: expected the kind that a {Shows.WORSE_ABORTED} package no longer sees, and none otherwise"
            raise ValueError(msg)
        if (self.shows is Shows.CUT_AND_FINISHED) != bool(self.cut):
            msg = f"cut: expected the stations that {Shows.CUT_AND_FINISHED} cuts off, and none otherwise"
            raise ValueError(msg)
        return self

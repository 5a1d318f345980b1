# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for freezes. Shapes only; the rules that hold for all bodies stand in `schemas`."""

from pydantic import model_validator

from central.api.written import Why, Written, WrittenTime
from contracts.base import Shape, UtcTime
from contracts.ids import Name


class MakeFreeze(Written):
    """Body of `POST /freezes`: nobody of `site` (None: of any site) is touched from `begins` to `ends`.

    `is_ahead`: set before central has heard of the site; else one that it has not heard of is refused as mistyped.
    """

    site: Name | None = None
    begins: WrittenTime
    ends: WrittenTime
    reason: Why
    is_ahead: bool = False
    by: Name

    @model_validator(mode="after")
    def _is_possible(self) -> "MakeFreeze":
        if self.ends <= self.begins:
            raise ValueError(f"ends: expected a time after {self.begins.isoformat()}, got {self.ends.isoformat()}")
        return self


class FreezeView(Shape):
    """`GET /freezes`: those that hold now or will, or also those that are over.

    `also_frozen_by`: others that hold stations of the same site at the moment. Lifting one of them is not enough.
    """

    id: int
    site: Name | None
    begins: UtcTime
    ends: UtcTime
    reason: str
    made_at: UtcTime
    made_by: str
    lifted_at: UtcTime | None = None
    lifted_by: str | None = None
    is_in_force: bool
    also_frozen_by: list[int] = []

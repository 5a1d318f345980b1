# SPDX-License-Identifier: Apache-2.0
"""What a station inspects at one time: all recipes, the product made, and what held before. Pure data.

A page never changes; the book exchanges it whole, so that a part is judged by one page and never by a mixture.
"""

from dataclasses import dataclass, replace

from edge_agent.recipes.assigned import Assigned
from edge_agent.recipes.recipe import Recipe, Recipes


@dataclass(frozen=True)
class Page:
    """What is in force. Exchanged whole.

    Args:
        recipes: of all products.
        product: what is made now, for frames that do not say theirs; None: not known.
        assigned: central's part of the recipes.
        since_s: monotonic time from which on captured parts belong to this page.
        before: the page before, for frames captured under it that come out of the camera's buffers only now.
        blocked: why nothing may be judged, since it is not known what is made; empty: it is, or does not matter.
        turn: counts the changes.
    """

    recipes: Recipes
    product: str | None
    assigned: Assigned
    since_s: float
    before: "Page | None" = None
    blocked: str = ""
    turn: int = 0

    @property
    def number(self) -> int:
        """Of central's assignment, 0 without one."""
        return self.assigned.number

    @property
    def current(self) -> Recipe:
        """The recipe of the product made now."""
        return Recipe(refusal=self.blocked) if self.blocked else self.recipes.of(self.product)

    def at(self, captured_s: float) -> "Page":
        """The page that held then; the oldest that is known for what is older."""
        page = self
        while captured_s < page.since_s and page.before is not None:
            page = page.before
        return page

    def exposes_like(self, other: "Page") -> bool:
        """Whether the camera is set the same for both."""
        mine, theirs = self.current, other.current
        return (mine.exposure_us, mine.gain_db) == (theirs.exposure_us, theirs.gain_db)

    def shortened(self, most: int) -> "Page":
        """The page with at most so many in a row, itself counted: a camera's buffers reach back over a few changes."""
        before = None if self.before is None or most <= 1 else self.before.shortened(most - 1)
        return replace(self, before=before)

# SPDX-License-Identifier: Apache-2.0
"""The recipe: what to look at on a product, how long that may take, and what happens to doubtful parts.

Data only. Limits are not here: they belong to the package and come with its manifest. Read from the settings,
used by the loop and the decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from edge_agent.vision.roi import Roi


@dataclass(frozen=True)
class Recipe:
    """How one product is inspected.

    Args:
        roi: the model's field of view; None: the whole frame.
        deadline_ms: capture → verdict; a later verdict is no decision.
        pass_review: let parts in the REVIEW band pass (they are still shown for review) instead of holding them.
        min_contrast: standard deviation of 8-bit values below which the frame shows nothing (lamp or lens dead).
    """

    roi: Roi | None = None
    deadline_ms: float = 1000.0
    pass_review: bool = False
    min_contrast: float = 1.0


@dataclass(frozen=True)
class Recipes:
    """Recipes by product, with one for products that have none of their own."""

    by_product: Mapping[str, Recipe] = field(default_factory=lambda: MappingProxyType({}))
    default: Recipe = Recipe()

    def of(self, product: str | None) -> Recipe:
        """The recipe of a product."""
        return self.default if product is None else self.by_product.get(product, self.default)

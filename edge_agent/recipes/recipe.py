# SPDX-License-Identifier: Apache-2.0
"""The recipe: what to look at on a product, how long that may take, and what happens to doubtful parts.

Data only. The package's limits are not here, they come with its manifest. Read from the settings and from central's
assignments, used by the loop and the decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from contracts.recipes import RecipeLimits
from contracts.vocabulary import Stage
from edge_agent.actuators.base import OutputUse
from edge_agent.errors import TrustError
from edge_agent.vision.quality import USUAL_GUARD, Guard
from edge_agent.vision.registration import Registration
from edge_agent.vision.roi import Roi


class RecipeRefused(TrustError):  # noqa: N818 - a refusal is an answer, not an accident
    """One recipe that this station cannot follow. Never retry; report it. Those beside it are not concerned."""

    default_code = "recipe-refused"


@dataclass(frozen=True)
class Recipe:
    """How one product is inspected.

    Args:
        version: as central counts them; 0: of the station's settings.
        roi: the model's field of view; None: the whole frame.
        deadline_ms: capture → verdict; a later verdict is no decision.
        pass_review: let parts in the REVIEW band pass (they are still shown for review) instead of holding them.
        limits: instead of those of one package's manifest; for any other package they say nothing.
        package_family: the product whose package judges; None: this product's own.
        exposure_us: set at the camera where it can; None leaves it.
        gain_db: the same.
        budgets_ms: longest time that a stage should take; breaking one alone costs no part, it is counted and told.
        outputs: which of the station's outputs are told of its parts, and when; None: all, as the settings say.
        refusal: why nothing can be judged by it; empty: it can. Its parts get no decision and are held.
        guard: what a picture must keep to be judged at all.
        registration: how the product is found in the frame; None: it lies where it was taught.
    """

    version: int = 0
    roi: Roi | None = None
    deadline_ms: float = 1000.0
    pass_review: bool = False
    guard: Guard = USUAL_GUARD
    registration: Registration | None = None
    limits: RecipeLimits | None = None
    package_family: str | None = None
    exposure_us: float | None = None
    gain_db: float | None = None
    budgets_ms: Mapping[Stage, float] = field(default_factory=lambda: MappingProxyType({}))
    outputs: OutputUse | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Recipes:
    """Recipes by product, with one for products that have none of their own."""

    by_product: Mapping[str, Recipe] = field(default_factory=lambda: MappingProxyType({}))
    default: Recipe = Recipe()

    def of(self, product: str | None) -> Recipe:
        """The recipe of a product."""
        return self.default if product is None else self.by_product.get(product, self.default)

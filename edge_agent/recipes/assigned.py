# SPDX-License-Identifier: Apache-2.0
"""Central's recipes as this station follows them: those of the newest assignment, and what stands in for a refused one.

A recipe that the station cannot follow is refused alone. In its place stays the last version of central's that it
could follow, else the recipe of its settings, else nothing: then parts of that product get no decision, because any
other recipe would be the wrong one. What stays keeps the signed envelope it came in, so that it can be verified again
after a restart. Pure; the book decides on numbers and addressees, and writes the file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from contracts.recipes import RefusedRecipe
from edge_agent.recipes.from_central import Opened, OpenRecipes
from edge_agent.recipes.recipe import Recipe, Recipes

_MAX_REASON = 500


@dataclass(frozen=True)
class Assigned:
    """See the module.

    Args:
        number: of the newest assignment; 0: none.
        sealed: its envelope.
        recipes: what is followed, by product.
        earlier: of products whose newest recipe is refused, the envelope of the one that is followed.
        refused: what is not followed, and why.
        versions: what was assigned, followed or not.
    """

    number: int = 0
    sealed: bytes = b""
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: MappingProxyType({}))
    earlier: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    refused: tuple[RefusedRecipe, ...] = ()
    versions: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def followed_by(self, opened: Opened, sealed: bytes, own: Recipes) -> "Assigned":
        """The next assignment after this one."""
        recipes, earlier, refused = dict(opened.recipes), {}, []
        for each in opened.assigned.recipes:
            if (reason := opened.refused.get(each.product)) is None:
                continue
            before = self.recipes.get(each.product)
            if before is not None and not before.refusal:
                recipes[each.product] = before
                earlier[each.product] = self.earlier.get(each.product, self.sealed)
                follows: int | None = before.version
            elif each.product in own.by_product:
                follows = 0
            else:
                recipes[each.product] = Recipe(refusal=f"version {each.version} is refused: {reason}")
                follows = None
            refused.append(
                RefusedRecipe(product=each.product, version=each.version, reason=reason[:_MAX_REASON], follows=follows)
            )
        versions = {each.product: each.version for each in opened.assigned.recipes}
        return Assigned(opened.assigned.number, sealed, recipes, earlier, tuple(refused), versions)

    def laid_over(self, own: Recipes) -> Recipes:
        """Every recipe that the station follows: central's where there is one, else that of the settings."""
        return Recipes(MappingProxyType({**own.by_product, **self.recipes}), own.default)

    def in_words(self) -> str:
        """What is refused, for a person; empty: nothing."""
        return "; ".join(
            f"recipe of {each.product}, version {each.version}: {each.reason}; {_follows(each)}"
            for each in self.refused
        )

    def to_file(self) -> bytes:
        """As it is kept on the disk."""
        products: dict[bytes, list[str]] = {}
        for product, sealed in self.earlier.items():
            products.setdefault(sealed, []).append(product)
        earlier = [{"envelope": sealed.decode(), "products": names} for sealed, names in products.items()]
        return json.dumps({"number": self.number, "envelope": self.sealed.decode(), "earlier": earlier}).encode()


def from_file(content: bytes, open_recipes: OpenRecipes, own: Recipes) -> Assigned:
    """What was kept, verified anew; a recipe that is refused only now has its stand-in as if it had just come.

    Raises:
        PackageRefused: an envelope does not hold.
        ValueError, KeyError, TypeError: it is no such file.
    """
    kept = json.loads(content)
    recipes: dict[str, Recipe] = {}
    earlier: dict[str, bytes] = {}
    for each in kept.get("earlier", ()):
        sealed = str(each["envelope"]).encode()
        opened = open_recipes(sealed)
        for product in each["products"]:
            if product in opened.recipes:
                recipes[product], earlier[product] = opened.recipes[product], sealed
    before = Assigned(recipes=recipes, earlier=earlier)
    sealed = str(kept["envelope"]).encode()
    return before.followed_by(open_recipes(sealed), sealed, own)


def _follows(each: RefusedRecipe) -> str:
    if each.follows is None:
        return "its parts get no decision and are held"
    return f"version {each.follows} stays in force" if each.follows else "that of the settings is in force"

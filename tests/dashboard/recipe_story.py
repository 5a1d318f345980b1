# SPDX-License-Identifier: Apache-2.0
"""The recipes of the plant's story: two products, one station that runs an older version, whatever was asked.

Mixed into `Story`; answers are made by central's own views from rows, as central makes them.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from central.api import recipe_schemas
from central.api.recipe_views import head, history_of, view
from central.domain.recipes import read_document
from central.store.recipe_tables import RecipeDeed, RecipeVersion
from contracts.vocabulary import RecipeAct
from tests.dashboard.learning_story import PRODUCT, STATIONS

OTHER = "gear"
LOOSER = "limits.ng_limit: 1.2 is above the package's 1: parts pass that it would stop"


class RecipeStory:
    """What central tells of recipes. The fields are those of `Story`."""

    now: datetime
    is_simulated: bool
    has_stations: bool
    are_stations_away: bool
    actions: list[str]
    recipe_rows: list[RecipeVersion]
    pins: dict[tuple[str, str], int]
    refusals: dict[tuple[str, str], tuple[int, str]]
    is_led: bool

    def first_recipes(self) -> list[RecipeVersion]:
        return [
            self._recipe(OTHER, 1, {"deadline_ms": 200}, "first gear"),
            self._recipe(PRODUCT, 1, {"deadline_ms": 120}, "first ring"),
            self._recipe(
                PRODUCT,
                2,
                {"deadline_ms": 90, "guard": {"min_sharpness": 4}, "region": {"xywh": [10, 20, 192, 192]}},
                "blurred pictures came through",
                LOOSER,
            ),
        ]

    def _recipe(
        self, product: str, version: int, document: dict[str, object], note: str, *warnings: str
    ) -> RecipeVersion:
        return RecipeVersion(
            product=product,
            version=version,
            document=read_document(document, product, version).model_dump_json(),
            created_at=self.now - timedelta(hours=9 - version),
            created_by="anna",
            note=note,
            warnings=list(warnings),
        )

    def recipes(self) -> list[recipe_schemas.RecipesOfProduct]:
        if not self.has_stations:
            return []
        return [
            recipe_schemas.RecipesOfProduct(
                product=product,
                versions=[head(row) for row in self.rows_of(product)],
                stations=[self._at(index, product) for index in range(len(STATIONS))],
            )
            for product in (OTHER, PRODUCT)
            if self.rows_of(product)
        ]

    def rows_of(self, product: str) -> list[RecipeVersion]:
        rows = [row for row in self.recipe_rows if row.product == product]
        return sorted(rows, key=lambda row: -row.version)

    def _at(self, index: int, product: str) -> recipe_schemas.RecipeAtStation:
        runs = 2 - index
        pinned = self.pins.get((STATIONS[index], product))
        refused_version, refusal = self.refusals.get((STATIONS[index], product), (None, None))
        return recipe_schemas.RecipeAtStation(
            station=STATIONS[index],
            version=pinned or self.rows_of(product)[0].version,
            is_pinned=pinned is not None,
            refused_version=refused_version,
            refusal=refusal,
            is_led=self.is_led,
            reported_version=runs if product == PRODUCT else None,
            product_now=PRODUCT,
            number=2,
            reported_number=runs,
            sync="IN_SYNC" if index == 0 else "PENDING",
            is_connected=not self.are_stations_away,
            is_simulated=self.is_simulated,
        )

    def recipe_history(self, product: str) -> recipe_schemas.RecipeHistory | None:
        rows = self.rows_of(product)
        deed = RecipeDeed(at=self.now, by="ben", act=RecipeAct.SWITCH_ASKED, product=product, station=STATIONS[0])
        return history_of(product, rows, [deed], None, 50) if rows and self.has_stations else None

    def make_recipe(self, product: str, said: recipe_schemas.MakeRecipe) -> recipe_schemas.RecipeView | None:
        """None: another version came in between."""
        rows = self.rows_of(product)
        newest = rows[0].version if rows else None
        if said.based_on != newest:
            return None
        made = self._recipe(product, (newest or 0) + 1, said.document, said.note)
        made.created_by = said.by or "token"
        self.recipe_rows.append(made)
        return view(made)

# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for recipes. Shapes only; the rules that hold for all bodies stand in `schemas`."""

from typing import Annotated, Any

from pydantic import Field

from central.api.written import Remark, Why, Written
from contracts.base import Shape, UtcTime
from contracts.ids import Name
from contracts.recipes import ProductRecipe
from contracts.vocabulary import RecipeAct

VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]
Note = Why


class RecipeHead(Shape):
    """One version without its document. `station` None: for every station. Part of `RecipesOfProduct`."""

    version: int
    station: str | None = None
    created_at: UtcTime
    created_by: str
    note: str
    restored_from: int | None = None
    # What lets more parts pass than the package alone would.
    warnings: list[str] = []


class RecipeAtStation(Shape):
    """What one station should use for a product, beside what it says. Part of `RecipesOfProduct`."""

    station: str
    version: int | None
    is_pinned: bool
    # By its last status, while it makes this product: the version that judges. None: it makes another, or said nothing.
    reported_version: int | None = None
    product_now: Name | None = None
    # Of the recipes sent and of those it has.
    number: int | None = None
    reported_number: int | None = None
    # What the station cannot follow of them: the version of this product that it refuses, and why.
    refused_version: int | None = None
    refusal: str | None = None
    # The line's controller says what the station makes: it cannot be asked for another product.
    is_led: bool = False
    sync: str
    is_connected: bool
    is_simulated: bool


class RecipesOfProduct(Shape):
    """`GET /recipes` → list: a product's versions, newest first, and what each station should use and does use."""

    product: Name
    versions: list[RecipeHead]
    stations: list[RecipeAtStation]


class RecipeDifference(Shape):
    """A field by its path; None: not set."""

    field: str
    old: Any
    new: Any


class RecipeView(RecipeHead):
    """`GET /recipes/{product}/{version}`, and the answer to what makes one."""

    product: Name
    recipe: ProductRecipe


class RecipeInHistory(RecipeView):
    """A version and what it changed. Part of `RecipeHistory`.

    `compared_with`: the version before it for the same stations; a station's first is held against the newest for every
    station at that time, and the very first, None, against a recipe of defaults.
    """

    compared_with: int | None = None
    changes: list[RecipeDifference]


class RecipeDeedView(Shape):
    """What a person did beside making a version. Part of `RecipeHistory`."""

    at: UtcTime
    by: str
    act: RecipeAct
    station: str
    version: int | None = None
    note: str


class RecipeHistory(Shape):
    """`GET /recipes/{product}`: newest first."""

    product: Name
    versions: list[RecipeInHistory]
    deeds: list[RecipeDeedView]


class MakeRecipe(Written):
    """Body of `POST /recipes/{product}`.

    `document`: a `ProductRecipe` without its version; unknown fields are refused. `based_on`: the newest version that
    the writer saw for the same stations (those of the query), None where there is none. `by`: whose hand it is; None:
    the token's name stands.
    """

    document: dict[str, Any]
    based_on: VersionNumber | None = None
    note: Note
    by: Name | None = None


class Because(Written):
    """Body of `POST /recipes/{product}/{version}/restore`. `by` as in `MakeRecipe`."""

    note: Note
    by: Name | None = None


class PinRecipe(Because):
    """Body of `PUT /stations/{site}/{line}/{station}/recipes/{product}/pin`."""

    version: VersionNumber


class SwitchStation(Written):
    """Body of `POST /stations/{site}/{line}/{station}/product`."""

    product: Name
    note: Remark = ""
    by: Name | None = None


class SwitchAsked(Shape):
    """Answer to it: the station was asked. Its next status confirms, in `status.recipe.product`."""

    station: str
    product: Name
    asked_at: UtcTime
    # What the station made by its last status.
    product_before: Name | None = None
    confirmed_by: str = "the station's next status: GET /stations, status.recipe.product"
    warnings: list[str] = []

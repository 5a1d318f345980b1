# SPDX-License-Identifier: Apache-2.0
"""The tables of recipes: versions, pins, what each station was last sent, and what people did with them.

Shapes and constraints only; `store/repositories/recipes.py` asks the questions. A version is written once and never
changed; what a station is to use follows from versions and pins and is written nowhere else.
"""

from datetime import datetime

from sqlalchemy import JSON, Index, Text, UniqueConstraint
from sqlmodel import Field

from central.store.columns import LongNumber, RowNumber, UtcDateTime, Word
from central.store.tables import Row
from contracts.vocabulary import RecipeAct

# Stands for "every station" where a column may not be empty: NULLs are never equal in a unique constraint.
EVERY_STATION = ""


class RecipeVersion(Row, table=True):
    """One version of a product's recipe, for every station or for one.

    `version` rises per product, over all stations together: product and version name one document for good, also in
    the inspections that were judged by it.
    """

    __tablename__ = "recipe_version"
    __table_args__ = (
        UniqueConstraint("product", "version"),
        Index("ix_recipe_version_product_station", "product", "station"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    product: str = Field(max_length=63)
    # Address of the one station that it is for; empty: every station.
    station: str = Field(default=EVERY_STATION, max_length=200)
    version: int
    # JSON of the ProductRecipe, every default written out.
    document: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str = Field(max_length=80)
    note: str = Field(sa_type=Text)
    # The version whose document it repeats.
    restored_from: int | None = None
    # What loosens the inspection, in words, as it stood when the version was made.
    warnings: list[str] = Field(default_factory=list, sa_type=JSON)


class RecipePin(Row, table=True):
    """A station that is to stay at one version of a product."""

    __tablename__ = "recipe_pin"

    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id", primary_key=True)
    product: str = Field(max_length=63, primary_key=True)
    version: int
    pinned_at: datetime = Field(sa_type=UtcDateTime)
    pinned_by: str = Field(max_length=80)
    note: str = Field(sa_type=Text)


class RecipeAssignment(Row, table=True):
    """Recipes of a station as they were sent; its highest number is in force. Only `published_at` ever changes."""

    __tablename__ = "recipe_assignment"
    __table_args__ = (UniqueConstraint("station_id", "number"),)

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id")
    number: int = Field(sa_type=LongNumber)
    # product → version
    versions: dict[str, int] = Field(default_factory=dict, sa_type=JSON)
    issued_at: datetime = Field(sa_type=UtcDateTime)
    # The DSSE envelope, JSON.
    sealed: str = Field(sa_type=Text)
    published_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RecipeDeed(Row, table=True):
    """What a person did beside making a version: who, when, what. Never changed."""

    __tablename__ = "recipe_deed"
    __table_args__ = (Index("ix_recipe_deed_product", "product"),)

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    by: str = Field(max_length=80)
    act: RecipeAct = Field(sa_type=Word(RecipeAct))
    product: str = Field(max_length=63)
    station: str = Field(max_length=200)
    version: int | None = None
    note: str = Field(default="", sa_type=Text)

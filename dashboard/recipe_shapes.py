# SPDX-License-Identifier: Apache-2.0
"""What the dashboard knows of central's answers on recipes; see `shapes` for the rules.

A recipe's document stays a plain dict: what this page does not show must go back to central as it came.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.vocabulary import RecipeAct


@dataclass(frozen=True)
class RecipeHead:
    """One version without its document. `station` None: for every station."""

    version: int
    created_at: datetime
    created_by: str
    note: str
    station: str | None = None
    restored_from: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecipeAtStation:
    """What a station should use for a product, beside what it says."""

    station: str
    version: int | None
    is_pinned: bool
    sync: str
    is_connected: bool
    is_simulated: bool
    reported_version: int | None = None
    product_now: str | None = None
    number: int | None = None
    reported_number: int | None = None
    refused_version: int | None = None
    refusal: str | None = None
    is_led: bool = False

    @property
    def name(self) -> str:
        """Last level of the address."""
        return self.station.rsplit("/", maxsplit=1)[-1]

    @property
    def line(self) -> str:
        """`site/line`."""
        return self.station.rsplit("/", maxsplit=1)[0]


@dataclass(frozen=True)
class RecipesOfProduct:
    """A product's versions, newest first, and its stations."""

    product: str
    versions: tuple[RecipeHead, ...]
    stations: tuple[RecipeAtStation, ...]


@dataclass(frozen=True)
class RecipeDifference:
    """A field by its path; None: not set."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True)
class RecipeVersion:
    """One version with its document and what it changed."""

    version: int
    created_at: datetime
    created_by: str
    note: str
    recipe: dict[str, Any]
    station: str | None = None
    restored_from: int | None = None
    warnings: tuple[str, ...] = ()
    compared_with: int | None = None
    changes: tuple[RecipeDifference, ...] = ()


@dataclass(frozen=True)
class RecipeDeed:
    """What a person did beside making a version."""

    at: datetime
    by: str
    act: RecipeAct
    station: str
    note: str
    version: int | None = None


@dataclass(frozen=True)
class RecipeHistory:
    """Newest first."""

    product: str
    versions: tuple[RecipeVersion, ...]
    deeds: tuple[RecipeDeed, ...] = ()


@dataclass(frozen=True)
class SwitchAsked:
    """A station was asked for another product; its next status confirms."""

    station: str
    product: str
    asked_at: datetime
    product_before: str | None = None
    warnings: tuple[str, ...] = ()

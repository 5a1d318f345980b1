# SPDX-License-Identifier: Apache-2.0
"""Recipe rows to the shapes of the API. Pure; adds differences, the fleet word, and nothing else that is not stored."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from central.api import recipe_schemas as shapes
from central.domain.recipes import differences
from central.services.recipe_sending import status_of
from central.store.recipe_tables import EVERY_STATION, RecipeDeed, RecipeVersion
from central.store.repositories.recipes import Choice, Sent
from central.store.tables import Station
from contracts.recipes import ProductRecipe
from contracts.reports import StationReported

# A station that is there takes its recipes within a moment and says so with its next heartbeat.
LATE_AFTER: Final = timedelta(seconds=60)
_REFUSED_FAULT: Final = "recipes-refused"
# Of two words the one that a person should look at first; what is not named goes last.
_WORSE: Final = {"ERROR": 3, "PENDING": 2, "UNKNOWN": 1}


def recipe_sync_word(
    sent: Sent | None, status: StationReported | None, now: datetime, product: str | None = None
) -> str:
    """Recipes sent against recipes had, in the words of `views.sync_word`. `product`: of this product alone.

    REGISTERED: none were sent. UNKNOWN: it never said a word of recipes. PENDING: on their way, or the station is away.
    ERROR: it refuses them or one of them, or is there and has not taken them for long. IN_SYNC: it has what was sent
    last.
    """
    if sent is None:
        return "REGISTERED"
    if status is None or status.recipe is None:
        return "UNKNOWN"
    if status.recipe.number == sent.number:
        return "ERROR" if any(product in (None, each.product) for each in status.recipe.refused) else "IN_SYNC"
    is_refused = any(fault.code == _REFUSED_FAULT for fault in status.faults)
    is_late = status.is_connected and now - sent.issued_at > LATE_AFTER
    return "ERROR" if is_refused or is_late else "PENDING"


def worse(packages: str, recipes: str) -> str:
    """One word for both."""
    return recipes if _WORSE.get(recipes, 0) > _WORSE.get(packages, 0) else packages


def head(row: RecipeVersion) -> shapes.RecipeHead:
    """A version without its document."""
    return shapes.RecipeHead(
        version=row.version,
        station=None if row.station == EVERY_STATION else row.station,
        created_at=row.created_at,
        created_by=row.created_by,
        note=row.note,
        restored_from=row.restored_from,
        warnings=row.warnings,
    )


def view(row: RecipeVersion) -> shapes.RecipeView:
    """A version with its document."""
    recipe = ProductRecipe.model_validate_json(row.document)
    return shapes.RecipeView(**head(row).model_dump(), product=row.product, recipe=recipe)


def history_of(
    product: str, rows: Sequence[RecipeVersion], deeds: Sequence[RecipeDeed], station: str | None, limit: int
) -> shapes.RecipeHistory:
    """Versions (newest first, all of the product) with their differences; `station` leaves out those of others.

    `limit`: so many of the newest; documents with landmarks are large.
    """
    shown: list[shapes.RecipeInHistory] = []
    for index, row in enumerate(rows):
        if station is not None and row.station != station:
            continue
        if len(shown) == limit:
            break
        older = rows[index + 1 :]
        before = next((old for old in older if old.station == row.station), None)
        before = before or next((old for old in older if old.station == EVERY_STATION), None)
        old = ProductRecipe.model_validate_json(before.document) if before else None
        made = view(row)
        changes = [
            shapes.RecipeDifference(field=each.field, old=each.old, new=each.new)
            for each in differences(old, made.recipe)
        ]
        shown.append(
            shapes.RecipeInHistory(
                **head(row).model_dump(),
                product=product,
                recipe=made.recipe,
                compared_with=before.version if before else None,
                changes=changes,
            )
        )
    return shapes.RecipeHistory(
        product=product,
        versions=shown,
        deeds=[
            shapes.RecipeDeedView(
                at=deed.at, by=deed.by, act=deed.act, station=deed.station, version=deed.version, note=deed.note
            )
            for deed in deeds
            if station is None or deed.station == station
        ],
    )


def at_station(row: Station, product: str, chosen: Choice, sent: Sent | None, now: datetime) -> shapes.RecipeAtStation:
    """What a station should use for a product, beside what it says."""
    status = status_of(row)
    active = status.recipe if status is not None else None
    refused = next((each for each in (active.refused if active is not None else ()) if each.product == product), None)
    return shapes.RecipeAtStation(
        station=row.address,
        version=chosen.of(row).get(product),
        is_pinned=product in chosen.pinned.get(row.id or 0, {}),
        reported_version=active.version if active is not None and active.product == product else None,
        product_now=active.product if active is not None else None,
        number=sent.number if sent is not None else None,
        reported_number=active.number if active is not None else None,
        refused_version=refused.version if refused is not None else None,
        refusal=refused.reason if refused is not None else None,
        is_led=active is not None and active.is_led,
        sync=recipe_sync_word(sent, status, now, product),
        is_connected=status is not None and status.is_connected,
        is_simulated=row.is_simulated,
    )

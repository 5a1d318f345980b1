# SPDX-License-Identifier: Apache-2.0
"""`sightline-central recipe`: a product's recipe as a JSON file and back, for review and for other plants; and pins.

By the rules of `services/recipes.py`. Works on the database, whether central runs or not; a running one brings what
changed to the stations within seconds. Called by `central.__main__`.
"""

import json
from pathlib import Path
from typing import Final

from central.clock import Clock
from central.errors import InvalidError, NotFoundError
from central.services.recipes import Deed, RecipeService
from central.store.database import Database
from central.store.recipe_tables import EVERY_STATION, RecipeVersion
from central.store.repositories import recipes
from contracts.recipes import ProductRecipe

# Two landmarks of 64 KiB in base64, and room to spare.
_MOST_FILE_BYTES: Final = 1024 * 1024


class _NoBroker:
    """The command line reaches no broker; a running central publishes from the rows."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:  # noqa: ARG002 - the seam's signature
        return False


def export_recipe(database: Database, product: str, file: Path, *, station: str | None, version: int | None) -> int:
    """Write one version, without its number; None: the newest. Returns the version.

    Raises:
        NotFoundError: no such version.
        InvalidError: the file cannot be written.
    """
    with database.read() as session:
        if version is None:
            row = recipes.newest_of(session, product, station or EVERY_STATION)
        else:
            row = recipes.find(session, product, version)
        known = ", ".join(recipes.products(session)) or "none"
    if row is None:
        raise NotFoundError(f"recipe of {product}: no such version; products with recipes: {known}")
    recipe = ProductRecipe.model_validate_json(row.document)
    content = recipe.model_dump_json(exclude={"version"}, exclude_none=True, indent=2) + "\n"
    scratch = file.with_name(file.name + ".new")
    try:
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(file)
    except OSError as error:
        raise InvalidError(f"FILE: expected one that can be written, got {file}: {error.strerror}") from error
    return row.version


def import_recipe(
    database: Database, clock: Clock, product: str, file: Path, *, station: str | None, by: str, note: str
) -> RecipeVersion:
    """Make the next version from a file.

    Raises:
        InvalidError: the file cannot be read, is no recipe, or changes nothing; nothing was stored.
        NotFoundError: no such station.
        ConflictError: another version came in between.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_FILE_BYTES + 1)
        if len(content) > _MOST_FILE_BYTES:
            raise InvalidError(f"{file}: expected at most {_MOST_FILE_BYTES} bytes")
        document = json.loads(content)
    except OSError as error:
        raise InvalidError(f"FILE: expected one that can be read, got {file}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidError(f"{file}: expected JSON as `recipe export` writes it, got: {error}") from error
    if not isinstance(document, dict):
        raise InvalidError(f"{file}: expected a JSON object, got {type(document).__name__}")
    with database.read() as session:
        newest = recipes.newest_of(session, product, station or EVERY_STATION)
    service = RecipeService(database, _NoBroker(), lambda: False)
    deed = Deed(by, clock.now(), note)
    return service.store(product, document, newest.version if newest else None, deed, station=station)


def pin_recipe(
    database: Database, clock: Clock, product: str, *, station: str, version: int | None, by: str, note: str
) -> None:
    """Keep a station at one version; None: let it use the newest again.

    Raises:
        NotFoundError: no such station or version, or it is not pinned.
        InvalidError: that version is for another station.
    """
    service = RecipeService(database, _NoBroker(), lambda: False)
    deed = Deed(by, clock.now(), note)
    if version is None:
        service.unpin(station, product, deed)
    else:
        service.pin(station, product, version, deed)

# SPDX-License-Identifier: Apache-2.0
"""`/recipes`: versions of every product and what they changed; pins and changeovers of stations.

Reads rows and calls `services/recipes.py`; what a person changed leaves for the stations before the answer does.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from sqlmodel import Session

from central.api import recipe_schemas as shapes
from central.api.auth import Caller, CallerOf, ServicesOf, allow
from central.api.recipe_views import at_station, head, history_of, view
from central.api.trainings import loop_of
from central.errors import InvalidError, NotFoundError
from central.foundation import Services
from central.services.recipe_sending import status_of
from central.services.recipes import Deed
from central.store.repositories import recipes, stations
from contracts.ids import Name, StationAddress
from contracts.vocabulary import Role

router = APIRouter(prefix="/recipes", tags=["recipes"], dependencies=[Depends(allow(Role.VIEWER))])
station_router = APIRouter(prefix="/stations", tags=["recipes"], dependencies=[Depends(allow(Role.ENGINEER))])

Product = Annotated[Name, Path()]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
ForStation = Annotated[str | None, Query(description="site/line/station: made for this station alone")]
_engineer = [Depends(allow(Role.ENGINEER))]
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "The state moved on; read again"}}
_MOST_DEEDS = 200
_MOST_HEADS = 50


@router.get("", summary="Products with their recipes' versions")
def list_recipes(services: ServicesOf) -> list[shapes.RecipesOfProduct]:
    """By product, each with its 50 newest; with what each station should use and what it says that it uses."""
    now = services.clock.now()
    with services.database.read() as session:
        chosen, sent, rows = recipes.choice(session), recipes.last_sent(session), stations.list_all(session)
        return [
            shapes.RecipesOfProduct(
                product=product,
                versions=[head(row) for row in recipes.versions(session, product, _MOST_HEADS)],
                stations=[at_station(row, product, chosen, sent.get(row.id or 0), now) for row in rows],
            )
            for product in recipes.products(session)
        ]


@router.get("/{product}", summary="History of a product's recipes, newest first")
def get_history(
    services: ServicesOf,
    product: Product,
    station: ForStation = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> shapes.RecipeHistory:
    """Each version with what it changed, field by field. `station`: only what was made for it alone."""
    with services.database.read() as session:
        rows = recipes.versions(session, product)
        if not rows:
            raise _unknown(session, product)
        deeds = recipes.deeds_of(session, product, _MOST_DEEDS)
    return history_of(product, rows, deeds, station, limit)


@router.get("/{product}/{version}", summary="One version")
def get_recipe(services: ServicesOf, product: Product, version: Version) -> shapes.RecipeView:
    """With its whole document."""
    with services.database.read() as session:
        row = recipes.find(session, product, version)
        if row is None:
            raise (
                _unknown(session, product)
                if not recipes.versions(session, product, 1)
                else _no_version(product, version)
            )
    return view(row)


@router.post(
    "/{product}", summary="Make the next version", status_code=201, dependencies=_engineer, responses=_CONFLICT
)
def make_recipe(
    services: ServicesOf, caller: CallerOf, product: Product, said: shapes.MakeRecipe, station: ForStation = None
) -> shapes.RecipeView:
    """Stations that are not pinned use it from their next captured part on. See `warnings` in the answer."""
    deed = _deed(services, caller, said.by, said.note)
    row = loop_of(services).recipes.store(product, said.document, said.based_on, deed, station=_address(station))
    loop_of(services).recipe_sending.tick(services.clock.now())
    return view(row)


@router.post(
    "/{product}/{version}/restore",
    summary="Make a new version equal to an old one",
    status_code=201,
    dependencies=_engineer,
    responses=_CONFLICT,
)
def restore_recipe(
    services: ServicesOf, caller: CallerOf, product: Product, version: Version, said: shapes.Because
) -> shapes.RecipeView:
    """For the same stations as the old one."""
    row = loop_of(services).recipes.restore(product, version, _deed(services, caller, said.by, said.note))
    loop_of(services).recipe_sending.tick(services.clock.now())
    return view(row)


@station_router.put("/{site}/{line}/{station}/recipes/{product}/pin", summary="Keep a station at one version")
def pin_station(
    *,
    services: ServicesOf,
    caller: CallerOf,
    site: Name,
    line: Name,
    station: Name,
    product: Product,
    said: shapes.PinRecipe,
) -> shapes.RecipeAtStation:
    """Until it is unpinned, whatever newer versions come."""
    address = f"{site}/{line}/{station}"
    loop_of(services).recipes.pin(address, product, said.version, _deed(services, caller, said.by, said.note))
    return _sent_to(services, address, product)


@station_router.delete("/{site}/{line}/{station}/recipes/{product}/pin", summary="Let a station use the newest again")
def unpin_station(
    *,
    services: ServicesOf,
    caller: CallerOf,
    site: Name,
    line: Name,
    station: Name,
    product: Product,
    note: Annotated[shapes.Note, Query()],
    by: Name | None = None,
) -> shapes.RecipeAtStation:
    """The newest version made for it alone, else the newest for every station."""
    address = f"{site}/{line}/{station}"
    loop_of(services).recipes.unpin(address, product, _deed(services, caller, by, note))
    return _sent_to(services, address, product)


@station_router.post(
    "/{site}/{line}/{station}/product", summary="Ask for a changeover", status_code=202, responses=_CONFLICT
)
def switch_product(
    *, services: ServicesOf, caller: CallerOf, site: Name, line: Name, station: Name, said: shapes.SwitchStation
) -> shapes.SwitchAsked:
    """From the next captured part on; parts captured before are judged by the old recipe. The next status confirms."""
    address = f"{site}/{line}/{station}"
    with services.database.read() as session:
        row = stations.find(session, address)
        status = status_of(row) if row is not None else None
    deed = _deed(services, caller, said.by, said.note)
    warnings = loop_of(services).recipes.switch(address, said.product, deed)
    return shapes.SwitchAsked(
        station=address,
        product=said.product,
        asked_at=deed.at,
        product_before=status.recipe.product if status is not None and status.recipe is not None else None,
        warnings=warnings,
    )


def _sent_to(services: Services, address: str, product: str) -> shapes.RecipeAtStation:
    now = services.clock.now()
    loop_of(services).recipe_sending.tick(now)
    with services.database.read() as session:
        row = stations.find(session, address)
        if row is None:
            raise NotFoundError(f"station {address}: never heard of")
        return at_station(row, product, recipes.choice(session), recipes.last_sent(session).get(row.id or 0), now)


def _deed(services: Services, caller: Caller, by: str | None, note: str) -> Deed:
    return Deed(by or caller.name, services.clock.now(), note)


def _address(station: str | None) -> str | None:
    if station is None:
        return None
    try:
        return str(StationAddress.parse(station))
    except ValueError as error:
        raise InvalidError(f"station: expected site/line/station, got {station!r}") from error


def _unknown(session: Session, product: str) -> NotFoundError:
    known = ", ".join(recipes.products(session)) or "none"
    return NotFoundError(f"product {product}: it has no recipe; known: {known}")


def _no_version(product: str, version: int) -> NotFoundError:
    return NotFoundError(f"recipe of {product}: no version {version}")

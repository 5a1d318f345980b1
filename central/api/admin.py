# SPDX-License-Identifier: Apache-2.0
"""`/admin`: tokens and counters. Only for ADMIN, except the counters, which anybody with a token may read."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from central.api.auth import CallerOf, ServicesOf, allow
from central.api.counting import service_counters
from central.api.schemas import CreateToken, ServiceCounters, TokenCreated
from central.errors import ConflictError
from central.store.repositories import tokens
from contracts.base import Shape, UtcTime
from contracts.ids import Name
from contracts.vocabulary import Role

router = APIRouter(prefix="/admin", tags=["admin"])

_admin = [Depends(allow(Role.ADMIN))]


class TokenView(Shape):
    """A token without its secret."""

    name: str
    role: Role
    created_at: UtcTime
    revoked_at: UtcTime | None = None


@router.get("/counters", summary="What ingest did", dependencies=[Depends(allow(Role.VIEWER))])
def counters(services: ServicesOf) -> ServiceCounters:
    """Since start, and what the tables hold."""
    return service_counters(services)


@router.get("/tokens", summary="Tokens, newest first", dependencies=_admin)
def list_tokens(services: ServicesOf) -> list[TokenView]:
    """Secrets are not stored, so they cannot be listed."""
    with services.database.read() as session:
        return [
            TokenView(name=token.name, role=token.role, created_at=token.created_at, revoked_at=token.revoked_at)
            for token in tokens.list_all(session)
        ]


@router.post("/tokens", summary="Make a token", dependencies=_admin)
def create_token(services: ServicesOf, wanted: CreateToken) -> TokenCreated:
    """The secret is shown this once."""
    with services.database.begin() as session:
        secret = tokens.create(session, wanted.name, wanted.role, services.clock.now())
    return TokenCreated(name=wanted.name, role=wanted.role, token=secret)


@router.delete("/tokens/{name}", summary="Revoke a token", dependencies=_admin, status_code=204)
def revoke_token(services: ServicesOf, caller: CallerOf, name: Annotated[Name, Path()]) -> None:
    """In force at once."""
    if caller.name == name:
        raise ConflictError(f"token {name!r} is the one you call with; revoke it with another ADMIN token")
    with services.database.begin() as session:
        tokens.revoke(session, name, services.clock.now())

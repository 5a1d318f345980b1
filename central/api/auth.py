# SPDX-License-Identifier: Apache-2.0
"""Who may do what: bearer tokens and roles, as dependencies of routes. Closed by default.

VIEWER < INSPECTOR < ENGINEER < ADMIN; STATION stands apart and may only bring evidence and read packages. Secrets are
random and stored as SHA-256. Does not create tokens: that is `store/repositories/tokens.py`, behind the command line
and the admin routes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from central.errors import ForbiddenError, UnauthorizedError
from central.foundation import Services
from central.store.repositories.tokens import find_by_secret
from contracts.vocabulary import Role

ROLE_ORDER: Final = (Role.VIEWER, Role.INSPECTOR, Role.ENGINEER, Role.ADMIN)

_bearer: Final = HTTPBearer(auto_error=False, description="`Authorization: Bearer sl_…`")


@dataclass(frozen=True)
class Caller:
    """Whose token it was."""

    name: str
    role: Role


# Neither blocks, and a plain function would be sent to a thread and back, for every request.
async def services_of(request: Request) -> Services:
    """The parts of this process."""
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(services_of)]


def identify(
    services: ServicesOf, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Who calls.

    Raises:
        UnauthorizedError: no token, an unknown or a revoked one.
    """
    if credentials is None:
        raise UnauthorizedError("expected the header `Authorization: Bearer TOKEN`, got none")
    with services.database.read() as session:
        token = find_by_secret(session, credentials.credentials)
    if token is None:
        raise UnauthorizedError("this token is unknown or was revoked; `sightline-central token create` makes one")
    return Caller(name=token.name, role=token.role)


CallerOf = Annotated[Caller, Depends(identify)]


def allow(minimum: Role | None, *, station: bool = False) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency that lets `minimum` and the roles above it pass, and STATION only when `station` is set.

    `allow(None, station=True)` is for stations alone.
    """

    async def check(caller: CallerOf) -> Caller:
        if may(caller.role, minimum, station=station):
            return caller
        wanted = " or ".join([*([f"{minimum.value} or above"] if minimum else []), *(["STATION"] if station else [])])
        raise ForbiddenError(f"expected role {wanted}, got {caller.role.value} (token {caller.name!r})")

    return check


def may(role: Role, minimum: Role | None, *, station: bool) -> bool:
    """The rule itself."""
    if role is Role.STATION:
        return station
    return minimum is not None and ROLE_ORDER.index(role) >= ROLE_ORDER.index(minimum)

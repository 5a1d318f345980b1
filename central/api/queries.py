# SPDX-License-Identifier: Apache-2.0
"""What is asked in a query: a parameter that the route does not know, or one given twice, is never passed over.

`?stat=active` would else show everything and look like an answer. One place for the whole API: `api/server.py` hangs
it on every router but those of probes (`/health`, `/ready`, `/metrics`), which have nothing to filter and are asked by
load balancers with whatever these add. Knows no parameter itself: it reads what the routes declare.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

from fastapi import Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from central.api.auth import CallerOf
from central.api.written import AskedStation
from central.domain.naming import some_of
from central.errors import InvalidError

_MOST_SHOWN: Final = 60

StationQuery = Annotated[AskedStation | None, Query(description="site/line/station")]


class KnownQuery:
    """A dependency of routes, after the caller is known: nobody without a token is told what could be asked."""

    def __init__(self) -> None:
        self._known: dict[Callable[..., Any], frozenset[str]] = {}

    async def __call__(self, request: Request, _caller: CallerOf) -> None:
        """Let pass what the route declares.

        Raises:
            InvalidError: a parameter that it does not, or one that came more than once.
        """
        asked = [name for name, _ in request.query_params.multi_items()]
        if not asked:
            return
        known = self._of(request.scope["route"])
        strange = [name for name in dict.fromkeys(asked) if name not in known]
        where = f"query of {request.method} {request.scope['route'].path}"
        if strange:
            expected = ", ".join(sorted(known)) or "no parameter"
            raise InvalidError(f"{where}: expected {expected}, got {some_of([_shown(name) for name in strange])}")
        twice = [name for name in dict.fromkeys(asked) if asked.count(name) > 1]
        if twice:
            raise InvalidError(f"{where}: expected each parameter once, got {some_of(twice)} more than once")

    def _of(self, route: APIRoute) -> frozenset[str]:
        found = self._known.get(route.endpoint)
        if found is None:
            found = self._known[route.endpoint] = frozenset(_names(route.dependant))
        return found


def _names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        shape = field.field_info.annotation
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            # A whole shape as query: its fields are the parameters.
            yield from (each.alias or name for name, each in shape.model_fields.items())
        else:
            yield field.alias
    for inner in dependant.dependencies:
        yield from _names(inner)


def _shown(name: str) -> str:
    shown = repr(name)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"

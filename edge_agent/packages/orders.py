# SPDX-License-Identifier: Apache-2.0
"""Which packages central has ordered a station away from: it does not fall back to one of these by itself.

An order to a package that the station did not have before goes forward, and leaves the one before as what it may fall
back to. An order to one that it had before, an urgent one (central sends back urgently, and never forward) and the end
of a product are ways back: what was left is barred, until an order names it again. Pure; `packages.switching` asks.
"""

from typing import Final

from pydantic import Field

from contracts.base import Shape
from contracts.ids import PackageId

_KEPT_IDS: Final = 20


class Ordered(Shape):
    """What a product was ordered so far: up to assignment `number`, the packages of `path`, the present one last."""

    number: int = 0
    path: list[PackageId] = Field(default_factory=list)
    barred: list[PackageId] = Field(default_factory=list)


def after(before: Ordered, number: int, package_id: str | None, *, is_urgent: bool) -> Ordered:
    """The same with one more assignment, which names this package. None: it leaves the product out."""
    path = before.path
    left: list[PackageId] = []
    if package_id is None:
        # The next order begins anew: what came before this one is no longer what the station goes back to.
        path, left = [], path[-1:]
    elif package_id in path:
        at = path.index(package_id) + 1
        path, left = path[:at], path[at:]
    elif is_urgent:
        path, left = [*path[:-1], package_id], path[-1:]
    else:
        path = [*path, package_id]
    barred = [each for each in before.barred if each not in left and each != package_id]
    return Ordered(number=number, path=path[-_KEPT_IDS:], barred=[*barred, *left][-_KEPT_IDS:])

# SPDX-License-Identifier: Apache-2.0
"""The packages that judge right now, one per product, swapped whole between two frames.

Does not load, verify or warm up: the package installer hands over packages that are ready. Readers never
wait: they take the reference of an immutable table. The loop takes its `LoadedPackage` once per frame, so
that no verdict is mixed from two packages.
"""

import logging
import threading
from collections.abc import Mapping
from types import MappingProxyType

from contracts.reports import ActivePackage
from edge_agent.inference.session import LoadedPackage

_log = logging.getLogger(__name__)


class PackageSlots:
    """Product → active package. Safe for many readers and several writers."""

    def __init__(self) -> None:
        self._table: Mapping[str, LoadedPackage] = MappingProxyType({})
        self._writing = threading.Lock()

    def activate(self, loaded: LoadedPackage) -> None:
        """Let `loaded` judge its product from the next frame on. The caller has warmed it up."""
        with self._writing:
            self._table = MappingProxyType({**self._table, loaded.manifest.product: loaded})
        _log.info(
            "package active product=%s package=%s variant=%s provider=%s",
            loaded.manifest.product,
            loaded.package_id,
            loaded.variant,
            loaded.session.provider,
        )

    def active(self, product: str) -> LoadedPackage | None:
        """The package that judges `product` now, or None. Take it once per frame."""
        return self._table.get(product)

    def products(self) -> list[str]:
        """Products that have an active package, sorted."""
        return sorted(self._table)

    def deactivate(self, product: str) -> None:
        """Stop judging this product."""
        with self._writing:
            self._table = MappingProxyType({each: loaded for each, loaded in self._table.items() if each != product})

    def deactivate_missing(self, products: set[str]) -> None:
        """Stop judging every product that is not in `products`."""
        with self._writing:
            kept = {product: loaded for product, loaded in self._table.items() if product in products}
            self._table = MappingProxyType(kept)

    def snapshot(self) -> list[ActivePackage]:
        """What is active, as the status reports it, sorted by product."""
        table = self._table
        return [
            ActivePackage(
                product=product,
                package_id=table[product].package_id,
                variant=table[product].variant,
                provider=table[product].session.provider,
            )
            for product in sorted(table)
        ]

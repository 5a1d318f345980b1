# SPDX-License-Identifier: Apache-2.0
"""Whether a verified package may judge at this station: self-test on its own runtime, then a benchmark.

The benchmark holds the graph's p99, together with what the other stages of this product took lately, against the
shortest deadline among the recipes whose parts the package would judge. Moves no slot and activates nothing. Used by
`packages.switching` and `packages.shadowing`.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

from contracts.vocabulary import RefusalReason
from edge_agent.clock import Clock
from edge_agent.inference.batching import alone
from edge_agent.inference.session import LoadedPackage
from edge_agent.packages.activation import Ready, Runtime, prepare
from edge_agent.packages.fetch import Interrupted
from edge_agent.packages.notes import PackageNotes
from edge_agent.packages.selftest import read_golden
from edge_agent.packages.speed import benchmark
from edge_agent.packages.store import PackageStore, StoredPackage
from edge_agent.packages.trust import PackageRefused


class Readying:
    """See the module.

    Args:
        deadline_ms: the shortest deadline that a recipe sets for parts which a product's package judges; None: none.
    """

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        store: PackageStore,
        notes: PackageNotes,
        deadline_ms: Callable[[str], float | None],
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._store = store
        self._notes = notes
        self._deadline_ms = deadline_ms
        # By product: what the stages beside the graph take of a part, ms. Told by `packages.watching`.
        self.other_ms: dict[str, float] = {}

    def fit(self, stored: StoredPackage, is_called_off: Callable[[], bool]) -> Ready:
        """Open, self-test and benchmark a package.

        Raises:
            PackageRefused: it failed its self-test, or is too slow for its recipe (DEADLINE, with the figures).
            Interrupted: called off.
        """
        ready = prepare(stored, self._runtime, self._clock, is_called_off)
        if ready is None:
            raise Interrupted
        product = stored.manifest.product
        deadline_ms = self._deadline_ms(product)
        # What judged here before is not refused for its time: a station that starts under load must still judge, and
        # going back must not fail.
        is_known = self._store.slots(product).current == stored.package_id
        if deadline_ms is None or is_known or self._notes.has_judged_well(product, stored.package_id):
            return ready
        golden = stored.manifest.golden
        images, _ = read_golden(stored.path(golden.file), golden, ready.way.variant)
        found = benchmark(alone(ready.loaded.session), images, self._clock)
        other_ms = self.other_ms.get(product, 0.0)
        if found.p99_ms + other_ms > deadline_ms:
            msg = (
                f"benchmark: expected the graph and the {other_ms:.1f} ms of the other stages within the recipe's "
                f"{deadline_ms:g} ms, got p99 {found.p99_ms:.1f} ms (median {found.p50_ms:.1f} ms, {found.runs} runs, "
                f"{ready.way})"
            )
            raise PackageRefused(RefusalReason.DEADLINE, msg)
        return replace(ready, benchmark=found, deadline_ms=deadline_ms)

    def opened(self, product: str, package_id: str, is_called_off: Callable[[], bool]) -> LoadedPackage | None:
        """A package of this disk, self-tested; None: not there, or called off.

        Raises:
            PackageRefused: damaged, or it failed its self-test.
        """
        stored = self._store.load(product, package_id, variants=self._runtime.variants())
        ready = None if stored is None else prepare(stored, self._runtime, self._clock, is_called_off)
        return None if ready is None else ready.loaded

    def prune(self, kept: Collection[str]) -> None:
        """Forget what was measured of packages that are gone."""
        if self._runtime.tables is not None:
            self._runtime.tables.prune(frozenset(kept))

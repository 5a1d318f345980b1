# SPDX-License-Identifier: Apache-2.0
"""Brings an assigned package from central into the store, and says how far it is.

What a broken attempt has brought is kept for the next one, as long as the package is assigned. Decides nothing about
trust and switches nothing. Used by `packages.bringing`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from contracts.vocabulary import PackageState
from edge_agent.clock import Clock
from edge_agent.errors import TransportError
from edge_agent.packages.activation import Runtime
from edge_agent.packages.download import Transfer
from edge_agent.packages.fetch import PackageFetcher, WindowClosed
from edge_agent.packages.progress import ProgressReport
from edge_agent.packages.store import PackageStore
from edge_agent.packages.trial import Admit
from edge_agent.packages.trust import PackageRefused

_log = logging.getLogger(__name__)

# How often the bytes of a download are told.
_TELL_EVERY_S: Final = 5.0
_MB: Final = 1e6


@dataclass(frozen=True)
class Wanted:
    """A package to be brought. `is_urgent`: outside maintenance windows too. `is_challenger`: for the shadow."""

    product: str
    package_id: str
    is_urgent: bool
    is_challenger: bool


class PackageDownload:
    """See the module."""

    def __init__(
        self,
        *,
        store: PackageStore,
        fetcher: PackageFetcher,
        runtime: Runtime,
        progress: ProgressReport,
        clock: Clock,
        admit: Admit,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._runtime = runtime
        self._progress = progress
        self._clock = clock
        self._admit = admit

    def check_published(self, wanted: Wanted, is_called_off: Callable[[], bool]) -> None:
        """As `PackageFetcher.check_published`; where nobody can tell, the copy on the disk counts as published.

        Raises:
            PackageRefused: it was withdrawn.
        """
        try:
            self._fetcher.check_published(wanted.package_id, wanted.product, is_called_off)
        except (TransportError, OSError) as error:
            # A full disk too: it takes no metadata, and going back must not hang on that.
            _log.warning("not known whether it is still published package=%s: %s", wanted.package_id, error)

    def bring(self, wanted: Wanted, is_called_off: Callable[[], bool]) -> None:
        """On return the package is verified and in the store.

        Raises:
            As `PackageFetcher.fetch`.
        """
        product, package_id = wanted.product, wanted.package_id

        def say(state: PackageState, detail: str = "", **more: Any) -> None:
            self._progress.set(product, package_id, state, detail=detail, is_challenger=wanted.is_challenger, **more)

        told_at = float("-inf")

        def tell(transfer: Transfer) -> None:
            nonlocal told_at
            if self._clock.monotonic() - told_at >= _TELL_EVERY_S:
                told_at = self._clock.monotonic()
                text = _say(transfer)
                say(PackageState.DOWNLOADING, text, transfer=transfer)

        staged = self._store.partial(package_id)
        try:
            manifest = self._fetcher.fetch(
                package_id,
                product,
                staged,
                self._runtime.choose,
                is_called_off,
                have=self._store.folders(),
                is_urgent=wanted.is_urgent,
                on_progress=tell,
            )
            self._admit(staged, manifest)
            say(PackageState.VERIFIED)
            self._store.keep(staged, product, package_id)
        except WindowClosed as closed:
            say(PackageState.DOWNLOADING, closed.text, waits_until=closed.opens_at)
            raise
        except (PackageRefused, OSError):
            # Refused for good; and a disk that is full has better use for the room.
            self._store.discard(staged)
            raise
        say(PackageState.INSTALLED)


def _say(transfer: Transfer) -> str:
    text = f"{transfer.done_bytes / _MB:.1f} of {transfer.total_bytes / _MB:.1f} MB"
    return f"{text}, {transfer.reused_bytes / _MB:.1f} MB were here before" if transfer.reused_bytes else text

# SPDX-License-Identifier: Apache-2.0
"""From a verified package on disk to an open, self-tested session: the variants in order, the first that passes.

Downloads nothing, moves no slot, activates nothing. Used by the package installer.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.manifest import PackageManifest
from contracts.vocabulary import RefusalReason, Variant
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError, TrustError
from edge_agent.inference.onnx import open_session
from edge_agent.inference.session import InferenceSession, LoadedPackage
from edge_agent.inference.variants import AUTO, choose_variants, variant_order
from edge_agent.packages.selftest import SelfTestResult, run_self_test
from edge_agent.packages.store import StoredPackage
from edge_agent.packages.trust import PackageRefused

_log = logging.getLogger(__name__)


class OpenSession(Protocol):
    """Opens a graph; `inference.onnx.open_session` is the real one."""

    def __call__(self, path: Path, *, provider: str, threads: int) -> InferenceSession:
        """Open `path` on exactly `provider`."""
        ...


@dataclass(frozen=True)
class Runtime:
    """What this station runs graphs with. `variant`: `auto`, or the only one it may take."""

    provider: str
    threads: int = 1
    variant: str = AUTO
    open_session: OpenSession = open_session

    def variants(self) -> list[Variant]:
        """Variants this station may run, best first."""
        return list(variant_order(self.provider, self.variant))

    def choose(self, manifest: PackageManifest) -> list[Variant]:
        """Variants of a package that this station may run, best first.

        Raises:
            PackageRefused: NO_VARIANT.
        """
        offered = [form.variant for form in manifest.variants]
        chosen = choose_variants(offered, self.provider, self.variant)
        if not chosen:
            wanted, had = ", ".join(self.variants()), ", ".join(offered)
            msg = f"package: expected one of the variants {wanted} for {self.provider}, got {had}"
            raise PackageRefused(RefusalReason.NO_VARIANT, msg)
        return chosen


def prepare(
    stored: StoredPackage, runtime: Runtime, clock: Clock, is_called_off: Callable[[], bool]
) -> tuple[LoadedPackage, SelfTestResult] | None:
    """Open and self-test the variants in order; the first that passes is ready to judge. None: called off.

    Raises:
        PackageRefused: no variant passed; the reason is the first one's, the text names each.
    """
    files = {form.variant: form.file for form in stored.manifest.variants}
    failures: list[tuple[RefusalReason, str]] = []
    for variant in runtime.choose(stored.manifest):
        if is_called_off():
            return None
        path = stored.path(files[variant])
        if not path.exists():
            continue
        try:
            session = runtime.open_session(path, provider=runtime.provider, threads=runtime.threads)
            golden = stored.path(stored.manifest.golden.file)
            result = run_self_test(session, golden, stored.manifest, variant, clock)
        except PackageRefused as error:
            failures.append((error.reason, f"{variant}: {error.message}"))
        except TrustError as error:
            failures.append((RefusalReason.UNREADABLE, f"{variant}: {error.message}"))
        except DeviceError as error:
            # The provider is not what was asked for: on this station nothing of the package can run.
            failures.append((RefusalReason.NO_VARIANT, f"{variant}: {error}"))
        else:
            if failures:
                _log.warning("package falls back package=%s variant=%s after=%s", stored.package_id, variant, failures)
            return LoadedPackage(stored.package_id, stored.manifest, variant, session), result
    if not failures:
        failures.append((RefusalReason.NO_VARIANT, "no variant that this station may run is on its disk"))
    raise PackageRefused(failures[0][0], "; ".join(text for _, text in failures))

# SPDX-License-Identifier: Apache-2.0
"""From a verified package on disk to an open, self-tested session: the fastest way of running it on this station.

Downloads nothing, moves no slot, activates nothing. Used by the package installer.
"""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from contracts.manifest import PackageManifest
from contracts.vocabulary import RefusalReason, Variant
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError, TrustError
from edge_agent.inference.batching import BatchTimes
from edge_agent.inference.onnx import available_providers, open_session
from edge_agent.inference.pool import Group
from edge_agent.inference.session import InferenceSession, LoadedPackage
from edge_agent.inference.variants import AUTO, Way, providers_to_try, split_provider, variant_order, ways_to_try
from edge_agent.packages.batches import batch_fault, batch_session, make_batcher, measure_batches, paying
from edge_agent.packages.selftest import SelfTestResult, read_golden, run_self_test
from edge_agent.packages.speed import Benchmark, Measured, SpeedTable, fastest
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
    """What this station may run graphs with.

    Args:
        provider: `auto`: every one of the installed ONNX Runtime is measured; or the only one, maybe with a device.
        threads: 0: measured; or the only number.
        variant: `auto`, or the only one it may take.
        cores: of this machine, for `threads` 0.
        open_session: opens a graph.
        available: providers of the installed ONNX Runtime.
        tables: where measurements are kept; None: measured at every start.
        group: the station's place in a process of several; None: it is alone, and there is nobody to judge with.
    """

    provider: str
    threads: int = 1
    variant: str = AUTO
    cores: int = 1
    open_session: OpenSession = open_session
    available: Callable[[], Sequence[str]] = available_providers
    tables: SpeedTable | None = None
    group: Group | None = None

    def providers(self) -> list[str]:
        """Providers to try, best first."""
        return providers_to_try(self.provider, self.available())

    def variants(self) -> list[Variant]:
        """Variants this station may run, best first."""
        ordered = [variant for provider in self.providers() for variant in variant_order(provider, self.variant)]
        return list(dict.fromkeys(ordered))

    def ways(self, manifest: PackageManifest) -> list[Way]:
        """All ways of running a package, best guess first."""
        offered = [form.variant for form in manifest.variants]
        return ways_to_try(offered, self.providers(), variant=self.variant, threads=self.threads, cores=self.cores)

    def choose(self, manifest: PackageManifest) -> list[Variant]:
        """Variants of a package that this station may run, best first.

        Raises:
            PackageRefused: NO_VARIANT.
        """
        chosen = list(dict.fromkeys(way.variant for way in self.ways(manifest)))
        if not chosen:
            wanted, had = ", ".join(self.variants()), ", ".join(form.variant for form in manifest.variants)
            msg = f"package: expected one of the variants {wanted} for {self.provider}, got {had}"
            raise PackageRefused(RefusalReason.NO_VARIANT, msg)
        return chosen


@dataclass(frozen=True)
class Ready:
    """A package that may judge: open, self-tested, and how it compares with the other ways of running it.

    `batches`: what was found of judging frames of several cameras together; `batch`: so many at most are, 1: each is
    judged alone, None: there is one camera.
    `benchmark` and `deadline_ms`: what it was timed at and held against, where it was.
    """

    loaded: LoadedPackage
    tested: SelfTestResult
    way: Way
    table: Sequence[Measured]
    batches: Sequence[BatchTimes] = ()
    batch: int | None = None
    benchmark: Benchmark | None = None
    deadline_ms: float | None = None

    @property
    def broken(self) -> dict[str, str]:
        """Providers that this ONNX Runtime has and that work in no way here, with the reason.

        A device that is not there (OpenVINO's NPU, GPU) is none as long as the provider itself works.
        """
        works = {split_provider(each.way.provider)[0] for each in self.table if each.infer_p50_ms is not None}
        broken = [each for each in self.table if split_provider(each.way.provider)[0] not in works]
        return {each.way.provider: each.note for each in reversed(broken)}


def prepare(stored: StoredPackage, runtime: Runtime, clock: Clock, is_called_off: Callable[[], bool]) -> Ready | None:
    """Open and self-test the fastest way of running a package. None: called off.

    Ways are measured once and their table is kept; at a later start only the fastest is opened, and all are measured
    anew when that one fails. In a group of cameras so are batches in the way that is taken.

    Raises:
        PackageRefused: no way passed; the reason is the first one's, the text names each.
    """
    ready = _fastest_ready(stored, runtime, clock, is_called_off)
    if ready is None or runtime.group is None or runtime.group.cameras < 2:
        return ready
    return _with_batches(ready, stored, runtime, runtime.group, clock)


def _with_batches(ready: Ready, stored: StoredPackage, runtime: Runtime, group: Group, clock: Clock) -> Ready:
    """The same package, judging frames of several cameras together in the numbers that were seen to pay."""
    session, tables = ready.loaded.session, runtime.tables
    able, tolerance = batch_session(session), stored.manifest.golden.tolerance
    images, _ = read_golden(stored.path(stored.manifest.golden.file), stored.manifest.golden, ready.way.variant)
    rows = None if tables is None else tables.load_batches(stored.package_id, ready.way, group.cameras)
    if rows is None:

        def measure() -> list[BatchTimes]:
            return measure_batches(session, images, group.cameras, tolerance, clock)

        rows = list(measure() if able is None else group.pool.measured(able, measure))
        if tables is not None:
            tables.save_batches(stored.package_id, ready.way, group.cameras, rows)
    worth = paying(rows)
    if able is not None and worth:
        # At every start, as the self-test of the package is: what was right once may not be so on another driver.
        faults = {row.batch: batch_fault(able, images, row.batch, tolerance) for row in worth}
        rows = [BatchTimes(row.batch, note=faults[row.batch]) if faults.get(row.batch) else row for row in rows]
        worth = paying(rows)
    told = ", ".join(f"{row.batch}: {row.batched_ms} ms for {row.singly_ms} ms {row.note}".rstrip() for row in rows)
    if able is None or not worth:
        _log.info("each frame is judged alone package=%s batches: %s", stored.package_id, told)
        return replace(ready, batches=rows, batch=1)
    batcher = group.pool.batcher(able, lambda: make_batcher(able, worth, clock))
    _log.info("frames are judged together package=%s at_most=%d: %s", stored.package_id, max(batcher.sizes), told)
    loaded = replace(ready.loaded, session=batcher.seated(group.seat))
    return replace(ready, loaded=loaded, batches=rows, batch=max(batcher.sizes))


def _fastest_ready(
    stored: StoredPackage, runtime: Runtime, clock: Clock, is_called_off: Callable[[], bool]
) -> Ready | None:
    runtime.choose(stored.manifest)
    ways = [way for way in runtime.ways(stored.manifest) if stored.path(_file(stored, way)).exists()]
    failures: list[tuple[RefusalReason, str]] = []
    known = None if runtime.tables is None else runtime.tables.load(stored.package_id, ways)
    # The only way needs no comparison.
    best = ways[0] if len(ways) == 1 else fastest(known or ())
    if best is not None:
        opened = _opened(stored, best, runtime, clock, failures)
        if opened is not None:
            return Ready(_loaded(stored, best, opened[0]), opened[1], best, known or [_timed(best, opened[1])])
        _log.warning("way fails package=%s way=%s: %s", stored.package_id, best, failures[-1][1])
        if len(ways) == 1:
            raise PackageRefused(*failures[0])
        failures.clear()
    return _measured(stored, ways, runtime, clock, is_called_off, failures=failures)


def _measured(
    stored: StoredPackage,
    ways: Sequence[Way],
    runtime: Runtime,
    clock: Clock,
    is_called_off: Callable[[], bool],
    *,
    failures: list[tuple[RefusalReason, str]],
) -> Ready | None:
    """Time every way, keep the table, open the fastest."""
    table: list[Measured] = []
    for way in ways:
        if is_called_off():
            return None
        opened = _opened(stored, way, runtime, clock, failures)
        table.append(Measured(way, note=failures[-1][1]) if opened is None else _timed(way, opened[1]))
        # Let go of it: several sessions of one package would need its memory several times.
        del opened
    table = _confirmed(table, stored, runtime, clock)
    best = fastest(table)
    opened = None if best is None else _opened(stored, best, runtime, clock, failures)
    if best is None or opened is None:
        if not failures:
            failures.append((RefusalReason.NO_VARIANT, "no variant that this station may run is on its disk"))
        raise PackageRefused(failures[0][0], "; ".join(text for _, text in failures))
    if failures:
        _log.warning("package falls back package=%s way=%s after=%s", stored.package_id, best, failures)
    if runtime.tables is not None:
        runtime.tables.save(stored.package_id, table)
    for each in table:
        _log.info("measured package=%s way=%s ms=%s %s", stored.package_id, each.way, each.infer_p50_ms, each.note)
    return Ready(_loaded(stored, best, opened[0]), opened[1], best, table)


def _confirmed(table: Sequence[Measured], stored: StoredPackage, runtime: Runtime, clock: Clock) -> list[Measured]:
    """The table, after a second look before the preferred way is left: each keeps the better of its two times.

    On a machine with other work one way may have met a busy moment, and the choice stands for months.
    """
    preferred, best = next((each.way for each in table if each.infer_p50_ms is not None), None), fastest(table)
    again: dict[Way, float] = {}
    for way in (preferred, best) if preferred != best else ():
        opened = None if way is None else _opened(stored, way, runtime, clock, [])
        if way is not None and opened is not None:
            again[way] = opened[1].infer_p50_ms
        del opened
    return [
        replace(each, infer_p50_ms=min(each.infer_p50_ms, again.get(each.way, math.inf)))
        if each.infer_p50_ms is not None
        else each
        for each in table
    ]


def _timed(way: Way, tested: SelfTestResult) -> Measured:
    return Measured(way, tested.infer_p50_ms)


def _file(stored: StoredPackage, way: Way) -> str:
    return next(form.file for form in stored.manifest.variants if form.variant is way.variant)


def _loaded(stored: StoredPackage, way: Way, session: InferenceSession) -> LoadedPackage:
    return LoadedPackage(stored.package_id, stored.manifest, way.variant, session)


def _opened(
    stored: StoredPackage, way: Way, runtime: Runtime, clock: Clock, failures: list[tuple[RefusalReason, str]]
) -> tuple[InferenceSession, SelfTestResult] | None:
    """A session that has passed the self-test; None adds to the failures."""
    try:
        session = runtime.open_session(stored.path(_file(stored, way)), provider=way.provider, threads=way.threads)
        golden = stored.path(stored.manifest.golden.file)
        with nullcontext() if runtime.group is None else runtime.group.pool.measuring:
            return session, run_self_test(session, golden, stored.manifest, way.variant, clock)
    except PackageRefused as error:
        failures.append((error.reason, f"{way.variant}: {error.message}"))
    except TrustError as error:
        failures.append((RefusalReason.UNREADABLE, f"{way.variant}: {error.message}"))
    except DeviceError as error:
        # The provider is not what was asked for: so nothing of the package can run on it.
        failures.append((RefusalReason.NO_VARIANT, f"{way.variant}: {error}"))
    return None

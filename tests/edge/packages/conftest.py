# SPDX-License-Identifier: Apache-2.0
"""A station's package rooms on a temporary disk, against a real TUF repository on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts import codec
from contracts.ids import InspectionId, StationAddress
from contracts.reports import PackageProgress, PackageStatus
from contracts.topics import Channel, topic
from contracts.vocabulary import PackageState, RefusalReason
from edge_agent.clock import Clock, SystemClock
from edge_agent.inference.shadow import Shadow
from edge_agent.inference.slots import PackageSlots
from edge_agent.packages.accepted import AcceptedAssignment
from edge_agent.packages.activation import Runtime
from edge_agent.packages.fetch import TufPackageFetcher
from edge_agent.packages.guard import GuardPolicy
from edge_agent.packages.installer import PackageInstaller
from edge_agent.packages.store import PackageStore
from edge_agent.packages.trust import load_assignment_key
from edge_agent.packages.watching import PackageWatch
from tests.fakes.bus import FakeBroker, FakeBus
from tests.fakes.package_server import TOKEN, PackageServer
from tests.fakes.packages import BuiltPackage, build_package
from tests.fakes.waiting import wait_until

STATION = StationAddress(site="demo", line="line-1", station="st-1")
MAX_PACKAGE_BYTES = 4 * 1024 * 1024


class Bench:
    """One station's installer, restartable, and what it said."""

    def __init__(self, disk: Path, server: PackageServer) -> None:
        self.disk = disk
        self.server = server
        self.broker = FakeBroker()
        self.runtime = Runtime("CPUExecutionProvider")
        self.policy = GuardPolicy(sound_parts=3)
        self.deadline_ms: float | None = None
        self.clock: Clock = SystemClock()
        # What the settings would say of downloads.
        self.downloads: dict[str, Any] = {}
        self.statuses: list[PackageStatus] = []
        self._listener = FakeBus(self.broker)
        self._listener.subscribe(topic(STATION, Channel.PACKAGE_STATUS), self._heard)
        self._listener.start()
        self._running: list[tuple[PackageInstaller, PackageWatch, FakeBus, TufPackageFetcher]] = []

    def start(self) -> PackageInstaller:
        """A process start: everything anew but the disk."""
        clock = self.clock
        bus = FakeBus(self.broker)
        key = load_assignment_key(self.server.assignment_key)
        self.slots = PackageSlots()
        self.store = PackageStore(self.disk / "packages", max_package_bytes=MAX_PACKAGE_BYTES)
        fetcher = TufPackageFetcher(
            self.server.url,
            TOKEN,
            root=self.server.root,
            metadata_dir=self.disk / "trust" / "tuf",
            clock=clock,
            max_package_bytes=MAX_PACKAGE_BYTES,
            **self.downloads,
        )
        self.pictures: list[InspectionId] = []
        self.shadow = Shadow(clock, waiting=lambda: 0, ask_picture=self.pictures.append, share=1.0)
        self.installer = PackageInstaller(
            STATION,
            bus=bus,
            clock=clock,
            slots=self.slots,
            store=self.store,
            fetcher=fetcher,
            accepted=AcceptedAssignment(self.disk / "trust" / "assignment.json", key),
            assignment_key=key,
            runtime=self.runtime,
            shadow=self.shadow,
            deadline_ms=lambda _product: self.deadline_ms,
            retry_first_s=0.05,
            retry_longest_s=0.2,
        )
        self.watch = PackageWatch(self.installer, self.shadow, clock, self.policy, tick_s=0.01, tell_s=0.0)
        self.watch.start()
        self.installer.start()
        bus.start()
        self._running.append((self.installer, self.watch, bus, fetcher))
        return self.installer

    def stop(self) -> None:
        """The process ends."""
        for installer, watch, bus, fetcher in self._running:
            installer.stop()
            watch.stop()
            bus.stop()
            fetcher.close()
        self._running.clear()

    def close(self) -> None:
        """The test ends."""
        self.stop()
        self._listener.stop()

    def assign(self, number: int, packages: dict[str, str], **more: object) -> None:
        """Central assigns."""
        self.deliver(self.server.seal(STATION, number, packages, **more))  # type: ignore[arg-type]

    def deliver(self, sealed: bytes) -> None:
        """Anything on the assignment topic, retained."""
        self.broker.route(topic(STATION, Channel.ASSIGNMENT), sealed, retain=True)

    def built(self, name: str, product: str = "ring", *, scale: float = 1.0, **more: object) -> BuiltPackage:
        """A package that is published."""
        package = build_package(self.disk / "built" / name, product, scale=scale, **more)  # type: ignore[arg-type]
        self.server.publish(package)
        return package

    def status(self) -> PackageStatus:
        """The last status heard."""
        return self.statuses[-1]

    def row(self, package: BuiltPackage) -> PackageProgress | None:
        """What was last said of a package."""
        rows = self.statuses[-1].packages if self.statuses else []
        return next((row for row in rows if row.package_id == package.package_id), None)

    def wait_state(self, package: BuiltPackage, state: PackageState) -> PackageProgress:
        """Wait until the station says so of a package."""
        self.wait(lambda: (row := self.row(package)) is not None and row.state is state)
        row = self.row(package)
        assert row is not None
        return row

    def progress(self, product: str = "ring") -> PackageProgress | None:
        """What was last said of a product: of the package that decides, not of its challenger."""
        for status in reversed(self.statuses[-1:]):
            for row in reversed(status.packages):
                if row.product == product:
                    return row
        return None

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until the station says so."""
        wait_until(is_so, lambda: f"last status {self.statuses[-1:]}")

    def wait_active(self, package: BuiltPackage, product: str = "ring") -> None:
        """Wait until a package judges and the status says so."""

        def is_active() -> bool:
            row, loaded = self.progress(product), self.slots.active(product)
            return (
                row is not None
                and (row.package_id, row.state) == (package.package_id, PackageState.ACTIVE)
                and loaded is not None
                and loaded.package_id == package.package_id
            )

        self.wait(is_active)

    def wait_refused(self, reason: RefusalReason, product: str = "ring") -> PackageProgress:
        """Wait until the assigned package is refused for this reason."""

        def is_refused() -> bool:
            row = self.progress(product)
            return row is not None and row.state is PackageState.REFUSED

        self.wait(is_refused)
        row = self.progress(product)
        assert row is not None
        assert row.reason is reason, row
        return row

    def wait_ignored(self, reason: RefusalReason) -> None:
        """Wait until a message on the assignment topic was ignored for this reason, which refuses no assignment."""
        self.wait(lambda: bool(self.statuses) and self.status().detail.startswith(f"ignored, {reason}:"))
        assert self.status().refused is None

    def _heard(self, _topic: str, payload: bytes) -> None:
        self.statuses.append(codec.decode(PackageStatus, payload))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PackageServer]:
    with PackageServer(tmp_path / "server") as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: PackageServer) -> Iterator[Bench]:
    made = Bench(tmp_path / "station", server)
    yield made
    made.close()

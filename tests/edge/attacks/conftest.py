# SPDX-License-Identifier: Apache-2.0
"""A station that judges, an attacker in central's place, and what must hold after every attack."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from contracts.ids import StationAddress
from contracts.manifest import PackageManifest
from contracts.topics import Channel, topic
from contracts.vocabulary import RefusalReason, Verdict
from edge_agent.camera.source import Frame
from edge_agent.clock import SystemClock
from edge_agent.inference.shadow import Shadow
from edge_agent.inference.slots import PackageSlots
from edge_agent.judging import Judge
from edge_agent.packages.accepted import AcceptedAssignment
from edge_agent.packages.activation import Runtime
from edge_agent.packages.fetch import TufPackageFetcher
from edge_agent.packages.installer import PackageInstaller
from edge_agent.packages.roots import AssignmentKeys
from edge_agent.packages.rootwatch import HttpRootSource, RootWatch
from edge_agent.packages.store import PackageStore
from edge_agent.packages.trial import Admit, Trial, check_graphs
from edge_agent.packages.trust import load_assignment_key
from edge_agent.packages.watching import PackageWatch
from edge_agent.recipes.recipe import Recipe, Recipes
from tests.edge.attacks.bombs import zeros_gzip
from tests.edge.attacks.evil_server import EvilServer
from tests.edge.packages.conftest import STATION, Bench
from tests.fakes.bus import FakeBus
from tests.fakes.package_server import TOKEN
from tests.fakes.packages import BuiltPackage, build_package

MAX_PACKAGE_BYTES = 4 * 1024 * 1024
OTHER_STATION = StationAddress(site="demo", line="line-1", station="st-2")
# A bright part: NG by the limits of every package of these tests.
BRIGHT = np.random.default_rng(5).integers(210, 250, (64, 64, 3), dtype=np.uint8)


class Target(Bench):
    """The station under attack: real installer, fetcher, trust, self-test and judge; only the broker is in memory."""

    server: EvilServer  # type: ignore[assignment]

    def __init__(self, disk: Path, server: EvilServer) -> None:
        super().__init__(disk, server)  # type: ignore[arg-type]
        self.max_file_s = 30.0
        # The process of its own costs seconds; tests of packages that only it can refuse set it.
        self.admit: Admit = check_graphs
        self._closing: list[tuple[RootWatch, HttpRootSource]] = []

    def start(self) -> PackageInstaller:
        clock, bus = SystemClock(), FakeBus(self.broker)
        enrolled = load_assignment_key(self.server.assignment_key)
        self.keys = AssignmentKeys(self.server.root, enrolled, self.disk / "trust" / "roots")
        self.slots = PackageSlots()
        self.store = PackageStore(self.disk / "packages", max_package_bytes=MAX_PACKAGE_BYTES)
        fetcher = TufPackageFetcher(
            self.server.url,
            TOKEN,
            root=self.server.root,
            metadata_dir=self.disk / "trust" / "tuf",
            clock=clock,
            max_package_bytes=MAX_PACKAGE_BYTES,
            max_file_s=self.max_file_s,
        )
        accepted = AcceptedAssignment(
            self.disk / "trust" / "assignment.json", self.keys, self.disk / "packages" / "assignment-number.json"
        )
        self.pictures = []
        self.shadow = Shadow(clock, waiting=lambda: 0, ask_picture=self.pictures.append, share=1.0)
        self.installer = PackageInstaller(
            STATION,
            bus=bus,
            clock=clock,
            slots=self.slots,
            store=self.store,
            fetcher=fetcher,
            accepted=accepted,
            assignment_key=self.keys,
            runtime=Runtime("CPUExecutionProvider"),
            shadow=self.shadow,
            admit=self._admit,
            retry_first_s=0.05,
            retry_longest_s=0.2,
        )
        source = HttpRootSource(self.server.url, TOKEN, clock=clock)
        relays = {Channel.ASSIGNMENT: self.installer.hear}
        self.roots = RootWatch(self.keys, source, clock, relays=relays, period_s=0.5, soonest_s=0.1)
        self.watch = PackageWatch(self.installer, self.shadow, clock, self.policy, tick_s=0.01, tell_s=0.0)
        self.watch.start()
        self.installer.start()
        self.roots.start(bus, STATION)
        bus.start()
        self._running.append((self.installer, self.watch, bus, fetcher))
        self._closing.append((self.roots, source))
        return self.installer

    def _admit(self, folder: Path, manifest: PackageManifest) -> None:
        self.admit(folder, manifest)

    def stop(self) -> None:
        for roots, source in self._closing:
            roots.stop()
            source.close()
        self._closing.clear()
        super().stop()

    def build(self, name: str, product: str = "ring", *, scale: float = 2.0, **more: object) -> BuiltPackage:
        """A package, not published."""
        return build_package(self.disk.parent / "built" / name, product, scale=scale, **more)  # type: ignore[arg-type]

    def built(self, name: str, product: str = "ring", *, scale: float = 2.0, **more: object) -> BuiltPackage:
        package = self.build(name, product, scale=scale, **more)
        self.server.publish(package)
        return package

    def judge(self) -> tuple[Verdict, str | None]:
        """Let a real part be judged: the verdict and the package that gave it."""
        clock = SystemClock()
        # The machine may be slow; the deadline is not what is tested here.
        judge = Judge(self.slots, Recipes(default=Recipe(deadline_ms=60_000)), clock, default_product="ring")
        found = judge.judge(Frame(BRIGHT, datetime.now(UTC), clock.monotonic(), 1, product="ring"))
        return found.decision.verdict, found.package.package_id if found.package is not None else None

    def assert_unharmed(self, champion: BuiltPackage) -> None:
        """The station judges with the package that it had, and nothing of the attack is on its disk."""
        assert self.judge() == (Verdict.NG, champion.package_id)
        assert self.store.slots("ring").current == champion.package_id
        packages = self.disk / "packages"
        slots = self.store.slots("ring")
        held = {each for each in (slots.current, slots.previous) if each is not None}
        assert {path.name for path in (packages / "ring").iterdir() if path.is_dir()} == held
        assert list((packages / ".staging").iterdir()) == []
        assert {path.name for path in self.disk.iterdir()} <= {"packages", "trust"}
        ours = {"ring", ".staging", ".partial", "notes.json", "assignment-number.json"}
        assert {path.name for path in packages.iterdir()} <= ours
        # What a broken link left may go on; of what was refused nothing is kept.
        status = self.statuses[-1] if self.statuses else None
        waits = (
            {row.package_id for row in status.packages if row.reason is RefusalReason.UNREACHABLE} if status else set()
        )
        assert {path.name for path in (packages / ".partial").iterdir()} <= waits

    def assert_refused(self, champion: BuiltPackage, reason: RefusalReason) -> str:
        """The package status says why, and the station is unharmed; the detail."""
        row = self.wait_refused(reason)
        assert row.detail
        self.assert_unharmed(champion)
        return row.detail

    def assert_ignored(self, champion: BuiltPackage, reason: RefusalReason) -> None:
        """The package status says why nothing was done, and the station is unharmed."""
        self.wait_ignored(reason)
        assert [fault.code for fault in self.installer.faults()] == ["assignment-ignored"]
        self.assert_unharmed(champion)

    def topic(self) -> str:
        """Where assignments come from."""
        return topic(STATION, Channel.ASSIGNMENT)


@pytest.fixture
def evil(tmp_path: Path) -> Iterator[EvilServer]:
    with EvilServer(tmp_path / "central") as running:
        yield running


@pytest.fixture
def target(tmp_path: Path, evil: EvilServer) -> Iterator[Target]:
    made = Target(tmp_path / "station", evil)
    yield made
    made.close()


@pytest.fixture
def champion(target: Target) -> BuiltPackage:
    """The package that judges when the attack begins; the station runs."""
    package = target.built("champion", scale=1.0)
    target.start()
    target.assign(1, {"ring": package.package_id})
    target.wait_active(package)
    return package


@pytest.fixture
def on_trial(target: Target, champion: BuiltPackage) -> Trial:
    """From now on packages are tried out in a process of their own, as at a real station."""
    del champion
    target.admit = trial = Trial(memory_bytes=1024**3, timeout_s=120)
    return trial


@pytest.fixture(scope="session", name="zeros_gzip")
def _zeros_gzip() -> bytes:
    return zeros_gzip()

# SPDX-License-Identifier: Apache-2.0
"""Makes the rooms of a station that take many settings: broker link, evidence, package installer.

Knows settings and paths, and nothing of how rooms meet: that is `app`, which alone calls this.
"""

import os
from collections.abc import Callable
from dataclasses import asdict

from contracts.ids import InspectionId
from edge_agent.central_client import proxy_of
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError
from edge_agent.inference.onnx import open_session, runtime_version
from edge_agent.inference.pool import Group
from edge_agent.inference.shadow import Shadow
from edge_agent.inference.slots import PackageSlots
from edge_agent.packages.accepted import AcceptedAssignment
from edge_agent.packages.activation import Runtime
from edge_agent.packages.fetch import TufPackageFetcher
from edge_agent.packages.installer import PackageInstaller
from edge_agent.packages.rate import RateLimit
from edge_agent.packages.roots import AssignmentKeys
from edge_agent.packages.speed import SpeedTable, this_machine
from edge_agent.packages.store import PackageStore
from edge_agent.packages.trial import Trial
from edge_agent.reporting.bus import PahoBus, client_id
from edge_agent.reporting.evidence import EvidenceRecorder
from edge_agent.reporting.uploader import EvidenceUploader
from edge_agent.settings import Settings


def make_bus(settings: Settings, last_will: tuple[str, bytes]) -> PahoBus:
    """The link to the broker, not connected yet. `last_will`: topic and payload."""
    broker = settings.broker
    return PahoBus(
        broker.url,
        client_id(settings.station),
        broker.username,
        broker.password,
        last_will=last_will,
        keepalive_s=broker.keepalive_s,
        ca_file=str(broker.ca_file) if broker.ca_file else None,
        cert_file=str(broker.cert_file) if broker.cert_file else None,
        key_file=str(broker.key_file) if broker.key_file else None,
    )


def make_evidence(settings: Settings, clock: Clock, may_upload: Callable[[], bool]) -> EvidenceRecorder:
    """The ring of pictures and its way to central.

    Raises:
        DeviceError: the station's folder cannot be used.
    """
    bounds, central = settings.bounds, settings.central
    try:
        return EvidenceRecorder(
            settings.data_dir / "evidence",
            settings.station,
            EvidenceUploader(central.url, central.token, ca_file=central.ca_file, proxy=proxy_of(central.proxy)),
            clock,
            max_inspections=bounds.evidence_max_frames,
            max_bytes=bounds.evidence_max_bytes,
            max_pending=bounds.evidence_max_pending,
            keep_free_bytes=bounds.keep_free_bytes,
            may_upload=may_upload,
        )
    except OSError as error:
        raise _unusable(settings, error) from error


def make_shadow(
    settings: Settings, clock: Clock, waiting: Callable[[], int], ask_picture: Callable[[InspectionId], None]
) -> Shadow:
    """Where challengers judge."""
    said = settings.shadow
    return Shadow(clock, waiting=waiting, ask_picture=ask_picture, **asdict(said))


def make_installer(
    settings: Settings,
    clock: Clock,
    *,
    bus: PahoBus,
    slots: PackageSlots,
    keys: AssignmentKeys,
    first_root: bytes,
    rate: RateLimit,
    group: Group | None,
    shared_by: int,
    shadow: Shadow,
    deadline_ms: Callable[[str], float | None],
) -> PackageInstaller:
    """What brings packages here and lets them judge.

    Raises:
        DeviceError: the station's folder cannot be used.
    """
    bounds, central, folder = settings.bounds, settings.central, settings.data_dir
    cores = len(os.sched_getaffinity(0))
    try:
        store = PackageStore(folder / "packages", max_package_bytes=bounds.max_package_bytes)
    except OSError as error:
        raise _unusable(settings, error) from error
    return PackageInstaller(
        settings.station,
        bus=bus,
        clock=clock,
        slots=slots,
        store=store,
        fetcher=TufPackageFetcher(
            central.url,
            central.token,
            root=first_root,
            metadata_dir=folder / "trust" / "tuf",
            clock=clock,
            max_package_bytes=bounds.max_package_bytes,
            ca_file=central.ca_file,
            proxy=proxy_of(central.proxy),
            rate=rate,
            windows=settings.downloads.windows,
            keep_free_bytes=bounds.keep_free_bytes,
        ),
        accepted=AcceptedAssignment(
            folder / "trust" / "assignment.json", keys, folder / "packages" / "assignment-number.json"
        ),
        assignment_key=keys,
        admit=Trial(),
        runtime=Runtime(
            settings.inference.provider,
            threads=settings.inference.threads,
            variant=settings.inference.variant,
            cores=max(1, cores // shared_by),
            open_session=open_session if group is None else group.pool.open,
            tables=SpeedTable(folder / "speed", this_machine(cores, runtime_version())),
            group=group,
        ),
        shadow=shadow,
        deadline_ms=deadline_ms,
        keeps_warm=settings.fallback.keep_warm,
    )


def _unusable(settings: Settings, error: OSError) -> DeviceError:
    msg = f"{settings.data_dir}: the station's folder cannot be used: {error}"
    return DeviceError(msg, remedy="check the disk and the rights of data_dir")

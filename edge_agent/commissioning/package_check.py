# SPDX-License-Identifier: Apache-2.0
"""Trust, provider and packages of this station: what would run, and whether it passes its self-test here.

Installs nothing, moves no slot and touches nothing of a running station. Used by `doctor`.
"""

import base64
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock
from edge_agent.commissioning.findings import Finding, fail, ok, warn
from edge_agent.errors import EdgeError
from edge_agent.inference.onnx import available_providers, open_session, runtime_version
from edge_agent.inference.variants import AUTO, providers_to_try, split_provider
from edge_agent.packages.activation import Runtime, prepare
from edge_agent.packages.speed import Measured, SpeedTable, this_machine
from edge_agent.packages.store import PackageStore
from edge_agent.packages.trust import PackageRefused, load_assignment_key
from edge_agent.settings import Settings

_PROVIDER: Final = "provider"
_PACKAGE: Final = "package"
# A whole graph of the shape that `open_session` wants: bytes in, the same as numbers out three times. Written by
# tests/edge/commissioning/probe_graph.py, and a test holds it against that.
PROBE_GRAPH: Final = base64.b64decode(
    "CAk6+AEKHwoFaW1hZ2USBXNjb3JlIgRDYXN0KgkKAnRvGAGgAQIKGgoFc2NvcmUSB2hlYXRtYXAiCElkZW50aXR5ChwKBXNjb3Jl"
    "EgllbWJlZGRpbmciCElkZW50aXR5EgVwcm9iZVoiCgVpbWFnZRIZChcIAhITCgMSAW4KAxIBaAoDEgF3CgIIA2IiCgVzY29yZRIZ"
    "ChcIARITCgMSAW4KAxIBaAoDEgF3CgIIA2IkCgdoZWF0bWFwEhkKFwgBEhMKAxIBbgoDEgFoCgMSAXcKAggDYiYKCWVtYmVkZGlu"
    "ZxIZChcIARITCgMSAW4KAxIBaAoDEgF3CgIIA0IECgAQEg=="
)


def check_trust(settings: Settings) -> list[Finding]:
    """Whether the station knows whom to obey."""
    findings = []
    for key, given, kept in (
        ("trust.root", settings.trust.root, settings.data_dir / "trust" / "root.json"),
        ("trust.assignment_key", settings.trust.assignment_key, settings.data_dir / "trust" / "assignment.pub"),
    ):
        path = kept if kept.exists() else given
        try:
            content = b"" if path is None else path.read_bytes()
            if not content:
                found = (
                    f"{key}: expected the file that central's enrolment gave, got {'nothing' if path is None else path}"
                )
                findings.append(fail("trust", found, f"copy it to this machine and set {key}"))
            elif key == "trust.assignment_key":
                load_assignment_key(content)
        except OSError as error:
            remedy = f"copy the file from central's enrolment to this machine, or correct {key}"
            findings.append(fail("trust", f"{key}: {path} cannot be read: {error.strerror}", remedy))
        except EdgeError as error:
            findings.append(
                fail("trust", error.message, f"copy the file again from central's enrolment, or correct {key}")
            )
    return findings or [ok("trust", "root and assignment key are there")]


def check_provider(settings: Settings) -> Finding:
    """Whether ONNX Runtime really runs a graph on the provider that is asked for."""
    wanted = settings.inference.provider
    available = available_providers()
    if wanted != AUTO and split_provider(wanted)[0] not in available:
        found = f"inference.provider = {wanted!r} is unknown to this ONNX Runtime; it has {', '.join(available)}"
        return fail(_PROVIDER, found, _provider_remedy(wanted))
    works: list[str] = []
    broken: list[tuple[str, EdgeError]] = []
    for provider in providers_to_try(wanted, available):
        try:
            works.append(_really_got(provider, settings.inference.threads or 1))
        except EdgeError as error:
            broken.append((provider, error))
    if not works:
        why = broken[0][1]
        return fail(_PROVIDER, why.message, why.remedy or _provider_remedy(wanted))
    found = f"asked for {wanted}, got {', '.join(works)}"
    # A device that is not in this machine is no fault as long as its provider works.
    families = {split_provider(provider)[0] for provider in works}
    lost = [(provider, error) for provider, error in broken if split_provider(provider)[0] not in families]
    if lost:
        told = "; ".join(f"{provider} does not work: {error.message}" for provider, error in lost)
        return warn(_PROVIDER, f"{found}; {told}", lost[0][1].remedy or _provider_remedy(lost[0][0]))
    return ok(_PROVIDER, found)


def _really_got(provider: str, threads: int) -> str:
    handle, name = tempfile.mkstemp(suffix=".onnx")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(PROBE_GRAPH)
        return open_session(Path(name), provider=provider, threads=threads).provider
    finally:
        Path(name).unlink(missing_ok=True)


class _KnownSpeeds(SpeedTable):
    """What the station measured; a doctor adds nothing to it."""

    def save(self, package_id: str, table: Sequence[Measured]) -> None:
        """Keep nothing."""


def check_packages(settings: Settings, clock: Clock) -> list[Finding]:
    """Whether a package is on the disk for what is made here, and passes its self-test on this machine."""
    root = settings.data_dir / "packages"
    store = PackageStore(root, max_package_bytes=settings.bounds.max_package_bytes, is_looking=True)
    judged = {product: current for product in store.products() if (current := store.slots(product).current)}
    findings = [_test(settings, store, clock, product, package_id) for product, package_id in judged.items()]
    product = settings.source.product
    if not judged:
        findings.append(
            warn(_PACKAGE, "none is installed: every part is held", "assign a package to this station at central")
        )
    elif product is not None and product not in judged:
        found = f"source.product is {product!r}, installed are packages for {', '.join(judged)}: every part is held"
        findings.append(
            warn(_PACKAGE, found, "correct source.product, or assign a package for that product at central")
        )
    return findings


def _test(settings: Settings, store: PackageStore, clock: Clock, product: str, package_id: str) -> Finding:
    name = f"{product} {package_id[:12]}"
    cores = len(os.sched_getaffinity(0))
    runtime = Runtime(
        settings.inference.provider,
        threads=settings.inference.threads,
        variant=settings.inference.variant,
        cores=cores,
        tables=_KnownSpeeds(settings.data_dir / "speed", this_machine(cores, runtime_version())),
    )
    try:
        stored = store.load(product, package_id, variants=runtime.variants())
        if stored is None:
            found = f"{name}: no variant of it that {settings.inference.provider} can run is on the disk"
            return fail(_PACKAGE, found, "assign it again at central, or correct inference.provider and variant")
        ready = prepare(stored, runtime, clock, lambda: False)
    except PackageRefused as error:
        return fail(_PACKAGE, f"{name}: {error.reason}: {error.message}", "assign it again, or another one, at central")
    except (EdgeError, OSError) as error:
        return fail(_PACKAGE, f"{name}: {error}", "check the disk; assign the package again at central")
    if ready is None:
        return fail(_PACKAGE, f"{name}: the self-test did not run", "ask again")
    result = ready.tested
    found = (
        f"{name}: self-test passed as {ready.way.variant} on {ready.way.provider} with {ready.way.threads} thread(s), "
        f"{result.infer_p50_ms:.1f} ms a part, largest difference {result.worst_error:.2g}"
    )
    return ok(_PACKAGE, found)


def _provider_remedy(wanted: str) -> str:
    if wanted.startswith(("CUDA", "Tensorrt")):
        return "install sightline[edge-gpu] and check the driver with nvidia-smi, or use CPUExecutionProvider"
    if wanted.startswith("OpenVINO"):
        return "install sightline[edge-openvino], or use CPUExecutionProvider"
    return "set inference.provider to one of those"

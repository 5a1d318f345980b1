# SPDX-License-Identifier: Apache-2.0
"""Downloads a package through TUF: metadata and targets, bounded in bytes, in time, in rate and to its windows.

Writes into a staging folder only; what was downloaded is whole, signed for by the packaging key and as the manifest
says. What a broken attempt leaves there is gone on with by the next one (`packages.download`). Does not decide what to
install. Used by `packages.bringing`.

Foreign errors become `PackageRefused` (what came is wrong: never retry) or `TransportError` (the link: retry).
"""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import httpx
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import RefusalReason, Variant
from edge_agent.clock import Clock
from edge_agent.errors import TransportError
from edge_agent.packages.delegation import signed_target
from edge_agent.packages.download import FileDownload, Transfer, Wanted, remedy_for
from edge_agent.packages.metadata_http import BoundedHttpFetcher
from edge_agent.packages.rate import RateLimit
from edge_agent.packages.reuse import LocalFiles
from edge_agent.packages.store import verify_file
from edge_agent.packages.trust import MAX_MANIFEST_BYTES, PackageRefused, file_named, read_manifest
from edge_agent.packages.windows import MaintenanceWindows

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S: Final = 5.0
_READ_TIMEOUT_S: Final = 15.0
_MAX_ROOT_ROTATIONS: Final = 64
# Going back waits for nobody: what is asked before is asked for so long.
_MAX_ASKING_S: Final = 5.0
_CODE: Final = "package-unreachable"


def untold(_transfer: Transfer) -> None:
    """Progress that nobody asked for."""


class Interrupted(Exception):  # noqa: N818 - asked for, not an error
    """The download was called off: a newer assignment came, or the station stops."""


class WindowClosed(Exception):  # noqa: N818 - agreed on, not an error
    """Packages are not downloaded now. `opens_at`: when they are, aware UTC; `text` says it to people."""

    def __init__(self, opens_at: datetime, text: str) -> None:
        super().__init__(text)
        self.opens_at = opens_at
        self.text = text


class PackageFetcher(Protocol):
    """Brings a package into a folder."""

    def fetch(
        self,
        package_id: str,
        product: str,
        folder: Path,
        choose: Callable[[PackageManifest], list[Variant]],
        is_called_off: Callable[[], bool],
        *,
        have: Sequence[Path] = (),
        is_urgent: bool = False,
        on_progress: Callable[[Transfer], None] = untold,
    ) -> PackageManifest:
        """Download the manifest, the golden set and the graphs of the chosen variants, verified.

        Args:
            package_id: its id, the digest of its manifest.
            product: it must be for this one.
            folder: where it comes to stand, and where the last attempt left what it had.
            choose: the variants to bring, of those that the manifest offers.
            is_called_off: asked between pieces.
            have: folders of packages on this disk; what they share with this one is not fetched.
            is_urgent: do not wait for a maintenance window.
            on_progress: told whenever bytes have come.

        Raises:
            PackageRefused: what came is wrong, or there is no room for it. Never retry.
            TransportError: the link is down or slow. Retry.
            Interrupted: called off.
            WindowClosed: not now.
            OSError: the disk did not take it.
        """
        ...

    def check_published(self, package_id: str, product: str, is_called_off: Callable[[], bool]) -> None:
        """Ask whether a package that is on the disk already is still vouched for. Bounded to some seconds.

        Raises:
            PackageRefused: the signed metadata of this moment names it no more.
            TransportError: nobody can tell now: the link is down or slow, or the metadata is not to be used.
            Interrupted: called off.
        """
        ...


class TufPackageFetcher:
    """`PackageFetcher` on python-tuf.

    Args:
        central_url: base URL of central, without `/api`.
        token: bearer token of role STATION.
        root: bytes of the root metadata this station was enrolled with.
        metadata_dir: where trusted metadata is kept between runs; protects against rollback.
        max_package_bytes: bound for one file as well.
        max_file_s: after this a file that comes too slowly is given up until the next attempt.
        proxy: between the station and central.
        rate: bound on bytes a second, shared with other stations of the process.
        windows: when to download; None: always.
        keep_free_bytes: of the disk, left to the reports.
        sleep: waits that many seconds.
        free_bytes: room on the disk of a folder.
    """

    def __init__(
        self,
        central_url: str,
        token: str,
        *,
        root: bytes,
        metadata_dir: Path,
        clock: Clock,
        max_package_bytes: int,
        max_file_s: float = 600.0,
        ca_file: Path | None = None,
        proxy: httpx.Proxy | None = None,
        rate: RateLimit | None = None,
        windows: MaintenanceWindows | None = None,
        keep_free_bytes: int = 0,
        sleep: Callable[[float], None] = time.sleep,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._base = f"{central_url.rstrip('/')}/api/v1/tuf"
        self._root = root
        self._metadata_dir = metadata_dir
        self._clock = clock
        self._max_package_bytes = max_package_bytes
        self._max_file_s = max_file_s
        self._rate = rate or RateLimit(0, clock)
        self._windows = windows
        self._keep_free_bytes = keep_free_bytes
        self._sleep = sleep
        self._free_bytes = free_bytes
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
            follow_redirects=False,
            # Proxies and certificates come from the settings, not from the environment.
            trust_env=False,
            proxy=proxy,
            verify=str(ca_file) if ca_file else True,
        )
        self._fetcher = BoundedHttpFetcher(self._client, clock, max_file_bytes=max_package_bytes, max_file_s=max_file_s)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def fetch(
        self,
        package_id: str,
        product: str,
        folder: Path,
        choose: Callable[[PackageManifest], list[Variant]],
        is_called_off: Callable[[], bool],
        *,
        have: Sequence[Path] = (),
        is_urgent: bool = False,
        on_progress: Callable[[Transfer], None] = untold,
    ) -> PackageManifest:
        """See `PackageFetcher`."""

        def check() -> None:
            if is_called_off():
                raise Interrupted(package_id)
            opens_at = None if is_urgent or self._windows is None else self._windows.opens_at(self._clock.now())
            if opens_at is not None and self._windows is not None:
                raise WindowClosed(opens_at, f"waiting for the window, next opens at {self._windows.say(opens_at)}")

        check()
        self._fetcher.check = check
        try:
            return self._fetch(package_id, product, folder, choose, have=have, on_progress=on_progress)
        except tuf_errors.DownloadError as error:
            raise _as_ours(error) from error
        except tuf_errors.RepositoryError as error:
            raise PackageRefused(_reason(error), f"package metadata: {error}") from error

    def check_published(self, package_id: str, product: str, is_called_off: Callable[[], bool]) -> None:
        """See `PackageFetcher`."""
        give_up_at = self._clock.monotonic() + _MAX_ASKING_S

        def check() -> None:
            if is_called_off():
                raise Interrupted(package_id)
            if self._clock.monotonic() > give_up_at:
                raise tuf_errors.SlowRetrievalError(f"package metadata: not here after {_MAX_ASKING_S:g} s")

        self._fetcher.check = check
        try:
            self._target(self._refreshed(), f"{package_id}/{MANIFEST_NAME}", product, MAX_MANIFEST_BYTES)
        except (tuf_errors.DownloadError, tuf_errors.RepositoryError) as error:
            if isinstance(error.__cause__, Interrupted):
                raise error.__cause__ from error
            # A package that is here must not be held up by metadata that ran out: it was vouched for when it came.
            raise TransportError(f"package metadata: {error}", remedy=remedy_for(None), code=_CODE) from error

    def _fetch(
        self,
        package_id: str,
        product: str,
        folder: Path,
        choose: Callable[[PackageManifest], list[Variant]],
        *,
        have: Sequence[Path],
        on_progress: Callable[[Transfer], None],
    ) -> PackageManifest:
        updater = self._refreshed()
        target = self._target(updater, f"{package_id}/{MANIFEST_NAME}", product, MAX_MANIFEST_BYTES)
        path = Path(updater.download_target(target, str(folder / MANIFEST_NAME)))
        manifest = read_manifest(
            path.read_bytes(), package_id=package_id, product=product, max_package_bytes=self._max_package_bytes
        )
        chosen = choose(manifest)
        files = {form.variant: form.file for form in manifest.variants}
        # The manifest's names are flat by contract, so nothing can be written outside the folder.
        names = list(dict.fromkeys([manifest.golden.file, *(files[variant] for variant in chosen)]))
        targets = {
            name: self._target(updater, f"{package_id}/{name}", product, self._max_package_bytes) for name in names
        }
        wanted = [self._wanted(manifest, name, targets[name], folder) for name in names]
        transfer = Transfer(total_bytes=sum(each.size_bytes for each in wanted))
        self._bring_all(wanted, manifest, [*have], transfer, on_progress)
        for left in folder.iterdir():
            # A part of a variant that is not wanted any more, or of a manifest's own download.
            if left.name not in (MANIFEST_NAME, *names):
                left.unlink()
        _log.info(
            "package downloaded product=%s package=%s variants=%s bytes=%d reused=%d received=%d",
            product,
            package_id,
            [*map(str, chosen)],
            transfer.total_bytes,
            transfer.reused_bytes,
            transfer.received_bytes,
        )
        return manifest

    def _refreshed(self) -> Updater:
        self._metadata_dir.mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(self._metadata_dir),
            f"{self._base}/metadata/",
            target_base_url=f"{self._base}/targets/",
            fetcher=self._fetcher,
            config=UpdaterConfig(max_root_rotations=_MAX_ROOT_ROTATIONS, prefix_targets_with_hash=False),
            bootstrap=self._root,
        )
        updater.refresh()
        return updater

    def _bring_all(
        self,
        wanted: Sequence[Wanted],
        manifest: PackageManifest,
        have: Sequence[Path],
        transfer: Transfer,
        on_progress: Callable[[Transfer], None],
    ) -> None:
        missing = []
        for each in wanted:
            if each.path.exists() and self._is_whole(each, manifest):
                transfer.done_bytes += each.size_bytes
            else:
                missing.append(each)
        self._check_room(missing)
        local = LocalFiles(have, [chunk for each in missing for chunk in each.chunks])
        for each in wanted:
            if each not in missing:
                local.add(each.path, file_named(manifest, each.path.name))
        download = FileDownload(
            self._client,
            self._clock,
            self._rate,
            max_file_s=self._max_file_s,
            check=self._fetcher.check,
            tell=lambda: on_progress(transfer),
            sleep=self._sleep,
            transfer=transfer,
        )
        on_progress(transfer)
        for each in missing:
            download.bring(each, local)
            verify_file(each.path, manifest)
            local.add(each.path, file_named(manifest, each.path.name))

    def _is_whole(self, wanted: Wanted, manifest: PackageManifest) -> bool:
        """Whether the attempt before has brought it already."""
        try:
            verify_file(wanted.path, manifest)
        except PackageRefused:
            wanted.path.unlink()
            return False
        return True

    def _check_room(self, missing: Sequence[Wanted]) -> None:
        """A disk that runs full in the middle would hold up the reports as well."""
        if not missing:
            return
        here = sum(each.part.stat().st_size for each in missing if each.part.exists())
        need = sum(each.size_bytes for each in missing) - here
        room = self._free_bytes(missing[0].path.parent) - self._keep_free_bytes
        if need > room:
            kept = f" beside the {self._keep_free_bytes} that are kept for reports" if self._keep_free_bytes else ""
            msg = f"package: expected {need} bytes of room on the station's disk{kept}, got {max(0, room)}"
            refusal = PackageRefused(RefusalReason.DISK, msg)
            refusal.remedy = "make room on the disk of data_dir"
            raise refusal

    def _wanted(self, manifest: PackageManifest, name: str, target: TargetFile, folder: Path) -> Wanted:
        entry = file_named(manifest, name)
        if (target.length, target.hashes.get("sha256")) != (entry.size_bytes, entry.sha256):
            # Mix-and-match: both are signed, but not for one another.
            msg = f"package file {name}: the signed metadata and the manifest do not name the same content"
            raise PackageRefused(RefusalReason.DIGEST, msg)
        url = f"{self._base}/targets/{target.path}"
        return Wanted(url, folder / name, entry.size_bytes, entry.sha256, tuple(entry.chunks))

    def _target(self, updater: Updater, path: str, product: str, max_bytes: int) -> TargetFile:
        target = signed_target(updater, self._metadata_dir, path, product)
        if target is None:
            # Arbitrary software: who may assign is not who may publish; both must have signed.
            msg = f"package file {path}: no signed metadata of the packaging key names it"
            raise PackageRefused(RefusalReason.SIGNATURE, msg)
        if target.length > max_bytes:
            msg = f"package file {path}: expected at most {max_bytes} bytes, got {target.length}"
            raise PackageRefused(RefusalReason.TOO_LARGE, msg)
        published_for = (target.custom or {}).get("product", product)
        if published_for != product:
            msg = f"package file {path}: expected product {product}, published for {published_for}"
            raise PackageRefused(RefusalReason.WRONG_PRODUCT, msg)
        return target


def _as_ours(error: tuf_errors.DownloadError) -> Exception:
    cause = error.__cause__
    if isinstance(cause, Interrupted | WindowClosed):
        return cause
    if isinstance(error, tuf_errors.DownloadLengthMismatchError):
        return PackageRefused(RefusalReason.TOO_LARGE, str(error))
    detail = f"{error} ({cause})" if cause is not None else str(error)
    remedy = remedy_for(getattr(error, "status_code", None))
    return TransportError(f"package download: {detail}", remedy=remedy, code=_CODE)


def _reason(error: tuf_errors.RepositoryError) -> RefusalReason:
    if isinstance(error, tuf_errors.ExpiredMetadataError):
        return RefusalReason.EXPIRED
    if isinstance(error, tuf_errors.BadVersionNumberError):
        return RefusalReason.ROLLBACK
    if isinstance(error, tuf_errors.UnsignedMetadataError):
        return RefusalReason.SIGNATURE
    if isinstance(error, tuf_errors.LengthOrHashMismatchError):
        return RefusalReason.DIGEST
    return RefusalReason.UNREADABLE

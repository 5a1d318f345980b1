# SPDX-License-Identifier: Apache-2.0
"""Downloads a package through TUF: metadata and targets, bounded in bytes and in time.

Writes into a staging folder only; what was downloaded is whole, signed for by the packaging key and as the manifest
says, or the folder is worth nothing. Does not decide what to install. Used by the package installer.

Foreign errors become `PackageRefused` (what came is wrong: never retry) or `TransportError` (the link: retry).
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import httpx
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import RefusalReason, Variant
from edge_agent.clock import Clock
from edge_agent.errors import TransportError
from edge_agent.packages.store import verify_file
from edge_agent.packages.trust import MAX_MANIFEST_BYTES, PackageRefused, read_manifest

_log = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 64 * 1024
_CONNECT_TIMEOUT_S: Final = 5.0
_READ_TIMEOUT_S: Final = 15.0
_MAX_ROOT_ROTATIONS: Final = 64


class Interrupted(Exception):  # noqa: N818 - asked for, not an error
    """The download was called off: a newer assignment came, or the station stops."""


class PackageFetcher(Protocol):
    """Brings a package into a folder."""

    def fetch(
        self,
        package_id: str,
        product: str,
        folder: Path,
        choose: Callable[[PackageManifest], list[Variant]],
        is_called_off: Callable[[], bool],
    ) -> PackageManifest:
        """Download the manifest, the golden set and the graphs of the chosen variants, verified.

        Raises:
            PackageRefused: what came is wrong. Never retry.
            TransportError: the link is down or slow. Retry.
            Interrupted: called off.
            OSError: the disk did not take it.
        """
        ...


class BoundedHttpFetcher(FetcherInterface):
    """python-tuf's network seam on httpx: bearer token, time-outs, a deadline and a byte bound for each file."""

    def __init__(self, client: httpx.Client, clock: Clock, *, max_file_bytes: int, max_file_s: float) -> None:
        self._client = client
        self._clock = clock
        self._max_file_bytes = max_file_bytes
        self._max_file_s = max_file_s
        self.is_called_off: Callable[[], bool] = lambda: False

    def _fetch(self, url: str) -> Iterator[bytes]:
        # A generator would send the request only when it is read; TUF expects HTTP errors from this call.
        if self.is_called_off():
            raise Interrupted(url)
        request = self._client.build_request("GET", url)
        try:
            response = self._client.send(request, stream=True)
        except httpx.TimeoutException as error:
            msg = f"{url}: no answer in time"
            raise tuf_errors.SlowRetrievalError(msg) from error
        if response.status_code != httpx.codes.OK:
            response.close()
            msg = f"{url}: expected HTTP 200, got {response.status_code}"
            raise tuf_errors.DownloadHTTPError(msg, response.status_code)
        return self._chunks(url, response)

    def _chunks(self, url: str, response: httpx.Response) -> Iterator[bytes]:
        deadline = self._clock.monotonic() + self._max_file_s
        received = 0
        try:
            for chunk in response.iter_bytes(_CHUNK_BYTES):
                received += len(chunk)
                if received > self._max_file_bytes:
                    # Endless data: the caller's own bound may be generous, this one is the station's.
                    msg = f"{url}: more than {self._max_file_bytes} bytes"
                    raise tuf_errors.DownloadLengthMismatchError(msg)
                if self._clock.monotonic() > deadline:
                    # Slow retrieval: a byte now and then would hold the installer for ever.
                    msg = f"{url}: not complete after {self._max_file_s:g} s"
                    raise tuf_errors.SlowRetrievalError(msg)
                if self.is_called_off():
                    raise Interrupted(url)
                yield chunk
        except httpx.HTTPError as error:
            msg = f"{url}: {type(error).__name__}: {error}"
            raise tuf_errors.DownloadError(msg) from error
        finally:
            response.close()


class TufPackageFetcher:
    """`PackageFetcher` on python-tuf.

    Args:
        central_url: base URL of central, without `/api`.
        token: bearer token of role STATION.
        root: bytes of the root metadata this station was enrolled with.
        metadata_dir: where trusted metadata is kept between runs; protects against rollback.
        max_package_bytes: bound for one file as well.
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
    ) -> None:
        self._base = f"{central_url.rstrip('/')}/api/v1/tuf"
        self._root = root
        self._metadata_dir = metadata_dir
        self._max_package_bytes = max_package_bytes
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
            follow_redirects=False,
            # Proxies and certificates come from the settings, not from the environment.
            trust_env=False,
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
    ) -> PackageManifest:
        """See `PackageFetcher`."""
        self._fetcher.is_called_off = is_called_off
        try:
            return self._fetch(package_id, product, folder, choose)
        except tuf_errors.DownloadError as error:
            raise _as_ours(error) from error
        except tuf_errors.RepositoryError as error:
            raise PackageRefused(_reason(error), f"package metadata: {error}") from error

    def _fetch(
        self, package_id: str, product: str, folder: Path, choose: Callable[[PackageManifest], list[Variant]]
    ) -> PackageManifest:
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
        target = self._target(updater, f"{package_id}/{MANIFEST_NAME}", product, MAX_MANIFEST_BYTES)
        path = Path(updater.download_target(target, str(folder / MANIFEST_NAME)))
        manifest = read_manifest(
            path.read_bytes(), package_id=package_id, product=product, max_package_bytes=self._max_package_bytes
        )
        chosen = choose(manifest)
        files = {form.variant: form.file for form in manifest.variants}
        # The manifest's names are flat by contract, so nothing can be written outside the folder.
        for name in dict.fromkeys([manifest.golden.file, *(files[variant] for variant in chosen)]):
            target = self._target(updater, f"{package_id}/{name}", product, self._max_package_bytes)
            updater.download_target(target, str(folder / name))
            verify_file(folder / name, manifest)
        _log.info("package downloaded product=%s package=%s variants=%s", product, package_id, [*map(str, chosen)])
        return manifest

    def _target(self, updater: Updater, path: str, product: str, max_bytes: int) -> TargetFile:
        target = updater.get_targetinfo(path)
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
    if isinstance(cause, Interrupted):
        return cause
    if isinstance(error, tuf_errors.DownloadLengthMismatchError):
        return PackageRefused(RefusalReason.TOO_LARGE, str(error))
    detail = f"{error} ({cause})" if cause is not None else str(error)
    status = getattr(error, "status_code", None)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        remedy = "check central.token in the station's settings"
    else:
        remedy = "check the link to central"
    return TransportError(f"package download: {detail}", remedy=remedy, code="package-unreachable")


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

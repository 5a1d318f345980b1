# SPDX-License-Identifier: Apache-2.0
"""Downloads end: in bytes, in time, or when they are called off."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.manifest import PackageManifest
from contracts.vocabulary import Variant
from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import TransportError
from edge_agent.packages.fetch import Interrupted, TufPackageFetcher
from tests.fakes.package_server import TOKEN, PackageServer
from tests.fakes.packages import BuiltPackage, build_package


class HastyClock(SystemClock):
    """An hour passes with every look."""

    def __init__(self) -> None:
        self._hours = 0

    def monotonic(self) -> float:
        self._hours += 1
        return self._hours * 3600.0


class Rig:
    def __init__(self, folder: Path, server: PackageServer) -> None:
        self.server = server
        self._folder = folder
        self.package: BuiltPackage = build_package(folder / "built")
        server.publish(self.package)

    def fetch(
        self,
        *,
        clock: Clock | None = None,
        token: str = TOKEN,
        url: str | None = None,
        choose: Callable[[PackageManifest], list[Variant]] = lambda _manifest: [Variant.FP32],
        is_called_off: Callable[[], bool] = lambda: False,
    ) -> Path:
        fetcher = TufPackageFetcher(
            url or self.server.url,
            token,
            root=self.server.root,
            metadata_dir=self._folder / "tuf",
            clock=clock or SystemClock(),
            max_package_bytes=4 * 1024 * 1024,
        )
        into = self._folder / "into"
        into.mkdir(exist_ok=True)
        try:
            fetcher.fetch(self.package.package_id, "ring", into, choose, is_called_off)
        finally:
            fetcher.close()
        return into


@pytest.fixture
def rig(tmp_path: Path, server: PackageServer) -> Rig:
    return Rig(tmp_path, server)


def test_only_the_chosen_variants_are_downloaded(rig: Rig) -> None:
    into = rig.fetch()
    assert sorted(path.name for path in into.iterdir()) == ["fp32.onnx", "golden.npz", "manifest.json"]
    for path in into.iterdir():
        assert path.read_bytes() == (rig.package.folder / path.name).read_bytes()


def test_download_beyond_its_time_is_given_up_for_a_retry(rig: Rig) -> None:
    with pytest.raises(TransportError, match="not complete after"):
        rig.fetch(clock=HastyClock())


def test_wrong_token_names_the_setting(rig: Rig) -> None:
    with pytest.raises(TransportError, match=r"central\.token"):
        rig.fetch(token="wrong")


def test_nobody_there_is_a_transport_error(rig: Rig) -> None:
    with pytest.raises(TransportError):
        rig.fetch(url="http://127.0.0.1:1")


def test_redirects_are_not_followed(rig: Rig) -> None:
    rig.server.status["metadata/timestamp.json"] = 302
    with pytest.raises(TransportError, match="302"):
        rig.fetch()


def test_missing_file_of_a_published_package_is_retried_not_refused(rig: Rig) -> None:
    rig.server.status[f"targets/{rig.package.package_id}/fp32.onnx"] = 404
    with pytest.raises(TransportError, match="404"):
        rig.fetch()


def test_endless_download_is_called_off_between_two_chunks(rig: Rig) -> None:
    rig.server.endless.add("metadata/timestamp.json")
    called_off = threading.Event()
    rig.server.on_request = lambda path: called_off.set() if "timestamp" in path else None
    with pytest.raises(Interrupted):
        rig.fetch(is_called_off=called_off.is_set)


def test_second_download_uses_the_metadata_that_is_trusted_already(rig: Rig) -> None:
    rig.fetch()
    rig.server.requests.clear()
    rig.fetch()
    assert not [path for path in rig.server.requests if path.endswith(("snapshot.json", "targets.json"))]

# SPDX-License-Identifier: Apache-2.0
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.api.exceptions import BadVersionNumberError, ExpiredMetadataError, RepositoryError
from tuf.ngclient import Updater, UpdaterConfig

from central.trust.enrolment import initialise_trust, open_repository
from central.trust.repository import PackageRepository, PackageRepositoryError
from central.trust.state import TIMESTAMP_LIFETIME
from tests.central.trust.packages import make_package

MakeUpdater = Callable[[], Updater]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


@pytest.fixture
def trust_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "trust"
    initialise_trust(folder, datetime.now(UTC))
    return folder


@pytest.fixture
def repository(trust_dir: Path) -> PackageRepository:
    return open_repository(trust_dir)


@pytest.fixture
def updater(trust_dir: Path, tmp_path: Path) -> Iterator[MakeUpdater]:
    """A station's real TUF client over loopback HTTP, enrolled with the root of trust."""
    handler = partial(_Quiet, directory=str(trust_dir / "tuf"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    (tmp_path / "downloads").mkdir()

    def make() -> Updater:
        return Updater(
            metadata_dir=str(tmp_path / "station"),
            metadata_base_url=f"{base}/metadata/",
            target_dir=str(tmp_path / "downloads"),
            target_base_url=f"{base}/targets/",
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=(trust_dir / "enrolment" / "root.json").read_bytes(),
        )

    (tmp_path / "station").mkdir()
    yield make
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_station_downloads_and_verifies_a_published_package(
    repository: PackageRepository, updater: MakeUpdater, tmp_path: Path
) -> None:
    package_id = make_package(tmp_path / "package")
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))

    client = updater()
    target = client.get_targetinfo(f"{package_id}/int8-u8s8.onnx")
    assert target is not None
    assert target.custom == {"product": "ring", "role": "model", "variant": "int8-u8s8", "package_id": package_id}
    path = client.download_target(target, str(tmp_path / "downloads" / "graph"))
    assert Path(path).read_bytes() == (tmp_path / "package" / "int8-u8s8.onnx").read_bytes()
    manifest = client.get_targetinfo(f"{package_id}/manifest.json")
    assert manifest is not None
    assert manifest.hashes["sha256"] == package_id


def test_an_altered_file_is_refused_by_the_station(
    repository: PackageRepository, updater: MakeUpdater, tmp_path: Path
) -> None:
    """Arbitrary software attack on the server's disk."""
    package_id = make_package(tmp_path / "package")
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    file = repository.targets_dir / package_id / "fp32.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"!")

    client = updater()
    target = client.get_targetinfo(f"{package_id}/fp32.onnx")
    assert target is not None
    with pytest.raises(RepositoryError):
        client.download_target(target, str(tmp_path / "downloads" / "graph"))


def test_altered_metadata_is_refused_by_the_station(
    repository: PackageRepository, updater: MakeUpdater, tmp_path: Path
) -> None:
    package_id = make_package(tmp_path / "package")
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    path = repository.metadata_dir / "2.targets.json"
    content = json.loads(path.read_bytes())
    content["signed"]["targets"][f"{package_id}/fp32.onnx"]["length"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(RepositoryError):
        updater().refresh()


def test_an_older_timestamp_is_refused_by_the_station(
    repository: PackageRepository, updater: MakeUpdater, tmp_path: Path
) -> None:
    """Rollback attack: yesterday's metadata under today's address."""
    old = (repository.metadata_dir / "timestamp.json").read_bytes()
    repository.publish(tmp_path / "package", make_package(tmp_path / "package"), datetime.now(UTC))
    updater().refresh()
    (repository.metadata_dir / "timestamp.json").write_bytes(old)
    with pytest.raises(BadVersionNumberError):
        updater().refresh()


def test_metadata_that_nobody_renewed_is_refused_by_the_station(
    repository: PackageRepository, updater: MakeUpdater
) -> None:
    """Freeze attack: metadata that has run out says nothing any more."""
    for path in repository.metadata_dir.glob("*"):
        path.unlink()
    repository.create(datetime.now(UTC) - 2 * TIMESTAMP_LIFETIME)
    # The new root has the same keys, so only the run-out timestamp can be the reason.
    with pytest.raises(ExpiredMetadataError):
        updater().refresh()


def test_refresh_renews_before_half_of_a_lifetime_is_left(repository: PackageRepository, updater: MakeUpdater) -> None:
    now = datetime.now(UTC)
    assert not repository.refresh(now + timedelta(days=1))
    assert repository.refresh(now + timedelta(days=4))
    assert not repository.refresh(now + timedelta(days=4))
    assert repository.refresh(now + timedelta(days=20))
    client = updater()
    client.refresh()
    assert client._trusted_set.timestamp.version == 3
    assert client._trusted_set.snapshot.version == 2


def test_publishing_twice_changes_nothing(repository: PackageRepository, tmp_path: Path) -> None:
    package_id = make_package(tmp_path / "package")
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    before = {path.name: path.read_bytes() for path in repository.metadata_dir.iterdir()}
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    assert {path.name: path.read_bytes() for path in repository.metadata_dir.iterdir()} == before
    assert repository.has(package_id)


def test_a_publication_cut_short_is_invisible_and_can_be_done_again(
    repository: PackageRepository, updater: MakeUpdater, tmp_path: Path
) -> None:
    """Killed just before `timestamp.json` was renamed: all files there, none of them current."""
    package_id = make_package(tmp_path / "package")
    timestamp = (repository.metadata_dir / "timestamp.json").read_bytes()
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    (repository.metadata_dir / "timestamp.json").write_bytes(timestamp)

    assert not repository.has(package_id)
    assert updater().get_targetinfo(f"{package_id}/manifest.json") is None
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    assert updater().get_targetinfo(f"{package_id}/manifest.json") is not None


def test_a_folder_that_is_not_the_package_it_claims_to_be_is_not_published(
    repository: PackageRepository, tmp_path: Path
) -> None:
    package_id = make_package(tmp_path / "package")
    (tmp_path / "package" / "fp32.onnx").write_bytes(b"something else")
    with pytest.raises(PackageRepositoryError, match=r"fp32\.onnx: expected sha256"):
        repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    assert not repository.has(package_id)
    assert not (repository.targets_dir / package_id).exists()


def test_a_damaged_copy_of_a_published_package_touches_nothing(repository: PackageRepository, tmp_path: Path) -> None:
    package_id = make_package(tmp_path / "package")
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    published = {path.name: path.read_bytes() for path in (repository.targets_dir / package_id).iterdir()}
    (tmp_path / "package" / "fp32.onnx").write_bytes(b"something else")
    with pytest.raises(PackageRepositoryError, match=r"fp32\.onnx: expected sha256"):
        repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    assert {path.name: path.read_bytes() for path in (repository.targets_dir / package_id).iterdir()} == published


def test_a_published_file_that_the_disk_has_spoilt_is_written_anew(
    repository: PackageRepository, tmp_path: Path
) -> None:
    package_id = make_package(tmp_path / "package")
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    file = repository.targets_dir / package_id / "fp32.onnx"
    sound = file.read_bytes()
    file.write_bytes(bytes(len(sound)))
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    assert file.read_bytes() == sound


def test_initialising_again_keeps_keys_and_packages(trust_dir: Path, tmp_path: Path) -> None:
    repository = open_repository(trust_dir)
    package_id = make_package(tmp_path / "package")
    repository.publish(tmp_path / "package", package_id, datetime.now(UTC))
    keys = {path.name: path.read_bytes() for path in (trust_dir / "keys").iterdir()}
    initialise_trust(trust_dir, datetime.now(UTC))
    assert {path.name: path.read_bytes() for path in (trust_dir / "keys").iterdir()} == keys
    assert open_repository(trust_dir).has(package_id)

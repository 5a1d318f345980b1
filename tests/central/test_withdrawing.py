# SPDX-License-Identifier: Apache-2.0
"""`keys revoke --withdraw` says before it asks who judges with the package that is to be withdrawn."""

from pathlib import Path

import pytest
from sqlmodel import select

from central.__main__ import main
from central.clock import SystemClock
from central.services.package_registry import set_champion
from central.settings import load_settings
from central.store.database import Database
from central.store.learning_tables import Package
from central.store.tables import Station
from central.trust.enrolment import open_repository
from tests.edge import tiny_package

REVOKE = ("keys", "revoke", "packaging", "--why", "stolen")


@pytest.fixture(name="plant")
def _plant(tmp_path: Path) -> tuple[Path, str]:
    """A plant's folder and a package that was imported."""
    data, now = tmp_path / "plant", SystemClock().now()
    assert main(["init", "--data", str(data), "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 0
    tiny_package.write_package(tmp_path / "package")
    bringing = ["package", "import", str(tmp_path / "package"), "--data", str(data), "--note", "first", "--by", "anna"]
    assert main(bringing) == 0
    with _database(data).begin() as session:
        package = session.exec(select(Package)).one()
        session.add(Station(address="plant/line-1/st-1", first_seen_at=now))
        return data, package.package_id


def _database(data: Path) -> Database:
    return Database(load_settings(data / "central.toml").database_url)


def test_package_that_nobody_uses_is_withdrawn_without_a_warning(
    plant: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    data, package_id = plant
    assert main([*REVOKE, "--withdraw", package_id, "--data", str(data), "--yes"]) == 0
    assert "warning" not in capsys.readouterr().out
    assert open_repository(data / "trust").is_withdrawn(package_id)


def test_champion_and_the_stations_that_have_it_are_named(
    plant: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    data, package_id = plant
    with _database(data).begin() as session:
        package = session.get_one(Package, package_id)
        set_champion(session, package, SystemClock().now())
        session.exec(select(Station)).one().assigned = {package.product: package_id}
        product = package.product
    assert main([*REVOKE, "--withdraw", package_id, "--data", str(data), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"warning: it is the champion of {product}; roll out another package" in said
    assert "warning: it stays assigned to plant/line-1/st-1, which judge on with it" in said
    assert not open_repository(data / "trust").is_withdrawn(package_id)

# SPDX-License-Identifier: Apache-2.0
"""`keys revoke --withdraw` says before it asks who judges with the package that is to be withdrawn."""

from pathlib import Path

import pytest
from sqlmodel import select

from central.__main__ import main
from central.clock import SystemClock
from central.domain.rollout_shapes import Progress, Rollout, StationStep, Wave
from central.services.package_registry import set_champion
from central.services.rollouts.state import text_of
from central.settings import load_settings
from central.store.database import Database
from central.store.learning_tables import Package, RolloutRow
from central.store.tables import Station
from central.trust.enrolment import open_repository
from contracts.vocabulary import RolloutState, WaveState
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


def test_stations_that_a_rollout_would_send_back_to_it_are_named_with_what_becomes_of_them(
    plant: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    data, package_id = plant
    now = SystemClock().now()
    with _database(data).begin() as session:
        package = session.get_one(Package, package_id)
        coming = package.model_copy(update={"package_id": "c" * 64})
        session.add(Package(**coming.model_dump()))
        session.flush()
        step = StationStep("plant/line-1/st-1", Progress.BAKING, since=now)
        machine = Rollout((Wave(0, (step,), state=WaveState.RUNNING),), has_previous=True, state=RolloutState.RUNNING)
        noted = {"package_id": package_id, "number": 2, "after_inspection_id": 0}
        row = RolloutRow(
            package_id="c" * 64,
            product=package.product,
            state=RolloutState.RUNNING,
            reason="a trial",
            created_at=now,
            machine=text_of(machine),
            before={"plant/line-1/st-1": noted},
            is_simulated=package.is_simulated,
        )
        session.add(row)
        session.flush()
        number, product = row.id, package.product
    assert main([*REVOKE, "--withdraw", package_id, "--data", str(data), "--dry-run"]) == 0
    said = capsys.readouterr().out
    begins = (
        f"warning: rollout {number} of {product} is open; if it is taken back, plant/line-1/st-1 cannot go back to it"
    )
    assert f"{begins}, and no package will judge {product} there until another is rolled out" in said

# SPDX-License-Identifier: Apache-2.0
"""`sightline-central package import` as an engineer meets it."""

import fcntl
import json
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from central.__main__ import main
from central.clock import SystemClock
from central.domain.rollout_plan import RolloutPlan
from central.services.package_registry import promoted_without_rollout, set_champion
from central.services.rollouts.beginning import Asked, begin_as_asked, begin_by_itself
from central.settings import RolloutSettings, load_settings
from central.store.database import Database
from central.store.learning_tables import Package, Promotion, RolloutRow
from central.store.repositories.rollout_policies import plan_text
from central.store.rollout_tables import RolloutPolicyRow
from central.trust.enrolment import open_repository
from central.trust.repository import PackageRepository
from contracts.vocabulary import PromotionOutcome, RiskClass, RolloutState
from tests.edge import tiny_package


@pytest.fixture(name="initial_data", scope="module")
def _initial_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("initial") / "plant"
    assert main(["init", "--data", str(folder), "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 0
    return folder


@pytest.fixture(name="data")
def _data(initial_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(initial_data, tmp_path / "plant"))


@pytest.fixture(name="out")
def _out(tmp_path: Path) -> Path:
    """What a training leaves: `OUT` with `package/` in it."""
    tiny_package.write_package(tmp_path / "out" / "package")
    return tmp_path / "out"


def bring_in(data: Path, folder: Path, note: str = "first of line 1", by: str = "anna") -> int:
    return main(["package", "import", str(folder), "--data", str(data), "--note", note, "--by", by])


def rows(data: Path) -> list[Package]:
    with Database(load_settings(data / "central.toml").database_url).read() as session:
        return list(session.exec(select(Package)).all())


def published(data: Path) -> int:
    """Version of the signed list of packages."""
    return len(list((data / "trust" / "tuf" / "metadata").glob("*.targets.json")))


def test_imported_package_is_published_and_promoted_by_the_person_who_vouched(
    data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring_in(data, out) == 0
    assert "canary first" in capsys.readouterr().out
    (package,) = rows(data)
    assert open_repository(data / "trust").has(package.package_id)
    with Database(load_settings(data / "central.toml").database_url).read() as session:
        promotion = session.get_one(Promotion, package.package_id)
        waiting = [each.package_id for each in promoted_without_rollout(session)]
    assert promotion.outcome is PromotionOutcome.PROMOTED
    assert promotion.checks[0]["detail"] == "anna: first of line 1"
    assert package.training_id is None
    assert waiting == [package.package_id]


def test_package_that_is_here_already_is_left_alone(data: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring_in(data, out) == 0
    before = published(data)
    assert bring_in(data, out / "package", note="another reason") == 0
    assert "is here already; nothing was changed" in capsys.readouterr().out
    assert (len(rows(data)), published(data)) == (1, before)


def test_withdrawn_package_is_not_said_to_be_only_here(
    data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring_in(data, out) == 0
    (package,) = rows(data)
    open_repository(data / "trust").withdraw(package.package_id, SystemClock().now())
    assert bring_in(data, out) == 2
    said = capsys.readouterr().err
    assert f"package {package.package_id[:12]} of ring is here already and was withdrawn: no station takes it" in said
    assert "Import another one" in said


def test_import_does_not_promise_a_rollout_that_people_keep_to_themselves(
    data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Database(load_settings(data / "central.toml").database_url).begin() as session:
        session.add(
            RolloutPolicyRow(
                product="ring",
                risk=RiskClass.STANDARD,
                is_automatic=False,
                plan=plan_text(RolloutPlan()),
                changed_at=SystemClock().now(),
                changed_by="anna",
                note="for the test",
            )
        )
    assert bring_in(data, out) == 0
    said = capsys.readouterr().out
    assert "the policy of ring leaves its rollouts to people" in said
    assert "canary first" not in said


def test_package_is_refused_while_a_rollout_of_its_product_is_under_way(
    data: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring_in(data, out) == 0
    (first,) = rows(data)
    with Database(load_settings(data / "central.toml").database_url).begin() as session:
        begin_by_itself(session, first, RolloutSettings(), SystemClock().now())
    before = published(data)
    tiny_package.write_package(tmp_path / "other", offset=0.01)
    assert bring_in(data, tmp_path / "other") == 2
    said = f"package {first.package_id[:12]} is under way; wait until its rollout has ended, or abort it"
    assert said in capsys.readouterr().err
    assert (len(rows(data)), published(data)) == (1, before)
    tiny_package.write_package(tmp_path / "gear", "gear")
    assert bring_in(data, tmp_path / "gear") == 0


def test_package_is_refused_when_a_rollout_began_while_its_files_were_published(
    data: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bring_in(data, out) == 0
    (first,) = rows(data)
    database = Database(load_settings(data / "central.toml").database_url)
    with database.begin() as session:
        set_champion(session, first, SystemClock().now())
    publish = PackageRepository.publish

    def publish_slowly(self: PackageRepository, folder: Path, package_id: str, now: datetime) -> None:
        publish(self, folder, package_id, now)
        if package_id != first.package_id:
            with database.begin() as session:
                begin_as_asked(session, first.package_id, Asked("by hand"), RolloutSettings(), now)

    monkeypatch.setattr(PackageRepository, "publish", publish_slowly)
    tiny_package.write_package(tmp_path / "other", offset=0.01)
    assert bring_in(data, tmp_path / "other") == 2
    assert f"package {first.package_id[:12]} is under way" in capsys.readouterr().err
    assert [row.package_id for row in rows(data)] == [first.package_id]
    with database.begin() as session:
        session.exec(select(RolloutRow)).one().state = RolloutState.FINISHED
    monkeypatch.undo()
    assert bring_in(data, tmp_path / "other") == 0
    assert len(rows(data)) == 2


def test_a_promoted_package_holds_others_up_until_it_is_withdrawn(
    data: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring_in(data, out) == 0
    (first,) = rows(data)
    tiny_package.write_package(tmp_path / "other", offset=0.01)
    assert bring_in(data, tmp_path / "other") == 2
    said = capsys.readouterr().err
    assert f"package {first.package_id[:12]} awaits its rollout; wait for its end, or begin it with POST" in said
    withdrawing = ["keys", "revoke", "packaging", "--why", "x", "--withdraw", first.package_id, "--data", str(data)]
    assert main([*withdrawing, "--yes"]) == 0
    assert bring_in(data, tmp_path / "other") == 0


def test_altered_package_is_refused_naming_the_files_and_leaves_a_published_one_whole(
    data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((out / "package" / "manifest.json").read_bytes())
    name = manifest["files"][0]["name"]
    altered = Path(shutil.copytree(out, out.with_name("altered"))) / "package"
    (altered / name).write_bytes(b"something else")
    (altered / manifest["files"][1]["name"]).unlink()
    assert bring_in(data, altered) == 2
    said = capsys.readouterr().err
    assert f"{name}: expected SHA-256" in said
    assert f"{manifest['files'][1]['name']}: No such file" in said
    assert rows(data) == []
    assert published(data) == 1
    assert not any((data / "trust" / "tuf" / "targets").iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "expected a package, as `sightline-models train` leaves it"),
        (b"{}", "expected the manifest of a package"),
    ],
)
def test_folder_without_a_package_is_one_clear_text(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if content is not None:
        (folder / "manifest.json").write_bytes(content)
    assert bring_in(data, folder) == 2
    assert said in capsys.readouterr().err
    assert rows(data) == []


def test_nobody_vouches_without_a_reason(data: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring_in(data, out, note="  ") == 2
    assert "--note: expected why" in capsys.readouterr().err
    assert rows(data) == []


def test_publishing_keeps_other_processes_out_meanwhile(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = open_repository(data / "trust")
    lock = repository.lock.path
    kept_out: list[bool] = []
    write = PackageRepository._write

    def watched(self: PackageRepository, *arguments: Any) -> None:
        with lock.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                kept_out.append(False)
            except BlockingIOError:
                kept_out.append(True)
        write(self, *arguments)

    monkeypatch.setattr(PackageRepository, "_write", watched)
    assert bring_in(data, out) == 0
    assert kept_out
    assert all(kept_out)


def test_import_beside_a_running_central_takes_nothing_of_it_back(data: Path, out: Path) -> None:
    running = open_repository(data / "trust")
    assert bring_in(data, out) == 0
    (package,) = rows(data)
    assert running.refresh(SystemClock().now() + timedelta(days=200))
    assert running.has(package.package_id)


@pytest.mark.parametrize("name", ["manifest.json", "golden.npz"])
def test_pipe_in_place_of_a_file_is_refused_and_not_waited_for(
    data: Path, out: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "package" / name).unlink()
    os.mkfifo(out / "package" / name)
    assert bring_in(data, out / "package") == 2
    assert f"{name}: expected a plain file, got a pipe" in capsys.readouterr().err
    assert rows(data) == []

# SPDX-License-Identifier: Apache-2.0
"""`sightline-central recipe export` and `import` as an engineer meets them."""

import json
import shutil
from pathlib import Path

import pytest
from sqlmodel import select

from central.__main__ import main
from central.clock import SystemClock
from central.settings import load_settings
from central.store.database import Database
from central.store.recipe_tables import RecipePin
from central.store.repositories import stations
from contracts.ids import StationAddress
from contracts.reports import StationReported
from contracts.vocabulary import StationState


@pytest.fixture(name="initial_data", scope="module")
def _initial_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("initial") / "plant"
    assert main(["init", "--data", str(folder), "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 0
    return folder


@pytest.fixture(name="data")
def _data(initial_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(initial_data, tmp_path / "plant"))


def bring_in(data: Path, file: Path, *more: str, product: str = "ring") -> int:
    return main(["recipe", "import", product, str(file), "--data", str(data), "--note", "from the old plant", *more])


def test_exported_recipe_can_be_imported_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"deadline_ms": 90, "pass_review": True, "region": {"xywh": [0, 0, 64, 64]}}))
    assert bring_in(data, first) == 0
    said = capsys.readouterr()
    assert "version 1 of ring made" in said.out
    assert "warning: pass_review" in said.err
    assert main(["recipe", "export", "ring", str(second), "--data", str(data)]) == 0
    exported = json.loads(second.read_text())
    assert (exported["product"], exported["deadline_ms"], "version" in exported) == ("ring", 90, False)
    assert bring_in(data, second) == 2
    assert "nothing to change" in capsys.readouterr().err
    second.write_text(second.read_text().replace("90", "80"))
    assert bring_in(data, second) == 0
    assert main(["recipe", "export", "ring", str(first), "--version", "1", "--data", str(data)]) == 0
    assert json.loads(first.read_text())["deadline_ms"] == 90


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "expected JSON as `recipe export` writes it"),
        ("[]", "expected a JSON object, got list"),
        ('{"deadline_ms": 0}', "document: deadline_ms: "),
        ('{"deadlin": 5}', "document: deadlin: no such field"),
        ('{"product": "gear"}', "product: expected 'ring', got 'gear'"),
    ],
)
def test_file_that_is_no_recipe_is_one_clear_text(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(content)
    assert bring_in(data, file) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert main(["recipe", "export", "ring", str(file), "--data", str(data)]) == 2
    assert "no such version; products with recipes: none" in capsys.readouterr().err
    assert file.read_text() == content


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--station", "here"], "--station: expected site/line/station"),
        (["--station", "a/b/c"], "station a/b/c: never heard of"),
        (["--by", "Anna B"], "--by: expected"),
        (["--note", " "], "--note: expected"),
    ],
)
def test_mistake_on_the_command_line_is_one_clear_text(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    file = tmp_path / "recipe.json"
    file.write_text("{}")
    assert bring_in(data, file, *words) == 2
    assert said in capsys.readouterr().err
    assert bring_in(data, tmp_path / "none.json") == 2
    assert "expected one that can be read" in capsys.readouterr().err
    assert bring_in(data, file, product="Not Good") == 2
    assert "PRODUCT: expected" in capsys.readouterr().err


STATION = StationAddress(site="plant", line="line-1", station="st-1")


def pins(data: Path) -> list[tuple[str, int, str, str]]:
    with Database(load_settings(data / "central.toml").database_url).read() as session:
        return [(each.product, each.version, each.pinned_by, each.note) for each in session.exec(select(RecipePin))]


def test_station_is_pinned_and_unpinned_from_the_command_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = StationReported(station=STATION, at=SystemClock().now(), is_connected=True, state=StationState.READY)
    with Database(load_settings(data / "central.toml").database_url).begin() as session:
        stations.keep_status(session, status, SystemClock().now())
    file = tmp_path / "recipe.json"
    file.write_text('{"deadline_ms": 90}')
    assert bring_in(data, file) == 0
    words = ["ring", "--station", str(STATION), "--data", str(data), "--by", "anna", "--note", "camera is moved"]
    assert main(["recipe", "pin", *words, "--version", "1"]) == 0
    assert "plant/line-1/st-1 stays at version 1 of ring" in capsys.readouterr().out
    assert pins(data) == [("ring", 1, "anna", "camera is moved")]
    assert main(["recipe", "pin", *words, "--version", "9"]) == 2
    assert "recipe of ring: no version 9" in capsys.readouterr().err
    assert pins(data) == [("ring", 1, "anna", "camera is moved")]
    assert main(["recipe", "unpin", *words]) == 0
    assert "plant/line-1/st-1 uses the newest version of ring" in capsys.readouterr().out
    assert pins(data) == []
    assert main(["recipe", "unpin", *words]) == 2
    assert "not pinned to a version of ring" in capsys.readouterr().err
    assert main(["recipe", "unpin", *words[:-1], " "]) == 2
    assert "--note: expected why" in capsys.readouterr().err

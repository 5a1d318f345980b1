# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.errors import SettingsError
from edge_agent.settings import load_settings
from edge_agent.vision.roi import Roi

WHOLE = """
site = "plant"
line = "line-1"
station = "st-1"
data_dir = "data"

[broker]
url = "mqtt://broker.local:1883"
username = "st-1"
password = "hunter2"

[central]
url = "http://central.local:8000/"
token = "hunter3"

[trust]
root = "trust/root.json"
assignment_key = "trust/assignment.pub"

[source]
kind = "simulated"
url = "tcp://127.0.0.1:7001"
product = "ring"

[recipe.ring]
roi_xywh = [8, 16, 128, 96]
deadline_ms = 250
pass_review = true
"""


def _write(folder: Path, text: str = WHOLE) -> Path:
    path = folder / "station.toml"
    path.write_text(text)
    return path


def test_settings_are_read_whole_with_defaults(tmp_path: Path) -> None:
    settings = load_settings(_write(tmp_path), {})
    assert str(settings.station) == "plant/line-1/st-1"
    assert settings.data_dir == tmp_path / "data"
    assert settings.trust.root == tmp_path / "trust/root.json"
    assert settings.central.url == "http://central.local:8000"
    assert settings.source.shares_clock
    assert settings.output == "mqtt"
    assert (settings.inference.provider, settings.inference.threads) == ("CPUExecutionProvider", 1)
    recipe = settings.recipes.of("ring")
    assert (recipe.roi, recipe.deadline_ms, recipe.pass_review) == (Roi(8, 16, 128, 96), 250, True)
    assert settings.recipes.of("board").deadline_ms == 1000
    assert settings.recipes.of(None).roi is None


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    environ = {
        "SIGHTLINE_EDGE_STATION": "st-9",
        "SIGHTLINE_EDGE_BROKER_KEEPALIVE_S": "7",
        "SIGHTLINE_EDGE_SOURCE_LOOP": "true",
        "SIGHTLINE_EDGE_RECIPE_RING_DEADLINE_MS": "90",
        "HOME": "/root",
    }
    settings = load_settings(_write(tmp_path), environ)
    assert settings.station.station == "st-9"
    assert settings.broker.keepalive_s == 7
    assert settings.source.loop
    assert settings.recipes.of("ring").deadline_ms == 90
    assert "broker.keepalive_s = 7  # SIGHTLINE_EDGE_BROKER_KEEPALIVE_S" in settings.describe()


FAULTY = """
site = "Plant 1"
line = "line-1"
heartbeat_s = "often"
is_simulated = "maybe"
typo = 1

[broker]
url = "http://broker"
keepalive_s = 0

[central]
url = "central:8000"

[source]
kind = "webcam"
url = "tcp://127.0.0.1:7001"
rate_hz = -1

[inference]
threads = 1.5
variant = "int4"

[recipe.ring]
roi_xywh = [0, 0, 16]
deadline_msec = 5

[recipe."Big Ring"]
pass_review = 1
"""


def test_all_faults_are_named_at_once_by_their_keys(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(_write(tmp_path, FAULTY), {"SIGHTLINE_EDGE_TYPO_TOO": "1"})
    named = {fault.split(":")[0] for fault in caught.value.faults}
    assert named == {
        "site",
        "station",
        "data_dir",
        "heartbeat_s",
        "is_simulated",
        "typo",
        "broker.url",
        "broker.keepalive_s",
        "central.url",
        "central.token",
        "source.kind",
        "source.rate_hz",
        "inference.threads",
        "inference.variant",
        "recipe.ring.roi_xywh",
        "recipe.ring.deadline_msec",
        "recipe.Big Ring",
        "recipe.Big Ring.pass_review",
        "SIGHTLINE_EDGE_TYPO_TOO",
    }


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("tcp://127.0.0.1:7001", "tcp://127.0.0.1", "source.url"),
        ("[8, 16, 128, 96]", "[8, 16, 128, 8]", "recipe.ring.roi_xywh"),
        ("deadline_ms = 250", "deadline_ms = nan", "recipe.ring.deadline_ms"),
        ("[recipe.ring]", "[recipe]\nring = 1\n[other]", "recipe.ring"),
        ('product = "ring"', 'product = "Ring/1"', "source.product"),
    ],
)
def test_value_out_of_bounds_is_a_fault(tmp_path: Path, old: str, new: str, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(_write(tmp_path, WHOLE.replace(old, new)), {})
    assert key in {fault.split(":")[0] for fault in caught.value.faults}


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    settings = load_settings(_write(tmp_path), {})
    for text in (settings.describe(), repr(settings)):
        assert "hunter" not in text
    assert "central.token = ********" in settings.describe()


@pytest.mark.parametrize("content", [None, "site = ", "\x00"])
def test_file_that_cannot_be_read_is_one_clear_fault(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "station.toml" if content is None else _write(tmp_path, content)
    with pytest.raises(SettingsError, match=r"station\.toml"):
        load_settings(path, {})


def test_check_settings_prints_what_takes_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-settings", "--settings", str(_write(tmp_path))]) == 0
    assert "recipe.ring.roi_xywh = [8, 16, 128, 96]  # file" in capsys.readouterr().out


def test_wrong_settings_end_with_code_2_and_every_fault_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--settings", str(_write(tmp_path, FAULTY))]) == 2
    shown = capsys.readouterr().err
    assert "settings: broker.url: expected mqtt://host:port or mqtts://host:port, got 'http://broker'" in shown
    assert "Traceback" not in shown

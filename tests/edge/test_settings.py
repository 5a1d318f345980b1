# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts.vocabulary import RegistrationMethod, Stage
from edge_agent.__main__ import main
from edge_agent.errors import SettingsError
from edge_agent.settings import load_settings
from edge_agent.vision.quality import Guard
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
budget_ms = { infer = 12, actuate = 2 }
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
    assert settings.output.kinds == ("mqtt",)
    assert (settings.inference.provider, settings.inference.threads) == ("auto", 0)
    recipe = settings.recipes.of("ring")
    assert (recipe.roi, recipe.deadline_ms, recipe.pass_review) == (Roi(8, 16, 128, 96), 250, True)
    assert settings.recipes.of("board").deadline_ms == 1000
    assert (recipe.budgets_ms, settings.recipes.of("board").budgets_ms) == ({Stage.INFER: 12, Stage.ACTUATE: 2}, {})
    assert settings.recipes.of(None).roi is None


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    environ = {
        "SIGHTLINE_EDGE_STATION": "st-9",
        "SIGHTLINE_EDGE_BROKER_KEEPALIVE_S": "7",
        "SIGHTLINE_EDGE_SOURCE_SHARES_CLOCK": "false",
        "SIGHTLINE_EDGE_RECIPE_RING_DEADLINE_MS": "90",
        "HOME": "/root",
    }
    settings = load_settings(_write(tmp_path), environ)
    assert settings.station.station == "st-9"
    assert settings.broker.keepalive_s == 7
    assert not settings.source.shares_clock
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


def test_login_in_a_cameras_address_is_not_shown(tmp_path: Path) -> None:
    content = re.sub(r'(?m)^url = "tcp://.*$', 'url = "rtsp://camera:hun@ter@10.0.0.5/stream"', WHOLE)
    content = content.replace('kind = "simulated"', 'kind = "opencv"')
    settings = load_settings(_write(tmp_path, content), {})
    assert settings.source.url == "rtsp://camera:hun@ter@10.0.0.5/stream"
    assert "source.url = 'rtsp://10.0.0.5/stream'" in settings.describe()


def test_folder_of_pictures_is_taken_from_the_settings_files_own_folder(tmp_path: Path) -> None:
    content = re.sub(r'(?m)^url = "tcp://.*$', 'url = "pictures"', WHOLE).replace('"simulated"', '"replay"')
    assert load_settings(_write(tmp_path, content), {}).source.url == str(tmp_path / "pictures")


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


RECIPE = """
[recipe.cap]
min_brightness = 20
max_saturated = 0.3
min_sharpness = 40
max_identical = 0
roi_polygon = [[10, 10], [90, 10], [50, 80]]
registration = "template"
landmark_files = ["mark.png"]
landmark_xy = [[5, 7]]
search_px = 12
min_score = 0.8
max_shift_px = 6
"""


def test_guard_polygon_and_registration_of_a_recipe_are_read(tmp_path: Path) -> None:
    mark = np.random.default_rng(0).integers(0, 255, (16, 20), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "mark.png"), mark)
    path = _write(tmp_path)
    path.write_text(path.read_text() + RECIPE)
    recipe = load_settings(path, {}).recipes.of("cap")
    assert recipe.guard == Guard(20, 0.3, 1.0, 40, 0)
    assert recipe.roi == Roi(10, 10, 81, 71, ((10, 10), (90, 10), (50, 80)))
    assert recipe.registration is not None
    (landmark,) = recipe.registration.landmarks
    assert np.array_equal(landmark.pattern, mark)
    assert (landmark.x_px, landmark.y_px, recipe.registration.method) == (5, 7, RegistrationMethod.TEMPLATE)
    assert (recipe.registration.search_px, recipe.registration.min_score) == (12, 0.8)


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("[[10, 10], [90, 10], [50, 80]]", "[[10, 10], [90, 10]]", "roi_polygon: expected 3 … 64 points"),
        ("[[10, 10], [90, 10], [50, 80]]", "[[10, 10], [90, 10], [50]]", "roi_polygon: expected 3 … 64 points"),
        ("roi_polygon", "roi_xywh = [0, 0, 64, 64]\nroi_polygon", "expected either roi_xywh or roi_polygon, got both"),
        ("[50, 80]", "[50, 12]", "roi_polygon: expected width and height ≥ 32 px, got 81 × 3"),
        ("landmark_xy = [[5, 7]]", "landmark_xy = [[5, 7], [8, 9]]", "got 1 files and 2 places"),
        ('"mark.png"', '"nowhere.png"', "cannot read"),
        ('"mark.png"', '"flat.png"', "shows nothing that could be found again"),
        ('"mark.png"', '"text.png"', "got something else"),
        ('"template"', '"none"', "expected fiducial or template beside landmarks, got 'none'"),
        ("max_saturated = 0.3", "max_saturated = 3", "max_saturated: expected a number 0 … 1, got 3"),
    ],
)
def test_fault_in_a_recipe_is_named(tmp_path: Path, was: str, now: str, told: str) -> None:
    cv2.imwrite(str(tmp_path / "mark.png"), np.random.default_rng(0).integers(0, 255, (16, 20), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((16, 20), 80, np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    assert was in RECIPE
    path = _write(tmp_path)
    path.write_text(path.read_text() + RECIPE.replace(was, now))
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert told in "\n".join(caught.value.faults)


def test_bounds_of_the_outbox_are_settings_and_a_wrong_answer_to_a_full_disk_is_refused_in_words(
    tmp_path: Path,
) -> None:
    bounds = load_settings(_write(tmp_path), {}).bounds
    assert (bounds.outbox_max_bytes, bounds.outbox_behind_after_s) == (8 * 1024**3, 2.0)
    assert (bounds.on_full_disk, bounds.keep_free_bytes) == ("fail-safe", 64 * 1024**2)
    environ = {"SIGHTLINE_EDGE_BOUNDS_ON_FULL_DISK": "halt", "SIGHTLINE_EDGE_BOUNDS_OUTBOX_MAX_BYTES": "1048576"}
    bounds = load_settings(_write(tmp_path), environ).bounds
    assert (bounds.on_full_disk, bounds.outbox_max_bytes) == ("halt", 2**20)
    with pytest.raises(SettingsError, match=r"bounds.on_full_disk.*halt.*fail-safe.*'ignore'"):
        load_settings(_write(tmp_path), {"SIGHTLINE_EDGE_BOUNDS_ON_FULL_DISK": "ignore"})

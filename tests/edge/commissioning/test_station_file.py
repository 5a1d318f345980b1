# SPDX-License-Identifier: Apache-2.0
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from edge_agent.commissioning.station_file import faults_of, place, render, value_of
from edge_agent.errors import DeviceError, SettingsError
from edge_agent.settings import load_settings

ANSWERS: dict[str, Any] = {
    "site": "plant",
    "line": "line-1",
    "station": "st-1",
    "data_dir": "data",
    "broker.url": "mqtt://broker:1883",
    "broker.username": "st-1",
    "broker.password": 'a "quoted" \\ word # no comment',
    "central.url": "http://central:8000",
    "central.token": "hunter3",
    "source.kind": "replay",
    "source.url": "/pictures of Ölwanne",
    "source.product": "ring",
    "recipe.ring.deadline_ms": 250,
    "recipe.ring.roi_xywh": [8, 16, 128, 96],
}


def test_what_is_rendered_is_read_as_it_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    place(render(ANSWERS, path), path, may_replace=False)
    settings = load_settings(path, {})
    assert settings.broker.password == ANSWERS["broker.password"]
    assert settings.source.url == ANSWERS["source.url"]
    assert settings.recipes.of("ring").deadline_ms == 250
    assert settings.recipes.of("ring").roi is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["station.toml"]


def test_every_key_that_counts_is_in_the_file_and_its_commented_default_is_the_real_one(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    text = render(ANSWERS, path)
    path.write_text(text)
    before = load_settings(path, {})
    table, named = "", set()
    for line in text.splitlines():
        if found := re.match(r"\[(.+)\]$", line):
            table = found.group(1) + "."
        elif found := re.match(r"(?:# )?([\w.]+) = ", line):
            named.add(table + found.group(1))
    for value in before.effective:
        if value.key not in named:
            # Only what is refused as soon as it is written may be left out.
            assert value.key in faults_of(ANSWERS | {value.key: value_of(value.shown)}, path)
    path.write_text(re.sub(r"(?m)^# ([\w.]+ = )", r"\1", text))
    after = load_settings(path, {})
    assert [(value.key, value.shown) for value in after.effective] == [
        (value.key, value.shown) for value in before.effective
    ]
    assert {value.origin for value in after.effective if value.key in named} == {"file"}
    assert len(named) > 40


def test_answered_key_names_the_default_that_it_replaces(tmp_path: Path) -> None:
    text = render(ANSWERS | {"bounds.queue_frames": 3}, tmp_path / "station.toml")
    assert re.search(r"(?m)^queue_frames = 3  # .*; default 8$", text)
    assert re.search(r"(?m)^deadline_ms = 250  # .*; default 1000$", text)


def test_file_that_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="--force"):
        place("other", path, may_replace=False)
    assert path.read_text() == "mine"
    place("other", path, may_replace=True)
    assert path.read_text() == "other"
    assert [each.name for each in tmp_path.iterdir()] == ["station.toml"]


def test_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="cannot be written"):
        place("text", tmp_path / "file" / "station.toml", may_replace=False)


def test_faults_are_told_by_key_without_lines(tmp_path: Path) -> None:
    faults = faults_of(ANSWERS | {"broker.url": "http://x (y)", "typo": 1}, tmp_path / "station.toml")
    assert set(faults) == {"broker.url", "typo"}
    assert faults["broker.url"].endswith("got 'http://x (y)'")


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("true", True), ("[1, 2]", [1, 2]), ("hello", "hello"), ("", ""), ('"5"', "5")]
)
def test_typed_value_is_toml_or_else_text(text: str, value: object) -> None:
    assert value_of(text) == value

# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest

from central.errors import SettingsError
from central.settings import effective_values, load_settings, settings_from


def _faults(given: dict[str, Any], env: dict[str, str], base: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings_from(given, env, base)
    return caught.value.faults


def test_only_a_data_folder_is_needed(tmp_path: Path) -> None:
    settings = settings_from({"data_dir": "data"}, {}, tmp_path)
    assert settings.data_dir == tmp_path / "data"
    assert settings.database_url == f"sqlite:///{tmp_path / 'data' / 'central.db'}"
    assert settings.blobs == (tmp_path / "data" / "blobs").as_uri()


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    given = {
        "port": "eighty",
        "colour": "red",
        "log_level": 3,
        "broker": {"url": 7},
        "audit": {"accepted_share": "many", "unheard": 1},
        "learning": {"command": "one string", "is_automatic": "perhaps"},
        "watch": 5,
    }
    env = {"SIGHTLINE_CENTRAL_ROLLOUT_CANARY": "1.5", "SIGHTLINE_CENTRAL_NONSENSE": "x", "OTHER": "y"}
    faults = _faults(given, env, tmp_path)
    expected = [
        "port: expected a whole number, got 'eighty'",
        "colour: unknown option",
        "log_level: expected text, got 3",
        "broker.url: expected text, got 7",
        "audit.accepted_share: expected a number, got 'many'",
        "audit.unheard: unknown option",
        "learning.command: expected a list of words, got 'one string'",
        "learning.is_automatic: expected true or false, got 'perhaps'",
        "watch: expected a table, got 5",
        "SIGHTLINE_CENTRAL_ROLLOUT_CANARY: expected a whole number, got '1.5'",
        "SIGHTLINE_CENTRAL_NONSENSE: unknown option",
        "data_dir: expected a folder, got nothing",
    ]
    assert sorted(faults) == sorted(expected)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"port": 70_000}, "port: expected 0 … 65535, got 70000"),
        ({"log_level": "LOUD"}, "log_level: expected"),
        ({"broker": {"url": "http://x"}}, "broker.url: expected mqtt://"),
        ({"learning": {"tiles": "2 by 5"}}, "learning.tiles: expected ROWSxCOLUMNS, such as 2x5"),
        (
            {"learning": {"tiles": "20x20"}},
            "learning.tiles: expected ROWSxCOLUMNS, such as 2x5, at most 64",
        ),
        ({"learning": {"tiles": "1x20"}}, "learning.tiles: expected a field of at most 4096 px a side, got 1x20"),
        ({"database_url": "mysql://x"}, "database_url: expected sqlite"),
        ({"audit": {"accepted_share": 1.5}}, "audit.accepted_share: expected 0 … 1, got 1.5"),
        ({"audit": {"period_s": 0}}, "audit.period_s: expected more than 0, got 0"),
        ({"ingest": {"batch_rows": -1}}, "ingest.batch_rows: expected more than 0, got -1"),
    ],
)
def test_value_out_of_bounds_is_named_with_its_bounds(tmp_path: Path, given: dict[str, Any], fault: str) -> None:
    faults = _faults({"data_dir": "."} | given, {}, tmp_path)
    assert len(faults) == 1
    assert faults[0].startswith(fault)


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    env = {
        "SIGHTLINE_CENTRAL_PORT": "0",
        "SIGHTLINE_CENTRAL_AUDIT_PERIOD_S": "2.5",
        "SIGHTLINE_CENTRAL_LEARNING_IS_AUTOMATIC": "no",
        "SIGHTLINE_CENTRAL_LEARNING_COMMAND": "python -m models run-job",
    }
    settings = settings_from({"data_dir": ".", "port": 8000, "audit": {"period_s": 30}}, env, tmp_path)
    assert (settings.port, settings.audit.period_s, settings.learning.is_automatic) == (0, 2.5, False)
    assert settings.learning.command == ("python", "-m", "models", "run-job")


def test_login_in_the_broker_url_is_used_and_never_shown(tmp_path: Path) -> None:
    settings = settings_from({"data_dir": ".", "broker": {"url": "mqtts://ann:s%40cret@broker.plant"}}, {}, tmp_path)
    assert (settings.broker.host, settings.broker.port, settings.broker.is_tls) == ("broker.plant", 8883, True)
    assert (settings.broker.username, settings.broker.password) == ("ann", "s@cret")
    shown = str(effective_values(settings))
    assert "cret" not in shown


def test_missing_or_broken_file_is_one_clear_fault(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="init --data DIR"):
        load_settings(tmp_path / "none.toml", {})
    broken = tmp_path / "broken.toml"
    broken.write_text("port = = 3")
    with pytest.raises(SettingsError, match="not readable as TOML"):
        load_settings(broken, {})


def test_what_alarms_need_is_checked_at_start_and_their_secrets_are_never_shown(tmp_path: Path) -> None:
    alarms = {
        "smtp_host": "mail.plant",
        "smtp_from": "plant",
        "smtp_security": "none",
        "smtp_password": "hunter2hunter2",
        "dashboard_url": "plant.example",
        "ca_file": "nowhere.pem",
        "webhook_keys": ["erp=tooshort"],
        "smtp_port": 0,
    }
    with pytest.raises(SettingsError) as refused:
        settings_from({"data_dir": ".", "alarms": alarms}, {}, tmp_path)
    said = str(refused.value)
    for option in ("smtp_from", "smtp_password", "dashboard_url", "ca_file", "webhook_keys", "smtp_port"):
        assert f"alarms.{option}: " in said
    assert "hunter2" not in said
    assert "tooshort" not in said
    good = {"smtp_password": "hunter2hunter2", "webhook_keys": ["erp=long enough, surely"]}
    shown = str(effective_values(settings_from({"data_dir": ".", "alarms": good}, {}, tmp_path)))
    assert "hunter2" not in shown
    assert "surely" not in shown


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"learning": {"backend": "slurm"}}, "learning.backend: expected local or ray, got 'slurm'"),
        ({"learning": {"backend": "ray"}}, "ray.address: expected http://HEAD:8265 where learning.backend is ray"),
        ({"ray": {"address": "ray://head:10001", "folder": "/s"}}, "ray.address: expected http://HEAD:8265, the job"),
        ({"ray": {"address": "http://head:8265"}}, "ray.folder: expected a whole path, shared with the cluster, got"),
        ({"ray": {"folder_there": "mnt"}}, "ray.folder_there: expected a whole path, as the cluster sees it, got"),
        ({"queue": {"jobs": 0}}, "queue.jobs: expected 1 or more trainings at once, got 0"),
        (
            {"queue": {"sites": ["north=two"]}},
            "queue.sites: expected SITE=JOBS or SITE=JOBS/GPUS, such as hamburg=2/1.5",
        ),
        (
            {
                "learning": {"backend": "ray"},
                "ray": {"address": "http://head:8265", "folder": "/s", "gpus": 2.0},
                "queue": {"gpus": 1.0},
            },
            "queue.gpus: expected at least the 2 that a training takes (ray.gpus of each of ray.workers), got 1",
        ),
        (
            {
                "learning": {"backend": "ray"},
                "ray": {"address": "http://head:8265", "folder": "/s", "gpus": 1.0, "workers": 3},
                "queue": {"gpus": 2.0},
            },
            "queue.gpus: expected at least the 3 that a training takes",
        ),
        ({"learning": {"workers": 0}}, "learning.workers: expected 1 … 12 workers of each training, got 0"),
        ({"ray": {"workers": 13}}, "ray.workers: expected 1 … 12 workers of each training, got 13"),
        ({"cost": {"most_per_training": 5.0}}, "cost.most_per_training: expected a price beside it"),
        ({"cost": {"currency": ""}}, "cost.currency: expected 1 … 8 letters, got ''"),
        ({"cost": {"per_kwh": -1.0}}, "cost.per_kwh: expected 0 or more, got -1.0"),
    ],
)
def test_a_cluster_that_cannot_work_is_said_at_start(tmp_path: Path, given: dict[str, Any], fault: str) -> None:
    assert [found for found in _faults({"data_dir": "data", **given}, {}, tmp_path) if found.startswith(fault)]


def test_a_clusters_token_is_never_shown(tmp_path: Path) -> None:
    ray = {"address": "http://head:8265", "folder": "/srv/trainings", "token": "of the cluster"}
    settings = settings_from({"data_dir": "data", "ray": ray, "learning": {"backend": "ray"}}, {}, tmp_path)
    assert settings.ray.token == "of the cluster"
    assert "of the cluster" not in str(effective_values(settings))

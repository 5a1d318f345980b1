# SPDX-License-Identifier: Apache-2.0
"""The command line as an operator meets it: what is printed, what is refused and how."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from central.__main__ import main
from central.store.database import Database
from central.store.tables import Station
from tests.fakes.interrupting import hear_ctrl_c


@pytest.fixture(name="initial_data", scope="module")
def _initial_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("initial") / "plant"
    assert main(["init", "--data", str(folder), "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 0
    return folder


@pytest.fixture(name="data")
def _data(initial_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(initial_data, tmp_path / "plant"))


def test_init_makes_what_is_absent_and_changes_nothing_that_exists(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file() and path.suffix != ".db"}
    assert main(["init", "--data", str(data), "--broker", "mqtt://elsewhere:1"]) == 0
    said = capsys.readouterr().out
    assert "(kept)" in said
    assert "--broker not applied: change it in that file" in said
    for path, content in before.items():
        assert path.read_bytes() == content, path


def test_init_makes_no_new_root_of_trust_where_stations_trust_one_that_is_gone(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is not mounted looks like a folder that is not there."""
    database = Database(f"sqlite:///{data / 'central.db'}")
    with database.begin() as session:
        session.add(Station(address="plant/line-1/st-1", first_seen_at=datetime(2026, 1, 1, tzinfo=UTC)))
    database.close()
    root = (data / "trust" / "enrolment" / "root.json").read_bytes()
    (data / "trust").rename(data / "away")
    assert main(["init", "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert "0 packages and 1 stations of the database rest on" in said
    assert "Restore the folder from a backup" in said
    assert not (data / "trust").exists()
    (data / "away").rename(data / "trust")
    assert main(["init", "--data", str(data)]) == 0
    assert (data / "trust" / "enrolment" / "root.json").read_bytes() == root


def test_init_that_cannot_work_writes_nothing_and_can_be_corrected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "plant"
    assert main(["init", "--data", str(folder), "--port", "99999"]) == 2
    assert "port: expected" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
    assert main(["init", "--data", str(folder), "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 0
    assert "not applied" not in capsys.readouterr().out


def test_init_names_the_settings_file_that_is_wrong(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = data / "central.toml"
    file.write_text(file.read_text().replace("port = 0", "port = 99999"))
    assert main(["init", "--data", str(data), "--port", "0"]) == 2
    assert f"{file}: port: expected" in capsys.readouterr().err


def test_private_keys_are_for_their_owner_alone(data: Path) -> None:
    keys = list((data / "trust" / "keys").glob("*.pem"))
    assert keys
    assert {path.stat().st_mode & 0o077 for path in keys} == {0}


def test_token_is_printed_once_and_stored_as_digest(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "create", "--role", "viewer", "--name", "wall", "--data", str(data)]) == 0
    secret = capsys.readouterr().out.strip()
    assert secret.startswith("sl_")
    assert secret.encode() not in (data / "central.db").read_bytes()
    assert main(["token", "list", "--data", str(data)]) == 0
    listed = capsys.readouterr().out
    assert ("wall" in listed, "VIEWER" in listed, secret in listed) == (True, True, False)
    assert main(["token", "revoke", "--name", "wall", "--data", str(data)]) == 0
    assert main(["token", "revoke", "--name", "wall", "--data", str(data)]) == 2
    assert "no token 'wall' in force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--settings", "none.toml"], "no such file"),
        (["token", "create", "--role", "viewer", "--name", "Not Good", "--data", "{data}"], "--name: expected"),
        (["init", "--data", "/proc/nowhere"], "--data: expected a folder that can be made"),
        (["init", "--data", "{data}", "--database-url", "x"], None),
    ],
)
def test_mistake_of_the_operator_is_one_clear_text(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str | None
) -> None:
    code = main([word.format(data=data) for word in words])
    error = capsys.readouterr().err
    assert code == (0 if said is None else 2)
    assert said is None or said in error
    assert "Traceback" not in error


def test_run_refuses_a_database_of_another_version(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database(f"sqlite:///{data / 'central.db'}")
    with database.begin() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    assert main(["run", "--data", str(data)]) == 2
    assert "run `sightline-central migrate`" in capsys.readouterr().err


def test_run_refuses_a_taken_port(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("SIGHTLINE_CENTRAL_PORT", str(taken.getsockname()[1]))
        assert main(["run", "--data", str(data)]) == 2
    assert "expected a free address" in capsys.readouterr().err


@pytest.fixture(name="running")
def _running(data: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "central", "run", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509 - one call that takes no lock
    )
    yield child
    child.kill()
    child.wait(20)
    assert child.stdout is not None
    child.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_says_where_it_answers_and_ends_cleanly_on_a_signal(
    running: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert running.stdout is not None
    assert running.stdout.readline().startswith("sightline-central ready http://127.0.0.1:")
    running.send_signal(number)
    assert running.wait(60) == 0


@pytest.mark.parametrize(
    "sent",
    # To the process; and to another of its threads, which wakes nobody: as if it came just before the wait.
    ["os.kill(os.getpid(), signal.SIGTERM)", "signal.pthread_kill(threading.get_ident(), signal.SIGTERM)"],
    ids=["process", "thread"],
)
def test_a_signal_that_comes_as_the_wait_for_it_begins_ends_central(data: Path, sent: str) -> None:
    program = (
        "import os, signal, sys, threading\n"
        "from central import app, __main__ as command\n"
        f"def stop(): {sent}\n"
        "real = threading.Condition.wait\n"
        "def wait(self, timeout=None):\n"
        "    if threading.current_thread() is threading.main_thread(): stop()\n"
        "    return real(self, timeout)\n"
        "class Quick:\n"
        "    url = 'nowhere'\n"
        "    def __init__(self, settings, clock): pass\n"
        "    def start(self):\n"
        "        threading.Timer(0.3, stop).start()\n"
        "        threading.Condition.wait = wait\n"
        "    def stop(self): pass\n"
        "app.Central = Quick\n"
        f"sys.exit(command.main(['run', '--data', {str(data)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr

# SPDX-License-Identifier: Apache-2.0
"""A change of keys cut short by a signal or a kill leaves no key that nothing names, and loses none that is named.

Real processes, real signals.
"""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from central.__main__ import main
from central.key_plans import Holder, KeyPlans
from central.trust import changes
from central.trust.changes import KeyChanges
from central.trust.keys import load_root_key
from central.trust.roots import root_keys

NOW = datetime.now(UTC)
PASSWORD = "correct horse battery"
# Stops a command by a signal to itself, at its n-th call of a function.
_SCRIPT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell gives its background jobs none
from central import key_plans, keys_command
from central.__main__ import main
from central.trust import changes
name, number, sent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
where = changes if hasattr(changes, name) else key_plans
real, calls = getattr(where, name), []
def watched(*arguments, **more):
    calls.append(name)
    if len(calls) == number:
        os.kill(os.getpid(), sent)
    return real(*arguments, **more)
setattr(where, name, watched)
sys.exit(main(sys.argv[4:]))
"""


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Path:
    folder = tmp_path / "plant"
    assert main(["init", "--data", str(folder), "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 0
    return folder


def run(
    data: Path, stopped_in: str, number: int, sent: signal.Signals, *words: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _SCRIPT, stopped_in, str(number), str(int(sent)), "keys", *words]
    return subprocess.run([*command, "--data", str(data)], capture_output=True, text=True, check=False)


def keys_in(trust: Path) -> set[str]:
    """Every private key below the folder, whole or half written."""
    return {str(path.relative_to(trust)) for path in trust.rglob("*") if ".pem" in path.name}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_signal_before_the_change_is_written_down_leaves_no_key(data: Path, sent: signal.Signals, number: int) -> None:
    before = keys_in(data / "trust")
    done = run(data, "write_whole", number, sent, "rotate", "assignment", "--why", "yearly", "--yes")
    assert (done.returncode, done.stderr.count("\n")) == (128 + sent, 2), done.stderr
    assert "interrupted" in done.stderr
    assert keys_in(data / "trust") == before
    assert not list((data / "trust").glob("pending*"))
    assert main(["keys", "rotate", "assignment", "--why", "again", "--yes", "--data", str(data)]) == 0


def test_signal_when_the_change_is_written_down_keeps_its_key(data: Path) -> None:
    done = run(data, "_sync", 1, signal.SIGTERM, "rotate", "assignment", "--why", "yearly", "--yes")
    assert done.returncode == 128 + signal.SIGTERM
    assert KeyChanges(data / "trust").pending() is not None
    assert keys_in(data / "trust" / "pending") == {"keys/assignment.pem"}
    assert main(["keys", "sign", "--data", str(data)]) == 0
    assert not (data / "trust" / "pending").exists()


def test_killed_command_leaves_what_the_next_one_removes(data: Path) -> None:
    before = keys_in(data / "trust")
    done = run(data, "write_whole", 3, signal.SIGKILL, "rotate", "assignment", "--why", "yearly", "--yes")
    assert done.returncode == -signal.SIGKILL
    assert keys_in(data / "trust") - before == {"pending.new/keys/assignment.pem"}
    assert main(["keys", "show", "--data", str(data)]) == 0
    assert keys_in(data / "trust") == before


def test_start_removes_what_no_change_names_and_nothing_else(data: Path) -> None:
    trust = data / "trust"
    assert main(["keys", "show", "--data", str(data)]) == 0
    plans = KeyPlans(trust, NOW)
    sticks = [data / name for name in ("anna", "bo")]
    for stick in sticks:
        stick.mkdir()
    plans.ceremony([Holder(each.name, each) for each in sticks], 2, "x", lambda _: PASSWORD)
    assert plans.changes.finish(NOW)
    plans.exchange("assignment", "waits for its signatures")
    named = keys_in(trust)
    for left in ("pending.new/keys/assignment.pem", "pending.gone/keys/snapshot.pem", "keys/.packaging.pem.x1y2"):
        (trust / left).parent.mkdir(parents=True, exist_ok=True)
        (trust / left).write_bytes(b"a private key")
    assert not plans.changes.recover(NOW)
    assert keys_in(trust) == named
    assert {path.name for path in trust.glob("pending*")} == {"pending"}
    for stick in sticks:
        plans.changes.sign(load_root_key(stick / f"root-{stick.name}.pem", PASSWORD))
    assert plans.changes.finish(NOW)


@pytest.mark.parametrize("is_written_down", [False, True])
def test_signal_in_a_ceremony_takes_keys_from_the_sticks_only_if_no_root_names_them(
    data: Path, monkeypatch: pytest.MonkeyPatch, *, is_written_down: bool
) -> None:
    stick = data / "anna"
    stick.mkdir()
    name = "_sync" if is_written_down else "write_whole"
    real = getattr(changes, name)

    def interrupted(*arguments: object, **more: object) -> None:
        real(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(changes, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            KeyPlans(data / "trust", NOW).ceremony([Holder("anna", stick)], 1, "x", lambda _: PASSWORD)
    coming = KeyPlans(data / "trust", NOW).changes.root()
    assert ((stick / "root-anna.pem").exists(), coming is not None) == (is_written_down, is_written_down)
    if coming is not None:
        assert set(root_keys(coming.signed)) == {load_root_key(stick / "root-anna.pem", PASSWORD).public_key.keyid}


def test_signal_while_a_stick_is_written_leaves_it_as_it_was(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sticks = [data / name for name in ("anna", "bo")]
    for stick in sticks:
        stick.mkdir()
    real = os.replace

    def interrupted(old: str, new: str) -> None:
        real(old, new)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda path, target: interrupted(str(path), str(target)))
        with pytest.raises(KeyboardInterrupt):
            KeyPlans(data / "trust", NOW).ceremony(
                [Holder(each.name, each) for each in sticks], 1, "x", lambda _: PASSWORD
            )
    assert [list(stick.iterdir()) for stick in sticks] == [[], []]

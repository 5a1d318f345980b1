# SPDX-License-Identifier: Apache-2.0
"""The peer beside ours: what its process answers is passed on, and a run goes on without it."""

import subprocess
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import latency
from benchmarks._peer import Inferencers, PeerError, environment
from benchmarks._turns import Taken, Times, in_turns, ratio


def _python(folder: Path, body: str) -> Path:
    """Stands for the peer's Python: a shell script."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_turn_is_what_the_peer_answers_to_its_name_and_threads(tmp_path: Path) -> None:
    turn = 'read name threads; echo "[${threads}.5, 3.0]"; [ "$name" = torch ]'
    body = f"echo '{{\"cells\": 7}}'; while {turn}; do :; done"
    with Inferencers(_python(tmp_path, body), {}) as peer:
        assert peer.about == {"cells": 7}
        assert peer.turn_ms("torch", 2) == (2.5, 3.0)
        assert peer.turn_ms("torch", 1) == (1.5, 3.0)
        assert peer._process.poll() is None
    assert peer._process.poll() is not None
    assert not peer._said.exists()


@pytest.mark.parametrize("said", ["", "echo '{}'; read line; "])
def test_peer_that_ends_tells_its_last_line(tmp_path: Path, said: str) -> None:
    python = _python(tmp_path, f"{said}echo first >&2; echo no such operator >&2; exit 3")
    with pytest.raises(PeerError, match=r"ended with 3: no such operator$"), Inferencers(python, {}) as peer:
        peer.turn_ms("torch", 1)


def test_environment_that_cannot_be_made_says_why_and_is_tried_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)

    def refuse(folder: Path, **_options: bool) -> None:
        (folder / "bin").mkdir(parents=True)
        raise subprocess.CalledProcessError(1, "pip", stderr="noise\nno index at hand\n")

    monkeypatch.setattr(venv, "create", refuse)
    with pytest.raises(PeerError, match=r"could not be installed: no index at hand$"):
        environment()
    assert not list(tmp_path.rglob("installed"))


def test_without_the_peer_the_figures_are_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise PeerError("nothing to install from")

    def ours(_models: Any, _picture: Any, prefix: str = "") -> dict[tuple[str, int], Any]:
        return {(f"{prefix}fp32", 1): lambda: Taken(2.0, 1.0)}

    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mobilenetv2_tv.onnx").touch()
    (tmp_path / "rings" / "good").mkdir(parents=True)
    monkeypatch.setattr(latency, "DATA", tmp_path)
    monkeypatch.setattr(latency, "environment", missing)
    monkeypatch.setattr(latency, "load_trunk", lambda *_given: None)
    monkeypatch.setattr(latency, "own_graphs", lambda *_given, **_options: {})
    monkeypatch.setattr(latency, "_own_turns", ours)
    monkeypatch.setattr(latency, "_ROUNDS", 2)
    told = latency._beside_peer(tmp_path, {}, np.zeros((4, 4, 3), np.uint8), [])
    assert told["skipped"] == "nothing to install from; ours alone"
    assert told["ours fp32, 1 thread(s)"]["p50_ms"] == 2.0
    assert "ratios" not in told


def test_contestants_take_turns_and_the_first_ones_do_not_count() -> None:
    order: list[str] = []

    def turn_of(name: str) -> Any:
        def turn() -> Taken:
            order.append(name)
            return Taken(float(len(order)), 0.0)

        return turn

    times = in_turns({("a", 1): turn_of("a"), ("b", 1): turn_of("b")}, 2)
    assert order == ["a", "b"] * 12
    assert times["b", 1].passed_ms == [22.0, 24.0]


def test_ratio_is_of_the_medians() -> None:
    slow, fast = Times([8.0, 9.0, 30.0], [4.0, 4.0, 4.0]), Times([2.0, 3.0, 50.0], [2.0, 2.0, 2.0])
    assert ratio(slow, fast) == {"p50": 3.0, "p10": 4.0, "cpu_p50": 2.0}

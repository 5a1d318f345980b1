# SPDX-License-Identifier: Apache-2.0
"""Own drift monitor, or the field's: river's ADWIN and evidently's Wasserstein distance on the same streams.

All see the streams of `_drift_streams`, five channels, one part a second, and keep their default settings. Ours and
evidently learn from the first three days; ADWIN has no reference. ADWIN takes every part of every channel (the score
as its logarithm); evidently compares each 1,800 parts with 18,000 of the reference, and any drifted channel counts. A
delay is the time from the change to the next alarm, right or not: with an alarm every thousand parts it is short by
chance, so read it beside the false alarms. The peers' environments are made on first use in the user's cache folder,
from the package index; without one the line says so and holds the others alone.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import _drift_streams as streams
from benchmarks._peer import PeerError, environment, script
from central.quality.drift import CHANNELS, DriftMonitor

RIVER: Final = "river==0.22.0"
EVIDENTLY: Final = "evidently==0.7.23"
# It does not start with pandas 3.
_WITH: Final = {EVIDENTLY: ("pandas<3",)}
_REFERENCE: Final = 3 * streams.DAY
_QUIET: Final = 500_000
_CHANGES: Final = (
    ("light -5 %", streams.light(-0.05), 20_000),
    ("light -2 %", streams.light(-0.02), 40_000),
    ("score +.5 sd", streams.score(0.5), 40_000),
)
_TIMES: Final = 5

Told = dict[str, Any]


def run() -> Told:
    """Figures of all that could run."""
    pythons: dict[str, Path] = {}
    told: Told = {"peers": {}, "quiet_parts": _QUIET, "repetitions": _TIMES}
    for peer in (RIVER, EVIDENTLY):
        name = peer.split("==", maxsplit=1)[0]
        try:
            pythons[name] = environment(f"drift-{peer.replace('==', '-')}", (peer, *_WITH.get(peer, ())))
            told["peers"][name] = peer
        except PeerError as error:
            told["peers"][name] = f"skipped: {error}"
    for kind, plant in (("day cycle", None), ("no day cycle", streams.Plant(day=0.0))):
        made = [streams.Stream(901, plant).parts(_REFERENCE + _QUIET)]
        alarms = _all(pythons, made, _REFERENCE)
        told[f"false alarms per million, {kind}"] = {
            name: round(sum(map(len, found)) / _QUIET * 1e6, 1) for name, found in alarms.items()
        }
    for kind, change, horizon in _CHANGES:
        made, changed = [], []
        for seed in range(_TIMES):
            stream = streams.Stream(910 + seed, began=streams.BEGAN + 7_919 * seed)
            before = stream.parts(_REFERENCE + 20_000 + 1_000 * seed)
            after = stream.parts(horizon, change)
            made.append(_joined(before, after))
            changed.append(float(after[0][0]))
        told[f"delay, {kind}"] = {
            name: _delays(found, changed) for name, found in _all(pythons, made, _REFERENCE).items()
        }
        print(json.dumps({kind: told[f"delay, {kind}"]}), file=sys.stderr, flush=True)
    return told


def _joined(
    *pieces: tuple[streams.Floats, dict[str, streams.Floats]],
) -> tuple[streams.Floats, dict[str, streams.Floats]]:
    at = np.concatenate([piece[0] for piece in pieces])
    return at, {name: np.concatenate([piece[1][name] for piece in pieces]) for name in CHANNELS}


def _delays(found: Sequence[Sequence[float]], changed: Sequence[float]) -> Told:
    delays = [
        min((at - began + 1 for at in alarms if at >= began), default=float("inf"))
        for alarms, began in zip(found, changed, strict=True)
    ]
    median = float(np.median(delays))
    before = sum(at < began for alarms, began in zip(found, changed, strict=True) for at in alarms)
    return {
        "median": round(median) if np.isfinite(median) else None, "missed": int(np.isinf(delays).sum()),
        "alarms_before": before,
    }  # fmt: skip


def _all(
    pythons: dict[str, Path], made: Sequence[tuple[streams.Floats, dict[str, streams.Floats]]], reference: int
) -> dict[str, list[list[float]]]:
    """Times of alarms after the reference, for each stream, of each that takes part."""
    found: dict[str, list[list[float]]] = {"sightline": []}
    for at, channels in made:
        signals = DriftMonitor().update_many(at, np.full(len(at), "p"), channels)
        found["sightline"].append([signal.raised_at for signal in signals])
    with tempfile.TemporaryDirectory(prefix="sightline-drift-") as folder:
        for row, (at, channels) in enumerate(made):
            held: dict[str, Any] = {"at": at, "reference": np.array(reference), **channels}
            np.savez(Path(folder) / f"{row}.npz", **held)
        for name, python in pythons.items():
            paths = [str(Path(folder) / f"{row}.npz") for row in range(len(made))]
            command = [str(python), script("_drift_peers.py"), name, *paths]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name} failed: {done.stderr.strip().rsplit(chr(10), 1)[-1]}", file=sys.stderr, flush=True)
                continue
            found[name] = json.loads(done.stdout.strip().rsplit("\n", 1)[-1])
    return found

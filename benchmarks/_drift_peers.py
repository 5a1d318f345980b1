# SPDX-License-Identifier: Apache-2.0
"""Runs one peer over streams, in the peer's own environment: `python _drift_peers.py NAME STREAM.npz…`.

Prints the times of its alarms after the reference, a list for each stream. Imports nothing of ours.
"""

import importlib
import json
import sys
from typing import Any

import numpy as np

CHANNELS = ("score", "brightness", "contrast", "blur", "colour")
WINDOW = 1_800
SAMPLE = 18_000


def river(stream: Any) -> list[float]:
    """ADWIN with default settings on every channel."""
    drift = importlib.import_module("river.drift")
    at, reference = stream["at"], int(stream["reference"])
    found = []
    for name in CHANNELS:
        detector = drift.ADWIN()
        values = np.log(stream[name]) if name == "score" else stream[name]
        for row, value in enumerate(values.tolist()):
            detector.update(value)
            if row >= reference and detector.drift_detected:
                found.append(float(at[row]))
    return sorted(found)


def evidently(stream: Any) -> list[float]:
    """Default data drift preset (Wasserstein from 1,000 values on) of windows against a sample of the reference."""
    frame = importlib.import_module("pandas").DataFrame
    presets = importlib.import_module("evidently.presets")
    library = importlib.import_module("evidently")
    at, first = stream["at"], int(stream["reference"])
    stride = first // SAMPLE
    values = {name: np.log(stream[name]) if name == "score" else stream[name] for name in CHANNELS}
    reference = frame({name: each[:first:stride] for name, each in values.items()})
    found = []
    for row in range(first, len(at) - WINDOW + 1, WINDOW):
        current = frame({name: each[row : row + WINDOW] for name, each in values.items()})
        seen = library.Report([presets.DataDriftPreset()]).run(current, reference).dict()
        counted = [each["value"]["count"] for each in seen["metrics"] if isinstance(each["value"], dict)]
        if counted and counted[0] > 0:
            found.append(float(at[row + WINDOW - 1]))
    return found


if __name__ == "__main__":
    peer = {"river": river, "evidently": evidently}[sys.argv[1]]
    print(json.dumps([peer(np.load(path)) for path in sys.argv[2:]]))

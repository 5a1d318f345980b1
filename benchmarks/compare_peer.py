# SPDX-License-Identifier: Apache-2.0
"""Is our detector from sound parts more accurate than the field's standard library on the same backbone?

anomalib's PatchCore and PaDiM and our memory bank learn from the same 300 sound magnetic tiles and judge the same 955,
one after the other in one run: the same MobileNetV2 weights, 256 × 256, strides 8 and 16, one thread. The peer's bank
holds half a percent of the cells, which is what fits into minutes here. Its environment is made on first use, in the
user's cache folder, from the package index; without real pictures or without the index the line says so.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks._peer import PEER, PeerError, environment, script
from benchmarks.decide_detector import CASES, DATA, WEIGHTS
from benchmarks.decide_detector import run as run_ours
from models.measuring.figures import image_auroc, recall_at_overkill

_RATIO: Final = 0.005
_TILES: Final = DATA / "magnetic_tile"


def run() -> dict[str, Any]:
    """Figures of both, on the same pictures."""
    if not (_TILES / "split.json").is_file():
        return {"skipped": "no real pictures; see benchmarks/decide_detector.py"}
    try:
        python = environment()
    except PeerError as error:
        return {"skipped": str(error)}
    told: dict[str, Any] = {"backbone": WEIGHTS.stem, "size_px": 256, "threads": 1, "peer": PEER}
    for method in ("padim", "patchcore"):
        told[method] = _peer(python, method)
        print(f"{method}: {json.dumps(told[method])}", file=sys.stderr, flush=True)
    told["sightline"] = run_ours(case for case in CASES if case.name == "tiles-sound-only")["tiles-sound-only"]
    return told


def _peer(python: Path, method: str) -> dict[str, Any]:
    split = json.loads((_TILES / "split.json").read_text(encoding="utf-8"))
    kinds = ["" for _ in split["test_good"]] + [kind for kind, names in split["test_defect"].items() for _ in names]
    test = [*split["test_good"], *(name for names in split["test_defect"].values() for name in names)]
    job = {
        "method": method, "weights": str(WEIGHTS), "size_px": 256, "ratio": _RATIO,
        "train": [str(_TILES / name) for name in split["train_good"]], "test": [str(_TILES / name) for name in test],
    }  # fmt: skip
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sightline-peer-") as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        done = subprocess.run(
            [str(python), script("_peer_scores.py"), str(path)], capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        return {"failed": done.stderr.strip().rsplit("\n", 1)[-1]}
    found = json.loads(done.stdout.strip().rsplit("\n", 1)[-1])
    return {
        "seconds": round(time.monotonic() - began, 1),
        "extract_s": round(found["extract_s"], 1),
        "fit_s": round(found["fit_s"], 1),
        **_figures(np.array(found["scores"], np.float32), np.array(kinds)),
    }


def _figures(scores: NDArray[np.float32], kinds: NDArray[np.str_]) -> dict[str, Any]:
    is_defective = kinds != ""
    classes = sorted(set(kinds[is_defective].tolist()))
    rows = {name: ~is_defective | (kinds == name) for name in classes}
    return {
        "image_auroc": image_auroc(scores, is_defective),
        "recall_at_1pct_overkill": recall_at_overkill(scores, is_defective, 0.01),
        "recall_at_5pct_overkill": recall_at_overkill(scores, is_defective, 0.05),
        "classes": {name: image_auroc(scores[chosen], is_defective[chosen]) for name, chosen in rows.items()},
    }

# SPDX-License-Identifier: Apache-2.0
"""Whether a NOVELTY alarm is raised on a plant: real tiles, a trained package, a real broker, central's own process.

The trainer makes a package of the sound magnetic tiles of one side of `split.json`; the edge's session judges the
other side. A station sends reports of sound tiles it accepted, drawn with replacement, with the embeddings that the
graph gave: 20,000 for the reference, 20,000 more, then the same with a share of a kind of defect that the package lets
pass, until central's API tells of the alarm. Parts with other verdicts are sent too. Beside it the same streams on the
monitor alone, for each kind and share, ten times. Needs the real pictures in `../shared/data` and mosquitto.

A tile comes up some dozens of times in a reference, to the last number of its embedding: scatter between parts is that
of the tiles, and a station's own (light, place) is missing.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.decide_detector import DATA
from central.quality.novelty import NoveltyMonitor
from contracts.ids import StationAddress
from contracts.reports import InspectionReported
from contracts.vocabulary import AlarmKind, Disposition, SignalState, Verdict, VerdictCause
from edge_agent.inference.onnx import open_session
from models.packages.reading import open_package
from plant.processes.broker import BrokerKind, find_mosquitto
from tests.central.ingest.brokers import CentralProcess, StationClient, start_broker, wait_until

Floats = NDArray[np.float64]

_REFERENCE: Final = 20_000
_USUAL: Final = 20_000
_MOST_NEW: Final = 60_000
_PIECE: Final = 2_000
_SHARES: Final = (0.02, 0.05, 0.1)
_ON_PLANT: Final = 0.05
_PLANT_KINDS: Final = ("break", "fray")
_WITHIN_S: Final = 1_800.0
_REPEATS: Final = 10
_SIZE_PX: Final = 160
_SEED: Final = 46
_STATION: Final = StationAddress(site="bench", line="line-1", station="st-1")
_DISPOSED: Final = {
    Verdict.OK: Disposition.PASSED,
    Verdict.NG: Disposition.REJECTED,
    Verdict.REVIEW: Disposition.HELD,
}


@dataclass(frozen=True)
class Judged:
    """Tiles that the package had never seen: score [n], embedding [n, d] as reports carry it, kind ("" for sound)."""

    package_id: str
    limits: tuple[float, float]
    score: Floats
    embedding: Floats
    kind: NDArray[np.str_]

    @property
    def is_accepted(self) -> NDArray[np.bool_]:
        """Below the package's limit for OK."""
        return np.asarray(self.score < self.limits[0])

    def of(self, kind: str) -> NDArray[np.intp]:
        """Rows of a kind."""
        return np.flatnonzero(self.kind == kind)

    def let_pass(self, kind: str) -> NDArray[np.intp]:
        """Rows of a kind that were accepted."""
        return np.flatnonzero((self.kind == kind) & self.is_accepted)


def run() -> dict[str, Any]:
    """How many parts after the change the alarm came, and how many came before it."""
    folder = DATA / "magnetic_tile"
    if not folder.is_dir():
        return {"skipped": "no magnetic_tile folder among the real pictures (SIGHTLINE_DATA_DIR)"}
    if find_mosquitto() is None:
        return {"skipped": "mosquitto is not installed"}
    with tempfile.TemporaryDirectory() as scratch:
        tiles = judge(folder, train(folder, Path(scratch)))
        kinds = sorted(set(tiles.kind.tolist()) - {""})
        passed = {kind: len(tiles.let_pass(kind)) for kind in kinds}
        told: dict[str, Any] = {
            "sound_tiles": len(tiles.of("")),
            "sound_accepted": len(tiles.let_pass("")),
            "let_pass": {kind: f"{passed[kind]} of {len(tiles.of(kind))}" for kind in kinds},
            "monitor_alone": {kind: _alone(tiles, kind) for kind in kinds},
            "false_alarms_alone": _false_alarms(tiles),
        }
        print(json.dumps(told), file=sys.stderr, flush=True)
        told["on_plant"] = {kind: _on_plant(Path(scratch) / kind, tiles, kind) for kind in _PLANT_KINDS}
    return told


def train(folder: Path, scratch: Path) -> Path:
    """A package by the trainer, as `sightline-models train` makes it of the sound tiles alone."""
    command = [sys.executable, "-m", "models", "--quiet", "train", "--images", str(folder)]
    command += ["--layout", "magnetic-tile", "--product", "tile", "--size", str(_SIZE_PX), "--out", str(scratch / "t")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the training failed: {done.stderr.strip()}")
    return scratch / "t" / "package"


def judge(folder: Path, package: Path) -> Judged:
    """Every tile that did not train, by the edge's own session."""
    opened = open_package(package)
    [entry] = [each for each in opened.manifest.variants if each.variant is opened.preferred()]
    session = open_session(package / entry.file, provider="CPUExecutionProvider", threads=1)
    told = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    names = [("", name) for name in told["test_good"]]
    names += [(kind, name) for kind, those in told["test_defect"].items() for name in those]
    found = [session.run(np.asarray(cv2.imread(str(folder / name), cv2.IMREAD_COLOR), np.uint8)) for _, name in names]
    return Judged(
        opened.package_id,
        (opened.manifest.limits.ok_limit, opened.manifest.limits.ng_limit),
        np.array([each.score for each in found], np.float64),
        np.array([each.embedding for each in found], np.float64).round(2),
        np.array([kind for kind, _ in names]),
    )


def _drawn(tiles: Judged, rng: np.random.Generator, count: int, kind: str = "", share: float = 0.0) -> NDArray[np.intp]:
    """Rows of accepted tiles: sound ones, and so many of the kind that passes."""
    rows = rng.choice(tiles.let_pass(""), count)
    is_new = rng.random(count) < share
    if is_new.any():
        rows[is_new] = rng.choice(tiles.let_pass(kind), int(is_new.sum()))
    return rows


def _learnt(tiles: Judged, rng: np.random.Generator) -> NoveltyMonitor:
    monitor = NoveltyMonitor(_REFERENCE)
    assert not _fed(monitor, tiles, _drawn(tiles, rng, _REFERENCE), 0)
    assert monitor.is_ready
    return monitor


def _fed(monitor: NoveltyMonitor, tiles: Judged, rows: NDArray[np.intp], began: int) -> list[float]:
    at = began + np.arange(len(rows), dtype=np.float64)
    return [each.raised_at for each in monitor.update_many(at, tiles.embedding[rows], np.ones(len(rows), np.bool_))]


def _alone(tiles: Judged, kind: str) -> dict[str, Any]:
    """Parts until the signal by share of the kind; inf: none in 60,000."""
    if len(tiles.let_pass(kind)) < 10:
        return {"skipped": "hardly any of them passes"}
    told = {}
    for share in _SHARES:
        took = []
        for repeat in range(_REPEATS):
            rng = np.random.default_rng((_SEED, repeat))
            raised = _fed(_learnt(tiles, rng), tiles, _drawn(tiles, rng, _MOST_NEW, kind, share), _REFERENCE)
            took.append(raised[0] - _REFERENCE + 1 if raised else np.inf)
        told[f"{share:.0%}"] = {"median": float(np.median(took)), "worst": float(max(took)), "took": sorted(took)}
    return told


def _false_alarms(tiles: Judged) -> dict[str, int]:
    """Signals of streams of sound tiles alone, one part a second."""
    parts, found = 200_000, 0
    for repeat in range(_REPEATS):
        rng = np.random.default_rng((_SEED, repeat))
        found += len(_fed(_learnt(tiles, rng), tiles, _drawn(tiles, rng, parts), _REFERENCE))
    return {"signals": found, "parts": parts * _REPEATS}


def _on_plant(folder: Path, tiles: Judged, kind: str) -> dict[str, Any]:
    """The whole way: broker, ingest, watch, API."""
    folder.mkdir()
    rng = np.random.default_rng(_SEED)
    with ExitStack() as stack:
        plan, broker = start_broker(BrokerKind.MOSQUITTO, folder)
        stack.callback(broker.kill)
        os.environ["SIGHTLINE_CENTRAL_WATCH_NOVELTY_REFERENCE_PARTS"] = str(_REFERENCE)
        central = CentralProcess(folder, plan)
        url = central.start()
        stack.callback(central.kill)
        http = stack.enter_context(
            httpx.Client(
                base_url=f"{url}/api/v1",
                headers={"Authorization": f"Bearer {central.token('VIEWER')}"},
                timeout=60,
                trust_env=False,
            )
        )
        began_at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
        parts = _parts(tiles, rng, kind, began_at)
        began_s = time.monotonic()
        sent = 0
        while sent < _REFERENCE + _USUAL + _MOST_NEW:
            piece = [next(parts) for _ in range(_PIECE)]
            # An epoch of its own each, as after a station's restart: a client ends with its piece.
            client = StationClient(plan, _STATION, sent // _PIECE + 1, [_renumbered(piece, n) for n in range(_PIECE)])
            wait_until(lambda client=client: len(client.receipted) >= _PIECE, lambda: "receipts are missing", _WITHIN_S)  # type: ignore[misc]
            client.close()
            sent += _PIECE
            newest = max(each.captured_at for each in piece if each.verdict is Verdict.OK)
            wait_until(lambda newest=newest: _read_to(http) == newest, lambda: f"at {_read_to(http)}", _WITHIN_S)  # type: ignore[misc]
            alarms = [
                each for each in http.get("/alarms").raise_for_status().json() if each["kind"] == AlarmKind.NOVELTY
            ]
            if alarms:
                break
        change_at = began_at + timedelta(seconds=_REFERENCE + _USUAL)
        raised = [datetime.fromisoformat(each["evidence"]["raised_at_part"]) for each in alarms]
        return {
            "share": _ON_PLANT,
            "parts_until_alarm": [round((each - change_at).total_seconds()) + 1 for each in raised if each > change_at],
            "false_alarms_before": sum(each <= change_at for each in raised),
            "usual_parts": _USUAL,
            "message": [each["message"] for each in alarms],
            "named_of_the_kind": [_named(http, each["evidence"]["farthest"]) for each in alarms],
            "seconds": round(time.monotonic() - began_s),
        }


def _parts(tiles: Judged, rng: np.random.Generator, kind: str, began_at: datetime) -> Iterator[InspectionReported]:
    """One a second, whatever the verdict; the kind comes after the reference and as many usual parts again."""
    number = 0
    sound, new = tiles.of(""), tiles.of(kind)
    while True:
        is_new = number >= _REFERENCE + _USUAL and rng.random() < _ON_PLANT
        row = int(rng.choice(new if is_new else sound))
        score, (ok_limit, ng_limit) = float(tiles.score[row]), tiles.limits
        verdict = Verdict.OK if score < ok_limit else Verdict.NG if score >= ng_limit else Verdict.REVIEW
        yield InspectionReported(
            sequence=number + 1,
            trigger_number=number + 1,
            part_id=f"{tiles.kind[row] or 'sound'}-{number}",
            product="tile",
            captured_at=began_at + timedelta(seconds=number),
            verdict=verdict,
            cause=VerdictCause.SCORE,
            score=score,
            ok_limit=ok_limit,
            ng_limit=ng_limit,
            package_id=tiles.package_id,
            provider="CPUExecutionProvider",
            disposition=_DISPOSED[verdict],
            signal=SignalState.SENT,
            embedding=tiles.embedding[row].tolist(),
            is_simulated=False,
        )
        number += 1


def _renumbered(piece: list[InspectionReported], number: int) -> InspectionReported:
    return piece[number].model_copy(update={"sequence": number + 1})


def _read_to(http: httpx.Client) -> datetime | None:
    monitors = http.get("/drift/novelty").raise_for_status().json()
    return datetime.fromisoformat(monitors[0]["last_at"]) if monitors else None


def _named(http: httpx.Client, farthest: list[dict[str, Any]]) -> str:
    parts = []
    for each in farthest:
        asked = {"before_id": each["inspection_id"] + 1, "limit": 1}
        parts += http.get("/inspections", params=asked).raise_for_status().json()["items"]
    return f"{sum(not part['part_id'].startswith('sound') for part in parts)} of {len(parts)}"

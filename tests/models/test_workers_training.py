# SPDX-License-Identifier: Apache-2.0
"""A whole training on two workers: as good as on one, and, its leader killed in mid-training, the same to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from contracts import codec
from contracts.jobs import RESUME_FOLDER, EvaluationReport, TrainingJob
from contracts.vocabulary import DetectorKind, PartUse, Variant
from models.clock import SystemClock
from models.settings import Settings
from models.training.job import run_job
from tests.models.conftest import make_job, write_parts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Of the image AUROC on held-out pictures: the heads are others, for their synthetic anomalies are.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Trained:
    job: TrainingJob
    report: EvaluationReport

    @property
    def graphs(self) -> dict[str, bytes]:
        package = Path(self.job.output_dir) / "package"
        return {path.name: path.read_bytes() for path in package.iterdir() if path.suffix in (".onnx", ".npz")}

    @property
    def auroc(self) -> float:
        assert self.report.variants[0].image_auroc is not None
        return self.report.variants[0].image_auroc


@pytest.fixture(name="job", scope="module")
def _job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    images = [
        image
        for use, good, defective in ((PartUse.TRAIN, 14, 12), (PartUse.HOLDOUT, 10, 10))
        for image in [
            *write_parts(folder, rng, good, is_defective=False, use=use),
            *write_parts(folder, rng, defective, is_defective=True, use=use),
        ]
    ]
    fields = {"detector": DetectorKind.CLASSIFIER, "threads": 2, "size_px": 64, "variants": [Variant.FP32]}
    return make_job(folder, images, workers=2, is_resumable=True, **fields)


def train(job: TrainingJob, out: Path, **changes: object) -> Trained:
    job = job.model_copy(update={"output_dir": str(out), **changes})
    return Trained(job, run_job(job, Settings(is_offline=True), SystemClock(), is_resumable=job.is_resumable))


@pytest.fixture(name="whole", scope="module")
def _whole(job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(job, tmp_path_factory.mktemp("whole"))


def test_two_workers_are_as_good_as_one(job: TrainingJob, whole: Trained, tmp_path: Path) -> None:
    one = train(job, tmp_path / "one", workers=1)
    assert abs(whole.auroc - one.auroc) <= TOLERANCE, (whole.auroc, one.auroc)
    assert one.auroc > 0.7
    # Other workers than the first are in the usage of the first training alone.
    used = [json.loads((Path(each.job.output_dir) / "progress.json").read_text())["usage"] for each in (one, whole)]
    assert [each["workers"] for each in used] == [1, 2]
    assert used[0]["peers_wait_s"] == 0 < used[1]["peers_wait_s"]
    assert min(each["data_wait_s"] for each in used) > 0
    assert used[1]["peak_memory_bytes"] > used[0]["peak_memory_bytes"] + 50_000_000


def test_a_training_whose_leader_is_killed_goes_on_from_its_last_state_and_comes_out_the_same(
    job: TrainingJob, whole: Trained, tmp_path: Path
) -> None:
    out, path = tmp_path / "out", tmp_path / "job.json"
    path.write_bytes(codec.encode(job.model_copy(update={"output_dir": str(out)})))
    environment = {**os.environ, "SIGHTLINE_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, "-m", "models", "run-job", str(path)], env=environment)
    # The second head is begun: the first is done and the next one is not.
    while len(list((out / RESUME_FOLDER).glob("head-*.npz"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    followers = psutil.Process(process.pid).children(recursive=True)
    assert len(followers) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, left = psutil.wait_procs(followers, timeout=120)
    assert left == []
    assert not (out / "package").exists()
    again = train(job, out)
    assert again.graphs == whole.graphs
    assert len([note for note in again.report.notes if note.startswith("resume: head-")]) >= 2

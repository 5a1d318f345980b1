# SPDX-License-Identifier: Apache-2.0
"""The trainer itself behind each backend: the same job gives the same package, bit for bit, wherever it runs."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from central.training_backends.results import LOG_NAME
from central.training_backends.seam import Attempt, Look, TrainingBackend
from central.trust.keys import write_whole
from contracts import codec
from contracts.jobs import PACKAGE_FOLDER, RESUME_FOLDER, EvaluationReport, TrainingJob
from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import DetectorKind, PartUse
from models.packages.reading import open_package
from tests.central.training_backends.cluster import RayCluster
from tests.central.training_backends.conftest import ON_RAY
from tests.central.training_backends.rigs import Rig, local_rig, look_until, ray_rig, until_over, wait_for
from tests.models.conftest import make_job, write_parts

pytestmark = ON_RAY

TRAINER = (str(Path(sys.executable).with_name("sightline-models")), "run-job")
WAITING = Path(__file__).with_name("trainer_that_waits.py")
TRAINING_ID = "t-the-same"


@dataclass(frozen=True)
class Trained:
    """What one backend brought back, and what was seen of it meanwhile."""

    attempt: Attempt
    report: EvaluationReport
    looks: list[Look]

    @property
    def package(self) -> Path:
        return self.attempt.output / PACKAGE_FOLDER

    @property
    def manifest(self) -> PackageManifest:
        return codec.decode(PackageManifest, (self.package / MANIFEST_NAME).read_bytes())

    @property
    def log(self) -> str:
        return (self.attempt.folder / LOG_NAME).read_text()


def train(rig: Rig, backend: TrainingBackend, job: TrainingJob) -> Trained:
    folder = rig.folder / "trainings" / TRAINING_ID
    folder.mkdir(parents=True)
    attempt = Attempt(TRAINING_ID, 1, folder)
    write_whole(attempt.job_path, codec.encode(job.model_copy(update={"output_dir": str(attempt.output)})))
    looks: list[Look] = []
    attempt = replace(attempt, handle=backend.start(attempt))

    def is_over(look: Look) -> bool:
        looks.append(look)
        return look.standing.value in ("ended", "lost", "absent")

    last = look_until(backend, attempt, is_over)
    assert last.has_result, last
    return Trained(attempt, backend.collect(attempt), looks)


@pytest.fixture(name="job", scope="module")
def _job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """Pictures with defects enough for the mixed detector: its head is learnt by gradient, on two threads."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    images = [
        image
        for use, good, defective in ((PartUse.TRAIN, 24, 16), (PartUse.HOLDOUT, 8, 6))
        for image in [
            *write_parts(folder, rng, good, is_defective=False, use=use),
            *write_parts(folder, rng, defective, is_defective=True, use=use),
        ]
    ]
    fields = {"training_id": TRAINING_ID, "detector": DetectorKind.MIXED, "threads": 2, "is_resumable": True}
    return make_job(folder, images, **fields)


@pytest.fixture(name="both", scope="module")
def _both(
    tmp_path_factory: pytest.TempPathFactory, ray_cluster: RayCluster, job: TrainingJob
) -> tuple[Trained, Trained]:
    made = []
    for name, rigs in (
        ("local", local_rig(tmp_path_factory.mktemp("local"))),
        ("ray", ray_rig(tmp_path_factory.mktemp("ray"), ray_cluster.address)),
    ):
        rig = next(rigs)
        backend = rig.make(TRAINER)
        assert backend.name == name
        made.append(train(rig, backend, job))
        assert next(rigs, None) is None
    return made[0], made[1]


def test_the_same_job_gives_the_same_weights_bit_for_bit(both: tuple[Trained, Trained]) -> None:
    local, ray = both
    files = {path.name for path in local.package.iterdir()}
    assert {path.name for path in ray.package.iterdir()} == files
    assert len([name for name in files if name.endswith(".onnx")]) == 2
    for name in files - {MANIFEST_NAME}:
        assert (ray.package / name).read_bytes() == (local.package / name).read_bytes(), name


def test_the_manifests_differ_in_nothing_but_when_and_how_fast(both: tuple[Trained, Trained]) -> None:
    assert _told(both[1].manifest) == _told(both[0].manifest)
    for trained in both:
        assert open_package(trained.package).package_id == trained.report.package_id


def test_both_judge_the_held_out_pictures_alike(both: tuple[Trained, Trained]) -> None:
    local, ray = both
    assert len(local.report.holdout) == 14
    assert ray.report.holdout == local.report.holdout


@pytest.mark.parametrize("number", [0, 1], ids=["local", "ray"])
def test_progress_and_log_of_the_trainer_come_to_central(both: tuple[Trained, Trained], number: int) -> None:
    trained = both[number]
    fractions = [look.progress.fraction for look in trained.looks if look.progress is not None]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 2
    for stage in ("reading pictures", "quantizing", "extracting features", "fitting"):
        assert f"training_id={TRAINING_ID} stage={stage}" in trained.log


@pytest.mark.parametrize("place", ["local", "ray"])
def test_what_gave_way_goes_on_from_its_steps_and_gives_the_same_weights(
    both: tuple[Trained, Trained], job: TrainingJob, ray_cluster: RayCluster, tmp_path: Path, place: str
) -> None:
    for rig in local_rig(tmp_path) if place == "local" else ray_rig(tmp_path, ray_cluster.address):
        backend = rig.make((sys.executable, str(WAITING)))
        # The cluster of all tests knows a job of the other id.
        training_id = f"t-gave-way-{place}"
        folder = rig.folder / "trainings" / training_id
        folder.mkdir(parents=True)
        first = Attempt(training_id, 1, folder)
        changes = {"training_id": training_id, "output_dir": str(first.output)}
        write_whole(first.job_path, codec.encode(job.model_copy(update=changes)))
        first = replace(first, handle=backend.start(first))
        wait_for((rig.where(first) / "waited").exists, "the trainer never kept a step")
        backend.cancel(first, is_patient=True)
        assert not until_over(backend, first).has_result
        backend.forget(first, goes_on=True)
        second = Attempt(training_id, 2, folder)
        second = replace(second, handle=backend.start(second))
        assert until_over(backend, second).has_result
        report = backend.collect(second)
        assert "resume: int8-u8s8.front.onnx taken from the run before" in report.notes
        uninterrupted = both[0].package
        for name in ("fp32.onnx", "int8-u8s8.onnx", "golden.npz"):
            assert (second.output / PACKAGE_FOLDER / name).read_bytes() == (uninterrupted / name).read_bytes(), name
        (rig.where(second) / "waited").unlink()
        backend.forget(second)
        assert not (second.output / RESUME_FOLDER).exists()
        assert not list((rig.folder / "shared").glob("*"))


def _told(manifest: PackageManifest) -> Any:
    return _without_time(json.loads(manifest.model_dump_json()))


def _without_time(value: Any) -> Any:
    """Less dates, what was timed, and the digest of what names them."""
    if isinstance(value, dict):
        return {
            key: _without_time(inner)
            for key, inner in value.items()
            if key not in ("created_at", "trained_at") and not key.endswith(("_ms", "_seconds"))
        }
    return [_without_time(inner) for inner in value] if isinstance(value, list) else value

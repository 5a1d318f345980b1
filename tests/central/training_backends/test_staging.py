# SPDX-License-Identifier: Apache-2.0
"""The folder in which a job travels to a cluster: it may be moved, and brings nothing back but plain files."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from central.training_backends.seam import Attempt, TrainingBackendError
from central.training_backends.staging import Staging
from central.trust.keys import write_whole
from contracts import codec
from contracts.jobs import EVALUATION_NAME, TrainingJob
from models.training.anchoring import anchored
from tests.central.training_backends.rigs import IMAGES, Rig, local_rig


@pytest.fixture(name="attempt")
def _attempt(tmp_path: Path) -> Iterator[Attempt]:
    for rig in local_rig(tmp_path):
        yield laid_out(rig)


def laid_out(rig: Rig) -> Attempt:
    """With a champion."""
    attempt = rig.attempt()
    champion = rig.folder / "targets" / "champion"
    champion.mkdir(parents=True)
    (champion / "manifest.json").write_text("{}")
    job = codec.decode(TrainingJob, attempt.job_path.read_bytes())
    write_whole(attempt.job_path, codec.encode(job.model_copy(update={"champion_dir": str(champion)})))
    return attempt


def finished(staging: Staging) -> None:
    (staging.output / "package").mkdir(parents=True)
    (staging.output / "package" / "manifest.json").write_text("a package")
    (staging.output / EVALUATION_NAME).write_text("an evaluation")


def test_a_laid_out_job_may_be_moved_and_finds_its_files(attempt: Attempt, tmp_path: Path) -> None:
    staging = Staging(tmp_path / "shared", attempt)
    staging.lay_out()
    staging.lay_out()
    moved = tmp_path / "elsewhere"
    staging.folder.rename(moved)
    shutil.rmtree(attempt.folder)
    shutil.rmtree(tmp_path / "targets")
    job = anchored(codec.decode(TrainingJob, (moved / "job-1.json").read_bytes()), moved)
    assert len({image.path for image in job.images}) == IMAGES
    assert [Path(image.path).read_bytes() for image in job.images] == [b"picture %d" % n for n in range(IMAGES)]
    assert (Path(job.champion_dir or "") / "manifest.json").read_text() == "{}"
    assert job.output_dir == str(moved / "output-1")


def test_what_the_cluster_writes_into_its_pictures_does_not_reach_centrals(attempt: Attempt, tmp_path: Path) -> None:
    staging = Staging(tmp_path / "shared", attempt)
    staging.lay_out()
    (staging.folder / "images" / "0.png").write_bytes(b"scribbled over")
    assert (attempt.folder / "images" / "0.png").read_bytes() == b"picture 0"


def test_an_attempt_that_was_given_up_writes_into_a_folder_of_its_own(attempt: Attempt, tmp_path: Path) -> None:
    first, second = (Staging(tmp_path / "shared", replace(attempt, number=number)) for number in (1, 2))
    first.lay_out()
    second.lay_out()
    finished(first)
    assert not second.output.exists()
    with pytest.raises(OSError, match="output-2"):
        second.bring_back()
    first.sweep()
    assert (second.folder / "job-2.json").exists()
    second.sweep()
    assert not second.folder.exists()


def test_results_replace_what_was_brought_back_before(attempt: Attempt, tmp_path: Path) -> None:
    staging = Staging(tmp_path / "shared", attempt)
    finished(staging)
    attempt.output.mkdir()
    (attempt.output / "half.txt").write_text("left by a kill")
    (attempt.folder / "output.part").mkdir()
    (attempt.folder / "output.part" / "half.txt").write_text("left by a kill")
    staging.bring_back()
    assert sorted(path.name for path in attempt.output.iterdir()) == [EVALUATION_NAME, "package"]
    assert not (attempt.folder / "output.part").exists()


@pytest.mark.parametrize("name", ["package/graph.onnx", "package/more", "evaluation.json"])
def test_links_in_a_result_are_refused(attempt: Attempt, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("not for the cluster")
    staging = Staging(tmp_path / "shared", attempt)
    finished(staging)
    (staging.output / name).unlink(missing_ok=True)
    (staging.output / name).symlink_to(secret if name.endswith("more") else secret / "key")
    with pytest.raises(TrainingBackendError, match="expected a plain file or folder"):
        staging.bring_back()
    assert not attempt.output.exists()


def test_a_result_without_its_package_is_refused(attempt: Attempt, tmp_path: Path) -> None:
    staging = Staging(tmp_path / "shared", attempt)
    finished(staging)
    shutil.rmtree(staging.output / "package")
    with pytest.raises(TrainingBackendError, match="expected package in"):
        staging.bring_back()
    assert not attempt.output.exists()


def test_the_next_attempt_takes_up_the_steps_that_were_done(attempt: Attempt, tmp_path: Path) -> None:
    stages = [Staging(tmp_path / "shared", replace(attempt, number=number)) for number in (1, 2, 3)]
    first, second, third = stages
    first.lay_out()
    finished(first)
    (first.output / ".resume").mkdir()
    (first.output / ".resume" / "step").write_text("done")
    first.sweep(goes_on=True)
    assert [path.name for path in first.output.iterdir()] == [".resume"]
    assert (first.folder / "images" / "0.png").exists()
    second.lay_out()
    # Nothing of its own, as when it was lost before it began: the third finds what the first had done.
    second.sweep(goes_on=True)
    third.lay_out()
    assert (third.output / ".resume" / "step").read_text() == "done"
    third.sweep()
    assert not third.folder.exists()


def test_steps_that_are_a_link_are_left(attempt: Attempt, tmp_path: Path) -> None:
    (secret := tmp_path / "secret").mkdir()
    first, second = (Staging(tmp_path / "shared", replace(attempt, number=number)) for number in (1, 2))
    first.lay_out()
    first.output.mkdir()
    (first.output / ".resume").symlink_to(secret)
    second.lay_out()
    assert not (second.output / ".resume").exists()

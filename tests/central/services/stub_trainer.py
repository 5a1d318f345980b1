# SPDX-License-Identifier: Apache-2.0
"""Stands in for the trainer: a process of its own that keeps to the seam, without learning anything.

Usage: stub_trainer.py MODE JOB.json. Modes: `finish`; `crash` (exit 1 with words on stderr); `hang` (says where it
is and waits for SIGTERM); `slow` (waits for a file `go` beside the job, then finishes); `worse` (a candidate that
lets through what the champion caught); `stubborn` (ignores SIGTERM).
"""

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from contracts.jobs import (
    EVALUATION_NAME,
    PACKAGE_FOLDER,
    PROGRESS_NAME,
    EvaluationReport,
    HoldoutVerdict,
    MadeBy,
    MetricCurve,
    TrainingImage,
    TrainingJob,
    TrainingProgress,
    VariantMeasured,
)
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, PartUse, TrainingState, Variant, Verdict
from tests.central.trust.packages import make_package


def main(mode: str, job_path: Path) -> int:
    job = TrainingJob.model_validate_json(job_path.read_bytes())
    # Absolute, or from the job file on.
    output = job_path.parent / job.output_dir
    for image in job.images:
        assert (job_path.parent / image.path).is_file(), image.path
    runs = job_path.parent / "runs"
    with runs.open("a") as listed:
        listed.write(f"{os.getpid()}\n")
    sys.stdout.write(f"learning from {len(job.images)} pictures\n")
    sys.stdout.flush()
    if mode == "crash":
        sys.stderr.write("the pictures cannot be read: made-up fault\n")
        return 1
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(output, job, "fitting", 0.4)
    if mode == "hungry":
        bytearray(4_000_000_000)
    if mode == "nonsense":
        write_whole(output / EVALUATION_NAME, "{}")
        return 0
    if mode == "dies" or (mode == "dies-once" and len(runs.read_text().split()) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    while mode in ("hang", "stubborn") or (mode == "slow" and not (job_path.parent / "go").exists()):
        time.sleep(0.02)
    package_id = make_package(
        output / PACKAGE_FOLDER,
        job.product,
        job.training_id,
        fill=job.training_id.encode(),
        is_simulated=job.is_simulated,
    )
    report = EvaluationReport(
        training_id=job.training_id,
        product=job.product,
        detector=DetectorKind.MIXED,
        package_id=package_id,
        candidate_variant=Variant.INT8_U8S8,
        champion_package_id=job.champion_package_id,
        is_simulated=job.is_simulated,
        train_good=sum(image.judgement is Judgement.GOOD for image in job.images),
        train_defective=sum(image.judgement is Judgement.DEFECTIVE for image in job.images),
        holdout=[judged(image, job, is_worse=mode == "worse") for image in job.images if image.use is PartUse.HOLDOUT],
        variants=[VariantMeasured(variant=Variant.INT8_U8S8, image_auroc=0.97, is_included=True)],
        backbone="compact",
        backbone_weights_source="made up",
        training_seconds=0.1,
    )
    write_whole(output / EVALUATION_NAME, report.model_dump_json())
    return 0


def judged(image: TrainingImage, job: TrainingJob, *, is_worse: bool) -> HoldoutVerdict:
    is_defective = image.judgement is Judgement.DEFECTIVE
    champion = Verdict.OK if image.source is LabelSource.AUDIT or not is_defective else Verdict.NG
    return HoldoutVerdict(
        sha256=image.sha256,
        group=image.group,
        judgement=image.judgement,
        candidate_score=2.0 if is_defective else 0.5,
        candidate_verdict=Verdict.NG if is_defective and not is_worse else Verdict.OK,
        champion_score=1.0 if job.champion_package_id else None,
        champion_verdict=champion if job.champion_package_id else None,
    )


def say(output: Path, job: TrainingJob, stage: str, fraction: float) -> None:
    now = datetime.now(UTC)
    progress = TrainingProgress(
        training_id=job.training_id,
        state=TrainingState.RUNNING,
        stage=stage,
        fraction=fraction,
        started_at=now,
        at=now,
        pid=os.getpid(),
        made_by=MadeBy(machine="press-<7>", system="Linux", cores=2, python="3.11.7", libraries={"torch": "2.13.0"}),
        curves=[MetricCurve(name="head loss", steps=[1, 2], values=[0.9, 0.4])],
    )
    write_whole(output / PROGRESS_NAME, progress.model_dump_json())


def write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))

# SPDX-License-Identifier: Apache-2.0
"""Stands in for `sightline-models run-gate`: a process of its own that keeps to the seam, without running a graph.

Usage: stub_gate.py MODE JOB.json. Modes: `alike` (both packages are right on every picture); `worse` (the challenger
passes every defect); `crash` (exit 2 with words); `dies` (SIGKILL to itself); `dies-once`; `slow` (waits for a file
`go` beside the job); `nonsense` (a report that is none).
"""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from contracts.gating import GATE_REPORT_NAME, GateJob, GateReport, GateVerdict, GoldenMeasured, GraphTimed
from contracts.vocabulary import Judgement, Variant, Verdict
from tests.central.services.stub_trainer import write_whole


def main(mode: str, job_path: Path) -> int:
    job = GateJob.model_validate_json(job_path.read_bytes())
    assert all(Path(picture.path).is_file() for picture in job.pictures)
    assert (Path(job.package_dir) / "manifest.json").is_file()
    # Not in the folder, which is swept at the end.
    runs = job_path.parents[2] / f"{job_path.parent.name}.runs"
    with runs.open("a") as listed:
        listed.write(f"{os.getpid()}\n")
    if mode == "crash":
        sys.stderr.write("the graph cannot be opened: made-up fault\n")
        return 2
    if mode == "dies" or (mode == "dies-once" and len(runs.read_text().split()) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    while mode == "slow" and not (job_path.parents[2] / "go").exists():
        time.sleep(0.02)
    told = report(job, is_worse=mode == "worse").model_dump_json() if mode != "nonsense" else "{}"
    write_whole(Path(job.output_dir) / GATE_REPORT_NAME, told)
    return 0


def report(job: GateJob, *, is_worse: bool) -> GateReport:
    timed = GraphTimed(variant=Variant.INT8_U8S8, p50_ms=5.0, p99_ms=7.0, runs=200)
    pictures = []
    for picture in job.pictures:
        is_defective = picture.judgement is Judgement.DEFECTIVE
        right = Verdict.NG if is_defective else Verdict.OK
        mine = Verdict.OK if is_worse else right
        champion = right if job.champion_package_id is not None else None
        pictures.append(
            GateVerdict(
                sha256=picture.sha256, score=1.0, verdict=mine, exact_score=1.0, exact_verdict=mine,
                champion_score=None if champion is None else 1.0, champion_verdict=champion,
            )
        )  # fmt: skip
    return GateReport(
        package_id=job.package_id,
        champion_package_id=job.champion_package_id,
        pictures=pictures,
        timed=timed,
        champion_timed=timed if job.champion_package_id is not None else None,
        memory_mb=40.0,
        golden=[GoldenMeasured(variant=Variant.INT8_U8S8, images=4, worst_error=0.0, tolerance=0.01)],
        threads=job.threads,
        machine="made up",
        seconds=0.1,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))

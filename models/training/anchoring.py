# SPDX-License-Identifier: Apache-2.0
"""Paths of a job file that are not whole count from the folder of the job file: so a job's folder may be moved.

Reads nothing. Called by `job_command` (run-job).
"""

from pathlib import Path

from contracts.jobs import TrainingJob


def anchored(job: TrainingJob, folder: Path) -> TrainingJob:
    """The job with whole paths. Those that are whole stay as they are."""

    def whole(path: str | None) -> str | None:
        return None if path is None else str(folder / path)

    images = [
        image.model_copy(update={"path": whole(image.path), "mask_path": whole(image.mask_path)})
        for image in job.images
    ]
    return job.model_copy(
        update={
            "images": images,
            "champion_dir": whole(job.champion_dir),
            "weights_path": whole(job.weights_path),
            "output_dir": whole(job.output_dir),
        }
    )

# SPDX-License-Identifier: Apache-2.0
"""Options of the cluster that trainings may run on, and what cannot work of the learning options. Reads nothing."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from contracts.tiles import MOST_FIELD_PX, Tiles

BACKENDS = ("local", "ray")


@dataclass(frozen=True)
class RaySettings:
    """A Ray cluster that exists. `address`: of its job API, http://HEAD:8265; `token`: where it asks for one.

    `folder`: shared with the machines of the cluster; jobs are laid out there and results come back there.
    `folder_there`: what they call it; empty: the same. `command` runs there. `cpus`, `gpus`, `memory_mb` and one of
    `resource` (a name, or empty) are what a training takes of a machine while it runs; memory 0: not asked for.
    """

    address: str = ""
    token: str = ""
    folder: str = ""
    folder_there: str = ""
    command: tuple[str, ...] = ("sightline-models", "run-job")
    cpus: float = 1.0
    gpus: float = 0.0
    memory_mb: int = 0
    resource: str = ""
    answer_timeout_s: float = 5.0


def learning_faults(backend: str, split_by: str, size_px: int, tiles: Tiles, ray: RaySettings) -> list[str]:
    """What cannot work, one line each."""
    faults: list[str] = []
    if max(tiles.field_px(size_px)) > MOST_FIELD_PX:
        got = f"{tiles.told} of {size_px} px"
        faults.append(f"learning.tiles: expected a field of at most {MOST_FIELD_PX} px a side, got {got}")
    if backend not in BACKENDS:
        faults.append(f"learning.backend: expected {' or '.join(BACKENDS)}, got {backend!r}")
    if split_by not in ("part", "lot", "time"):
        faults.append(f"learning.split_by: expected part, lot or time, got {split_by!r}")
    url = urlsplit(ray.address)
    if ray.address and (url.scheme not in ("http", "https") or not url.hostname):
        faults.append(f"ray.address: expected http://HEAD:8265, the job API of the cluster, got {ray.address!r}")
    if backend == "ray" and not ray.address:
        faults.append("ray.address: expected http://HEAD:8265 where learning.backend is ray, got nothing")
    if ray.address and not Path(ray.folder).is_absolute():
        faults.append(f"ray.folder: expected a whole path, shared with the cluster, got {ray.folder!r}")
    if ray.folder_there and not Path(ray.folder_there).is_absolute():
        faults.append(f"ray.folder_there: expected a whole path, as the cluster sees it, got {ray.folder_there!r}")
    return faults

# SPDX-License-Identifier: Apache-2.0
"""Options of the cluster that trainings may run on, and what cannot work of the learning options. Reads nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from contracts.jobs import MOST_WORKERS
from contracts.tiles import MOST_FIELD_PX, Tiles

BACKENDS = ("local", "ray")
_MOST_CURRENCY = 8


@dataclass(frozen=True)
class RaySettings:
    """A Ray cluster that exists. `address`: of its job API, http://HEAD:8265; `token`: where it asks for one.

    `folder`: shared with the machines of the cluster; jobs are laid out there and results come back there.
    `folder_there`: what they call it; empty: the same. `command` runs there. `cpus`, `gpus`, `memory_mb` and one of
    `resource` (a name, or empty) are what each of the `workers` of a training takes of a machine while it runs; memory
    0: not asked for. `workers`: of each training that is laid out for the cluster, see `contracts.jobs`.
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
    workers: int = 1
    answer_timeout_s: float = 5.0


@dataclass(frozen=True)
class QueueSettings:
    """What trainings may hold at once: `jobs` and `gpus` in all, `jobs_per_site`, `gpus_per_site`; 0: no limit.

    `sites`: words SITE=JOBS or SITE=JOBS/GPUS for sites with a quota of their own. `is_preemptive`: one that comes
    first may send others back, each `most_preemptions` times at most. `most_waiting`: more is refused.
    """

    jobs: int = 1
    gpus: float = 0.0
    jobs_per_site: int = 0
    gpus_per_site: float = 0.0
    sites: tuple[str, ...] = ()
    is_preemptive: bool = True
    most_preemptions: int = 3
    most_waiting: int = 100


@dataclass(frozen=True)
class CostSettings:
    """Prices, each 0 where it does not count, in `currency`; `most_per_training` 0: no limit.

    `watts_per_core`: what a busy core is taken to draw, for the estimate of energy.
    """

    per_hour: float = 0.0
    per_cpu_hour: float = 0.0
    per_gpu_hour: float = 0.0
    per_kwh: float = 0.0
    currency: str = "EUR"
    watts_per_core: float = 10.0
    most_per_training: float = 0.0

    @property
    def has_prices(self) -> bool:
        """Whether a cost can be told."""
        return any((self.per_hour, self.per_cpu_hour, self.per_gpu_hour, self.per_kwh))


def site_quotas(words: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Site → jobs, GPUs of `queue.sites`.

    Raises:
        ValueError: a word is none; says which, and what was expected.
    """
    found: dict[str, tuple[int, float]] = {}
    for word in words:
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,62})=([0-9]{1,4})(?:/([0-9]{1,4}(?:\.[0-9]{1,3})?))?", word)
        if match is None:
            raise ValueError(f"expected SITE=JOBS or SITE=JOBS/GPUS, such as hamburg=2/1.5, got {word!r}")
        found[match[1]] = (int(match[2]), float(match[3] or 0))
    return found


def queue_faults(queue: QueueSettings, cost: CostSettings, ray: RaySettings, backend: str) -> list[str]:
    """What cannot work, one line each."""
    faults: list[str] = []
    if queue.jobs < 1:
        faults.append(f"queue.jobs: expected 1 or more trainings at once, got {queue.jobs}")
    try:
        site_quotas(queue.sites)
    except ValueError as error:
        faults.append(f"queue.sites: {error}")
    taken = ray.gpus * ray.workers
    if backend == "ray" and 0 < queue.gpus < taken:
        faults.append(
            f"queue.gpus: expected at least the {taken:g} that a training takes (ray.gpus of each of ray.workers), got "
            f"{queue.gpus:g}"
        )
    if cost.most_per_training and not cost.has_prices:
        faults.append("cost.most_per_training: expected a price beside it, such as cost.per_hour, got none")
    if not 1 <= len(cost.currency) <= _MOST_CURRENCY:
        faults.append(f"cost.currency: expected 1 … {_MOST_CURRENCY} letters, got {cost.currency!r}")
    return faults


@dataclass(frozen=True)
class TriggerSettings:
    """What starts a training by itself beside alarms; the section `[triggers]`. 0 switches a trigger or a bound off.

    `new_labels`: confirmed labels since the champion's dataset, all together; `new_class_labels`: of one defect class.
    `schedule_days`: since the last training, where `schedule_labels` came since. `first_wait_s`: so long nothing is
    added to the first sound parts of a product (at least `learning.min_good_labels`) before they train.
    `week_budget`: trainings of a product in seven days, and `quiet_hours`: after the end of one, that no person asked
    for; a person is never refused by either. `kept_decisions`: rows of the table.
    """

    period_s: float = 60.0
    new_labels: int = 200
    new_class_labels: int = 20
    schedule_days: float = 30.0
    schedule_labels: int = 10
    is_first_automatic: bool = True
    first_wait_s: float = 600.0
    week_budget: int = 7
    quiet_hours: float = 1.0
    kept_decisions: int = 5_000


@dataclass(frozen=True)
class ExperimentSettings:
    """How long jobs and courses of trainings are kept, days from when they were laid out; 0: for ever.

    `most_kept`: the oldest go beyond it. What judges now stays, and so do evaluations, costs and the gate's word.
    """

    kept_days: float = 1_825.0
    most_kept: int = 20_000


def learning_faults(
    backend: str, split_by: str, size_px: int, tiles: Tiles, ray: RaySettings, *, workers: int = 1
) -> list[str]:
    """What cannot work, one line each. `workers`: of a local training."""
    faults: list[str] = []
    for name, count in (("learning.workers", workers), ("ray.workers", ray.workers)):
        if not 1 <= count <= MOST_WORKERS:
            faults.append(f"{name}: expected 1 … {MOST_WORKERS} workers of each training, got {count}")
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

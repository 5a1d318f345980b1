# SPDX-License-Identifier: Apache-2.0
"""Workers on a Ray cluster: a Ray Train `TorchTrainer` inside the job that central submits. Alone here imports Ray.

Its first worker leads and trains, the others follow. They start together or not at all (one placement group), and wait
where there is no room; the job's progress says so. Ray Train forms the group anew when a worker is lost, and the
training goes on from its checkpoints. What ends a training for good is told by a file in the folder of results: Ray
Train would take every error for a loss, and signals reach the driver alone. Called by `job_command` (run-job --on ray).
"""

import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts import codec
from contracts.jobs import CLUSTER_FOLDER, PROGRESS_NAME, ResourceUsage, TrainingJob, TrainingProgress
from contracts.vocabulary import TrainingState
from models.clock import SystemClock
from models.distributed.following import follow
from models.distributed.group import IDLE_S, Group
from models.distributed.leading import MOST_LOSSES, Starter, threads_of_each
from models.errors import CancelledError, InputError, WorkerLostError, ask_to_stop
from models.files import write_whole
from models.settings import Settings

_log = logging.getLogger(__name__)
# What a first worker runs: the job, its settings, the other workers, and what it may ask whether to go on.
Train = Callable[[TrainingJob, Settings, Starter, Callable[[], None]], object]
_CANCEL_NAME: Final = "cancel"
_OVER_NAME: Final = "over.json"
_LOOK_S: Final = 0.5
_TOLD_EVERY_S: Final = 2.0
# Ray kills a stopped job after three.
_PATIENCE_S: Final = 2.5
_MOST_SAID: Final = 2000
_MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Needs:
    """What each worker takes of the cluster. `resource`: one of a name of the cluster's own, or empty."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_mb: float = 0.0
    resource: str = ""

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray asks for it; at least one of its amounts must be more than 0."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_mb * _MIB}
        asked[self.resource] = 1.0 if self.resource else 0.0
        return {name: amount for name, amount in asked.items() if amount}


class Note:
    """What driver and workers tell each other beside Ray: files in the folder of results, which all of them see."""

    def __init__(self, job: TrainingJob) -> None:
        self.folder: Final = Path(job.output_dir) / CLUSTER_FOLDER
        self._looked_s = float("-inf")
        self._is_heard = False

    def check(self) -> None:
        """Raises what ends the training for good when somebody has noted it: once, or its last words would be lost."""
        now_s = time.monotonic()
        if self._is_heard or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        self._is_heard = any((self.folder / name).exists() for name in (_CANCEL_NAME, _OVER_NAME))
        if (self.folder / _CANCEL_NAME).exists():
            ask_to_stop()
        self.raise_over()

    def cancel(self) -> None:
        """The driver was asked to stop."""
        (self.folder / _CANCEL_NAME).touch()

    def end(self, error: Exception) -> None:
        """It is over with this error; the first one counts."""
        if not (self.folder / _OVER_NAME).exists():
            text = (str(error) or type(error).__name__)[:_MOST_SAID]
            told = {"is_input": isinstance(error, InputError), "text": text}
            write_whole(self.folder / _OVER_NAME, json.dumps(told).encode())

    def raise_over(self) -> None:
        """Raises InputError, or RuntimeError for a crash, where a worker noted one."""
        if (self.folder / _OVER_NAME).exists():
            told = json.loads((self.folder / _OVER_NAME).read_bytes())
            raise (InputError if told["is_input"] else RuntimeError)(told["text"])


class RayFollowers:
    """`leading.Starter` where Ray Train has started them: this process is the leader among its workers."""

    may_restart: Final = False

    def __init__(self, group: Group) -> None:
        self._group = group

    def start(self) -> Group:
        """They are there."""
        return self._group

    def used(self, group: Group | None) -> list[ResourceUsage]:
        """As they said last, with pictures or a head: they may be on other machines."""
        return [] if group is None else group.used_by_others

    def end(self) -> None:
        """Ray Train does."""


def _work(handed: dict[str, Any]) -> None:
    """One worker's training loop. An error that leaves it is a loss to Ray Train, which begins again."""
    job, settings = TrainingJob.model_validate(handed["job"]), handed["settings"]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    note = Note(job)
    group = Group(note.check)
    try:
        if group.rank != 0:
            follow(group, settings, threads=threads_of_each(job.workers, job.threads))
        else:
            handed["train"](job, settings, RayFollowers(group), note.check)
    except WorkerLostError:
        raise
    except CancelledError:
        return
    except Exception as error:  # noqa: BLE001 -- whatever it is, the driver tells it
        _log.exception("training_id=%s worker=%d", job.training_id, group.rank)
        note.end(error)


def run_on_ray(job: TrainingJob, settings: Settings, needs: Needs, train: Train) -> None:
    """Run a job of several workers on the cluster that this process is a job of.

    Args:
        job: paths are whole, and the same on every machine.
        settings: of this process, and of the workers.
        needs: what each worker takes.
        train: what the first worker runs; a function of a module.

    Raises:
        InputError: Ray is not installed here, or the job cannot be done with what it names.
        WorkerLostError: too many workers were lost.
        CancelledError: asked to stop.
        RuntimeError: a worker crashed by itself.
    """
    ray = _ray()
    if not needs.bundle:
        raise InputError("run-job --on ray: expected a worker to take something of the cluster, got 0 CPUs and no more")
    note = Note(job)
    shutil.rmtree(note.folder, ignore_errors=True)
    note.folder.mkdir(parents=True)
    asked_to_stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address="auto", configure_logging=False, log_to_driver=True)
    except ConnectionError as error:
        raise InputError(
            f"run-job --on ray: expected to be a job of a Ray cluster, found none ({error}); submit it there, or "
            "leave out --on ray"
        ) from error
    finally:
        # Ray has its own answer to SIGTERM, which leaves without a word.
        signal.signal(signal.SIGTERM, asked_to_stop)
    handed = {"job": job.model_dump(mode="json"), "settings": settings, "train": train}
    fitting = _Fitting(_trainer(job, needs, note.folder, handed))
    voice = _Voice(job, needs)
    try:
        while fitting.thread.is_alive():
            voice.waits(ray.available_resources(), ray.cluster_resources())
            fitting.thread.join(_LOOK_S)
        note.raise_over()
        _raise_lost(fitting.error, job)
    except CancelledError:
        note.cancel()
        fitting.thread.join(_PATIENCE_S)
        voice.ends(TrainingState.CANCELLED, "asked to stop")
        raise
    except Exception as error:
        voice.ends(TrainingState.FAILED, str(error))
        raise
    finally:
        shutil.rmtree(note.folder, ignore_errors=True)


def _ray() -> Any:
    """The library: Any, for of half of what is used here it has no types."""
    try:
        import ray  # noqa: PLC0415 -- the extra `cluster` alone has it
        import ray.train.torch  # noqa: PLC0415
        import ray.util  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"run-job --on ray: expected Ray in this environment, it is not there ({error}); install "
            "sightline[cluster] on every machine of the cluster"
        ) from error
    return ray


def _trainer(job: TrainingJob, needs: Needs, folder: Path, handed: dict[str, Any]) -> Any:
    ray = _ray()
    is_loopback = ray.util.get_node_ip_address().startswith("127.")
    return ray.train.torch.TorchTrainer(
        _work,
        train_loop_config=handed,
        # Features and heads are computed on the CPU, whatever a worker holds.
        torch_config=ray.train.torch.TorchConfig(backend="gloo", timeout_s=int(IDLE_S)),
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.workers, use_gpu=needs.gpus > 0, resources_per_worker=needs.bundle
        ),
        run_config=ray.train.RunConfig(
            name=job.training_id, storage_path=str(folder),
            failure_config=ray.train.FailureConfig(max_failures=MOST_LOSSES),
            # Gloo would listen at the address that the machine's name has.
            worker_runtime_env={"env_vars": {"GLOO_SOCKET_IFNAME": "lo"}} if is_loopback else None,
        ),
    )  # fmt: skip


class _Fitting:
    """Runs a trainer in a thread: signals come to the main one, which must not be inside Ray then."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.error: BaseException | None = None
        self.thread: Final = threading.Thread(target=self._run, name="ray-train", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:  # noqa: BLE001 -- told to the main thread, which raises it
            self.error = error


def _raise_lost(error: BaseException | None, job: TrainingJob) -> None:
    if error is not None:
        failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
        first = " ".join(str(next(iter(failures.values()), error)).split())
        raise WorkerLostError(
            f"workers: {job.workers} on Ray did not come to an end, {MOST_LOSSES} losses are made good: {first[:600]}"
        ) from error


class _Voice:
    """Speaks in the job's progress before the leader does, and after it where it died."""

    def __init__(self, job: TrainingJob, needs: Needs) -> None:
        self._path = Path(job.output_dir) / PROGRESS_NAME
        self._job, self._needs = job, needs
        self._clock = SystemClock()
        self._started_at = self._clock.now()
        self._told_s = float("-inf")
        # As an earlier run left the file, and as this process wrote it.
        self._known = {self._read()}

    def waits(self, free: dict[str, float], whole: dict[str, float]) -> None:
        """Say what the workers wait for, once in a while, until the leader speaks.

        Args:
            free: what nobody holds of the cluster just now, by Ray's names.
            whole: what there is of it.
        """
        if time.monotonic() - self._told_s < _TOLD_EVERY_S or self._read() not in self._known:
            return
        self._told_s, bundle = time.monotonic(), self._needs.bundle
        asked = ", ".join(_told(name, self._job.workers * amount) for name, amount in bundle.items())
        left = ", ".join(f"{_told(name, free.get(name, 0))} of {_told(name, whole.get(name, 0))}" for name in bundle)
        self._write(TrainingState.QUEUED, f"{self._job.workers} workers need {asked} at once; free now: {left}", None)

    def ends(self, state: TrainingState, error: str) -> None:
        """The last word, where nobody has said it."""
        try:
            last = codec.decode(TrainingProgress, self._path.read_bytes())
        except (OSError, codec.CodecError):
            last = None
        if last is None or last.state in (TrainingState.QUEUED, TrainingState.RUNNING):
            self._write(state, "waiting for workers" if last is None else last.stage, error[:_MOST_SAID])

    def _write(self, state: TrainingState, stage: str, error: str | None) -> None:
        told = TrainingProgress(
            training_id=self._job.training_id, state=state, stage=stage, fraction=0.0, error=error,
            started_at=self._started_at, at=self._clock.now(),
        )  # fmt: skip
        write_whole(self._path, codec.encode(told))
        self._known.add(self._read())

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError:
            return b""


def _told(name: str, amount: float) -> str:
    return f"{amount / _MIB:g} MiB" if name == "memory" else f"{amount:g} {name}"

# SPDX-License-Identifier: Apache-2.0
"""Several workers learn what one learns, give the same bytes twice, make good the loss of one, and leave nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from torch import Tensor

from contracts.vocabulary import PartUse
from models.data.parts import read_picture
from models.detectors.base import TrainingSet
from models.detectors.head import HeadSettings, HeadWeights, train_head
from models.distributed.following import Shown
from models.distributed.leading import MOST_LOSSES, Gang, MemoryKeeper
from models.distributed.local import LocalFollowers
from models.errors import CancelledError, WorkerLostError
from models.graphs.features import FeatureExtractor, build_front
from models.graphs.trunks import resolve
from models.pace import Pace
from models.settings import Settings
from tests.models.conftest import write_parts

HEAD = HeadSettings(steps=80)
ROWS = np.arange(60)
# Sums of float32 in another order, over 80 steps.
ROUNDING = 1e-3


class Alone:
    """A group of one."""

    rank, size = 0, 1

    def add_up(self, gradients: Sequence[Tensor]) -> None:
        """They are the sum."""


@dataclass
class Led:
    """A gang and what is under it."""

    starter: LocalFollowers = field(default_factory=lambda: LocalFollowers(2, 1))
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gang = Gang(self.starter, workers=2, threads=2, notes=self.notes)

    def head(self, training: TrainingSet, kept: Callable[[bytes], None] = lambda _content: None) -> HeadWeights:
        return self.gang.train_head(training, ROWS, HEAD, 3, keeper=MemoryKeeper(None, kept), pace=Pace())

    @property
    def follower(self) -> int:
        return self.starter.processes[0].pid


@pytest.fixture(name="led")
def _led() -> Iterator[Led]:
    led = Led()
    yield led
    pids = [process.pid for process in led.starter.processes]
    folder = led.starter._folder
    led.gang.close()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert folder is None or not folder.exists()


@pytest.fixture(name="training", scope="module")
def _training() -> TrainingSet:
    features = np.random.default_rng(0).standard_normal((60, 16, 8, 8), np.float32).astype(np.float16)
    is_defective = ROWS % 3 == 0
    features[is_defective, :4, 2:5, 2:5] += np.float16(1.5)
    mask = np.zeros((8, 8), np.float32)
    mask[2:5, 2:5] = 1
    # Further looks, of rows among the first: what followers lack of them would show in every step.
    looks = features[:30] + np.float16(0.25)
    return TrainingSet(
        features, is_defective, [str(row) for row in ROWS], masks={0: mask, 3: mask, 6: mask},
        extra_features=looks, extra_rows=np.arange(30), extra_masks={0: mask},
    )  # fmt: skip


def as_bytes(head: HeadWeights) -> bytes:
    return b"".join(array.tobytes() for array in [head.centre, head.spread, *head.kernels, *head.biases])


def apart(one: HeadWeights, other: HeadWeights) -> float:
    pairs = zip([*one.kernels, *one.biases], [*other.kernels, *other.biases], strict=True)
    return max(float(np.abs(left - right).max()) for left, right in pairs)


def test_two_workers_learn_what_one_does_up_to_rounding_and_the_same_bytes_twice(
    led: Led, training: TrainingSet
) -> None:
    first = led.head(training)
    assert as_bytes(led.head(training)) == as_bytes(first)
    alone = train_head(training, ROWS, HEAD, seed=3, peers=Alone())
    assert apart(first, alone) < ROUNDING
    # That is little: half of the batch alone leads elsewhere.
    assert apart(first, train_head(training, ROWS[:30], HEAD, seed=3, peers=Alone())) > 10 * ROUNDING


def test_a_worker_killed_in_mid_training_costs_no_bit_of_the_result(led: Led, training: TrainingSet) -> None:
    whole = led.head(training)
    states: list[bytes] = []

    def kill_after_the_first_state(content: bytes) -> None:
        states.append(content)
        if len(states) == 1:
            os.kill(led.follower, signal.SIGKILL)

    again = led.head(training, kill_after_the_first_state)
    assert as_bytes(again) == as_bytes(whole)
    (note,) = led.notes
    assert "worker 1 of 2 was killed by signal 9" in note
    # It went on from that state: three more were kept, not four.
    assert len(states) == 4


@pytest.mark.slow
def test_workers_that_are_lost_again_and_again_end_it_with_a_clear_error(led: Led, training: TrainingSet) -> None:
    with pytest.raises(WorkerLostError, match=rf"lost {MOST_LOSSES + 1} times, and at most {MOST_LOSSES} are made"):
        led.head(training, lambda _content: os.kill(led.follower, signal.SIGKILL))
    assert led.starter.processes == []


@pytest.mark.slow
def test_a_request_to_stop_is_seen_while_a_worker_hangs(led: Led, training: TrainingSet) -> None:
    def hang(_content: bytes) -> None:
        os.kill(led.follower, signal.SIGSTOP)
        signal.setitimer(signal.ITIMER_REAL, 0.5)

    def stop(_number: int, _frame: object) -> None:
        raise CancelledError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(CancelledError):
            led.head(training, hang)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_features_come_in_the_order_of_the_pictures_and_are_those_of_one_worker(
    led: Led, settings: Settings, tmp_path: Path
) -> None:
    # More than a round of two workers, and not a multiple of it.
    images = write_parts(tmp_path, np.random.default_rng(0), 37, is_defective=False, use=PartUse.TRAIN)
    front = build_front(resolve(settings, "compact", None, []), size_px=64, grid=8)
    pictures = [read_picture(Path(image.path), settings) for image in images]
    counts: list[int] = []
    found = led.gang.extract(
        front.SerializeToString(), [Shown(image.path) for image in images],
        lambda shown: read_picture(Path(shown.path), settings), counts.append, Pace(),
    )  # fmt: skip
    np.testing.assert_array_equal(found, FeatureExtractor(front, threads=1).extract(pictures, len(pictures)))
    assert counts == [32, 37]
    used = led.gang.used()
    assert used.workers == 2
    assert used.cpu_s > 0.1
    assert used.peak_memory_bytes > 50_000_000


def test_followers_end_when_their_leader_is_killed() -> None:
    code = (
        "import sys, time\nfrom models.distributed.local import LocalFollowers\n"
        "starter = LocalFollowers(2, 1)\nstarter.start()\n"
        "print(starter.processes[0].pid, starter._folder, flush=True)\ntime.sleep(600)\n"
    )
    leader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert leader.stdout is not None
    pid, _, folder = leader.stdout.readline().partition(" ")
    follower = psutil.Process(int(pid))
    leader.kill()
    leader.wait()
    leader.stdout.close()
    while follower.is_running() and follower.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    assert not Path(folder.strip()).exists()

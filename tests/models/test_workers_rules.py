# SPDX-License-Identifier: Apache-2.0
"""Rules of a group of workers that a training hardly shows: what is lost when, who waits how long, who meets where."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch.distributed as dist

from contracts.vocabulary import PartUse
from models.data.parts import Picture, read_picture
from models.detectors.base import TrainingSet
from models.detectors.head import HeadSettings, train_head
from models.distributed import following
from models.distributed import group as group_module
from models.distributed.following import Decoded, Shown
from models.distributed.group import Group
from models.distributed.leading import digest_of_features, name_of_head
from models.distributed.local import LocalFollowers, join
from models.errors import WorkerLostError
from models.graphs.features import FeatureExtractor, build_front
from models.graphs.trunks import resolve
from models.pace import Pace
from models.settings import Settings
from tests.models.conftest import write_parts
from tests.models.test_workers import HEAD, ROUNDING, ROWS, Alone, Led, apart, as_bytes

LOOPBACK = {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


@pytest.fixture(name="training", scope="module")
def _training() -> TrainingSet:
    features = np.random.default_rng(0).standard_normal((60, 16, 8, 8), np.float32).astype(np.float16)
    is_defective = ROWS % 3 == 0
    features[is_defective, :4, 2:5, 2:5] += np.float16(1.5)
    return TrainingSet(features, is_defective, [str(row) for row in ROWS])


@pytest.fixture(name="led")
def _led() -> Iterator[Led]:
    led = Led()
    yield led
    led.gang.close()


def other(training: TrainingSet) -> TrainingSet:
    return replace(training, features=training.features[::-1].copy(), is_defective=training.is_defective[::-1].copy())


@pytest.mark.slow
def test_a_worker_killed_while_features_are_extracted_costs_the_round_it_was_in(
    led: Led, settings: Settings, tmp_path: Path
) -> None:
    images = write_parts(tmp_path, np.random.default_rng(0), 70, is_defective=False, use=PartUse.TRAIN)
    front = build_front(resolve(settings, "compact", None, []), size_px=64, grid=8)
    counts: list[int] = []

    def check(count: int) -> None:
        counts.append(count)
        if len(counts) == 1:
            os.kill(led.follower, signal.SIGKILL)

    read = lambda shown: read_picture(Path(shown.path), settings)  # noqa: E731 -- as the leader has it
    found = led.gang.extract(front.SerializeToString(), [Shown(each.path) for each in images], read, check, Pace())
    pictures = [read_picture(Path(image.path), settings) for image in images]
    np.testing.assert_array_equal(found, FeatureExtractor(front, threads=1).extract(pictures, len(pictures)))
    # What was done is not done again.
    assert counts == [32, 64, 70]
    assert len(led.notes) == 1


@pytest.mark.slow
def test_what_is_learnt_from_next_reaches_the_followers(led: Led, training: TrainingSet) -> None:
    led.head(training)
    second = led.head(other(training))
    assert apart(second, train_head(other(training), ROWS, HEAD, seed=3, peers=Alone())) < ROUNDING


@pytest.mark.slow
def test_a_follower_that_hangs_is_given_up_and_replaced(training: TrainingSet) -> None:
    class Impatient(LocalFollowers):
        """Of its first group."""

        patience_s: float | None = 10.0

        def start(self) -> Group:
            group = super().start()
            if self.patience_s is not None:
                group, self.patience_s = Group(self.check, patience_s=self.patience_s), None
            return group

    led = Led(Impatient(2, 1))
    hung: list[int] = []

    def hang_once(_content: bytes) -> None:
        if not hung:
            hung.append(led.follower)
            os.kill(led.follower, signal.SIGSTOP)

    try:
        found = led.head(training, hang_once)
        assert ["within 10 s, got none; a worker hangs" in note for note in led.notes] == [True]
        assert as_bytes(found) == as_bytes(led.head(training))
        assert not psutil.pid_exists(hung[0])
    finally:
        led.gang.close()


@pytest.mark.slow
def test_a_follower_waits_for_commands_beyond_its_patience_and_asks_meanwhile(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom models.distributed.group import Group\n"
        "from models.distributed.local import join\nfolder, rank = Path(sys.argv[1]), int(sys.argv[2])\n"
        "join(folder, rank, 2)\nbegan_s = time.monotonic()\nclass Stop(BaseException): pass\n"
        "def check():\n    if time.monotonic() - began_s > 1.0: (folder / 'late').touch()\n"
        "    if (folder / 'stop').exists(): raise Stop\n"
        "try:\n    if rank: Group(check, patience_s=0.2).hear()\n    time.sleep(600)\nexcept Stop: os._exit(7)\n"
        "except BaseException: os._exit(1)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(rank)]) for rank in range(2)]
    try:
        while not (tmp_path / "late").exists():
            assert both[1].poll() is None
            time.sleep(0.05)
        (tmp_path / "stop").touch()
        assert both[1].wait() == 7
    finally:
        for process in both:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_what_a_follower_cannot_read_is_told_in_its_words(led: Led, settings: Settings) -> None:
    front = build_front(resolve(settings, "compact", None, []), size_px=64, grid=8)

    def read(_shown: Shown) -> Picture:
        return np.zeros((64, 64, 3), np.uint8)

    shown = [Shown(f"/nowhere/{place}.png") for place in range(4)]
    with pytest.raises(WorkerLostError, match=r"worker 1 of 2 ended with exit code 1, saying '.*/nowhere/2\.png"):
        led.gang.extract(front.SerializeToString(), shown, read, lambda _count: None, Pace())


@pytest.mark.slow
def test_followers_meet_on_loopback_leave_signals_to_their_leader_and_are_not_needed_at_the_end(
    led: Led, training: TrainingSet
) -> None:
    states: list[bytes] = []

    def kept(content: bytes) -> None:
        states.append(content)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(led.follower, number)

    led.head(training, kept)
    assert len(states) == 4
    assert led.notes == []
    sockets = psutil.Process(led.follower).net_connections(kind="inet")
    assert {each.laddr.ip for each in sockets} <= LOOPBACK
    assert sockets
    group = led.gang._group
    assert group is not None
    (said,) = group.used_by_others
    assert said.cpu_s > 0
    assert led.gang.used().peak_memory_bytes >= said.peak_memory_bytes > 50_000_000
    folder = led.starter._folder
    assert folder is not None
    os.kill(led.follower, signal.SIGKILL)
    led.gang.finish()
    assert led.notes == []
    # Nor does it need the follower to take its folder away.
    assert not folder.exists()
    # What they held at their most is told when they are gone.
    assert led.gang.used().peak_memory_bytes > 50_000_000


def test_whoever_started_the_others_says_how_one_ended_where_torch_knows_only_that_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        # The system tells a moment after the connection closed.
        if len(asked) == 3:
            raise WorkerLostError("worker 1 of 2 was killed by signal 9")

    def fail() -> None:
        raise RuntimeError("Connection closed by peer [127.0.0.1]")

    with pytest.raises(WorkerLostError, match="was killed by signal 9"):
        Group(check)._guarded(fail)
    monkeypatch.setattr(group_module, "_NEWS_S", 0.1)
    with pytest.raises(WorkerLostError, match=r"one of 2 is gone, by the word of worker 0 \(Connection closed"):
        Group()._guarded(fail)


def test_workers_of_one_machine_meet_on_its_loopback_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine's name has another address, which the tests' machine need not have."""
    named: list[str | None] = []
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr(
        dist,
        "init_process_group",
        lambda *_how, **_who: named.append(os.environ.get("GLOO_SOCKET_IFNAME")),
    )
    join(tmp_path, 0, 1)
    assert named == ["lo"]
    assert "GLOO_SOCKET_IFNAME" not in os.environ


def test_a_head_is_kept_under_a_name_of_all_that_it_rests_on(training: TrainingSet) -> None:
    digest = digest_of_features(training)
    looks = replace(training, extra_features=training.features[:4], extra_rows=np.arange(4))
    names = {
        name_of_head(digest, ROWS, HEAD, 3),
        name_of_head(digest_of_features(other(training)), ROWS, HEAD, 3),
        name_of_head(digest_of_features(looks), ROWS, HEAD, 3),
        name_of_head(digest, ROWS[:30], HEAD, 3),
        name_of_head(digest, ROWS, replace(HEAD, width=24), 3),
        name_of_head(digest, ROWS, HEAD, 4),
    }
    assert len(names) == 6
    assert name_of_head(digest_of_features(replace(training)), ROWS.copy(), HeadSettings(steps=80), 3) in names


def test_a_follower_keeps_decoded_pictures_as_far_as_there_is_room(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def read(path: Path, _settings: Settings) -> Picture:
        reads.append(path.name)
        return np.zeros((10, 10, 3), np.uint8)

    monkeypatch.setattr(following, "read_picture", read)
    decoded = Decoded(replace(settings, max_kept_pixels_bytes=700))
    for name in ["a", "b", "c", "a", "b", "c", "c"]:
        assert decoded.read(Shown(name)).shape == (10, 10, 3)
    assert reads == ["a", "b", "c", "c", "c"]

# SPDX-License-Identifier: Apache-2.0
"""Batches are tried, measured and used only where they are right and clearly faster, and the station says which."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.manifest import PackageManifest
from contracts.vocabulary import Variant, Verdict
from edge_agent.clock import SystemClock
from edge_agent.errors import InferenceError
from edge_agent.inference.batching import BatchTimes, Seat, SeatedSession
from edge_agent.inference.onnx import OnnxSession, open_session
from edge_agent.inference.pool import Group, SessionPool
from edge_agent.inference.session import Inference
from edge_agent.inference.slots import PackageSlots
from edge_agent.inference.variants import Way
from edge_agent.judging import Judge, Judgement
from edge_agent.packages.activation import Ready, Runtime, prepare
from edge_agent.packages.batches import batch_fault, make_batcher, measure_batches, paying, pictures_for, sizes_to_try
from edge_agent.packages.speed import Measured, SpeedTable
from edge_agent.packages.store import StoredPackage
from edge_agent.recipes.recipe import Recipe, Recipes
from tests.edge import tiny_package
from tests.edge.station_fakes import frame_of
from tests.fakes.clock import FakeClock

CPU = "CPUExecutionProvider"
CLOCK = SystemClock()
WAY = Way(Variant.FP32, CPU, 1)
IMAGES = np.stack([tiny_package.part(level) for level in (40, 128, 220)])


class Device:
    """A session whose runs take as long as a test says, on a clock of its own.

    Args:
        run_s: of a run, beside its images.
        image_s: of each image.
        side_by_side: runs that go at the same time; a device that is a queue takes one after the other.
    """

    provider = "FakeExecutionProvider"
    takes_batches = True

    def __init__(self, *, run_s: float = 0.0, image_s: float = 0.0, side_by_side: int = 1) -> None:
        self.clock = FakeClock()
        self._run_s, self._image_s = run_s, image_s
        self._working = threading.Lock()
        self._beside = threading.Barrier(side_by_side, self._work_once)

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        # The self-test runs one after the other, on a thread of its own.
        if threading.current_thread().name.startswith("batch-measure"):
            self._beside.wait(60)
        return self._answer(image_bgr)

    def run_batch(self, images_bgr: Sequence[NDArray[np.uint8]]) -> list[Inference | InferenceError]:
        self._work(len(images_bgr))
        return [self._answer(image) for image in images_bgr]

    def _work_once(self) -> None:
        self._work(1)

    def _work(self, images: int) -> None:
        with self._working:
            self.clock.advance(self._run_s + self._image_s * images)

    def _answer(self, image: NDArray[np.uint8]) -> Inference:
        return Inference(float(image.mean()), np.full((2, 2), image.mean(), np.float32), np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("cameras", "sizes"), [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 4]), (6, [2, 4, 6]), (40, [2, 4, 8])]
)
def test_numbers_of_frames_go_up_to_the_cameras(cameras: int, sizes: list[int]) -> None:
    assert sizes_to_try(cameras) == sizes


def test_batch_pays_only_when_it_is_clearly_faster_than_as_many_runs_at_once() -> None:
    rows = [BatchTimes(4, 7.9, 10.0), BatchTimes(2, 8.1, 10.0), BatchTimes(3, None, None, "fails")]
    assert paying(rows) == rows[:1]
    assert paying([BatchTimes(2, 8.0, 10.0)]) == []


def test_batch_pays_on_a_device_that_takes_runs_one_after_the_other() -> None:
    device = Device(run_s=0.02, image_s=0.001)
    (row,) = measure_batches(device, IMAGES, 2, 0.01, device.clock)
    assert row.batched_ms == pytest.approx(22)
    assert row.singly_ms == pytest.approx(42)
    assert paying([row]) == [row]


def test_batch_does_not_pay_where_every_camera_has_a_core_of_its_own() -> None:
    """Two runs of 20 ms one after the other take longer than a batch of 30 ms; side by side they do not."""
    device = Device(run_s=0.01, image_s=0.01, side_by_side=2)
    (row,) = measure_batches(device, IMAGES, 2, 0.01, device.clock)
    assert row.batched_ms == pytest.approx(30)
    assert row.singly_ms == pytest.approx(20)
    assert paying([row]) == []


def test_slow_device_is_not_measured_for_minutes() -> None:
    device = Device(run_s=10.0)
    measure_batches(device, IMAGES, 2, 0.01, device.clock)
    # Five rounds and the first that is not counted, and the batch that tells that it is enough.
    assert device.clock.monotonic() - FakeClock().monotonic() <= 230


class Wrong(Device):
    """Judges several otherwise than one."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._how = how

    def run_batch(self, images_bgr: Sequence[NDArray[np.uint8]]) -> list[Inference | InferenceError]:
        right = [self._answer(image) for image in images_bgr]
        if self._how == "mixed up":
            return [*reversed(right)]
        if self._how == "fails":
            raise InferenceError("out of memory")
        if self._how == "not a number":
            return [right[0], InferenceError("the graph gave a score that is not finite")]
        if self._how == "heatmap":
            return [replace(each, heatmap=each.heatmap + 1) for each in right]
        if self._how == "class":
            return [replace(each, class_scores=np.array([0, 1], np.float32)) for each in right]
        return [replace(each, score=each.score + 0.02) for each in right]

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        found = super().run(image_bgr)
        return replace(found, class_scores=np.array([1, 0], np.float32)) if self._how == "class" else found


@pytest.mark.parametrize("how", ["mixed up", "fails", "not a number", "heatmap", "class", "a little off"])
@pytest.mark.parametrize("images", [1, 3])
def test_batch_that_does_not_judge_as_alone_is_not_used_and_says_why(how: str, images: int) -> None:
    rows = measure_batches(Wrong(how), IMAGES[:images], 2, 0.01, CLOCK)
    assert [(row.batched_ms, row.singly_ms, bool(row.note)) for row in rows] == [(None, None, True)]
    assert paying(rows) == []


def test_golden_images_of_a_batch_are_all_different_however_few_there_are() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    pictures = pictures_for(noise, 8)
    assert len({picture.tobytes() for picture in pictures}) == 8


def graph(folder: Path, **changes: object) -> OnnxSession:
    folder.mkdir(exist_ok=True)
    path = tiny_package.brightness_graph(folder / "fp32.onnx", **changes)  # type: ignore[arg-type]  # by the test
    return open_session(path, provider=CPU, threads=1)


def test_real_graph_judges_several_as_it_judges_each(tmp_path: Path) -> None:
    session = graph(tmp_path)
    found = session.run_batch(list(IMAGES))
    for image, together in zip(IMAGES, found, strict=True):
        assert isinstance(together, Inference)
        alone = session.run(image)
        assert together.score == alone.score
        assert np.array_equal(together.heatmap, alone.heatmap)
        assert np.array_equal(together.embedding, alone.embedding)
    assert batch_fault(session, IMAGES, 3, 0.0) == ""


def test_real_graph_without_a_number_for_one_image_answers_for_the_others(tmp_path: Path) -> None:
    # Infinite times 0 is no number; infinite times anything else is infinite: neither is finite.
    session = graph(tmp_path, factor=3.4e38)
    found = session.run_batch([np.zeros((64, 64, 3), np.uint8), tiny_package.part(128)])
    assert isinstance(found[0], Inference)
    assert isinstance(found[1], InferenceError)


def test_graph_made_for_one_image_a_run_is_never_given_more(tmp_path: Path) -> None:
    session = graph(tmp_path, images=1)
    assert not session.takes_batches
    (row,) = measure_batches(session, IMAGES, 2, 0.01, CLOCK)
    assert (row.batched_ms, row.note) == (None, "the graph is made for one image a run")


@pytest.fixture
def one_core() -> Iterator[None]:
    """Threads started here share one core, wherever the tests run."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    yield
    os.sched_setaffinity(0, mine)


class Line:
    """Two cameras of one process with a package that takes most of its time for the run, whatever is in it."""

    def __init__(self, folder: Path, **changes: int) -> None:
        package = folder / "package"
        if not package.exists():
            tiny_package.write_package(package, "ring", **changes)
        written = (package / "manifest.json").read_bytes()
        package_id = hashlib.sha256(written).hexdigest()
        self.stored = StoredPackage(package_id, PackageManifest.model_validate_json(written), package)
        self.pool = SessionPool()
        self.queues = [0, 0]
        self.seats = [Seat(lambda each=each: self.queues[each], CLOCK) for each in (0, 1)]  # type: ignore[misc]
        self.tables = [SpeedTable(folder / f"speed{each}", "this machine") for each in (0, 1)]

    def prepare(self, camera: int, cameras: int = 2) -> Ready:
        runtime = Runtime(
            CPU, open_session=self.pool.open, tables=self.tables[camera],
            group=Group(self.pool, self.seats[camera], cameras),
        )  # fmt: skip
        ready = prepare(self.stored, runtime, CLOCK, lambda: False)
        assert ready is not None
        return ready


@pytest.mark.usefixtures("one_core")
def test_real_graph_whose_run_costs_more_than_its_images_is_run_for_two_cameras_at_once(tmp_path: Path) -> None:
    line = Line(tmp_path, steps=20)
    ready = [line.prepare(0), line.prepare(1)]
    (row,) = ready[0].batches
    assert row.batched_ms is not None
    assert row.singly_ms is not None
    assert row.batched_ms < 0.8 * row.singly_ms
    assert [each.batch for each in ready] == [2, 2]
    sessions = [each.loaded.session for each in ready]
    assert isinstance(sessions[0], SeatedSession)
    assert isinstance(sessions[1], SeatedSession)
    assert sessions[0].batcher is sessions[1].batcher
    assert 0 < sessions[0].batcher.max_wait_s <= 0.005
    # The verdicts of two cameras that show parts at the same moment, through their own judges.
    sessions[0].batcher.max_wait_s = 60.0
    found = judged_at_once(line, ready)
    assert [each.decision.verdict for each in found] == [Verdict.OK, Verdict.NG]
    assert sessions[0].batcher.counters.frames_together >= 2
    alone = [line.pool.open(line.stored.path("fp32.onnx"), provider=CPU, threads=1).run(each.view) for each in found]  # type: ignore[arg-type]
    assert [each.inference.score for each in found if each.inference] == [each.score for each in alone]


def judged_at_once(line: Line, ready: list[Ready]) -> list[Judgement]:
    """A dark part at the left camera and a bright one at the right, a few times; the last judgements."""
    found: list[Judgement | None] = [None, None]
    recipes = Recipes({"ring": Recipe(deadline_ms=10_000_000)})

    def camera(number: int) -> None:
        slots = PackageSlots()
        slots.activate(ready[number].loaded)
        judge = Judge(slots, recipes, CLOCK, default_product="ring", seat=line.seats[number])
        for part in range(4):
            line.queues[number] = 3 - part
            pixels = tiny_package.part((40, 220)[number])
            pixels[0, 0] = part
            found[number] = judge.judge(frame_of(part, CLOCK, pixels=pixels))

    # Both have parts waiting before either judges: the first would else be through before the second has begun.
    line.queues[0] = line.queues[1] = 4
    threads = [threading.Thread(target=camera, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [each for each in found if each is not None]


def test_station_with_one_camera_measures_no_batch_and_one_of_several_says_that_it_judges_alone(
    tmp_path: Path,
) -> None:
    line = Line(tmp_path, images=1)
    assert (line.prepare(0, cameras=1).batch, line.prepare(0, cameras=1).batches) == (None, ())
    ready = line.prepare(0)
    assert (ready.batch, ready.batches[0].told().note) == (1, "the graph is made for one image a run")
    assert not isinstance(ready.loaded.session, SeatedSession)


def test_cameras_of_a_group_measure_once_and_a_restart_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def counting(_session: object, _images: object, cameras: int, *_: object) -> list[BatchTimes]:
        measured.append(cameras)
        return [BatchTimes(2, 5.0, 10.0)]

    monkeypatch.setattr("edge_agent.packages.activation.measure_batches", counting)
    line = Line(tmp_path)
    kept = [line.prepare(0), line.prepare(1)]
    assert (measured, [each.batch for each in kept]) == ([2], [2, 2])
    again = Line(tmp_path)
    assert [again.prepare(0).batches, again.prepare(1).batch] == [[BatchTimes(2, 5.0, 10.0)], 2]
    assert measured == [2]
    again.prepare(0, cameras=3)
    assert measured == [2, 3]


def test_cameras_of_a_group_do_not_measure_each_other(tmp_path: Path) -> None:
    line = Line(tmp_path)
    running, at_once = [0], [0]
    counting = threading.Lock()

    class Watched:
        provider = CPU

        def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
            with counting:
                running[0] += 1
                at_once[0] = max(at_once[0], running[0])
            time.sleep(0.001)
            with counting:
                running[0] -= 1
            score = float(image_bgr.mean()) / 255
            side = tiny_package.HEATMAP_PX
            return Inference(score, np.zeros((side, side), np.float32), np.zeros(tiny_package.EMBEDDING, np.float32))

    def station(camera: int) -> None:
        group = Group(line.pool, line.seats[camera], 2)
        runtime = Runtime(CPU, open_session=lambda *_, **__: Watched(), group=group)
        assert prepare(line.stored, runtime, CLOCK, lambda: False) is not None

    threads = [threading.Thread(target=station, args=(camera,)) for camera in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert at_once == [1]


def test_batches_are_held_against_single_judging_at_every_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(tmp_path)
    line.tables[0].save_batches(line.stored.package_id, WAY, 2, [BatchTimes(2, 5.0, 10.0)])
    assert line.prepare(0).batch == 2

    def failing(*_: object) -> list[Inference | InferenceError]:
        raise InferenceError("out of memory")

    monkeypatch.setattr(OnnxSession, "run_batch", failing)
    ready = line.prepare(0)
    assert (ready.batch, "out of memory" in ready.batches[0].note) == (1, True)


def test_batches_stand_beside_the_ways_in_the_table(tmp_path: Path) -> None:
    table, rows = SpeedTable(tmp_path, "here"), [BatchTimes(2, 5.0, 9.0), BatchTimes(4, note="fails")]
    table.save("a" * 64, [Measured(WAY, 4.0)])
    assert table.load_batches("a" * 64, WAY, 2) is None
    table.save_batches("a" * 64, WAY, 2, rows)
    assert table.load_batches("a" * 64, WAY, 2) == rows
    assert table.load("a" * 64, [WAY]) == [Measured(WAY, 4.0)]
    assert table.load_batches("a" * 64, WAY, 3) is None
    assert table.load_batches("a" * 64, replace(WAY, threads=2), 2) is None
    assert SpeedTable(tmp_path, "elsewhere").load_batches("a" * 64, WAY, 2) is None
    (tmp_path / f"{'a' * 64}.json").write_text("{")
    assert table.load_batches("a" * 64, WAY, 2) is None


def test_frame_waits_no_longer_than_the_smallest_gain() -> None:
    device = Device()
    rows = [BatchTimes(2, 5.0, 8.0), BatchTimes(4, 10.0, 30.0)]
    batcher = make_batcher(device, rows, CLOCK)
    assert batcher.sizes == (2, 4)
    assert batcher.max_wait_s == pytest.approx(0.003)
    assert make_batcher(device, rows[1:], CLOCK).max_wait_s == pytest.approx(0.005)

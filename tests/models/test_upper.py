# SPDX-License-Identifier: Apache-2.0
"""The trunk's own layers behind stride 8: which are taken, the same in torch and ONNX, and trained on with a head."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper

from contracts.vocabulary import DetectorKind, PartUse
from models.clock import SystemClock
from models.detectors import head as head_module
from models.detectors.base import Detector, Floats, TrainingSet
from models.detectors.head import HeadSettings, HeadWeights, head_logits, train_head
from models.detectors.kinds import make_detector, upper_for
from models.detectors.mixed import Mixed
from models.detectors.upper import Upper, upper_module, upper_of, write_upper
from models.distributed.leading import Gang, MemoryKeeper
from models.distributed.local import LocalFollowers
from models.graphs.features import open_session
from models.graphs.trunks import STAGES
from models.graphs.writer import FLOAT, GraphWriter
from models.pace import Pace
from models.settings import Settings
from models.training import fit_timing, job
from models.training.job import run_job
from tests.models.conftest import make_job, write_parts
from tests.models.test_workers import Alone

ROWS = np.arange(60)
CHANNELS, WIDE = 6, 12


def made_trunk(*, hidden: int = 24, is_aside: bool = False, kind: str = "Clip") -> onnx.ModelProto:
    """Stride 8 by one convolution; behind it a block that halves the map, and one with a shortcut.

    `is_aside`: stride 8 is a branch, through which stride 16 does not go.
    """
    rng = np.random.default_rng(3)
    writer = GraphWriter()

    def conv(x: str, given: int, made: int, side: int = 1, **form: int) -> str:
        shape = (made, given // form.get("group", 1), side, side)
        scale = np.float32((shape[1] * side * side / 2) ** -0.5)
        kernel: Floats = rng.standard_normal(shape, np.float32) * scale
        return writer.conv(x, kernel, rng.standard_normal(made, np.float32) * np.float32(0.25), **form)

    def bent(x: str) -> str:
        return (
            writer.op("Clip", [x, writer.constant(0.0), writer.constant(6.0)])
            if kind == "Clip"
            else writer.op(kind, [x])
        )

    stem = conv(writer.input("image", FLOAT, ["n", 3, "h", "w"]), 3, CHANNELS, 3, stride=8)
    first = conv(stem, CHANNELS, CHANNELS) if is_aside else stem
    x = bent(conv(stem, CHANNELS, hidden))
    x = bent(conv(x, hidden, hidden, 3, stride=2, group=hidden))
    x = conv(x, hidden, WIDE)
    x = writer.op("Add", [x, conv(bent(conv(x, WIDE, hidden)), hidden, WIDE)])
    for name, value in zip(STAGES, (first, x), strict=True):
        writer.output(name, value, ["n", "c", f"{name}h", f"{name}w"])
    return writer.model("trunk")


def taken(fragment: onnx.ModelProto, **given: int) -> Upper:
    upper = upper_of(fragment, **given)
    assert upper is not None
    return upper


def written(upper: Upper, features: Floats) -> Floats:
    writer = GraphWriter()
    given = writer.input("features", FLOAT, ["n", *features.shape[1:]])
    writer.output("out", write_upper(writer, upper, given), ["n", "d", "h", "w"])
    found: Floats = open_session(writer.model("upper"), 1).run(["out"], {"features": features})[0]
    return found


def pooled(stage: Floats) -> Floats:
    """Over 3 × 3, and twice as large: as the front does it."""
    with torch.no_grad():
        mean = torch.nn.functional.avg_pool2d(torch.from_numpy(stage), 3, 1, 1, count_include_pad=False)
        found: Floats = torch.nn.functional.interpolate(mean, scale_factor=2.0, mode="bilinear").numpy()
    return found


@pytest.mark.parametrize("kind", ["Clip", "Relu"])
def test_all_layers_give_the_trunks_own_second_stage(kind: str) -> None:
    fragment = made_trunk(kind=kind)
    picture = np.random.default_rng(0).standard_normal((2, 3, 128, 128)).astype(np.float32)
    first, second = open_session(fragment, 1).run(list(STAGES), {"image": picture})
    upper = taken(fragment)
    assert (upper.channels, upper.width, upper.factor) == (CHANNELS, WIDE, 2)
    # What stands behind the first stage's channels is not read.
    features = np.concatenate([first, np.full_like(first, 9.0)], axis=1)
    np.testing.assert_allclose(written(upper, features), pooled(second), atol=1e-4)
    with torch.no_grad():
        np.testing.assert_allclose(upper_module(upper)(torch.from_numpy(first)).numpy(), pooled(second), atol=1e-4)


def test_as_many_as_may_be_paid_are_taken_and_cut_where_one_value_passes_on() -> None:
    fragment, hidden = made_trunk(), 24
    block = CHANNELS * hidden + (9 * hidden + hidden * WIDE) / 4
    whole = block + (WIDE * hidden + hidden * WIDE) / 4
    assert len(taken(fragment, most_macs_a_cell=int(whole)).layers) == len(taken(fragment).layers) == 9
    # Without all of the shortcut's branch the block before it is the end.
    cut = taken(fragment, most_macs_a_cell=int(whole) - 1)
    assert (len(cut.layers), len(cut.kernels), cut.width, cut.factor) == (5, 3, WIDE, 2)
    assert upper_of(fragment, CHANNELS * hidden - 1) is None


def test_trunks_whose_layers_cannot_be_trained_on_have_none() -> None:
    assert upper_of(made_trunk(is_aside=True)) is None
    assert upper_of(made_trunk(kind="Sigmoid"), 10_000) is not None, "up to the operator that is not known"
    strange = made_trunk()
    for node in strange.graph.node:
        if node.op_type == "Conv" and node.attribute and helper.get_node_attr_value(node, "strides") == [2, 2]:
            next(each for each in node.attribute if each.name == "pads").ints[:] = [0, 0, 1, 1]
    assert len(taken(strange).kernels) == 1
    assert upper_for(DetectorKind.MIXED, made_trunk()) is not None
    assert upper_for(DetectorKind.CLASSIFIER, made_trunk()) is None


@pytest.fixture(name="upper", scope="module")
def _upper() -> Upper:
    return taken(made_trunk())


@pytest.fixture(name="training", scope="module")
def _training() -> TrainingSet:
    features = np.random.default_rng(0).standard_normal((60, 16, 8, 8), np.float32).astype(np.float16)
    is_defective = ROWS % 3 == 0
    features[is_defective, :4, 2:5, 2:5] += np.float16(1.5)
    mask = np.zeros((8, 8), np.float32)
    mask[2:5, 2:5] = 1
    return TrainingSet(features, is_defective, [str(row) for row in ROWS], masks={0: mask, 3: mask, 6: mask})


def as_bytes(head: HeadWeights) -> bytes:
    assert head.upper is not None
    own = [*head.upper.kernels, *head.upper.biases]
    return b"".join(array.tobytes() for array in [head.centre, head.spread, *head.kernels, *head.biases, *own])


def test_they_are_trained_on_and_the_same_bytes_twice(training: TrainingSet, upper: Upper) -> None:
    settings = HeadSettings(steps=30, upper=upper)
    head = train_head(training, ROWS, settings, seed=3)
    assert as_bytes(train_head(training, ROWS, settings, seed=3)) == as_bytes(head)
    assert head.upper is not None
    moved = [float(np.abs(new - old).max()) for new, old in zip(head.upper.kernels, upper.kernels, strict=True)]
    assert min(moved) > 0
    # A tenth of the head's rate: they stay near what they were.
    assert max(moved) < 30 * settings.rate * 0.1 * 1.5
    assert len(head.centre) == 16 + upper.width


def test_a_head_in_mid_training_goes_on_to_the_same_bytes(training: TrainingSet, upper: Upper) -> None:
    settings = HeadSettings(steps=30, upper=upper)
    states: list[bytes] = []
    whole = train_head(training, ROWS, settings, seed=3, keeper=MemoryKeeper(None, states.append))
    assert len(states) == 2
    again = train_head(training, ROWS, settings, seed=3, keeper=MemoryKeeper(states[0], lambda _content: None))
    assert as_bytes(again) == as_bytes(whole)


def test_two_workers_train_them_as_one_does_up_to_rounding(training: TrainingSet, upper: Upper) -> None:
    settings = HeadSettings(steps=20, upper=upper)
    gang = Gang(LocalFollowers(2, 1), workers=2, threads=2, notes=[])
    try:
        first, again = (
            gang.train_head(training, ROWS, settings, 3, keeper=MemoryKeeper(None, lambda _state: None), pace=Pace())
            for _ in range(2)
        )
    finally:
        gang.close()
    assert as_bytes(first) == as_bytes(again)
    alone = train_head(training, ROWS, settings, seed=3, peers=Alone())
    assert first.upper is not None
    assert alone.upper is not None
    for one, other in zip(first.upper.kernels, alone.upper.kernels, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_graph_says_what_was_trained(training: TrainingSet, upper: Upper) -> None:
    """One layer of the head by hand on what the trained layers give, against the graph."""
    head = train_head(training, ROWS, HeadSettings(steps=30, upper=upper), seed=3)
    assert head.upper is not None
    some = training.features[:4].astype(np.float32)
    with torch.no_grad():
        behind = upper_module(head.upper)(torch.from_numpy(some[:, :CHANNELS]))
        seen = torch.cat([torch.from_numpy(some), behind], dim=1)
        x = (seen - torch.from_numpy(head.centre)[:, None, None]) / torch.from_numpy(head.spread)[:, None, None]
        for place, (kernel, bias) in enumerate(zip(head.kernels, head.biases, strict=True)):
            weight = torch.from_numpy(kernel)
            form = {"padding": 1, "groups": len(kernel)} if place == 1 else {}
            x = torch.nn.functional.conv2d(x, weight, torch.from_numpy(bias), **form)
            x = x.relu() if place in (0, 2) else x
    np.testing.assert_allclose(head_logits(head, training.features[:4]), x[:, 0].numpy(), atol=2e-4)


def test_what_is_trained_is_what_the_graph_computes(training: TrainingSet, upper: Upper) -> None:
    settings = HeadSettings(steps=30, upper=upper)
    head = train_head(training, ROWS, settings, seed=3)
    assert head.upper is not None
    net, centre, spread = head_module._net(training.features[~training.is_defective].astype(np.float32), settings)
    np.testing.assert_array_equal(centre.reshape(-1), head.centre)
    convs = [layer for layer in net.head if isinstance(layer, torch.nn.Conv2d)]
    trained = [*head.kernels, *head.biases, *head.upper.kernels, *head.upper.biases]
    into = [*(each.weight for each in convs), *(each.bias for each in convs), *net.upper.kernels, *net.upper.biases]
    features = training.features[:6]
    with torch.no_grad():
        for parameter, values in zip(into, trained, strict=True):
            assert parameter is not None
            parameter.copy_(torch.from_numpy(values))
        standard = (features.astype(np.float32) - centre[:, :16]) / spread[:, :16]
        logits = net(torch.from_numpy(standard))[:, 0].numpy()
    np.testing.assert_allclose(head_logits(head, features), logits, atol=1e-3)


def test_a_mixed_detector_with_them_scores_in_its_graph_as_it_does_itself(training: TrainingSet, upper: Upper) -> None:
    detector = Mixed(settings=HeadSettings(steps=25, upper=upper))
    whole = replace(training, masks={int(row): training.masks[0] for row in np.flatnonzero(training.is_defective)})
    detector.fit(whole, seed=0, check=lambda _share: None)
    assert detector.head_weight > 0
    writer = GraphWriter()
    score, maps = detector.write(writer, writer.input("features", FLOAT, ["n", 16, 8, 8]))
    writer.output("score", score, ["n"])
    writer.output("map", maps, ["n", 8, 8])
    session = open_session(writer.model("mixed"), 1)
    told = session.run(["score", "map"], {"features": whole.features.astype(np.float32)})
    for own, theirs in zip(detector.score(whole.features), told, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-2, atol=1e-2)


def test_a_training_gives_a_mixed_detector_its_trunks_layers_and_times_them(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fragment = made_trunk()
    (tmp_path / "made.onnx").write_bytes(fragment.SerializeToString())
    given: list[Upper | None] = []
    timed: list[Upper | None] = []

    def making(kind: DetectorKind, *, upper: Upper | None = None, **others: Any) -> Detector:
        given.append(upper)
        return make_detector(kind, upper=upper, **others)

    def timing(training: TrainingSet, rows: NDArray[np.int64], head: HeadSettings, *, seed: int) -> HeadWeights:
        timed.append(head.upper)
        return train_head(training, rows, head, seed=seed)

    monkeypatch.setattr(job, "make_detector", making)
    monkeypatch.setattr(fit_timing, "train_head", timing)
    rng = np.random.default_rng(0)
    images = write_parts(tmp_path, rng, 12, is_defective=False, use=PartUse.TRAIN)
    images += write_parts(tmp_path, rng, 40, is_defective=True, use=PartUse.TRAIN)
    wanted = make_job(
        tmp_path, images, detector=DetectorKind.MIXED, backbone="auto", weights_path=str(tmp_path / "made.onnx")
    )
    run_job(wanted, settings, SystemClock(), budget_s=3_600.0)
    assert set(given) == set(timed) == {taken(fragment)}

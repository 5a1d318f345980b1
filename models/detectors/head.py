# SPDX-License-Identifier: Apache-2.0
"""The mixed detector's head: four small convolutions on grid features, trained in torch in seconds.

Learns from image labels by the mean of its highest cells, from masks, and from synthetic anomalies (noise added to
sound features in blobs). Runs as ONNX (`write_head`), when training is checked too. Called by `mixed` and
`classifier` only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Features, Floats, TrainingSet
from models.detectors.head_state import pack, unpack
from models.graphs.features import open_session
from models.graphs.writer import FLOAT, GraphWriter
from models.pace import Pace

if TYPE_CHECKING:
    from torch import Tensor, nn


# Fewer were too few: on printed boards AUROC was .90 with 100, .97 with 200 and .99 with 300.
HEAD_STEPS: Final = 300
# Kept of a course of training; more than a curve on a screen shows.
_MOST_LOSSES: Final = 50
# So often a state is kept that a stopped training goes on from.
_KEPT_EVERY: Final = 25


@dataclass(frozen=True)
class HeadSettings:
    """Size and schedule of the head."""

    width: int = 48
    steps: int = HEAD_STEPS
    batch: int = 24
    rate: float = 3e-3
    top_cells: int = 5
    threads: int = 1
    # From this many labelled defects on, synthetic anomalies are hardly needed.
    enough_labels: int = 60


@dataclass(frozen=True)
class HeadWeights:
    """Standardisation of the features, then convolutions: 1 × 1, 3 × 3 channel by channel, 1 × 1, 1 × 1."""

    centre: Floats
    spread: Floats
    kernels: list[Floats]
    biases: list[Floats]
    # (step, mean loss of the steps since the one before), at most `_MOST_LOSSES`.
    losses: tuple[tuple[int, float], ...] = ()


class Peers(Protocol):
    """The workers that learn one head together, each on its share of every batch."""

    @property
    def rank(self) -> int:
        """Of this worker, 0 … size − 1."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def add_up(self, gradients: "Sequence[Tensor]") -> None:
        """Replace each by its sum over all workers, in the order of their ranks: the same bits on each."""
        ...


class StepKeeper(Protocol):
    """Keeps the state of one head in mid-training."""

    def kept(self) -> bytes | None:
        """As kept last."""
        ...

    def keep(self, content: bytes) -> None:
        """In place of what was kept."""
        ...


# How a detector gets a head: `train_head` itself, or on several workers.
HeadTrainer = Callable[[TrainingSet, NDArray[np.int64], HeadSettings, int], HeadWeights]


def train_alone(training: TrainingSet, rows: NDArray[np.int64], settings: HeadSettings, seed: int) -> HeadWeights:
    """`train_head` in this process."""
    return train_head(training, rows, settings, seed=seed)


def train_head(
    training: TrainingSet,
    rows: NDArray[np.int64],
    settings: HeadSettings,
    *,
    seed: int,
    peers: Peers | None = None,
    keeper: StepKeeper | None = None,
    pace: Pace | None = None,
) -> HeadWeights:
    """Train on the given rows (and the extra looks of those rows) only.

    Args:
        training: features with what is known of them.
        rows: of the training set.
        settings: size and schedule.
        seed: of weights and batches.
        peers: those that learn it together with this process, each called with the same arguments; None: nobody. Each
            draws the same batches and computes the gradient of every size-th pair of pictures. Synthetic anomalies are
            then drawn picture by picture: what N workers learn is the same for every N up to the rounding of sums, but
            other than what is learnt alone.
        keeper: where to go on from, and where to keep how far it is; None: nowhere.
        pace: told where the time goes.
    """
    import torch  # noqa: PLC0415 -- seconds of import, only for training
    from torch import nn  # noqa: PLC0415

    torch.set_num_threads(settings.threads)
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    features, masks, sound, defective = _gathered(training, rows)
    part = features[sound[:: max(1, len(sound) // 100)]].astype(np.float32)
    centre = part.mean((0, 2, 3), keepdims=True)
    spread = part.std((0, 2, 3), keepdims=True) + np.float32(1e-6)
    channels = features.shape[1]
    width = settings.width
    net = nn.Sequential(
        nn.Conv2d(channels, width, 1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1), nn.ReLU(),
        nn.Conv2d(width, 1, 1),
    )  # fmt: skip
    _initialise(net, generator)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=0.02)
    labelled = len({int(row) for row in rows if training.is_defective[row]})
    synthetic = max(0.1, 1 - labelled / settings.enough_labels)
    half = settings.batch // 2
    # Half precision until a batch is drawn: all features at once in float32 would be twice the memory.
    stored = torch.from_numpy(features)
    middle, scale = torch.from_numpy(centre), torch.from_numpy(1 / spread)
    pace = pace or Pace()
    state = None if keeper is None else keeper.kept()
    first = 0 if state is None else unpack(state, net, optimiser, rng)
    mine = slice(None) if peers is None else slice(peers.rank, None, peers.size)
    losses: list[float] = []
    for step in range(first, settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps)) + 1e-5
        with pace.waiting_for_data():
            good = rng.choice(sound, half)[mine]
            bad = rng.choice(defective, half)[mine]
            batch = (stored[torch.from_numpy(np.concatenate([good, bad]))].float() - middle) * scale
            batch, goals = _turned(batch, [masks.get(int(row)) for row in bad], rng)
            shape = (half, *batch.shape[1:])
            noise = _noise(shape, rng) if peers is None else _noise_of(range(half)[mine], shape, seed, step)
        with pace.computing():
            loss = _loss(net, batch, goals, settings)
            loss = loss + synthetic * _synthetic_loss(net, batch[: len(good)], *noise)
            losses.append(float(loss.detach()))
            if peers is not None:
                # Means over shares of unlike size add up to the mean of the whole batch.
                loss = loss * (len(good) / half)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        if peers is not None:
            with pace.waiting_for_peers():
                peers.add_up([weight.grad for weight in net.parameters() if weight.grad is not None])
        with pace.computing():
            optimiser.step()
        if keeper is not None and ((step + 1) % _KEPT_EVERY == 0 or step + 1 == settings.steps):
            keeper.keep(pack(step + 1, net, optimiser, rng))
    convs = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    return HeadWeights(
        centre.reshape(-1),
        spread.reshape(-1),
        [conv.weight.detach().numpy().copy() for conv in convs],
        [conv.bias.detach().numpy().copy() for conv in convs if conv.bias is not None],
        losses=_thinned(losses, first),
    )


def _thinned(losses: list[float], first: int) -> tuple[tuple[int, float], ...]:
    """Means of equal stretches, each at its last step: single batches jump too much to be read.

    `first`: the step before the first of them, where a stopped training went on.
    """
    ends = np.unique(np.linspace(0, len(losses), min(len(losses), _MOST_LOSSES) + 1).round().astype(int))
    return tuple((first + int(end), float(np.mean(losses[start:end]))) for start, end in pairwise(ends))


def _gathered(
    training: TrainingSet, rows: NDArray[np.int64]
) -> tuple[Features, dict[int, Floats], NDArray[np.int64], NDArray[np.int64]]:
    """Features of the rows and of their extra looks in one array, with masks, sound and defective indices."""
    parts, judged = [training.features[rows]], [training.is_defective[rows]]
    masks = {place: training.masks[int(row)] for place, row in enumerate(rows) if int(row) in training.masks}
    if training.extra_features is not None:
        mine = np.flatnonzero(np.isin(training.extra_rows, rows))
        parts.append(training.extra_features[mine])
        judged.append(training.is_defective[training.extra_rows[mine]])
        masks |= {
            len(rows) + place: training.extra_masks[int(extra)]
            for place, extra in enumerate(mine)
            if int(extra) in training.extra_masks
        }
    is_defective = np.concatenate(judged)
    return np.concatenate(parts), masks, np.flatnonzero(~is_defective), np.flatnonzero(is_defective)


def _initialise(net: "nn.Sequential", generator: "object") -> None:
    """He's initialisation from a passed generator: no global random state."""
    import torch  # noqa: PLC0415 -- see above
    from torch import nn  # noqa: PLC0415

    assert isinstance(generator, torch.Generator)  # noqa: S101 -- made by the caller above
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                fan_in = layer.weight[0].numel()
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / fan_in))
                layer.bias.zero_()
        # Start by saying "sound" everywhere: most cells are.
        last = net[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None  # noqa: S101, PT018
        last.weight.mul_(0.1)
        last.bias.fill_(-2.0)


def _loss(net: "nn.Sequential", batch: "Tensor", masks: list[Floats | None], settings: HeadSettings) -> "Tensor":
    """Image label by the highest cells, class-balanced; every cell of a sound part; cells of masked defects."""
    import torch  # noqa: PLC0415 -- see above
    from torch.nn import functional  # noqa: PLC0415

    half = len(batch) // 2
    logits = net(batch)[:, 0]
    flat = logits.flatten(1)
    image = flat.topk(settings.top_cells, dim=1).values.mean(1)
    labels = torch.cat([torch.zeros(half), torch.ones(len(batch) - half)])
    loss = functional.binary_cross_entropy_with_logits(image, labels)
    loss = loss + 0.5 * functional.softplus(flat[:half]).mean()
    for place, mask in enumerate(masks):
        if mask is not None:
            goal = torch.from_numpy(mask)
            balance = 1 + 9 * goal
            cell = functional.binary_cross_entropy_with_logits(logits[half + place], goal, weight=balance)
            loss = loss + cell / len(masks)
    return loss


def _noise(shape: Sequence[int], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """What makes sound features of this shape, [n, d, g, g], anomalous: noise, and the random blob that it fills."""
    count, channels, height, width = shape
    rows, columns = np.mgrid[0:height, 0:width]
    centres = rng.uniform(0, 1, (count, 2)) * (height, width)
    radii = rng.uniform(0.8, height / 6, (count, 2))
    blob = (
        ((rows - centres[:, :1, None]) / radii[:, :1, None]) ** 2
        + ((columns - centres[:, 1:, None]) / radii[:, 1:, None]) ** 2
    ) < 1
    # One direction for the whole blob, as a real change of material has, and some noise of each cell's own.
    direction = rng.normal(0, rng.uniform(0.5, 1.5), (count, channels, 1, 1))
    noise = direction.astype(np.float32) + 0.5 * rng.standard_normal((count, channels, height, width), np.float32)
    return noise.astype(np.float32, copy=False), blob.astype(np.float32)


def _noise_of(places: Sequence[int], shape: Sequence[int], seed: int, step: int) -> tuple[Floats, Floats]:
    """The same for some places of a batch, each from a generator of its own: whoever draws it, it is the same."""
    one = (1, *shape[1:])
    each = [_noise(one, np.random.default_rng([seed, step, place])) for place in places]
    return np.concatenate([noise for noise, _ in each]), np.concatenate([blob for _, blob in each])


def _turned(
    batch: "Tensor", goals: list[Floats | None], rng: np.random.Generator
) -> "tuple[Tensor, list[Floats | None]]":
    """Turned over in feature space: not what a turned picture gives, but near enough to learn more from few."""
    for axis in np.flatnonzero(rng.random(2) < 0.5):
        batch = batch.flip(int(axis) + 2)
        goals = [None if goal is None else np.flip(goal, int(axis)).copy() for goal in goals]
    return batch, goals


def _synthetic_loss(net: "nn.Sequential", sound: "Tensor", noise: Floats, blob: Floats) -> "Tensor":
    """Sound features with noise in a random blob: the head must find the blob."""
    import torch  # noqa: PLC0415 -- see above
    from torch.nn import functional  # noqa: PLC0415

    goal = torch.from_numpy(blob)
    changed = sound + torch.from_numpy(noise) * goal[:, None]
    return functional.binary_cross_entropy_with_logits(net(changed)[:, 0], goal, weight=1 + 9 * goal)


def head_logits(head: HeadWeights, features: Features, threads: int = 1) -> Floats:
    """Logits of each grid cell, [n, g, g], by the very operators of the package."""
    writer = GraphWriter()
    channels, height, width = features.shape[1:]
    logits = write_head(writer, head, writer.input("features", FLOAT, ["n", channels, height, width]))
    writer.output("logits", logits, ["n", 1, height, width])
    session = open_session(writer.model("head"), threads)
    chunks = [
        session.run(["logits"], {"features": features[start : start + 16].astype(np.float32)})[0][:, 0]
        for start in range(0, len(features), 16)
    ]
    return np.concatenate(chunks).astype(np.float32)


def write_head(writer: GraphWriter, head: HeadWeights, features: str) -> str:
    """The head behind the features' name, [n, 1, g, g]; the standardisation folds into the first convolution."""
    first = head.kernels[0] / head.spread[None, :, None, None]
    bias = head.biases[0] - (first[:, :, 0, 0] @ head.centre)
    width = len(bias)
    x = writer.op("Relu", [writer.conv(features, first.astype(np.float32), bias.astype(np.float32))])
    x = writer.conv(x, head.kernels[1], head.biases[1], group=width)
    x = writer.op("Relu", [writer.conv(x, head.kernels[2], head.biases[2])])
    return writer.conv(x, head.kernels[3], head.biases[3])

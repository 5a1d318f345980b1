# SPDX-License-Identifier: Apache-2.0
"""What followers do: wait for the leader's commands and do their share, until it says that the training is over.

The steps that leader and followers do together stand here, so that both do the same. Decides nothing. Called by
`leading` and `worker`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.data.looks import Look
from models.data.parts import Picture, read_picture
from models.detectors.base import Features, Floats, TrainingSet
from models.detectors.head import train_head
from models.graphs.features import FeatureExtractor
from models.pace import Pace
from models.settings import Settings

if TYPE_CHECKING:
    # It imports torch, which takes seconds.
    from models.distributed.group import Group

# Pictures of each worker between two meetings: enough that the slower one costs little, few enough that a stop, a lost
# worker and progress are seen soon.
ROUND: Final = 16
# Rows to collect where only what each has used is of interest.
NOTHING: Final = np.zeros(1, np.float16)
EXTRACT: Final = "extract"
LEARN_FROM: Final = "learn-from"
HEAD: Final = "head"
END: Final = "end"


@dataclass(frozen=True)
class Shown:
    """One picture to extract from: a file, and how it is looked at."""

    path: str
    look: Look | None = None


class Decoded:
    """Pictures as a follower decodes them: kept, as many as there is room for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: dict[str, Picture] = {}
        self._room_bytes = settings.max_kept_pixels_bytes

    def read(self, shown: Shown) -> Picture:
        """The whole picture, however it is looked at.

        Raises:
            InputError: it cannot be read here.
        """
        if shown.path in self._kept:
            return self._kept[shown.path]
        pixels = read_picture(Path(shown.path), self._settings)
        if pixels.nbytes <= self._room_bytes:
            self._room_bytes -= pixels.nbytes
            self._kept[shown.path] = pixels
        return pixels


def follow(group: "Group", settings: Settings, *, threads: int) -> None:
    """Do the leader's commands until the end.

    Raises:
        WorkerLostError: the leader, or another follower, is gone.
        InputError: a picture cannot be read here.
    """
    read = Decoded(settings).read
    learnt_from: TrainingSet | None = None

    while True:
        command = group.hear()
        if command[0] == EXTRACT:
            learnt_from = None
            extractor = FeatureExtractor(bytes(group.share(None)), threads=threads)
            for _ in extract_rounds(group, extractor, command[1], read, Pace()):
                pass
        elif command[0] == LEARN_FROM:
            learnt_from = received(group, command[1])
        elif command[0] == HEAD:
            rows, head, seed, has_state = command[1:]
            state = bytes(group.share(None)) if has_state else None
            if learnt_from is None:
                msg = "a head was asked for before there was anything to learn from"
                raise RuntimeError(msg)
            train_head(learnt_from, np.asarray(rows), head, seed=seed, peers=group, keeper=Resumed(state))
            group.collect(NOTHING)
        else:
            return


class Resumed:
    """A follower's keeper: it goes on from what the leader had kept, and keeps nothing."""

    def __init__(self, state: bytes | None) -> None:
        self._state = state

    def kept(self) -> bytes | None:
        """The leader's."""
        return self._state

    def keep(self, content: bytes) -> None:
        """The leader does."""


def extract_rounds(
    group: "Group",
    extractor: FeatureExtractor,
    shown: Sequence[Shown],
    read: Callable[[Shown], Picture],
    pace: Pace,
) -> Iterator[tuple[int, Features]]:
    """Features of all pictures, each worker its share of every round.

    Yields:
        On the leader the number of the first picture and the features of a round, in the order of `shown`; on
        followers nothing that counts.
    """
    for first in range(0, len(shown), ROUND * group.size):
        count = min(ROUND * group.size, len(shown) - first)
        # All the same number, or the shares would have to be told; the last of a round may do one again.
        each = -(-count // group.size)
        places = [min(first + group.rank * each + place, len(shown) - 1) for place in range(each)]

        def pictures(places: Sequence[int] = tuple(places)) -> Iterator[Picture]:
            for place in places:
                pixels = read(shown[place])
                look = shown[place].look
                yield pixels if look is None else look.apply(pixels)

        with pace.computing():
            mine = extractor.extract(pace.drawn(pictures()), each)
        with pace.waiting_for_peers():
            found = group.collect(mine)
        yield first, mine[:0] if found is None else found[:count]


def sent(group: "Group", training: TrainingSet) -> None:
    """The leader's half of `received`."""
    group.tell([LEARN_FROM, _about(training)])
    group.share(training.features)
    if training.extra_features is not None:
        group.share(training.extra_features)


def received(group: "Group", about: dict[str, Any]) -> TrainingSet:
    """What the leader learns heads from."""
    features = group.share(None)
    extra: NDArray[np.float16] | None = group.share(None) if about.pop("has_extra") else None
    return TrainingSet(features=features, extra_features=extra, **about)


def _about(training: TrainingSet) -> dict[str, Any]:
    masks: dict[str, dict[int, Floats]] = {"masks": training.masks, "extra_masks": training.extra_masks}
    return {
        "is_defective": training.is_defective, "groups": training.groups, "extra_rows": training.extra_rows,
        "stages": training.stages, "has_extra": training.extra_features is not None, **masks,
    }  # fmt: skip

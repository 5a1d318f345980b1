# SPDX-License-Identifier: Apache-2.0
"""The leader's side: the steps of a training that are spread over workers, and what becomes of one that is lost.

Where the leader may start followers itself (`local`) a lost one costs the part of the step since its last state: the
group is formed anew, `MOST_LOSSES` times at the most. On a cluster whoever started the group does that, and the
training goes on from its checkpoints. Called by `training`.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import ResourceUsage
from models.data.parts import Picture
from models.detectors.base import Features, TrainingSet
from models.detectors.head import HeadSettings, HeadWeights, StepKeeper, train_head
from models.distributed.following import END, EXTRACT, HEAD, NOTHING, Shown, extract_rounds, sent
from models.errors import WorkerLostError
from models.graphs.features import FeatureExtractor
from models.pace import Pace
from models.wording import counted

if TYPE_CHECKING:
    # It imports torch, which takes seconds: a training of one worker does without.
    from models.distributed.group import Group

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
# Of one training: a machine that loses more is not one to train on.
MOST_LOSSES: Final = 2


class Starter(Protocol):
    """Starts the followers of a leader, and ends them."""

    def start(self) -> "Group":
        """A group that stands, with this process as its leader.

        Raises:
            WorkerLostError: it does not come about; says which worker failed, and how.
        """
        ...

    def end(self) -> None:
        """Whatever is left of the followers."""
        ...

    @property
    def may_restart(self) -> bool:
        """Whether `start` may be called once more."""
        ...

    def used(self, group: "Group | None") -> list[ResourceUsage]:
        """Of the followers that live."""
        ...


def threads_of_each(workers: int, threads: int) -> int:
    """A worker's share of a training's threads."""
    return max(1, threads // workers)


class Gang:
    """See the module. Forms the group when the first step needs it."""

    def __init__(self, starter: Starter, *, workers: int, threads: int, notes: list[str]) -> None:
        """`threads`: of all workers together; `notes`: told of lost workers."""
        self._starter = starter
        self._group: Group | None = None
        self._notes = notes
        self._losses = 0
        self._most_bytes = 0
        # What the followers hold to learn from.
        self._shared: TrainingSet | None = None
        self.workers: Final = workers
        self.threads_each: Final = threads_of_each(workers, threads)

    def extract(
        self,
        front: bytes,
        shown: Sequence[Shown],
        read: Callable[[Shown], Picture],
        check: Callable[[int], None],
        pace: Pace,
    ) -> Features:
        """Features of all pictures by the front, [n, d, g, g], in the order of `shown`.

        Args:
            front: the graph.
            shown: the pictures, at least one; followers read them by their paths.
            read: how the leader gets a picture.
            check: told how many are done; may raise to stop.
            pace: told where the leader's time goes.

        Raises:
            WorkerLostError: too many workers were lost.
        """
        whole: Features | None = None
        done = 0

        def extract(group: "Group") -> Features:
            nonlocal whole, done
            self._shared = None
            rest = shown[done:]
            group.tell([EXTRACT, list(rest)])
            group.share(np.frombuffer(front, np.uint8))
            extractor = FeatureExtractor(front, threads=self.threads_each)
            start = done
            for first, found in extract_rounds(group, extractor, rest, read, pace):
                if whole is None:
                    whole = np.empty((len(shown), *found.shape[1:]), np.float16)
                whole[start + first : start + first + len(found)] = found
                done = start + first + len(found)
                check(done)
            assert whole is not None  # noqa: S101 -- there is at least one picture
            return whole

        return self._together(extract)

    def train_head(
        self,
        training: TrainingSet,
        rows: NDArray[np.int64],
        settings: HeadSettings,
        seed: int,
        *,
        keeper: StepKeeper,
        pace: Pace,
    ) -> HeadWeights:
        """`detectors.head.train_head` with all workers as peers; goes on from what the keeper has.

        Raises:
            WorkerLostError: too many workers were lost.
        """
        share = replace(settings, threads=self.threads_each)

        def train(group: "Group") -> HeadWeights:
            if self._shared is not training:
                sent(group, training)
                self._shared = training
            state = keeper.kept()
            group.tell([HEAD, rows, share, seed, state is not None])
            if state is not None:
                group.share(np.frombuffer(state, np.uint8))
            head = train_head(training, rows, share, seed=seed, peers=group, keeper=keeper, pace=pace)
            # For what each has used by now.
            group.collect(NOTHING)
            return head

        return self._together(train)

    def used(self) -> ResourceUsage:
        """Of the followers that live: CPU time, s; and the most that all of them together held."""
        each = self._starter.used(self._group)
        self._most_bytes = max(self._most_bytes, sum(one.peak_memory_bytes for one in each))
        return ResourceUsage(
            cpu_s=sum(one.cpu_s for one in each), peak_memory_bytes=self._most_bytes, workers=self.workers
        )

    def finish(self) -> None:
        """The training needs its followers no more: they end by themselves."""
        if self._group is None and not self._starter.may_restart:
            # No step needed them, but they are there and wait.
            self._group = self._starter.start()
        if self._group is not None:
            self.used()
            try:
                self._group.tell([END])
            except WorkerLostError as error:
                # All that they did is done.
                _log.warning("workers=%d lost_after_the_last_step=%s", self.workers, error)
        self.close()

    def close(self) -> None:
        """End the followers, wherever they are."""
        self._group = None
        self._shared = None
        self._starter.end()

    def _together(self, step: Callable[["Group"], _T]) -> _T:
        while True:
            try:
                if self._group is None:
                    self._group = self._starter.start()
                return step(self._group)
            except WorkerLostError as error:
                self.close()
                self._losses += 1
                if not self._starter.may_restart:
                    raise
                if self._losses > MOST_LOSSES:
                    raise WorkerLostError(
                        f"workers: lost {counted(self._losses, 'time')}, and at most {MOST_LOSSES} are made good; the "
                        f"last: {error}"
                    ) from error
                self._notes.append(f"workers: the group was formed anew and went on from its last state ({error})")
                _log.warning("workers=%d lost=%d error=%s", self.workers, self._losses, error)


class MemoryKeeper:
    """Keeps a head's state in this process, and beside it where `keep_too` puts it."""

    def __init__(self, state: bytes | None, keep_too: Callable[[bytes], None]) -> None:
        self._state = state
        self._keep_too = keep_too

    def kept(self) -> bytes | None:
        """As kept last."""
        return self._state

    def keep(self, content: bytes) -> None:
        """In place of what was kept."""
        self._state = content
        self._keep_too(content)


def digest_of_features(training: TrainingSet) -> bytes:
    """Of all the numbers that heads learn from."""
    digest = hashlib.sha256(repr((training.features.shape, training.groups)).encode())
    for array in (training.features, training.extra_features):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def name_of_head(features: bytes, rows: NDArray[np.int64], settings: HeadSettings, seed: int) -> str:
    """Under which the state of a head is kept: of all that it rests on. `features`: their digest."""
    digest = hashlib.sha256(features + repr((settings, seed)).encode() + np.ascontiguousarray(rows).tobytes())
    return f"head-{digest.hexdigest()[:16]}.npz"

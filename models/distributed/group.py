# SPDX-License-Identifier: Apache-2.0
"""One worker's place in a group, over torch.distributed: commands, arrays and gradients, always in the order of ranks.

What is added up is added in one order, so that the same job gives the same bytes with the same number of workers. A
worker that is gone ends every wait of the others with `WorkerLostError`. Starts nobody. A head has it as its
`Peers`. Called by `leading` and `following`.
"""

import math
import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from contracts.jobs import ResourceUsage
from models.errors import WorkerLostError
from models.usage import used

# What a step of a group may take before the silent worker counts as lost: far more than a share of pictures does.
PATIENCE_S: Final = 1800.0
# Torch's own bound, which also counts while a follower has nothing to do: the leader may fit for hours.
IDLE_S: Final = 7 * 86_400.0
_LONGEST_SLEEP_S: Final = 0.01
# A killed worker's connection closes a moment before the system says how it ended.
_NEWS_S: Final = 1.0
_Number = TypeVar("_Number", np.float16, np.float64)


def _nothing() -> None:
    """Asked while waiting, where there is nothing to ask."""


class Group:
    """See the module. Torch's default process group must stand; `check` is called while waiting and may raise."""

    def __init__(self, check: Callable[[], None] = _nothing, *, patience_s: float = PATIENCE_S) -> None:
        self._check = check
        self._patience_s = patience_s
        self.rank: Final[int] = dist.get_rank()
        self.size: Final[int] = dist.get_world_size()
        # As the followers said last, by their ranks. Only the leader hears it.
        self.used_by_others: list[ResourceUsage] = []

    def tell(self, command: Sequence[Any]) -> None:
        """The leader's command to all followers; small things only, arrays follow by `share`."""
        self._said(list(command))

    def hear(self) -> list[Any]:
        """The leader's next command. Waits as long as the leader lives."""
        command: list[Any] = self._said(None, patience_s=math.inf)
        return command

    def share(self, array: NDArray[Any] | None) -> NDArray[Any]:
        """The leader's array, on every worker; followers give None."""
        shape, dtype = self._said(None if array is None else (array.shape, array.dtype.str))
        there = np.empty(shape, dtype) if array is None else np.ascontiguousarray(array)
        if not there.flags.writeable:
            # Torch takes no other memory.
            there = there.copy()
        if there.size:
            self._wait(lambda: dist.broadcast(_as_bytes(there), src=0, async_op=True))
        return there

    def _said(self, said: Any, patience_s: float | None = None) -> Any:
        """What the leader says, on every worker; followers give None. Polled, which torch's own is not."""
        content = np.frombuffer(pickle.dumps(said), np.uint8) if self.rank == 0 else np.empty(0, np.uint8)
        length = torch.tensor([content.size])
        self._wait(lambda: dist.broadcast(length, src=0, async_op=True), patience_s)
        there = torch.from_numpy(content.copy()) if self.rank == 0 else torch.empty(int(length), dtype=torch.uint8)
        self._wait(lambda: dist.broadcast(there, src=0, async_op=True))
        return pickle.loads(there.numpy().tobytes())  # noqa: S301 -- of our own leader; torch's own does the same

    def collect(self, rows: NDArray[np.float16]) -> NDArray[np.float16] | None:
        """Rows of all workers one after another in the order of ranks, on the leader; None on followers.

        Each gives an array of the same shape. What each has used so far comes with it.
        """
        said = used()
        header = np.array([[said.cpu_s, said.peak_memory_bytes]], np.float64)
        told, whole = self._gathered(header), self._gathered(np.ascontiguousarray(rows))
        if told is None or whole is None:
            return None
        self.used_by_others = [ResourceUsage(cpu_s=cpu, peak_memory_bytes=int(most)) for cpu, most in told[1:].tolist()]
        return whole

    def _gathered(self, rows: NDArray[_Number]) -> NDArray[_Number] | None:
        whole = np.empty((self.size, *rows.shape), rows.dtype) if self.rank == 0 else None
        parts = None if whole is None else [_as_bytes(part) for part in whole]
        self._wait(lambda: dist.gather(_as_bytes(rows), parts, dst=0, async_op=True))
        return None if whole is None else whole.reshape(-1, *rows.shape[1:])

    def add_up(self, gradients: Sequence[Tensor]) -> None:
        """Replace each by its sum over all workers.

        Each worker adds all parts in the order of ranks: the same bits on every worker and in every run.
        """
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        parts = [torch.empty_like(flat) for _ in range(self.size)]
        self._wait(lambda: dist.all_gather(parts, flat, async_op=True))
        whole = parts[0]
        for part in parts[1:]:
            whole += part
        start = 0
        for gradient in gradients:
            gradient.copy_(whole[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def _wait(self, begin: Callable[[], "dist.Work | None"], patience_s: float | None = None) -> None:
        """Until it is done; asks meanwhile, so that a request to stop and a lost worker are seen at once."""
        work, patience_s = self._begun(begin), self._patience_s if patience_s is None else patience_s
        sleep_s, until_s = 0.0001, time.monotonic() + patience_s
        while not work.is_completed():
            self._check()
            if time.monotonic() > until_s:
                raise WorkerLostError(
                    f"workers: expected an answer of all {self.size} within {patience_s:.0f} s, got none; "
                    "a worker hangs or its machine is gone; look there and start the training again"
                )
            time.sleep(sleep_s)
            sleep_s = min(_LONGEST_SLEEP_S, sleep_s * 1.2)
        self._guarded(work.wait)

    def _begun(self, begin: Callable[[], "dist.Work | None"]) -> "dist.Work":
        work: list[dist.Work | None] = [None]

        def call() -> None:
            work[0] = begin()

        self._guarded(call)
        assert work[0] is not None  # noqa: S101 -- every worker of the group calls it
        return work[0]

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (RuntimeError, ValueError) as error:
            until_s = time.monotonic() + _NEWS_S
            while time.monotonic() < until_s:
                # It knows better who is gone, and how.
                self._check()
                time.sleep(0.05)
            reason = " ".join(str(error).split())[:200]
            raise WorkerLostError(
                f"workers: one of {self.size} is gone, by the word of worker {self.rank} ({reason}); start the "
                "training again, with is_resumable it goes on from its steps"
            ) from error


def _as_bytes(array: NDArray[Any]) -> Tensor:
    """The same memory: gloo knows no half precision."""
    return torch.from_numpy(array.reshape(-1).view(np.uint8))

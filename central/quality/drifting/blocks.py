# SPDX-License-Identifier: Apache-2.0
"""Parts into blocks of 30 with winsorised means, each product by itself; what comes in is checked here.

Winsorised, because some parts are defective and a few more of them are not drift: in a block of 30 the three
lowest and the three highest values count as their neighbours. Blocks do not depend on how many parts come at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CHANNELS: Final = ("score", "brightness", "contrast", "blur", "colour")
BLOCK_PARTS: Final = 30
_CUT: Final = 3
# Products with a block that is not full; beyond that the parts that have waited longest are dropped.
_MOST_OPEN: Final = 1_000


@dataclass(frozen=True)
class Parts:
    """Parts that passed the checks.

    Attributes:
        at: seconds since the epoch, UTC, never falling; float [n].
        code: row of `names` for each part; int [n].
        names: products, each once.
        value: raw channels in the order of `CHANNELS`; float [n, 5].
    """

    at: Floats
    code: NDArray[np.intp]
    names: tuple[str, ...]
    value: Floats


@dataclass(frozen=True)
class Block:
    """30 parts of one product.

    Attributes:
        began, ended: capture times of the first and the last part, seconds since the epoch.
        middle: mean capture time.
        mean, spread: winsorised mean and width between the cuts, score as logarithm; float [5].
    """

    product: str
    began: float
    ended: float
    middle: float
    mean: Floats
    spread: Floats


@dataclass
class Blocks:
    """Parts of each product that do not fill a block yet; fewer than 30 each."""

    at: dict[str, Floats] = field(default_factory=dict)
    value: dict[str, Floats] = field(default_factory=dict)

    def add(self, parts: Parts) -> list[Block]:
        """The blocks that these parts complete, in the order in which they are completed."""
        found: list[tuple[int, Block]] = []
        for code, name in enumerate(parts.names):
            row = np.flatnonzero(parts.code == code) if len(parts.names) > 1 else np.arange(len(parts.at))
            kept = self.at.get(name)
            held = 0 if kept is None else len(kept)
            at, value = parts.at[row], parts.value[row]
            if kept is not None:
                at, value = np.concatenate((kept, at)), np.concatenate((self.value[name], value))
            whole = len(at) // BLOCK_PARTS
            if len(at) > whole * BLOCK_PARTS:
                self.at[name], self.value[name] = at[whole * BLOCK_PARTS :].copy(), value[whole * BLOCK_PARTS :].copy()
            else:
                self._forget(name)
            if whole == 0:
                continue
            times = at[: whole * BLOCK_PARTS].reshape(whole, BLOCK_PARTS)
            mean, spread = winsorised(value[: whole * BLOCK_PARTS])
            middle = times.mean(1)
            for each in range(whole):
                last = int(row[(each + 1) * BLOCK_PARTS - held - 1])
                block = Block(
                    name, float(times[each, 0]), float(times[each, -1]), float(middle[each]), mean[each], spread[each]
                )
                found.append((last, block))
        while len(self.at) > _MOST_OPEN:
            self._forget(min(self.at, key=lambda name: (self.at[name][0], name)))
        if len(parts.names) > 1:
            found.sort(key=lambda one: one[0])
        return [block for _, block in found]

    def _forget(self, product: str) -> None:
        self.at.pop(product, None)
        self.value.pop(product, None)


def winsorised(value: Floats) -> tuple[Floats, Floats]:
    """Mean and width of each block of 30.

    Args:
        value: raw channels, float [30 k, 5]; the score's logarithm is taken here.

    Returns:
        mean and spread, float [k, 5] each.
    """
    value = np.array(value, order="C")
    value[:, 0] = np.log(np.ascontiguousarray(value[:, 0]))
    ordered = np.sort(value.reshape(-1, BLOCK_PARTS, len(CHANNELS)).transpose(0, 2, 1), axis=2)
    low, high = ordered[:, :, _CUT], ordered[:, :, -_CUT - 1]
    # Added one after the other: the sum must not depend on how many blocks come at once.
    total = _CUT * (low + high)
    for column in range(_CUT, BLOCK_PARTS - _CUT):
        total = total + ordered[:, :, column]
    return total / BLOCK_PARTS, high - low


def check_one(at: float, product: str, channels: Mapping[str, float]) -> Parts:
    """One part, checked.

    Raises:
        ValueError: as `check`.
    """
    if set(channels) != set(CHANNELS):
        _refuse_names(channels)
    row = [channels[name] for name in CHANNELS]
    if not all(isinstance(each, int | float | np.number) for each in (at, *row)):
        raise ValueError(f"drift: expected numbers as time and channels, got {at!r} and {dict(channels)!r}")
    if not (math.isfinite(at) and all(map(math.isfinite, row)) and row[0] > 0 and isinstance(product, str) and product):
        return check([at], [product], {name: [value] for name, value in channels.items()})
    return Parts(np.array([at], float), np.zeros(1, np.intp), (product,), np.array([row], float))


def check(at: Any, product: Any, channels: Mapping[str, Any]) -> Parts:
    """Parts, checked.

    Args:
        at: seconds since the epoch, never falling; float [n].
        product: str [n].
        channels: float [n] for each of `CHANNELS`, the score above 0.

    Raises:
        ValueError: anything else; says which part, what was expected and what came. Nothing was taken over.
    """
    if set(channels) != set(CHANNELS):
        _refuse_names(channels)
    times = _numbers("at", at)
    count = len(times)
    value = np.empty((count, len(CHANNELS)))
    for column, name in enumerate(CHANNELS):
        given = _numbers(name, channels[name])
        if len(given) != count:
            raise ValueError(f"drift: expected {count} values of {name}, one for each time, got {len(given)}")
        value[:, column] = given
    if count and value[:, 0].min() <= 0:
        where = int(np.argmax(value[:, 0] <= 0))
        raise ValueError(
            f"drift: expected scores above 0, got {value[where, 0]} at part {where}; its logarithm is taken"
        )
    if count and (back := np.flatnonzero(np.diff(times) < 0)).size:
        where = int(back[0]) + 1
        raise ValueError(
            f"drift: expected times that never go back, got {times[where]} after {times[where - 1]} at part {where};"
            " sort the parts by capture time"
        )
    code, names = _products(product, count)
    return Parts(times, code, names, value)


def _refuse_names(channels: Mapping[str, Any]) -> None:
    missing = [name for name in CHANNELS if name not in channels]
    unknown = sorted(set(map(str, channels)) - set(CHANNELS))
    raise ValueError(
        f"drift: expected the channels {', '.join(CHANNELS)}; missing {', '.join(missing) or 'none'},"
        f" unknown {', '.join(unknown) or 'none'}. A channel that a camera lacks is given as a constant"
    )


def _numbers(name: str, given: Any) -> Floats:
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"drift: expected numbers as {name}, got {type(given).__name__}: {error}") from error
    if numbers.ndim != 1:
        raise ValueError(f"drift: expected {name} of one dimension [n], got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        where = int(np.argmin(np.isfinite(numbers)))
        raise ValueError(f"drift: expected finite {name}, got {numbers[where]} at part {where}; leave such parts out")
    return numbers


def _products(given: Any, count: int) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    is_list = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
    if not is_list:
        raise ValueError(f"drift: expected a product for each part, str [n], got {type(given).__name__}")
    names = np.asarray(given)
    if names.shape != (count,):
        raise ValueError(f"drift: expected {count} products, one for each time, got shape {names.shape}")
    if count == 0:
        return np.zeros(0, np.intp), ()
    if names.dtype.kind not in "UO":
        raise ValueError(f"drift: expected products as str, got {names.dtype}")
    starts = np.concatenate(([0], np.flatnonzero(names[1:] != names[:-1]) + 1))
    heads = [names[start] for start in starts]
    if not all(isinstance(head, str) and head for head in heads):
        odd = next(head for head in heads if not (isinstance(head, str) and head))
        raise ValueError(f"drift: expected products as non-empty str, got {odd!r}")
    codes: dict[str, int] = {}
    of_head = [codes.setdefault(str(head), len(codes)) for head in heads]
    return np.repeat(np.array(of_head, np.intp), np.diff(np.append(starts, count))), tuple(codes)

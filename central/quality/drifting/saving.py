# SPDX-License-Identifier: Apache-2.0
"""A drift monitor as bytes and back; what is read is checked before anything relies on it."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from central.quality.drifting.blocks import BLOCK_PARTS, CHANNELS, Blocks
from central.quality.drifting.collecting import Collecting
from central.quality.drifting.detector import SIZES, Detector
from central.quality.drifting.reference import SLOW_BLOCKS, Normal
from central.quality.drifting.state import from_bytes, take, to_bytes
from central.quality.drifting.watching import RECENT_FAST, RECENT_SLOW, Level, WarmUp, Watching
from central.quality.drifting.whitening import Whitening

Arrays = dict[str, NDArray[Any]]
Monitor = tuple[dict[str, float], float, Blocks, Collecting, Watching | None]

_KIND: Final = "drift monitor"
_VERSION: Final = 1
_C: Final = len(CHANNELS)
_NORMAL: Final = {
    "floor": (_C,),
    "harmonics": (4, _C),
    "fast_band": (_C,),
    "slow_band": (_C,),
    "slow_sd": (_C,),
    "spread": (_C,),
}
_SERIES: Final = (("recent_at", "recent", RECENT_FAST), ("hours_at", "hours", RECENT_SLOW))
_PAIRS: Final = ("fast_evidence", "slow_evidence")


def save(
    settings: dict[str, float], last_at: float, blocks: Blocks, collecting: Collecting, watching: Watching | None
) -> bytes:
    """All of a monitor."""
    partial = sorted(blocks.at)
    header: dict[str, Any] = {
        "settings": settings,
        "last_at": last_at if np.isfinite(last_at) else None,
        "partial": {name: len(blocks.at[name]) for name in partial},
        "collecting": {
            "names": collecting.names, "notes": collecting.notes, "hour": collecting.hour,
            "of_hour": collecting.of_hour, "closed": collecting.closed, "tried_hour": collecting.tried_hour,
        },
    }  # fmt: skip
    arrays: Arrays = {
        "partial_at": np.concatenate([np.zeros(0), *(blocks.at[name] for name in partial)]),
        "partial_value": np.concatenate([np.zeros((0, _C)), *(blocks.value[name] for name in partial)]),
        "code": np.array(collecting.code, np.int64), "began": np.array(collecting.began, float),
        "ended": np.array(collecting.ended, float), "middle": np.array(collecting.middle, float),
        "mean": np.array(collecting.mean, float).reshape(-1, _C),
        "spread": np.array(collecting.spread, float).reshape(-1, _C),
    }  # fmt: skip
    if watching is not None:
        header["watching"] = _save_watching(watching, arrays)
    return to_bytes(_KIND, _VERSION, header, arrays)


def load(blob: bytes) -> Monitor:
    """What `save` was given.

    Raises:
        ValueError: other bytes, another version, or contents that do not fit together.
    """
    header, arrays = from_bytes(_KIND, _VERSION, blob)
    try:
        settings = {name: float(header["settings"][name]) for name in ("reference_days", "false_alarms_per_30_days")}
        last_at = -np.inf if header["last_at"] is None else float(header["last_at"])
        collecting = _load_collecting(header["collecting"], arrays, settings["reference_days"])
        watching = _load_watching(header["watching"], arrays) if "watching" in header else None
        return settings, last_at, _load_blocks(header["partial"], arrays), collecting, watching
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"{_KIND}: expected what to_bytes gave, something is missing: {error!r}") from error


def _save_watching(watching: Watching, arrays: Arrays) -> dict[str, Any]:
    normal = watching.normal
    for name in _NORMAL:
        arrays[f"normal_{name}"] = getattr(normal, name)
    arrays["normal_is_log"], arrays["normal_is_watched"] = normal.is_log, normal.is_watched
    for name, whitening in (("fast", normal.fast), ("slow", normal.slow)):
        arrays[f"{name}_phi"], arrays[f"{name}_sd"] = whitening.phi, whitening.sd
        detector: Detector = getattr(watching, name)
        for part in ("value", "best", "onset", "starts"):
            arrays[f"{name}_{part}"] = getattr(detector, part)
    for name in ("history", "doubts", "summed", "shift", "back", *_PAIRS):
        arrays[f"now_{name}"] = getattr(watching, name)
    for at, series, _ in _SERIES:
        arrays[at], arrays[series] = getattr(watching, at), getattr(watching, series)
    names = sorted(set(watching.recent_product))
    arrays["recent_code"] = np.array([names.index(name) for name in watching.recent_product], np.int64)
    if watching.slow_history is not None:
        arrays["slow_history"] = watching.slow_history
    for held, name in ((watching.products, "product"), (watching.warming, "warming")):
        arrays[f"{name}_level"] = np.array([each.level for each in held.values()], float).reshape(-1, _C)
    arrays["product_scale"] = np.array([each.scale for each in watching.products.values()], float).reshape(-1, _C)
    arrays["warming_spread"] = np.array([each.spread for each in watching.warming.values()], float).reshape(-1, _C)
    return {
        "threshold": watching.threshold, "last_ended": watching.last_ended, "filled": watching.filled,
        "summed_count": watching.summed_count, "summed_from": watching.summed_from, "summed_s": watching.summed_s,
        "is_pending": watching.is_pending, "normal_blocks": normal.blocks,
        "products": {name: each.blocks for name, each in watching.products.items()},
        "warming": {name: each.blocks for name, each in watching.warming.items()},
        "recent_names": names,
    }  # fmt: skip


def _load_blocks(counts: dict[str, int], arrays: Arrays) -> Blocks:
    total = sum(counts.values())
    at, value = take(arrays, "partial_at", (total,)), take(arrays, "partial_value", (total, _C))
    blocks, first = Blocks(), 0
    for name, count in counts.items():
        if not 0 < count < BLOCK_PARTS:
            raise ValueError(f"{_KIND}: expected 1 to {BLOCK_PARTS - 1} parts of an open block, got {count}")
        blocks.at[name], blocks.value[name] = at[first : first + count], value[first : first + count]
        first += count
    return blocks


def _load_collecting(header: dict[str, Any], arrays: Arrays, days: float) -> Collecting:
    code = take(arrays, "code", (None,), "i")
    count = len(code)
    names = [str(name) for name in header["names"]]
    if count and not 0 <= int(code.min()) <= int(code.max()) < len(names):
        raise ValueError(f"{_KIND}: expected product codes of 0 to {len(names) - 1}, got {code.min()} to {code.max()}")
    times = {name: take(arrays, name, (count,)).tolist() for name in ("ended", "middle")}
    began = take(arrays, "began", (None,)).tolist()
    mean, spread = (list(take(arrays, name, (count, _C))) for name in ("mean", "spread"))
    if len(began) < count:
        raise ValueError(f"{_KIND}: expected {count} times, got {len(began)}")
    return Collecting(
        days, names, code.tolist(), began, times["ended"], times["middle"], mean, spread,
        [str(note) for note in header["notes"]], int(header["hour"]), int(header["of_hour"]), int(header["closed"]),
        int(header["tried_hour"]),
    )  # fmt: skip


def _load_watching(header: dict[str, Any], arrays: Arrays) -> Watching:
    whitenings: dict[str, Any] = {}
    detectors: dict[str, Any] = {}
    for name in ("fast", "slow"):
        phi, sd = take(arrays, f"{name}_phi", (None, _C)), take(arrays, f"{name}_sd", (_C,))
        if not (len(phi) and (sd > 0).all()):
            raise ValueError(f"{_KIND}: expected predictors with scatter above 0")
        whitenings[name] = Whitening(phi, sd)
        shape = (_C, 2, len(SIZES))
        detectors[name] = Detector(
            whitenings[name].signature, sd, take(arrays, f"{name}_value", (len(phi) + 1, *shape)),
            take(arrays, f"{name}_best", shape), take(arrays, f"{name}_onset", shape),
            take(arrays, f"{name}_starts", (len(phi),)),
        )  # fmt: skip
    given: dict[str, Any] = {name: take(arrays, f"normal_{name}", shape) for name, shape in _NORMAL.items()}
    flags: dict[str, Any] = {name: take(arrays, f"normal_{name}", (_C,), "b") for name in ("is_log", "is_watched")}
    normal = Normal(**given, **flags, **whitenings, blocks=int(header["normal_blocks"]))
    series: dict[str, Any] = {}
    for at, name, most in _SERIES:
        series[at] = take(arrays, at, (None,))
        series[name] = take(arrays, name, (len(series[at]), _C))
        if len(series[at]) > most:
            raise ValueError(f"{_KIND}: expected at most {most} rows of {name}, got {len(series[at])}")
    series["recent_product"] = _recent_products(header, arrays, len(series["recent_at"]))
    order = len(normal.fast.phi)
    now: dict[str, Any] = {name: take(arrays, f"now_{name}", (_C,)) for name in ("summed", "shift")}
    if not 0 <= int(header["summed_count"]) < SLOW_BLOCKS:
        raise ValueError(f"{_KIND}: expected fewer than {SLOW_BLOCKS} blocks in the open slow one")
    return Watching(
        normal, float(header["threshold"]), _products(header["products"], arrays), _warming(header["warming"], arrays),
        **detectors, **series, **now, last_ended=float(header["last_ended"]),
        history=take(arrays, "now_history", (order, _C)), doubts=take(arrays, "now_doubts", (order,)),
        filled=int(header["filled"]), summed_count=int(header["summed_count"]),
        summed_from=float(header["summed_from"]), summed_s=float(header["summed_s"]),
        slow_history=take(arrays, "slow_history", (_C,)) if "slow_history" in arrays else None,
        back=take(arrays, "now_back", (_C,), "i"), is_pending=bool(header["is_pending"]),
        fast_evidence=take(arrays, "now_fast_evidence", (_C, 2)),
        slow_evidence=take(arrays, "now_slow_evidence", (_C, 2)),
    )  # fmt: skip


def _recent_products(header: dict[str, Any], arrays: Arrays, count: int) -> list[str]:
    if "recent_code" not in arrays:
        # Bytes of before it was kept: blocks of no product, which are gone after 240 more.
        return [""] * count
    code, names = take(arrays, "recent_code", (count,), "i"), [str(name) for name in header["recent_names"]]
    if count and not 0 <= int(code.min()) <= int(code.max()) < len(names):
        raise ValueError(f"{_KIND}: expected product codes of 0 to {len(names) - 1}, got {code.min()} to {code.max()}")
    return [names[each] for each in code]


def _products(counts: dict[str, int], arrays: Arrays) -> dict[str, Level]:
    level, scale = (take(arrays, f"product_{name}", (len(counts), _C)) for name in ("level", "scale"))
    return {name: Level(level[row], scale[row], int(count)) for row, (name, count) in enumerate(counts.items())}


def _warming(counts: dict[str, int], arrays: Arrays) -> dict[str, WarmUp]:
    level, spread = (take(arrays, f"warming_{name}", (len(counts), _C)) for name in ("level", "spread"))
    return {name: WarmUp(level[row], spread[row], int(count)) for row, (name, count) in enumerate(counts.items())}

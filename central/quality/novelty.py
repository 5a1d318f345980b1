# SPDX-License-Identifier: Apache-2.0
"""Do unusual parts become more frequent among those that were accepted? Finds a new defect kind that scores low.

Pure: embeddings in, signals out, time is a parameter. Does not say what is unusual, judges no part and knows no
labels: it tells people where to audit. One monitor for each station and package: another package embeds otherwise.
"""

import math
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from central.quality import directions
from central.quality.drifting.state import from_bytes, take, to_bytes
from central.quality.novelty_counts import BLOCK, SPAN_BLOCKS, NoveltySignal, NoveltyStanding, usual_shares

__all__ = ["NoveltyMonitor", "NoveltySignal", "NoveltyStanding"]

Floats = NDArray[np.float64]

_KIND: Final = "novelty monitor"
_VERSION: Final = 1
_PERIOD_S: Final = 30 * 86_400.0
_STOP_S: Final = 600.0
_MOST_DIMENSIONS: Final = 1_024
# Shares of the reference that count as unusual, and how many times as frequent they may become.
_SHARES: Final = (0.01, 0.003, 0.001, 0.0003)
_TOWARDS: Final = len(directions.SHARES)
_ROWS: Final = len(_SHARES) + _TOWARDS
_TIMES: Final = (1.5, 2.5, 5.0, 15.0)
# The first part of the reference teaches the middle and the shape, the rest how far parts lie from it.
_SHAPE_SHARE: Final = 0.4
# By then the sample is complete; the rest is also a trial of the direction on parts that are known to be usual.
_SAMPLE_SHARE: Final = 0.6
_FAR_SHARE: Final = 0.01
_LEAST_RING: Final = 20
_RECENT_BLOCKS: Final = 80


class NoveltyMonitor:
    """Counts accepted parts that lie far from the accepted ones of the reference, in any direction and in one.

    At four distances whatever the direction; and along the direction in which the latest unusual parts crowd, at two
    limits taken from the reference. What that direction usually finds is tried on the last part of the reference.

    Distance: squared Mahalanobis (1936). Count: blocks of 250 accepted parts, likelihood ratio of a Poisson rate of
    1.5, 2.5, 5 and 15 times what is usual, summed over starts (Shiryaev–Roberts e-detector, Shin, Ramdas and Rinaldo
    2022) and mixed. "Usual" is the upper 95 % bound of the reference's share and a tenth more, and the ratio is
    tempered by how much the counts of the reference scatter beyond Poisson; while a station stays within that, the mean
    time to a false alarm is at least what was asked for. No distribution of the embeddings is assumed: how far is far,
    is the reference's own.

    After a signal the raised rate counts as usual, until it was down for 20,000 accepted parts.

    Args:
        reference_parts: accepted parts to learn from, 20,000 to 5,000,000.
        false_alarms_per_30_days: above 0, 100 at most.

    Raises:
        ValueError: either out of range.
    """

    def __init__(self, reference_parts: int = 200_000, false_alarms_per_30_days: float = 1.0) -> None:
        if (
            isinstance(reference_parts, bool)
            or reference_parts != int(reference_parts)
            or not (20_000 <= reference_parts <= 5_000_000)
        ):
            raise ValueError(
                f"novelty: expected a reference of 20000 to 5000000 accepted parts, got {reference_parts};"
                " fewer are too short to know what is rare"
            )
        if not 0 < false_alarms_per_30_days <= 100:
            raise ValueError(
                f"novelty: expected more than 0 and at most 100 false alarms, got {false_alarms_per_30_days}"
            )
        self._reference_blocks = int(reference_parts) // BLOCK
        self._shape_blocks = int(self._reference_blocks * _SHAPE_SHARE)
        self._sample_blocks = int(self._reference_blocks * _SAMPLE_SHARE)
        self._settings = {
            "reference_parts": int(reference_parts), "false_alarms_per_30_days": float(false_alarms_per_30_days)
        }  # fmt: skip
        self._threshold = _PERIOD_S / false_alarms_per_30_days
        self._dimensions = 0
        self._last_at = -math.inf
        self._ended = math.nan
        self._blocks = 0
        self._notes: list[str] = []
        cells = (_ROWS, len(_TIMES))
        # Open block; sums of the shape; distances; then what watches.
        self._now: dict[str, Floats] = {
            "open_at": np.zeros(0), "open": np.zeros((0, 0)), "centre": np.zeros(0), "sum": np.zeros(0),
            "square": np.zeros((0, 0)), "whiten": np.zeros((0, 0)), "distance": np.zeros(0),
            "beyond": np.zeros(_ROWS), "share": np.zeros(_ROWS), "usual": np.zeros(_ROWS), "scatter": np.ones(_ROWS),
            "raised": np.zeros(_ROWS), "value": np.zeros(cells), "best": np.zeros(cells), "onset": np.zeros(cells),
            "recent_at": np.zeros(0), "recent": np.zeros((0, _ROWS)), "sample": np.zeros((0, 0)),
            "ring": np.zeros((0, 0)), "axis": np.zeros(0), "far": np.zeros(1), "trial": np.zeros((0, _TOWARDS)),
        }  # fmt: skip

    @property
    def is_ready(self) -> bool:
        """Whether the reference is complete."""
        return self._blocks >= self._reference_blocks

    @property
    def notes(self) -> tuple[str, ...]:
        """What was too short or odd about the reference."""
        if self.is_ready:
            return tuple(self._notes)
        had, wanted = self._blocks * BLOCK, self._reference_blocks * BLOCK
        return (*self._notes, f"too short so far: {had} of {wanted} accepted parts")

    def update_many(self, at: Floats, embedding: Floats, accepted: NDArray[np.bool_]) -> list[NoveltySignal]:
        """Many parts in the order of their time; in how many calls they come makes no difference.

        Args:
            at: capture times, seconds since the epoch, UTC, never falling; float [n].
            embedding: of the package in use, the same d in each call, 1 to 1,024; float [n, d].
            accepted: whether the part was passed; others are left out. bool [n].

        Returns:
            signals in the order in which they were raised; none before the reference is complete.

        Raises:
            ValueError: other shapes, NaN, a time that goes back, fewer than ten reference parts for each dimension.
                Nothing was taken over.
        """
        times, points, passed = self._checked(at, embedding, accepted)
        if not len(times):
            return []
        if self._dimensions == 0:
            self._begin(points.shape[1])
        self._last_at = float(times[-1])
        now = self._now
        open_at = np.concatenate((now["open_at"], times[passed]))
        waiting = np.concatenate((now["open"], points[passed]))
        whole = len(open_at) // BLOCK * BLOCK
        found = [
            signal
            for first in range(0, whole, BLOCK)
            if (signal := self._block(open_at[first : first + BLOCK], waiting[first : first + BLOCK])) is not None
        ]
        now["open_at"], now["open"] = open_at[whole:].copy(), waiting[whole:].copy()
        return found

    def standing(self, since: float) -> NoveltyStanding | None:
        """How often unusual parts come, raised or not; changes nothing. None: the reference is not complete.

        Args:
            since: seconds since the epoch, UTC.
        """
        if not self.is_ready:
            return None
        counted = self._now["recent"][self._now["recent_at"] >= since][:, 0]
        before = self._counted(is_crowded=False)
        usual = round(float(self._now["share"][0]) * before)
        return NoveltyStanding(usual, before, round(float(counted.sum())), len(counted) * BLOCK)

    def distances(self, embedding: Floats) -> Floats:
        """Squared Mahalanobis distances [n] of embeddings [n, d] from the reference; zeros before that is known."""
        points = np.asarray(embedding, np.float64)
        if self._blocks < self._shape_blocks or points.shape[1:] != (self._dimensions,):
            return np.zeros(len(points))
        white = (points - self._now["centre"]) @ self._now["whiten"]
        found: Floats = (white**2).sum(1)
        return found

    def to_bytes(self) -> bytes:
        """All that it knows, without pickle; `from_bytes` goes on exactly from here."""
        header = {
            "settings": self._settings, "dimensions": self._dimensions, "blocks": self._blocks, "notes": self._notes,
            "last_at": self._last_at if math.isfinite(self._last_at) else None,
            "ended": self._ended if math.isfinite(self._ended) else None,
        }  # fmt: skip
        return to_bytes(_KIND, _VERSION, header, self._now)

    @classmethod
    def from_bytes(cls, blob: bytes) -> Self:
        """The monitor that gave these bytes.

        Raises:
            ValueError: others, or of another version; start a new monitor.
        """
        header, arrays = from_bytes(_KIND, _VERSION, blob)
        try:
            monitor = cls(**header["settings"])
            monitor._dimensions, monitor._blocks = int(header["dimensions"]), int(header["blocks"])
            monitor._notes = [str(note) for note in header["notes"]]
            monitor._last_at = -math.inf if header["last_at"] is None else float(header["last_at"])
            monitor._ended = math.nan if header["ended"] is None else float(header["ended"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{_KIND}: expected what to_bytes gave, something is missing: {error!r}") from error
        d, rows, cells = monitor._dimensions, (_ROWS,), (_ROWS, len(_TIMES))
        opened, recent = len(arrays.get("open_at", ())), len(arrays.get("recent_at", ()))
        shapes: dict[str, tuple[int | None, ...]] = {
            "open_at": (None,), "open": (opened, d), "centre": (d,), "sum": (d,), "square": (d, d), "whiten": (d, d),
            "distance": (None,), "beyond": rows, "share": rows, "usual": rows, "scatter": rows, "raised": rows,
            "value": cells, "best": cells, "onset": cells, "recent_at": (None,), "recent": (recent, _ROWS),
            "sample": (None, d), "ring": (None, d), "axis": (d,), "far": (1,), "trial": (None, _TOWARDS),
        }  # fmt: skip
        if not 0 <= d <= _MOST_DIMENSIONS or opened >= BLOCK or recent > _RECENT_BLOCKS:
            raise ValueError(f"{_KIND}: expected fewer parts or dimensions, got {opened}, {recent} and {d}")
        monitor._now = {name: take(arrays, name, shape) for name, shape in shapes.items()}
        return monitor

    def _checked(self, at: Any, embedding: Any, accepted: Any) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        try:
            times, points = np.asarray(at, np.float64), np.asarray(embedding, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"novelty: expected numbers as times and embeddings: {error}") from error
        passed = np.asarray(accepted)
        count = times.size
        if times.ndim != 1 or points.ndim != 2 or len(points) != count or passed.shape != (count,):
            raise ValueError(
                f"novelty: expected at [n], embedding [n, d], accepted [n], got {times.shape}, {points.shape},"
                f" {passed.shape}"
            )
        if passed.dtype != np.bool_ and count:
            raise ValueError(f"novelty: expected accepted as bool, got {passed.dtype}")
        d = points.shape[1]
        if (count and not 1 <= d <= _MOST_DIMENSIONS) or (self._dimensions and count and d != self._dimensions):
            raise ValueError(
                f"novelty: expected embeddings of {self._dimensions or f'1 to {_MOST_DIMENSIONS}'} dimensions, got {d};"
                " another package needs a monitor of its own"
            )
        if count and self._shape_blocks * BLOCK < 10 * d:
            raise ValueError(f"novelty: {d} dimensions need a reference of at least {25 * d} parts, which is too short")
        if not (np.isfinite(times).all() and np.isfinite(points).all()):
            raise ValueError("novelty: expected finite times and embeddings, got NaN or infinity; leave such parts out")
        if count and (times[0] < self._last_at or (np.diff(times) < 0).any()):
            raise ValueError("novelty: expected times that never go back; sort the parts by capture time")
        return times, points, passed.astype(np.bool_)

    def _begin(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._now["open"] = np.zeros((0, dimensions))
        self._now["centre"], self._now["sum"] = np.zeros(dimensions), np.zeros(dimensions)
        self._now["sample"], self._now["ring"] = np.zeros((0, dimensions)), np.zeros((0, dimensions))
        self._now["axis"] = np.zeros(dimensions)
        self._now["square"], self._now["whiten"] = (
            np.zeros((dimensions, dimensions)),
            np.zeros((dimensions, dimensions)),
        )

    def _block(self, at: Floats, points: Floats) -> NoveltySignal | None:
        now = self._now
        points = np.ascontiguousarray(points)
        seconds = min(max(float(at[-1]) - (self._ended if math.isfinite(self._ended) else float(at[0])), 1e-3), _STOP_S)
        self._ended = float(at[-1])
        self._blocks += 1
        if self._blocks == 1:
            now["centre"] = points.mean(0)
        centred = points - now["centre"]
        if self._blocks <= self._shape_blocks:
            now["sum"] = now["sum"] + centred.sum(0)
            now["square"] = now["square"] + centred.T @ centred
            if self._blocks == self._shape_blocks:
                self._shape()
            return None
        white = centred @ now["whiten"]
        distance = (white**2).sum(1)
        if self._blocks <= self._sample_blocks:
            stride = max(
                1, (self._sample_blocks - self._shape_blocks) * BLOCK // directions.sample_size(len(now["axis"]))
            )
            now["sample"] = np.concatenate((now["sample"], white[::stride]))
        if self._blocks == self._sample_blocks:
            now["far"] = np.array([np.quantile(np.append(now["distance"], distance), 1 - _FAR_SHARE)])
        towards = self._towards(white, distance) if self._blocks > self._sample_blocks else None
        if self._blocks <= self._reference_blocks:
            now["distance"] = np.concatenate((now["distance"], distance))
            if towards is not None:
                now["trial"] = np.concatenate((now["trial"], towards[None]))
            if self._blocks == self._reference_blocks:
                self._learn()
            return None
        counts = (distance[:, None] > now["beyond"][:-_TOWARDS]).sum(0).astype(float)
        return self._count(np.append(counts, np.zeros(_TOWARDS) if towards is None else towards), float(at[0]), seconds)

    def _towards(self, white: Floats, distance: Floats) -> Floats | None:
        """How many lie far along the direction that earlier parts chose, float [2]; then let these choose too."""
        now = self._now
        found = None
        if now["axis"].any():
            found = ((white @ now["axis"])[:, None] > now["beyond"][-_TOWARDS:]).sum(0).astype(float)
        now["ring"] = directions.add(now["ring"], white[distance > now["far"][0]])
        if self._blocks % SPAN_BLOCKS == 0 and len(now["ring"]) >= _LEAST_RING:
            now["axis"] = directions.direction(now["ring"])
            now["beyond"][-_TOWARDS:] = directions.limits(now["sample"], now["axis"])
        return found

    def _shape(self) -> None:
        now, parts = self._now, self._shape_blocks * BLOCK
        mean = now["sum"] / parts
        covariance = now["square"] / parts - np.outer(mean, mean)
        now["centre"] = now["centre"] + mean
        variance, axes = np.linalg.eigh(covariance)
        # Directions in which the reference does not vary must not make every later part infinitely far.
        least = max(1e-6 * float(variance.max()), 1e-300)
        now["whiten"] = axes / np.sqrt(np.maximum(variance, least))

    def _learn(self) -> None:
        now = self._now
        distance = now["distance"]
        now["beyond"][:-_TOWARDS] = np.quantile(distance, [1 - share for share in _SHARES])
        far = (distance.reshape(-1, BLOCK)[:, :, None] > now["beyond"][:-_TOWARDS]).sum(1).astype(float)
        half = len(far) // 2
        early, late = far[:half].sum(0), far[half:].sum(0)
        odd = (np.abs(late - early) > 5 * np.sqrt(early + late + 1)) & (
            np.maximum(early, late) > 1.5 * np.minimum(early, late)
        )
        if odd.any():
            self._notes.append(
                f"odd: unusual parts went from {early[odd][0]:.0f} to {late[odd][0]:.0f} between its halves"
            )
        for rows, counts in ((slice(None, -_TOWARDS), far), (slice(-_TOWARDS, None), now["trial"])):
            now["share"][rows], now["usual"][rows], now["scatter"][rows] = usual_shares(counts)
        now["distance"], now["trial"], now["square"] = (
            np.zeros(0),
            np.zeros((0, _TOWARDS)),
            np.zeros_like(now["square"]),
        )

    def _count(self, counts: Floats, began: float, seconds: float) -> NoveltySignal | None:
        now = self._now
        now["recent_at"] = np.append(now["recent_at"], began)[-_RECENT_BLOCKS:]
        now["recent"] = np.concatenate((now["recent"], counts[None]))[-_RECENT_BLOCKS:]
        usual = np.maximum(now["usual"], now["raised"])[:, None]
        times = np.array(_TIMES)
        says = counts[:, None] * np.log(times) - BLOCK * usual * (times - 1)
        ratio = np.exp(np.minimum(says / now["scatter"][:, None], 200.0))
        is_better = now["best"] < seconds
        now["onset"] = np.where(is_better, began, now["onset"])
        now["best"] = np.minimum(np.maximum(now["best"], seconds) * ratio, 1e120)
        now["value"] = np.minimum((now["value"] + seconds) * ratio, 1e120)
        is_down = now["recent"].mean(0) <= BLOCK * now["usual"]
        if len(now["recent"]) == _RECENT_BLOCKS:
            now["raised"] = np.where(is_down, 0.0, now["raised"])
        if now["value"].mean() < self._threshold:
            return None
        row, column = np.unravel_index(int(now["value"].argmax()), now["value"].shape)
        onset = float(now["onset"][row, column])
        counted = now["recent"][now["recent_at"] >= onset]
        since = counted.mean(0) / BLOCK
        now["raised"] = np.where(since > now["usual"], 2 * since, now["raised"])
        now["value"], now["best"] = np.zeros_like(now["value"]), np.zeros_like(now["best"])
        is_crowded = bool(row >= len(_SHARES))
        unusual, before = round(float(counted.sum(0)[row])), self._counted(is_crowded=is_crowded)
        usual_ones = round(float(now["share"][row]) * before)
        return NoveltySignal(self._ended, onset, unusual, len(counted) * BLOCK, usual_ones, before, is_crowded)

    def _counted(self, *, is_crowded: bool) -> int:
        """How many parts of the reference tell what is usual."""
        return (self._reference_blocks - (self._sample_blocks if is_crowded else self._shape_blocks)) * BLOCK

# SPDX-License-Identifier: Apache-2.0
"""Draws defects on a sound part, with exact masks.

Each kind is a shape (alpha, 0 … 1) and a target look. Severity grades the contrast between the sound look and
the target; place and shape come from the generator alone, so the same part with a higher severity differs
more inside the same mask. Called by `renderer`.
"""

from collections.abc import Callable
from math import cos, pi, sin
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from plant.parts.canvas import Canvas, Field, Place
from plant.parts.catalogue import DefectSpec, Pixels

# Below this an alpha is taken as zero, so that nothing changes outside of the mask.
_FAINTEST: Final = 0.03
_SUB: Final = 4  # fractional bits of drawing coordinates
Colour = tuple[float, float, float]


class Brush:
    """The picture under work, and the union of all that was painted on it."""

    def __init__(self, canvas: Canvas, contrast: float) -> None:
        self.canvas = canvas
        self.scale = canvas.scale
        self.contrast = contrast
        self.pixels: Field = canvas.pixels.astype(np.float32)
        self.mask: Pixels = np.zeros(canvas.body.shape, np.uint8)

    def blank(self) -> Pixels:
        """An empty shape to draw on, uint8 [S, S]."""
        return np.zeros_like(self.mask)

    def paint(
        self, shape: NDArray[np.generic], look: Field | Colour, opacity: float = 1.0, *, on_part: bool = True
    ) -> None:
        """Blend a look into the picture where the shape is.

        Args:
            shape: [S, S], 0 … 255.
            look: a BGR colour, or a float32 [S, S, 3] picture.
            opacity: share of the look at full severity.
            on_part: keep to the part's body.
        """
        alpha = np.asarray(shape, np.float32) * np.float32(1 / 255)
        if on_part:
            alpha *= self.canvas.body * np.float32(1 / 255)
        alpha[alpha < _FAINTEST] = 0
        rows, columns = np.nonzero(alpha.any(axis=1))[0], np.nonzero(alpha.any(axis=0))[0]
        if not len(rows):
            return
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        target = look[box] if isinstance(look, np.ndarray) else np.array(look, np.float32)
        seen = self.pixels[box]
        seen += np.float32(self.contrast * opacity) * alpha[box][..., None] * (target - seen)
        self.mask[box][alpha[box] > 0] = 255

    def darker(self, factor: float) -> Field:
        """The picture as it is, times a factor: keeps the texture below."""
        return self.pixels * np.float32(factor)


def draw_defect(canvas: Canvas, spec: DefectSpec, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Put one defect on a part.

    Returns:
        pixels uint8 [S, S, 3] BGR and mask uint8 [S, S], 255 where pixels may have changed.

    Raises:
        KeyError: no such kind; the scenario reader refuses those beforehand.
    """
    floor = _FLOOR.get(spec.kind, 0.12)
    brush = Brush(canvas, floor + (1 - floor) * spec.severity)
    _PAINTERS[spec.kind](brush, rng)
    return np.clip(brush.pixels + 0.5, 0, 255).astype(np.uint8), brush.mask


def _fixed(x: float, y: float) -> tuple[int, int]:
    return round(x * 2**_SUB), round(y * 2**_SUB)


def _line(shape: Pixels, points: NDArray[np.floating], width: int, level: int = 255) -> None:
    corners = np.round(points * 2**_SUB).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(shape, [corners], isClosed=False, color=level, thickness=width, lineType=cv2.LINE_AA, shift=_SUB)


def _soft(shape: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(shape, (0, 0), sigma), np.uint8) if sigma > 0.1 else shape


def _blob(place: Place, radius: float, roughness: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Outline of an irregular spot, [24, 2] px."""
    angles = np.linspace(0, 2 * pi, 24, endpoint=False)
    wave = sum(rng.normal(0, roughness / k) * np.cos(k * angles + rng.uniform(0, 6)) for k in (1, 2, 3, 5))
    radii = radius * np.clip(1 + wave, 0.35, 1.9)
    return np.stack([place.x + radii * np.cos(angles), place.y + radii * np.sin(angles)], axis=1)


def _fill(shape: Pixels, outline: NDArray[np.floating], level: int = 255) -> None:
    cv2.fillPoly(shape, [np.round(outline * 2**_SUB).astype(np.int32)], level, cv2.LINE_AA, _SUB)


def _scratch(brush: Brush, rng: np.random.Generator) -> None:
    s = brush.scale
    place = brush.canvas.face(rng, 10 * s)
    # Across the grain, where a scratch is a scratch and not a groove.
    heading = place.angle + float(rng.uniform(0.5, 2.6))
    length, bend = float(rng.uniform(46, 84)) * s, float(rng.normal(0, 0.12))
    along = np.linspace(-0.5, 0.5, 14)
    turn = heading + bend * along * 2
    points = np.stack([place.x + along * length * np.cos(turn), place.y + along * length * np.sin(turn)], axis=1)
    groove, burr = brush.blank(), brush.blank()
    _line(groove, points, max(1, round(2.6 * s)))
    _line(burr, points + np.array([cos(heading + pi / 2), sin(heading + pi / 2)]) * 2.6 * s, max(1, round(2.0 * s)))
    brush.paint(_soft(burr, 0.4 * s), (245, 246, 246), 0.75)
    brush.paint(_soft(groove, 0.35 * s), (40, 40, 42), 0.85)


def _pit(brush: Brush, rng: np.random.Generator) -> None:
    s = brush.scale
    for _ in range(int(rng.integers(2, 4))):
        place = brush.canvas.face(rng, 12 * s)
        radius = float(rng.uniform(6.0, 9.5)) * s
        rim, hole = brush.blank(), brush.blank()
        _fill(rim, _blob(Place(place.x + 1.0 * s, place.y + 1.1 * s, 0), radius * 1.3, 0.10, rng))
        _fill(hole, _blob(place, radius, 0.12, rng))
        brush.paint(_soft(rim, 0.5 * s), (232, 234, 235), 0.6)
        brush.paint(_soft(hole, 0.5 * s), (22, 22, 24), 0.9)


def _crack(brush: Brush, rng: np.random.Generator) -> None:
    s = brush.scale
    place = brush.canvas.edge(rng)
    heading = place.angle + pi + float(rng.normal(0, 0.25))
    shape = brush.blank()
    points = _walk(place, heading, float(rng.uniform(42, 60)) * s, s, rng)
    _line(shape, points, max(1, round(3.4 * s)))
    fork = Place(float(points[len(points) // 2][0]), float(points[len(points) // 2][1]), 0)
    twig = _walk(fork, heading + float(rng.choice([-0.8, 0.8])), float(rng.uniform(12, 22)) * s, s, rng)
    _line(shape, twig, max(1, round(1.8 * s)), 220)
    brush.paint(_soft(shape, 0.45 * s), (24, 24, 26), 0.95)


def _walk(start: Place, heading: float, length: float, s: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """A jagged path: the way cracks run."""
    step = 3.2 * s
    points = [(start.x, start.y)]
    for _ in range(max(2, round(length / step))):
        turn = heading + float(rng.normal(0, 0.55))
        points.append((points[-1][0] + step * cos(turn), points[-1][1] + step * sin(turn)))
    return np.array(points)


def _stain(brush: Brush, rng: np.random.Generator) -> None:
    """Dried coolant: a brown patch with a darker rim."""
    s = brush.scale
    place = brush.canvas.face(rng, 16 * s)
    radius = float(rng.uniform(15, 23)) * s
    outline = _blob(place, radius, 0.16, rng)
    whole, rim = brush.blank(), brush.blank()
    _fill(whole, outline)
    _line(rim, np.vstack([outline, outline[:1]]), max(1, round(2 * s)))
    brush.paint(_soft(whole, 2.2 * s), brush.darker(0.52) * np.array([0.62, 0.92, 1.12], np.float32), 0.95)
    brush.paint(_soft(rim, 1.1 * s), (34, 52, 66), 0.55)


def _missing(brush: Brush, rng: np.random.Generator) -> None:
    feature = brush.canvas.feature(rng)
    shape, look = np.zeros(brush.mask.shape, np.float32), brush.pixels.copy()
    height, width = feature.alpha.shape
    box = (slice(feature.y, feature.y + height), slice(feature.x, feature.x + width))
    shape[box] = feature.alpha * 255
    look[box] = feature.without
    brush.paint(shape, look)


def _contamination(brush: Brush, rng: np.random.Generator) -> None:
    """A curl of swarf, a fibre, or crumbs."""
    s = brush.scale
    place = brush.canvas.face(rng, 8 * s)
    shape, shadow = brush.blank(), brush.blank()
    form = int(rng.integers(3))
    if form < 2:
        count = 26
        turn = np.cumsum(rng.normal(0.0, 0.18, count)) + place.angle
        turn += np.linspace(0, float(rng.choice([-1, 1])) * (5.5 if form == 0 else 2.2), count)
        step = (2.2 if form == 0 else 2.8) * s
        points = np.stack([place.x + np.cumsum(np.cos(turn)) * step, place.y + np.cumsum(np.sin(turn)) * step], axis=1)
        _line(shape, points, max(1, round(2.6 * s)))
        _line(shadow, points + 2.2 * s, max(1, round(3 * s)))
    else:
        for _ in range(int(rng.integers(6, 12))):
            dot = Place(place.x + float(rng.normal(0, 8 * s)), place.y + float(rng.normal(0, 8 * s)), 0)
            outline = _blob(dot, float(rng.uniform(2.4, 4.8)) * s, 0.2, rng)
            _fill(shape, outline)
            _fill(shadow, outline + 1.2 * s)
    look: Colour = ((236, 240, 242), (120, 84, 52), (34, 44, 56))[form]
    brush.paint(_soft(shadow, 0.9 * s), (18, 18, 20), 0.6, on_part=False)
    brush.paint(_soft(shape, 0.4 * s), look, 0.95, on_part=False)


def _burr(brush: Brush, rng: np.random.Generator) -> None:
    """Torn metal standing over an edge."""
    s = brush.scale
    place = brush.canvas.edge(rng)
    across = place.angle + pi / 2
    shape, dark = brush.blank(), brush.blank()
    width = float(rng.uniform(12, 20)) * s
    teeth = np.linspace(-width, width, 11)
    heights = np.abs(rng.normal(7.5, 2.8, 11)) * s * np.clip(1.2 - np.abs(teeth) / width, 0, 1)
    tips = [
        (place.x + t * cos(across) + h * cos(place.angle), place.y + t * sin(across) + h * sin(place.angle))
        for t, h in zip(teeth, heights, strict=True)
    ]
    root = [
        (place.x + t * cos(across) - 1.8 * s * cos(place.angle), place.y + t * sin(across) - 1.8 * s * sin(place.angle))
        for t in teeth[::-1]
    ]
    outline = np.array(tips + root)
    _fill(dark, outline + 1.4 * s)
    _fill(shape, outline)
    brush.paint(_soft(dark, 0.6 * s), (20, 20, 22), 0.6, on_part=False)
    brush.paint(_soft(shape, 0.35 * s), (226, 229, 231), 0.95, on_part=False)


def _mousebite(brush: Brush, rng: np.random.Generator) -> None:
    """Bites out of an edge: the ground shows through."""
    s = brush.scale
    place = brush.canvas.edge(rng)
    shape = brush.blank()
    across = place.angle + pi / 2
    for offset in rng.uniform(-10, 10, int(rng.integers(2, 5))):
        bite = Place(place.x + float(offset) * s * cos(across), place.y + float(offset) * s * sin(across), 0)
        _fill(shape, _blob(bite, float(rng.uniform(3.6, 6.4)) * s, 0.15, rng))
    brush.paint(_soft(shape, 0.4 * s), (26, 30, 24), 0.95)


def _discolouration(brush: Brush, rng: np.random.Generator) -> None:
    """Heat: straw in the outer zone, brown and blue towards the middle."""
    s = brush.scale
    place = brush.canvas.face(rng, 12 * s)
    radius = float(rng.uniform(34, 46)) * s
    outline = _blob(place, radius, 0.10, rng)
    for share, tint, opacity in (
        (1.0, (0.66, 0.92, 1.04), 0.75),
        (0.68, (0.60, 0.66, 0.86), 0.75),
        (0.40, (1.02, 0.70, 0.62), 0.8),
    ):
        shape = brush.blank()
        _fill(shape, (outline - [place.x, place.y]) * share + [place.x, place.y])
        brush.paint(_soft(shape, 5.0 * s), brush.pixels * np.array(tint, np.float32), opacity)


def _chatter(brush: Brush, rng: np.random.Generator) -> None:
    """Marks of a vibrating tool: regular ripples across the grooves, over much of the face.

    Weak everywhere and strong nowhere: the ripple is no stronger than the grain that it crosses.
    """
    body = brush.canvas.body
    size = body.shape[0]
    rows, columns = np.nonzero(body)
    centre_x, centre_y = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    axis = np.arange(size, dtype=np.float32)
    x, y = np.meshgrid(axis - np.float32(centre_x), axis - np.float32(centre_y))
    angle, radius = np.arctan2(y, x), np.hypot(x, y) / size
    start, half_width = float(rng.uniform(-pi, pi)), float(rng.uniform(1.7, 3.4))
    away = np.abs(np.angle(np.exp(1j * (angle - start))))
    sector = (
        np.clip((half_width - away) / 0.25, 0, 1)
        * np.clip((0.395 - radius) / 0.02, 0, 1)
        * np.clip((radius - 0.235) / 0.02, 0, 1)
    )
    ripples = float(rng.uniform(76, 92))
    lean = float(rng.normal(0, 14))
    wave = np.sin(ripples * angle + lean * radius * 2 * pi + float(rng.uniform(0, 6)))
    look = brush.pixels * (1 + np.float32(0.17) * np.asarray(wave, np.float32))[..., None]
    brush.paint(np.asarray(sector * 255, np.float32), look)


def _measling(brush: Brush, rng: np.random.Generator) -> None:
    """Fine pale crosses in the laminate where the weave came loose, over a patch of the board."""
    s = brush.scale
    size = brush.mask.shape[0]
    place = brush.canvas.face(rng, 30 * s)
    patch = brush.blank()
    _fill(patch, _blob(place, float(rng.uniform(24, 36)) * s, 0.12, rng))
    axis = np.arange(size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    turn, pitch = float(rng.normal(0, 0.03)), float(rng.uniform(5.4, 6.2)) * s
    along, across = x * cos(turn) + y * sin(turn), y * cos(turn) - x * sin(turn)
    weave = np.clip(np.cos(along * 2 * pi / pitch) + np.cos(across * 2 * pi / pitch), 0, None)
    look = brush.pixels + np.asarray(weave, np.float32)[..., None] * np.array([15, 17, 15], np.float32)
    brush.paint(_soft(patch, 4 * s), look)


_PAINTERS: Final[dict[str, Callable[[Brush, np.random.Generator], None]]] = {
    "scratch": _scratch,
    "pit": _pit,
    "crack": _crack,
    "stain": _stain,
    "missing": _missing,
    "contamination": _contamination,
    "burr": _burr,
    "mousebite": _mousebite,
    "discolouration": _discolouration,
    "chatter": _chatter,
    "measling": _measling,
}
# Half a missing feature does not exist; the least severe one is a dull one in its place.
_FLOOR: Final = {"missing": 0.6, "chatter": 0.0, "measling": 0.0}

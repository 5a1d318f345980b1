# SPDX-License-Identifier: Apache-2.0
"""Made-up pictures: noise, leaves, gratings, tracks, strokes, scratches, in grey and in colour.

They teach the shipped trunk (`models/graphs/distil.py`), so that no foreign picture's licence clings to its weights.
They resemble nothing in particular and never train or count beside parts. Pure: the generator is passed in.
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Picture = NDArray[np.uint8]
_Texture = Callable[[np.random.Generator, int], Plane]


def _stretched(plane: Plane) -> Plane:
    low, high = float(plane.min()), float(plane.max())
    return ((plane - low) / max(high - low, 1e-6)).astype(np.float32)


def _fractal(rng: np.random.Generator, side: int) -> Plane:
    """Noise over octaves; the exponent decides between clouds and sand, the aspect between grain and brushing."""
    persistence = rng.uniform(0.35, 1.1)
    stretch = 2.0 ** rng.uniform(0, 3.5) if rng.random() < 0.35 else 1.0
    plane = np.zeros((side, side), np.float32)
    weight = 1.0
    cells = int(rng.integers(2, 5))
    while cells <= side:
        across = max(2, int(cells / stretch))
        grid = rng.standard_normal((cells, across)).astype(np.float32)
        plane += weight * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        weight *= persistence
        cells *= 2
    if rng.random() < 0.5:
        plane = np.ascontiguousarray(plane.T)
    return _stretched(plane)


def _gradient(rng: np.random.Generator, side: int) -> Plane:
    """A linear or a round fall-off of light."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        return _stretched(rows * np.float32(np.sin(angle)) + columns * np.float32(np.cos(angle)))
    y, x = rng.uniform(-0.3, 1.3, 2).astype(np.float32)
    return _stretched(np.sqrt((rows - y) ** 2 + (columns - x) ** 2))


def _grating(rng: np.random.Generator, side: int) -> Plane:
    """Stripes, rings, checks, soft or hard, straight or bent."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    period = np.float32(2.0 ** rng.uniform(1.8, 6.0))
    along = rows * np.float32(np.sin(angle)) + columns * np.float32(np.cos(angle))
    if rng.random() < 0.3:
        y, x = rng.uniform(-0.5, 1.5, 2).astype(np.float32) * side
        along = np.sqrt((rows - y) ** 2 + (columns - x) ** 2)
    if rng.random() < 0.4:
        along = along + period * np.float32(rng.uniform(0.2, 2)) * _fractal(rng, side)
    wave = np.sin(2 * np.pi * along / period)
    if rng.random() < 0.3:
        across = rows * np.float32(np.cos(angle)) - columns * np.float32(np.sin(angle))
        wave = wave * np.sin(2 * np.pi * across / period)
    if rng.random() < 0.5:
        wave = np.tanh(wave * np.float32(rng.uniform(1, 12)))
    return _stretched(wave.astype(np.float32))


def _leaves(rng: np.random.Generator, side: int) -> Plane:
    """Shapes over shapes, sizes by a power law: edges and corners at every scale, as in most pictures."""
    plane = np.full((side, side), rng.random(), np.float32)
    smallest, largest = rng.uniform(1.5, 4), side * rng.uniform(0.1, 0.5)
    for _ in range(int(rng.integers(10, 120))):
        share = rng.random()
        radius = 1 / np.sqrt(share / smallest**2 + (1 - share) / largest**2)
        _draw_shape(rng, plane, radius, float(rng.random()))
    return plane


def _draw_shape(rng: np.random.Generator, plane: Plane, radius: float, value: float) -> None:
    side = plane.shape[0]
    centre = rng.uniform(0, side, 2)
    kind = int(rng.integers(0, 3))
    if kind == 0:
        axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.3, 1))))
        cv2.ellipse(plane, centre.astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, value, -1, cv2.LINE_AA)
        return
    corners = 4 if kind == 1 else int(rng.integers(3, 8))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if kind == 2 else np.arange(4) * np.pi / 2 + rng.uniform(0, 2)
    points = centre + radius * np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.4, 1)], 1)
    cv2.fillPoly(plane, [points.astype(np.int32)], value, cv2.LINE_AA)


def _tracks(rng: np.random.Generator, side: int) -> Plane:
    """Upright lines, pads and holes on a plain ground, as boards and housings have them."""
    plane = np.full((side, side), rng.uniform(0, 0.4), np.float32)
    for _ in range(int(rng.integers(4, 24))):
        value, width = float(rng.uniform(0.4, 1)), int(rng.integers(1, 8))
        at = rng.integers(0, side, 4).tolist()
        if rng.random() < 0.5:
            cv2.line(plane, (at[0], at[1]), (at[0], at[2]), value, width)
            cv2.line(plane, (at[0], at[2]), (at[3], at[2]), value, width)
        else:
            cv2.circle(plane, (at[0], at[1]), width + 3, value, -1, cv2.LINE_AA)
            cv2.circle(plane, (at[0], at[1]), max(1, width // 2), 0.05, -1, cv2.LINE_AA)
    return plane


def _strokes(rng: np.random.Generator, side: int) -> Plane:
    """Letters and scribbles on a plain ground."""
    plane = np.full((side, side), rng.random(), np.float32)
    for _ in range(int(rng.integers(2, 12))):
        value = float(rng.random())
        thick = int(rng.integers(1, 4))
        if rng.random() < 0.6:
            _write_word(rng, plane, value, thick)
        else:
            _draw_scratch(rng, plane, value, thick)
    return plane


def _write_word(rng: np.random.Generator, plane: Plane, value: float, thick: int) -> None:
    """OpenCV writes on 8-bit pictures only, so the word becomes a mask first."""
    side = plane.shape[0]
    mask = np.zeros((side, side), np.uint8)
    word = "".join(chr(int(code)) for code in rng.integers(33, 127, int(rng.integers(1, 7))))
    at = (int(rng.integers(-10, side)), int(rng.integers(5, side)))
    cv2.putText(mask, word, at, int(rng.integers(0, 8)), float(rng.uniform(0.3, 1.8)), 255, thick, cv2.LINE_AA)
    share = mask.astype(np.float32) / 255
    plane += share * (value - plane)


def _draw_scratch(rng: np.random.Generator, plane: Plane, value: float, thick: int) -> None:
    """A thin bent line: steps of a wandering direction."""
    side = plane.shape[0]
    steps = int(rng.integers(3, 14))
    headings = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.02, 0.6), steps))
    stride = rng.uniform(2, side / 6)
    points = rng.uniform(0, side, 2) + np.cumsum(stride * np.stack([np.cos(headings), np.sin(headings)], 1), 0)
    cv2.polylines(plane, [points.astype(np.int32)], isClosed=False, color=value, thickness=thick, lineType=cv2.LINE_AA)


_TEXTURES: Final[tuple[tuple[_Texture, float], ...]] = (
    (_fractal, 0.3),
    (_leaves, 0.25),
    (_grating, 0.14),
    (_gradient, 0.1),
    (_tracks, 0.11),
    (_strokes, 0.1),
)


def _texture(rng: np.random.Generator, side: int) -> Plane:
    weights = np.array([weight for _, weight in _TEXTURES])
    return _TEXTURES[int(rng.choice(len(_TEXTURES), p=weights / weights.sum()))][0](rng, side)


def _mixed_plane(rng: np.random.Generator, side: int) -> Plane:
    """One texture, sometimes another shining through or pasted where a third says so."""
    plane = _texture(rng, side)
    for _ in range(int(rng.integers(0, 3))):
        other = _texture(rng, side)
        if rng.random() < 0.5:
            mask = (_texture(rng, side) > rng.uniform(0.3, 0.7)).astype(np.float32)
            if rng.random() < 0.4:
                mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.6, 4))), np.float32)
            plane = plane * (1 - mask) + other * mask
        else:
            share = np.float32(rng.uniform(0.1, 0.9))
            plane = plane * (1 - share) + other * share
    return plane


def _add_marks(rng: np.random.Generator, plane: Plane) -> None:
    """Scratches, pits and specks, mostly faint: what an inspection trunk must not wash out."""
    for _ in range(int(rng.integers(0, 6))):
        local = float(plane.mean()) + float(rng.normal(0, 0.35))
        if rng.random() < 0.5:
            _draw_scratch(rng, plane, local, int(rng.integers(1, 3)))
        else:
            _draw_shape(rng, plane, float(rng.uniform(1, 6)), local)


def _coloured(rng: np.random.Generator, side: int, plane: Plane) -> NDArray[np.float32]:
    """Grey, a two-colour ramp, or three planes that share most of their structure."""
    kind = rng.random()
    if kind < 0.4:
        return np.repeat(plane[..., None], 3, axis=2)
    if kind < 0.8:
        saturation = rng.uniform(0, 0.9)
        dark, light = (rng.random() + saturation * rng.uniform(-0.5, 0.5, 3) for _ in range(2))
        ramp = dark + plane[..., None] * (light - dark)
        return ramp.astype(np.float32)
    shares = rng.uniform(0.2, 1.0, 3).astype(np.float32)
    other = _texture(rng, side)[..., None]
    return plane[..., None] * shares + other * (1 - shares)


def draw_picture(rng: np.random.Generator, side_px: int) -> Picture:
    """One made-up picture, uint8 [side, side, 3], BGR."""
    plane = _mixed_plane(rng, side_px)
    if rng.random() < 0.6:
        _add_marks(rng, plane)
    picture = _coloured(rng, side_px, plane)
    if rng.random() < 0.35:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(2.0 ** rng.uniform(-1, 2))), np.float32)
    contrast = rng.uniform(0.15, 1.3)
    level = rng.uniform(0.15, 0.85)
    picture = (picture - picture.mean()) * np.float32(contrast) + np.float32(level)
    if rng.random() < 0.6:
        picture = picture + rng.standard_normal(picture.shape[:2], np.float32)[..., None] * np.float32(
            10 ** rng.uniform(-2.7, -1.1)
        )
    clipped: Picture = np.clip(picture * 255, 0, 255).astype(np.uint8)
    return clipped


def draw_pictures(rng: np.random.Generator, count: int, side_px: int) -> Picture:
    """Many made-up pictures, uint8 [count, side, side, 3], BGR."""
    return np.stack([draw_picture(rng, side_px) for _ in range(count)])

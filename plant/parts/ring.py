# SPDX-License-Identifier: Apache-2.0
"""The turned metal ring: face with turning marks, chamfers, six brass bushes, lamp reflections.

Draws sound parts only. Faces, lamp maps and belts are made once for a maker; each part combines and poses
them anew. Called by `renderer`.
"""

from math import cos, pi, sin
from typing import Final

import cv2
import numpy as np

from plant.parts.canvas import Canvas, Feature, Field, Place
from plant.parts.catalogue import Pixels
from plant.parts.texture import belt, cloud, turned

# Radii as shares of the picture's side.
OUTER: Final = 0.415
INNER: Final = 0.215
PITCH: Final = 0.318
BUSH: Final = 0.044
CHAMFER: Final = 0.013
_BUSHES: Final = 6
_FACES, _LAMPS, _BELTS, _CLOUDS = 28, 12, 5, 10
_METAL: Final = np.array([152, 154, 153], np.float32)
_BRASS: Final = np.array([84, 146, 176], np.float32)


class RingMaker:
    """Makes sound rings of one picture size."""

    def __init__(self, size_px: int, rng: np.random.Generator) -> None:
        self._size = size_px
        axis = np.arange(size_px, dtype=np.float32) - (size_px - 1) / 2
        x, y = np.meshgrid(axis, axis)
        self._radius: Field = np.hypot(x, y) / size_px
        self._angle: Field = np.arctan2(y, x).astype(np.float32)
        self._faces = [self._draw_face(rng) for _ in range(_FACES)]
        self._lamps = [self._draw_lamp(rng) for _ in range(_LAMPS)]
        self._belts = [belt(size_px + 48, rng) for _ in range(_BELTS)]
        # The film of oil and wash water on sound parts: clouds of several sizes.
        self._clouds = [cloud(size_px + 64, size_px / s, rng) for s in rng.uniform(2.5, 11, _CLOUDS)]
        self._veils = [cloud(size_px + 64, size_px / s, rng) for s in rng.uniform(2, 6, _CLOUDS)]

    def make(self, rng: np.random.Generator) -> Canvas:
        """A new sound ring."""
        size = self._size
        # The fixture holds the ring by its bushes: any of six turns, and a little play.
        turn = pi / 3 * int(rng.integers(_BUSHES)) + float(rng.normal(0, 0.02))
        scale = float(rng.uniform(0.992, 1.008))
        shift = rng.uniform(-0.010, 0.010, 2) * size
        centre = (size - 1) / 2 + shift
        face = _posed(self._faces[rng.integers(_FACES)], turn, scale, shift)
        lamp = _posed(self._lamps[rng.integers(_LAMPS)], float(rng.normal(0, 0.05)), scale, shift)
        left, top = (int(v) for v in rng.integers(0, 48, 2))
        ground = self._belts[rng.integers(_BELTS)][top : top + size, left : left + size]
        gains = self._film(rng) * _three(lamp[..., 0].astype(np.float32) * np.float32(1 / 128))
        lit = cv2.multiply(face[..., :3].astype(np.float32), gains)
        alpha = _three(face[..., 3].astype(np.float32) * np.float32(1 / 255))
        shaded = cv2.multiply(ground.astype(np.float32), _three(lamp[..., 1].astype(np.float32) * np.float32(1 / 255)))
        mixed = np.asarray(shaded + alpha * (lit - shaded), np.float32)
        _dust(mixed, rng)
        pixels = cv2.convertScaleAbs(mixed)
        return Canvas(
            pixels=np.asarray(pixels, np.uint8),
            body=np.asarray(face[..., 3], np.uint8),
            face=lambda r, margin: self._on_face(r, margin, centre, scale),
            edge=lambda r: self._on_edge(r, centre, scale),
            feature=lambda r: self._bush(r, centre, scale, turn, mixed),
            scale=size / 256,
        )

    def _film(self, rng: np.random.Generator) -> Field:
        """Gains of light and tint over the picture, float32 [S, S, 3].

        The strength has a long tail: a few sound parts are quite blotchy, and that is what hides faint stains.
        """
        size = self._size
        strength = 0.011 * float(rng.lognormal(0.0, 0.4))
        tint = 0.007 * float(rng.lognormal(0.0, 0.4))
        top, left, up, over = (int(v) for v in rng.integers(0, 64, 4))
        film = self._clouds[rng.integers(_CLOUDS)][top : top + size, left : left + size]
        veil = self._veils[rng.integers(_CLOUDS)][up : up + size, over : over + size]
        level, warm = float(rng.normal(1.0, 0.018)), float(rng.normal(0, 0.010))
        blue = level * (1 - warm) + strength * film - tint * veil
        green = level + strength * film
        red = level * (1 + warm) + strength * film + tint * veil
        return np.asarray(cv2.merge([blue, green, red]), np.float32)

    # -- pools ---------------------------------------------------------------------------------------

    def _draw_face(self, rng: np.random.Generator) -> Pixels:
        """One ring, unlit, centred: uint8 [S, S, 4] BGR and alpha."""
        size, radius = self._size, self._radius
        marks = _from_polar(turned(1440, size // 2, rng), size)
        roughness = 5.0 * float(rng.lognormal(0, 0.15))
        grey = 1 + np.clip(marks, -4, 4) * np.float32(roughness / 153)
        # Slow radial wave from the feed of the tool.
        grey += 0.02 * np.sin(radius * size * float(rng.uniform(0.25, 0.4)) + float(rng.uniform(0, 6)))
        face = _METAL * grey[..., None]
        for number in range(_BUSHES):
            self._draw_bush(face, number * 2 * pi / _BUSHES, rng)
        _hairlines(face, size, rng)
        one_px = 1.0 / size
        alpha = np.clip((OUTER - radius) / one_px + 0.5, 0, 1) * np.clip((radius - INNER) / one_px + 0.5, 0, 1)
        return np.dstack([np.clip(face, 0, 255), alpha * 255]).astype(np.uint8)

    def _draw_bush(self, face: Field, angle: float, rng: np.random.Generator) -> None:
        size = self._size
        x, y = _at(angle, PITCH, size)
        window, distance = _window(face, x, y, BUSH * size * 1.6)
        outer, bore = BUSH * size, 0.5 * BUSH * size
        tone = float(rng.normal(1, 0.045))
        ring_light = 1 + 0.13 * np.sin(distance * (pi / outer) * 3.1 + float(rng.uniform(0, 6)))
        _blend(window, _edge(distance, outer + 1.4 * size / 256), np.array([58, 58, 60], np.float32))
        _blend(window, _edge(distance, outer), _BRASS * tone * ring_light[..., None])
        _blend(window, _edge(distance, bore + 0.8 * size / 256), _BRASS * 0.55)
        _blend(window, _edge(distance, bore), np.array([30, 31, 34], np.float32))

    def _draw_lamp(self, rng: np.random.Generator) -> Pixels:
        """Light on the ring (128 = as drawn) and light on the belt (255 = no shadow). uint8 [S, S, 2]."""
        radius, angle = self._radius, self._angle
        light = np.full(radius.shape, 0.80, np.float32)
        # Turned metal mirrors a lamp as a bow tie, always at the same side of the camera.
        for centre, width, strength in ((-0.85, 0.30, 0.52), (0.62, 0.20, 0.26)):
            turned_by = centre + float(rng.normal(0, 0.05))
            light += strength * float(rng.normal(1, 0.05)) * np.exp(-((np.sin(angle - turned_by) / width) ** 2))
        light += 0.05 * np.cos(angle + 0.7)
        for edge, sign in ((OUTER, 1.0), (INNER, -1.0)):
            slope = np.clip(1 - np.abs(radius - (edge - sign * CHAMFER * 0.5)) / (CHAMFER * 0.62), 0, 1)
            light += np.clip(slope * 2, 0, 1) * (0.05 + sign * 0.52 * np.cos(angle + 2.25))
        away = np.hypot(np.cos(angle) * radius - 0.014, np.sin(angle) * radius - 0.018)
        shadow = np.clip((OUTER + 0.035 - away) / 0.06, 0, 1) * np.clip((away - INNER + 0.05) / 0.06, 0, 1)
        ground = 255 * (1 - 0.62 * shadow)
        return np.dstack([np.clip(light * 128, 0, 255), ground]).astype(np.uint8)

    # -- places for defects --------------------------------------------------------------------------

    def _on_face(self, rng: np.random.Generator, margin: float, centre: Field, scale: float) -> Place:
        inner = (INNER + CHAMFER) * self._size * scale + margin
        outer = (OUTER - CHAMFER) * self._size * scale - margin
        radius = float(rng.uniform(inner, outer)) if outer > inner else (inner + outer) / 2
        angle = float(rng.uniform(0, 2 * pi))
        return Place(float(centre[0]) + radius * cos(angle), float(centre[1]) + radius * sin(angle), angle + pi / 2)

    def _on_edge(self, rng: np.random.Generator, centre: Field, scale: float) -> Place:
        is_outer = bool(rng.random() < 0.6)
        radius = (OUTER if is_outer else INNER) * self._size * scale
        angle = float(rng.uniform(0, 2 * pi))
        outwards = angle if is_outer else angle + pi
        return Place(float(centre[0]) + radius * cos(angle), float(centre[1]) + radius * sin(angle), outwards)

    def _bush(self, rng: np.random.Generator, centre: Field, scale: float, turn: float, seen: Field) -> Feature:
        angle = turn + 2 * pi / _BUSHES * int(rng.integers(_BUSHES))
        radius = PITCH * self._size * scale
        x, y = float(centre[0]) + radius * cos(angle), float(centre[1]) + radius * sin(angle)
        # The bush sits in a collar: without it the wider bore for both is seen.
        outer = 1.35 * BUSH * self._size * scale
        window, distance = _window(seen, x, y, outer * 1.5)
        hole = np.array([26, 27, 29], np.float32) + 20 * np.clip(distance / outer - 0.55, 0, 1)[..., None]
        left, top = round(x - outer * 1.5), round(y - outer * 1.5)
        return Feature(left, top, _edge(distance, outer), np.broadcast_to(hole, window.shape).astype(np.float32))


def _at(angle: float, radius: float, size: int) -> tuple[float, float]:
    middle = (size - 1) / 2
    return middle + radius * size * cos(angle), middle + radius * size * sin(angle)


def _posed(picture: Pixels, turn: float, scale: float, shift: Field) -> Pixels:
    """Turn, scale and shift about the middle. `turn` is in the direction in which angles grow."""
    size = picture.shape[0]
    middle = (size - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), -turn * 180 / pi, scale), np.float64)
    matrix[:, 2] += shift
    return np.asarray(cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _from_polar(polar: Field, size: int) -> Field:
    middle = (size - 1) / 2
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
    return np.asarray(cv2.warpPolar(polar, (size, size), (middle, middle), size / 2, flags), np.float32)


def _window(picture: Field, x: float, y: float, reach: float) -> tuple[Field, Field]:
    """The window around a point (a view) and each pixel's distance from the point."""
    left, top = round(x - reach), round(y - reach)
    side = round(2 * reach)
    view = picture[top : top + side, left : left + side]
    rows, columns = np.mgrid[top : top + view.shape[0], left : left + view.shape[1]]
    return view, np.hypot(columns - x, rows - y).astype(np.float32)


def _edge(distance: Field, radius: float) -> Field:
    """1 inside the circle, 0 outside, one pixel of transition."""
    return np.asarray(np.clip(radius - distance + 0.5, 0, 1), np.float32)


def _blend(window: Field, alpha: Field, colour: Field) -> None:
    window += alpha[..., None] * (colour - window)


def _three(plane: Field) -> Field:
    return np.asarray(cv2.merge([plane, plane, plane]), np.float32)


def _hairlines(face: Field, size: int, rng: np.random.Generator) -> None:
    """Faint handling marks along the grooves, allowed on sound parts."""
    layer = np.zeros((size, size), np.uint8)
    middle = (size - 1) // 2
    for _ in range(int(rng.integers(0, 5))):
        radius = int(rng.uniform(INNER + 0.03, OUTER - 0.03) * size)
        start = float(rng.uniform(0, 360))
        strength = int(rng.uniform(30, 110))
        cv2.ellipse(layer, (middle, middle), (radius, radius), 0, start, start + float(rng.uniform(6, 35)), strength, 1)
    marks = np.asarray(cv2.GaussianBlur(layer, (0, 0), 0.7), np.float32)
    face += 0.12 * marks[..., None]


def _dust(picture: Field, rng: np.random.Generator) -> None:
    """A few specks of dust, allowed anywhere."""
    size = picture.shape[0]
    for _ in range(int(rng.poisson(2.0))):
        x, y = (int(v) for v in rng.integers(2, size - 3, 2))
        picture[y : y + 2, x : x + 2] += np.float32(rng.normal(0, 10))

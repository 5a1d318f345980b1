# SPDX-License-Identifier: Apache-2.0
"""The printed board: solder mask over a weave, traces, vias, pads, components, white print.

Draws sound parts only. A few dozen boards with their own placement tolerances are drawn once, at twice the
size; each part takes one, poses and lights it. The layout itself is fixed, as that of a product is.
Called by `renderer`.
"""

from dataclasses import dataclass
from math import atan2, pi
from typing import Final

import cv2
import numpy as np

from plant.parts.canvas import Canvas, Feature, Field, Place
from plant.parts.catalogue import Pixels
from plant.parts.layout import COMPONENTS, EDGE, TRACES, VIAS, Component
from plant.parts.texture import cloud, grain

_BOARDS, _LAMPS, _CLOUDS = 28, 10, 10
_DRAW: Final = 2  # drawn this many times larger, then reduced: round pads stay round
_GROUND: Final = np.array([30, 29, 30], np.float32)
_MASK: Final = np.array([62, 104, 34], np.float32)
_TIN: Final = np.array([176, 181, 184], np.float32)
_GOLD: Final = np.array([92, 158, 196], np.float32)
_PRINT: Final = (214, 222, 219)


@dataclass(frozen=True)
class _Drawn:
    """A board with and without its components, uint8 [S, S, 3], and its outline, uint8 [S, S]."""

    full: Pixels
    bare: Pixels
    body: Pixels


class BoardMaker:
    """Makes sound boards of one picture size."""

    def __init__(self, size_px: int, rng: np.random.Generator) -> None:
        self._size = size_px
        self._boards = [self._draw(rng) for _ in range(_BOARDS)]
        self._clouds = [cloud(size_px + 64, size_px / s, rng) for s in rng.uniform(1.6, 8, _CLOUDS)]
        self._grains = [grain(size_px + 64, 0.6, rng) for _ in range(3)]

    def make(self, rng: np.random.Generator) -> Canvas:
        """A new sound board."""
        size = self._size
        drawn = self._boards[rng.integers(_BOARDS)]
        turn, scale = float(rng.normal(0, 0.7)), float(rng.normal(1, 0.004))
        matrix = np.asarray(cv2.getRotationMatrix2D(((size - 1) / 2,) * 2, turn, scale), np.float64)
        matrix[:, 2] += rng.uniform(-0.014, 0.014, 2) * size
        full = _moved(drawn.full, matrix, cv2.BORDER_REPLICATE)
        body = _moved(drawn.body, matrix, cv2.BORDER_CONSTANT)
        gains = self._light(rng)
        lit = cv2.multiply(full.astype(np.float32), gains)
        return Canvas(
            pixels=np.asarray(cv2.convertScaleAbs(lit), np.uint8),
            body=body,
            face=lambda r, margin: self._on_face(r, margin, matrix),
            edge=lambda r: self._on_edge(r, matrix),
            feature=lambda r: self._component(r, drawn, matrix, gains),
            scale=size / 256,
        )

    def _light(self, rng: np.random.Generator) -> Field:
        """Gains over the picture: lamp, haze of flux with a long tail, fine grain. float32 [S, S, 3]."""
        size = self._size
        top, left, up, over = (int(v) for v in rng.integers(0, 64, 4))
        haze = self._clouds[rng.integers(_CLOUDS)][top : top + size, left : left + size]
        lamp = self._clouds[rng.integers(_CLOUDS)][up : up + size, over : over + size]
        fine = self._grains[rng.integers(3)][over : over + size, up : up + size]
        strength = 0.014 * float(rng.lognormal(0, 0.55))
        level, warm = float(rng.normal(1, 0.02)), float(rng.normal(0, 0.012))
        common = level + np.float32(0.022) * lamp + np.float32(0.022) * fine
        blue = common * np.float32(1 - warm) + strength * haze
        red = common * np.float32(1 + warm) + strength * haze
        return np.asarray(cv2.merge([blue, common + np.float32(0.5 * strength) * haze, red]), np.float32)

    # -- drawing the pool ----------------------------------------------------------------------------

    def _draw(self, rng: np.random.Generator) -> _Drawn:
        side = self._size * _DRAW
        pen = _Pen(side)
        body = np.zeros((side, side), np.uint8)
        pen.box(body, (EDGE, EDGE, 1 - EDGE, 1 - EDGE), 255)
        for corner in ((0.085, 0.085), (0.915, 0.915)):
            pen.disc(body, corner, 0.026, 0)
        mask = _MASK * rng.normal(1, 0.03, 3) * float(rng.normal(1, 0.03))
        axis = np.arange(side, dtype=np.float32) / _DRAW / (self._size / 256)
        weave = np.sin(axis * 2 * pi / 5.8)[None, :] * np.sin(axis * 2 * pi / 5.8)[:, None]
        wavy = cloud(side, side / 7, rng) * float(rng.lognormal(0, 0.4))
        board = mask * (1 + 0.026 * float(rng.lognormal(0, 0.45)) * weave + 0.018 * wavy)[..., None]
        copper = np.zeros((side, side), np.uint8)
        for trace in TRACES:
            pen.path(copper, trace, 0.0105)
        pen.box(copper, (0.62, 0.70, 0.90, 0.88), 255)
        self._raise(board, copper, np.asarray(mask * np.array([1.35, 1.30, 1.30]), np.float32))
        picture = np.clip(board, 0, 255).astype(np.uint8)
        for spot in VIAS:
            pen.disc(picture, spot, 0.0125, _toned(_GOLD, rng))
            pen.disc(picture, spot, 0.0058, (18, 20, 18))
        for corner in ((0.085, 0.085), (0.915, 0.915)):
            pen.disc(picture, corner, 0.040, _toned(_GOLD, rng))
        for component in COMPONENTS:
            for pad in component.pads:
                pen.box(picture, pad, _toned(_TIN, rng, 0.05))
        self._print(pen, picture, rng)
        bare = picture.copy()
        for component in COMPONENTS:
            self._place(pen, picture, component, rng)
        return _Drawn(self._finished(picture, body), self._finished(bare, body), _halved(body))

    @staticmethod
    def _raise(board: Field, copper: Pixels, colour: Field) -> None:
        """Copper below the mask: paler, with a lit and a dark flank."""
        soft = cv2.GaussianBlur(copper, (0, 0), 1.3).astype(np.float32) / 255
        relief = cv2.Sobel(soft, cv2.CV_32F, 1, 1, ksize=3) + 0.7 * cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3)
        board += soft[..., None] * (colour - board) * 0.85
        board *= 1 - 0.17 * np.clip(relief, -1.5, 1.5)[..., None]

    @staticmethod
    def _print(pen: "_Pen", picture: Pixels, rng: np.random.Generator) -> None:
        dx, dy = rng.normal(0, 0.0018, 2)
        for component in COMPONENTS:
            x0, y0, x1, y1 = component.outline
            pen.frame(picture, (x0 + dx - 0.012, y0 + dy - 0.012, x1 + dx + 0.012, y1 + dy + 0.012), _PRINT, 0.0035)
            pen.text(picture, component.name, (x0 + dx, y0 + dy - 0.022), 0.027, _PRINT)
        pen.text(picture, "SL-256 A", (0.64 + dx, 0.945 + dy), 0.036, _PRINT)

    @staticmethod
    def _place(pen: "_Pen", picture: Pixels, part: Component, rng: np.random.Generator) -> None:
        """A component within its placement tolerance."""
        dx, dy = rng.normal(0, 0.0026, 2)
        for x0, y0, x1, y1 in part.pads:
            shine = _toned(_TIN * 1.12, rng, 0.08)
            pen.box(picture, (x0 + 0.003, y0 + 0.003, x1 - 0.003, y1 - 0.003), shine)
        x0, y0, x1, y1 = (part.body[0] + dx, part.body[1] + dy, part.body[2] + dx, part.body[3] + dy)
        tone = _toned(np.array(part.colour, np.float32), rng, 0.05)
        pen.box(picture, (x0 + 0.008, y0 + 0.009, x1 + 0.008, y1 + 0.009), (20, 36, 14))
        for lead in part.leads:
            pen.box(picture, tuple(v + d for v, d in zip(lead, (dx, dy, dx, dy), strict=True)), _toned(_TIN, rng, 0.07))
        pen.box(picture, (x0, y0, x1, y1), tone)
        lit = tuple(min(255.0, v * 1.28 + 8) for v in tone)
        pen.path(picture, ((x0, y1), (x0, y0), (x1, y0)), 0.005, lit)
        if part.marking:
            pen.disc(picture, (x0 + 0.022, y0 + 0.022), 0.009, tuple(v * 0.6 for v in tone))
            pen.text(picture, part.marking, (x0 + 0.04, (y0 + y1) / 2 + 0.012), 0.036, (132, 134, 134))

    def _finished(self, picture: Pixels, body: Pixels) -> Pixels:
        small = _halved(picture).astype(np.float32)
        alpha = _halved(body).astype(np.float32)[..., None] / 255
        shade = cv2.GaussianBlur(_halved(body), (0, 0), self._size / 60).astype(np.float32)[..., None] / 255
        ground = _GROUND * (1 - 0.55 * shade) + 9 * (1 - shade)
        return np.clip(ground + alpha * (small - ground), 0, 255).astype(np.uint8)

    # -- places for defects --------------------------------------------------------------------------

    def _on_face(self, rng: np.random.Generator, margin: float, matrix: Field) -> Place:
        edge = EDGE + 0.03 + margin / self._size
        x, y = rng.uniform(edge, 1 - edge, 2)
        return self._seen(float(x), float(y), float(rng.uniform(0, 2 * pi)), matrix)

    def _on_edge(self, rng: np.random.Generator, matrix: Field) -> Place:
        along = float(rng.uniform(EDGE + 0.06, 1 - EDGE - 0.06))
        side = int(rng.integers(4))
        spots = ((along, EDGE, -pi / 2), (along, 1 - EDGE, pi / 2), (EDGE, along, pi), (1 - EDGE, along, 0.0))
        return self._seen(*spots[side], matrix)

    def _seen(self, x: float, y: float, angle: float, matrix: Field) -> Place:
        px, py = matrix @ np.array([x * self._size, y * self._size, 1.0])
        return Place(float(px), float(py), angle + atan2(matrix[1, 0], matrix[0, 0]))

    def _component(self, rng: np.random.Generator, drawn: _Drawn, matrix: Field, gains: Field) -> Feature:
        removable = [component for component in COMPONENTS if component.is_removable]
        x0, y0, x1, y1 = removable[int(rng.integers(len(removable)))].outline
        size = self._size
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) + 0.014 * np.array(
            [[-1, -1], [1, -1], [1, 1], [-1, 1]]
        )
        seen = corners * size @ matrix[:, :2].T + matrix[:, 2]
        left, top = np.floor(seen.min(axis=0)).astype(int) - 2
        right, bottom = np.ceil(seen.max(axis=0)).astype(int) + 3
        shape = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(shape, [np.round(seen - [left, top]).astype(np.int32)], 255, cv2.LINE_AA)
        bare = _moved(drawn.bare, matrix, cv2.BORDER_REPLICATE)
        without = np.asarray(cv2.multiply(bare.astype(np.float32), gains), np.float32)
        return Feature(int(left), int(top), np.asarray(shape, np.float32) / 255, without[top:bottom, left:right])


class _Pen:
    """Draws in unit coordinates on pictures of one side, with eight fractional bits."""

    def __init__(self, side: int) -> None:
        self._side = side

    def box(self, picture: Pixels, box: tuple[float, ...], colour: object) -> None:
        (x0, y0), (x1, y1) = self._px(box[0], box[1]), self._px(box[2], box[3])
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, -1)  # type: ignore[call-overload]  # grey level or BGR

    def frame(self, picture: Pixels, box: tuple[float, ...], colour: tuple[int, int, int], width: float) -> None:
        cv2.rectangle(picture, self._px(box[0], box[1]), self._px(box[2], box[3]), colour, self._width(width))

    def disc(self, picture: Pixels, at: tuple[float, float], radius: float, colour: object) -> None:
        cv2.circle(picture, self._px(*at), round(radius * self._side), colour, -1, cv2.LINE_AA)  # type: ignore[call-overload]  # grey level or BGR

    def path(self, picture: Pixels, points: object, width: float, colour: object = 255) -> None:
        corners = np.round(np.array(points) * self._side).astype(np.int32)
        thick = self._width(width)
        cv2.polylines(picture, [corners], isClosed=False, color=colour, thickness=thick, lineType=cv2.LINE_AA)  # type: ignore[call-overload]  # grey level or BGR

    def text(
        self, picture: Pixels, text: str, at: tuple[float, float], height: float, colour: tuple[int, int, int]
    ) -> None:
        scale = height * self._side / 22
        cv2.putText(
            picture,
            text,
            self._px(*at),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            colour,
            max(1, round(scale * 1.6)),
            cv2.LINE_AA,
        )

    def _px(self, x: float, y: float) -> tuple[int, int]:
        return round(x * self._side), round(y * self._side)

    def _width(self, width: float) -> int:
        return max(1, round(width * self._side))


def _toned(colour: Field, rng: np.random.Generator, spread: float = 0.03) -> tuple[float, float, float]:
    tone = np.clip(colour * float(rng.normal(1, spread)), 0, 255)
    return float(tone[0]), float(tone[1]), float(tone[2])


def _halved(picture: Pixels) -> Pixels:
    side = picture.shape[0] // _DRAW
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _moved(picture: Pixels, matrix: Field, border: int) -> Pixels:
    size_wh = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpAffine(picture, matrix, size_wh, borderMode=border), np.uint8)

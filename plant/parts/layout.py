# SPDX-License-Identifier: Apache-2.0
"""Where everything lies on the board, in shares of the picture's side. Numbers only; drawn by `board`."""

from dataclasses import dataclass
from typing import Final

Box = tuple[float, float, float, float]
Point = tuple[float, float]

# The board's border within the picture.
EDGE: Final = 0.045
_BLACK: Final = (44, 42, 41)
_BROWN: Final = (86, 124, 158)
_SLATE: Final = (58, 54, 52)
_STEEL: Final = (172, 175, 176)


@dataclass(frozen=True)
class Component:
    """One component: its printed outline, its pads, and what covers them. Boxes are x0, y0, x1, y1."""

    name: str
    outline: Box
    body: Box
    colour: tuple[int, int, int]
    pads: tuple[Box, ...]
    leads: tuple[Box, ...] = ()
    marking: str = ""
    is_removable: bool = True


def _chip(name: str, x: float, y: float, colour: tuple[int, int, int], *, is_upright: bool = False) -> Component:
    """A two-pad chip with silver ends, its middle at x, y."""
    half, thick, cap = 0.034, 0.0175, 0.012

    def box(x0: float, y0: float, x1: float, y1: float) -> Box:
        return (x + y0, y + x0, x + y1, y + x1) if is_upright else (x + x0, y + y0, x + x1, y + y1)

    return Component(
        name=name,
        outline=box(-half - 0.012, -thick - 0.006, half + 0.012, thick + 0.006),
        body=box(-half + cap, -thick, half - cap, thick),
        colour=colour,
        pads=(
            box(-half - 0.010, -thick - 0.003, -half + cap + 0.004, thick + 0.003),
            box(half - cap - 0.004, -thick - 0.003, half + 0.010, thick + 0.003),
        ),
        leads=(box(-half, -thick, -half + cap, thick), box(half - cap, -thick, half, thick)),
    )


def _package(name: str, box: Box, pins: int, marking: str) -> Component:
    """A black package with pins on its upper and lower side."""
    x0, y0, x1, y1 = box
    pitch = (x1 - x0) / pins
    pads, leads = [], []
    for pin in range(pins):
        left = x0 + pitch * (pin + 0.5) - 0.0085
        for near, far in ((y0 - 0.034, y0 - 0.002), (y1 + 0.002, y1 + 0.034)):
            pads.append((left - 0.002, near, left + 0.019, far))
            leads.append((left, near + 0.006, left + 0.017, far - 0.004))
    outline = (x0, y0 - 0.034, x1, y1 + 0.034)
    return Component(name, outline, box, _BLACK, tuple(pads), tuple(leads), marking, is_removable=False)


COMPONENTS: Final = (
    _package("U1", (0.36, 0.36, 0.60, 0.56), 7, "SL32"),
    _package("U2", (0.68, 0.20, 0.84, 0.31), 4, "V5"),
    _chip("R1", 0.20, 0.24, _SLATE),
    _chip("R2", 0.36, 0.24, _SLATE),
    _chip("R3", 0.52, 0.24, _SLATE),
    _chip("C1", 0.22, 0.42, _BROWN, is_upright=True),
    _chip("C2", 0.22, 0.60, _BROWN, is_upright=True),
    _chip("C3", 0.74, 0.46, _BROWN),
    _chip("C4", 0.74, 0.57, _BROWN),
    _chip("R4", 0.36, 0.74, _SLATE),
    _chip("R5", 0.36, 0.84, _SLATE),
    Component(
        name="X1",
        outline=(0.12, 0.72, 0.27, 0.82),
        body=(0.128, 0.728, 0.262, 0.812),
        colour=_STEEL,
        pads=((0.118, 0.74, 0.15, 0.80), (0.24, 0.74, 0.272, 0.80)),
    ),
)
TRACES: Final[tuple[tuple[Point, ...], ...]] = (
    ((0.24, 0.24), (0.32, 0.24)),
    ((0.40, 0.24), (0.48, 0.24)),
    ((0.16, 0.24), (0.12, 0.28), (0.12, 0.50), (0.16, 0.54), (0.22, 0.56)),
    ((0.22, 0.46), (0.22, 0.56)),
    ((0.22, 0.38), (0.30, 0.33), (0.377, 0.33)),
    ((0.56, 0.24), (0.62, 0.24), (0.70, 0.18)),
    ((0.411, 0.33), (0.411, 0.30), (0.44, 0.28), (0.60, 0.28), (0.64, 0.33), (0.70, 0.33)),
    ((0.58, 0.33), (0.66, 0.38), (0.90, 0.38), (0.90, 0.46), (0.78, 0.46)),
    ((0.78, 0.57), (0.90, 0.57), (0.90, 0.66), (0.84, 0.70)),
    ((0.70, 0.46), (0.65, 0.46), (0.65, 0.57), (0.70, 0.57)),
    ((0.377, 0.59), (0.377, 0.66), (0.32, 0.70), (0.32, 0.74)),
    ((0.411, 0.59), (0.411, 0.67), (0.40, 0.70), (0.40, 0.74)),
    ((0.446, 0.59), (0.446, 0.68), (0.50, 0.74), (0.50, 0.88)),
    ((0.48, 0.59), (0.48, 0.67), (0.54, 0.73), (0.54, 0.88)),
    ((0.514, 0.59), (0.514, 0.66), (0.58, 0.72), (0.58, 0.88)),
    ((0.24, 0.77), (0.32, 0.77), (0.32, 0.84)),
    ((0.13, 0.77), (0.09, 0.73), (0.09, 0.34), (0.14, 0.29)),
    ((0.40, 0.84), (0.46, 0.84), (0.46, 0.92), (0.20, 0.92)),
    ((0.22, 0.64), (0.22, 0.68), (0.30, 0.68)),
    ((0.20, 0.10), (0.58, 0.10), (0.62, 0.14), (0.88, 0.14), (0.92, 0.18), (0.92, 0.34)),
    ((0.20, 0.14), (0.54, 0.14), (0.58, 0.18), (0.64, 0.18)),
)
VIAS: Final[tuple[Point, ...]] = (
    (0.20, 0.10),
    (0.20, 0.14),
    (0.64, 0.18),
    (0.92, 0.34),
    (0.12, 0.42),
    (0.30, 0.68),
    (0.50, 0.88),
    (0.54, 0.88),
    (0.58, 0.88),
    (0.20, 0.92),
    (0.60, 0.64),
    (0.86, 0.80),
    (0.80, 0.80),
    (0.74, 0.80),
    (0.68, 0.80),
    (0.48, 0.18),
)

# SPDX-License-Identifier: Apache-2.0
"""The curves of the report page as SVG, drawn from arrays by hand: no script, no library, sharp on paper.

Positive means defect. Texts come from here alone, none from a file name. Called by `page`.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
# As on the dashboard: told apart by lightness and place too, so that they read on grey paper.
SOUND: Final = "#58b8a0"
DEFECTIVE: Final = "#c8420b"
INK: Final = "#14202e"
MUTED: Final = "#5d6b7a"
RULE: Final = "#dfe5ec"
REVIEW: Final = "#f0b429"
_WIDTH, _HEIGHT = 960, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 34, 46
_BINS: Final = 44
# Scores beyond this many distances from the middle of the sound ones to the NG limit share the last bar.
_FARTHEST: Final = 2.5
_RECALL_TICKS: Final = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class _Frame:
    """Data to pixels of the drawing."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x0) / (self.x1 - self.x0) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (_HEIGHT - _TOP - _BOTTOM)


def score_histogram(sound: Floats, defective: Floats, *, ok_limit: float, ng_limit: float) -> str:
    """How sound scores [n] (upwards) and defective ones [m] (downwards) lie to both limits."""
    every = np.concatenate([sound, defective]).astype(np.float64)
    middle = float(np.median(sound)) if len(sound) else ok_limit
    low = min(float(every.min()), ok_limit)
    reach = max(ng_limit - middle, ng_limit - low, 1e-9)
    high = max(ng_limit + 0.1 * reach, min(float(every.max()), ng_limit + _FARTHEST * reach))
    width = (high - low) / _BINS
    # Room on both sides, so that no bar stands on the axis and the last one can gather what lies beyond.
    edges = np.linspace(low, high, _BINS + 1)
    above, below = (np.histogram(np.clip(each, low, high), edges)[0] for each in (sound, defective))
    tallest = [max(1, int(counts.max())) for counts in (above, below)]
    frame = _Frame(low - width, high + width, -tallest[1] * 1.05, tallest[0] * 1.05)
    parts = [_box("Scores of held-out sound and defective pictures with both limits")]
    parts.append(_band(frame, ok_limit, ng_limit))
    for counts, colour, sign in ((above, SOUND, 1), (below, DEFECTIVE, -1)):
        for place, count in enumerate(counts):
            if count:
                top, foot = sorted((frame.y(sign * int(count)), frame.y(0)))
                parts.append(
                    f'<rect x="{frame.x(edges[place]) + 0.5:.1f}" y="{top:.1f}" '
                    f'width="{frame.x(edges[place + 1]) - frame.x(edges[place]) - 1:.1f}" '
                    f'height="{foot - top:.1f}" fill="{colour}"/>'
                )
    parts.append(_line(frame.x(frame.x0), frame.y(0), frame.x(frame.x1), frame.y(0), INK))
    for value, told in ((ok_limit, "OK limit"), (ng_limit, "NG limit")):
        parts.append(_line(frame.x(value), _TOP, frame.x(value), _HEIGHT - _BOTTOM, INK, dash="5 3"))
        is_left = told == "OK limit"
        parts.append(
            _text(frame.x(value) + (-5 if is_left else 5), _TOP - 8, told, anchor="end" if is_left else "start")
        )
    parts += [
        _text(frame.x(tick), _HEIGHT - _BOTTOM + 17, f"{tick:g}", colour=MUTED, anchor="middle")
        for tick in ticks(low, high)
    ]
    beyond = int((every > high).sum())
    more = f"; the last bar holds {beyond} beyond the axis" if beyond else ""
    parts.append(
        _text(_WIDTH - _RIGHT, _HEIGHT - 8, f"score (higher: more suspicious){more}", colour=MUTED, anchor="end")
    )
    for value, counts in ((tallest[0], above), (-tallest[1], below)):
        if counts.any():
            parts.append(_text(_LEFT - 8, frame.y(value) + 4, str(abs(value)), colour=MUTED, anchor="end"))
    parts.append(_text(_LEFT - 8, frame.y(0) + 4, "0", colour=MUTED, anchor="end"))
    parts.append(_legend(((SOUND, "sound, upwards"), (DEFECTIVE, "defective, downwards"), (REVIEW, "held for review"))))
    return "".join([*parts, "</svg>"])


def recall_curve(scores: Floats, is_defective: NDArray[np.bool_], *, ok_limit: float, ng_limit: float) -> str:
    """Share of defective pictures caught over the share of sound ones thrown out, for every limit; both limits marked.

    The axis of the sound pictures is stretched at the left (square root), where a line works.
    """
    sound, caught = np.sort(scores[~is_defective]), np.sort(scores[is_defective])
    limits = np.r_[np.inf, np.unique(scores)[::-1]]
    overkill, recall = _at_or_above(sound, limits), _at_or_above(caught, limits)
    frame = _Frame(0, 1, 0, 1.0)
    parts = [_box("Share of defective pictures caught over share of sound pictures rejected")]
    for tick in _RECALL_TICKS:
        x = frame.x(math.sqrt(tick))
        parts.append(_line(x, _TOP, x, _HEIGHT - _BOTTOM, RULE))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 17, f"{100 * tick:g} %", colour=MUTED, anchor="middle"))
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_line(_LEFT, frame.y(tick), _WIDTH - _RIGHT, frame.y(tick), RULE))
        parts.append(_text(_LEFT - 8, frame.y(tick) + 4, f"{100 * tick:g} %", colour=MUTED, anchor="end"))
    steps = [f"M{frame.x(0):.1f} {frame.y(recall[0]):.1f}"]
    for share, hit in zip(overkill, recall, strict=True):
        # First to the right, then up: between two limits nothing is caught that was not.
        steps.append(f"H{frame.x(math.sqrt(max(0.0, share))):.1f}V{frame.y(hit):.1f}")
    parts.append(f'<path d="{"".join(steps)}" fill="none" stroke="{INK}" stroke-width="2"/>')
    last_y = float("-inf")
    for limit, told, colour in ((ok_limit, "not passed", REVIEW), (ng_limit, "rejected at once", DEFECTIVE)):
        share, hit = float((sound >= limit).mean()), float((caught >= limit).mean())
        x, y = frame.x(math.sqrt(share)), frame.y(hit)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}" stroke="{INK}"/>')
        # Right of and below a point of a rising curve there is room, and left of and above it; never over each other.
        is_right = x > _WIDTH * 0.6
        text_y = max(y + (-10 if is_right else 18), last_y + 16)
        last_y = text_y
        text = f"{told}: {100 * hit:.0f} % of defective, {100 * share:.1f} % of sound"
        parts.append(_text(x + (-12 if is_right else 12), text_y, text, anchor="end" if is_right else "start"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 8, "share of sound pictures", colour=MUTED, anchor="end"))
    parts.append(_text(_LEFT, _TOP - 12, "share of defective pictures", colour=MUTED))
    return "".join([*parts, "</svg>"])


def _at_or_above(ordered: Floats, limits: Floats) -> list[float]:
    """Share of ascending scores at or above each limit."""
    return [1 - int(np.searchsorted(ordered, limit)) / len(ordered) for limit in limits]


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers (1, 2 or 5 × 10ⁿ apart) within an interval, `most` at most."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    step = 10.0 ** math.floor(math.log10(raw))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _band(frame: _Frame, ok_limit: float, ng_limit: float) -> str:
    left, right = frame.x(ok_limit), frame.x(ng_limit)
    return (
        f'<rect x="{left:.1f}" y="{_TOP}" width="{max(0.0, right - left):.1f}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}" fill="{REVIEW}" opacity=".22"/>'
    )


def _legend(entries: tuple[tuple[str, str], ...]) -> str:
    parts, x = [], float(_LEFT)
    for colour, told in entries:
        parts.append(f'<rect x="{x:.0f}" y="{_HEIGHT - 17}" width="11" height="11" fill="{colour}"/>')
        parts.append(_text(x + 16, _HEIGHT - 8, told, colour=MUTED))
        x += 34 + 6.6 * len(told)
    return "".join(parts)


def _box(title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-size="12" fill="{INK}"><title>{title}</title>'
    )


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, *, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}"{dashes}/>'


def _text(x: float, y: float, told: str, *, colour: str = INK, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{told}</text>'

# SPDX-License-Identifier: Apache-2.0
"""Small pieces of HTML and SVG: badges, figures with intervals, the strip of live verdicts, steppers.

Every text that comes from outside is escaped here. Pure strings; the pages put them on the screen with
`st.html`. Looks live in `theme/style.css`.
"""

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from html import escape
from typing import Final

from contracts.vocabulary import Verdict
from dashboard import palette, words
from dashboard.shapes import Inspection, Rate

# The strip reaches up to this many times the NG limit.
_LIMIT_AT: Final = 1.6
_LEAST: Final = 0.12


def badge(text: str, tone: str = "idle", title: str = "") -> str:
    """A small coloured word."""
    hint = f' title="{escape(title)}"' if title else ""
    return f'<span class="sl-badge sl-{tone}"{hint}>{escape(text)}</span>'


def state(word: str) -> str:
    """A badge for a state word, coloured by what it means."""
    return badge(word.replace("_", " ").lower(), palette.tone(word))


def simulated(is_simulated: bool) -> str:
    """The badge that must stand wherever something is not real; empty for real things."""
    if not is_simulated:
        return ""
    return badge("SIMULATED", "simulated", "Made by the simulator. Never counted or trained with real parts.")


def verdict(word: Verdict) -> str:
    """A verdict with sign and colour."""
    return (
        f'<span class="sl-verdict sl-v-{word.value.lower()}">'
        f"{palette.VERDICT_SIGN[word]} {escape(palette.VERDICT_WORD[word])}</span>"
    )


def package(package_id: str | None) -> str:
    """A short package id; the whole one as a hint."""
    if package_id is None:
        return '<span class="sl-muted">none</span>'
    return f'<code class="sl-id" title="{escape(package_id)}">{escape(words.short(package_id))}</code>'


def figure(
    label: str, value: str, unit: str = "", *, below: Sequence[str] = (), extra: str = "", tone: str = ""
) -> str:
    """A tile: label, large value, unit, what it rests on. `extra` is HTML of ours, placed under the value."""
    known = " sl-unknown" if value == words.NOT_KNOWN else ""
    lines = "".join(f"<div>{escape(line)}</div>" for line in below if line)
    unit_html = f'<span class="sl-unit">{escape(unit)}</span>' if unit else ""
    return (
        f'<div class="sl-tile {f"sl-edge-{tone}" if tone else ""}"><div class="sl-label">{escape(label)}</div>'
        f'<div class="sl-value{known}">{escape(value)}{unit_html}</div>{extra}<div class="sl-below">{lines}</div></div>'
    )


def rate_figure(label: str, rate: Rate, what: str, *, unknown: str, colour: str, tone: str = "") -> str:
    """A tile for a rate: estimate, interval drawn and written, denominator; `unknown` says what to do."""
    if rate.estimate is None:
        return figure(label, words.NOT_KNOWN, below=(unknown,), tone="idle")
    below = (words.rests_on(rate, what), words.interval(rate))
    return figure(label, words.percent(rate.estimate), below=below, extra=whisker(rate, colour), tone=tone)


def whisker(rate: Rate, colour: str) -> str:
    """The interval as a bar with the estimate as a tick, on a scale that starts at 0."""
    top = max(0.02, min(1.0, rate.high * 1.25))
    low, high, at = (100 * min(1.0, share / top) for share in (rate.low, rate.high, rate.estimate or 0.0))
    span = f"left:{low:.2f}%;width:{max(0.8, high - low):.2f}%;background:{colour}"
    return (
        f'<div class="sl-whisker" title="{escape(words.interval(rate))}"><i style="{span}"></i>'
        f'<b style="left:{at:.2f}%;background:{colour}"></b></div>'
    )


def tiles(items: Iterable[str]) -> str:
    """Tiles in a row that wraps on narrow screens."""
    return f'<div class="sl-tiles">{"".join(items)}</div>'


def empty(title: str, advice: str) -> str:
    """What stands where nothing is yet: what it means and what to do."""
    return f'<div class="sl-empty"><b>{escape(title)}</b><div>{escape(advice)}</div></div>'


def banner(text: str, tone: str = "warn") -> str:
    """A line across the page."""
    return f'<div class="sl-banner sl-banner-{tone}" role="status">{escape(text)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML of ours (escaped by whoever made them)."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    whole = f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="sl-scroll"><table class="sl-table">{whole}</table></div>'


def strip(parts: Sequence[Inspection], zone: tzinfo, cells: int = 60) -> str:
    """The last parts of a station, newest right: height is the score against the NG limit, sign the verdict."""
    shown = list(reversed(parts[:cells]))
    blanks = "<i></i>" * (cells - len(shown))
    floor = min((part.score for part in shown if part.score is not None), default=0.0)
    bars = "".join(_bar(part, zone, floor) for part in shown)
    limit = 100 / _LIMIT_AT
    return (
        f'<div class="sl-strip" role="img" aria-label="last {len(shown)} verdicts, newest right">'
        f'<div class="sl-limit" style="bottom:calc({limit:.1f}% * 0.8 + 20%)"></div>{blanks}{bars}</div>'
    )


def _bar(part: Inspection, zone: tzinfo, floor: float) -> str:
    hint = f"{palette.VERDICT_WORD[part.verdict]} · {words.clock_time(part.captured_at, zone)}"
    if doubt := words.clock_doubt(part.clock_error_s):
        hint += f" ({doubt})"
    if part.trigger_number is not None:
        hint += f" · part {part.trigger_number}"
    if part.score is not None and part.ng_limit is not None:
        hint += f" · score {part.score:.3g}, NG from {part.ng_limit:.3g}"
    if part.verdict is Verdict.NO_DECISION:
        hint += f" · {part.cause.value.replace('_', ' ').lower()}"
    sign = "" if part.verdict is Verdict.OK else palette.VERDICT_SIGN[part.verdict]
    return (
        f'<i class="sl-bar-{part.verdict.value.lower()}" title="{escape(hint)}">'
        f'<u style="height:{100 * _height(part, floor):.1f}%"></u><s>{sign}</s></i>'
    )


def _height(part: Inspection, floor: float) -> float:
    """0 … 1, from the lowest score shown; 1 / `_LIMIT_AT` is the NG limit.

    Scores have no natural zero, so the strip spreads what it shows. Above the limit it flattens but never ends: a
    higher score is always a higher bar. A part without a score fills the strip: it must be seen.
    """
    if part.score is None or part.ng_limit is None:
        return 1.0
    span = part.ng_limit - floor
    if span <= 0:
        return 1.0
    reached = (part.score - floor) / span
    if reached <= 1:
        return (_LEAST + (1 - _LEAST) * reached) / _LIMIT_AT
    headroom = 1 - 1 / _LIMIT_AT
    return 1 - headroom / (1 + (1 - _LEAST) / _LIMIT_AT / headroom * (reached - 1))


def legend() -> str:
    """What the colours and signs of the strip mean."""
    items = "".join(verdict(word) for word in Verdict)
    words_html = '<span class="sl-muted">bar height: score above the lowest shown; dashed line: NG limit</span>'
    return f'<div class="sl-legend">{items}{words_html}</div>'


def progress(fraction: float, tone: str = "busy") -> str:
    """A thin progress bar. `fraction` 0 … 1."""
    done = 100 * min(1.0, max(0.0, fraction))
    return f'<div class="sl-progress"><div class="sl-{tone}" style="width:{done:.0f}%"></div></div>'

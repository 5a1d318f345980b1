# SPDX-License-Identifier: Apache-2.0
"""A rollout as steps: one a wave, each with its stations, its conditions and how far it is.

HTML strings from shapes only. Called by the packages page and the overview.
"""

from datetime import datetime, tzinfo
from html import escape

from contracts.vocabulary import RolloutState
from dashboard import marks, palette, words
from dashboard.lifecycle import Rollout, Wave, WaveStation


def rollout(item: Rollout, zone: tzinfo, now: datetime) -> str:
    """Head line and one step a wave."""
    ended = (
        f"ended {words.ago(item.finished_at, now)}" if item.finished_at else f"began {words.ago(item.created_at, now)}"
    )
    steps = "".join(_wave(wave, item, zone) for wave in item.waves)
    ran = before(item) or (item.previous_package_id,)
    was = ", ".join(marks.package(each) for each in ran)
    return (
        f'<div class="sl-card"><div class="sl-station"><b>Rollout {item.id}</b>{marks.state(item.state)}'
        f"<span>{escape(item.product)}: {was} → "
        f"{marks.package(item.package_id)}</span>"
        f'<span class="sl-right" title="{escape(words.day_time(item.created_at, zone))}">{escape(ended)}</span></div>'
        f'<div class="sl-below" style="margin-bottom:.5rem">{escape(item.reason)}</div>'
        f'<div class="sl-steps">{steps}</div></div>'
    )


def before(item: Rollout) -> tuple[str | None, ...]:
    """What the stations that it touched ran before, each package once; after a trial not the champion."""
    touched = [each for wave in item.waves for each in wave.stations if each.assignment_number is not None]
    return tuple(dict.fromkeys(each.before_package_id for each in touched))


def _wave(wave: Wave, item: Rollout, zone: tzinfo) -> str:
    tone = palette.tone(wave.state)
    if item.state is RolloutState.PAUSED and tone == "busy":
        tone = "warn"
    name = "Canary" if wave.index in {0, 1} and wave is item.waves[0] else f"Wave {item.waves.index(wave) + 1}"
    stations = "".join(_station(entry, zone) for entry in wave.stations)
    return (
        f'<div class="sl-step sl-top-{tone}"><b>{name}</b> {marks.state(wave.state)}{stations}'
        f'<div class="sl-cond">opens the next: {escape(wave.success_condition)}<br>'
        f"stops the rollout: {escape(wave.error_condition)}</div></div>"
    )


def _station(entry: WaveStation, zone: tzinfo) -> str:
    sign = '<span class="sl-v-ok">✓</span>' if entry.is_done else '<span class="sl-muted">○</span>'
    rate = entry.reject_rate
    rejects = "" if rate is None or rate.estimate is None else f", reject rate {words.estimate(rate)}"
    judged = f"{words.plural(entry.parts_judged, 'part')} judged{rejects}"
    number = "" if entry.assignment_number is None else f" · assignment {entry.assignment_number}"
    detail = f"<br>{escape(entry.detail)}" if entry.detail else ""
    detail += _way_back(entry, zone)
    return (
        f'<div class="sl-wavestation">{sign}<b>{escape(entry.station.rsplit("/", maxsplit=1)[-1])}</b>'
        f"{marks.state(entry.progress)}</div>"
        f'<div class="sl-below">{escape(judged + number)}{detail}</div>'
    )


def _way_back(entry: WaveStation, zone: tzinfo) -> str:
    """Whether it really went back: that it was ordered to says little."""
    back = entry.way_back
    if back is None:
        return ""
    what = marks.package(back.package_id)
    at = f" since {escape(words.day_time(back.since, zone))}" if back.since is not None else ""
    said = {
        "BACK": f"back on {what}{at}, by its own word",
        "REFUSED": f"<b>refuses to go back</b> to {what}{at}",
    }.get(back.state, f"ordered back to {what}{at}, not there yet")
    return f"<br>{said}{f': {escape(back.detail)}' if back.detail else ''}"


def history(item: Rollout, zone: tzinfo) -> str:
    """What happened, oldest first, in the shown zone."""
    lines = (split_line(line) for line in item.history)
    rows = "".join(
        f"<li><time>{escape(words.clock_time(at, zone)) if at else ''}</time><span>{escape(text)}</span></li>"
        for at, text in lines
    )
    return f'<ul class="sl-log">{rows}</ul>' if rows else '<div class="sl-below">Nothing has happened yet.</div>'


def split_line(line: str) -> tuple[datetime | None, str]:
    """`2026-01-02T03:04:05Z text` into time and text; a line without a time stays whole."""
    first, _, rest = line.partition(" ")
    try:
        at = datetime.fromisoformat(first)
    except ValueError:
        return None, line
    return (at, rest) if at.tzinfo else (None, line)

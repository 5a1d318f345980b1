# SPDX-License-Identifier: Apache-2.0
"""What each station measured on its own hardware: every variant, provider and number of threads, and the one it runs.

HTML strings from shapes only; measures nothing. Called by the packages page.
"""

from html import escape

from dashboard import marks, words
from dashboard.shapes import PackageProgress, Station, WayMeasured

HEAD = ("Station", "Product", "Package", "Variant", "Provider", "Threads", "Time a part", "")


def runs(step: PackageProgress) -> str:
    """Threads and time of the way that a package runs, as a line; empty when the station did not say."""
    threads = "" if step.threads is None else words.plural(step.threads, "thread")
    speed = "" if step.infer_p50_ms is None else f"{words.milliseconds(step.infer_p50_ms)} a part"
    return ", ".join(part for part in (threads, speed) if part)


def rows(stations: tuple[Station, ...]) -> list[tuple[str, ...]]:
    """One row for each way of each station, in the order in which the station prefers them."""
    return [
        _row(item, step, way)
        for item in stations
        for step in (item.package_status.packages if item.package_status else ())
        for way in step.measured
    ]


def _row(item: Station, step: PackageProgress, way: WayMeasured) -> tuple[str, ...]:
    is_run = (way.variant, way.provider, way.threads) == (step.variant, step.provider, step.threads)
    said = marks.badge("runs", "good") if is_run else ""
    return (
        f'<b>{escape(item.name)}</b><div class="sl-below">{escape(item.line)}</div>',
        escape(step.product),
        marks.package(step.package_id),
        escape(way.variant.value),
        escape(way.provider),
        words.count(way.threads),
        words.milliseconds(way.infer_p50_ms) if way.infer_p50_ms is not None else "cannot run so",
        f'{said}<span class="sl-below">{escape(way.note)}</span>',
    )

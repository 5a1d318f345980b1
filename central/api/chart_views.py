# SPDX-License-Identifier: Apache-2.0
"""Control charts as data: the same rows and the same functions as the watch, drawn instead of judged.

Draws nothing itself and raises no alarm. Called through `Services.loop.charts` by `GET /quality/charts`.
"""

from datetime import datetime, timedelta

import numpy as np
from sqlmodel import Session, select

from central.api.schemas import ChartPoint, ChartView
from central.quality.charts import follow_cusum, p_chart_limits, plan_cusum
from central.services.watches.blocks import MEASURES, WATCHED_BLOCKS, Measure, measure_chart
from central.services.watches.chart_blocks import Stream, blocks_of, live_streams
from central.services.watches.watching import escape_evidence
from central.settings import WatchSettings
from central.store.learning_tables import Champion, ChartBlock

_MOST_POINTS = 500


def draw_charts(session: Session, settings: WatchSettings, station: str | None, now: datetime) -> list[ChartView]:
    """Charts of the streams that are live, and the escape chart of each product (station `*`)."""
    views = []
    for stream in live_streams(session, now):
        if station is not None and stream.station != station:
            continue
        blocks = blocks_of(session, stream, settings.reference_blocks, WATCHED_BLOCKS)
        views.append(_reject_chart(stream, blocks, settings))
        views += [view for measure in MEASURES if (view := _measure_chart(stream, blocks, measure, settings))]
    if station is None:
        believed_before = now - timedelta(seconds=settings.unconfirmed_after_s)
        views += [
            _escape_chart(session, champion, settings, believed_before)
            for champion in session.exec(select(Champion)).all()
        ]
    return views


def _reject_chart(stream: Stream, blocks: list[ChartBlock], settings: WatchSettings) -> ChartView:
    reference = blocks[: settings.reference_blocks]
    is_watching = len(reference) == settings.reference_blocks
    count, of = sum(block.diverted for block in reference), sum(block.parts for block in reference)
    limits = p_chart_limits(count, of, settings.block_parts) if is_watching else None
    points = []
    for index, block in enumerate(blocks):
        share = block.diverted / block.parts
        is_outside = limits is not None and index >= len(reference) and not limits.low <= share <= limits.high
        rule = "outside exact binomial limits" if is_outside else None
        points.append(ChartPoint(at=block.at, value=share, of=block.parts, rule=rule))
    return ChartView(
        name="reject-rate",
        kind="p",
        station=stream.station,
        product=stream.product,
        unit=f"share of {settings.block_parts} parts (NG or REVIEW)",
        phase="II" if is_watching else "I",
        centre_line=count / of if is_watching else None,
        lower_limit=limits.low if limits else None,
        upper_limit=limits.high if limits else None,
        points=points[-_MOST_POINTS:],
        is_simulated=stream.is_simulated,
    )


def _measure_chart(
    stream: Stream, blocks: list[ChartBlock], measure: Measure, settings: WatchSettings
) -> ChartView | None:
    known = [(block, value) for block in blocks if (value := measure.of(block)) is not None]
    if len(known) < len(blocks) or not known:
        return None
    path = measure_chart(np.array([value for _, value in known]), settings, measure.least_deviation)
    is_watching = path.centre is not None
    if is_watching:
        watched = known[settings.reference_blocks :]
        shown = [(block, float(value)) for (block, _), value in zip(watched, path.value, strict=True)]
    else:
        shown = known
    signals = set(path.signal_at)
    return ChartView(
        name=measure.name,
        kind="ewma",
        station=stream.station,
        product=stream.product,
        unit=measure.unit,
        phase="II" if is_watching else "I",
        centre_line=path.centre,
        # The limits open towards their final width; the last pair is the one in force.
        lower_limit=float(path.low[-1]) if len(path.low) else None,
        upper_limit=float(path.high[-1]) if len(path.high) else None,
        points=[
            ChartPoint(
                at=block.at,
                value=value,
                of=block.parts,
                rule="EWMA outside its limits" if is_watching and index in signals else None,
            )
            for index, (block, value) in enumerate(shown)
        ][-_MOST_POINTS:],
        is_simulated=stream.is_simulated,
    )


def _escape_chart(
    session: Session, champion: Champion, settings: WatchSettings, believed_before: datetime
) -> ChartView:
    plan = plan_cusum(
        settings.escape_tolerated_share,
        settings.escape_rejected_share,
        int(settings.escape_parts_between_false_alarms),
    )
    parts = escape_evidence(session, champion, believed_before).floor
    path = follow_cusum([part.is_defective for part in parts], plan)
    points = [
        ChartPoint(at=part.captured_at, value=float(value), rule="Bernoulli CUSUM" if value >= plan.limit else None)
        for part, value in zip(parts, path.value, strict=True)
    ]
    return ChartView(
        name="escapes",
        kind="bernoulli-cusum",
        station="*",
        product=champion.product,
        unit=f"steps (an audited defective part: +{plan.up}, a good one: -1)",
        phase="II",
        centre_line=0.0,
        upper_limit=float(plan.limit),
        points=points[-_MOST_POINTS:],
        is_simulated=champion.is_simulated,
    )

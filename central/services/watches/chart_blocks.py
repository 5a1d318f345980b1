# SPDX-License-Identifier: Apache-2.0
"""Gathers inspections into blocks of consecutive parts and reads them back as streams for the charts.

A stream is one station × product × package: limits learned under one package say nothing about another. Decides
nothing; `services/watches/watching.py` and the charts of the API read the streams.

Restart-safe: a stream's last block says up to which inspection it has gone; parts of an unfinished block are read
again next time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from central.store.learning_tables import ChartBlock
from central.store.tables import Inspection, RollupMinute, Station, columns_of
from contracts.vocabulary import Verdict

# Streams without a part for this long are not looked for; they go on where they stopped when parts come again.
_LIVE_WINDOW: Final = timedelta(hours=2)
_MOST_PARTS_A_TURN: Final = 5_000
_DIVERTED: Final = (Verdict.NG, Verdict.REVIEW)


@dataclass(frozen=True, order=True)
class Stream:
    """What one chart is about."""

    station_id: int
    station: str
    product: str
    package_id: str
    is_simulated: bool


def live_streams(session: Session, now: datetime) -> list[Stream]:
    """Streams that had parts lately, by the rollups (which stay small however many parts there are)."""
    rows = session.exec(
        select(RollupMinute.station_id, RollupMinute.product, RollupMinute.package_id, RollupMinute.is_simulated)
        .where(RollupMinute.minute >= now - _LIVE_WINDOW, RollupMinute.package_id != "", RollupMinute.product != "")
        .distinct()
    ).all()
    addresses = dict(session.exec(select(Station.id, Station.address)).all())
    return [Stream(row[0], addresses[row[0]], row[1], row[2], row[3]) for row in sorted(rows)]


def new_blocks(session: Session, stream: Stream, block_parts: int) -> list[ChartBlock]:
    """Whole blocks of parts since the stream's last block; not yet added to the session."""
    last = session.exec(_of_stream(stream).order_by(col(ChartBlock.number).desc()).limit(1)).first()
    c = columns_of(Inspection).c
    rows = (
        session.connection()
        .execute(
            sa_select(c.id, c.captured_at, c.verdict, c.score, c.brightness)
            .where(
                c.package_id == stream.package_id,
                c.station_id == stream.station_id,
                c.product == stream.product,
                c.is_simulated == stream.is_simulated,
                c.verdict != Verdict.NO_DECISION,
                c.id > (last.last_inspection_id if last else 0),
            )
            .order_by(c.id)
            .limit(_MOST_PARTS_A_TURN)
        )
        .all()
    )
    first_number = last.number + 1 if last else 0
    whole = len(rows) // block_parts
    return [
        _block(stream, first_number + index, rows[index * block_parts : (index + 1) * block_parts])
        for index in range(whole)
    ]


def blocks_of(session: Session, stream: Stream, reference_blocks: int, newest: int) -> list[ChartBlock]:
    """The stream's reference blocks and its `newest` latest ones, in order."""
    reference = session.exec(
        _of_stream(stream).where(ChartBlock.number < reference_blocks).order_by(col(ChartBlock.number))
    ).all()
    watched = session.exec(
        _of_stream(stream)
        .where(ChartBlock.number >= reference_blocks)
        .order_by(col(ChartBlock.number).desc())
        .limit(newest)
    ).all()
    return [*reference, *reversed(watched)]


def _of_stream(stream: Stream) -> Any:
    return select(ChartBlock).where(
        ChartBlock.station_id == stream.station_id,
        ChartBlock.product == stream.product,
        ChartBlock.package_id == stream.package_id,
        ChartBlock.is_simulated == stream.is_simulated,
    )


def _block(stream: Stream, number: int, rows: Sequence[Any]) -> ChartBlock:
    brightness = [row.brightness for row in rows if row.brightness is not None]
    # Of accepted parts only: a run of rejects is the reject chart's to see, not a shift of the picture.
    scores = [math.log(row.score) for row in rows if row.verdict is Verdict.OK and row.score and row.score > 0]
    return ChartBlock(
        station_id=stream.station_id,
        product=stream.product,
        package_id=stream.package_id,
        is_simulated=stream.is_simulated,
        number=number,
        last_inspection_id=rows[-1].id,
        at=rows[-1].captured_at,
        parts=len(rows),
        diverted=sum(row.verdict in _DIVERTED for row in rows),
        brightness=math.fsum(brightness) / len(brightness) if brightness else None,
        log_score=math.fsum(scores) / len(scores) if scores else None,
    )

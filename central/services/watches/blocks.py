# SPDX-License-Identifier: Apache-2.0
"""Signals of one stream's blocks: p chart of diverted parts, EWMA of brightness and of the score's logarithm.

Reads blocks, computes with `quality/charts`, words the signal. Raises nothing itself. Called by
`services/watches/watching.py` for streams that have grown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlmodel import Session

from central.quality.charts import EwmaPath, ewma_chart, p_chart_limits
from central.quality.rates import binomial_interval
from central.services.alarms.rows import Signal
from central.services.watches.chart_blocks import Stream, blocks_of
from central.settings import WatchSettings
from central.store.learning_tables import ChartBlock
from contracts.vocabulary import AlarmKind

# Blocks of phase II that an EWMA is started anew from; its weight forgets older ones long before.
WATCHED_BLOCKS: Final = 400
# A reference period can by chance be too quiet. In grey levels, and in units of ln(score).
_LEAST_BRIGHTNESS_DEVIATION: Final = 0.25
_LEAST_LOG_SCORE_DEVIATION: Final = 0.01


@dataclass(frozen=True)
class Measure:
    """A value of a block that an EWMA follows. `least_deviation` is in `unit`."""

    name: str
    words: str
    unit: str
    least_deviation: float
    remedy: str
    of: Callable[[ChartBlock], float | None]


_BRIGHTNESS: Final = Measure(
    "brightness",
    "The brightness of the pictures",
    "grey levels",
    _LEAST_BRIGHTNESS_DEVIATION,
    "Look at the lamp, the lens and the exposure. If the change is wanted, close this alarm.",
    lambda block: block.brightness,
)
_LOG_SCORE: Final = Measure(
    "log-score",
    "The score of accepted parts",
    "ln(score)",
    _LEAST_LOG_SCORE_DEVIATION,
    "Parts look different from before, to the package. Compare new pictures with old ones; audit more.",
    lambda block: block.log_score,
)
MEASURES: Final = (_BRIGHTNESS, _LOG_SCORE)


def block_signals(session: Session, stream: Stream, settings: WatchSettings, newest: int) -> list[Signal]:
    """Signals in the `newest` blocks of a stream; older ones were looked at when they were new."""
    blocks = blocks_of(session, stream, settings.reference_blocks, WATCHED_BLOCKS)
    watched = blocks[settings.reference_blocks :]
    if not watched:
        return []
    signals = _reject_signals(stream, blocks[: settings.reference_blocks], watched[-newest:])
    for measure in MEASURES:
        known = [value for block in blocks if (value := measure.of(block)) is not None]
        if len(known) == len(blocks):
            path = measure_chart(np.array(known), settings, measure.least_deviation)
            signals += _shift_signals(stream, measure, path, watched, newest)
    return signals


def measure_chart(values: "np.typing.NDArray[np.float64]", settings: WatchSettings, least_deviation: float) -> EwmaPath:
    """The EWMA chart of block means with central's settings."""
    return ewma_chart(values, settings.reference_blocks, settings.ewma_weight, settings.limit_sigmas, least_deviation)


def _reject_signals(stream: Stream, reference: Sequence[ChartBlock], watched: Sequence[ChartBlock]) -> list[Signal]:
    count, of = sum(block.diverted for block in reference), sum(block.parts for block in reference)
    for block in watched:
        limits = p_chart_limits(count, of, block.parts)
        share = block.diverted / block.parts
        if limits.low <= share <= limits.high:
            continue
        usual, here = binomial_interval(count, of), binomial_interval(block.diverted, block.parts)
        direction = "more" if share > limits.high else "fewer"
        return [
            Signal(
                kind=AlarmKind.REJECT_RATE,
                station=stream.station,
                product=stream.product,
                is_simulated=stream.is_simulated,
                message=(
                    f"{stream.station} diverts {direction} parts of {stream.product} than usual: {block.diverted} of "
                    f"{block.parts} ({here.low:.1%} to {here.high:.1%}); usual is {count} of {of} "
                    f"({usual.low:.1%} to {usual.high:.1%})."
                ),
                remedy="Look at the last rejected parts: is the process off, or does the package err?",
                evidence={
                    "chart": "reject-rate",
                    "rule": "outside exact binomial limits",
                    "share": share,
                    "lower_limit": limits.low,
                    "upper_limit": limits.high,
                    "reference_count": count,
                    "reference_of": of,
                    "signal_at_inspection_id": block.last_inspection_id,
                    "package_id": stream.package_id,
                },
            )
        ]
    return []


def _shift_signals(
    stream: Stream, measure: Measure, path: EwmaPath, watched: Sequence[ChartBlock], newest: int
) -> list[Signal]:
    new = [index for index in path.signal_at if index >= len(watched) - newest]
    if not new or path.centre is None:
        return []
    index = new[0]
    value, low, high = float(path.value[index]), float(path.low[index]), float(path.high[index])
    places = digits_apart(value, low, high)
    return [
        Signal(
            kind=AlarmKind.IMAGE_SHIFT,
            station=stream.station,
            product=stream.product,
            is_simulated=stream.is_simulated,
            message=(
                f"{measure.words} at {stream.station} ({stream.product}) has moved: its moving average is "
                f"{value:.{places}f} {measure.unit}, limits {low:.{places}f} to {high:.{places}f}, "
                f"usual {path.centre:.{places}f}."
            ),
            remedy=measure.remedy,
            evidence={
                "chart": measure.name,
                "rule": "EWMA outside its limits",
                "value": value,
                "centre_line": path.centre,
                "lower_limit": low,
                "upper_limit": high,
                "reference_blocks": path.reference_blocks,
                "block_parts": watched[index].parts,
                "signal_at_inspection_id": watched[index].last_inspection_id,
                "package_id": stream.package_id,
            },
        )
    ]


def digits_apart(value: float, *limits: float) -> int:
    """Decimal places, 2 to 6, at which a value does not read as equal to any of its limits."""
    for places in range(2, 6):
        if all(f"{value:.{places}f}" != f"{limit:.{places}f}" for limit in limits):
            return places
    return 6

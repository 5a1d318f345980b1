# SPDX-License-Identifier: Apache-2.0
"""Stations that fell silent, and those that were heard again.

Silence is only counted while central can hear: from its own start, and anew from each return of the broker. While
the broker is away nobody is accused and no alarm is closed; `/readyz` says that the broker is away. What the broker
repeats when it is back is no word of a station (`stations.keep_status`). A silence whose alarm was closed is not told
again: the station may have been taken away. Raises nothing itself. Called by `watching`.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, select

from central.services.alarms.rows import Signal, open_alarms
from central.store.learning_tables import Alarm
from central.store.repositories.station_words import status_in
from central.store.tables import Station
from contracts.vocabulary import AlarmKind, AlarmState

_LAST_HEARD: Final = "last_heard_at"


class Hearing:
    """Since when central hears its stations. `can_hear`: whether the broker is connected right now.

    To be asked at every tick: an absence between two questions is not noticed.
    """

    def __init__(self, can_hear: Callable[[], bool]) -> None:
        self._can_hear = can_hear
        self._since: datetime | None = None

    def since(self, now: datetime) -> datetime | None:
        """From the first question, or the first one after an absence, on; None: it cannot hear."""
        self._since = (self._since or now) if self._can_hear() else None
        return self._since


class SilenceWatch:
    """See the module."""

    def __init__(self, silent_after_s: float, can_hear: Callable[[], bool]) -> None:
        self._limit = timedelta(seconds=silent_after_s)
        self._hearing = Hearing(can_hear)

    def look(self, session: Session, now: datetime) -> tuple[list[Signal], list[Alarm]]:
        """Signals of stations that are silent, and open alarms of stations that were heard again."""
        since = self._hearing.since(now)
        if since is None:
            return [], []
        stations = session.exec(select(Station)).all()
        signals = [signal for station in stations if (signal := self._signal(station, since, now)) is not None]
        silent = {signal.station for signal in signals}
        signals = [signal for signal in signals if not _is_dealt_with(session, signal)]
        heard = {station.address: station.heard_at for station in stations}
        heard_again = [
            alarm
            for alarm in open_alarms(session, AlarmKind.STATION_SILENT)
            if alarm.station not in silent and _is_news(heard.get(alarm.station or ""), alarm)
        ]
        return signals, heard_again

    def _signal(self, station: Station, since: datetime, now: datetime) -> Signal | None:
        heard = station.heard_at
        if heard is None:
            return None
        status = status_in(station.status)
        is_gone = status is not None and not status.is_connected
        # A goodbye from before central listened may be a plant that was stopped as a whole.
        is_last_word = station.last_report_at is None or station.last_report_at < heard
        said_goodbye = is_gone and heard >= since and is_last_word
        if not said_goodbye and now - max(heard, since) <= self._limit:
            return None
        return Signal(
            kind=AlarmKind.STATION_SILENT,
            station=station.address,
            is_simulated=station.is_simulated,
            message=f"Nothing was heard of {station.address} since {heard:%Y-%m-%d %H:%M:%S} UTC.",
            remedy=(
                "Look whether the station has power and network. Its parts are held by the fail-safe gate. If it was "
                "taken away, close this alarm: it comes back only after the station was heard again."
            ),
            evidence={_LAST_HEARD: heard.isoformat(), "said_goodbye": is_gone},
        )


def _is_dealt_with(session: Session, signal: Signal) -> bool:
    """Whether the last alarm about this station was closed and nothing was heard since."""
    last = session.exec(
        select(Alarm)
        .where(Alarm.kind == signal.kind, Alarm.station == signal.station, Alarm.is_simulated == signal.is_simulated)
        .order_by(col(Alarm.id).desc())
        .limit(1)
    ).first()
    if last is None or last.state is not AlarmState.CLOSED:
        return False
    return bool(last.evidence.get(_LAST_HEARD) == signal.evidence[_LAST_HEARD])


def _is_news(heard: datetime | None, alarm: Alarm) -> bool:
    """Whether the station said something after what the alarm last knew of: silence that starts anew is no news."""
    return heard is not None and heard.isoformat() != alarm.evidence.get(_LAST_HEARD)

# SPDX-License-Identifier: Apache-2.0
"""A line of three stations and two products whose drift monitors have learnt, for the tests of causes.

Parts are rows as ingest writes them, with their rollups; alarms come from central's own watches.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlmodel import col, select

from central.quality.drift import DriftMonitor
from central.services.watches.causes import CauseWatch
from central.services.watches.drift import DriftWatch, learnt_as
from central.services.watches.novelty import NoveltyWatch
from central.services.watches.watching import WatchingService
from central.settings import WatchSettings
from central.store.cause_tables import CauseSuggestion
from central.store.database import Database
from central.store.drift_tables import DriftState
from central.store.learning_tables import Alarm, Champion, Package
from central.store.recipe_tables import RecipeAssignment
from central.store.repositories import stations
from central.store.rollups import add_to_rollups
from central.store.tables import Audit, Inspection
from contracts.vocabulary import (
    AuditState,
    DetectorKind,
    Disposition,
    Judgement,
    SignalState,
    Verdict,
    VerdictCause,
)

PACKAGE = "a" * 64
PRODUCTS = ("ring", "board")
STATIONS = tuple(f"plant/line-1/st-{number}" for number in (1, 2, 3))
TAKT_S = 1.8
SETTINGS = WatchSettings(drift_reference_days=1.0, escape_parts_between_false_alarms=200)
_BEGAN = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
_REFERENCE = int(1.05 * 86_400 / TAKT_S)
# Products change every so many parts.
_RUN = 60

Change = Callable[[float], float]
Changes = Mapping[tuple[str, str], Mapping[str, Change]]


def usual_channels(rng: np.random.Generator, count: int) -> dict[str, Any]:
    """A quiet process."""
    return {
        "score": np.exp(-1.5 + 0.3 * rng.normal(size=count)),
        "brightness": 120 + rng.normal(size=count),
        "contrast": 30 + 0.3 * rng.normal(size=count),
        "blur": 400 + 8 * rng.normal(size=count),
        "colour": 2 + 0.2 * rng.normal(size=count),
    }


def learnt_monitor() -> bytes:
    """A monitor that knows both products from a day of the very process that the line makes."""
    monitor = DriftMonitor(SETTINGS.drift_reference_days, SETTINGS.drift_false_alarms_per_30_days)
    numbers = np.arange(_REFERENCE)
    at = np.asarray(_BEGAN.timestamp() + TAKT_S * numbers, np.float64)
    products = [learnt_as(PRODUCTS[number // _RUN % 2], PACKAGE) for number in numbers]
    assert monitor.update_many(at, products, usual_channels(np.random.default_rng(5), _REFERENCE)) == []
    assert monitor.reference.is_ready
    return monitor.to_bytes()


class CausesLine:
    """See the module. `feed` lets so many parts come at each station, and lets the watches look now and then."""

    def __init__(self, database: Database, monitor: bytes | None) -> None:
        self.database = database
        self.number = _REFERENCE
        self.package = PACKAGE
        self.reject_share = dict.fromkeys(PRODUCTS, 0.02)
        self.rng = np.random.default_rng(7)
        with database.begin() as session:
            self.ids = stations.ensure(session, STATIONS, _BEGAN)
            for product in PRODUCTS:
                session.add(
                    Package(
                        package_id=PACKAGE if product == "ring" else "e" * 64,
                        product=product, detector=DetectorKind.MIXED, created_at=_BEGAN, registered_at=_BEGAN,
                        size_bytes=1, manifest="{}", is_simulated=False,
                    )
                )  # fmt: skip
            session.flush()
            session.add(Champion(product="ring", package_id=PACKAGE, since=_BEGAN, is_simulated=False))
            if monitor is not None:
                saved = {"upto_inspection_id": 0, "saved_at": self.now, "last_at": self.now, "monitor": monitor}
                for number in self.ids.values():
                    session.add(DriftState.model_validate({"station_id": number, "is_simulated": False, **saved}))
        self.restart()

    def restart(self) -> None:
        """Services of a new process over the same rows."""
        self.drift = DriftWatch(self.database, SETTINGS)
        self.novelty = NoveltyWatch(self.database, SETTINGS)
        self.causes = CauseWatch(self.database, SETTINGS, self.drift, self.novelty)
        self.watching = WatchingService(self.database, SETTINGS, lambda: False)

    @property
    def now(self) -> datetime:
        """Capture time of the next part."""
        return _BEGAN + timedelta(seconds=self.number * TAKT_S)

    def feed(self, count: int, changes: Changes | None = None, ramp: int = 0) -> None:
        """`ramp`: over so many parts a change comes slowly, else at once."""
        done = 0
        while done < count:
            step = min(120, count - done)
            self.commit(step, changes or {}, (done / ramp) if ramp else 1.0)
            done += step
            self.tick()

    def tick(self) -> None:
        """The watches in their order."""
        for service in (self.watching, self.drift, self.novelty, self.causes):
            service.tick(self.now)

    def commit(self, count: int, changes: Changes, share: float = 1.0) -> None:
        """So many parts at each station."""
        rows = []
        for station, number in self.ids.items():
            channels = usual_channels(self.rng, count)
            for index in range(count):
                part = self.number + index
                product = PRODUCTS[part // _RUN % 2]
                row = {name: float(values[index]) for name, values in channels.items()}
                for name, change in changes.get((station, product), {}).items():
                    row[name] += min(share, 1.0) * (change(row[name]) - row[name])
                rows.append(self._row(number, part, product, row))
        with self.database.begin() as session:
            session.connection().execute(insert(Inspection), rows)
            add_to_rollups(session, rows)
        self.number += count

    def _row(self, station_id: int, part: int, product: str, channels: Mapping[str, float]) -> dict[str, Any]:
        at = _BEGAN + timedelta(seconds=part * TAKT_S)
        is_rejected = bool(self.rng.random() < self.reject_share[product])
        return {
            "station_id": station_id, "epoch": 1, "sequence": part, "product": product, "captured_at": at,
            "committed_at": at + timedelta(seconds=1), "verdict": Verdict.NG if is_rejected else Verdict.OK,
            "cause": VerdictCause.SCORE, "package_id": self.package, "disposition": Disposition.PASSED,
            "signal": SignalState.SENT, "is_simulated": False, "clock_error_s": None, "verdict_ms": None, **channels,
        }  # fmt: skip

    def audit(
        self,
        product: str,
        newest: int,
        defective_every: int,
        defect_class: str | None = None,
        verdict: Verdict = Verdict.OK,
    ) -> None:
        """People judge so many of the newest accepted (or rejected) parts, from the oldest on; 0: all are good."""
        with self.database.begin() as session:
            wanted = (
                select(Inspection)
                .where(Inspection.product == product, Inspection.verdict == verdict)
                .order_by(col(Inspection.id).desc())
                .limit(newest)
            )
            for index, part in enumerate(reversed(session.exec(wanted).all())):
                is_bad = bool(defective_every) and index % defective_every == 0
                session.add(
                    Audit(
                        inspection_id=part.id or 0, product=product, drawn_at=self.now, inclusion_probability=0.2,
                        state=AuditState.JUDGED, judged_at=self.now, is_simulated=False,
                        judgement=Judgement.DEFECTIVE if is_bad else Judgement.GOOD,
                        outcome=Judgement.DEFECTIVE if is_bad else Judgement.GOOD,
                        settled_at=self.now,
                        defect_class=defect_class if is_bad else None,
                    )
                )  # fmt: skip

    def send_recipe(self, stations_named: Sequence[str], product: str, version: int) -> None:
        """What `services/recipe_sending.py` writes when it has sent one."""
        with self.database.begin() as session:
            for station in stations_named:
                session.add(
                    RecipeAssignment(
                        station_id=self.ids[station], number=version, versions={product: version},
                        issued_at=self.now, published_at=self.now, sealed="{}",
                    )
                )  # fmt: skip

    def alarms(self) -> list[Alarm]:
        """All, oldest first."""
        with self.database.read() as session:
            return list(session.exec(select(Alarm).order_by(col(Alarm.id))).all())

    def suggestion(self, alarm: Alarm) -> CauseSuggestion | None:
        """What was stored beside an alarm."""
        with self.database.read() as session:
            return session.get(CauseSuggestion, alarm.id)

    def likeliest(self, alarm: Alarm) -> tuple[str, str | None, str | None, str]:
        """Cause, station, product, remedy of the first one."""
        found = self.suggestion(alarm)
        assert found is not None
        assert found.causes, "no cause was suggested"
        first = found.causes[0]
        return first["cause"], first["station"], first["product"], first["remedy"]


def at_station(station: str, **changes: Change) -> Changes:
    """Both products of a station."""
    return {(station, product): changes for product in PRODUCTS}


def of_product(product: str, **changes: Change) -> Changes:
    """One product at all stations."""
    return {(station, product): changes for station in STATIONS}


def times(factor: float) -> Change:
    """A channel multiplied."""
    return lambda value: value * factor


LAMP = {"brightness": times(0.9), "contrast": times(0.9), "blur": times(0.81)}
FOULING = {"brightness": times(0.98), "contrast": times(0.85), "blur": times(0.6)}
BATCH = {"colour": times(1.6), "contrast": times(1.05), "score": times(1.4)}

# SPDX-License-Identifier: Apache-2.0
"""Brings promoted packages to stations in waves, and back when they err.

Reads facts, asks the machine (`domain/rollout.py`), writes its answer and the signed assignments in one transaction,
then publishes. Decides nothing itself. Ticked by the worker; routes start, pause, resume and abort.

Restart-safe: the machine's whole state is in the row, and what was not published is published by a later tick.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter
from sqlmodel import Session, col, select

from central.domain import rollout as machine
from central.domain.rollout_conditions import BakePolicy
from central.errors import ConflictError, NotFoundError
from central.services import alarms
from central.services.assigning import Assigner
from central.services.package_registry import champion_of, promoted_without_rollout, set_champion
from central.services.rollout_facts import (
    heard_stations,
    rightly_diverted,
    seen_of,
    stations_for,
)
from central.services.silence import Hearing
from central.settings import RolloutSettings
from central.store.database import Database
from central.store.learning_tables import Alarm, Assignment, Champion, Package, Promotion, RolloutRow, Training
from central.store.tables import Station
from contracts.vocabulary import PromotionOutcome, RolloutState

_LOG = logging.getLogger(__name__)

Change = Callable[[machine.Rollout, str, datetime], machine.Rollout]
MACHINE: Final = TypeAdapter(machine.Rollout)
OPEN: Final = (RolloutState.READY, RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.WAITING_FOR_APPROVAL)
_WAITS: Final = "waits: no station of this kind (real or simulated, like the package) has been heard of"


class RolloutService:
    """See the module.

    Args:
        lost_after_s: how long a station may be silent before it counts as gone.
        can_hear: whether the broker is connected right now. Silence and time-outs count only while it is.
    """

    name: Final = "rollouts"

    def __init__(
        self,
        database: Database,
        assigner: Assigner,
        settings: RolloutSettings,
        lost_after_s: float,
        can_hear: Callable[[], bool],
    ) -> None:
        self._database = database
        self._assigner = assigner
        self._settings = settings
        self._lost_after_s = lost_after_s
        self._hearing = Hearing(can_hear)
        self._must_publish_all = threading.Event()
        self._must_publish_all.set()

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._settings.period_s

    def publish_all_again(self) -> None:
        """The broker was connected (again): what it retained may be gone. Done at the next tick."""
        self._must_publish_all.set()

    def tick(self, now: datetime) -> None:
        """Start what was promoted, move what is under way, bring late stations up, publish."""
        self._start_promoted(now)
        hears_since = self._hearing.since(now)
        for rollout_id in self._open_ids():
            self._move(rollout_id, now, hears_since)
        self._catch_up(now)
        self._assigner.renew(now)
        is_everything = self._must_publish_all.is_set()
        self._must_publish_all.clear()
        self._assigner.publish_waiting(now, everything=is_everything)

    def start(self, package_id: str, stations: list[str], canary: int, reason: str, now: datetime) -> int:
        """Begin a rollout by hand.

        Returns:
            Its number; of the one under way when this very package is on its way already.

        Raises:
            NotFoundError: no such package or station.
            ConflictError: the gate did not promote it, or a rollout of the product is under way.
        """
        with self._database.begin() as session:
            package = session.get(Package, package_id)
            if package is None:
                raise NotFoundError(f"package {package_id}: no such package")
            known = set(session.exec(select(Station.address)).all())
            missing = sorted(set(stations) - known)
            if missing:
                raise NotFoundError(f"stations {', '.join(missing)}: never heard of; known: {', '.join(sorted(known))}")
            promotion = session.get(Promotion, package_id)
            if promotion is None or promotion.outcome is not PromotionOutcome.PROMOTED:
                said = promotion.outcome.value if promotion else "nothing yet"
                raise ConflictError(f"package {package_id[:12]}: expected a promoted one, the gate said {said}")
            under_way = self._open_for(session, package)
            if under_way is not None and session.get_one(RolloutRow, under_way).package_id == package_id:
                return under_way
            return self._add(session, package, reason, now, stations=stations, canary=canary)

    def pause(self, rollout_id: int, by: str, now: datetime) -> None:
        """Touch no further station. Errors of touched ones still end the rollout.

        Raises:
            NotFoundError: no such rollout.
            ConflictError: it is not running.
        """
        self._command(rollout_id, machine.pause, by, now)

    def resume(self, rollout_id: int, by: str, now: datetime) -> None:
        """Go on.

        Raises:
            NotFoundError: no such rollout.
            ConflictError: it is not paused.
        """
        self._command(rollout_id, machine.resume, by, now)

    def abort(self, rollout_id: int, by: str, now: datetime) -> None:
        """Stop for good and send every touched station back.

        Raises:
            NotFoundError: no such rollout.
            ConflictError: it has ended.
        """
        with self._database.begin() as session:
            row = _locked(session, rollout_id)
            after, actions = machine.abort(_state(row), by, now)
            if row.state not in OPEN:
                raise ConflictError(f"rollout {rollout_id}: expected an open one, it is {row.state}")
            self._keep(session, row, after, actions, now)
        self._assigner.publish_waiting(now, everything=False)

    def policy_of(self, row: RolloutRow) -> BakePolicy:
        """The conditions of a rollout."""
        return BakePolicy(
            bake_parts=row.bake_parts,
            bake_timeout_s=self._settings.bake_timeout_s,
            install_timeout_s=self._settings.install_timeout_s,
            lost_after_s=self._lost_after_s,
            max_no_decision_share=self._settings.max_no_decision_share,
            max_diverted_factor=self._settings.max_reject_rate_factor,
        )

    def _command(self, rollout_id: int, change: Change, by: str, now: datetime) -> None:
        with self._database.begin() as session:
            row = _locked(session, rollout_id)
            before = _state(row)
            after = change(before, by, now)
            if after == before:
                raise ConflictError(f"rollout {rollout_id}: cannot be changed so while it is {row.state}")
            self._keep(session, row, after, (), now)

    def _start_promoted(self, now: datetime) -> None:
        """A promoted package without a rollout gets one, if it was compared with the champion of today."""
        if not self._settings.is_automatic:
            return
        with self._database.read() as session:
            waiting = promoted_without_rollout(session)
        if not waiting:
            return
        with self._database.begin() as session:
            for package in promoted_without_rollout(session):
                if self._open_for(session, package) is None:
                    self._add(
                        session, package, _reason_of(session, package), now, stations=[], canary=self._settings.canary
                    )

    def _add(
        self, session: Session, package: Package, reason: str, now: datetime, *, stations: list[str], canary: int
    ) -> int:
        under_way = self._open_for(session, package)
        if under_way is not None:
            raise ConflictError(f"product {package.product}: rollout {under_way} is under way; wait or abort it")
        champion = champion_of(session, package.product, is_simulated=package.is_simulated)
        training = session.get(Training, package.training_id) if package.training_id else None
        row = RolloutRow(
            package_id=package.package_id,
            previous_package_id=champion.package_id if champion else None,
            product=package.product,
            reason=reason,
            alarm_id=training.alarm_id if training else None,
            created_at=now,
            asked_stations=stations,
            canary=canary,
            # A product's first package has nothing to be compared with, and its line may wait for it to start.
            bake_parts=self._settings.bake_parts if champion else 0,
            machine=_text(machine.Rollout(waves=(), has_previous=champion is not None)),
            is_simulated=package.is_simulated,
        )
        session.add(row)
        session.flush()
        _LOG.info("rollout added rollout_id=%s package_id=%s reason=%s", row.id, package.package_id, reason)
        return row.id or 0

    def _open_for(self, session: Session, package: Package) -> int | None:
        return session.exec(
            select(RolloutRow.id).where(
                RolloutRow.product == package.product,
                RolloutRow.is_simulated == package.is_simulated,
                col(RolloutRow.state).in_(OPEN),
            )
        ).first()

    def _open_ids(self) -> list[int]:
        with self._database.read() as session:
            found = session.exec(select(RolloutRow.id).where(col(RolloutRow.state).in_(OPEN))).all()
        return [rollout_id for rollout_id in found if rollout_id is not None]

    def _move(self, rollout_id: int, now: datetime, hears_since: datetime | None) -> None:
        with self._database.begin() as session:
            row = _locked(session, rollout_id)
            before = _state(row)
            if before.state is RolloutState.READY and not before.waves:
                before = self._plan(session, row, before, now)
            extra_high = rightly_diverted(session, row)
            touched = session.exec(select(Station).where(col(Station.address).in_(before.touched))).all()
            seen = {station.address: seen_of(session, row, station, extra_high) for station in touched}
            after, actions = machine.step(before, seen, self.policy_of(row), now, hears_since=hears_since)
            if _text(after) != row.machine:
                self._keep(session, row, after, actions, now)

    def _plan(self, session: Session, row: RolloutRow, before: machine.Rollout, now: datetime) -> machine.Rollout:
        stations = stations_for(session, row, self._lost_after_s, now)
        if stations:
            return machine.with_waves(before, machine.plan_waves(stations, row.canary))
        return machine.with_note_once(before, _WAITS, now)

    def _keep(
        self,
        session: Session,
        row: RolloutRow,
        after: machine.Rollout,
        actions: tuple[machine.Action, ...],
        now: datetime,
    ) -> None:
        """State, assignments, champion and alarm: one transaction, so none is ever without the others."""
        for action in actions:
            self._act(session, row, action, now)
        row.machine, row.state, row.finished_at = _text(after), after.state, after.finished_at
        session.add(row)
        if after.state is RolloutState.FINISHED:
            self._finish(session, row, now)
        elif after.state in machine.ENDED:
            _LOG.error("rollout ended rollout_id=%s state=%s last=%s", row.id, after.state, after.history[-1])

    def _act(self, session: Session, row: RolloutRow, action: machine.Action, now: datetime) -> None:
        station = session.exec(select(Station).where(Station.address == action.station).with_for_update()).one()
        packages = dict(station.assigned)
        if isinstance(action, machine.Assign):
            before = packages.get(row.product)
            packages[row.product] = row.package_id
            number = self._assigner.assign(session, station, packages, f"rollout {row.id}", now)
            assignment = session.exec(
                select(Assignment).where(Assignment.station_id == station.id, Assignment.number == number)
            ).one()
            touched = {"package_id": before, "number": number, "after_inspection_id": assignment.after_inspection_id}
            row.before = {**row.before, station.address: touched}
            return
        previous = row.before[station.address]["package_id"]
        packages.pop(row.product, None)
        if previous is not None:
            packages[row.product] = previous
        self._assigner.assign(session, station, packages, f"rollout {row.id} taken back", now)

    def _finish(self, session: Session, row: RolloutRow, now: datetime) -> None:
        """The champion moves when the rollout reached everybody; a rollout to some stations leaves it where it is.

        So with the alarm behind it: other stations still let the defect pass, and closing would set their audit
        evidence aside.
        """
        if not row.asked_stations or set(row.asked_stations) >= {
            station.address
            for station in heard_stations(session, self._lost_after_s, now, is_simulated=row.is_simulated)
        }:
            set_champion(session, session.get_one(Package, row.package_id), now)
            alarm = session.get(Alarm, row.alarm_id) if row.alarm_id is not None else None
            if alarm is not None:
                alarms.close(alarm, f"rollout {row.id} finished", now)
                session.add(alarm)
        _LOG.info("rollout finished rollout_id=%s package_id=%s", row.id, row.package_id)

    def _catch_up(self, now: datetime) -> None:
        """Stations that came later, or were away, get the champions; not while a rollout of the product is open."""
        with self._database.read() as session:
            due = self._behind(session, now)
        if not due:
            return
        with self._database.begin() as session:
            for address, packages in self._behind(session, now).items():
                station = session.exec(select(Station).where(Station.address == address).with_for_update()).one()
                self._assigner.assign(session, station, {**station.assigned, **packages}, "catching up", now)

    def _behind(self, session: Session, now: datetime) -> dict[str, dict[str, str]]:
        under_way = {
            (product, is_simulated)
            for product, is_simulated in session.exec(
                select(RolloutRow.product, RolloutRow.is_simulated).where(col(RolloutRow.state).in_(OPEN))
            ).all()
        }
        behind: dict[str, dict[str, str]] = {}
        for champion in session.exec(select(Champion)).all():
            if (champion.product, champion.is_simulated) in under_way:
                continue
            outdated = {None, *_former_champions(session, champion)} - {champion.package_id}
            on_purpose = _given_since(session, champion)
            for station in heard_stations(session, self._lost_after_s, now, is_simulated=champion.is_simulated):
                runs = station.assigned.get(champion.product)
                if runs in outdated and (station.address, runs) not in on_purpose:
                    behind.setdefault(station.address, {})[champion.product] = champion.package_id
        return behind


def _former_champions(session: Session, champion: Champion) -> set[str | None]:
    """Every rollout notes whom it would replace, so a station that was away through several is found all the same."""
    return set(
        session.exec(
            select(RolloutRow.previous_package_id)
            .where(RolloutRow.product == champion.product, RolloutRow.is_simulated == champion.is_simulated)
            .distinct()
        ).all()
    )


def _given_since(session: Session, champion: Champion) -> set[tuple[str, str]]:
    """Station and package of rollouts to some stations under this champion: a person's wish, not a missed rollout."""
    rows = session.exec(
        select(RolloutRow).where(
            RolloutRow.product == champion.product,
            RolloutRow.is_simulated == champion.is_simulated,
            RolloutRow.state == RolloutState.FINISHED,
            col(RolloutRow.finished_at) > champion.since,
        )
    ).all()
    return {(address, row.package_id) for row in rows for address in row.asked_stations}


def _locked(session: Session, rollout_id: int) -> RolloutRow:
    row = session.exec(select(RolloutRow).where(RolloutRow.id == rollout_id).with_for_update()).first()
    if row is None:
        raise NotFoundError(f"rollout {rollout_id}: no such rollout")
    return row


def _state(row: RolloutRow) -> machine.Rollout:
    return MACHINE.validate_json(row.machine)


def _text(rollout: machine.Rollout) -> str:
    return MACHINE.dump_json(rollout).decode()


def _reason_of(session: Session, package: Package) -> str:
    training = session.get(Training, package.training_id) if package.training_id else None
    return training.reason if training else "promoted"

# SPDX-License-Identifier: Apache-2.0
"""Brings promoted packages to stations in waves, and back when they err.

Reads facts, asks the machine (`domain/rollout.py`), writes its answer and the signed assignments in one transaction,
then publishes. Decides nothing itself. Ticked by the worker; routes start, pause, resume and abort.

Restart-safe: the machine's whole state is in the row, and what was not published is published by a later tick.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlmodel import Session, col, select

from central.domain import rollout as machine
from central.domain.naming import some_of
from central.domain.rollout_conditions import BakePolicy, Seen
from central.domain.rollout_gates import WaveAnswer
from central.domain.rollout_plan import RolloutPlan
from central.domain.rollout_shapes import Action, Progress, Rollout
from central.domain.rollout_waits import UNHEARD
from central.errors import ConflictError, NotFoundError
from central.services.isolating import Parts
from central.services.package_registry import promoted_without_rollout
from central.services.rollouts.assigning import Assigner
from central.services.rollouts.beginning import Asked, Begun, begin_as_asked, begin_by_itself
from central.services.rollouts.catching_up import catch_up
from central.services.rollouts.counts import PartBook
from central.services.rollouts.ending import end
from central.services.rollouts.evidence import note_step
from central.services.rollouts.facts import rightly_diverted, seen_of_all
from central.services.rollouts.gating import gates_of
from central.services.rollouts.limits import LimitsFeeding
from central.services.rollouts.lost_ways import tell_lost_ways
from central.services.rollouts.naming import never_reached
from central.services.rollouts.orders import carry_out
from central.services.rollouts.planning import held, left_out, plan_of, waves_for
from central.services.rollouts.reach import left_in_lines, left_with, missed_by
from central.services.rollouts.refusals import (
    cannot,
    cannot_abort,
    cannot_set_aside,
    is_another_wave,
    names_in_vain,
    takes_nobody,
    withdrawn,
)
from central.services.rollouts.refused_ways_back import order_others
from central.services.rollouts.state import state_of, text_of
from central.services.rollouts.ways_back import in_lines
from central.services.watches.silence import Hearing
from central.settings import RolloutSettings
from central.store.database import Database
from central.store.learning_tables import OPEN_ROLLOUTS, RolloutRow
from central.store.repositories import stations
from contracts.vocabulary import RolloutState

_LOG = logging.getLogger(__name__)

Change = Callable[[Rollout, str, datetime], Rollout]
_CHANGES: Final[Mapping[str, Change]] = MappingProxyType(
    {"pause": machine.pause, "resume": machine.resume, "approve": machine.approve}
)
# One in shadow decides with another package from then on; one that was away may come back to it in this very step.
_MAY_BE_GIVEN_IT: Final = frozenset({Progress.WAITING, Progress.SHADOW, Progress.AWAY})
_NO_WINDOWS: Final = RolloutPlan()
_Moved = tuple[Rollout, tuple[Action, ...]]
_NO_GATE: Final[Mapping[int, WaveAnswer]] = MappingProxyType({})
_NOTHING_SEEN: Final[Mapping[str, Seen]] = MappingProxyType({})


class RolloutService:
    """See the module.

    Args:
        lost_after_s: how long a station may be silent before it counts as gone.
        can_hear: whether the broker is connected right now. Silence and time-outs count only while it is.
        is_withdrawn: of a package's id: whether the package repository names it no more.
    """

    name: Final = "rollouts"

    def __init__(
        self,
        database: Database,
        assigner: Assigner,
        settings: RolloutSettings,
        lost_after_s: float,
        can_hear: Callable[[], bool],
        *,
        is_withdrawn: Callable[[str], bool] = lambda _package_id: False,
    ) -> None:
        self._database = database
        self._assigner = assigner
        self._settings = settings
        self._lost_after_s = lost_after_s
        self._hearing = Hearing(can_hear)
        self._is_withdrawn = is_withdrawn
        self._limits = LimitsFeeding()
        # By rollout, what was counted of its parts so far: the worker's alone.
        self._books: dict[int, PartBook] = {}
        self._gone = set[str]()
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
        """Start what was promoted, move what is under way, bring late stations up, publish.

        Raises:
            TickError: some of it failed; all else was done. A rollout that failed says so in its history.
        """
        parts = Parts()
        with parts.part("promoted packages"):
            self._start_promoted(now)
        hears_since = self._hearing.since(now)
        open_ids = self._open_ids()
        self._books = {rollout_id: book for rollout_id, book in self._books.items() if rollout_id in open_ids}
        for rollout_id in open_ids:
            with parts.part(name := f"rollout {rollout_id}"):
                if not self._is_stopped(rollout_id, now):
                    self._move(rollout_id, now, hears_since)
            if name in parts.failed:
                # What was counted in the transaction that failed is counted anew.
                self._books.pop(rollout_id, None)
                with parts.part(f"history of {name}"):
                    self._note_failure(rollout_id, parts.failed[name], now)
        with parts.part("other ways back"):
            order_others(self._database, self._assigner, self._is_withdrawn, now)
        # At once: a station that must go back does not wait for those that catch up.
        if not self._must_publish_all.is_set():
            self._assigner.publish_waiting(now, everything=False)
        with parts.part("catching up"):
            gone = self._is_withdrawn
            catch_up(self._database, self._assigner, self._lost_after_s, now, is_withdrawn=gone, said_gone=self._gone)
        with parts.part("renewing"):
            self._assigner.renew(now)
        is_everything = self._must_publish_all.is_set()
        self._must_publish_all.clear()
        self._assigner.publish_waiting(now, everything=is_everything)
        parts.end()

    def start(
        self,
        package_id: str,
        stations: list[str],
        canary: int | None,
        reason: str,
        now: datetime,
        *,
        plan: RolloutPlan | None = None,
        inherits: frozenset[str] = frozenset(),
    ) -> Begun:
        """Begin a rollout by hand.

        Args:
            package_id: of a promoted package.
            stations: only these; empty: all that judge the product and that the plan means.
            canary: how many go first; None: as the plan says.
            reason: for screens.
            now: the time.
            plan: None: as people set it for the product. Its risk class holds in any case.
            inherits: what `plan` leaves unsaid, `target` or `windows`: that of the product's policy holds.

        Returns:
            Its number; of the one under way when this very package is on its way already.

        Raises:
            NotFoundError: no such package or station.
            ConflictError: the gate did not promote it, it was withdrawn, a rollout of the product is under way, or the
                plan takes no station that there is or names one that it will never reach.
        """
        with self._database.begin() as session:
            asked = Asked(reason, stations, canary, plan, inherits)
            begun = begin_as_asked(session, package_id, asked, self._settings, now)
            row = session.get_one(RolloutRow, begun.rollout_id)
            if begun.is_new and self._is_withdrawn(package_id):
                raise ConflictError(withdrawn(package_id))
            # Nobody sees a plan that reaches nobody fail: it would wait, and hold the product, for ever.
            if row.state is RolloutState.READY and (names := left_out(session, row, self._lost_after_s, now)):
                raise ConflictError(takes_nobody(row, names))
            if (
                begun.is_new
                and plan
                and "target" not in inherits
                and (strange := never_reached(session, row, self._lost_after_s, now))
            ):
                raise ConflictError(names_in_vain(row, strange))
            return begun

    def pause(self, rollout_id: int, by: str, now: datetime) -> None:
        """Touch no further station. Errors of touched ones still end the rollout.

        Raises:
            NotFoundError: no such rollout.
            ConflictError: it is not running.
        """
        self._command(rollout_id, "pause", by, now)

    def resume(self, rollout_id: int, by: str, now: datetime) -> None:
        """Go on.

        Raises:
            NotFoundError: no such rollout.
            ConflictError: it is not paused.
        """
        self._command(rollout_id, "resume", by, now)

    def approve(self, rollout_id: int, by: str, now: datetime, *, wave: int = 1) -> None:
        """Let the wave that waits for a person begin. `wave`: the one that was looked at, counted from 1.

        Raises:
            NotFoundError: no such rollout.
            ConflictError: it does not wait for an approval, or for that of another wave.
        """
        self._command(rollout_id, "approve", by, now, wave)

    def set_aside(self, rollout_id: int, station: str, by: str, now: datetime) -> None:
        """Go on without a station that holds its wave up. It is sent back, and catches up after a rollout to all.

        Raises:
            NotFoundError: no such rollout.
            ConflictError: the station is not under way in it, or is the last of its wave.
        """
        self._end_some(
            rollout_id,
            lambda before: machine.set_aside(before, station, by, now),
            lambda row, before: cannot_set_aside(row, before, station),
            now,
        )

    def abort(self, rollout_id: int, by: str, now: datetime) -> None:
        """Stop for good and send every touched station back.

        Raises:
            NotFoundError: no such rollout.
            ConflictError: it has ended.
        """
        self._end_some(rollout_id, lambda before: machine.abort(before, by, now), lambda row, _: cannot_abort(row), now)

    def _end_some(
        self,
        rollout_id: int,
        change: Callable[[Rollout], _Moved],
        refusal: Callable[[RolloutRow, Rollout], str],
        now: datetime,
    ) -> None:
        with self._database.begin() as session:
            row = _locked(session, rollout_id)
            before = state_of(row)
            after, actions = change(before)
            if after == before:
                raise ConflictError(refusal(row, before))
            self._keep(session, row, after, actions, now)
        self._assigner.publish_waiting(now, everything=False)

    def policy_of(self, row: RolloutRow) -> BakePolicy:
        """The conditions of a rollout."""
        return BakePolicy(
            bake_parts=row.bake_parts,
            bake_patience_s=self._settings.bake_patience_s,
            install_timeout_s=self._settings.install_timeout_s,
            download_timeout_s=self._settings.download_timeout_s,
            lost_after_s=self._lost_after_s,
            max_no_decision_share=self._settings.max_no_decision_share,
            max_diverted_factor=self._settings.max_reject_rate_factor,
        )

    def _command(self, rollout_id: int, word: str, by: str, now: datetime, wave: int | None = None) -> None:
        with self._database.begin() as session:
            row = _locked(session, rollout_id)
            before = state_of(row)
            if wave is not None and (refusal := is_another_wave(row, before, wave)):
                raise ConflictError(refusal)
            after = _CHANGES[word](before, by, now)
            if after == before:
                raise ConflictError(cannot(word, row))
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
                if self._is_withdrawn(package.package_id):
                    continue
                begin_by_itself(session, package, self._settings, now)

    def _is_stopped(self, rollout_id: int, now: datetime) -> bool:
        """Take a package back that was withdrawn while it was rolled out. Returns whether it was."""
        with self._database.read() as session:
            package_id = session.get_one(RolloutRow, rollout_id).package_id
        if not self._is_withdrawn(package_id):
            return False
        _LOG.error("package of a rollout was withdrawn, taken back rollout_id=%d package_id=%s", rollout_id, package_id)
        self.abort(rollout_id, "the package was withdrawn", now)
        return True

    def _open_ids(self) -> list[int]:
        with self._database.read() as session:
            found = session.exec(select(RolloutRow.id).where(col(RolloutRow.state).in_(OPEN_ROLLOUTS))).all()
        return [rollout_id for rollout_id in found if rollout_id is not None]

    def _move(self, rollout_id: int, now: datetime, hears_since: datetime | None) -> None:
        with self._database.begin() as session:
            row = _locked(session, rollout_id)
            before = state_of(row)
            if before.state is RolloutState.READY and not before.waves:
                before = self._plan(session, row, before, now)
            extra_high = rightly_diverted(session, row)
            touched = stations.of(session, before.touched)
            book = self._books.setdefault(rollout_id, PartBook())
            seen = seen_of_all(session, row, touched, extra_high, book)
            steps = [item for wave in before.waves for item in wave.stations if item.progress in _MAY_BE_GIVEN_IT]
            untouchable = held(session, row.product, [item.station for item in steps], plan_of(row), now)
            policy, gates = self.policy_of(row), gates_of(session, row, before, now)
            limits = self._limits.answers(session, row, before, policy, now, rightly_diverted=extra_high)
            # Of freezes alone: a window that closes does not undo what was ordered in it.
            frozen = held(session, row.product, before.touched, _NO_WINDOWS, now)
            after, actions = machine.step(
                before,
                seen,
                policy,
                now,
                hears_since=hears_since,
                held=untouchable,
                gates=gates,
                limits=limits,
                frozen=frozen,
            )
            if text_of(after) != row.machine:
                self._keep(session, row, after, actions, now, seen=seen, gates=gates, limits=limits)

    def _note_failure(self, rollout_id: int, why: str, now: datetime) -> None:
        with self._database.begin() as session:
            row = _locked(session, rollout_id)
            noted = machine.with_note_once(state_of(row), f"central could not look at it: {why}", now)
            row.machine = text_of(noted)
            session.add(row)

    def _plan(self, session: Session, row: RolloutRow, before: Rollout, now: datetime) -> Rollout:
        # People named these for the product, perhaps long ago: the rest of the plan holds, and it is said.
        strange = never_reached(session, row, self._lost_after_s, now)
        waves = waves_for(session, row, self._lost_after_s, now)
        if waves:
            planned = machine.with_waves(before, waves)
            return machine.with_note_once(planned, f"not reached: {'; '.join(strange)}", now) if strange else planned
        names = left_out(session, row, self._lost_after_s, now)
        return machine.with_note_once(before, f"waits: {takes_nobody(row, names)}" if names else UNHEARD, now)

    def _keep(
        self,
        session: Session,
        row: RolloutRow,
        after: Rollout,
        actions: tuple[Action, ...],
        now: datetime,
        *,
        seen: Mapping[str, Seen] = _NOTHING_SEEN,
        gates: Mapping[int, WaveAnswer] = _NO_GATE,
        limits: Mapping[int, WaveAnswer] = _NO_GATE,
    ) -> None:
        """State, evidence, assignments, champion and alarm: one transaction, so none is ever without the others."""
        missed: list[str] = []
        if after.state is RolloutState.FINISHED:
            touched = [station.station for wave in after.waves for station in wave.stations]
            if missed := missed_by(session, row, plan_of(row), touched):
                after = machine.with_note_once(after, f"moves no champion: leaves out {some_of(missed)}", now)
        ways = carry_out(session, self._assigner, row, actions, now, is_withdrawn=self._is_withdrawn)
        left = left_with(session, row, after)
        after = machine.with_notes(after, [*in_lines(ways), *left_in_lines(left)], now)
        note_step(session, row.id or 0, (state_of(row), after), seen, now, gates=gates, limits=limits, ways=ways)
        tell_lost_ways(session, row, ways, now)
        row.machine, row.state, row.finished_at = text_of(after), after.state, after.finished_at
        session.add(row)
        end(session, row, after, now, missed=missed, ways=ways, left=left)


def _locked(session: Session, rollout_id: int) -> RolloutRow:
    row = session.exec(select(RolloutRow).where(RolloutRow.id == rollout_id).with_for_update()).first()
    if row is None:
        raise NotFoundError(f"rollout {rollout_id}: no such rollout")
    return row

# SPDX-License-Identifier: Apache-2.0
"""The reject output on a coil or variable of the line controller: one pulse per part, when the part is at the gate.

`send` only notes the part: the judge's thread never waits for the network. A worker thread of this output drives the
coil, over one connection that it keeps open. While the controller is away, when a part comes too late for its place
and when too many parts are on their way, `send` answers FAILED at once. What fails later is counted and is a fault
of the station. Built by `actuators.making`, called by the loop.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contracts.commands import RejectSignal
from contracts.vocabulary import Disposition, SignalState
from edge_agent.actuators.base import LineTiming, OutputUse
from edge_agent.actuators.encoder import Encoder
from edge_agent.actuators.pulses import PulsePlan
from edge_agent.actuators.troubles import OutputTroubles
from edge_agent.clock import Clock
from edge_agent.controller.link import ControllerLink
from edge_agent.errors import DeviceError, EdgeError
from edge_agent.log_pace import is_worth_a_line

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.1
_KEEP_ALIVE_S: Final = 1.0


@dataclass(frozen=True)
class Wiring:
    """What the output drives, and when.

    Args:
        address: coil or variable of the pulse.
        drives_pass: a pulse lets a part pass (fail-safe); else it diverts the part.
        pulse_s: length of a pulse.
        delay_s: from capture to pulse; 0: as soon as the part is judged.
        tolerance_s: a pulse may begin this much too late.
        encoder_address: counter of the conveyor; then the pulse comes `distance_counts` after the capture.
        encoder_poll_s: time between two readings of it.
        distance_counts: from camera to gate.
        alive_address: coil or variable that changes every `alive_s` while the station can judge.
    """

    address: str
    drives_pass: bool = True
    pulse_s: float = 0.1
    delay_s: float = 0.0
    tolerance_s: float = 0.02
    encoder_address: str | None = None
    encoder_bits: int = 32
    encoder_poll_s: float = 0.01
    distance_counts: int = 0
    alive_address: str | None = None
    alive_s: float = 0.5

    @property
    def timing(self) -> LineTiming:
        """For parts whose recipe says nothing of it."""
        return LineTiming(self.pulse_s, self.delay_s, self.distance_counts)


@dataclass(frozen=True)
class _Underway:
    """A part on its way to a gate that is a number of counts away."""

    position: float
    has_pulse: bool
    pulse_s: float


class LineOutput:
    """See the module.

    Args:
        link: to the controller; used by the worker alone.
        wiring: what to drive, and when.
        clock: the station's clock.
        max_pending: most parts between judgement and gate.
        retry_max_s: longest pause between two attempts to connect.
        is_able: whether the station can judge now; asked for the alive signal.
    """

    def __init__(
        self,
        link: ControllerLink,
        wiring: Wiring,
        clock: Clock,
        *,
        max_pending: int = 256,
        retry_max_s: float = 5.0,
        is_able: Callable[[], bool] = lambda: True,
    ) -> None:
        self._link = link
        self._wiring = wiring
        self._clock = clock
        self._max_pending = max_pending
        self._retry_max_s = retry_max_s
        self._is_able = is_able
        self._changed = threading.Condition()
        self._plan = PulsePlan(pulse_s=wiring.pulse_s, tolerance_s=wiring.tolerance_s, ends_others=wiring.drives_pass)
        self._encoder = Encoder(bits=wiring.encoder_bits) if wiring.encoder_address is not None else None
        self._underway: deque[_Underway] = deque()
        self._is_open = False
        self._is_on = False
        self._is_alive_on = False
        self._next_alive_s = 0.0
        self._next_keep_alive_s = 0.0
        self._next_poll_s = 0.0
        self._pause_s = min(_FIRST_PAUSE_S, retry_max_s)
        self._give_up_at_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self.troubles = OutputTroubles(clock, is_fail_safe=wiring.drives_pass)

    @property
    def silence(self) -> Disposition:
        """Without a pulse a gate that waits for "pass" holds a part, and one that waits for "reject" lets it pass."""
        return Disposition.HELD if self._wiring.drives_pass else Disposition.PASSED

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> bool:
        """Drive what is due within `timeout_s`, leave the output off, hang up. False: it did not end in time."""
        with self._changed:
            self._give_up_at_s = self._clock.monotonic() + timeout_s
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s + 1.0)
        return not self._thread.is_alive()

    def send(self, signal: RejectSignal, captured_s: float, use: OutputUse | None = None) -> SignalState:
        """Note a part; see `RejectOutput` and the module."""
        may_pass = signal.disposition is Disposition.PASSED
        has_pulse = may_pass == self._wiring.drives_pass
        timing = self._wiring.timing if use is None or use.timing is None else use.timing
        with self._changed:
            if not self._is_open:
                return SignalState.FAILED
            if len(self._plan) + len(self._underway) >= self._max_pending:
                return self._refuse("full", signal)
            if not self._note(captured_s, timing, has_pulse=has_pulse):
                return self._refuse("late", signal)
            self._changed.notify()
        return SignalState.SENT

    def _note(self, captured_s: float, timing: LineTiming, *, has_pulse: bool) -> bool:
        """Put a part on its way. False: it has passed its place already, or its place is not known."""
        now_s = self._clock.monotonic()
        if self._encoder is None:
            due_s = captured_s + timing.delay_s if timing.delay_s > 0 else now_s
            if due_s < now_s:
                return False
            self._plan.add(due_s, has_pulse=has_pulse, pulse_s=timing.pulse_s)
            return True
        captured_at, is_at = self._encoder.position_at(captured_s), self._encoder.position_at(now_s)
        if captured_at is None or is_at is None or captured_at + timing.distance_counts < is_at:
            return False
        self._underway.append(_Underway(captured_at + timing.distance_counts, has_pulse, timing.pulse_s))
        return True

    def _refuse(self, why: str, signal: RejectSignal) -> SignalState:
        count = self.troubles.count(why)
        if is_worth_a_line(count):
            _log.warning("reject signal refused why=%s trigger_number=%s count=%d", why, signal.trigger_number, count)
        return SignalState.FAILED

    def _run(self) -> None:
        while not self._is_over():
            try:
                if not self._is_open:
                    self._open()
                self._serve()
            except EdgeError as error:
                self._lost(error)
            except Exception as error:  # noqa: BLE001 - a library's own exception must not end the thread
                _log.exception("reject output raised")
                self._lost(DeviceError(f"the reject output failed: {error}", remedy="see the station's log"))
        self._end()

    def _is_over(self) -> bool:
        """Stopping, and nothing left to drive or no time left for it."""
        with self._changed:
            if self._give_up_at_s is None:
                return False
            is_idle = not self._plan and not self._underway and not self._is_on and not self._plan.is_on
            return is_idle or not self._is_open or self._clock.monotonic() >= self._give_up_at_s

    def _open(self) -> None:
        """Connect, and prove the address by driving the output off: a coil left on by a killed station ends here."""
        self._link.open()
        self._link.write_flag(self._wiring.address, is_on=False)
        now_s = self._clock.monotonic()
        self._is_on = False
        self._next_alive_s = self._next_poll_s = now_s
        self._next_keep_alive_s = now_s + _KEEP_ALIVE_S
        if self._encoder is not None and self._wiring.encoder_address is not None:
            # Two readings, so that a part is never placed by a single one.
            for _ in range(2):
                self._poll_encoder(self._encoder, self._wiring.encoder_address)
        with self._changed:
            self._is_open = True
        self._pause_s = min(_FIRST_PAUSE_S, self._retry_max_s)
        self.troubles.opened()
        _log.info("reject output connected address=%s", self._wiring.address)

    def _serve(self) -> None:
        """One round: drive what is due, then wait for what comes next."""
        with self._changed:
            wanted = self._step()
        if wanted != self._is_on:
            # Before the answer: a request that nobody answered may have been carried out.
            self._is_on = self._is_on or wanted
            self._link.write_flag(self._wiring.address, is_on=wanted)
            self._is_on = wanted
            now_s = self._clock.monotonic()
            self._next_keep_alive_s = now_s + _KEEP_ALIVE_S
            if wanted:
                with self._changed:
                    self._plan.begun(now_s)
            return
        now_s = self._clock.monotonic()
        if self._wiring.alive_address is not None and now_s >= self._next_alive_s:
            self._next_alive_s = now_s + self._wiring.alive_s
            if self._is_able():
                self._is_alive_on = not self._is_alive_on
                self._link.write_flag(self._wiring.alive_address, is_on=self._is_alive_on)
        elif self._encoder is not None and self._wiring.encoder_address is not None and now_s >= self._next_poll_s:
            self._poll_encoder(self._encoder, self._wiring.encoder_address)
        elif now_s >= self._next_keep_alive_s:
            # Says again what holds: keeps the connection, and finds a controller that has gone in silence.
            self._link.write_flag(self._wiring.address, is_on=self._is_on)
            self._next_keep_alive_s = now_s + _KEEP_ALIVE_S
        else:
            self._wait()

    def _step(self) -> bool:
        """Called under the lock: whether the output is to be on now."""
        now_s = self._clock.monotonic()
        if self._encoder is not None:
            self._place(self._encoder, now_s)
        late, shortened = self._plan.late, self._plan.shortened
        wanted = self._plan.step(now_s)
        self.troubles.count("late", self._plan.late - late)
        self.troubles.count("overlap", self._plan.shortened - shortened)
        return wanted

    def _place(self, encoder: Encoder, now_s: float) -> None:
        """Parts that reach the gate before the second reading from now get their time; the others may still slow."""
        horizon_s = now_s + 2 * self._wiring.encoder_poll_s
        for part in list(self._underway):
            due_s = encoder.time_of(part.position)
            if due_s is not None and due_s <= horizon_s:
                self._underway.remove(part)
                self._plan.add(due_s, has_pulse=part.has_pulse, pulse_s=part.pulse_s)

    def _poll_encoder(self, encoder: Encoder, address: str) -> None:
        began_s = self._clock.monotonic()
        raw = self._link.read_number(address)
        ended_s = self._clock.monotonic()
        with self._changed:
            encoder.read((began_s + ended_s) / 2, raw)
        # From the beginning: reading takes time as well.
        self._next_poll_s = max(ended_s, began_s + self._wiring.encoder_poll_s)
        self._next_keep_alive_s = ended_s + _KEEP_ALIVE_S

    def _wait(self) -> None:
        with self._changed:
            if self._give_up_at_s is not None and not self._plan and not self._underway and not self._plan.is_on:
                return
            times = [self._next_keep_alive_s, *([self._plan.next_s] if self._plan.next_s is not None else [])]
            times += [self._next_alive_s] if self._wiring.alive_address is not None else []
            times += [self._next_poll_s] if self._encoder is not None else []
            times += [self._give_up_at_s] if self._give_up_at_s is not None else []
            pause_s = min(times) - self._clock.monotonic()
            if pause_s > 0:
                self._changed.wait(pause_s)

    def _lost(self, error: EdgeError) -> None:
        """Nothing is taken any more. Parts with a time keep it: the controller may be back before they are there."""
        with self._changed:
            self._is_open = False
            failed = int(self._plan.drop_pulse())
            if self._encoder is not None:
                failed += sum(part.has_pulse for part in self._underway) + self._plan.clear()
                self._underway.clear()
                self._encoder.forget()
        self._link.close()
        self.troubles.lost(error)
        self.troubles.count("failed", failed)
        self.troubles.count("stuck", int(self._is_on))
        _log.warning(
            "reject output lost losses=%d pulses_failed=%d was_on=%s retry_in_s=%.2f: %s",
            self.troubles.losses,
            failed,
            self._is_on,
            self._pause_s,
            error.message,
        )
        give_up_at_s = self._clock.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, self._retry_max_s)
        with self._changed:
            while self._give_up_at_s is None and (left_s := give_up_at_s - self._clock.monotonic()) > 0:
                self._changed.wait(left_s)

    def _end(self) -> None:
        """Leave the gate as one that hears nothing."""
        with self._changed:
            was_open, self._is_open = self._is_open, False
            unsaid = sum(part.has_pulse for part in self._underway) + self._plan.clear()
            self._underway.clear()
        if unsaid:
            self.troubles.count("failed", unsaid)
            _log.error("station stopped with parts on their way to the gate pulses_not_given=%d", unsaid)
        if was_open:
            try:
                self._link.write_flag(self._wiring.address, is_on=False)
                if self._wiring.alive_address is not None:
                    self._link.write_flag(self._wiring.alive_address, is_on=False)
            except EdgeError as error:
                _log.warning("reject output not left off: %s", error.message)
        self._link.close()

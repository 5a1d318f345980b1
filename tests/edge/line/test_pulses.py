# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.actuators.encoder import Encoder
from edge_agent.actuators.pulses import PulsePlan


def plan_of(*, pulse_s: float = 1.0, tolerance_s: float = 0.5, ends_others: bool = True) -> PulsePlan:
    return PulsePlan(pulse_s=pulse_s, tolerance_s=tolerance_s, ends_others=ends_others)


def test_pulse_begins_when_it_is_due_and_lasts_from_when_it_began() -> None:
    plan = plan_of()
    plan.add(10.0, has_pulse=True)
    assert (plan.step(9.9), plan.next_s) == (False, 10.0)
    assert plan.step(10.1)
    plan.begun(10.3)
    assert plan.next_s == pytest.approx(11.3)
    assert plan.step(11.2)
    assert not plan.step(11.3)
    assert plan.next_s is None


def test_pulse_that_begins_too_late_is_left_out_and_counted() -> None:
    plan = plan_of()
    plan.add(10.0, has_pulse=True)
    assert not plan.step(10.6)
    assert plan.late == 1


def test_held_part_ends_a_pulse_only_where_silence_holds() -> None:
    for ends_others in (True, False):
        plan = plan_of(ends_others=ends_others)
        plan.add(10.0, has_pulse=True)
        plan.add(10.4, has_pulse=False)
        assert plan.step(10.0)
        assert plan.step(10.4) is not ends_others
        assert plan.shortened == ends_others


def test_pulse_that_ended_before_the_held_part_came_is_not_counted_as_reaching_over_it() -> None:
    plan = plan_of()
    plan.add(10.0, has_pulse=True)
    plan.add(11.5, has_pulse=False)
    assert plan.step(10.0)
    assert not plan.step(12.0)
    assert plan.shortened == 0


@settings(deadline=None)
@given(dues=st.lists(st.integers(0, 200), max_size=30), pulse=st.integers(1, 30))
def test_every_pulse_has_its_whole_length_whatever_its_neighbours(dues: list[int], pulse: int) -> None:
    """On a worker that is always in time, the output is on exactly where some part's pulse is."""
    plan = plan_of(pulse_s=pulse, tolerance_s=0.5, ends_others=False)
    for due in dues:
        plan.add(due, has_pulse=True)
    for now in range(260):
        assert plan.step(now) == any(due <= now < due + pulse for due in dues)
    assert plan.late == 0


def test_position_and_time_follow_the_belt_between_readings_and_beyond() -> None:
    encoder = Encoder(bits=16)
    for at in range(5):
        encoder.read(100.0 + at, (65_530 + 10 * at) % 65_536)
    assert encoder.position_at(101.5) == pytest.approx(15)
    assert encoder.position_at(104.5) == pytest.approx(45)
    assert encoder.position_at(99.0) is None
    assert encoder.time_of(25) == pytest.approx(102.5)
    assert encoder.time_of(60) == pytest.approx(106.0)


def test_belt_that_stands_still_reaches_no_place_and_one_that_shakes_does_not_leap() -> None:
    encoder = Encoder(bits=16)
    for at, raw in enumerate([5, 3, 5, 3, 5]):
        encoder.read(float(at), raw)
    assert encoder.time_of(100) is None
    assert encoder.position_at(1.0) == pytest.approx(-2)


def test_encoder_that_was_forgotten_places_no_part() -> None:
    encoder = Encoder()
    encoder.read(1.0, 5)
    encoder.forget()
    assert (encoder.position_at(1.0), encoder.time_of(0)) == (None, None)


@settings(deadline=None)
@given(parts=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=30))
def test_every_pulse_has_the_length_of_its_own_part(parts: list[tuple[int, int]]) -> None:
    plan = plan_of(pulse_s=7, tolerance_s=0.5, ends_others=False)
    for due, pulse in parts:
        plan.add(due, has_pulse=True, pulse_s=pulse)
    for now in range(260):
        assert plan.step(now) == any(due <= now < due + pulse for due, pulse in parts)


def test_pulse_that_the_controller_took_late_still_has_its_own_parts_length() -> None:
    plan = plan_of(pulse_s=1.0)
    plan.add(10.0, has_pulse=True, pulse_s=3.0)
    assert plan.step(10.1)
    plan.begun(10.4)
    assert plan.next_s == pytest.approx(13.4)
    plan.add(20.0, has_pulse=True)
    assert not plan.step(14.0)
    assert plan.step(20.0)
    plan.begun(20.4)
    assert plan.next_s == pytest.approx(21.4)

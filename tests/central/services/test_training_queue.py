# SPDX-License-Identifier: Apache-2.0
"""The queue on a real database with processes of their own: order, quotas, giving way, limits, what it costs."""

from dataclasses import replace

import pytest

from central.domain.training_queue import PRIORITY
from central.errors import ConflictError
from central.learning_settings import CostSettings, QueueSettings
from central.services.trainings.usage import attempts_of, spent_of
from central.settings import LearningSettings
from central.store.learning_tables import Training
from contracts.vocabulary import AttemptEnd, DetectorKind, TrainingState, TrainingTrigger
from tests.central.services.bench import Bench
from tests.central.services.trainers import trainer

QUEUED, RUNNING, FINISHED = TrainingState.QUEUED, TrainingState.RUNNING, TrainingState.FINISHED


def build(bench: Bench, mode: str, *, cost: CostSettings | None = None, **queue: object) -> None:
    learning = LearningSettings(min_good_labels=10, command=trainer(mode))
    bench.build(learning=learning, queue=replace(QueueSettings(), **queue), cost=cost)  # type: ignore[arg-type]


def ask(bench: Bench, product: str, trigger: TrainingTrigger = TrainingTrigger.PERSON, site: str = "north") -> str:
    """A training of a product of its own, as if `trigger` had asked for it."""
    bench.add_references(12, 4, product)
    training_id = bench.learning.requests.request(product, DetectorKind.AUTO, "a test", bench.clock.now(), site=site)
    with bench.database.begin() as session:
        row = session.get_one(Training, training_id)
        row.trigger = trigger
        session.add(row)
    bench.later(seconds=1)
    return training_id


def row_of(bench: Bench, training_id: str) -> Training:
    with bench.database.read() as session:
        return session.get_one(Training, training_id)


def until(bench: Bench, training_id: str, state: TrainingState) -> None:
    bench.tick_until(lambda: row_of(bench, training_id).state is state, wait_s=120)


def until_fitting(bench: Bench, training_id: str) -> None:
    bench.tick_until(lambda: row_of(bench, training_id).stage == "fitting", wait_s=120)


def go(bench: Bench, training_id: str) -> None:
    (bench.trainings_dir / training_id / "go").touch()


def runs_of(bench: Bench, training_id: str) -> int:
    return len((bench.trainings_dir / training_id / "runs").read_text().split())


def ends(bench: Bench, training_id: str) -> list[AttemptEnd | None]:
    with bench.database.read() as session:
        return [attempt.end for attempt in attempts_of(session, training_id)]


def test_two_run_at_once_where_the_quota_says_two_and_the_third_says_why_it_waits(bench: Bench) -> None:
    build(bench, "slow", jobs=5, jobs_per_site=2)
    first, second, third = (ask(bench, product) for product in ("ring", "cap", "plate"))
    elsewhere = ask(bench, "gear", site="south")
    bench.tick(2)
    assert [row_of(bench, name).state for name in (first, second, third, elsewhere)] == [
        RUNNING,
        RUNNING,
        QUEUED,
        RUNNING,
    ]
    assert row_of(bench, third).stage == "waiting: 2 jobs of site north run, its quota is 2"
    go(bench, first)
    until(bench, first, FINISHED)
    until_fitting(bench, third)


def test_a_person_passes_the_schedule_in_the_queue(bench: Bench) -> None:
    build(bench, "slow", is_preemptive=False)
    running = ask(bench, "ring")
    bench.tick(2)
    scheduled = ask(bench, "cap", TrainingTrigger.SCHEDULE)
    person = ask(bench, "plate")
    bench.tick(2)
    assert row_of(bench, person).stage == "waiting: 1 job run, the quota of all is 1"
    assert row_of(bench, scheduled).stage == f"waiting: {person} comes first"
    go(bench, running)
    until(bench, running, FINISHED)
    until_fitting(bench, person)
    assert row_of(bench, scheduled).state is QUEUED


def test_a_running_one_gives_way_and_goes_on_afterwards(bench: Bench) -> None:
    build(bench, "slow")
    scheduled = ask(bench, "ring", TrainingTrigger.SCHEDULE)
    until_fitting(bench, scheduled)
    job = (bench.trainings_dir / scheduled / "job.json").read_bytes()
    kept = bench.trainings_dir / scheduled / "output" / ".resume" / "step"
    kept.parent.mkdir()
    kept.write_text("done")
    person = ask(bench, "cap")
    until_fitting(bench, person)
    gave_way = row_of(bench, scheduled)
    assert (gave_way.state, gave_way.preemptions, gave_way.losses) == (QUEUED, 1, 0)
    assert gave_way.stage == "waiting: 1 job run, the quota of all is 1"
    # More is known by now; what gave way goes on with what it had.
    bench.add_references(20, 5, "ring")
    go(bench, person)
    until(bench, person, FINISHED)
    until_fitting(bench, scheduled)
    assert (bench.trainings_dir / scheduled / "job.json").read_bytes() == job
    assert kept.read_text() == "done"
    go(bench, scheduled)
    until(bench, scheduled, FINISHED)
    assert (runs_of(bench, scheduled), runs_of(bench, person)) == (2, 1)
    assert ends(bench, scheduled) == [AttemptEnd.PREEMPTED, FINISHED.value]
    assert len(bench.promotions()) == 2
    assert not kept.exists()


def test_an_alarm_does_not_send_a_person_away_and_nobody_an_equal(bench: Bench) -> None:
    build(bench, "slow")
    first = ask(bench, "ring", TrainingTrigger.ALARM)
    until_fitting(bench, first)
    second = ask(bench, "cap", TrainingTrigger.ALARM)
    bench.tick(3)
    assert (row_of(bench, first).state, row_of(bench, second).state) == (RUNNING, QUEUED)
    assert row_of(bench, first).stop_asked_at is None


def test_one_that_does_not_listen_is_ended_and_counts_as_given_way_not_as_lost(bench: Bench) -> None:
    build(bench, "stubborn")
    scheduled = ask(bench, "ring", TrainingTrigger.SCHEDULE)
    until_fitting(bench, scheduled)
    person = ask(bench, "cap")
    bench.tick()
    assert row_of(bench, scheduled).stage == f"giving way to {person}"
    bench.later(seconds=20)
    until_fitting(bench, person)
    assert (row_of(bench, scheduled).preemptions, row_of(bench, scheduled).losses) == (1, 0)


def test_one_that_waits_is_cancelled_without_ever_having_run(bench: Bench) -> None:
    build(bench, "slow")
    running, waiting = ask(bench, "ring"), ask(bench, "cap")
    bench.tick(2)
    bench.learning.requests.cancel(waiting, bench.clock.now())
    bench.tick(2)
    assert row_of(bench, waiting).state is TrainingState.CANCELLED
    assert (row_of(bench, running).state, ends(bench, waiting)) == (RUNNING, [])
    assert not (bench.trainings_dir / waiting / "runs").exists()


def test_one_that_gave_way_and_is_cancelled_leaves_no_steps(bench: Bench) -> None:
    build(bench, "slow")
    scheduled = ask(bench, "ring", TrainingTrigger.SCHEDULE)
    until_fitting(bench, scheduled)
    (kept := bench.trainings_dir / scheduled / "output" / ".resume").mkdir()
    person = ask(bench, "cap")
    until_fitting(bench, person)
    assert kept.exists()
    bench.learning.requests.cancel(scheduled, bench.clock.now())
    bench.tick(2)
    assert row_of(bench, scheduled).state is TrainingState.CANCELLED
    assert not kept.exists()
    assert ends(bench, scheduled) == [AttemptEnd.PREEMPTED]


def test_what_is_asked_for_beyond_the_bound_is_refused_with_the_option(bench: Bench) -> None:
    build(bench, "slow", most_waiting=1)
    ask(bench, "ring")
    with pytest.raises(ConflictError, match=r"1 wait already \(queue.most_waiting\)"):
        ask(bench, "cap")


def test_a_training_that_costs_too_much_is_ended_and_says_so(bench: Bench) -> None:
    build(bench, "hang", cost=CostSettings(per_hour=36.0, most_per_training=1.0))
    dear = ask(bench, "ring")
    until_fitting(bench, dear)
    bench.later(seconds=90)
    bench.tick_until(lambda: row_of(bench, dear).stop_because is AttemptEnd.OVER_COST)
    assert row_of(bench, dear).stage.startswith("being ended: cost 0.9") or row_of(bench, dear).stage.startswith(
        "being ended: cost 1."
    )
    bench.later(seconds=20)
    until(bench, dear, TrainingState.FAILED)
    assert "more than cost.most_per_training of 1 EUR; raise it, or lower" in (row_of(bench, dear).error or "")
    assert ends(bench, dear) == [AttemptEnd.OVER_COST]


def test_a_training_that_takes_too_long_ends_as_that(bench: Bench) -> None:
    build(bench, "hang")
    late = ask(bench, "ring")
    until_fitting(bench, late)
    bench.later(seconds=4_000)
    until(bench, late, TrainingState.FAILED)
    assert row_of(bench, late).error == "took longer than 3600 s"
    assert ends(bench, late) == [AttemptEnd.OVER_TIME]


def test_waiting_time_and_wall_time_of_every_attempt_are_kept(bench: Bench) -> None:
    build(bench, "slow", cost=CostSettings(per_hour=3.6))
    scheduled = ask(bench, "ring", TrainingTrigger.SCHEDULE)
    bench.later(seconds=100)
    until_fitting(bench, scheduled)
    bench.later(seconds=50)
    person = ask(bench, "cap")
    until_fitting(bench, person)
    bench.later(seconds=1_000)
    go(bench, person)
    until(bench, person, FINISHED)
    until_fitting(bench, scheduled)
    bench.later(seconds=200)
    go(bench, scheduled)
    until(bench, scheduled, FINISHED)
    with bench.database.read() as session:
        attempts = attempts_of(session, scheduled)
    first, second = attempts
    assert 100 <= (first.started_at - first.queued_at).total_seconds() < 130
    assert 50 <= first.wall_s < 80
    assert 1_000 <= (second.started_at - second.queued_at).total_seconds() < 1_030
    assert 200 <= second.wall_s < 230
    spent = spent_of(attempts)
    assert spent.waited_s == pytest.approx(1_100, abs=60)
    assert spent.cost == pytest.approx(spent.wall_s / 1_000)
    assert (spent.currency, spent.cpu_s, spent.energy_wh) == ("EUR", None, None)


def test_priorities_are_those_of_the_words_in_their_order() -> None:
    assert sorted(TrainingTrigger, key=lambda word: -PRIORITY[word]) == list(TrainingTrigger)

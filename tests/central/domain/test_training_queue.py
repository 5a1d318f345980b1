# SPDX-License-Identifier: Apache-2.0
"""The order of the queue, its quotas and who gives way: tables for the rules, properties for what must always hold."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central.domain.training_queue import PRIORITY, Plan, Quotas, Running, SiteQuota, Waiting, make_plan
from contracts.vocabulary import TrainingTrigger

START = datetime(2026, 1, 5, tzinfo=UTC)
PERSON, ALARM, SCHEDULE = (
    PRIORITY[trigger] for trigger in (TrainingTrigger.PERSON, TrainingTrigger.ALARM, TrainingTrigger.SCHEDULE)
)


def waits(name: str, priority: int = PERSON, minute: int = 0, site: str = "north", gpus: float = 0) -> Waiting:
    return Waiting(name, priority, START + timedelta(minutes=minute), site, gpus)


def runs(name: str, priority: int = PERSON, minute: int = 0, site: str = "north", gpus: float = 0) -> Running:
    return Running(name, priority, START + timedelta(minutes=minute), site, gpus)


def test_a_person_comes_before_an_alarm_and_that_before_the_schedule() -> None:
    queue = [waits("t-s", SCHEDULE), waits("t-a", ALARM, 1), waits("t-p", PERSON, 2)]
    assert make_plan(queue, [], Quotas(jobs=3)).starts == ["t-p", "t-a", "t-s"]
    made = make_plan(queue, [], Quotas(jobs=1))
    assert made.starts == ["t-p"]
    assert made.waits == {"t-a": "1 job run, the quota of all is 1", "t-s": "t-a comes first"}


def test_of_equals_the_older_comes_first() -> None:
    queue = [waits("t-2", ALARM, 2), waits("t-1", ALARM, 1)]
    assert make_plan(queue, [], Quotas(jobs=1)).starts == ["t-1"]


def test_a_site_waits_for_its_own_quota_and_keeps_nobody_else() -> None:
    quotas = Quotas(jobs=10, each_site=SiteQuota(jobs=2))
    running = [runs("t-1"), runs("t-2")]
    queue = [waits("t-3"), waits("t-4", minute=1), waits("t-5", SCHEDULE, 2, site="south")]
    made = make_plan(queue, running, quotas)
    assert made.starts == ["t-5"]
    assert made.waits == {
        "t-3": "2 jobs of site north run, its quota is 2",
        "t-4": "t-3 of site north comes first",
    }


def test_a_site_may_have_a_quota_of_its_own_and_what_belongs_to_none_counts_in_all_alone() -> None:
    quotas = Quotas(jobs=10, each_site=SiteQuota(jobs=1), sites={"south": SiteQuota(jobs=2)})
    queue = [
        waits(f"t-{n}", minute=n, site=site) for n, site in enumerate(["south", "south", "south", "", "", "north"])
    ]
    assert make_plan(queue, [], quotas).starts == ["t-0", "t-1", "t-3", "t-4", "t-5"]


def test_a_gang_starts_whole_or_not_at_all_and_small_ones_do_not_pass_it() -> None:
    quotas = Quotas(jobs=10, gpus=4)
    made = make_plan([waits("t-4", gpus=4), waits("t-1", minute=1, gpus=1)], [runs("t-0", gpus=1)], quotas)
    assert made.starts == []
    assert made.waits == {"t-4": "trainings hold 1 of 4 GPUs and this one takes 4", "t-1": "t-4 comes first"}


@pytest.mark.parametrize(
    ("gpus", "quotas", "words"),
    [
        (4, Quotas(jobs=9, gpus=2), "takes 4 GPUs, the quota of all is 2"),
        (2, Quotas(jobs=9, each_site=SiteQuota(gpus=1)), "takes 2 GPUs, the quota of site north is 1"),
    ],
)
def test_what_can_never_fit_is_said_and_holds_up_nobody(gpus: float, quotas: Quotas, words: str) -> None:
    made = make_plan([waits("t-large", gpus=gpus), waits("t-small", minute=1)], [], quotas)
    assert made.hopeless["t-large"].startswith(words)
    assert made.starts == ["t-small"]


def test_parts_of_a_gpu_add_up() -> None:
    """A tenth three times is more than three tenths, in floats."""
    running = [runs(f"t-{n}", gpus=0.1) for n in range(2)]
    assert make_plan([waits("t-2", gpus=0.1)], running, Quotas(jobs=99, gpus=0.3)).starts == ["t-2"]


def test_the_place_of_one_that_gives_way_is_nobody_elses_before_it_has_ended() -> None:
    running = [runs("t-s", SCHEDULE), runs("t-p0", PERSON, site="south")]
    queue = [waits("t-p1"), waits("t-p2", minute=1, site="east")]
    made = make_plan(queue, running, Quotas(jobs=2, sites={"north": SiteQuota(jobs=1)}))
    assert made.yields == {"t-s": "t-p1"}
    assert made.starts == []


def test_the_youngest_of_the_lowest_gives_way_and_no_more_than_needed() -> None:
    running = [
        runs("t-old", SCHEDULE, 0, gpus=1),
        runs("t-young", SCHEDULE, 9, gpus=1),
        runs("t-alarm", ALARM, 20, gpus=1),
    ]
    made = make_plan([waits("t-p", gpus=1)], running, Quotas(jobs=9, gpus=3))
    assert made.yields == {"t-young": "t-p"}
    assert made.waits == {"t-p": "t-young to end and make room"}


def test_of_another_site_nobody_gives_way_for_a_quota_of_this_one() -> None:
    running = [runs("t-south", SCHEDULE, 5, site="south"), runs("t-north", SCHEDULE)]
    made = make_plan([waits("t-p")], running, Quotas(jobs=9, each_site=SiteQuota(jobs=1)))
    assert made.yields == {"t-north": "t-p"}


def test_nobody_gives_way_where_that_would_not_make_room() -> None:
    running = [runs("t-s", SCHEDULE, gpus=1), runs("t-p1", PERSON, gpus=3)]
    made = make_plan([waits("t-p2", gpus=4)], running, Quotas(jobs=9, gpus=4))
    assert made.yields == {}
    assert made.waits == {"t-p2": "trainings hold 4 of 4 GPUs and this one takes 4"}


def test_whoever_leaves_already_is_waited_for_and_nobody_else_is_sent_away() -> None:
    running = [replace(runs("t-1", SCHEDULE), is_leaving=True), runs("t-2", SCHEDULE)]
    made = make_plan([waits("t-p")], running, Quotas(jobs=2))
    assert made.yields == {}
    assert made.waits == {"t-p": "t-1 to end and make room"}


def test_two_that_come_first_do_not_count_on_the_same_place() -> None:
    made = make_plan(
        [waits("t-p1"), waits("t-p2", minute=1, site="south")],
        [runs("t-s", SCHEDULE), runs("t-t", SCHEDULE, 1, site="south")],
        Quotas(jobs=9, each_site=SiteQuota(jobs=1)),
    )
    assert made.yields == {"t-s": "t-p1", "t-t": "t-p2"}


def test_one_that_gave_way_too_often_stays() -> None:
    made = make_plan([waits("t-p")], [replace(runs("t-s", SCHEDULE), may_yield=False)], Quotas(jobs=1))
    assert made.yields == {}


# What always holds

_sites = st.sampled_from(["", "north", "south"])
_gpus = st.sampled_from([0.0, 0.5, 1.0, 2.0])
_priorities = st.sampled_from([PERSON, ALARM, SCHEDULE])
_minutes = st.integers(0, 30)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[list[Waiting], list[Running], Quotas]:
    quotas = Quotas(
        jobs=draw(st.integers(1, 5)),
        gpus=draw(st.sampled_from([0.0, 1.0, 2.0, 4.0])),
        each_site=SiteQuota(draw(st.integers(0, 3)), draw(_gpus)),
        sites=draw(st.dictionaries(_sites, st.builds(SiteQuota, st.integers(0, 3), _gpus), max_size=2)),
    )
    queue = [
        waits(f"w-{n}", draw(_priorities), draw(_minutes), draw(_sites), draw(_gpus))
        for n in range(draw(st.integers(0, 6)))
    ]
    # What runs came by the same rules: it fits.
    running: list[Running] = []
    for n in range(draw(st.integers(0, 6))):
        one = runs(f"r-{n}", draw(_priorities), draw(_minutes), draw(_sites), draw(_gpus))
        if _fits([*running, one], quotas):
            running.append(replace(one, is_leaving=draw(st.booleans()), may_yield=draw(st.booleans())))
    return queue, running, quotas


def _fits(held: list[Running], quotas: Quotas) -> bool:
    sites = Counter(one.site for one in held if one.site)
    of_sites = all(
        (not quotas.of(site).jobs or count <= quotas.of(site).jobs)
        and (
            not quotas.of(site).gpus or sum(one.gpus for one in held if one.site == site) <= quotas.of(site).gpus + 1e-6
        )
        for site, count in sites.items()
    )
    all_gpus = sum(one.gpus for one in held)
    return of_sites and len(held) <= quotas.jobs and (not quotas.gpus or all_gpus <= quotas.gpus + 1e-6)


def _begun(made: Plan, queue: list[Waiting]) -> list[Running]:
    return [
        Running(one.training_id, one.priority, one.asked_at, one.site, one.gpus)
        for one in queue
        if one.training_id in made.starts
    ]


@settings(max_examples=400, deadline=None)
@given(_cases())
def test_no_quota_is_ever_exceeded_and_each_has_one_answer(case: tuple[list[Waiting], list[Running], Quotas]) -> None:
    queue, running, quotas = case
    made = make_plan(queue, running, quotas)
    assert _fits([*running, *_begun(made, queue)], quotas)
    answers = [*made.starts, *made.waits, *made.hopeless]
    assert sorted(answers) == sorted(one.training_id for one in queue)
    assert all(made.waits.values())


@settings(max_examples=400, deadline=None)
@given(_cases())
def test_nobody_gives_way_to_an_equal_nor_for_nothing(case: tuple[list[Waiting], list[Running], Quotas]) -> None:
    queue, running, quotas = case
    made = make_plan(queue, running, quotas)
    by_id = {one.training_id: one for one in running}
    for victim, winner in made.yields.items():
        (first,) = [one for one in queue if one.training_id == winner]
        assert by_id[victim].priority < first.priority
        assert by_id[victim].may_yield
        assert not by_id[victim].is_leaving
        mine = [name for name, other in made.yields.items() if other == winner]
        stays = [
            one
            for one in [*running, *_begun(made, [one for one in queue if one.priority >= first.priority])]
            if not one.is_leaving and one.training_id not in mine
        ]
        wanted = Running(winner, first.priority, first.asked_at, first.site, first.gpus)
        assert _fits([*[one for one in stays if one.training_id not in made.yields], wanted], quotas)


@settings(max_examples=200, deadline=None)
@given(_cases())
def test_turn_by_turn_everything_that_can_fit_comes_to_its_end(
    case: tuple[list[Waiting], list[Running], Quotas],
) -> None:
    """Each turn one of the running ends: the line comes to nothing, whoever gives way; nobody starves."""
    queue, running, quotas = case
    left = {one.training_id: one for one in queue}
    for _ in range(60):
        made = make_plan(list(left.values()), running, quotas)
        running = [one for one in running if one.training_id not in made.yields] + _begun(made, list(left.values()))
        for name in [*made.starts, *made.hopeless]:
            del left[name]
        running = sorted(running, key=lambda one: one.started_at)[1:]
        if not left:
            return
    pytest.fail(f"still waiting: {left}")

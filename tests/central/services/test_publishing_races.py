# SPDX-License-Identifier: Apache-2.0
"""What the broker retains for a station is what is in force, however worker, people and other processes interleave."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from central.domain.rollout_plan import RolloutPlan, WavePlan, WaveScope
from central.services.rollouts.assigning import Assigner
from central.services.rollouts.moving import RolloutService
from central.settings import RolloutSettings
from central.store.repositories import stations
from central.trust.assignments import open_assignment
from tests.central.services.bench import Bench
from tests.central.services.lines import line

# A thread that is held up is waited for so long; one that is not ends much sooner.
HELD_UP_S = 1.0


def plant(bench: Bench, folder: Path) -> list[str]:
    """Two stations with a champion that read nothing any more; gives their addresses."""
    line(bench, folder, "st-1", "st-2")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    package = bench.register(2, folder, champion=bench.champion())
    plan = RolloutPlan(waves=(WavePlan(WaveScope.ALL),))
    bench.rollouts.start(package, [], None, "to all", bench.clock.now(), plan=plan)
    names = sorted(bench.stations)
    bench.stations.clear()
    return names


def retained(bench: Bench) -> dict[str, int]:
    """By station, the number of what the broker was handed last."""
    opened = [
        open_assignment(payload, bench.assignment_key.public_key)
        for topic, payload in bench.publisher.sent
        if topic.endswith("/assignment")
    ]
    return {str(each.station): each.number for each in opened}


def in_force(bench: Bench) -> dict[str, int]:
    with bench.database.read() as session:
        return {each.address: each.assignment_number or 0 for each in stations.list_all(session)}


def before_first(bench: Bench, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let something happen once, between reading what waits and handing the first of it to the broker."""
    real, done = bench.publisher.publish, list[bool]()

    def publish(topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        if not done and topic.endswith("/assignment"):
            done.append(True)
            act()
        return real(topic, payload, qos=qos, retain=retain)

    monkeypatch.setattr(bench.publisher, "publish", publish)


def test_abort_beside_the_worker_is_what_the_broker_keeps(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = plant(bench, tmp_path)
    now, threads = bench.clock.now(), list[threading.Thread]()

    def abort() -> None:
        threads.append(
            threading.Thread(target=lambda: bench.rollouts.abort(bench.rollout().id or 0, "anna", now), daemon=True)
        )
        threads[0].start()
        threads[0].join(HELD_UP_S)

    before_first(bench, monkeypatch, abort)
    bench.publisher.sent.clear()
    bench.rollouts.tick(now)
    threads[0].join()
    assert retained(bench) == in_force(bench)
    # In the order of their numbers: no station was told an older one after a newer one.
    opened = [open_assignment(each, bench.assignment_key.public_key) for _, each in bench.publisher.sent]
    for name in names:
        numbers = [each.number for each in opened if str(each.station) == name]
        assert numbers == sorted(numbers)


def another_central(bench: Bench) -> RolloutService:
    """On the same database and broker."""
    assigner = Assigner(bench.database, bench.publisher, bench.assignment_key, 30.0)
    return RolloutService(bench.database, assigner, bench.rollout_settings, 120.0, lambda: True)


def test_what_another_process_put_in_force_meanwhile_is_published_again(
    any_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = any_bench
    plant(bench, tmp_path)
    now = bench.clock.now()
    other = another_central(bench)
    before_first(bench, monkeypatch, lambda: other.abort(bench.rollout().id or 0, "anna", now))
    bench.rollouts.tick(now)
    assert retained(bench) == in_force(bench)
    # And that was all: nothing is published for ever.
    bench.publisher.sent.clear()
    bench.rollouts.tick(now)
    assert bench.publisher.sent == []


def test_what_overtook_ours_waits_while_the_broker_takes_nothing_more(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(bench, tmp_path)
    now = bench.clock.now()
    other = another_central(bench)
    before_first(bench, monkeypatch, lambda: other.abort(bench.rollout().id or 0, "anna", now))
    real = bench.publisher.publish
    taken = list[str]()

    def publish(topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        # The two of the abort, which the hook hands over itself, are taken; ours too; then no more.
        bench.publisher.is_full = len(bench.publisher.sent) >= full_at
        if real(topic, payload, qos=qos, retain=retain):
            taken.append(topic)
            return True
        return False

    full_at = len(bench.publisher.sent) + 4
    monkeypatch.setattr(bench.publisher, "publish", publish)
    bench.rollouts.tick(now)
    assert len(bench.publisher.sent) == full_at
    assert retained(bench) != in_force(bench)
    monkeypatch.setattr(bench.publisher, "publish", real)
    bench.publisher.is_full = False
    bench.rollouts.tick(now)
    assert retained(bench) == in_force(bench)

# SPDX-License-Identifier: Apache-2.0
"""The gate in the loop: what is measured on, what holds a package back, who may overrule, what a restart finds."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.errors import ConflictError, ForbiddenError, NotFoundError
from central.services.gates.evidence import Said, document_of, overrule
from central.store.database import Database
from central.store.learning_tables import SplitGroup
from central.store.tables import Audit, LabelledPicture
from contracts.vocabulary import Judgement, LabelSource, PartUse, PromotionOutcome, Role, TrainingState, Verdict
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import PRODUCT
from tests.central.services.gate_bench import LENIENT, GateBench

MISSING, REFUSED = PromotionOutcome.NOT_ENOUGH_EVIDENCE, PromotionOutcome.REFUSED
ENGINEER = Said("anna", Role.ENGINEER, "the line needs it, shadow will tell")
ADMIN = Said("kim", Role.ADMIN, "seen on the bench, the pictures were mislabelled")


@pytest.fixture(name="bench")
def _bench(
    database: Database, publisher: RememberingPublisher, clock: StillClock, tmp_path: Path
) -> Iterator[GateBench]:
    bench = GateBench(database, publisher, clock, tmp_path)
    bench.set_gate()
    yield bench
    bench.end()


def outcome(bench: GateBench, package_id: str) -> PromotionOutcome:
    return next(row.outcome for row in bench.promotions() if row.package_id == package_id)


def test_a_first_package_is_measured_before_any_station_gets_it(bench: GateBench) -> None:
    champion = bench.commission_by_gate()
    row = bench.gate(champion)
    assert (row.state, row.champion_package_id) == (TrainingState.FINISHED, None)
    assert "whole test set" in bench.states(champion)
    assert not [name for name in bench.states(champion) if name.startswith("recall of unnamed, test")]
    assert not list(bench.gates_dir.glob("*/"))


def test_nothing_that_taught_is_measured_on(bench: GateBench) -> None:
    champion = bench.commission_by_gate()
    with bench.database.read() as session:
        from sqlmodel import select  # noqa: PLC0415 - used here alone

        sides = {row.part_group: row.use for row in session.exec(select(SplitGroup)).all()}
    told = [picture["group"] for picture in bench.gate_job(champion)["pictures"]]
    assert told
    assert {sides[group] for group in told} == {PartUse.HOLDOUT}


def test_too_few_parts_hold_a_package_back_and_ask_a_person(bench: GateBench) -> None:
    bench.commission_by_gate()
    bench.set_gate(needs_audits=False)
    challenger = bench.challenge()
    assert outcome(bench, challenger) is MISSING
    assert bench.states(challenger)["recall of unnamed, test set"] == "NOT_ENOUGH_EVIDENCE"
    bench.tick(5)
    assert bench.rollouts_of(challenger) == 0
    with bench.database.begin() as session:
        row = overrule(session, challenger, ENGINEER, bench.clock.now())
        assert (row.outcome, row.reason) == (MISSING, ENGINEER.reason)
    bench.tick(3)
    assert bench.rollouts_of(challenger) == 1
    with bench.database.begin() as session, pytest.raises(ConflictError, match="promoted already"):
        overrule(session, challenger, ADMIN, bench.clock.now())


def test_a_worse_package_starts_no_rollout_and_only_an_administrator_may_overrule(bench: GateBench) -> None:
    bench.commission_by_gate()
    bench.set_gate("worse", **{**LENIENT, "recall_margin": 0.05})
    challenger = bench.challenge()
    assert outcome(bench, challenger) is REFUSED
    assert bench.states(challenger)["recall of unnamed, test set"] == "FAILED"
    bench.tick(5)
    assert bench.rollouts_of(challenger) == 0
    with bench.database.begin() as session, pytest.raises(ForbiddenError, match="expected role ADMIN"):
        overrule(session, challenger, ENGINEER, bench.clock.now())
    with bench.database.begin() as session:
        overrule(session, challenger, ADMIN, bench.clock.now())
        told = json.loads(document_of(session, challenger))
    assert (told["overruled"]["by"], told["overruled"]["outcome"]) == ("kim", "REFUSED")
    assert told["evidence"]["outcome"] == "REFUSED"
    bench.tick(3)
    assert bench.rollouts_of(challenger) == 1


def test_where_the_terms_say_fail_an_engineer_may_not_let_it_out(bench: GateBench) -> None:
    bench.commission_by_gate()
    bench.set_gate(when_missing="FAIL")
    challenger = bench.challenge()
    assert outcome(bench, challenger) is MISSING
    with bench.database.begin() as session, pytest.raises(ForbiddenError):
        overrule(session, challenger, ENGINEER, bench.clock.now())


def test_where_missing_evidence_is_only_shown_the_package_goes_out_and_the_evidence_says_so(bench: GateBench) -> None:
    bench.commission_by_gate()
    bench.set_gate(when_missing="SHOW")
    challenger = bench.challenge()
    assert outcome(bench, challenger) is PromotionOutcome.PROMOTED
    assert "NOT_ENOUGH_EVIDENCE" in bench.states(challenger).values()


def test_audited_parts_come_with_their_chance_and_without_those_that_taught(bench: GateBench) -> None:
    bench.commission_by_gate()
    stations = list(bench.stations.values())
    numbers = bench.report(stations[0], [Verdict.OK] * 6)
    with bench.database.begin() as session:
        for index, number in enumerate(numbers):
            audit = Audit(
                inspection_id=number, product=PRODUCT, drawn_at=bench.clock.now(), inclusion_probability=0.25,
                is_discordant=index == 5, is_simulated=True, outcome=Judgement.GOOD,
            )  # fmt: skip
            session.add(audit)
            session.flush()
            taught = index == 4
            label = LabelledPicture(
                product=PRODUCT, sha256=bench.blobs.put(f"audited {number}".encode()), judgement=Judgement.GOOD,
                part_id=f"audited-{index}", source=LabelSource.AUDIT, inspection_id=number, audit_id=audit.id,
                added_at=bench.clock.now(), is_simulated=True,
            )  # fmt: skip
            session.add(label)
            if taught:
                session.add(SplitGroup(product=PRODUCT, is_simulated=True, part_group="audited-4", use=PartUse.TRAIN))
            elif index < 4:
                session.add(
                    SplitGroup(product=PRODUCT, is_simulated=True, part_group=f"audited-{index}", use=PartUse.HOLDOUT)
                )
    challenger = bench.challenge()
    audited = {
        picture["group"]: picture["inclusion_probability"]
        for picture in bench.gate_job(challenger)["pictures"]
        if "inclusion_probability" in picture
    }
    assert audited == {f"audited-{index}": 0.25 for index in range(4)}
    evidence = bench.gate(challenger).evidence
    assert evidence is not None
    assert evidence["denominators"]["audited"]["stand_for"] == 16.0


def test_a_gate_that_cannot_measure_is_no_pass(bench: GateBench) -> None:
    bench.commission_by_gate()
    for mode, word in (("crash", "made-up fault"), ("nonsense", "gate.json")):
        bench.set_gate(mode)
        challenger = bench.challenge()
        assert outcome(bench, challenger) is MISSING
        row = bench.gate(challenger)
        assert row.state is TrainingState.FAILED
        assert word in (row.error or "")
        assert bench.states(challenger) == {"measured beside the champion": "NOT_ENOUGH_EVIDENCE"}


def test_a_gate_that_is_killed_is_begun_again_and_not_for_ever(bench: GateBench) -> None:
    bench.commission_by_gate()
    bench.set_gate("dies-once", **LENIENT)
    challenger = bench.challenge()
    assert outcome(bench, challenger) is PromotionOutcome.PROMOTED
    assert bench.runs(challenger) == 2
    bench.tick_until(lambda: bench.rollout().package_id == challenger)
    bench.set_gate("dies", most_starts=2)
    bench.tick_until(lambda: bench.champion() == challenger or not bench.report(next(iter(bench.stations.values())),
                     [Verdict.OK] * 5))  # fmt: skip
    other = bench.challenge()
    assert outcome(bench, other) is MISSING
    assert "lost 2 times (gate.most_starts)" in (bench.gate(other).error or "")


def test_central_restarted_finds_the_gate_that_runs_and_starts_no_second_one(bench: GateBench) -> None:
    bench.commission_by_gate()
    bench.set_gate("slow", **LENIENT)
    challenger = bench.train_until_measured()
    before = bench.gating.backend.children
    bench.set_gate("slow", **LENIENT)
    bench.tick(5)
    assert bench.gate(challenger).state is TrainingState.RUNNING
    (bench.gates_dir.parent / "go").touch()
    bench.tick_until(lambda: challenger in {row.package_id for row in bench.promotions()})
    assert bench.runs(challenger) == 1
    for child in before:
        child.wait()


def test_a_gate_that_takes_too_long_is_ended(bench: GateBench) -> None:
    bench.commission_by_gate()
    bench.set_gate("slow", timeout_s=30.0)
    challenger = bench.train_until_measured()
    bench.later(seconds=60)
    bench.tick_until(lambda: challenger in {row.package_id for row in bench.promotions()})
    assert outcome(bench, challenger) is MISSING
    assert "took longer than 30 s" in (bench.gate(challenger).error or "")
    assert [child.wait() for child in bench.gating.backend.children] == [-signal.SIGKILL] * len(
        bench.gating.backend.children
    )


def test_the_evidence_file_needs_nothing_else_and_names_no_path_of_this_machine(
    bench: GateBench, tmp_path: Path
) -> None:
    champion = bench.commission_by_gate()
    bench.set_gate(needs_audits=False)
    challenger = bench.challenge()
    with bench.database.read() as session:
        content = document_of(session, challenger)
        with pytest.raises(NotFoundError, match="no such package"):
            document_of(session, "f" * 64)
    told = json.loads(content)
    assert (told["package"]["package_id"], told["champion"]["package_id"]) == (challenger, champion)
    assert {len(file["sha256"]) for file in told["package"]["files"]} == {64}
    assert len(told["package"]["dataset"]["dataset_id"]) == len(told["package"]["dataset"]["file_sha256"]) == 64
    assert len(told["pictures"]) == told["evidence"]["denominators"]["test_set"]["pictures"] > 0
    assert os.fspath(tmp_path) not in content.decode()

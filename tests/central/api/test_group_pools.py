# SPDX-License-Identifier: Apache-2.0
"""Which audits stand in the figures of a group: those of the package and the state of things that it speaks of."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from central.services.alarms.rows import Signal, raise_alarm
from contracts.vocabulary import AlarmKind, AuditState, Judgement, Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import PACKAGE, START, STATION, make_report

NEW_PACKAGE = "c" * 64


def _groups(api: Api, by: str, **query: Any) -> dict[str, dict[str, Any]]:
    answer = api.as_(Role.VIEWER).get("/api/v1/quality/figures", params={"by": by, **query})
    answer.raise_for_status()
    return {group["group"]: group for group in answer.json()["groups"]}


@pytest.fixture(name="changed")
def _changed(api: Api) -> Api:
    """Ten parts before a package change, five of their audits escapes; ten after it, one of four audits an escape."""
    for first, minutes, package in ((1, -40, PACKAGE), (11, -10, NEW_PACKAGE)):
        at = START + timedelta(minutes=minutes)
        api.store(
            *(
                make_report(n, Verdict.OK if n % 10 else Verdict.NG, captured_at=at, package_id=package)
                for n in range(first, first + 10)
            )
        )
    for number, is_defective in [(n, True) for n in range(1, 6)] + [(n, n == 11) for n in range(11, 15)]:
        judgement = Judgement.DEFECTIVE if is_defective else Judgement.GOOD
        api.draw_audit(number, 0.5, state=AuditState.JUDGED, judgement=judgement)
    for number in (10, 20):
        api.draw_audit(number, 0.5, state=AuditState.JUDGED, judgement=Judgement.GOOD)
    return api


@pytest.mark.parametrize("by", ["site", "line", "station", "product"])
def test_audits_from_before_a_package_change_are_not_pooled(changed: Api, by: str) -> None:
    (group,) = _groups(changed, by, cost_of_part=4).values()
    assert group["parts"] == 20
    assert (group["escapes"]["count"], group["escapes"]["of"]) == (1, 4)
    assert (group["overkill"]["count"], group["overkill"]["of"]) == (1, 1)
    assert group["overkill_cost"]["of"] == 1
    at = datetime.fromisoformat(group["audits_since"])
    assert (at, group["audits_since_cut"]) == ((START - timedelta(minutes=10)).replace(second=0), "PACKAGE")
    # What defects there were is told of the whole period.
    assert sum(bar["count"] for bar in group["pareto"]) == 6


def test_figures_and_rates_say_the_same(changed: Api) -> None:
    lines = changed.as_(Role.VIEWER).get("/api/v1/quality/rates", params={"minutes": 60 * 24}).json()["lines"]
    (line,) = [line for line in lines if line["station"] == str(STATION)]
    group = _groups(changed, "station")[str(STATION)]
    rate = line["escape_share_of_accepted"]
    for name in ("low", "estimate", "high"):
        assert group["escapes"][name] == pytest.approx(1e6 * rate[name])
    assert group["overkill"] == line["overkill_share_of_rejected"]
    assert group["audits_since"] == line["audits_since"]


def test_each_package_and_each_shift_has_all_its_own_audits(changed: Api) -> None:
    packages = _groups(changed, "package")
    assert {name: group["escapes"]["of"] for name, group in packages.items()} == {PACKAGE: 5, NEW_PACKAGE: 4}
    (shift,) = _groups(changed, "shift", shifts="04:00").values()
    assert (shift["escapes"]["count"], shift["escapes"]["of"]) == (6, 9)
    assert (shift["audits_since"], shift["audits_since_cut"]) == (None, None)


def test_audits_from_before_an_alarm_on_escapes_are_not_pooled(changed: Api) -> None:
    with changed.services.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "m", "r", is_simulated=True, product="ring")
        raise_alarm(session, signal, START - timedelta(minutes=5))
    group = _groups(changed, "station")[str(STATION)]
    assert (group["escapes"]["estimate"], group["escapes"]["of"], group["audits_since_cut"]) == (None, 0, "ALARM")

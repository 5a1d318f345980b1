# SPDX-License-Identifier: Apache-2.0
"""The loop closes: a new kind slips through, audits find it, it is learnt, rolled out, and then caught."""

import pytest

from tests.end_to_end.conftest import RunDemo

STORY = """
title = "A new kind of defect, told in a hurry"
seed = 5
parts = 1500
takt_s = 0.12
size_px = 256
commissioning_parts = 120

[[station]]
name = "st-1"
product = "ring"

[[station]]
name = "st-2"
product = "ring"

[defects]
scratch = 0.01
missing = 0.01
contamination = 0.01

[severity]
low = 0.55
high = 1.0

[inspector]
error_rate = 0.005
delay_s = 0.2
judgements_per_s = 30

[[step]]
at_part = 150
new_defect = { kind = "chatter", rate = 0.18, severity = { low = 0.11, high = 0.15 } }
"""


@pytest.mark.slow
@pytest.mark.line_time
@pytest.mark.xdist_group("loop")
@pytest.mark.timeout(1000)
def test_new_kind_is_found_learnt_rolled_out_and_caught(run_demo: RunDemo) -> None:
    shown = run_demo(STORY, "--time-limit", "800")
    assert shown.code == 0, shown.said
    report = shown.report
    assert (report["reports_lost"], report["reports_duplicated"]) == (0, 0)
    assert report["failings"] == []
    before, after = report["true_escapes_before"]["new_kind"], report["true_escapes_after"]["new_kind"]
    assert after["rate"] <= before["rate"] / 4
    assert report["alarm_after_parts"] > 0
    assert report["audit_labels_used"] > 0
    assert report["training_seconds"] > 0
    assert report["rollout_seconds"] > 0
    assert {package["role"] for package in report["packages"]} >= {"before", "after"}
    assert all(0 <= package["auroc"] <= 1 for package in report["packages"] if package["auroc"] is not None)
    assert [rollout["waves"] for rollout in report["rollouts"]][-1] == 2
    assert report["latency_ms"]["capture_to_verdict"]["count"] > 1000

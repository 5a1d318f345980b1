# SPDX-License-Identifier: Apache-2.0
"""The section `[audit]` of central's settings: how parts are drawn for people. Read by `central.settings`."""

from dataclasses import dataclass

from central.domain.shifts import ShiftPlan


@dataclass(frozen=True)
class AuditSettings:
    """How parts are drawn for blind judgement. Shares are of the parts of one period.

    `accepted_share`, `tightened_share`, `reduced_share`: of accepted parts, under normal, tightened and reduced
    inspection. Where `shift_budget` is above 0, so many accepted parts a shift are audited instead, over all stations
    and products under normal inspection; tightened and reduced are then in the proportion of the shares.
    `rejected_share`: of rejected ones (NG and REVIEW), at most `rejected_most` of each station, product and verdict in
    one draw.

    `shifts`: when shifts begin, by the clock of `time_zone`. The audits of a shift say whether it is accepted once all
    are settled, at the latest `shift_judged_after_s` after its end. `discontinued_open`: while sampling is discontinued
    all accepted parts are drawn, as long as fewer than so many of them wait for people.

    `confirms`: an escape needs two inspectors, a reject two of three (False: one answer counts). `repeat_share` of the
    new audits are judged parts shown again, `repeat_after_s` after they were settled, to see how far inspectors agree.
    `discordant_*`: parts on which a challenger in shadow and its champion disagree: so many may wait for people for
    each challenger, and so many are drawn in all.

    `asked_per_shift`: parts a shift, over all stations and products, that people are asked about so that a training
    learns from them, after the audits; at most `asked_open` of them wait. They are in no rate. 0: none.
    `suspects_open`: labels that models disagree with and that were sent back; so many may wait at a time.
    """

    period_s: float = 30.0
    accepted_share: float = 0.05
    tightened_share: float = 0.25
    reduced_share: float = 0.02
    shift_budget: int = 0
    shifts: tuple[str, ...] = ("06:00", "14:00", "22:00")
    time_zone: str = "UTC"
    shift_judged_after_s: float = 8 * 3600.0
    discontinued_open: int = 500
    rejected_share: float = 0.05
    rejected_most: int = 20
    lost_after_s: float = 120.0
    claim_s: float = 120.0
    confirms: bool = True
    repeat_share: float = 0.05
    repeat_after_s: float = 3_600.0
    discordant_open: int = 20
    discordant_most: int = 500
    asked_per_shift: int = 0
    asked_open: int = 10
    suspects_open: int = 20


def audit_faults(audit: AuditSettings) -> list[str]:
    """What is wrong with shifts and time zone, as "audit.x: expected …, got …"."""
    try:
        ShiftPlan(audit.shifts, audit.time_zone)
    except ValueError as error:
        return [f"audit.{error}"]
    return []

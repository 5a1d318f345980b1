# SPDX-License-Identifier: Apache-2.0
"""One station in its wave: what was seen of it moves it on, holds it, or is an error.

Pure; knows no other station and gives no order. Called by `domain/rollout.py`.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from central.domain.rollout_conditions import BakePolicy, Seen, error_in, lost_in, success_in
from central.domain.rollout_shapes import UNDER_WAY, Progress, StationStep, Wave
from contracts.vocabulary import PackageState


def conditions_of(wave: Wave, policy: BakePolicy) -> BakePolicy:
    """What this wave must show. A first package (`bake_parts` 0) has nothing to be compared with in any wave."""
    parts = policy.bake_parts if wave.plan.bake_parts is None or policy.bake_parts == 0 else wave.plan.bake_parts
    return replace(policy, bake_parts=parts, bake_s=wave.plan.bake_s)


def look_at(
    item: StationStep, seen: Seen, policy: BakePolicy, now: datetime, *, clock_from: datetime | None
) -> StationStep:
    """Where the station goes from here. `clock_from`: since when central hears it; None: no time-out runs."""
    if item.progress not in UNDER_WAY and item.progress is not Progress.DONE:
        return item
    error = error_in(seen, policy)
    if error is not None:
        return replace(item, progress=Progress.ERRED, since=now, detail=error)
    if item.progress is Progress.AWAY:
        return _settle_away(item, seen, now)
    started = now if clock_from is None or item.since is None else max(item.since, clock_from)
    waited_s = (now - started).total_seconds()
    lost = lost_in(seen, policy, waited_s, now) if item.progress is not Progress.DONE else None
    if lost is not None:
        detail = f"{lost}, last step {item.progress.value}, last word: {seen.heard()}; it goes on when it is back"
        return replace(item, progress=Progress.AWAY, since=now, detail=detail, was=item.progress)
    if item.progress is Progress.ASSIGNED:
        return _settle_assigned(_noting_bytes(item, seen, now), seen, policy, now, started)
    return _settle_baking(item, seen, policy, now, waited_s) if item.progress is Progress.BAKING else item


def call_back(item: StationStep, seen: Seen, frozen: Mapping[str, str]) -> StationStep | None:
    """The step of a station that has not taken its order yet and may not be touched any more; None: it stays.

    One that is out of reach would read the order when it is back, and change in the freeze.
    """
    was = item.was if item.progress is Progress.AWAY else item.progress
    if was is not Progress.ASSIGNED or item.station not in frozen or seen.package_state is PackageState.ACTIVE:
        return None
    if item.progress is Progress.AWAY:
        return replace(item, was=Progress.WAITING, detail=f"{item.detail}; its order was called back")
    return replace(item, progress=Progress.WAITING, since=None, detail=frozen[item.station])


def _settle_away(item: StationStep, seen: Seen, now: datetime) -> StationStep:
    """Back as soon as anything is heard of it after it was given up; all its time-outs start anew."""
    if item.since is None or seen.heard_at is None or seen.heard_at <= item.since:
        return item
    before = item.was if item.was in (Progress.SHADOW, Progress.WAITING) else Progress.ASSIGNED
    return replace(item, progress=before, since=now, detail="heard of again", was=None)


def _noting_bytes(item: StationStep, seen: Seen, now: datetime) -> StationStep:
    """Any other count than the last is news: a file that changed in between is fetched again from its beginning."""
    if seen.bytes_done is None or seen.bytes_done == (item.bytes_done or 0):
        return item
    return replace(item, bytes_done=seen.bytes_done, moved_at=now)


def _settle_assigned(
    item: StationStep, seen: Seen, policy: BakePolicy, now: datetime, started: datetime
) -> StationStep:
    if seen.package_state is PackageState.ACTIVE:
        return replace(item, progress=Progress.BAKING, since=now, detail="the package is active")
    if seen.waits_until is not None and seen.waits_until > now:
        # Agreed on, and no fault of the package's: its time runs from when the window opens.
        opens = max(item.since or seen.waits_until, seen.waits_until)
        detail = f"waits for its maintenance window, which opens at {seen.waits_until:%Y-%m-%d %H:%M} UTC"
        return replace(item, since=opens, detail=detail)
    # While it could not be heard it could not say that it is active: that time is not held against it.
    heard_at = min(now, seen.heard_at) if seen.heard_at is not None else started
    still_since = max(started, item.moved_at) if item.moved_at is not None else started
    why = ""
    if (heard_at - still_since).total_seconds() > policy.install_timeout_s:
        of = " of the last byte that came" if still_since > started else ""
        why = f"not active within {policy.install_timeout_s:.0f} s{of}"
    elif (heard_at - started).total_seconds() > max(policy.download_timeout_s, policy.install_timeout_s):
        # Else a line so slow that a byte comes now and then would hold the rollout, and the product, for ever.
        why = f"not active within {policy.download_timeout_s:.0f} s, though bytes still come"
    if why:
        return replace(item, progress=Progress.ERRED, since=now, detail=f"{why}; last heard: {seen.heard()}")
    return replace(item, detail=f"waiting for the package to become active; last heard: {seen.heard()}")


def _settle_baking(item: StationStep, seen: Seen, policy: BakePolicy, now: datetime, waited_s: float) -> StationStep:
    is_shown, detail = success_in(seen, policy)
    if is_shown and waited_s >= policy.bake_s:
        return replace(item, progress=Progress.DONE, since=now, detail=detail)
    if is_shown:
        detail = f"{detail}; bakes for {policy.bake_s:.0f} s at least"
    elif waited_s > policy.bake_patience_s:
        detail = f"not enough evidence since {item.since:%Y-%m-%d %H:%M} UTC: {detail}"
    return replace(item, detail=detail)

# SPDX-License-Identifier: Apache-2.0
"""What a route says: an event of an alarm as it was then, and the message that one or many of them make.

Pure: reads an `Alarm` row it is handed, knows no table, sends nothing. Called by `services/alarms/routing.py` (what was
known when it happened) and `services/alarms/delivering.py` (the message).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from central.domain.alarm_routes import AlarmRoute
from central.domain.alarm_severity import severity_of
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmEvent, AlarmSeverity

# A digest shows so many in full; the rest is counted, and stands on the page of alarms.
MOST_EVENTS: Final = 200
MOST_LINES: Final = 50
_MOST_FIGURES: Final = 30
_MOST_LETTERS: Final = 2_000
_WORST_FIRST: Final = tuple(reversed(AlarmSeverity))

Told = Mapping[str, Any]


@dataclass(frozen=True)
class Outgoing:
    """One message. `message_id` stays the same however often it is sent; `thread` keeps an alarm's mails together."""

    message_id: str
    at: datetime
    subject: str
    text: str
    document: dict[str, Any]
    thread: str | None = None


def told_of(alarm: Alarm, event: AlarmEvent, at: datetime) -> dict[str, Any]:
    """What is known of an alarm now, as JSON: what, where, since when, figures, remedy, causes."""
    closed_at = None if alarm.closed_at is None else alarm.closed_at.isoformat()
    return {
        "alarm_id": alarm.id,
        "event": event.value,
        "at": at.isoformat(),
        "kind": alarm.kind.value,
        "severity": severity_of(alarm.kind, alarm.evidence).value,
        "station": alarm.station,
        "product": alarm.product,
        "raised_at": alarm.raised_at.isoformat(),
        "message": alarm.message[:_MOST_LETTERS],
        "remedy": alarm.remedy[:_MOST_LETTERS],
        "figures": _figures(alarm.evidence),
        "repeats": alarm.repeats,
        "acknowledged_by": alarm.acknowledged_by,
        "closed_by": alarm.closed_by,
        "closed_at": closed_at,
        "cause": alarm.cause,
        "suggested_cause": _suggested(alarm),
        "is_simulated": alarm.is_simulated,
    }


def compose(
    route: AlarmRoute, told: Sequence[Told], *, message_id: str, at: datetime, unsaid: int, dashboard_url: str
) -> Outgoing:
    """The message of one event, or a digest of many. `unsaid`: events before it that never went out."""
    link = f"{dashboard_url.rstrip('/')}/alarms" if dashboard_url else ""
    zone = ZoneInfo(route.time_zone)
    is_digest = len(told) > 1
    shown = sorted(told, key=lambda one: str(one["at"]))
    lines = _digest_lines(shown, zone) if is_digest else _alarm_lines(shown[0], zone)
    if unsaid:
        lines += ["", f"{unsaid} earlier events never went out over this route; they stand on the page of alarms."]
    if link:
        lines += ["", f"Alarms: {link}"]
    lines += ["", f"Sent by Sightline over the route {route.name}."]
    document = {
        "message_id": message_id,
        "route": route.name,
        "kind": "DIGEST" if is_digest else "ALARM",
        "events": [dict(one) for one in shown[:MOST_EVENTS]],
        "events_in_all": len(shown),
        "by_kind": dict(Counter(str(one["kind"]) for one in shown)),
        "unsaid": unsaid,
        "link": link,
    }
    subject = _digest_subject(shown) if is_digest else _subject(shown[0])
    thread = None if is_digest else f"alarm-{shown[0]['alarm_id']}"
    return Outgoing(message_id, at, subject, "\n".join(lines) + "\n", document, thread)


def compose_test(route: AlarmRoute, *, message_id: str, at: datetime, by: str, dashboard_url: str) -> Outgoing:
    """A message that says that it is a test."""
    link = f"{dashboard_url.rstrip('/')}/alarms" if dashboard_url else ""
    zone = ZoneInfo(route.time_zone)
    text = f"A test of the route {route.name}, asked for by {by} at {_time(at, zone)}. Nothing is wrong.\n"
    document = {
        "message_id": message_id,
        "route": route.name,
        "kind": "TEST",
        "events": [],
        "events_in_all": 0,
        "by_kind": {},
        "unsaid": 0,
        "link": link,
    }
    return Outgoing(message_id, at, f"[Sightline] Test of the route {route.name}", text, document)


def _figures(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The plain figures of an alarm, intervals and denominators among them; nested things stay in central."""
    plain = [(name, value) for name, value in evidence.items() if isinstance(value, int | float | str) and value != ""]
    return {name: value[:200] if isinstance(value, str) else value for name, value in plain[:_MOST_FIGURES]}


def _suggested(alarm: Alarm) -> str | None:
    """The first of the causes that central suggests; None: it has none."""
    found = getattr(alarm, "suggested_causes", None) or alarm.evidence.get("suggested_causes")
    first = found[0] if isinstance(found, list) and found else None
    cause = first.get("cause") if isinstance(first, dict) else first
    return cause[:200] if isinstance(cause, str) else None


def _subject(one: Told) -> str:
    simulated = "SIMULATED " if one["is_simulated"] else ""
    return f"[Sightline] {simulated}{one['severity']}: {_kind(one)}, {_where(one)} ({str(one['event']).lower()})"


def _digest_subject(told: Sequence[Told]) -> str:
    alarms = len({one["alarm_id"] for one in told})
    worst = next(each for each in _WORST_FIRST if any(one["severity"] == each for one in told))
    simulated = "SIMULATED " if all(one["is_simulated"] for one in told) else ""
    return f"[Sightline] {simulated}{worst}: digest of {alarms} alarms, {len(told)} events"


def _alarm_lines(one: Told, zone: ZoneInfo) -> list[str]:
    since = datetime.fromisoformat(str(one["raised_at"]))
    lines = [f"{_kind(one)} at {_where(one)}: {_event(one)}"]
    if one["is_simulated"]:
        lines.append("SIMULATED: no real part is concerned.")
    lines += [
        "",
        str(one["message"]),
        "",
        f"Severity: {one['severity']}",
        f"Since: {_time(since, zone)}",
        f"What to do: {one['remedy']}",
    ]
    if one["cause"]:
        lines.append(f"Cause, as a person found: {_words(one['cause'])}")
    elif one["suggested_cause"]:
        lines.append(f"Likeliest cause: {_words(one['suggested_cause'])}")
    if one["repeats"]:
        lines.append(f"Seen again since: {one['repeats']} times")
    if one["figures"]:
        lines += ["", "Figures:"]
        lines += [f"  {name.replace('_', ' ')}: {_figure(value)}" for name, value in one["figures"].items()]
    return lines


def _digest_lines(told: Sequence[Told], zone: ZoneInfo) -> list[str]:
    by_alarm: dict[Any, list[Told]] = {}
    for one in told:
        by_alarm.setdefault(one["alarm_id"], []).append(one)
    alarms = sorted(by_alarm.values(), key=lambda each: _WORST_FIRST.index(each[0]["severity"]))
    lines = [f"{len(told)} events of {len(alarms)} alarms, the worst first:", ""]
    for each in alarms[:MOST_LINES]:
        last = each[-1]
        course = ", then ".join(_event(one) for one in each)
        since = _time(datetime.fromisoformat(str(last["raised_at"])), zone)
        simulated = "SIMULATED " if last["is_simulated"] else ""
        lines += [f"- {simulated}{last['severity']} {_kind(last)} at {_where(last)}, since {since}: {course}"]
        lines += [f"  {last['message']}", f"  What to do: {last['remedy']}"]
    if len(alarms) > MOST_LINES:
        rest = Counter(_kind(each[0]) for each in alarms[MOST_LINES:])
        counted = ", ".join(f"{count} × {kind}" for kind, count in rest.most_common())
        lines += ["", f"and {len(alarms) - MOST_LINES} more: {counted}"]
    return lines


def _event(one: Told) -> str:
    match AlarmEvent(one["event"]):
        case AlarmEvent.RAISED:
            return "raised"
        case AlarmEvent.REMINDER:
            return "reminder: nobody has acknowledged it yet"
        case AlarmEvent.ACKNOWLEDGED:
            return f"acknowledged by {one['acknowledged_by'] or 'somebody'}"
        case AlarmEvent.CLOSED:
            return f"closed by {one['closed_by'] or 'somebody'}"


def _where(one: Told) -> str:
    return ", ".join(str(part) for part in (one["station"], one["product"]) if part) or "the whole plant"


def _kind(one: Told) -> str:
    return _words(one["kind"]).capitalize()


def _words(word: str) -> str:
    return word.replace("_", " ").lower()


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _time(at: datetime, zone: ZoneInfo) -> str:
    utc = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return utc if zone.key == "UTC" else f"{utc} ({at.astimezone(zone):%Y-%m-%d %H:%M:%S} {zone.key})"

# SPDX-License-Identifier: Apache-2.0
"""The simulated inspector: errs at the stated rate, answers once, waits for central, never claims to be a person."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from central.api.schemas import AuditPart
from contracts.vocabulary import AuditState, Judgement
from plant.line.inspector import SimulatedInspector
from plant.line.truth import PartTruth
from plant.scenario import InspectorPlan

STATION = "demo/line-1/st-1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Eventually = Callable[..., None]


class Truth:
    """Every third part has a crack; parts from 9,000 on are unknown."""

    def truth(self, station: str, trigger_number: int) -> PartTruth | None:
        if station != STATION:
            return None
        is_defective = None if trigger_number >= 9000 else trigger_number % 3 == 0
        kind = "crack" if is_defective else None
        return PartTruth(
            station, trigger_number, trigger_number, "ring", "p", is_defective, kind, None, None, "line", "A", NOW
        )


def task(number: int, station: str = STATION) -> dict[str, Any]:
    shape = AuditPart(
        audit_id=number,
        place=number,
        has_picture=False,
        product="ring",
        station=station,
        captured_at=NOW,
        epoch=1,
        sequence=number,
        trigger_number=number,
        crop_sha256=None,
        state=AuditState.OPEN,
        is_simulated=True,
    )
    return json.loads(shape.model_dump_json())  # type: ignore[no-any-return]


class Central(BaseHTTPRequestHandler):
    """As much of central's API as an inspector needs; refuses the first `away` requests."""

    open_tasks: ClassVar[dict[int, dict[str, Any]]]
    outcomes: ClassVar[dict[int, dict[str, Any]]]
    tokens: ClassVar[set[str | None]]
    lock: ClassVar[threading.Lock]
    away: ClassVar[int]

    # Keeps the connection: a new one for each answer would be most of the work.
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.tokens.add(self.headers.get("Authorization"))
        with self.lock:
            if type(self).away > 0:
                type(self).away -= 1
                return self._answer(503, {"error": "away", "detail": ""})
            assert self.path.startswith("/api/v1/audits/parts?state=OPEN&limit=")
            return self._answer(200, list(self.open_tasks.values())[:100])

    def do_POST(self) -> None:
        number = int(self.path.removeprefix("/api/v1/audits/").removesuffix("/outcome"))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            if number in self.outcomes:
                return self._answer(409, {"error": "judged", "detail": ""})
            self.outcomes[number] = body
            del self.open_tasks[number]
        return self._answer(200, {})

    def log_message(self, *_: object) -> None:
        """Silence."""

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture(name="central")
def _central() -> Iterator[tuple[type[Central], str]]:
    class OneTest(Central):
        open_tasks: ClassVar[dict[int, dict[str, Any]]] = {}
        outcomes: ClassVar[dict[int, dict[str, Any]]] = {}
        tokens: ClassVar[set[str | None]] = set()
        lock: ClassVar[threading.Lock] = threading.Lock()
        away: ClassVar[int] = 0

    server = ThreadingHTTPServer(("127.0.0.1", 0), OneTest)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield OneTest, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def inspector(url: str, plan: InspectorPlan, seed: int = 4) -> SimulatedInspector:
    return SimulatedInspector(url, "secret-token", Truth(), plan, seed=seed)


QUICK = InspectorPlan(error_rate=0.1, delay_s=0, judgements_per_s=1000)


def test_every_open_audit_is_answered_once_at_the_stated_error_rate(
    central: tuple[type[Central], str], eventually: Eventually
) -> None:
    api, url = central
    api.open_tasks.update({number: task(number) for number in range(1, 121)})
    person = inspector(url, InspectorPlan(error_rate=0.25, delay_s=0, judgements_per_s=1000))
    person.start()
    eventually(lambda: person.counters().answered == 120, "not all audits were answered", 120.0)
    person.stop()
    wrong = sum(
        (outcome["judgement"] == Judgement.DEFECTIVE) != (number % 3 == 0) for number, outcome in api.outcomes.items()
    )
    assert 11 <= wrong <= 49, "25 % of 120 within four standard deviations"
    counters = person.counters()
    assert (counters.answered, counters.told_wrong, counters.told_right) == (120, wrong, 120 - wrong)
    assert api.tokens == {"Bearer secret-token"}
    assert {outcome["inspector"] for outcome in api.outcomes.values()} == {"simulated-inspector"}


def judged(number: int, person: SimulatedInspector) -> tuple[Judgement, str | None]:
    outcome = person.judgement_of(AuditPart.model_validate(task(number)))
    return outcome.judgement, outcome.defect_class


def test_the_same_seed_errs_on_the_same_audits() -> None:
    first, again, other = (inspector("http://central", QUICK, seed) for seed in (4, 4, 5))
    said = [[judged(number, person) for number in range(1, 400)] for person in (first, again, other)]
    assert said[0] == said[1] != said[2]
    for person in (first, again, other):
        person.stop()


@pytest.mark.parametrize(("error_rate", "expected"), [(0.0, Judgement.DEFECTIVE), (1.0, Judgement.GOOD)])
def test_a_rate_of_none_or_all_is_kept_exactly(error_rate: float, expected: Judgement) -> None:
    person = inspector("http://central", InspectorPlan(error_rate=error_rate))
    assert {judged(number, person)[0] for number in range(3, 90, 3)} == {expected}
    person.stop()


def test_a_defective_part_is_named_and_a_wrong_alarm_is_not() -> None:
    always_right = inspector("http://central", InspectorPlan(error_rate=0))
    always_wrong = inspector("http://central", InspectorPlan(error_rate=1))
    assert judged(3, always_right) == (Judgement.DEFECTIVE, "crack")
    assert judged(4, always_right) == (Judgement.GOOD, None)
    assert judged(4, always_wrong) == (Judgement.DEFECTIVE, None)
    always_right.stop()
    always_wrong.stop()


def test_without_truth_the_answer_is_unsure() -> None:
    person = inspector("http://central", QUICK)
    assert judged(9001, person)[0] is Judgement.UNSURE
    foreign = AuditPart.model_validate(task(3, "other/line/st-9"))
    assert person.judgement_of(foreign).judgement is Judgement.UNSURE
    person.stop()


def test_a_proxy_of_the_shell_is_not_asked(
    central: tuple[type[Central], str], eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, url = central
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    api.open_tasks[3] = task(3)
    person = inspector(url, QUICK)
    person.start()
    try:
        eventually(lambda: person.counters().answered or person.counters().away, "the inspector did nothing")
        assert person.counters().away == 0
    finally:
        person.stop()


def test_central_away_is_waited_for(central: tuple[type[Central], str], eventually: Eventually) -> None:
    api, url = central
    api.away = 1
    api.open_tasks[3] = task(3)
    person = inspector(url, QUICK)
    person.start()
    eventually(lambda: 3 in api.outcomes, "the inspector gave up")
    person.stop()
    assert person.counters().refused == 1


def test_no_central_at_all_is_survived(eventually: Eventually) -> None:
    person = inspector("http://127.0.0.1:9", QUICK)
    person.start()
    eventually(lambda: person.counters().away >= 1, "an absent central went unnoticed")
    person.stop()


def test_an_audit_that_somebody_else_judged_is_left_alone(
    central: tuple[type[Central], str], eventually: Eventually
) -> None:
    api, url = central
    api.open_tasks[5] = task(5)
    api.outcomes[5] = {"judgement": "GOOD", "inspector": "anna"}
    person = inspector(url, QUICK)
    person.start()
    eventually(lambda: person.counters().already_judged == 1, "the refusal was not understood")
    person.stop()
    assert api.outcomes[5]["inspector"] == "anna"


def test_answers_wait_for_the_delay_and_the_rate_is_bounded() -> None:
    clock = [100.0]
    person = SimulatedInspector(
        "http://central",
        "t",
        Truth(),
        InspectorPlan(delay_s=5, judgements_per_s=2),
        monotonic=lambda: clock[0],
    )
    person._due[1] = (clock[0] + 5, AuditPart.model_validate(task(1)))
    assert person._answer_next(clock[0] + 4.9) is False
    person.stop()


def test_the_name_always_says_that_it_is_simulated() -> None:
    with pytest.raises(ValueError, match="simulated-"):
        SimulatedInspector("http://central", "t", Truth(), QUICK, name="anna")

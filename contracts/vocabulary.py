# SPDX-License-Identifier: Apache-2.0
"""The closed word lists of Sightline: verdicts, states, causes, roles.

One word per thing, in code, wire, database and screens. Holds no behaviour. The meaning of each word and
where it comes from stands in `docs/vocabulary.md`.
"""

from enum import StrEnum


class Verdict(StrEnum):
    """What the machine says of a part. Never what happened to the part: that is `Disposition`."""

    OK = "OK"
    NG = "NG"
    REVIEW = "REVIEW"
    NO_DECISION = "NO_DECISION"


class VerdictCause(StrEnum):
    """Why a verdict is what it is. Everything but `SCORE` belongs to `NO_DECISION`."""

    SCORE = "SCORE"
    LATE = "LATE"
    NO_PACKAGE = "NO_PACKAGE"
    IMAGE_FAULT = "IMAGE_FAULT"
    INFERENCE_ERROR = "INFERENCE_ERROR"
    # The trigger was counted but its frame never reached the station (dropped, station down, queue full).
    MISSED_FRAME = "MISSED_FRAME"
    # The process ended between the trigger and the record; found at the next start from the trigger gap.
    SESSION_CRASHED = "SESSION_CRASHED"


class ImageFault(StrEnum):
    """Why a picture is not fit to be judged. A fault of light, lens, camera or place, never of the part."""

    UNREADABLE = "UNREADABLE"
    TOO_DARK = "TOO_DARK"
    SATURATED = "SATURATED"
    # Nothing to be seen in it: lens cap, dead lamp, a wall of one colour.
    EMPTY = "EMPTY"
    BLURRED = "BLURRED"
    # The same picture again, to the last bit: the camera repeats itself.
    FROZEN = "FROZEN"
    # What should stand still does not lie where it was taught, or the ROI reaches outside the frame.
    MOVED = "MOVED"
    ABSENT = "ABSENT"
    # Any other failure while the picture was prepared.
    OTHER = "OTHER"


class RegistrationMethod(StrEnum):
    """What a recipe's landmarks belong to: marks on the fixture, or a feature of the part itself."""

    FIDUCIAL = "FIDUCIAL"
    TEMPLATE = "TEMPLATE"


class Disposition(StrEnum):
    """What the station asked the line to do with the part."""

    PASSED = "PASSED"
    REJECTED = "REJECTED"
    HELD = "HELD"
    REWORKED = "REWORKED"


class SignalState(StrEnum):
    """Whether the reject output took the station's word. `FAILED` leaves the part to the fail-safe gate."""

    SENT = "SENT"
    FAILED = "FAILED"
    # No signal was possible: the part had left before the station knew of it.
    MISSED = "MISSED"


class OutputKind(StrEnum):
    """The ways in which a station tells the line what to do with a part."""

    MQTT = "mqtt"
    MODBUS = "modbus"
    OPCUA = "opcua"


class Stage(StrEnum):
    """The stages of one inspection, in order; their times add up to capture → reject signal.

    `CAPTURE` lasts until the judge takes the frame up: exposure, transfer and the wait in the queue. `ACTUATE` ends
    when the reject output has taken the station's word, not when the gate has moved.
    """

    CAPTURE = "CAPTURE"
    PREPARE = "PREPARE"
    INFER = "INFER"
    DECIDE = "DECIDE"
    ACTUATE = "ACTUATE"


class StationState(StrEnum):
    """State of a station, mapped one to one to the OPC 40100-1 machine in `docs/vocabulary.md`."""

    STARTING = "STARTING"
    READY = "READY"
    INSPECTING = "INSPECTING"
    DEGRADED = "DEGRADED"
    HALTED = "HALTED"
    FAULT = "FAULT"


class Variant(StrEnum):
    """Numeric form of a package's graph."""

    INT8_U8S8 = "int8-u8s8"
    INT8_S8S8 = "int8-s8s8"
    FP16 = "fp16"
    FP32 = "fp32"


class DetectorKind(StrEnum):
    """How a package learned. `AUTO` is a request only, never the kind of a finished package.

    `FOREIGN` is never a request: a graph that was learnt elsewhere and brought into a package.
    """

    AUTO = "auto"
    MEMORY_BANK = "memory-bank"
    MIXED = "mixed"
    CLASSIFIER = "classifier"
    FOREIGN = "foreign"


class PackageState(StrEnum):
    """How far a station has come with an assigned package.

    `SHADOW`: it judges the champion's parts after the champion and decides nothing. `FELL_BACK`: it was active and
    erred, and the previous package judges again.
    """

    DOWNLOADING = "DOWNLOADING"
    VERIFIED = "VERIFIED"
    INSTALLED = "INSTALLED"
    SHADOW = "SHADOW"
    ACTIVE = "ACTIVE"
    REFUSED = "REFUSED"
    FELL_BACK = "FELL_BACK"


class RefusalReason(StrEnum):
    """Why a station did not take an assignment or a package, or gave one up. `UNREACHABLE` alone is retried.

    `DEADLINE`: measured here, it is too slow for the recipe. `ERRED`: it failed while it judged, in shadow or active.
    """

    SIGNATURE = "SIGNATURE"
    EXPIRED = "EXPIRED"
    ROLLBACK = "ROLLBACK"
    DIGEST = "DIGEST"
    TOO_LARGE = "TOO_LARGE"
    WRONG_STATION = "WRONG_STATION"
    WRONG_PRODUCT = "WRONG_PRODUCT"
    NO_VARIANT = "NO_VARIANT"
    UNREADABLE = "UNREADABLE"
    SELF_TEST = "SELF_TEST"
    DEADLINE = "DEADLINE"
    ERRED = "ERRED"
    DISK = "DISK"
    UNREACHABLE = "UNREACHABLE"


class EvidenceKind(StrEnum):
    """What a stored picture shows of an inspection."""

    CROP = "CROP"
    HEATMAP = "HEATMAP"


class Judgement(StrEnum):
    """What a person says of a part."""

    GOOD = "GOOD"
    DEFECTIVE = "DEFECTIVE"
    UNSURE = "UNSURE"


class LabelSource(StrEnum):
    """Where a judged picture came from. Audit (chance asked) and what machines asked for never mix in rates.

    REVIEW: champion and challenger disagreed. ASKED: a training would learn much from it.
    """

    AUDIT = "AUDIT"
    REVIEW = "REVIEW"
    ASKED = "ASKED"
    REFERENCE = "REFERENCE"


class AuditState(StrEnum):
    """Life of a drawn audit. `LOST`: the station no longer had the picture (counted as non-response)."""

    AWAITING_EVIDENCE = "AWAITING_EVIDENCE"
    OPEN = "OPEN"
    JUDGED = "JUDGED"
    LOST = "LOST"


class AlarmKind(StrEnum):
    """What a chart or a watch saw."""

    ESCAPES = "ESCAPES"
    REJECT_RATE = "REJECT_RATE"
    IMAGE_SHIFT = "IMAGE_SHIFT"
    DRIFT = "DRIFT"
    # Accepted parts that look unusual as a whole have become more frequent: perhaps a kind of defect that scores low.
    NOVELTY = "NOVELTY"
    STATION_SILENT = "STATION_SILENT"
    # A station does not run what it was assigned: it refuses, fell back by itself, or has nothing left to go back to.
    NOT_AS_ASSIGNED = "NOT_AS_ASSIGNED"
    # A service of central fails again and again: what it does is not done.
    SERVICE_FAILS = "SERVICE_FAILS"
    # A rollout has waited for long for something that people can see to.
    ROLLOUT_WAITS = "ROLLOUT_WAITS"
    # Gates, limits or a station sent a rollout back; nobody ended it.
    ROLLOUT_FAILED = "ROLLOUT_FAILED"
    # The gate failed a package in nothing, has too little evidence, and waits for a person's word.
    GATE_ASKS = "GATE_ASKS"
    # So many shifts were not accepted that samples are not enough: all parts are held or judged until a person resumes.
    SAMPLING_DISCONTINUED = "SAMPLING_DISCONTINUED"


class AlarmState(StrEnum):
    """Life of an alarm."""

    RAISED = "RAISED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    CLOSED = "CLOSED"


class AlarmSeverity(StrEnum):
    """How soon somebody must look at an alarm, lowest first. Which kind has which: `central/domain/alarm_severity`."""

    NOTICE = "NOTICE"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class AlarmEvent(StrEnum):
    """What happened to an alarm, as routes tell people."""

    RAISED = "RAISED"
    REMINDER = "REMINDER"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    CLOSED = "CLOSED"


class RouteKind(StrEnum):
    """By what a route reaches people."""

    EMAIL = "EMAIL"
    WEBHOOK = "WEBHOOK"
    MQTT = "MQTT"


class DeliveryState(StrEnum):
    """Where an event of an alarm stands on its way over one route."""

    # Until quiet hours end.
    HELD = "HELD"
    WAITING = "WAITING"
    SENT = "SENT"
    GIVEN_UP = "GIVEN_UP"


class TrainingState(StrEnum):
    """Life of a training."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TrainingTrigger(StrEnum):
    """What may start a training; in this order they come first."""

    PERSON = "PERSON"
    # An open alarm on escapes whose cause calls for training.
    ALARM = "ALARM"
    # The first sound parts of a new product.
    FIRST_PARTS = "FIRST_PARTS"
    # Enough new confirmed labels since the champion's dataset.
    LABELS = "LABELS"
    SCHEDULE = "SCHEDULE"


class AttemptEnd(StrEnum):
    """How one start of a training ended."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    # By nobody's wish; begun again, a few times.
    LOST = "LOST"
    # It made room for one that comes first; begun again.
    PREEMPTED = "PREEMPTED"
    OVER_TIME = "OVER_TIME"
    OVER_COST = "OVER_COST"


class PartUse(StrEnum):
    """On which side of the group-disjoint split a labelled picture stands."""

    TRAIN = "TRAIN"
    HOLDOUT = "HOLDOUT"


class PromotionOutcome(StrEnum):
    """What the promotion gate said. Not enough evidence is its own answer, never a pass."""

    PROMOTED = "PROMOTED"
    REFUSED = "REFUSED"
    NOT_ENOUGH_EVIDENCE = "NOT_ENOUGH_EVIDENCE"


class ConditionState(StrEnum):
    """What the gate says of one condition. What is missing is never a pass."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_ENOUGH_EVIDENCE = "NOT_ENOUGH_EVIDENCE"


class WhenMissing(StrEnum):
    """What becomes of a package about which the gate has not enough evidence, and which failed nothing.

    FAIL: no rollout, and only an administrator may overrule. ASK: no rollout until an engineer says so, with a reason.
    SHOW: it is shown and stops nothing; for demonstrations.
    """

    FAIL = "FAIL"
    ASK = "ASK"
    SHOW = "SHOW"


class RolloutState(StrEnum):
    """Life of a rollout."""

    READY = "READY"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    WAITING_FOR_APPROVAL = "WAITING_FOR_APPROVAL"
    FINISHED = "FINISHED"
    ERROR = "ERROR"
    STOPPED = "STOPPED"


class RiskClass(StrEnum):
    """What a wrong verdict on a product may cost; how many approvals its rollouts need follows from it."""

    STANDARD = "STANDARD"
    ELEVATED = "ELEVATED"
    CRITICAL = "CRITICAL"


class WaveState(StrEnum):
    """Life of one wave of a rollout; the first wave is the canary."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    ERROR = "ERROR"


class RecipeAct(StrEnum):
    """What a person did with a recipe beside making a version of it."""

    PINNED = "PINNED"
    UNPINNED = "UNPINNED"
    SWITCH_ASKED = "SWITCH_ASKED"


class Role(StrEnum):
    """What an API token may do. Each role may do what those before it in `ROLE_ORDER` may, except STATION."""

    VIEWER = "VIEWER"
    INSPECTOR = "INSPECTOR"
    ENGINEER = "ENGINEER"
    ADMIN = "ADMIN"
    STATION = "STATION"

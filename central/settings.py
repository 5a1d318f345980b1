# SPDX-License-Identifier: Apache-2.0
"""Central's start-up options: a TOML file, then `SIGHTLINE_CENTRAL_*` from the environment, read once.

All faults are reported together. The environment name of `period_s` in `[audit]` is
`SIGHTLINE_CENTRAL_AUDIT_PERIOD_S`; of the top-level `port`, `SIGHTLINE_CENTRAL_PORT`. The only place of central that
reads the environment. Used by `central.__main__`; everything else is handed its section.
"""

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_type_hints
from urllib.parse import unquote, urlsplit

from central.audit_settings import AuditSettings, audit_faults
from central.errors import SettingsError
from central.gate_settings import GateSettings, gate_faults
from central.history_settings import HistorySettings
from central.learning_settings import (
    CostSettings,
    ExperimentSettings,
    QueueSettings,
    RaySettings,
    TriggerSettings,
    learning_faults,
    queue_faults,
)
from central.option_values import bound_fault, converted
from contracts.tiles import Tiles

ENV_PREFIX: Final = "SIGHTLINE_CENTRAL_"
_SECRETS: Final = frozenset({"password", "smtp_password", "webhook_keys", "token"})


@dataclass(frozen=True)
class BrokerSettings:
    """`url`: mqtt://host:1883 or mqtts://host:8883; a user and password may stand in it or beside it."""

    url: str = "mqtt://127.0.0.1:1883"
    username: str = ""
    password: str = ""
    ca_file: str = ""
    keepalive_s: int = 30
    max_queued_messages: int = 10_000

    @property
    def host(self) -> str:
        """Host name of the URL."""
        return urlsplit(self.url).hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        """Port of the URL, else the scheme's own."""
        return urlsplit(self.url).port or (8883 if self.is_tls else 1883)

    @property
    def is_tls(self) -> bool:
        """Whether the scheme asks for TLS."""
        return urlsplit(self.url).scheme == "mqtts"


@dataclass(frozen=True)
class IngestSettings:
    """How reports are gathered into transactions."""

    batch_rows: int = 500
    batch_wait_ms: int = 50
    queue_messages: int = 2_000
    queue_bytes: int = 256 * 1024 * 1024
    max_quarantine_rows: int = 100_000


@dataclass(frozen=True)
class EvidenceSettings:
    """Bounds of uploads and of what is kept. 0 days: kept for ever."""

    max_bytes: int = 64 * 1024 * 1024
    partial_kept_hours: float = 24.0
    accepted_kept_days: float = 30.0
    rejected_kept_days: float = 365.0
    inspections_kept_days: float = 0.0
    retention_period_s: float = 600.0


@dataclass(frozen=True)
class WatchSettings:
    """Charts and watches. `escape_*`: Bernoulli CUSUM over audit outcomes of accepted parts."""

    period_s: float = 5.0
    escape_tolerated_share: float = 0.01
    escape_rejected_share: float = 0.05
    # Mean number of audited parts between two false ESCAPES alarms.
    escape_parts_between_false_alarms: float = 1000.0
    reference_blocks: int = 20
    block_parts: int = 50
    ewma_weight: float = 0.2
    limit_sigmas: float = 3.0
    silent_after_s: float = 30.0
    # An audited part that one inspector called defective, and that nobody confirmed or refuted for so long, counts for
    # the alarm on escapes (in no rate): a plant whose second inspector is away must not overlook what the first saw.
    unconfirmed_after_s: float = 4 * 3600.0
    # The drift monitors: how long they learn what is normal, and how often all channels of a station may cry falsely.
    drift_reference_days: float = 3.0
    drift_false_alarms_per_30_days: float = 1.0
    # The novelty monitors, one a station, product and package: accepted parts they learn from, and their false alarms.
    novelty_reference_parts: int = 200_000
    novelty_false_alarms_per_30_days: float = 1.0


@dataclass(frozen=True)
class LearningSettings:
    """When to train and how. `command` runs one job file; it is a process of its own.

    `backend`: where, local or ray. `memory_limit_mb`: of a local training, each process; 0: none. `most_losses`: so
    often a training is begun again that was killed from outside or whose machine went away.
    """

    is_automatic: bool = True
    period_s: float = 2.0
    min_defective_labels: int = 20
    min_good_labels: int = 30
    holdout_share: float = 0.3
    max_images: int = 5_000
    backend: str = "local"
    # What is held out as a whole: part, lot (production day of a station) or time (the newest parts).
    split_by: str = "part"
    command: tuple[str, ...] = ("sightline-models", "run-job")
    memory_limit_mb: int = 0
    most_losses: int = 2
    threads: int = 1  # of all workers of a training together
    workers: int = 1  # of a local training; `ray.workers`: of a cluster's
    # What a first training sees of a part; later ones see as their champion does.
    size_px: int = 256
    tiles: Tiles = field(default_factory=Tiles)
    timeout_s: float = 3_600.0


@dataclass(frozen=True)
class PromotionSettings:
    """What a candidate must show on held-out parts."""

    min_holdout_defective: int = 5
    min_holdout_good: int = 20
    max_overkill_increase: float = 0.02
    max_escape_increase: float = 0.0
    min_image_auroc: float = 0.6
    confidence: float = 0.9


@dataclass(frozen=True)
class RolloutSettings:
    """How a package goes out: canary first, then the rest."""

    is_automatic: bool = True
    period_s: float = 1.0
    canary: int = 1
    bake_parts: int = 60
    bake_patience_s: float = 600.0
    # From its order, or the last byte that came, until a station's package is active; and the longest that coming bytes
    # put that off: a gibibyte at 75 kB/s.
    install_timeout_s: float = 180.0
    download_timeout_s: float = 14_400.0
    max_no_decision_share: float = 0.05
    max_reject_rate_factor: float = 4.0
    assignment_valid_days: float = 30.0
    # An alarm is raised when a rollout has waited for so long for one thing.
    wait_alarm_s: float = 3_600.0


@dataclass(frozen=True)
class AlarmSettings:
    """How routes reach people, and the secrets they need, which stand nowhere else.

    `smtp_security`: starttls, tls or none. `webhook_keys`: words NAME=SECRET to sign by; a webhook route names one.
    `dashboard_url`: what links in messages begin with.
    """

    period_s: float = 2.0
    dashboard_url: str = ""
    smtp_host: str = ""
    smtp_port: int = 587
    smtp_security: str = "starttls"
    smtp_username: str = ""
    smtp_password: str = ""
    smtp_from: str = ""
    webhook_keys: tuple[str, ...] = ()
    # Certificate authorities for SMTP and webhooks; empty: those of the system.
    ca_file: str = ""
    timeout_s: float = 10.0
    give_up_hours: float = 24.0
    # Undelivered events that one route may have; beyond it new ones are counted and not kept.
    backlog_rows: int = 10_000
    kept_days: float = 30.0


@dataclass(frozen=True)
class CentralSettings:
    """Everything central is told at start."""

    data_dir: Path
    database_url: str = ""
    blobs: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    log_level: str = "INFO"
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    triggers: TriggerSettings = field(default_factory=TriggerSettings)
    ray: RaySettings = field(default_factory=RaySettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    cost: CostSettings = field(default_factory=CostSettings)
    experiments: ExperimentSettings = field(default_factory=ExperimentSettings)
    promotion: PromotionSettings = field(default_factory=PromotionSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    alarms: AlarmSettings = field(default_factory=AlarmSettings)

    @property
    def trust_dir(self) -> Path:
        """Keys and TUF metadata."""
        return self.data_dir / "trust"

    @property
    def trainings_dir(self) -> Path:
        """One folder a training."""
        return self.data_dir / "trainings"

    @property
    def gates_dir(self) -> Path:
        """One folder for each package that is measured beside its champion."""
        return self.data_dir / "gates"

    @property
    def uploads_dir(self) -> Path:
        """Unfinished uploads."""
        return self.data_dir / "uploads"


def load_settings(path: Path, environment: Mapping[str, str] | None = None) -> CentralSettings:
    """Read file and environment.

    Raises:
        SettingsError: with every fault found, each naming the option, what was expected and what came.
    """
    env = os.environ if environment is None else environment
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError([f"{path}: no such file; `sightline-central init --data DIR` writes one"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError([f"{path}: not readable as TOML: {error}"]) from error
    return settings_from(given, env, base=path.resolve().parent)


def settings_from(given: Mapping[str, Any], env: Mapping[str, str], base: Path) -> CentralSettings:
    """Build settings from a parsed file and an environment; relative paths stand beside the file (`base`).

    Raises:
        SettingsError: see `load_settings`.
    """
    faults, known_env = list[str](), set[str]()
    values = _read_section(CentralSettings, "", given, env, faults=faults, known_env=known_env)
    faults += [f"{name}: unknown option" for name in env if name.startswith(ENV_PREFIX) and name not in known_env]
    if "data_dir" not in values:
        faults.append("data_dir: expected a folder, got nothing")
    if not faults:
        data_dir = (base / values["data_dir"]).resolve()
        values["data_dir"] = data_dir
        values["database_url"] = values.get("database_url") or f"sqlite:///{data_dir / 'central.db'}"
        values["blobs"] = values.get("blobs") or (data_dir / "blobs").as_uri()
        settings = CentralSettings(**values)
        faults += _check(settings)
    if faults:
        raise SettingsError(faults)
    return _with_url_login(settings)


def without_login(url: str) -> str:
    """An address for people: `mqtt://user:password@host` becomes `mqtt://***@host`."""
    scheme, is_url, rest = url.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if is_url and "@" in rest else url


def effective_values(settings: CentralSettings) -> dict[str, Any]:
    """What is in force, for the log at start; secrets masked, passwords in URLs too."""

    def shown(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shown(key, inner) for key, inner in value.items()}
        if name in _SECRETS and value:
            return "***"
        if isinstance(value, str) and "@" in value and "://" in value:
            return without_login(value)
        if isinstance(value, Tiles):
            return value.told
        return str(value) if isinstance(value, Path) else value

    return {key: shown(key, value) for key, value in dataclasses.asdict(settings).items()}


def _read_section(
    shape: type[Any],
    section: str,
    given: Mapping[str, Any],
    env: Mapping[str, str],
    *,
    faults: list[str],
    known_env: set[str],
) -> dict[str, Any]:
    hints = get_type_hints(shape)
    values: dict[str, Any] = {}
    prefix = f"{section}." if section else ""
    faults += [f"{prefix}{name}: unknown option" for name in sorted(set(given) - set(hints))]
    for name, hint in hints.items():
        where = f"{prefix}{name}"
        if dataclasses.is_dataclass(hint):
            inner = given.get(name, {})
            if not isinstance(inner, dict):
                faults.append(f"{where}: expected a table, got {inner!r}")
                continue
            before = len(faults)
            fields = _read_section(hint, name, inner, env, faults=faults, known_env=known_env)  # type: ignore[arg-type]
            if len(faults) == before:
                values[name] = hint(**fields)  # type: ignore[operator]
            continue
        env_name = ENV_PREFIX + where.replace(".", "_").upper()
        known_env.add(env_name)
        raw = env.get(env_name, given.get(name))
        if raw is None:
            continue
        try:
            values[name] = converted(hint, raw, is_text=env_name in env)
        except ValueError as error:
            faults.append(f"{env_name if env_name in env else where}: {error}")
    return values


def _check(settings: CentralSettings) -> list[str]:
    """Bounds, each with its unit. A share lies in 0 … 1; a period or size is above 0."""
    faults: list[str] = []
    if not 0 <= settings.port <= 65535:
        faults.append(f"port: expected 0 … 65535, got {settings.port}")
    if settings.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        faults.append(f"log_level: expected DEBUG, INFO, WARNING or ERROR, got {settings.log_level!r}")
    url = urlsplit(settings.broker.url)
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname:
        faults.append(f"broker.url: expected mqtt://HOST:PORT or mqtts://HOST:PORT, got {settings.broker.url!r}")
    if settings.database_url.partition(":")[0].partition("+")[0] not in ("sqlite", "postgresql"):
        faults.append("database_url: expected sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME")
    own, ray = settings.learning, settings.ray
    faults += learning_faults(own.backend, own.split_by, own.size_px, own.tiles, ray, workers=own.workers)
    faults += queue_faults(settings.queue, settings.cost, ray, own.backend)
    faults += [*_alarm_faults(settings.alarms), *audit_faults(settings.audit), *gate_faults(settings.gate)]
    for section in dataclasses.fields(settings):
        inner = getattr(settings, section.name)
        if not dataclasses.is_dataclass(inner):
            continue
        for option in dataclasses.fields(inner):
            fault = bound_fault(option.name, getattr(inner, option.name))
            if fault:
                faults.append(f"{section.name}.{option.name}: {fault}")
    return faults


def _alarm_faults(alarms: AlarmSettings) -> list[str]:
    faults: list[str] = []
    if alarms.smtp_security not in ("starttls", "tls", "none"):
        faults.append(f"alarms.smtp_security: expected starttls, tls or none, got {alarms.smtp_security!r}")
    if not 1 <= alarms.smtp_port <= 65535:
        faults.append(f"alarms.smtp_port: expected 1 … 65535, got {alarms.smtp_port}")
    if alarms.smtp_host and "@" not in alarms.smtp_from.strip("@"):
        faults.append(f"alarms.smtp_from: expected NAME@HOST beside smtp_host, got {alarms.smtp_from!r}")
    if alarms.smtp_security == "none" and alarms.smtp_password:
        faults.append("alarms.smtp_password: expected none with smtp_security none: it would travel in the clear")
    if alarms.dashboard_url and not alarms.dashboard_url.startswith(("http://", "https://")):
        faults.append(f"alarms.dashboard_url: expected http://HOST or https://HOST, got {alarms.dashboard_url!r}")
    if alarms.ca_file and not Path(alarms.ca_file).is_file():
        faults.append(f"alarms.ca_file: expected a file of certificates, got {alarms.ca_file!r}")
    for number, said in enumerate(alarms.webhook_keys, 1):
        name, _, secret = said.partition("=")
        if not name or len(secret) < 16:
            # What came is not repeated: it is a secret.
            faults.append(f"alarms.webhook_keys: word {number}: expected NAME=SECRET, 16 letters or more of SECRET")
    return faults


def _with_url_login(settings: CentralSettings) -> CentralSettings:
    url = urlsplit(settings.broker.url)
    if not url.username or settings.broker.username:
        return settings
    broker = dataclasses.replace(settings.broker, username=unquote(url.username), password=unquote(url.password or ""))
    return dataclasses.replace(settings, broker=broker)

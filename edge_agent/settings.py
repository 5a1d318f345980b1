# SPDX-License-Identifier: Apache-2.0
"""The station's settings: one TOML file plus `SIGHTLINE_EDGE_*` variables, read once at start.

The only module of the station that looks at the environment. Opens no connection and creates no folder. Called
by `__main__`; the composition root hands the parts on.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from contracts.ids import Name, StationAddress
from contracts.vocabulary import Variant
from edge_agent.errors import SettingsError
from edge_agent.recipe import Recipe, Recipes
from edge_agent.settings_reader import EffectiveValue, SettingsReader
from edge_agent.vision.roi import Roi

PREFIX: Final = "SIGHTLINE_EDGE_"
SOURCE_KINDS: Final = ("simulated", "replay", "opencv", "mqtt")
OUTPUT_KINDS: Final = ("mqtt", "none")
_LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)
_GIB: Final = 1024**3


@dataclass(frozen=True)
class BrokerSettings:
    """How to reach the MQTT broker. The files are for mqtts."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive_s: int = 15
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True)
class CentralSettings:
    """How to reach central's HTTP API. `ca_file`: certificates to trust for https instead of the system's."""

    url: str
    token: str = field(repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True)
class TrustSettings:
    """What enrolment brought: the first TUF root and the public assignment key. Needed at the first start only."""

    root: Path | None
    assignment_key: Path | None


@dataclass(frozen=True)
class SourceSettings:
    """Where frames come from. `rate_hz` 0: as they come (replay: 1 per second)."""

    kind: str
    url: str
    product: str | None
    rate_hz: float
    loop: bool
    shares_clock: bool
    retry_max_s: float


@dataclass(frozen=True)
class InferenceSettings:
    """What runs the graphs."""

    provider: str
    threads: int
    variant: str


@dataclass(frozen=True)
class BoundSettings:
    """Every bound of the station, with its unit."""

    queue_frames: int
    max_gap_parts: int
    outbox_max_rows: int
    resend_after_s: float
    evidence_max_frames: int
    evidence_max_bytes: int
    evidence_max_pending: int
    max_package_bytes: int


@dataclass(frozen=True)
class Settings:
    """Everything a station is started with."""

    station: StationAddress
    data_dir: Path
    is_simulated: bool
    log_level: str
    heartbeat_s: float
    broker: BrokerSettings
    central: CentralSettings
    trust: TrustSettings
    source: SourceSettings
    output: str
    inference: InferenceSettings
    recipes: Recipes
    bounds: BoundSettings
    effective: tuple[EffectiveValue, ...] = ()

    def describe(self) -> str:
        """The effective values, one line each, with where each came from; secrets are masked."""
        return "\n".join(f"{value.key} = {value.shown}  # {value.origin}" for value in self.effective)


def load_settings(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file and the environment.

    Args:
        path: the TOML file.
        environ: environment variables; None: those of this process.

    Raises:
        SettingsError: unreadable file, or faults in it; all of them at once, each naming its key.
    """
    reader = SettingsReader(
        _read_document(path), os.environ if environ is None else environ, prefix=PREFIX, folder=path.parent
    )
    settings = _read_settings(reader)
    reader.finish()
    if reader.faults or settings is None:
        raise SettingsError(reader.faults)
    return settings


def _read_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot read the settings file: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: not a TOML file: {error}"]) from error


def _read_settings(reader: SettingsReader) -> Settings | None:
    names = {level: _name(reader, level) for level in ("site", "line", "station")}
    data_dir = reader.path("data_dir")
    is_simulated = reader.flag("is_simulated", default=False)
    log_level = reader.choice("log_level", _LOG_LEVELS, "INFO")
    heartbeat_s = reader.number("heartbeat_s", 2.0, low=0.1, high=300)
    broker = _broker(reader)
    central = CentralSettings(
        _url(reader, "central.url", ("http", "https")),
        reader.text("central.token", is_secret=True),
        reader.path("central.ca_file", is_required=False),
    )
    trust = TrustSettings(
        reader.path("trust.root", is_required=False), reader.path("trust.assignment_key", is_required=False)
    )
    source = _source(reader)
    output = reader.choice("output.kind", OUTPUT_KINDS, "mqtt")
    inference = InferenceSettings(
        provider=reader.text("inference.provider", "CPUExecutionProvider"),
        threads=reader.integer("inference.threads", 1, low=1, high=256),
        variant=reader.choice("inference.variant", ("auto", *(variant.value for variant in Variant)), "auto"),
    )
    recipes = _recipes(reader)
    bounds = _bounds(reader)
    if reader.faults or data_dir is None:
        return None
    return Settings(
        station=StationAddress(**names),
        data_dir=data_dir,
        is_simulated=is_simulated,
        log_level=log_level,
        heartbeat_s=heartbeat_s,
        broker=broker,
        central=central,
        trust=trust,
        source=source,
        output=output,
        inference=inference,
        recipes=recipes,
        bounds=bounds,
        effective=tuple(reader.effective),
    )


def _broker(reader: SettingsReader) -> BrokerSettings:
    return BrokerSettings(
        url=_url(reader, "broker.url", ("mqtt", "mqtts")),
        username=reader.text("broker.username", "") or None,
        password=reader.text("broker.password", "", is_secret=True) or None,
        keepalive_s=reader.integer("broker.keepalive_s", 15, low=2, high=3600),
        ca_file=reader.path("broker.ca_file", is_required=False),
        cert_file=reader.path("broker.cert_file", is_required=False),
        key_file=reader.path("broker.key_file", is_required=False),
    )


def _source(reader: SettingsReader) -> SourceSettings:
    kind = reader.choice("source.kind", SOURCE_KINDS)
    # An MQTT camera is found by its topic; everything else has an address.
    url = reader.text("source.url", "" if kind == "mqtt" else None)
    if kind == "simulated" and url:
        _check_url(reader, "source.url", url, ("tcp",), needs_port=True)
    product = reader.text("source.product", "")
    if product:
        _check_name(reader, "source.product", product)
    return SourceSettings(
        kind=kind,
        url=url,
        product=product or None,
        rate_hz=reader.number("source.rate_hz", 0.0, low=0, high=1000),
        loop=reader.flag("source.loop", default=False),
        shares_clock=reader.flag("source.shares_clock", default=kind == "simulated"),
        retry_max_s=reader.number("source.retry_max_s", 5.0, low=0.05, high=600),
    )


def _recipes(reader: SettingsReader) -> Recipes:
    found: dict[str, Recipe] = {}
    for product in reader.names("recipe"):
        key = f"recipe.{product}"
        _check_name(reader, key, product)
        corners = reader.whole_numbers(f"{key}.roi_xywh", 4)
        if corners is not None and min(corners[2:]) < 32:
            reader.fault(f"{key}.roi_xywh", f"expected width and height ≥ 32 px, got {list(corners[2:])}")
        found[product] = Recipe(
            roi=Roi(*corners) if corners is not None else None,
            deadline_ms=reader.number(f"{key}.deadline_ms", 1000.0, low=1, high=600_000),
            pass_review=reader.flag(f"{key}.pass_review", default=False),
            min_contrast=reader.number(f"{key}.min_contrast", 1.0, low=0, high=255),
        )
    return Recipes(MappingProxyType(found))


def _bounds(reader: SettingsReader) -> BoundSettings:
    return BoundSettings(
        queue_frames=reader.integer("bounds.queue_frames", 8, low=1, high=1000),
        max_gap_parts=reader.integer("bounds.max_gap_parts", 100_000, low=0, high=10_000_000),
        outbox_max_rows=reader.integer("bounds.outbox_max_rows", 2_000_000, low=1000, high=100_000_000),
        resend_after_s=reader.number("bounds.resend_after_s", 5.0, low=0.1, high=600),
        evidence_max_frames=reader.integer("bounds.evidence_max_frames", 2000, low=1, high=10_000_000),
        evidence_max_bytes=reader.integer("bounds.evidence_max_bytes", 2 * _GIB, low=1024 * 1024, high=1024 * _GIB),
        evidence_max_pending=reader.integer("bounds.evidence_max_pending", 1000, low=1, high=1_000_000),
        max_package_bytes=reader.integer("bounds.max_package_bytes", _GIB // 2, low=1024, high=16 * _GIB),
    )


def _name(reader: SettingsReader, key: str) -> str:
    value = reader.text(key)
    if value:
        _check_name(reader, key, value)
    return value


def _check_name(reader: SettingsReader, key: str, value: str) -> None:
    try:
        _NAME.validate_python(value)
    except ValidationError:
        reader.fault(key, f"expected a-z, 0-9, _ and - (at most 63, no leading dash), got {value!r}")


def _url(reader: SettingsReader, key: str, schemes: tuple[str, ...]) -> str:
    value = reader.text(key)
    if value:
        _check_url(reader, key, value, schemes)
    return value.rstrip("/")


def _check_url(
    reader: SettingsReader, key: str, value: str, schemes: tuple[str, ...], *, needs_port: bool = False
) -> None:
    expected = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    try:
        parts = urlsplit(value)
        is_right = parts.scheme in schemes and bool(parts.hostname) and (parts.port is not None or not needs_port)
    except ValueError:
        is_right = False
    if not is_right:
        reader.fault(key, f"expected {expected}, got {value!r}")
